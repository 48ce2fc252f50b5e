//! Networks: how an encoder is built, named, saved, loaded and used for embeddings.
//! Invariant: variables bear timm's names and shapes, so that what is written here loads there and the other way round.

mod decoder;
mod embedder;
mod hole;
mod init;
mod layers;
mod pretrained;
mod resnet;
mod spectrum;
pub mod vit;
pub mod weights;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, nn};

pub use decoder::{Decoder, Decoders};
pub use embedder::Embedder;
pub use hole::Hole;
pub use init::initialise;
pub use layers::{Dense, LayerNorm};
pub use pretrained::Pretrained;
pub use resnet::Resnet;
pub use spectrum::{effective_rank, spread};
pub use vit::Vit;

use crate::config::{EncoderKind, LearningConfig, ObjectiveKind};
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

/// A network that can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// A narrow ResNet of one block a stage, for CPUs.
    ResnetTiny,
    /// ResNet-18 with GroupNorm.
    Resnet18,
    /// ResNet-50 with GroupNorm.
    Resnet50,
    /// ViT-Ti.
    VitTiny,
    /// ViT-S.
    VitSmall,
    /// ViT-B.
    VitBase,
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
    /// What the configuration asks for on this device: `auto` and 0 are replaced by the defaults of the device, the
    /// objective and the network.
    pub fn resolve(config: &LearningConfig, device: Device) -> Self {
        let needs_vit = config.objective == ObjectiveKind::Mae;
        let architecture = match config.encoder {
            EncoderKind::ResnetTiny => Architecture::ResnetTiny,
            EncoderKind::Resnet18 => Architecture::Resnet18,
            EncoderKind::Resnet50 => Architecture::Resnet50,
            EncoderKind::VitTiny => Architecture::VitTiny,
            EncoderKind::VitSmall => Architecture::VitSmall,
            EncoderKind::VitBase => Architecture::VitBase,
            EncoderKind::Auto if needs_vit && device.is_cuda() => Architecture::VitSmall,
            EncoderKind::Auto if needs_vit => Architecture::VitTiny,
            EncoderKind::Auto if device.is_cuda() => Architecture::Resnet18,
            EncoderKind::Auto => Architecture::ResnetTiny,
        };
        let image_px = match (config.image_px, architecture) {
            (0, Architecture::ResnetTiny | Architecture::VitTiny) => 64,
            (0, _) => 224,
            (asked, _) => asked,
        };
        Self { architecture, image_px }
    }

    /// Builds the network; its variables, zero until [`initialise`]d or loaded, are added below `path`.
    pub fn build(&self, path: &nn::Path) -> Box<dyn Encoder> {
        match self.plan() {
            Plan::Resnet(plan) => Box::new(Resnet::new(path, &plan)),
            Plan::Vit(plan) => Box::new(Vit::new(path, &plan, self.image_px)),
        }
    }

    /// Builds the network as [`build`](Self::build) does, for who must show it a part of a picture's patches. None where
    /// it is no ViT.
    pub fn build_vit(&self, path: &nn::Path) -> Option<Vit> {
        match self.plan() {
            Plan::Resnet(_) => None,
            Plan::Vit(plan) => Some(Vit::new(path, &plan, self.image_px)),
        }
    }

    /// Samples of one step: what the configuration asks for, or the network's own number: fewer for those that are slow
    /// on a CPU, and for those that keep much for the backward pass.
    pub fn batch(&self, config: &LearningConfig) -> usize {
        match (config.batch, self.architecture) {
            (0, Architecture::Resnet18 | Architecture::VitSmall) => 256,
            (0, _) => 128,
            (asked, _) => asked,
        }
    }

    /// Dimensions of its embeddings.
    pub fn dim(&self) -> i64 {
        match self.plan() {
            Plan::Resnet(plan) => plan.dim(),
            Plan::Vit(plan) => plan.dim,
        }
    }

    /// Places along each side of its [map](Encoder::map).
    pub fn map_side(&self) -> i64 {
        match self.plan() {
            Plan::Resnet(plan) => plan.map_side(self.image_px.into()),
            Plan::Vit(_) => i64::from(self.image_px / vit::patch_px(self.image_px)),
        }
    }

    /// Whether its variables depend on the size of its pictures: a ViT has a place for each patch.
    pub fn is_of_one_size(&self) -> bool {
        matches!(self.plan(), Plan::Vit(_))
    }

    /// The `config.json` from which timm builds the same network.
    pub fn timm_config(&self) -> serde_json::Value {
        let px = self.image_px;
        let (architecture, model_args, first_conv, classifier) = match self.plan() {
            Plan::Resnet(plan) => (plan.architecture, plan.timm_args(), plan.first_conv(), "fc"),
            Plan::Vit(plan) => (plan.architecture, vit::timm_args(px), "patch_embed.proj", "head"),
        };
        let pretrained_cfg = serde_json::json!({
            "custom_load": false,
            "input_size": [3, px, px],
            "fixed_input_size": self.is_of_one_size(),
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": PIXEL_MEAN.map(short_f64),
            "std": PIXEL_STD.map(short_f64),
            "num_classes": 0,
            "pool_size": null,
            "first_conv": first_conv,
            "classifier": classifier,
        });
        serde_json::json!({
            "architecture": architecture,
            "num_classes": 0,
            "num_features": self.dim(),
            "global_pool": "avg",
            "model_args": model_args,
            "pretrained_cfg": pretrained_cfg,
        })
    }

    fn plan(&self) -> Plan {
        match self.architecture {
            Architecture::ResnetTiny => Plan::Resnet(resnet::TINY),
            Architecture::Resnet18 => Plan::Resnet(resnet::RESNET18),
            Architecture::Resnet50 => Plan::Resnet(resnet::RESNET50),
            Architecture::VitTiny => Plan::Vit(vit::TINY),
            Architecture::VitSmall => Plan::Vit(vit::SMALL),
            Architecture::VitBase => Plan::Vit(vit::BASE),
        }
    }
}

/// The shape of a network, of either family.
enum Plan {
    Resnet(resnet::Plan),
    Vit(vit::Plan),
}

/// The double whose shortest decimal is the float's: 0.485, not 0.48500001430511475.
fn short_f64(value: f32) -> f64 {
    (f64::from(value) * 1e6).round() / 1e6
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
}

/// The mean over places: [B, D, h, w] to [B, D], float32.
pub fn pooled(map: &Tensor) -> Tensor {
    map.mean_dim([2i64, 3].as_slice(), false, Kind::Float)
}

#[cfg(test)]
mod tests;
