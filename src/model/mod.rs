//! Networks: how an encoder is built, named, saved, loaded and used for embeddings.
//! Invariant: variables bear timm's names and shapes, so that what is written here loads there and the other way round.

pub mod bert;
pub mod cut;
mod decoder;
mod dynamics;
mod embedder;
mod filler;
pub mod forecast;
mod hole;
mod init;
mod layers;
mod network;
pub mod onnx;
mod operators;
mod patches;
mod pretrained;
mod raw;
mod resnet;
mod ridge;
mod scale;
mod spec;
mod spectrum;
mod states;
pub mod text;
pub mod torchscript;
pub mod vit;
pub mod weights;

use tch::{Kind, Tensor};

pub use bert::{Bert, Tokens};
pub use cut::{PaddedPatches, PatchRow};
pub use decoder::{Decoder, Decoders};
pub use dynamics::{Actions, Dynamics, HEADS, StateNetwork, Told};
pub use embedder::{Curiosity, Embedder, Guess};
pub use filler::Filler;
pub use forecast::Forecast;
pub use hole::Hole;
pub use init::initialise;
pub use layers::{Dense, LayerNorm};
pub use network::{Input, Network};
pub use operators::Misfit;
pub use patches::{PatchHead, PatchTransformer, Patches};
pub use pretrained::Pretrained;
pub use raw::raw;
pub use resnet::Resnet;
pub use ridge::{PENALTIES, Ridge};
pub use scale::{Scale, Scales, is_unscaled};
pub use spec::{Architecture, EncoderSpec, ImageSpec, SeriesSpec, TextSpec, TransitionSpec};
use spec::{Plan, short_f64};
pub use spectrum::{effective_rank, spread};
pub use states::{StateRows, must_be_seen_whole};
pub use vit::Vit;

use crate::torch::TorchError;
use text::TokenizerError;

/// Mean of each channel (red, green, blue; 0 to 1) that is subtracted from a picture: ImageNet's, as timm does.
pub const PIXEL_MEAN: [f32; 3] = [0.485, 0.456, 0.406];

/// Standard deviation of each channel that a picture is divided by.
pub const PIXEL_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// What is wrong with a network or its weights.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// The bytes are not the weights of this network; nothing was changed.
    #[error("the weights do not fit the network: {0}")]
    Weights(String),
    /// A text could not be cut into tokens, or a vocabulary not be read.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A network of texts was opened without its vocabulary: a defect of curiod.
    #[error("a network of texts has no vocabulary")]
    NoTokenizer,
    /// A text in which words are to be guessed hides none among the tokens that the network sees.
    #[error("the text hides no word: write [MASK] where one is to be guessed")]
    NothingHidden,
    /// A sample is not what the network can see.
    #[error("the network can not see the sample: {0}")]
    Sample(#[from] crate::sample::ContentError),
    /// What a network was given is for another kind of network: a defect of curiod.
    #[error("a network of {network} was given {given}")]
    OtherInput {
        /// What the network reads.
        network: crate::sample::Modality,
        /// What it was given.
        given: crate::sample::Modality,
    },
    /// A folder holds no weights to continue from.
    #[error("learning can not continue from {}: {reason}", dir.display())]
    Pretrained {
        /// The folder.
        dir: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<tch::TchError> for ModelError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

/// A network that maps pictures to features. Owned by one thread.
pub trait Encoder: Send {
    /// Dimensions of its features.
    fn dim(&self) -> i64;

    /// `images` [B, 3, H, W], normalised by [`PIXEL_MEAN`] and [`PIXEL_STD`], in any memory layout, to features of places:
    /// [B, D, h, w].
    fn map(&self, images: &Tensor) -> Tensor;

    /// `images` as for [`map`](Self::map) to features of pictures, the mean of their places': [B, D], float32, not of unit
    /// length.
    fn forward(&self, images: &Tensor) -> Tensor {
        pooled(&self.map(images))
    }

    /// Makes it ready to be used and no longer trained, its matrices of this kind (bfloat16 for passes under autocast), where
    /// there is something to be gained by it.
    fn settle(&mut self, _kind: Kind) {}
}

/// The mean over places: [B, D, h, w] to [B, D], float32.
pub fn pooled(map: &Tensor) -> Tensor {
    map.mean_dim([2i64, 3].as_slice(), false, Kind::Float)
}

#[cfg(test)]
mod tests;
