//! Transitions: what was done is told from the states before and after it, and the next state's features are predicted, as the
//! intrinsic curiosity module does (Pathak et al. 2017, equations 2 to 7, with their weights); five heads predict, and where they
//! disagree is what is still to be learnt (Pathak et al. 2019, section 3).
//!
//! The encoder learns by the inverse task alone: what is predicted is no way to lower the forward error by seeing less, and what
//! does not tell the action is not in the features. Neither the state's features nor the next state's get a gradient of the
//! forward task. (Pathak et al. 2017 let both through.) The heads' errors are shares of the features' variance, and features
//! end in a norm, so that neither can shrink to please.
//!
//! Each head learns from its own four fifths of a step's transitions, drawn from (seed, step), so that heads that began apart
//! stay apart where there is little to learn from, and agree on the mean where there is much: also on the mean of noise, whose
//! error stays.

use tch::nn::Path;
use tch::{Kind, Tensor};

use super::LearnError;
use super::objective::{Loss, Numerics, Objective, Views};
use crate::model::{Actions, Dynamics, HEADS, Input, ModelError, StateNetwork, TransitionSpec};
use crate::rng;
use crate::sample::Modality;

/// The share of the inverse task in the loss (Pathak et al. 2017, section 3: beta = 0.2 is the forward task's).
const INVERSE_SHARE: f64 = 0.8;

/// The share of a step's transitions that each head learns from.
const SEEN: f64 = 0.8;

/// Keeps these draws apart from those of the batch, which use the seed itself.
const SEED: u64 = 0x6963_6d21;

/// How much of the features' variance, the unit of errors, one step replaces.
const SPREAD_RATE: f64 = 0.1;

/// The objective.
pub struct Icm {
    network: StateNetwork,
    dynamics: Dynamics,
}

impl Icm {
    /// The objective on this encoder, which `spec` describes; the heads' variables are added below `heads`.
    pub fn new(network: StateNetwork, spec: &TransitionSpec, heads: &Path) -> Self {
        Self {
            network,
            dynamics: Dynamics::new(heads, spec),
        }
    }
}

impl Objective for Icm {
    fn name(&self) -> &'static str {
        "icm"
    }

    fn features(&self, input: &Input) -> Result<Tensor, ModelError> {
        match input {
            Input::States(states) => Ok(self.network.features(states)),
            other => Err(ModelError::OtherInput {
                network: Modality::Transition,
                given: other.modality(),
            }),
        }
    }

    fn loss(&self, views: &Views, numerics: Numerics) -> Result<Loss, LearnError> {
        let (states, actions) = views.states()?;
        let (features, told, expected) = {
            let _autocast = numerics.autocast()?;
            let features = self.network.features(states); //                                  [2B, D]
            let (before, after) = halves(&features);
            let told = self.dynamics.told(&before, &after);
            let expected = self.dynamics.expected(&before.detach(), actions); //              [K, B, D]
            (features, told, expected)
        };
        let (_, after) = halves(&features);
        let errors = self.dynamics.forward_errors(&expected, &after.detach()); //             [K, B]
        let weights = &views.weights; //                                                      [B]
        let inverse =
            (self.dynamics.inverse_errors(&told, actions) * weights).sum(Kind::Float) / weights.sum(Kind::Float);
        let counted = seen(views, weights.size()[0])? * weights.unsqueeze(0); //              [K, B]
        let sum = |of: &Tensor| of.sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
        // No row of a small batch may be a head's own.
        let forward = (sum(&(&errors * &counted)) / sum(&counted).clamp_min(1e-6)).mean(Kind::Float);
        Ok(Loss {
            total: INVERSE_SHARE * inverse + (1.0 - INVERSE_SHARE) * forward,
            errors: errors.detach().mean_dim([0i64].as_slice(), false, Kind::Float),
            features,
            critic: None,
        })
    }

    fn taken(&self, loss: &Loss) {
        self.dynamics.measure(&loss.features, SPREAD_RATE);
    }
}

/// The error of each transition, `[n]`, and its features, [n, 2D], from its states.
pub(super) fn scored(
    network: &StateNetwork,
    dynamics: &Dynamics,
    states: &Tensor,
    actions: &Actions,
) -> (Tensor, Tensor) {
    let (before, after) = halves(&network.features(states)); //                               [n, D] each
    let errors = dynamics.forward_errors(&dynamics.expected(&before, actions), &after); //    [K, n]
    (
        errors.mean_dim([0i64].as_slice(), false, Kind::Float),
        Tensor::cat(&[before, after], 1),
    )
}

/// Of states and next states, one after the other, the two.
fn halves(rows: &Tensor) -> (Tensor, Tensor) {
    let count = rows.size()[0] / 2;
    (rows.narrow(0, 0, count), rows.narrow(0, count, count))
}

/// Which of B transitions each head learns from in this step: [K, B], 1 or 0.
fn seen(views: &Views, count: i64) -> Result<Tensor, LearnError> {
    let of_head = |head: i64| {
        let mut rng = rng::for_step(views.seed ^ SEED, views.step, head as u64);
        (0..count).map(move |_| f32::from(u8::from(rng::unit(&mut rng) < SEEN)))
    };
    let seen: Vec<f32> = (0..HEADS).flat_map(of_head).collect();
    Ok(Tensor::from_slice(&seen)
        .f_view([HEADS, count])?
        .f_to_device(views.weights.device())?)
}

#[cfg(test)]
mod tests;
