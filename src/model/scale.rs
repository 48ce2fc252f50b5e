//! The scale of numbers whose unit nobody told: what takes each dimension's mean off and its deviation out.
//! Invariant: it is a function of the first samples of a stream; it is not trained, and travels with the weights.

use tch::nn::{Path, VarStore};
use tch::{Kind, Tensor};

use super::{ModelError, TransitionSpec};
use crate::sample::{Action, Transition};

/// Below this share of its mean a dimension's deviation is the last digit's, and it counts as one that never varied.
const FLAT: f64 = 1e-6;

/// The least deviation that a dimension is divided by, and the largest number that is made of one: their squares are numbers.
const DEVIATION_MIN: f64 = 1e-12;
pub(super) const LARGEST: f64 = 1e15;

/// The scale as a part of a network: `asinh(x * weight + bias)`, nearly the number itself around the mean and its logarithm far
/// from it, so that what a later range brings stays bounded.
#[derive(Debug)]
pub struct Scale {
    weight: Tensor,
    bias: Tensor,
}

impl Scale {
    /// Over `dims` numbers: none until they are set or loaded.
    pub fn new(path: &Path, dims: i64) -> Self {
        Self {
            weight: path.ones_no_train("weight", &[dims]),
            bias: path.zeros_no_train("bias", &[dims]),
        }
    }

    /// [N, dims] to [N, dims], float32. Every finite number becomes a finite one.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let scaled = x.to_kind(Kind::Float) * &self.weight + &self.bias;
        scaled.clamp(-LARGEST, LARGEST).asinh()
    }
}

/// What each dimension is multiplied by, and what is added then.
#[derive(Clone, Debug, PartialEq)]
struct Affine {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// The scales of a stream of transitions: of its states and of its real actions.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    states: Affine,
    numbers: Affine,
}

impl Scales {
    /// Those of these transitions, as far as the network sees them.
    pub fn of<'a>(transitions: impl Iterator<Item = &'a Transition>, spec: &TransitionSpec) -> Self {
        let (mut states, mut numbers) = (
            Moments::new(spec.state_dims as usize),
            Moments::new(spec.actions as usize),
        );
        for transition in transitions {
            states.take(&transition.state, true);
            states.take(&transition.next_state, true);
            if let Action::Real(action) = &transition.action {
                numbers.take(action, false);
            }
        }
        Self {
            states: states.affine(),
            numbers: numbers.affine(),
        }
    }

    /// Sets the scale of an encoder's variables.
    pub fn set_encoder(&self, encoder: &VarStore) -> Result<(), ModelError> {
        set(encoder, "scale", &self.states)
    }

    /// Sets the scale of the variables of the heads beside it.
    pub fn set_heads(&self, heads: &VarStore) -> Result<(), ModelError> {
        set(heads, "scale", &self.numbers)
    }
}

/// Whether the scale of an encoder's variables, or of its heads', was never set.
pub fn is_unscaled(variables: &VarStore) -> bool {
    let variables = variables.variables();
    let all_are = |name: &str, value: f64| {
        let variable = variables.get(name);
        variable.is_some_and(|variable| bool::try_from(variable.eq(value).all()).unwrap_or(false))
    };
    all_are("scale.weight", 1.0) && all_are("scale.bias", 0.0)
}

fn set(variables: &VarStore, name: &str, affine: &Affine) -> Result<(), ModelError> {
    let _no_grad = tch::no_grad_guard();
    let variables = variables.variables();
    for (kind, values) in [("weight", &affine.weight), ("bias", &affine.bias)] {
        let name = format!("{name}.{kind}");
        let mut variable = variables
            .get(&name)
            .ok_or_else(|| ModelError::Weights(format!("the network lacks `{name}`")))?
            .shallow_clone();
        variable.f_copy_(&Tensor::from_slice(values))?;
    }
    Ok(())
}

/// Running means and deviations (Welford 1962), a dimension each.
struct Moments {
    counts: Vec<f64>,
    means: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn new(dims: usize) -> Self {
        Self {
            counts: vec![0.0; dims],
            means: vec![0.0; dims],
            squares: vec![0.0; dims],
        }
    }

    /// Takes a row in; `is_filled`: with zeros up to its length, as the network sees it.
    fn take(&mut self, row: &[f32], is_filled: bool) {
        let row = &row[..row.len().min(self.means.len())];
        let rest = if is_filled { self.means.len() - row.len() } else { 0 };
        let values = row.iter().copied().chain(std::iter::repeat_n(0.0, rest));
        for (at, value) in values.enumerate() {
            self.counts[at] += 1.0;
            let off = f64::from(value) - self.means[at];
            self.means[at] += off / self.counts[at];
            self.squares[at] += off * (f64::from(value) - self.means[at]);
        }
    }

    /// One over the deviation, and the mean over it, taken off. A dimension that never varied keeps its unit, less its mean;
    /// where that is large its mean is the unit, so that a change is seen as a share of it.
    fn affine(&self) -> Affine {
        let each = self.counts.iter().zip(&self.means).zip(&self.squares);
        let (weight, bias) = each
            .map(|((count, mean), square)| {
                let deviation = (square / count.max(1.0)).sqrt();
                let weight = if deviation <= FLAT * mean.abs() || deviation < DEVIATION_MIN {
                    1.0 / mean.abs().max(1.0)
                } else {
                    1.0 / deviation
                };
                (weight as f32, (-mean * weight) as f32)
            })
            .unzip();
        Affine { weight, bias }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn spec() -> TransitionSpec {
        TransitionSpec {
            state_dims: 6,
            actions: 2,
            width: 8,
            features: 4,
        }
    }

    fn transition(number: usize) -> Transition {
        let wave = (number as f32 * 0.7).sin();
        let state = vec![100.0 + 5.0 * wave, 3e38 * wave, 7e9, 2.5, 1e-20 * wave];
        Transition {
            episode: 0,
            t: number as u64,
            next_state: state.clone(),
            state,
            action: Action::Real(vec![1e6 * wave]),
        }
    }

    #[test]
    fn every_dimension_that_varies_gets_mean_nothing_and_deviation_one_and_every_other_stays_finite() {
        let transitions: Vec<_> = (0..500).map(transition).collect();
        let scales = Scales::of(transitions.iter(), &spec());
        let variables = VarStore::new(Device::Cpu);
        let scale = Scale::new(&(variables.root() / "scale"), 6);
        assert!(is_unscaled(&variables));
        scales.set_encoder(&variables).unwrap();
        assert!(!is_unscaled(&variables) && variables.trainable_variables().is_empty());
        let rows: Vec<f32> = transitions
            .iter()
            .flat_map(|transition| transition.state.iter().copied().chain([0.0]))
            .collect();
        let scaled = scale.forward(&Tensor::from_slice(&rows).view([-1, 6])).sinh();
        let columns = |of: Tensor| Vec::<f32>::try_from(of).unwrap();
        let means = columns(scaled.mean_dim([0i64].as_slice(), false, Kind::Float));
        let deviations = columns(scaled.std_dim([0i64].as_slice(), false, false));
        assert!(means.iter().all(|mean| mean.abs() < 1e-3), "{means:?}");
        for (at, expected) in [1.0, 1.0, 0.0, 0.0, 0.0, 0.0].into_iter().enumerate() {
            assert!((deviations[at] - expected).abs() < 0.01, "{at}: {deviations:?}");
        }
        let far = Tensor::from_slice(&[f32::MAX, f32::MIN, -f32::MAX, 1e30, f32::MAX, f32::MAX]).view([1, 6]);
        let far = columns(scale.forward(&far).view(-1));
        assert!(far.iter().all(|value| value.abs() < 40.0), "{far:?}");
    }
}
