//! How good are these features? Classifiers that train nothing but themselves, on labels that the learner never saw.
//! Always true: what is asked about is never among what is known.

use tch::{Kind, Tensor};

use crate::model::Ridge;

/// Neighbours that vote (Wu et al. 2018 and later take 20 to 200; small archives want few).
const NEIGHBOURS: i64 = 20;

/// Rows compared at once, so that memory stays at `CHUNK * N` numbers.
const CHUNK: i64 = 512;

/// The label of each query by a vote of its nearest by cosine, each vote as heavy as one; of equally many votes the
/// nearer neighbours' win. `known` [N, D], `queries` [M, D], unit rows; `labels` `[N]`, whole numbers below `classes`.
/// Returns `[M]`.
pub fn by_neighbours(known: &Tensor, labels: &Tensor, queries: &Tensor, classes: i64) -> Tensor {
    let k = NEIGHBOURS.min(known.size()[0]);
    let chunks: Vec<Tensor> = queries
        .split(CHUNK, 0)
        .iter()
        .map(|queries| {
            let (similarity, nearest) = queries.matmul(&known.tr()).topk(k, 1, true, true); // [C, k]
            // A similarity is at most 1, so that all of them together weigh less than one vote.
            let votes = &similarity * (0.5 / k as f64) + 1.0;
            let voters = labels.index_select(0, &nearest.flatten(0, -1)).view_as(&nearest);
            Tensor::zeros([queries.size()[0], classes], (Kind::Float, queries.device()))
                .scatter_add(1, &voters, &votes)
                .argmax(1, false)
        })
        .collect();
    Tensor::cat(&chunks, 0)
}

/// The label of each query by ridge regression on the labels, one column each (1 or 0, less its mean), whose features have
/// mean 0 and standard deviation 1 over what is known: `argmax(queries (X'X + penalty N I)^-1 X'Y)`. Its penalty is the one
/// that answers best where each of what is known is left out once. Shapes as in [`by_neighbours`].
pub fn by_ridge(known: &Tensor, labels: &Tensor, queries: &Tensor, classes: i64) -> Tensor {
    let ridge = Ridge::fit(known, &labels.one_hot(classes));
    let penalty = ridge.best_penalty(|left_out| share_right(&left_out.argmax(1, false), labels));
    ridge.answer(queries, penalty).argmax(1, false)
}

/// The share of answers that are right.
pub fn share_right(answers: &Tensor, labels: &Tensor) -> f64 {
    answers
        .eq_tensor(labels)
        .to_kind(Kind::Double)
        .mean(Kind::Double)
        .double_value(&[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PENALTIES;
    use tch::Device;

    /// Points around the corners of a triangle, unit rows, and their corners.
    fn corners(count: i64, noise: f64) -> (Tensor, Tensor) {
        let labels = Tensor::arange(count, (Kind::Int64, Device::Cpu)).remainder(3);
        let turn = Tensor::arange(count * 3, (Kind::Float, Device::Cpu)).view([count, 3]);
        let shaken = (turn * 12.9898).sin() * noise;
        let rows = labels.one_hot(3).to_kind(Kind::Float) + shaken;
        let lengths = rows.norm_scalaropt_dim(2, [1i64].as_slice(), true);
        (rows / lengths, labels)
    }

    #[test]
    fn both_classifiers_find_what_is_there_and_guess_what_is_not() {
        let (known, labels) = corners(300, 0.2);
        let (queries, wanted) = corners(90, 0.25);
        for classify in [by_neighbours, by_ridge] {
            assert_eq!(share_right(&classify(&known, &labels, &queries, 3), &wanted), 1.0);
            let (blind, _) = corners(300, 0.0);
            let constant = blind.narrow(0, 0, 1).expand([300, 3], false);
            let guessed = share_right(&classify(&constant, &labels, &constant.narrow(0, 0, 90), 3), &wanted);
            assert!((0.2..0.5).contains(&guessed), "{guessed} of constant features");
        }
    }

    #[test]
    fn the_penalty_is_the_one_that_answers_best_for_what_is_left_out() {
        // Two features that tell and sixty that do not, of seventy samples: fitted without a penalty, noise is learnt by heart.
        tch::manual_seed(1);
        let sample = |count: i64| {
            let labels = Tensor::arange(count, (Kind::Int64, Device::Cpu)).remainder(2);
            let telling =
                labels.one_hot(2).to_kind(Kind::Float) * 2.0 + Tensor::randn([count, 2], (Kind::Float, Device::Cpu));
            let noise = Tensor::randn([count, 60], (Kind::Float, Device::Cpu));
            (Tensor::cat(&[telling, noise], 1), labels)
        };
        let ((known, labels), (queries, wanted)) = (sample(70), sample(2_000));
        let fit = Ridge::fit(&known, &labels.one_hot(2));
        let accuracy = |penalty: f64| share_right(&fit.answer(&queries, penalty).argmax(1, false), &wanted);
        let chosen = share_right(&by_ridge(&known, &labels, &queries, 2), &wanted);
        assert!(
            chosen > accuracy(PENALTIES[0]) + 0.05,
            "{chosen} {}",
            accuracy(PENALTIES[0])
        );
    }

    #[test]
    fn of_equally_many_votes_the_nearer_ones_win() {
        let known = Tensor::from_slice(&[1f32, 0., 0.9, 0.435_889_9, 0., 1., 0.1, 0.994_987_4]).view([4, 2]);
        let labels = Tensor::from_slice(&[1i64, 1, 0, 0]);
        let query = Tensor::from_slice(&[0.8f32, 0.6]).view([1, 2]);
        assert_eq!(by_neighbours(&known, &labels, &query, 2).int64_value(&[0]), 1);
    }
}
