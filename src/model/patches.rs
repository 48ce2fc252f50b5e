//! A transformer over patches of series (Nie et al. 2023, PatchTST).
//! Always true: what it makes of a window does not depend on what it was padded or batched with, up to rounding.
//!
//! Where we differ: the patches of all variables attend to each other, told apart by a vector of their variable; the scale that
//! normalising takes off is shown beside each patch; patches do not overlap; a place is a sine, so that windows may be of any
//! length. The blocks are a ViT's, after a norm each.

use tch::nn::{Init, Path};
use tch::{Device, Kind, Tensor};

use super::bert::{NO_TOKEN, mean_pooled};
use super::vit::Block;
use super::{Dense, LayerNorm, PaddedPatches, SeriesSpec};

/// The longest wave of a place is 2 pi times so many patches: the longest window is 2,048.
const WAVE_MAX: f64 = 1_000.0;

/// Features of a variable's scale.
const SCALE: i64 = 2;

/// Windows of series as patches, on a device. A token is a patch of one variable.
pub struct Patches {
    /// [N, T, P]: what is in each, normalised; 0 where it is missing or hidden.
    pub values: Tensor,
    /// [N, T, P], 1 where a number is there, else 0.
    pub there: Tensor,
    /// [N, T, 2]: the mean and the scale of its variable in its window, as features.
    pub scale: Tensor,
    /// [N, T], whole numbers: its variable.
    pub channels: Tensor,
    /// [N, T], whole numbers: its place in time, from the end.
    pub places: Tensor,
    /// [N, T], 1 where a token hides its patch, else 0; None where none does.
    pub hidden: Option<Tensor>,
    /// [N, T]: whether a token is one and not padding; None where all are.
    pub mask: Option<Tensor>,
}

/// The network.
#[derive(Debug)]
pub struct PatchTransformer {
    embed: Dense,
    /// [1, C, H]
    channels: Tensor,
    /// [1, 1, H], added where a patch is hidden.
    hidden: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    dim: i64,
}

impl PatchTransformer {
    /// Its variables, zero until initialised or loaded, are added below `path`.
    pub fn new(path: &Path, spec: &SeriesSpec) -> Self {
        let (dim, zero) = (i64::from(spec.hidden), Init::Const(0.0));
        Self {
            embed: Dense::new(&(path / "embed"), 2 * i64::from(spec.patch_steps) + SCALE, dim),
            channels: path.var("channel_embed", &[1, i64::from(spec.channels_max), dim], zero),
            hidden: path.var("mask_token", &[1, 1, dim], zero),
            blocks: (0..i64::from(spec.layers))
                .map(|index| Block::new(&(path / "blocks" / index), dim, spec.heads.into()))
                .collect(),
            norm: LayerNorm::new(&(path / "norm"), dim),
            dim,
        }
    }

    /// Dimensions of its features.
    pub fn dim(&self) -> i64 {
        self.dim
    }

    /// Makes it ready to be used and no longer trained: its matrices are in the order that products want.
    pub fn settle(&mut self) {
        self.embed.settle(Kind::Float);
        self.blocks.iter_mut().for_each(|block| block.settle(Kind::Float));
    }

    /// What it makes of each token: [N, T, H]. Those of padding are finite and mean nothing.
    pub fn hidden(&self, patches: &Patches) -> Tensor {
        let seen = Tensor::cat(&[&patches.values, &patches.there, &patches.scale], 2); // [N, T, 2P + 2]
        let table = self.channels.squeeze_dim(0);
        let mut x = self.embed.forward(&seen).to_kind(Kind::Float)
            + Tensor::embedding(&table, &patches.channels, -1, false, false)
            + self.waves(&patches.places);
        if let Some(hidden) = &patches.hidden {
            x += hidden.unsqueeze(2) * &self.hidden;
        }
        let penalty = patches.mask.as_ref().map(|mask| {
            let penalty = mask.logical_not().to_kind(Kind::Float) * NO_TOKEN;
            penalty.unsqueeze(1).unsqueeze(1) //                                       [N, 1, 1, T]
        });
        for block in &self.blocks {
            x = block.forward(&x, penalty.as_ref());
        }
        self.norm.forward(&x)
    }

    /// Features of each window, the mean of its tokens': [N, H], float32.
    pub fn features(&self, patches: &Patches) -> Tensor {
        mean_pooled(&self.hidden(patches), patches.mask.as_ref())
    }

    /// Sines and cosines of places (Vaswani et al. 2017, section 3.5): [N, T] to [N, T, H].
    fn waves(&self, places: &Tensor) -> Tensor {
        let rates = Tensor::from_slice(&wave_rates(self.dim)).to_device(places.device());
        let angles = places.to_kind(Kind::Float).unsqueeze(2) * rates; //              [N, T, H / 2]
        Tensor::cat(&[angles.sin(), angles.cos()], 2)
    }
}

/// Radians a patch of each wave, for tokens of so many numbers.
pub(super) fn wave_rates(dim: i64) -> Vec<f32> {
    let half = dim / 2;
    let rate = |wave: i64| WAVE_MAX.powf(-(wave as f64) / half as f64) as f32;
    (0..half).map(rate).collect()
}

/// Guesses what is in a hidden patch.
#[derive(Debug)]
pub struct PatchHead {
    dense: Dense,
    norm: LayerNorm,
    output: Dense,
}

impl PatchHead {
    /// Its variables are added below `path` / `patch_head`.
    pub fn new(path: &Path, spec: &SeriesSpec) -> Self {
        let (head, dim) = (path / "patch_head", i64::from(spec.hidden));
        Self {
            dense: Dense::new(&(&head / "dense"), dim, dim),
            norm: LayerNorm::new(&(&head / "norm"), dim),
            output: Dense::new(&(&head / "output"), dim, spec.patch_steps.into()),
        }
    }

    /// [M, H] to [M, P].
    pub fn forward(&self, hidden: &Tensor) -> Tensor {
        let x = self.norm.forward(&self.dense.forward(hidden).gelu("none"));
        self.output.forward(&x)
    }

    /// What it guesses at these places of rows of tokens, one row after the other: [N, T, H] and `[M]` to [M, P].
    pub fn guesses(&self, states: &Tensor, places: &Tensor) -> Tensor {
        let width = states.size()[2];
        self.forward(&states.reshape([-1, width]).index_select(0, places))
    }
}

impl Patches {
    /// Rows of patches, on the device.
    pub fn on(device: Device, rows: &PaddedPatches) -> Result<Self, tch::TchError> {
        let shape = [rows.rows as i64, rows.columns as i64];
        let (of, len) = (&rows.filled, rows.patch_steps as i64);
        let floats = |numbers: &[f32], each: i64| {
            Tensor::from_slice(numbers)
                .f_view([shape[0], shape[1], each])?
                .f_to_device(device)
        };
        let whole = |numbers: &[i64]| Tensor::from_slice(numbers).f_view(shape)?.f_to_device(device);
        let flags = |flags: &[bool]| Tensor::from_slice(flags).f_view(shape)?.f_to_device(device);
        Ok(Self {
            values: floats(&of.values, len)?,
            there: floats(&of.there, len)?,
            scale: floats(&of.scale, SCALE)?,
            channels: whole(&of.channels)?,
            places: whole(&of.places)?,
            hidden: match of.hidden.contains(&true) {
                true => Some(flags(&of.hidden)?.f_to_kind(Kind::Float)?),
                false => None,
            },
            mask: match rows.mask.contains(&false) {
                true => Some(flags(&rows.mask)?),
                false => None,
            },
        })
    }
}

#[cfg(test)]
mod tests;
