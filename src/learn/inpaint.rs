//! Context Encoders (Pathak et al. 2016): a region of a picture is hidden, and the network predicts it from what is
//! around it. Squared error over the region; as a switch, also an adversary that tells painted regions from real ones.
//! Where we differ: the encoder is any of ours, its decoder `model::Decoder`; a view hides the central block or, as often,
//! random blocks; both augmented views of a picture (crop and mirror alone) are painted; each picture may be weighted by
//! importance.

use tch::nn::Path;
use tch::{Kind, Tensor};

use super::LearnError;
use super::critic::Critic;
use super::holes::mask;
use super::objective::{Loss, Numerics, Objective, Views, of_pictures_alone};
use super::pairs::{of_pictures, weighted_mean};
use crate::model::{Decoder, Encoder, ImageSpec, Input, ModelError, PIXEL_STD, pooled};

/// Weights of the two terms where there is an adversary (section 3.2, equation 3 and section 4).
const RECONSTRUCTION: f64 = 0.999;
const ADVERSARIAL: f64 = 0.001;

/// The objective: an encoder, the decoder that paints, and the adversary, if any.
pub struct Inpaint {
    encoder: Box<dyn Encoder>,
    decoder: Decoder,
    critic: Option<Critic>,
}

impl Inpaint {
    /// The objective on this encoder, which `spec` describes. The decoder's variables are added below `heads`, those of an
    /// adversary below `critic`.
    pub fn new(encoder: Box<dyn Encoder>, spec: &ImageSpec, heads: &Path, critic: Option<&Path>) -> Self {
        Self {
            encoder,
            decoder: Decoder::new(heads, spec),
            critic: critic.map(Critic::new),
        }
    }
}

impl Objective for Inpaint {
    fn name(&self) -> &'static str {
        "inpaint"
    }

    fn features(&self, input: &Input) -> Result<Tensor, ModelError> {
        of_pictures_alone(&*self.encoder, input)
    }

    fn loss(&self, views: &Views, numerics: Numerics) -> Result<Loss, LearnError> {
        let images = views.images()?;
        let size = images.size();
        let hidden = mask(views.seed, views.step, size[0], size[3], numerics.device)?; //     [2B, 1, px, px]
        let (features, painted, game) = {
            let _autocast = numerics.autocast()?;
            // Blank is 0, the mean colour, as in the paper.
            let map = self.encoder.map(&(images * (1.0 - &hidden))); //                 [2B, D, h, w]
            let painted = self.decoder.forward(&map);
            let region = |images: &Tensor| images * &hidden;
            let play = |critic: &Critic| critic.play(&region(images), &region(&painted));
            let game = self.critic.as_ref().map(play);
            (pooled(&map), painted, game)
        };
        let errors = region_error(&painted, images, &hidden, &[1.0; 3]);
        let reconstruction = weighted_mean(&errors, &views.weights);
        let (total, critic) = match game {
            Some(game) => {
                let total = RECONSTRUCTION * reconstruction + ADVERSARIAL * game.painter;
                (total, Some(game.critic))
            }
            None => (reconstruction, None),
        };
        let of_full_range = region_error(&painted.detach(), images, &hidden, &PIXEL_STD);
        Ok(Loss {
            total,
            errors: of_pictures(&of_full_range).clamp_max(1.0),
            features,
            critic,
        })
    }
}

/// Mean squared error of each view over its hidden pixels' channels (equation 1), the channels scaled. Scaled by 1 it is in
/// normalised units, scaled by their deviation in units of the full range, 0 to 1. `painted`, `images`: [V, 3, px, px];
/// `hidden`: [V, 1, px, px], 1 or 0; returns [V].
fn region_error(painted: &Tensor, images: &Tensor, hidden: &Tensor, scale: &[f32; 3]) -> Tensor {
    let scale = Tensor::from_slice(scale).view([1, 3, 1, 1]).to_device(images.device());
    let over = |x: Tensor| x.sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Float);
    let squares = ((painted.to_kind(Kind::Float) - images) * scale).square() * hidden;
    over(squares) / (3.0 * over(hidden.shallow_clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn wave(rate: f64) -> Tensor {
        (Tensor::arange(2 * 3 * 8 * 8, (Kind::Float, Device::Cpu)).view([2, 3, 8, 8]) * rate).sin()
    }

    /// The left half of the first picture, the second's last two rows.
    fn hidden() -> Tensor {
        let hidden = Tensor::zeros([2, 1, 8, 8], (Kind::Float, Device::Cpu));
        let _ = hidden.get(0).narrow(2, 0, 4).fill_(1.0);
        let _ = hidden.get(1).narrow(1, 6, 2).fill_(1.0);
        hidden
    }

    fn errors(painted: &Tensor, scale: &[f32; 3]) -> Vec<f32> {
        Vec::try_from(region_error(painted, &wave(0.3), &hidden(), scale)).unwrap()
    }

    #[test]
    fn the_error_is_zero_for_the_picture_and_sees_the_hole_alone() {
        assert_eq!(errors(&wave(0.3), &[1.0; 3]), [0.0, 0.0]);
        assert_eq!(errors(&(wave(0.3) + (1.0 - hidden()) * 9.0), &[1.0; 3]), [0.0, 0.0]);
        for error in errors(&(wave(0.3) + 0.5), &[1.0; 3]) {
            assert!((error - 0.25).abs() < 1e-6, "{error}");
        }
        // Black for white is an error of 1.
        let white = 1.0 / Tensor::from_slice(&PIXEL_STD).view([1, 3, 1, 1]);
        for error in errors(&(wave(0.3) + white), &PIXEL_STD) {
            assert!((error - 1.0).abs() < 1e-5, "{error}");
        }
    }

    /// By PyTorch 2.11: `x, p = (torch.arange(384.).view(2, 3, 8, 8) * r).sin() for r in (0.3, 0.11)`, `m` the mask above,
    /// `[F.mse_loss(p[i][m[i].expand(3, 8, 8)], x[i][m[i].expand(3, 8, 8)]) for i in (0, 1)]`.
    #[test]
    fn the_error_is_pytorchs_number() {
        for (found, expected) in errors(&wave(0.11), &[1.0; 3]).iter().zip(BY_PYTORCH) {
            assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
        }
    }

    const BY_PYTORCH: [f32; 2] = [1.029_837_5, 1.468_142_5];
}
