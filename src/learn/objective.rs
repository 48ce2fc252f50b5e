//! What every proxy task offers: a network, and the loss that trains it.

use tch::nn::{Path, VarStore};
use tch::{Device, Tensor};

use super::LearnError;
use super::icm::Icm;
use super::inpaint::Inpaint;
use super::mae::Mae;
use super::masked::Masked;
use super::mlm::{self, Mlm};
use super::show::{Hidden, HiddenPatches, HiddenWords};
use super::simclr::SimClr;
use super::vicreg::VicReg;
use crate::config::{LearningConfig, ObjectiveKind};
use crate::model::{
    Actions, Bert, Encoder, EncoderSpec, Filler, Input, ModelError, PatchTransformer, Patches, StateNetwork, Tokens,
    initialise,
};
use crate::sample::Modality;
use crate::torch::Bf16Autocast;

/// Two views of each of B samples, on the learner's device.
pub struct Views {
    /// 2B rows: row `i` and row `B + i` show one sample; of a transition its state and the next.
    pub input: Input,
    /// What is hidden in them, but of pictures.
    pub hidden: Option<Hidden>,
    /// `[B]`, whole numbers: which sample; the same one may be drawn twice.
    pub samples: Tensor,
    /// `[B]`: how much each sample counts; 1 for a uniform draw.
    pub weights: Tensor,
    /// Seed of whatever the objective draws itself, together with the step: never libtorch's own generator, or a step
    /// could not be made again.
    pub seed: u64,
    /// The step.
    pub step: u64,
}

impl Views {
    /// The pictures' views: [2B, 3, px, px], normalised. An error where they are of something else.
    pub fn images(&self) -> Result<&Tensor, ModelError> {
        match &self.input {
            Input::Images(images) => Ok(images),
            other => Err(ModelError::OtherInput {
                network: Modality::Image,
                given: other.modality(),
            }),
        }
    }

    /// The texts' views: 2B rows of tokens, and what is hidden in them. An error where they are of something else.
    pub fn tokens(&self) -> Result<(&Tokens, &HiddenWords), ModelError> {
        match (&self.input, &self.hidden) {
            (Input::Tokens(tokens), Some(Hidden::Words(hidden))) => Ok((tokens, hidden)),
            (other, _) => Err(ModelError::OtherInput {
                network: Modality::Text,
                given: other.modality(),
            }),
        }
    }

    /// The series' views: 2B rows of patches, and what is hidden in them. An error where they are of something else.
    pub fn patches(&self) -> Result<(&Patches, &HiddenPatches), ModelError> {
        match (&self.input, &self.hidden) {
            (Input::Patches(patches), Some(Hidden::Patches(hidden))) => Ok((patches, hidden)),
            (other, _) => Err(ModelError::OtherInput {
                network: Modality::Series,
                given: other.modality(),
            }),
        }
    }

    /// The transitions' states, [2B, S]: those before, then those after; and what was done. An error where they are of
    /// something else.
    pub fn states(&self) -> Result<(&Tensor, &Actions), ModelError> {
        match (&self.input, &self.hidden) {
            (Input::States(states), Some(Hidden::Actions(actions))) => Ok((states, actions)),
            (other, _) => Err(ModelError::OtherInput {
                network: Modality::Transition,
                given: other.modality(),
            }),
        }
    }
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
    /// `[B]`, without gradient: each sample's prediction error, 0 at best; comparable between steps. Its unit is the
    /// objective's: of `simclr` and `vicreg` a quarter of the squared distance of the views' unit embeddings, of `inpaint`
    /// the squared error of a hidden pixel (1: black for white), of `mae` the share of a hidden patch's variance that was
    /// not predicted, of `mlm` and `bert` the negative log-likelihood of a hidden token over that of a guess among all tokens, of
    /// `masked` the squared error of a hidden number in variances of what is visible of its variable, above 1 ever nearer to 2, of
    /// `icm` the squared error of the next state's features over their variance.
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

    /// The features of the network that is published: [N, D], float32. An error where the input is of another kind of data.
    fn features(&self, input: &Input) -> Result<Tensor, ModelError>;

    /// The loss of a batch.
    fn loss(&self, views: &Views, numerics: Numerics) -> Result<Loss, LearnError>;

    /// Hears that the step of this loss was taken, for what is measured and not trained: a step that failed changes nothing.
    fn taken(&self, _loss: &Loss) {}
}

/// Adds the variables of the heads of an objective whose heads are a decoder below `path`: what says what is hidden.
pub(super) fn decoder(config: &LearningConfig, spec: &EncoderSpec, path: &Path) -> Filler {
    match spec {
        EncoderSpec::Text(spec) => Filler::Words(mlm::heads(config.objective.of(Modality::Text), spec, path).0),
        _ => Filler::new(path, spec),
    }
}

/// The features that an encoder of pictures gives. An error where the input is none.
pub(super) fn of_pictures_alone(encoder: &dyn Encoder, input: &Input) -> Result<Tensor, ModelError> {
    match input {
        Input::Images(images) => Ok(encoder.forward(images)),
        other => Err(ModelError::OtherInput {
            network: Modality::Image,
            given: other.modality(),
        }),
    }
}

/// An objective and the variables it trains.
pub(super) struct Built {
    pub(super) objective: Box<dyn Objective>,
    /// The encoder's, under the names it is published with.
    pub(super) encoder: VarStore,
    /// Those of the heads.
    pub(super) heads: VarStore,
    /// Whether the heads say what is hidden, and are published beside the encoder.
    pub(super) is_decoder: bool,
    /// Those of an adversary, which are updated by its own loss.
    pub(super) critic: Option<VarStore>,
}

/// Builds the configured objective with first values from the seed.
pub(super) fn build(config: &LearningConfig, spec: &EncoderSpec, device: Device) -> Result<Built, LearnError> {
    let kind = config.objective.of(spec.modality());
    let (encoder, heads) = (VarStore::new(device), VarStore::new(device));
    let has_critic = kind == ObjectiveKind::Inpaint && config.inpaint_adversarial;
    let critic = has_critic.then(|| VarStore::new(device));
    let roots = (encoder.root(), heads.root());
    let objective: Box<dyn Objective> = match (kind, spec) {
        (ObjectiveKind::Simclr, EncoderSpec::Image(spec)) => Box::new(SimClr::new(spec.build(&roots.0), &roots.1)),
        (ObjectiveKind::Vicreg, EncoderSpec::Image(spec)) => Box::new(VicReg::new(spec.build(&roots.0), &roots.1)),
        (ObjectiveKind::Inpaint, EncoderSpec::Image(spec)) => {
            let critic = critic.as_ref().map(VarStore::root);
            Box::new(Inpaint::new(spec.build(&roots.0), spec, &roots.1, critic.as_ref()))
        }
        (ObjectiveKind::Mae, EncoderSpec::Image(spec)) => {
            let network = spec.build_vit(&roots.0).ok_or(LearnError::NeedsVit)?;
            Box::new(Mae::new(network, &roots.1))
        }
        (ObjectiveKind::Mlm | ObjectiveKind::Bert, EncoderSpec::Text(spec)) => {
            Box::new(Mlm::new(kind, Bert::new(&roots.0, &spec.bert), spec, &roots.1))
        }
        (ObjectiveKind::Masked, EncoderSpec::Series(spec)) => {
            Box::new(Masked::new(PatchTransformer::new(&roots.0, spec), spec, &roots.1))
        }
        (ObjectiveKind::Icm, EncoderSpec::Transition(spec)) => {
            Box::new(Icm::new(StateNetwork::new(&roots.0, spec), spec, &roots.1))
        }
        _ => {
            return Err(LearnError::OtherModality {
                objective: kind,
                modality: spec.modality(),
            });
        }
    };
    for variables in [&encoder, &heads].into_iter().chain(&critic) {
        initialise(variables, config.seed)?;
    }
    Ok(Built {
        objective,
        encoder,
        heads,
        is_decoder: kind.has_decoder(),
        critic,
    })
}

#[cfg(test)]
mod tests;
