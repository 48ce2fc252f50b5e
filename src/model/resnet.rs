//! ResNet (He et al. 2016) with GroupNorm (Wu and He 2018) in place of BatchNorm, whose statistics would mix new and
//! replayed samples. Basic blocks; variables are named as in `timm.models.resnet`.
//! Where we differ from timm: the last norm of a block starts at 1, as in the paper, not at 0.

use tch::Tensor;
use tch::nn::{Init, Path};

use super::Encoder;

/// GroupNorm's epsilon, timm's.
pub(super) const EPSILON: f64 = 1e-5;

/// The first layers, which reduce a picture to a quarter of its side together with the max pooling after them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stem {
    /// One 7x7 convolution to 64 channels (timm: `stem_type = ""`).
    Plain,
    /// Three 3x3 convolutions to `width`, `width`, `2 * width` channels (timm: `stem_type = "deep"`).
    Deep {
        /// Channels of the first two.
        width: i64,
    },
}

/// How a norm groups channels.
#[derive(Clone, Copy, Debug)]
pub(super) enum Norm {
    /// All channels in one group (timm: `groupnorm1`); the fastest where memory is laid out channels last.
    One,
    /// 32 groups (timm: `groupnorm`).
    ThirtyTwo,
}

impl Norm {
    /// Groups of channels.
    pub(super) fn groups(self) -> i64 {
        match self {
            Self::One => 1,
            Self::ThirtyTwo => 32,
        }
    }
}

/// What a block is made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3 with the stride, and 1x1 to four times the stage's channels.
    Bottleneck,
}

impl Kind {
    /// Channels that a block of a stage of `channels` puts out.
    pub(super) fn outputs(self, channels: i64) -> i64 {
        match self {
            Self::Basic => channels,
            Self::Bottleneck => 4 * channels,
        }
    }
}

/// A ResNet's shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// timm's network of the same blocks.
    pub architecture: &'static str,
    /// What a block is made of.
    pub block: Kind,
    /// Blocks of each stage.
    pub layers: [i64; 4],
    /// Channels of each stage.
    pub channels: [i64; 4],
    /// The first layers.
    pub stem: Stem,
    /// The norm of every layer.
    pub norm: Norm,
}

/// About 20 million multiplications for a 64x64 picture, 1.2 million weights.
pub(super) const TINY: Plan = Plan {
    architecture: "resnet18",
    block: Kind::Basic,
    layers: [1, 1, 1, 1],
    channels: [32, 64, 128, 256],
    stem: Stem::Deep { width: 16 },
    norm: Norm::One,
};

/// The paper's ResNet-18: 11.2 million weights.
pub(super) const RESNET18: Plan = Plan {
    architecture: "resnet18",
    block: Kind::Basic,
    layers: [2, 2, 2, 2],
    channels: [64, 128, 256, 512],
    stem: Stem::Plain,
    norm: Norm::ThirtyTwo,
};

/// The paper's ResNet-50, timm's `resnet50_gn`: 23.5 million weights.
pub(super) const RESNET50: Plan = Plan {
    architecture: "resnet50",
    block: Kind::Bottleneck,
    layers: [3, 4, 6, 3],
    ..RESNET18
};

impl Plan {
    pub(super) fn dim(&self) -> i64 {
        self.block.outputs(self.channels[3])
    }

    /// Pixels of each side of the map that a picture of `image_px` gives: five times halved, rounded up.
    pub(super) fn map_side(&self, image_px: i64) -> i64 {
        (0..5).fold(image_px, |side, _| (side + 1) / 2)
    }

    /// timm's name of the norm.
    pub(super) fn norm_layer(&self) -> &'static str {
        match self.norm {
            Norm::One => "groupnorm1",
            Norm::ThirtyTwo => "groupnorm",
        }
    }

    /// timm's name of the convolution that sees the picture.
    pub(super) fn first_conv(&self) -> &'static str {
        match self.stem {
            Stem::Plain => "conv1",
            Stem::Deep { .. } => "conv1.0",
        }
    }

    /// What timm's network must be told to be this one.
    pub(super) fn timm_args(&self) -> serde_json::Value {
        let (stem_type, stem_width) = match self.stem {
            Stem::Plain => ("", 64),
            Stem::Deep { width } => ("deep", width),
        };
        serde_json::json!({
            "layers": self.layers,
            "channels": self.channels,
            "stem_type": stem_type,
            "stem_width": stem_width,
            "norm_layer": self.norm_layer(),
        })
    }
}

/// The network.
#[derive(Debug)]
pub struct Resnet {
    stem: Vec<ConvNorm>,
    blocks: Vec<Block>,
    dim: i64,
}

impl Resnet {
    pub(super) fn new(path: &Path, plan: &Plan) -> Self {
        let (stem, mut inputs) = match plan.stem {
            Stem::Plain => {
                let conv = Conv::new(&(path / "conv1"), 3, 64, 7, 2);
                (vec![ConvNorm(conv, GroupNorm::new(&(path / "bn1"), plan.norm, 64))], 64)
            }
            Stem::Deep { width } => {
                let deep = path / "conv1";
                // timm's conv1 is a sequence: 0, 3, 6 are convolutions, 1 and 4 norms; the norm of 6 is bn1.
                let layers = vec![
                    ConvNorm(
                        Conv::new(&(&deep / 0), 3, width, 3, 2),
                        GroupNorm::new(&(&deep / 1), plan.norm, width),
                    ),
                    ConvNorm(
                        Conv::new(&(&deep / 3), width, width, 3, 1),
                        GroupNorm::new(&(&deep / 4), plan.norm, width),
                    ),
                    ConvNorm(
                        Conv::new(&(&deep / 6), width, 2 * width, 3, 1),
                        GroupNorm::new(&(path / "bn1"), plan.norm, 2 * width),
                    ),
                ];
                (layers, 2 * width)
            }
        };
        let mut blocks = Vec::new();
        for (stage, (&count, &channels)) in plan.layers.iter().zip(&plan.channels).enumerate() {
            let stage_path = path / format!("layer{}", stage + 1);
            for index in 0..count {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                blocks.push(Block::new(&(&stage_path / index), plan, inputs, channels, stride));
                inputs = plan.block.outputs(channels);
            }
        }
        Self {
            stem,
            blocks,
            dim: plan.dim(),
        }
    }
}

impl Encoder for Resnet {
    fn dim(&self) -> i64 {
        self.dim
    }

    fn map(&self, images: &Tensor) -> Tensor {
        let mut x = images.shallow_clone(); //        [B, 3, H, W]
        for layer in &self.stem {
            x = layer.forward(&x).relu_();
        }
        x = x.max_pool2d(3, 2, 1, 1, false); //       [B, C, H/4, W/4]
        for block in &self.blocks {
            x = block.forward(&x);
        }
        x //                                          [B, D, H/32, W/32]
    }
}

/// Convolutions and a way around them.
#[derive(Debug)]
struct Block {
    layers: Vec<ConvNorm>,
    last: ConvNorm,
    shortcut: Option<ConvNorm>,
}

impl Block {
    fn new(path: &Path, plan: &Plan, inputs: i64, channels: i64, stride: i64) -> Self {
        let layer = |number: i64, inputs: i64, outputs: i64, side: i64, stride: i64| {
            ConvNorm(
                Conv::new(&(path / format!("conv{number}")), inputs, outputs, side, stride),
                GroupNorm::new(&(path / format!("bn{number}")), plan.norm, outputs),
            )
        };
        let outputs = plan.block.outputs(channels);
        let shortcut = (stride != 1 || inputs != outputs).then(|| {
            let path = path / "downsample";
            ConvNorm(
                Conv::new(&(&path / 0), inputs, outputs, 1, stride),
                GroupNorm::new(&(&path / 1), plan.norm, outputs),
            )
        });
        let (layers, last) = match plan.block {
            Kind::Basic => (
                vec![layer(1, inputs, channels, 3, stride)],
                layer(2, channels, outputs, 3, 1),
            ),
            Kind::Bottleneck => (
                vec![
                    layer(1, inputs, channels, 1, 1),
                    layer(2, channels, channels, 3, stride),
                ],
                layer(3, channels, outputs, 1, 1),
            ),
        };
        Self { layers, last, shortcut }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let mut y = x.shallow_clone();
        for layer in &self.layers {
            y = layer.forward(&y).relu_();
        }
        let y = self.last.forward(&y);
        match &self.shortcut {
            Some(shortcut) => (y + shortcut.forward(x)).relu_(),
            None => (y + x).relu_(),
        }
    }
}

#[derive(Debug)]
struct ConvNorm(Conv, GroupNorm);

impl ConvNorm {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.1.forward(&self.0.forward(x))
    }
}

/// A convolution without bias: the norm after it has one.
#[derive(Debug)]
struct Conv {
    weight: Tensor,
    stride: i64,
    padding: i64,
}

impl Conv {
    fn new(path: &Path, inputs: i64, outputs: i64, side: i64, stride: i64) -> Self {
        Self {
            weight: path.var("weight", &[outputs, inputs, side, side], Init::Const(0.0)),
            stride,
            padding: side / 2,
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.conv2d(&self.weight, None::<&Tensor>, self.stride, self.padding, 1, 1)
    }
}

#[derive(Debug)]
struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: i64,
}

impl GroupNorm {
    fn new(path: &Path, norm: Norm, channels: i64) -> Self {
        Self {
            weight: path.var("weight", &[channels], Init::Const(1.0)),
            bias: path.var("bias", &[channels], Init::Const(0.0)),
            groups: norm.groups(),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.group_norm(self.groups, Some(&self.weight), Some(&self.bias), EPSILON, false)
    }
}
