//! Masked autoencoder (He et al. 2022): of a picture three quarters of the patches are hidden; the encoder sees the rest,
//! and a light decoder predicts the hidden patches' pixels, each patch's normalised by its own mean and deviation.
//! Where we differ: both augmented views of a picture (crop and mirror alone) are masked and predicted; the encoder's
//! places may be learnt on; each picture may be weighted by importance.

use tch::nn::{Init, Path};
use tch::{Kind, Tensor};

use super::LearnError;
use super::holes::orders;
use super::objective::{Loss, Numerics, Objective, Views, of_pictures_alone};
use super::pairs::{of_pictures, weighted_mean};
use crate::model::vit::{Block, places};
use crate::model::{Dense, Encoder, Input, LayerNorm, ModelError, Vit};

/// Share of the patches that is hidden (section 4.1).
const HIDDEN: f64 = 0.75;

/// Numbers of the decoder's attention heads: those of the paper, 512 over 16.
const HEAD: i64 = 32;

/// Added to a patch's variance before it is divided by, as in the published code.
const EPSILON: f64 = 1e-6;

/// The objective: an encoder and the decoder that learns beside it.
pub struct Mae {
    encoder: Vit,
    inward: Dense,
    mask_token: Tensor,
    /// [1, N, E], not learnt.
    places: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    outward: Dense,
}

impl Mae {
    /// The objective on this encoder; the decoder's variables are added below `heads`. For ViT-B it is the paper's decoder
    /// (8 blocks of 512), for smaller encoders as much smaller.
    pub fn new(encoder: Vit, heads: &Path) -> Self {
        let (dim, path) = (encoder.dim(), heads / "decoder");
        let (wide, depth) = (2 * dim / 3, dim / 96);
        let side = encoder.side();
        let numbers = encoder.patch_px().pow(2) * 3;
        Self {
            inward: Dense::new(&(&path / "embed"), dim, wide),
            mask_token: path.var("mask_token", &[1, 1, wide], Init::Const(0.0)),
            places: Tensor::from_slice(&places(side, wide, 0))
                .view([1, side * side, wide])
                .to_device(heads.device()),
            blocks: (0..depth)
                .map(|index| Block::new(&(&path / "blocks" / index), wide, wide / HEAD))
                .collect(),
            norm: LayerNorm::new(&(&path / "norm"), wide),
            outward: Dense::new(&(&path / "output"), wide, numbers),
            encoder,
        }
    }

    /// From the tokens of the patches that were seen to the pixels of all: [V, K, D] to [V, N, p * p * 3].
    /// `ranks`: [V, N], where in the order of its view each patch is.
    fn decode(&self, tokens: &Tensor, ranks: &Tensor) -> Tensor {
        let seen = self.inward.forward(tokens).to_kind(Kind::Float); //                       [V, K, E]
        let [count, kept, wide] = [seen.size()[0], seen.size()[1], seen.size()[2]];
        let patches = ranks.size()[1];
        let hidden = self.mask_token.expand([count, patches - kept, wide], false);
        let every = ranks.unsqueeze(2).expand([count, patches, wide], false);
        let in_place = Tensor::cat(&[seen, hidden], 1).gather(1, &every, false); //           [V, N, E]
        let mut x = in_place + &self.places;
        for block in &self.blocks {
            x = block.forward(&x, None);
        }
        self.outward.forward(&self.norm.forward(&x))
    }
}

impl Objective for Mae {
    fn name(&self) -> &'static str {
        "mae"
    }

    fn features(&self, input: &Input) -> Result<Tensor, ModelError> {
        of_pictures_alone(&self.encoder, input)
    }

    fn loss(&self, views: &Views, numerics: Numerics) -> Result<Loss, LearnError> {
        let images = views.images()?;
        let (rows, patches) = (images.size()[0], self.encoder.side().pow(2));
        let kept = (((1.0 - HIDDEN) * patches as f64).round() as i64).max(1);
        let order = orders(views.seed, views.step, rows, patches, numerics.device)?; //          [V, N]
        let ranks = order.argsort(1, false);
        let (tokens, predicted) = {
            let _autocast = numerics.autocast()?;
            let all = self.encoder.patches(images); //                                    [V, N, D]
            let seen = order
                .narrow(1, 0, kept)
                .unsqueeze(2)
                .expand([rows, kept, self.encoder.dim()], false);
            let tokens = self.encoder.encode(&all.gather(1, &seen, false)); //                   [V, K, D]
            let predicted = self.decode(&tokens, &ranks);
            (tokens, predicted.to_kind(Kind::Float))
        };
        let hidden = ranks.ge(kept).to_kind(Kind::Float); //                                     [V, N]
        let target = normalised(&patchify(images, self.encoder.patch_px()));
        let errors = hidden_error(&predicted, &target, &hidden);
        Ok(Loss {
            total: weighted_mean(&errors, &views.weights),
            errors: of_pictures(&errors.detach()).clamp_max(1.0),
            features: tokens.mean_dim([1i64].as_slice(), false, Kind::Float),
            critic: None,
        })
    }
}

/// Pictures cut into patches: [V, 3, H, W] to [V, N, p * p * 3], patches and pixels from the top left, colours last.
fn patchify(images: &Tensor, patch_px: i64) -> Tensor {
    let [count, _, height, width] = [
        images.size()[0],
        images.size()[1],
        images.size()[2] / patch_px,
        images.size()[3] / patch_px,
    ];
    images
        .reshape([count, 3, height, patch_px, width, patch_px])
        .permute([0, 2, 4, 3, 5, 1])
        .reshape([count, height * width, patch_px * patch_px * 3])
}

/// Each patch less its mean, over its deviation: [V, N, P].
fn normalised(patches: &Tensor) -> Tensor {
    let mean = patches.mean_dim([2i64].as_slice(), true, Kind::Float);
    let variance = patches.var_dim([2i64].as_slice(), true, true);
    (patches - mean) / (variance + EPSILON).sqrt()
}

/// Mean squared error of each view over its hidden patches, in shares of a patch's own variance: 0 is right, 1 as bad as
/// guessing each patch's mean. `predicted`, `target`: [V, N, P]; `hidden`: [V, N], 1 or 0; returns [V].
fn hidden_error(predicted: &Tensor, target: &Tensor, hidden: &Tensor) -> Tensor {
    let patch = (predicted - target)
        .square()
        .mean_dim([2i64].as_slice(), false, Kind::Float); // [V, N]
    let over = |x: &Tensor| x.sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
    over(&(patch * hidden)) / over(hidden)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn pictures() -> Tensor {
        (Tensor::arange(2 * 3 * 16 * 16, (Kind::Float, Device::Cpu)).view([2, 3, 16, 16]) * 0.37).sin()
    }

    #[test]
    fn patches_are_cut_row_by_row_with_colours_last() {
        let images = pictures();
        let patches = patchify(&images, 8);
        assert_eq!(patches.size(), [2, 4, 192]);
        // Patch 1 is the upper right one; its number 3 * (8 * 2 + 5) + 1 is green of row 2, column 5.
        let found = patches.double_value(&[1, 1, 3 * (8 * 2 + 5) + 1]);
        assert_eq!(found, images.double_value(&[1, 1, 2, 8 + 5]));
    }

    #[test]
    fn the_error_is_zero_for_the_target_and_sees_hidden_patches_alone() {
        let target = normalised(&patchify(&pictures(), 8));
        let hidden = Tensor::from_slice(&[1f32, 0., 0., 1., 0., 1., 0., 0.]).view([2, 4]);
        let error = |predicted: &Tensor| Vec::<f32>::try_from(hidden_error(predicted, &target, &hidden)).unwrap();
        assert_eq!(error(&target), [0.0, 0.0]);
        let wrong_where_seen = &target + (1.0 - hidden.unsqueeze(2)) * 5.0;
        assert_eq!(error(&wrong_where_seen), [0.0, 0.0]);
        // The mean of each patch is 0 once it is normalised; its variance (unbiased, over 192 numbers) is 1.
        for guess in error(&target.zeros_like()) {
            assert!((guess - 191.0 / 192.0).abs() < 1e-4, "{guess}");
        }
    }

    /// By PyTorch 2.11, the published `forward_loss` with `norm_pix_loss` on `imgs = (torch.arange(1536.).view(2, 3, 16, 16) *
    /// 0.37).sin()`, `pred = (torch.arange(1536.).view(2, 4, 192) * 0.11).cos()` and these masks, for each picture.
    #[test]
    fn the_error_is_pytorchs_number() {
        let target = normalised(&patchify(&pictures(), 8));
        let predicted = (Tensor::arange(1536, (Kind::Float, Device::Cpu)).view([2, 4, 192]) * 0.11).cos();
        let hidden = Tensor::from_slice(&[1f32, 0., 0., 1., 0., 1., 0., 0.]).view([2, 4]);
        let errors = Vec::<f32>::try_from(hidden_error(&predicted, &target, &hidden)).unwrap();
        for (found, expected) in errors.iter().zip(BY_PYTORCH) {
            assert!((found - expected).abs() < 1e-4, "{errors:?}");
        }
    }

    const BY_PYTORCH: [f32; 2] = [1.564_481_4, 1.482_201_6];
}
