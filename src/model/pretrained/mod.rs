//! Weights to continue from: a folder as others save it and curiod publishes it.
//! Invariant: what is read here has every variable of the network that it was read for, by name, shape and type.

mod bert;
mod own;
mod timm;

use std::path::Path;

use tch::nn::VarStore;

pub(super) use bert::PretrainedBert;
use own::PretrainedOwn;
use timm::PretrainedTimm;

use super::text::Tokenizer;
use super::{EncoderSpec, ModelError};

/// Weights that fit a network.
#[derive(Debug)]
pub enum Pretrained {
    /// Of pictures, as timm saves them.
    Timm(PretrainedTimm),
    /// Of texts, as Hugging Face's transformers save them.
    Bert(PretrainedBert),
    /// Of series or transitions, as curiod publishes them.
    Own(PretrainedOwn),
}

impl Pretrained {
    /// Reads a folder's weights for this network.
    pub fn read(dir: &Path, spec: &EncoderSpec) -> Result<Self, ModelError> {
        Ok(match spec {
            EncoderSpec::Image(spec) => Self::Timm(PretrainedTimm::read(dir, spec)?),
            EncoderSpec::Text(spec) => Self::Bert(PretrainedBert::read(dir, spec)?),
            EncoderSpec::Series(_) | EncoderSpec::Transition(_) => Self::Own(PretrainedOwn::read(dir, spec)?),
        })
    }

    /// Loads the weights into the variables of that network.
    pub fn load_into(&self, variables: &VarStore) -> Result<(), ModelError> {
        match self {
            Self::Timm(weights) => weights.load_into(variables),
            Self::Bert(weights) => weights.load_into(variables),
            Self::Own(weights) => weights.load_into(variables),
        }
    }

    /// Loads what the folder has of the head that predicts hidden words; whether it has one.
    pub fn load_head_into(&self, variables: &VarStore) -> Result<bool, ModelError> {
        match self {
            Self::Timm(_) | Self::Own(_) => Ok(false),
            Self::Bert(weights) => weights.load_head_into(variables),
        }
    }

    /// The vocabulary that the weights know; None where they are not of texts.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        match self {
            Self::Timm(_) | Self::Own(_) => None,
            Self::Bert(weights) => Some(weights.tokenizer()),
        }
    }
}
