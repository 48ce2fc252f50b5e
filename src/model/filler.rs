//! What says what is hidden: the heads that learn beside an encoder, have a teacher as it has, and are published with it.

use tch::nn::{Path, VarStore};

use super::bert::MaskedHead;
use super::{Decoder, Dynamics, EncoderSpec, ModelError, PatchHead, weights};

/// The heads of an objective that predicts a part of a sample from the rest.
pub enum Filler {
    /// Paints hidden regions of pictures.
    Pictures(Decoder),
    /// Guesses hidden words.
    Words(MaskedHead),
    /// Guesses hidden patches of series.
    Patches(PatchHead),
    /// Guesses what was done, and what comes of it.
    Dynamics(Dynamics),
}

impl Filler {
    /// The heads beside this network; their variables are added below `path`.
    pub fn new(path: &Path, spec: &EncoderSpec) -> Self {
        match spec {
            EncoderSpec::Image(spec) => Self::Pictures(Decoder::new(path, spec)),
            EncoderSpec::Text(spec) => Self::Words(MaskedHead::new(path, &spec.bert)),
            EncoderSpec::Series(spec) => Self::Patches(PatchHead::new(path, spec)),
            EncoderSpec::Transition(spec) => Self::Dynamics(Dynamics::new(path, spec)),
        }
    }

    /// Loads a `decoder.safetensors` into the heads' variables. The other heads of the objective, kept beside them, are left out.
    pub(super) fn load(&self, variables: &VarStore, safetensors: &[u8]) -> Result<(), ModelError> {
        match self {
            Self::Words(_) => weights::load_known(variables, safetensors, |name| !name.starts_with("cls.predictions.")),
            Self::Pictures(_) | Self::Patches(_) | Self::Dynamics(_) => weights::load_into(variables, safetensors),
        }
    }
}
