//! What every proxy task offers: a network, and the loss that trains it.

use tch::nn::VarStore;
use tch::{Device, Tensor};

use super::LearnError;
use super::simclr::SimClr;
use crate::config::ObjectiveKind;
use crate::model::{Encoder, EncoderSpec, initialise};
use crate::torch::Bf16Autocast;

/// Two views of each of B pictures, on the learner's device.
pub struct Views {
    /// [2B, 3, px, px], normalised: row `i` and row `B + i` show one picture.
    pub images: Tensor,
    /// `[B]`, whole numbers: which picture; the same one may be drawn twice.
    pub pictures: Tensor,
    /// `[B]`: how much each picture counts; 1 for a uniform draw.
    pub weights: Tensor,
}

/// How networks are computed in a step. Losses are always float32: a similarity that is divided by a small temperature
/// has no digits to spare.
#[derive(Clone, Copy, Debug)]
pub struct Numerics {
    /// The device that the networks live on.
    pub device: Device,
    /// Whether their costly operations run in bfloat16.
    pub bf16: bool,
}

impl Numerics {
    /// Entered around the networks' forward pass.
    pub fn autocast(&self) -> Result<Option<Bf16Autocast>, LearnError> {
        Ok(self.bf16.then(|| Bf16Autocast::enter(self.device)).transpose()?)
    }
}

/// What an objective makes of a batch.
pub struct Loss {
    /// []: what is minimised.
    pub total: Tensor,
    /// `[B]`, without gradient: each picture's prediction error, in [0, 1]; comparable between steps.
    pub errors: Tensor,
    /// [2B, D], without gradient: the encoder's features, for health.
    pub features: Tensor,
}

/// A proxy task that makes the data its own label.
pub trait Objective: Send {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// The network that is published.
    fn encoder(&self) -> &dyn Encoder;

    /// The loss of a batch.
    fn loss(&self, views: &Views, numerics: Numerics) -> Result<Loss, LearnError>;
}

/// An objective and the variables it trains.
pub(super) struct Built {
    pub(super) objective: Box<dyn Objective>,
    /// The encoder's, under the names it is published with.
    pub(super) encoder: VarStore,
    /// Those of the heads, which are never published.
    pub(super) heads: VarStore,
}

/// Builds an objective with first values from the seed.
pub(super) fn build(kind: ObjectiveKind, spec: &EncoderSpec, seed: u64, device: Device) -> Result<Built, LearnError> {
    let (encoder, heads) = (VarStore::new(device), VarStore::new(device));
    let network = spec.build(&encoder.root());
    let objective: Box<dyn Objective> = match kind {
        ObjectiveKind::Simclr => Box::new(SimClr::new(network, &heads.root())),
    };
    initialise(&encoder, seed)?;
    initialise(&heads, seed)?;
    Ok(Built {
        objective,
        encoder,
        heads,
    })
}
