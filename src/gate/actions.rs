//! The exam of transitions: is what was done told from the embeddings alone?
//! Always true: each sample's action is told by a plane through the others', never through its own.

use tch::{Device, Kind, Tensor};

use crate::model::Ridge;
use crate::sample::Action;

/// For each sample how well its action is told, 0 to 1: of a choice whether the likeliest is right; of a real action one less the
/// squared error over the variance of the exam's, the mean over its numbers. `z`: [N, D], a row for each action.
pub(super) fn told(z: &Tensor, actions: &[&Action]) -> Vec<f64> {
    let mut scores = vec![0.0; actions.len()];
    for (kind, score) in [
        (is_discrete as fn(&Action) -> bool, choices as Score),
        (|action: &Action| !is_discrete(action), numbers as Score),
    ] {
        let rows: Vec<i64> = (0..)
            .zip(actions)
            .filter(|(_, action)| kind(action))
            .map(|(row, _)| row)
            .collect();
        // Of one alone nothing is known but itself.
        if rows.len() < 2 {
            continue;
        }
        let own: Vec<&Action> = rows.iter().map(|row| actions[*row as usize]).collect();
        let each = score(
            &z.index_select(0, &Tensor::from_slice(&rows).to_device(z.device())),
            &own,
        );
        for (row, score) in rows.into_iter().zip(each) {
            scores[row as usize] = score;
        }
    }
    scores
}

/// How well each of these actions, all of one kind, is told.
type Score = fn(&Tensor, &[&Action]) -> Vec<f64>;

fn is_discrete(action: &Action) -> bool {
    matches!(action, Action::Discrete(_))
}

fn choices(z: &Tensor, actions: &[&Action]) -> Vec<f64> {
    let chosen = actions.iter().map(|action| match action {
        Action::Discrete(choice) => i64::from(*choice),
        Action::Real(_) => 0,
    });
    let labels: Vec<i64> = chosen.collect();
    let classes = labels.iter().max().map_or(1, |largest| largest + 1);
    let labels = Tensor::from_slice(&labels).to_device(z.device());
    let right = |left_out: &Tensor| left_out.argmax(1, false).eq_tensor(&labels).to_kind(Kind::Double);
    let ridge = Ridge::fit(z, &labels.one_hot(classes));
    let penalty = ridge.best_penalty(|left_out| right(left_out).mean(Kind::Double).double_value(&[]));
    values(&right(&ridge.left_out(penalty)))
}

fn numbers(z: &Tensor, actions: &[&Action]) -> Vec<f64> {
    let of = |action: &Action| match action {
        Action::Real(numbers) => numbers.clone(),
        Action::Discrete(_) => Vec::new(),
    };
    let rows: Vec<Vec<f32>> = actions.iter().map(|action| of(action)).collect();
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let filled: Vec<f32> = rows
        .iter()
        .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0.0, longest - row.len())))
        .collect();
    let targets = Tensor::from_slice(&filled)
        .view([rows.len() as i64, longest as i64])
        .to_kind(Kind::Double)
        .to_device(z.device());
    let variance = targets.var_dim([0i64].as_slice(), false, true); //                             [1, A]
    // A number that is always the same is told by everybody.
    let varies = variance.gt(0.0).to_kind(Kind::Double);
    let share = |left_out: &Tensor| -> Tensor {
        let off = (left_out - &targets).square() / variance.clamp_min(f64::MIN_POSITIVE) * &varies;
        let told: Tensor = 1.0 - off.mean_dim([1i64].as_slice(), false, Kind::Double); //          [N]
        told.clamp(0.0, 1.0)
    };
    let ridge = Ridge::fit(z, &targets);
    let penalty = ridge.best_penalty(|left_out| share(left_out).mean(Kind::Double).double_value(&[]));
    values(&share(&ridge.left_out(penalty)))
}

fn values(scores: &Tensor) -> Vec<f64> {
    let scores = scores.to_device(Device::Cpu).contiguous();
    Vec::try_from(scores).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(scores: &[f64]) -> f64 {
        scores.iter().sum::<f64>() / scores.len() as f64
    }

    /// Embeddings in which the first number is what was done, and noise without it.
    fn embeddings(done: &[f32]) -> (Tensor, Tensor) {
        tch::manual_seed(5);
        let noise = Tensor::randn([done.len() as i64, 6], (Kind::Float, Device::Cpu));
        let telling = Tensor::cat(&[Tensor::from_slice(done).unsqueeze(1), noise.shallow_clone()], 1);
        (telling, noise)
    }

    #[test]
    fn choices_are_told_where_they_are_to_be_seen_and_guessed_where_they_are_not() {
        let choices: Vec<Action> = (0..120).map(|row| Action::Discrete(row * 7 % 3 % 2)).collect();
        let done: Vec<f32> = (0..120).map(|row| (row * 7 % 3 % 2) as f32).collect();
        let (telling, noise) = embeddings(&done);
        let actions: Vec<&Action> = choices.iter().collect();
        assert_eq!(mean(&told(&telling, &actions)), 1.0);
        assert!(mean(&told(&noise, &actions)) < 0.75);
    }

    #[test]
    fn of_real_actions_the_share_that_is_told_counts_and_both_kinds_stand_side_by_side() {
        let done: Vec<f32> = (0..120).map(|row| (row as f32 * 0.7).sin()).collect();
        let (telling, noise) = embeddings(&done);
        let mut each: Vec<Action> = done.iter().map(|number| Action::Real(vec![*number, 3.0])).collect();
        let of = |z: &Tensor, each: &[Action]| told(z, &each.iter().collect::<Vec<_>>());
        assert!(mean(&of(&telling, &each)) > 0.99);
        assert!(mean(&of(&noise, &each)) < 0.75);
        each[7] = Action::Discrete(1);
        let scores = of(&telling, &each);
        assert_eq!(scores[7], 0.0, "nothing is known of a kind but itself");
        assert!(scores[8] > 0.99);
    }
}
