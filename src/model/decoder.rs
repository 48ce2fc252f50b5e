//! From an encoder's map back to a picture (Context Encoders, Pathak et al. 2016, section 3.1): each channel's places
//! are mixed by a matrix of its own, then the map is doubled in size until it is the picture's.
//! Where we differ: channels are first reduced to at most [`WIDTH_MAX`], so that those matrices stay small; channels are
//! normed, in one group; the picture is predicted whole, not only its hidden region.

use tch::nn::{Init, Path};
use tch::{Kind, Tensor};

use super::ImageSpec;

/// Channels after the reduction, at most.
const WIDTH_MAX: i64 = 256;

/// Channels of the largest maps: each doubling of the size halves the channels down to them.
const WIDTH_MIN: i64 = 16;

/// The norms' epsilon.
const EPSILON: f64 = 1e-5;

/// Weights of the decoders that belong to the two networks of a candidate, as safetensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoders {
    /// Of the student.
    pub student: Vec<u8>,
    /// Of its teacher.
    pub teacher: Vec<u8>,
}

/// The network.
#[derive(Debug)]
pub struct Decoder {
    reduce: Tensor,
    reduce_bias: Tensor,
    across: Tensor,
    across_bias: Tensor,
    doublings: Vec<Doubling>,
    output: Tensor,
    output_bias: Tensor,
    px: i64,
}

/// The up-convolution of the paper: twice the size, then a convolution.
#[derive(Debug)]
struct Doubling {
    weight: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
}

impl Decoder {
    /// The decoder of an encoder's maps; its variables, zero until initialised or loaded, are added below `path`.
    pub fn new(path: &Path, spec: &ImageSpec) -> Self {
        let (inputs, mut side, px) = (spec.dim(), spec.map_side(), i64::from(spec.image_px));
        let path = path / "decoder";
        let zeros = |path: &Path, name: &str, shape: &[i64]| path.var(name, shape, Init::Const(0.0));
        let mut width = inputs.min(WIDTH_MAX);
        let places = side * side;
        // Matrices, also where they are used as convolutions: that is how their first values are chosen.
        let (first, second) = (&path / "reduce", &path / "across");
        let (reduce, reduce_bias) = (
            zeros(&first, "weight", &[width, inputs]),
            zeros(&first, "bias", &[width]),
        );
        let (across, across_bias) = (
            zeros(&second, "weight", &[width * places, places]),
            zeros(&second, "bias", &[width]),
        );
        let mut doublings = Vec::new();
        while side < px {
            let outputs = (width / 2).max(WIDTH_MIN);
            let path = &path / "up" / doublings.len() as i64;
            doublings.push(Doubling {
                weight: zeros(&(&path / "conv"), "weight", &[outputs, width, 3, 3]),
                norm_weight: (&path / "norm").var("weight", &[outputs], Init::Const(1.0)),
                norm_bias: zeros(&(&path / "norm"), "bias", &[outputs]),
            });
            (side, width) = (2 * side, outputs);
        }
        let last = &path / "output";
        Self {
            reduce,
            reduce_bias,
            across,
            across_bias,
            doublings,
            output: zeros(&last, "weight", &[3, width]),
            output_bias: zeros(&last, "bias", &[3]),
            px,
        }
    }

    /// A map [B, D, h, w] to normalised pictures [B, 3, px, px].
    pub fn forward(&self, map: &Tensor) -> Tensor {
        let x = pointwise(map, &self.reduce, &self.reduce_bias).relu(); //    [B, W, h, w]
        let mut x = self.mix(&x).relu();
        for doubling in &self.doublings {
            x = doubling.forward(&x);
        }
        let picture = pointwise(&x, &self.output, &self.output_bias);
        // A side that is no multiple of the map's is overshot: the middle is the picture.
        let over = picture.size()[2] - self.px;
        picture.narrow(2, over / 2, self.px).narrow(3, over / 2, self.px)
    }

    /// The channel-wise fully connected layer: every place of a channel sees every other place of it.
    fn mix(&self, x: &Tensor) -> Tensor {
        let [count, width, height, breadth] = [x.size()[0], x.size()[1], x.size()[2], x.size()[3]];
        let places = height * breadth;
        let rows = x.reshape([count, width, places]).transpose(0, 1); //      [W, B, N]
        let matrices = self.across.view([width, places, places]).transpose(1, 2);
        let mixed = rows.bmm(&matrices) + self.across_bias.view([width, 1, 1]);
        mixed.transpose(0, 1).reshape([count, width, height, breadth])
    }
}

impl Doubling {
    fn forward(&self, x: &Tensor) -> Tensor {
        let side = [2 * x.size()[2], 2 * x.size()[3]];
        x.upsample_nearest2d(side.as_slice(), None, None)
            .conv2d(&self.weight, None::<&Tensor>, 1, 1, 1, 1)
            .to_kind(Kind::Float)
            .group_norm(1, Some(&self.norm_weight), Some(&self.norm_bias), EPSILON, false)
            .relu()
    }
}

/// A matrix [outputs, inputs] on the channels of every place.
fn pointwise(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    x.conv2d(&weight.unsqueeze(2).unsqueeze(3), Some(bias), 1, 0, 1, 1)
}
