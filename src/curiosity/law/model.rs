//! Ridge regression of how states change, on random features (Rahimi and Recht 2008) of states and actions, over the newest
//! arrivals alone: what is older is forgotten, a chunk at a time.
//! Invariant: features are a function of the frame and the arrival; every number is finite.

use std::collections::VecDeque;

use crate::rng;
use crate::sample::{Action, Transition};

/// Random features. More of them follow a change before it is told, fewer misfit what is not linear.
const HIDDEN: usize = 128;

/// Inputs whose joint deviation is one; of more each weighs less.
const INPUTS_WEIGHED: usize = 16;

/// Numbers of a state that are looked at: the first.
const STATE_MAX: usize = 256;

/// Choices, and numbers of a real action, that are told apart.
const ACTION_MAX: usize = 32;

/// The most that a number of an action is away from its mean, in deviations.
const ACTION_FAR: f64 = 10.0;

/// Arrivals of a chunk, and how many full ones are remembered.
const CHUNK: usize = 256;
const CHUNKS: usize = 8;

/// The penalty, for each arrival.
const PENALTY: f64 = 1e-4;

/// Arrivals before which nothing is predicted.
const LEARNT_MIN: usize = 64;

/// A deviation that is none: shares of the mean, and of one.
const FLAT: f64 = 1e-6;
const FLAT_OF_ONE: f64 = 1e-9;

/// Seed of the random features.
const SEED: u64 = 0x6c61_7773;

/// What each number of a state, an action and a change is measured by.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frame {
    /// Mean and deviation of each number of a state.
    state: Vec<(f64, f64)>,
    /// Mean and deviation of each number of an action: of each choice whether it is it, then of the real numbers. None where it
    /// never varied.
    action: Vec<Option<(f64, f64)>>,
    choices: usize,
    /// The deviation of each number's change.
    change: Vec<f64>,
    /// Of each random feature its weights, then its bias.
    hidden: Vec<Vec<f64>>,
}

impl Frame {
    /// Of these arrivals.
    pub(super) fn of(first: &[Transition]) -> Self {
        let dims = first.iter().map(|of| of.state.len()).max().unwrap_or(0).min(STATE_MAX);
        let (mut choices, mut numbers) = (0, 0);
        for transition in first {
            match &transition.action {
                Action::Discrete(choice) => choices = choices.max(*choice as usize + 1),
                Action::Real(action) => numbers = numbers.max(action.len()),
            }
        }
        let choices = choices.min(ACTION_MAX);
        let states = || first.iter().flat_map(|of| [&of.state, &of.next_state]);
        let state = (0..dims)
            .map(|at| {
                let (mean, deviation) = moments(states().map(|state| number(state, at)));
                let is_flat = deviation < FLAT * mean.abs() + FLAT_OF_ONE;
                (mean, if is_flat { mean.abs().max(1.0) } else { deviation })
            })
            .collect();
        let actions: Vec<Vec<f64>> = first
            .iter()
            .map(|of| encoded(&of.action, choices, numbers.min(ACTION_MAX)))
            .collect();
        let action = (0..choices + numbers.min(ACTION_MAX))
            .map(|at| {
                let (mean, deviation) = moments(actions.iter().map(|action| action[at]));
                (deviation > FLAT * mean.abs() + FLAT_OF_ONE).then_some((mean, deviation))
            })
            .collect();
        let mut frame = Self {
            state,
            action,
            choices,
            change: Vec::new(),
            hidden: Vec::new(),
        };
        let changes: Vec<Vec<f64>> = first.iter().map(|of| frame.changed(of)).collect();
        frame.change = (0..frame.outputs())
            .map(|at| moments(changes.iter().map(|change| change[at])).1)
            .map(|deviation| if deviation < FLAT { 1.0 } else { deviation })
            .collect();
        let inputs = frame.inputs();
        // The bias is one more input, which is always there and weighs as much as all others.
        frame.hidden = random_rows(HIDDEN, inputs, inputs.min(INPUTS_WEIGHED), 0);
        for (row, bias) in frame.hidden.iter_mut().zip(random_rows(1, HIDDEN, 1, 1).concat()) {
            row.push(bias);
        }
        frame
    }

    /// What an arrival's change is predicted from, and the change itself, in deviations.
    pub(super) fn of_arrival(&self, transition: &Transition) -> (Vec<f64>, Vec<f64>) {
        let mut inputs = self.scaled(&transition.state);
        let action = encoded(&transition.action, self.choices, self.action.len() - self.choices);
        let varied = action.iter().zip(&self.action);
        inputs.extend(varied.filter_map(|(number, frame)| {
            let (mean, deviation) = (*frame)?;
            Some(((number - mean) / deviation).clamp(-ACTION_FAR, ACTION_FAR))
        }));
        let mut features = Vec::with_capacity(self.features());
        features.push(1.0);
        features.extend_from_slice(&inputs);
        features.extend(self.hidden.iter().map(|weights| {
            let (bias, weights) = weights
                .split_last()
                .map_or((0.0, &[][..]), |(bias, rest)| (*bias, rest));
            (dot(weights, &inputs) + bias).tanh()
        }));
        let mut change = self.changed(transition);
        change
            .iter_mut()
            .zip(&self.change)
            .for_each(|(number, unit)| *number /= unit);
        (features, change)
    }

    /// Numbers that a change is predicted from.
    fn features(&self) -> usize {
        1 + self.inputs() + HIDDEN
    }

    fn inputs(&self) -> usize {
        self.outputs() + self.action.iter().flatten().count()
    }

    /// Numbers of a change.
    fn outputs(&self) -> usize {
        self.state.len()
    }

    /// A state in deviations, bounded. Missing numbers are 0, as the network sees them.
    fn scaled(&self, state: &[f32]) -> Vec<f64> {
        let frames = self.state.iter().enumerate();
        frames
            .map(|(at, (mean, deviation))| ((number(state, at) - mean) / deviation).asinh())
            .collect()
    }

    fn changed(&self, transition: &Transition) -> Vec<f64> {
        let (before, after) = (self.scaled(&transition.state), self.scaled(&transition.next_state));
        after.iter().zip(before).map(|(after, before)| after - before).collect()
    }
}

/// The regression.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Model {
    features: usize,
    outputs: usize,
    chunks: VecDeque<Chunk>,
    /// Weights, [features][outputs], one row after the other.
    weights: Option<Vec<f64>>,
}

/// Sums over some arrivals.
#[derive(Clone, Debug, PartialEq)]
struct Chunk {
    /// Products of features, [features][features], of which the lower triangle is filled.
    gram: Vec<f64>,
    /// Products of features and changes, [features][outputs].
    cross: Vec<f64>,
    count: usize,
}

impl Model {
    pub(super) fn new(frame: &Frame) -> Self {
        Self {
            features: frame.features(),
            outputs: frame.outputs(),
            chunks: VecDeque::new(),
            weights: None,
        }
    }

    /// Forgets all that it learnt.
    pub(super) fn forget(&mut self) {
        self.chunks.clear();
        self.weights = None;
    }

    /// Of each arrival the mean square of what it is off, and of the change itself. None before it has learnt enough.
    pub(super) fn errors(&self, turn: &[(Vec<f64>, Vec<f64>)]) -> Option<Vec<(f64, f64)>> {
        let weights = self.weights.as_ref()?;
        let error = |(features, change): &(Vec<f64>, Vec<f64>)| {
            let mut off = change.clone();
            for (feature, row) in features.iter().zip(weights.chunks_exact(self.outputs.max(1))) {
                off.iter_mut()
                    .zip(row)
                    .for_each(|(off, weight)| *off -= feature * weight);
            }
            let mean = |numbers: &[f64]| dot(numbers, numbers) / numbers.len().max(1) as f64;
            (mean(&off), mean(change))
        };
        Some(turn.iter().map(error).collect())
    }

    /// Learns these arrivals, and forgets the oldest chunk where there are enough.
    pub(super) fn learn(&mut self, turn: &[(Vec<f64>, Vec<f64>)]) {
        let (n, outputs) = (self.features, self.outputs);
        if self.chunks.back().is_none_or(|chunk| chunk.count >= CHUNK) {
            self.chunks.push_back(Chunk {
                gram: vec![0.0; n * n],
                cross: vec![0.0; n * outputs],
                count: 0,
            });
            if self.chunks.len() > CHUNKS + 1 {
                self.chunks.pop_front();
            }
        }
        if let Some(chunk) = self.chunks.back_mut() {
            for (features, change) in turn {
                for (at, feature) in features.iter().enumerate() {
                    let row = chunk.gram[at * n..][..=at].iter_mut().zip(features);
                    row.for_each(|(sum, other)| *sum += feature * other);
                    let row = chunk.cross[at * outputs..][..outputs].iter_mut().zip(change);
                    row.for_each(|(sum, change)| *sum += feature * change);
                }
                chunk.count += 1;
            }
        }
        let count: usize = self.chunks.iter().map(|chunk| chunk.count).sum();
        if count < LEARNT_MIN {
            return;
        }
        let (mut gram, mut cross) = (vec![0.0; n * n], vec![0.0; n * outputs]);
        for chunk in &self.chunks {
            gram.iter_mut().zip(&chunk.gram).for_each(|(sum, of)| *sum += of);
            cross.iter_mut().zip(&chunk.cross).for_each(|(sum, of)| *sum += of);
        }
        for at in 0..n {
            gram[at * n + at] += PENALTY * count as f64;
        }
        self.weights = solved(gram, cross, n, outputs);
    }
}

/// Solves `gram X = cross` by Cholesky's factors; `gram` [n][n] is read below its diagonal. None where it is not positive.
fn solved(mut gram: Vec<f64>, mut cross: Vec<f64>, n: usize, outputs: usize) -> Option<Vec<f64>> {
    for at in 0..n {
        let (above, own) = gram.split_at_mut(at * n);
        let own = &mut own[..n];
        for other in 0..at {
            let row = &above[other * n..][..=other];
            own[other] = (own[other] - dot(&row[..other], &own[..other])) / row[other];
        }
        let rest = own[at] - dot(&own[..at], &own[..at]);
        if rest.is_nan() || rest <= 0.0 {
            return None;
        }
        own[at] = rest.sqrt();
    }
    // Forwards, then backwards, all columns at once.
    for at in 0..n {
        let (done, own) = cross.split_at_mut(at * outputs);
        let own = &mut own[..outputs];
        for (factor, row) in gram[at * n..][..at].iter().zip(done.chunks_exact(outputs.max(1))) {
            own.iter_mut().zip(row).for_each(|(own, other)| *own -= factor * other);
        }
        own.iter_mut().for_each(|own| *own /= gram[at * n + at]);
    }
    for at in (0..n).rev() {
        let (rest, done) = cross.split_at_mut((at + 1) * outputs);
        let own = &mut rest[at * outputs..];
        for (below, row) in (at + 1..n).zip(done.chunks_exact(outputs.max(1))) {
            let factor = gram[below * n + at];
            own.iter_mut().zip(row).for_each(|(own, other)| *own -= factor * other);
        }
        own.iter_mut().for_each(|own| *own /= gram[at * n + at]);
    }
    Some(cross)
}

/// What was done as numbers: of each choice 1 where it is it, then the real ones.
fn encoded(action: &Action, choices: usize, numbers: usize) -> Vec<f64> {
    let mut encoded = vec![0.0; choices + numbers];
    match action {
        Action::Discrete(choice) => {
            if let Some(one) = encoded[..choices].get_mut(*choice as usize) {
                *one = 1.0;
            }
        }
        Action::Real(action) => {
            let real = encoded[choices..].iter_mut().zip(action);
            real.for_each(|(into, number)| *into = f64::from(*number));
        }
    }
    encoded
}

fn number(state: &[f32], at: usize) -> f64 {
    state.get(at).copied().map_or(0.0, f64::from)
}

/// Mean and deviation.
fn moments(numbers: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (sum, count) = numbers
        .clone()
        .fold((0.0, 0.0f64), |(sum, count), number| (sum + number, count + 1.0));
    let mean = sum / count.max(1.0);
    let squares: f64 = numbers.map(|number| (number - mean).powi(2)).sum();
    (mean, (squares / count.max(1.0)).sqrt())
}

/// Rows of independent normal numbers of variance 1 / `over`.
fn random_rows(rows: usize, columns: usize, over: usize, lane: u64) -> Vec<Vec<f64>> {
    let mut rng = rng::for_step(SEED, columns as u64, lane);
    let scale = 1.0 / (over.max(1) as f64).sqrt();
    (0..rows)
        .map(|_| (0..columns).map(|_| scale * rng::normal(&mut rng)).collect())
        .collect()
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_of_equations_is_solved_and_one_without_a_solution_is_told() {
        // 4x + 2y = 10, 2x + 3y = 9; and the double of it.
        let solution = solved(vec![4.0, 0.0, 2.0, 3.0], vec![10.0, 20.0, 9.0, 18.0], 2, 2).unwrap();
        for (found, right) in solution.iter().zip([1.5, 3.0, 2.0, 4.0]) {
            assert!((found - right).abs() < 1e-12, "{solution:?}");
        }
        assert_eq!(solved(vec![1.0, 0.0, 2.0, 1.0], vec![1.0, 1.0], 2, 1), None);
    }
}
