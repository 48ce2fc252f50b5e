//! Networks: how an encoder is built, named, saved, loaded and used for embeddings.
//! Invariant: variables bear timm's names and shapes, so that what is written here loads there and the other way round.

mod embedder;
mod init;
mod resnet;
mod spectrum;
pub mod weights;

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor, nn};

pub use embedder::Embedder;
pub use init::initialise;
pub use resnet::Resnet;
pub use spectrum::{effective_rank, spread};

use crate::config::{EncoderKind, LearningConfig};
use crate::torch::TorchError;

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
}

impl From<tch::TchError> for ModelError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

/// A network that can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// A narrow ResNet of one block a stage, for CPUs.
    ResnetTiny,
    /// ResNet-18 with GroupNorm.
    Resnet18,
}

/// Everything that decides an encoder's variables and its input: no choice is left open in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EncoderSpec {
    /// The network.
    pub architecture: Architecture,
    /// Pixels of each side of the square it sees; also of the shorter side at which pictures are kept.
    pub image_px: u32,
}

impl EncoderSpec {
    /// What the configuration asks for on this device: `auto` and 0 are replaced by the defaults of the device and the
    /// network.
    pub fn resolve(config: &LearningConfig, device: Device) -> Self {
        let architecture = match config.encoder {
            EncoderKind::ResnetTiny => Architecture::ResnetTiny,
            EncoderKind::Resnet18 => Architecture::Resnet18,
            EncoderKind::Auto if device.is_cuda() => Architecture::Resnet18,
            EncoderKind::Auto => Architecture::ResnetTiny,
        };
        let image_px = match (config.image_px, architecture) {
            (0, Architecture::ResnetTiny) => 64,
            (0, Architecture::Resnet18) => 224,
            (asked, _) => asked,
        };
        Self { architecture, image_px }
    }

    /// Builds the network; its variables, zero until [`initialise`]d or loaded, are added below `path`.
    pub fn build(&self, path: &nn::Path) -> Box<dyn Encoder> {
        Box::new(Resnet::new(path, &self.plan()))
    }

    /// Samples of one step: what the configuration asks for, or the network's own number.
    pub fn batch(&self, config: &LearningConfig) -> usize {
        match (config.batch, self.architecture) {
            (0, Architecture::ResnetTiny) => 128,
            (0, Architecture::Resnet18) => 256,
            (asked, _) => asked,
        }
    }

    /// Dimensions of its embeddings.
    pub fn dim(&self) -> i64 {
        self.plan().dim()
    }

    /// The `config.json` from which timm builds the same network.
    pub fn timm_config(&self) -> serde_json::Value {
        let px = self.image_px;
        let pretrained_cfg = serde_json::json!({
            "custom_load": false,
            "input_size": [3, px, px],
            "fixed_input_size": false,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": PIXEL_MEAN.map(short_f64),
            "std": PIXEL_STD.map(short_f64),
            "num_classes": 0,
            "pool_size": null,
            "first_conv": self.plan().first_conv(),
            "classifier": "fc",
        });
        serde_json::json!({
            "architecture": "resnet18",
            "num_classes": 0,
            "num_features": self.dim(),
            "global_pool": "avg",
            "model_args": self.plan().timm_args(),
            "pretrained_cfg": pretrained_cfg,
        })
    }

    fn plan(&self) -> resnet::Plan {
        match self.architecture {
            Architecture::ResnetTiny => resnet::TINY,
            Architecture::Resnet18 => resnet::RESNET18,
        }
    }
}

/// The double whose shortest decimal is the float's: 0.485, not 0.48500001430511475.
fn short_f64(value: f32) -> f64 {
    (f64::from(value) * 1e6).round() / 1e6
}

/// A network that maps pictures to features. Owned by one thread.
pub trait Encoder: Send {
    /// Dimensions of its features.
    fn dim(&self) -> i64;

    /// `images` [B, 3, H, W], normalised by [`PIXEL_MEAN`] and [`PIXEL_STD`], in any memory layout, to pooled features
    /// [B, D], float32, not of unit length.
    fn forward(&self, images: &Tensor) -> Tensor;
}

#[cfg(test)]
mod tests;
