//! How good are these features? Classifiers that train nothing but themselves, on labels that the learner never saw.
//! Always true: what is asked about is never among what is known.

use tch::{Kind, Tensor};

/// Neighbours that vote (Wu et al. 2018 and later take 20 to 200; small archives want few).
const NEIGHBOURS: i64 = 20;

/// Rows compared at once, so that memory stays at `CHUNK * N` numbers.
const CHUNK: i64 = 512;

/// Strengths of the probe's penalty that are tried, as shares of the mean eigenvalue of the features' covariance.
const PENALTIES: [f64; 6] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

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
    let ridge = Ridge::fit(known, labels, classes);
    let right = |penalty: f64| share_right(&ridge.left_out(penalty).argmax(1, false), labels);
    let penalty = PENALTIES
        .into_iter()
        .map(|penalty| (right(penalty), penalty))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(PENALTIES[2], |(_, penalty)| penalty);
    ridge.answer(queries, penalty)
}

/// A ridge regression for any penalty: in the axes of the features' covariance a penalty is a division.
struct Ridge {
    mean: Tensor,
    std: Tensor,
    /// The labels' shares [1, classes].
    share: Tensor,
    /// What is known [N, D] and its labels less their shares [N, classes].
    x: Tensor,
    y: Tensor,
    /// The covariance's eigenvalues times N [D] and axes [D, D].
    spread: Tensor,
    axes: Tensor,
}

impl Ridge {
    fn fit(known: &Tensor, labels: &Tensor, classes: i64) -> Self {
        let known = known.to_kind(Kind::Double);
        let mean = known.mean_dim([0i64].as_slice(), true, Kind::Double);
        let std = known.std_dim([0i64].as_slice(), true, true).clamp_min(1e-9);
        let x = (known - &mean) / &std;
        let one_hot = labels.one_hot(classes).to_kind(Kind::Double);
        let share = one_hot.mean_dim([0i64].as_slice(), true, Kind::Double);
        let (spread, axes) = x.tr().matmul(&x).linalg_eigh("L");
        Self {
            y: one_hot - &share,
            spread: spread.clamp_min(0.0),
            axes,
            mean,
            std,
            share,
            x,
        }
    }

    /// The weights in the axes of the covariance [D, classes], and `1 / (eigenvalue + penalty N)` [D, 1].
    fn weights(&self, penalty: f64) -> (Tensor, Tensor) {
        let divisor = (&self.spread + penalty * self.x.size()[0] as f64).unsqueeze(1);
        let sums = self.axes.tr().matmul(&self.x.tr().matmul(&self.y));
        (sums / &divisor, divisor.reciprocal())
    }

    /// What would be answered of each of what is known without it [N, classes]: its label, less how far the answer is from it
    /// over how little that answer is its own (Golub, Heath and Wahba 1979). The means are left out with it, the scale is not.
    fn left_out(&self, penalty: f64) -> Tensor {
        let (weights, inverse) = self.weights(penalty);
        let turned = self.x.matmul(&self.axes); //                                                     [N, D]
        let own = turned.square().matmul(&inverse) + 1.0 / self.x.size()[0] as f64; //                 [N, 1]
        let off = &self.y - turned.matmul(&weights);
        &self.y + &self.share - off / (own.neg() + 1.0).clamp_min(1e-9)
    }

    fn answer(&self, queries: &Tensor, penalty: f64) -> Tensor {
        let queries = (queries.to_kind(Kind::Double) - &self.mean) / &self.std;
        let answers = queries.matmul(&self.axes).matmul(&self.weights(penalty).0);
        (answers + &self.share).argmax(1, false)
    }
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
        let fit = Ridge::fit(&known, &labels, 2);
        let accuracy = |penalty: f64| share_right(&fit.answer(&queries, penalty), &wanted);
        let chosen = share_right(&by_ridge(&known, &labels, &queries, 2), &wanted);
        assert!(
            chosen > accuracy(PENALTIES[0]) + 0.05,
            "{chosen} {}",
            accuracy(PENALTIES[0])
        );
        // Left out in truth, one by one, at one penalty: the same answers.
        let one_out = |out: i64| {
            let others: Vec<i64> = (0..70).filter(|row| *row != out).collect();
            let others = Tensor::from_slice(&others);
            let (x, y) = (fit.x.index_select(0, &others), fit.y.index_select(0, &others));
            let mean = |of: &Tensor| of.mean_dim([0i64].as_slice(), true, Kind::Double);
            let (x_mean, y_mean) = (mean(&x), mean(&y));
            let (x, y) = (x - &x_mean, y - &y_mean);
            let ridge = Tensor::eye(62, (Kind::Double, Device::Cpu)) * (0.1 * 70.0);
            let weights = (x.tr().matmul(&x) + ridge).inverse().matmul(&x.tr().matmul(&y));
            (fit.x.narrow(0, out, 1) - x_mean).matmul(&weights) + y_mean + &fit.share
        };
        let expected = Tensor::cat(&(0..70).map(one_out).collect::<Vec<_>>(), 0);
        let distance = (fit.left_out(0.1) - expected).abs().max().double_value(&[]);
        assert!(distance < 1e-9, "{distance}");
    }

    #[test]
    fn of_equally_many_votes_the_nearer_ones_win() {
        let known = Tensor::from_slice(&[1f32, 0., 0.9, 0.435_889_9, 0., 1., 0.1, 0.994_987_4]).view([4, 2]);
        let labels = Tensor::from_slice(&[1i64, 1, 0, 0]);
        let query = Tensor::from_slice(&[0.8f32, 0.6]).view([1, 2]);
        assert_eq!(by_neighbours(&known, &labels, &query, 2).int64_value(&[0]), 1);
    }
}
