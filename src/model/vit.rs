//! Vision transformer (Dosovitskiy et al. 2021); variables are named as in `timm.models.vision_transformer`.
//!
//! The class token is there, as in timm's weights and in MAE's, so that those can be continued from; a picture's features
//! are the mean of its patches' tokens after the last norm (timm: `global_pool = "avg"`, `fc_norm = false`). MAE trains
//! no class token (He et al. 2022, appendix A.1: average pooling works similarly well), and its decoder reads the same
//! normed tokens, so one choice serves every objective.

use tch::nn::{Init, Path};
use tch::{Kind, Tensor};

use super::{Dense, Encoder, LayerNorm};

/// Largest picture that is cut into patches of 8 pixels: with 16 a picture of 64 would be 16 tokens, too few to hide
/// three quarters of them. Above it 16, as the paper and published weights have it: a picture of 224 is 196 tokens.
const SMALL_PX_MAX: u32 = 96;

/// Pixels of each side of a patch.
pub(crate) fn patch_px(image_px: u32) -> u32 {
    if image_px <= SMALL_PX_MAX { 8 } else { 16 }
}

/// A ViT's shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// timm's network of the same blocks.
    pub architecture: &'static str,
    /// Numbers of a token.
    pub dim: i64,
    /// Attention heads, of 64 numbers each.
    pub heads: i64,
}

/// Blocks of every plan.
pub(super) const DEPTH: i64 = 12;

/// 5.4 million weights.
pub(super) const TINY: Plan = Plan {
    architecture: "vit_tiny_patch16_224",
    dim: 192,
    heads: 3,
};

/// 21.6 million weights.
pub(super) const SMALL: Plan = Plan {
    architecture: "vit_small_patch16_224",
    dim: 384,
    heads: 6,
};

/// 85.7 million weights.
pub(super) const BASE: Plan = Plan {
    architecture: "vit_base_patch16_224",
    dim: 768,
    heads: 12,
};

/// What timm's network must be told to be this one.
pub(super) fn timm_args(image_px: u32) -> serde_json::Value {
    serde_json::json!({
        "img_size": image_px,
        "patch_size": patch_px(image_px),
        "class_token": true,
        "global_pool": "avg",
        "fc_norm": false,
    })
}

/// The network.
#[derive(Debug)]
pub struct Vit {
    patch_weight: Tensor,
    patch_bias: Tensor,
    patch_px: i64,
    class_token: Tensor,
    places: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    dim: i64,
    /// Patches along each side.
    side: i64,
}

impl Vit {
    pub(super) fn new(path: &Path, plan: &Plan, image_px: u32) -> Self {
        let patch_px = i64::from(patch_px(image_px));
        let (dim, side) = (plan.dim, i64::from(image_px) / patch_px);
        let zero = Init::Const(0.0);
        let patch = path / "patch_embed" / "proj";
        Self {
            patch_weight: patch.var("weight", &[dim, 3, patch_px, patch_px], zero),
            patch_bias: patch.var("bias", &[dim], zero),
            patch_px,
            class_token: path.var("cls_token", &[1, 1, dim], zero),
            places: path.var("pos_embed", &[1, 1 + side * side, dim], zero),
            blocks: (0..DEPTH)
                .map(|index| Block::new(&(path / "blocks" / index), dim, plan.heads))
                .collect(),
            norm: LayerNorm::new(&(path / "norm"), dim),
            dim,
            side,
        }
    }

    /// Pixels of each side of a patch.
    pub fn patch_px(&self) -> i64 {
        self.patch_px
    }

    /// Patches along each side of a picture.
    pub fn side(&self) -> i64 {
        self.side
    }

    /// `images` [B, 3, H, W] to a token for each patch, its place added: [B, N, D], rows of patches from the top.
    pub fn patches(&self, images: &Tensor) -> Tensor {
        let x = images.conv2d(&self.patch_weight, Some(&self.patch_bias), self.patch_px, 0, 1, 1);
        x.flatten(2, 3).transpose(1, 2) + self.places.narrow(1, 1, self.side * self.side)
    }

    /// Tokens of any of a picture's patches to what the network makes of them, normed: [B, K, D] to [B, K, D].
    pub fn encode(&self, patches: &Tensor) -> Tensor {
        let (count, kept) = (patches.size()[0], patches.size()[1]);
        let class = (&self.class_token + self.places.narrow(1, 0, 1)).expand([count, 1, self.dim], false);
        let mut x = Tensor::cat(&[class, patches.to_kind(Kind::Float)], 1); // [B, 1 + K, D]
        for block in &self.blocks {
            x = block.forward(&x, None);
        }
        self.norm.forward(&x).narrow(1, 1, kept)
    }
}

impl Encoder for Vit {
    fn dim(&self) -> i64 {
        self.dim
    }

    fn map(&self, images: &Tensor) -> Tensor {
        let tokens = self.encode(&self.patches(images)); //                        [B, N, D]
        tokens
            .transpose(1, 2)
            .reshape([tokens.size()[0], self.dim, self.side, self.side])
    }

    fn settle(&mut self, kind: Kind) {
        self.blocks.iter_mut().for_each(|block| block.settle(kind));
    }
}

/// Attention and a network of two layers, each after a norm and around a way past it.
#[derive(Debug)]
pub struct Block {
    norm1: LayerNorm,
    qkv: Dense,
    attended: Dense,
    norm2: LayerNorm,
    wide: Dense,
    narrow: Dense,
    heads: i64,
}

impl Block {
    /// A block of tokens of `dim` numbers; `heads` divides it.
    pub fn new(path: &Path, dim: i64, heads: i64) -> Self {
        let (attention, network) = (path / "attn", path / "mlp");
        Self {
            norm1: LayerNorm::new(&(path / "norm1"), dim),
            qkv: Dense::new(&(&attention / "qkv"), dim, 3 * dim),
            attended: Dense::new(&(&attention / "proj"), dim, dim),
            norm2: LayerNorm::new(&(path / "norm2"), dim),
            wide: Dense::new(&(&network / "fc1"), dim, 4 * dim),
            narrow: Dense::new(&(&network / "fc2"), 4 * dim, dim),
            heads,
        }
    }

    /// [B, N, D] to [B, N, D]. `penalty` [B, 1, 1, N] is added to the scores of what is attended to: 0, or much less where a
    /// place holds no token.
    pub fn forward(&self, x: &Tensor, penalty: Option<&Tensor>) -> Tensor {
        let x = x + self.attend(&self.norm1.forward(x), penalty);
        let y = self.wide.forward_gelu(&self.norm2.forward(&x));
        x + self.narrow.forward(&y)
    }

    /// Makes it ready to be used and no longer trained: its matrices are of this kind, in the order that products want.
    pub fn settle(&mut self, kind: Kind) {
        for dense in [&mut self.qkv, &mut self.attended, &mut self.wide, &mut self.narrow] {
            dense.settle(kind);
        }
    }

    fn attend(&self, x: &Tensor, penalty: Option<&Tensor>) -> Tensor {
        let [count, tokens, dim] = [x.size()[0], x.size()[1], x.size()[2]];
        let qkv = self
            .qkv
            .forward(x)
            .view([count, tokens, 3, self.heads, dim / self.heads])
            .permute([2, 0, 3, 1, 4]); //                                            [3, B, heads, N, D / heads]
        let penalty = penalty.map(|penalty| {
            penalty
                .to_kind(qkv.kind())
                .expand([count, self.heads, tokens, tokens], false)
        });
        let mixed = Tensor::scaled_dot_product_attention(
            &qkv.get(0),
            &qkv.get(1),
            &qkv.get(2),
            penalty.as_ref(),
            0.0,
            false,
            None,
            false,
        );
        self.attended
            .forward(&mixed.transpose(1, 2).reshape([count, tokens, dim]))
    }
}

/// Sines and cosines of a patch's column and row (Vaswani et al. 2017 in two dimensions, as MoCo v3 and MAE place
/// patches), after `leading` rows of zeros: `(leading + side * side) * dim` numbers; `dim` is a multiple of 4.
pub fn places(side: i64, dim: i64, leading: i64) -> Vec<f32> {
    let quarter = dim / 4;
    let waves = |place: i64| {
        let angle = move |wave: i64| place as f64 / 10_000f64.powf(wave as f64 / quarter as f64);
        let sines = (0..quarter).map(move |wave| angle(wave).sin() as f32);
        sines.chain((0..quarter).map(move |wave| angle(wave).cos() as f32))
    };
    let rows = (0..side).flat_map(move |row| (0..side).flat_map(move |column| waves(column).chain(waves(row))));
    std::iter::repeat_n(0.0, (leading * dim) as usize).chain(rows).collect()
}
