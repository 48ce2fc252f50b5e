//! Transitions: their embeddings, and how curious they make.

use tch::{Device, Kind, Tensor};

use super::{Embedder, values};
use crate::model::{Actions, EncoderSpec, Filler, Input, ModelError, StateRows, TransitionSpec};
use crate::sample::Content;

/// Transitions of one pass. A longer batch is cut into passes of this many and then of smaller powers of two, so that few
/// shapes come up.
const PASS_MAX: usize = 64;

/// How curious a transition makes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curiosity {
    /// How far the heads that predict disagree, over the variance of features: what is still to be learnt. It goes to 0 also
    /// where the world is noise, when the noise is known.
    pub reward: f32,
    /// The mean of their squared errors, in the same unit: 0 where all was expected, about 1 where nothing was. It stays high
    /// where the world is noise.
    pub error: f32,
    /// How well what was done is told from both states, 0 to 1: of a choice whether the likeliest is right, of a real action the
    /// share of its variance.
    pub action: f32,
}

impl Embedder {
    pub(super) fn embed_transitions(
        &self,
        samples: &[&Content],
        spec: &TransitionSpec,
    ) -> Result<Vec<f32>, ModelError> {
        let _no_grad = tch::no_grad_guard();
        let mut embeddings = Vec::with_capacity(samples.len() * self.dim());
        for pass in passes(samples) {
            let (states, _) = self.states(pass, spec)?;
            let (before, after) = self.halves(&Input::States(states))?;
            let pairs = Tensor::f_cat(&[before, after], 1)?; //                               [B, 2D]
            // The floor keeps a zero vector zero instead of dividing by it.
            let lengths = pairs
                .f_norm_scalaropt_dim(2, [1i64].as_slice(), true)?
                .f_clamp_min(1e-12)?;
            embeddings.extend(values(&pairs.f_div(&lengths)?.f_contiguous()?)?);
        }
        Ok(embeddings)
    }

    /// How curious each of these transitions makes. None when there are no heads beside the network; an error where a sample is
    /// no transition.
    pub fn curiosity(&self, samples: &[&Content]) -> Result<Option<Vec<Curiosity>>, ModelError> {
        let (Some(Filler::Dynamics(dynamics)), EncoderSpec::Transition(spec)) = (&self.decoder, &self.spec) else {
            return Ok(None);
        };
        let _no_grad = tch::no_grad_guard();
        let mut curious = Vec::with_capacity(samples.len());
        for pass in passes(samples) {
            let (states, actions) = self.states(pass, spec)?;
            let (before, after) = self.halves(&Input::States(states))?;
            let expected = dynamics.expected(&before, &actions); //                           [K, B, D]
            let errors = dynamics.forward_errors(&expected, &after); //                       [K, B]
            let each = [
                dynamics.disagreement(&expected),
                errors.f_mean_dim([0i64].as_slice(), false, Kind::Float)?,
                dynamics.right(&dynamics.told(&before, &after), &actions),
            ];
            let each = Tensor::f_stack(&each, 1)?.f_to_device(Device::Cpu)?.f_contiguous()?; // [B, 3]
            let numbers = values(&each)?;
            let (rows, _) = numbers.as_chunks();
            curious.extend(rows.iter().map(|[reward, error, action]| Curiosity {
                reward: *reward,
                error: *error,
                action: *action,
            }));
        }
        Ok(Some(curious))
    }

    fn states(&self, pass: &[&Content], spec: &TransitionSpec) -> Result<(Tensor, Actions), ModelError> {
        if let Some(other) = pass.iter().find(|sample| !matches!(sample, Content::Transition(_))) {
            return Err(self.other_input(other));
        }
        Ok(StateRows::of(pass.iter().copied(), spec)?.tensors(self.device)?)
    }

    /// The features of the states before and of those after.
    fn halves(&self, states: &Input) -> Result<(Tensor, Tensor), ModelError> {
        let features = self.network.forward(states)?; //                                      [2B, D]
        let count = features.size()[0] / 2;
        Ok((features.f_narrow(0, 0, count)?, features.f_narrow(0, count, count)?))
    }
}

fn passes<'a>(samples: &'a [&'a Content]) -> impl Iterator<Item = &'a [&'a Content]> {
    let mut rest = samples;
    std::iter::from_fn(move || {
        let count = PASS_MAX.min(1 << rest.len().checked_ilog2()?);
        let (pass, later) = rest.split_at(count);
        rest = later;
        Some(pass)
    })
}
