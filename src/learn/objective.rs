//! What every proxy task offers: a network, and the loss that trains it.

use tch::nn::VarStore;
use tch::{Device, Tensor};

use super::LearnError;
use super::augment::Recipe;
use super::inpaint::Inpaint;
use super::mae::Mae;
use super::simclr::SimClr;
use super::vicreg::VicReg;
use crate::config::{LearningConfig, ObjectiveKind};
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
    /// Seed of whatever the objective draws itself, together with the step: never libtorch's own generator, or a step
    /// could not be made again.
    pub seed: u64,
    /// The step.
    pub step: u64,
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
    /// `[B]`, without gradient: each picture's prediction error, in [0, 1]; comparable between steps. Its unit is the
    /// objective's: of `simclr` and `vicreg` a quarter of the squared distance of the views' unit embeddings, of `inpaint`
    /// the squared error of a hidden pixel (1: black for white), of `mae` the share of a hidden patch's variance that was
    /// not predicted.
    pub errors: Tensor,
    /// [2B, D]: the encoder's features of what it was shown, for health and for alignment with the teacher.
    pub features: Tensor,
    /// []: what an adversary minimises, by updates of its own; it holds no gradient of anything else. None where the
    /// objective has none.
    pub critic: Option<Tensor>,
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

/// The views that an objective learns from: two augmentations that hardly share a colour where views shall be found alike,
/// crop and mirror alone where pixels are predicted (He et al. 2022, table 1e: more augmentation is worse).
pub(super) fn recipe(kind: ObjectiveKind, px: u32) -> Recipe {
    match kind {
        ObjectiveKind::Simclr | ObjectiveKind::Vicreg => Recipe::for_px(px),
        ObjectiveKind::Inpaint | ObjectiveKind::Mae => Recipe::crop_and_mirror(px),
    }
}

/// An objective and the variables it trains.
pub(super) struct Built {
    pub(super) objective: Box<dyn Objective>,
    /// The encoder's, under the names it is published with.
    pub(super) encoder: VarStore,
    /// Those of the heads.
    pub(super) heads: VarStore,
    /// Whether the heads are a decoder that fills holes, and are published beside the encoder.
    pub(super) is_decoder: bool,
    /// Those of an adversary, which are updated by its own loss.
    pub(super) critic: Option<VarStore>,
}

/// Builds the configured objective with first values from the seed.
pub(super) fn build(config: &LearningConfig, spec: &EncoderSpec, device: Device) -> Result<Built, LearnError> {
    let (kind, root) = (config.objective, VarStore::root);
    let (encoder, heads) = (VarStore::new(device), VarStore::new(device));
    let has_critic = kind == ObjectiveKind::Inpaint && config.inpaint_adversarial;
    let critic = has_critic.then(|| VarStore::new(device));
    let objective: Box<dyn Objective> = match kind {
        ObjectiveKind::Simclr => Box::new(SimClr::new(spec.build(&encoder.root()), &heads.root())),
        ObjectiveKind::Vicreg => Box::new(VicReg::new(spec.build(&encoder.root()), &heads.root())),
        ObjectiveKind::Inpaint => {
            let critic = critic.as_ref().map(root);
            let network = spec.build(&encoder.root());
            Box::new(Inpaint::new(network, spec, &heads.root(), critic.as_ref()))
        }
        ObjectiveKind::Mae => {
            let network = spec.build_vit(&encoder.root()).ok_or(LearnError::NeedsVit)?;
            Box::new(Mae::new(network, &heads.root()))
        }
    };
    for variables in [&encoder, &heads].into_iter().chain(&critic) {
        initialise(variables, config.seed)?;
    }
    Ok(Built {
        objective,
        encoder,
        heads,
        is_decoder: kind == ObjectiveKind::Inpaint,
        critic,
    })
}

#[cfg(test)]
mod tests;
