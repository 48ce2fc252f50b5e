//! Learning: draw, augment, step, report what was learnt, checkpoint, hand over a candidate; for ever.
//! Invariant: a step is a function of (seed, step, buffer, state), so any step can be made again; one thread owns the
//! weights.

mod adamw;
mod align;
mod anchor;
pub mod augment;
mod batch;
mod checkpoint;
mod critic;
mod decline;
mod driven;
mod effort;
mod firsts;
mod health;
mod holes;
mod icm;
mod inpaint;
mod learner;
mod mae;
mod masked;
mod mlm;
mod objective;
mod pace;
mod pairs;
mod run;
mod scaling;
mod schedule;
mod score;
mod show;
mod simclr;
mod surprise;
mod thread;
mod turns;
mod vicreg;
mod vocabulary;

use std::path::PathBuf;

pub use adamw::AdamW;
pub use batch::{Batch, Draft};
#[cfg(any(test, fuzzing))]
pub use checkpoint::checkpoint_facts;
pub use driven::DrivenLearner;
pub use health::Health;
pub use icm::Icm;
pub use inpaint::Inpaint;
pub use learner::{Learner, LearnerSetup, StepReport};
pub use mae::Mae;
pub use masked::Masked;
pub use mlm::Mlm;
pub use objective::{Loss, Numerics, Objective, Views};
pub use scaling::measure as measure_scales;
pub use schedule::learning_rate;
pub use score::ToScore;
pub use show::{Hidden, HiddenPatches, HiddenWords, PatchRows, Pixels, Rows, ShowError, Shown};
pub use simclr::{SimClr, nt_xent};
pub use thread::{Activity, Candidate, LearnSetup, LearnerState, LearnerThread, OnAlert};
pub use turns::DeviceTurns;
pub use vicreg::VicReg;
pub use vocabulary::train as train_vocabulary;

use crate::config::ObjectiveKind;
use crate::model::ModelError;
use crate::replay::ReplayError;
use crate::sample::Modality;
use crate::torch::TorchError;

/// Why learning can not go on.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// A network could not be built, saved or loaded.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The objective and the encoder do not go together.
    #[error(
        "the objective `mae` hides patches from its encoder, which only a ViT can do without: set `learning.encoder`"
    )]
    NeedsVit,
    /// The objective is for another kind of data.
    #[error("the objective {objective:?} does not learn from a stream of the modality {modality}")]
    OtherModality {
        /// The objective.
        objective: ObjectiveKind,
        /// The stream's.
        modality: Modality,
    },
    /// A stream of texts has no vocabulary: a defect of curiod.
    #[error("there is no vocabulary to read texts with")]
    NoTokenizer,
    /// The replay buffer failed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A sample of the buffer is not what it should be.
    #[error("a sample of the replay buffer can not be learnt from: {0}")]
    Show(#[from] ShowError),
    /// A file of a checkpoint could not be read or written.
    #[error("checkpoint {}: {source}", path.display())]
    Checkpoint {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("failed to start the thread {name}: {source}")]
    Thread {
        /// Its name.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Step after step fails, from every checkpoint and at every rate.
    #[error(
        "steps up to {step} had a loss or gradient that is no number, again and again\nhint: lower \
         `learning.learning_rate`, or set `learning.precision = \"fp32\"`"
    )]
    Diverged {
        /// Steps done.
        step: u64,
    },
    /// The threads that augment have ended.
    #[error("the threads that augment have ended")]
    AugmentersEnded,
}

impl From<tch::TchError> for LearnError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

#[cfg(test)]
mod tests;
