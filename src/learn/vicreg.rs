//! VICReg (Bardes et al. 2022): a picture's two views shall be alike, while over a batch every dimension varies and no
//! two dimensions say the same.
//! Where we differ: LayerNorm in the expander in place of BatchNorm; its layers are four times as wide as the encoder's
//! features (8,192 for a ResNet-50, as in the paper); each picture's invariance may be weighted by importance, and a
//! picture that was drawn twice counts once in the statistics of the batch.

use tch::nn::Path;
use tch::{Kind, Tensor};

use super::LearnError;
use super::objective::{Loss, Numerics, Objective, Views, of_pictures_alone};
use super::pairs::{deviation, unit, weighted_mean};
use crate::model::{Dense, Encoder, Input, LayerNorm, ModelError};

/// Weights of the three terms (Bardes et al. 2022, section 4.2).
const INVARIANCE: f64 = 25.0;
const VARIANCE: f64 = 25.0;
const COVARIANCE: f64 = 1.0;

/// Added to a variance before its root is taken (equation 1).
const EPSILON: f64 = 1e-4;

/// Width of the expander over that of the features.
const EXPANSION: i64 = 4;

/// The objective: an encoder and the expander whose output the loss compares.
pub struct VicReg {
    encoder: Box<dyn Encoder>,
    hidden: [(Dense, LayerNorm); 2],
    output: Dense,
}

impl VicReg {
    /// The objective on this encoder; the expander's variables are added below `heads`.
    pub fn new(encoder: Box<dyn Encoder>, heads: &Path) -> Self {
        let (dim, expander) = (encoder.dim(), heads / "expander");
        let wide = EXPANSION * dim;
        let layer = |number: i64, inputs: i64| {
            let path = &expander / "hidden" / number;
            (
                Dense::new(&(&path / "linear"), inputs, wide),
                LayerNorm::new(&(&path / "norm"), wide),
            )
        };
        Self {
            hidden: [layer(0, dim), layer(1, wide)],
            output: Dense::new(&(&expander / "output"), wide, wide),
            encoder,
        }
    }
}

impl Objective for VicReg {
    fn name(&self) -> &'static str {
        "vicreg"
    }

    fn features(&self, input: &Input) -> Result<Tensor, ModelError> {
        of_pictures_alone(&*self.encoder, input)
    }

    fn loss(&self, views: &Views, numerics: Numerics) -> Result<Loss, LearnError> {
        let (features, z) = {
            let _autocast = numerics.autocast()?;
            let features = self.encoder.forward(views.images()?); //        [2B, D]
            let mut z = features.shallow_clone();
            for (layer, norm) in &self.hidden {
                z = norm.forward(&layer.forward(&z)).relu();
            }
            (features, self.output.forward(&z)) //                        [2B, E]
        };
        let z = z.to_kind(Kind::Float);
        let shares = shares(&views.samples, &views.weights);
        let halves = z.chunk(2, 0);
        let of_both = |term: fn(&Tensor, &Tensor) -> Tensor| term(&halves[0], &shares) + term(&halves[1], &shares);
        // The published code halves the variance term over the views, and sums the covariance term.
        let total = INVARIANCE * invariance(&z, &views.weights)
            + VARIANCE * of_both(variance) / 2.0
            + COVARIANCE * of_both(covariance);
        Ok(Loss {
            total,
            errors: deviation(&unit(&features.detach())),
            features,
            critic: None,
        })
    }
}

/// How much each drawn picture counts in the statistics of the batch: its weight, shared among the times it was drawn, so
/// that duplicates do not pass for pictures that are alike. `pictures`, `weights`: `[B]`; returns `[B]`.
fn shares(pictures: &Tensor, weights: &Tensor) -> Tensor {
    let same = pictures.unsqueeze(0).eq_tensor(&pictures.unsqueeze(1)); // [B, B]
    weights
        / same
            .to_kind(Kind::Float)
            .sum_dim_intlist([1i64].as_slice(), false, Kind::Float)
}

/// Mean squared difference of the views' embeddings (equation 5; as in the published code, over dimensions too).
/// `z`: [2B, E]; `weights`: `[B]`; returns [].
fn invariance(z: &Tensor, weights: &Tensor) -> Tensor {
    let halves = z.chunk(2, 0);
    let apart = (&halves[0] - &halves[1])
        .square()
        .mean_dim([1i64].as_slice(), false, Kind::Float); // [B]
    weighted_mean(&Tensor::cat(&[&apart, &apart], 0), weights)
}

/// Hinge on each dimension's standard deviation over the batch (equations 1 and 2). `z`: [B, E]; `shares`: `[B]`.
fn variance(z: &Tensor, shares: &Tensor) -> Tensor {
    let (centred, degrees) = centred(z, shares);
    let variance =
        (centred.square() * shares.unsqueeze(1)).sum_dim_intlist([0i64].as_slice(), false, Kind::Float) / degrees;
    let short: Tensor = 1.0 - (variance + EPSILON).sqrt(); // [E]
    short.relu().mean(Kind::Float)
}

/// Sum of the squared covariances of different dimensions, over their number (equations 3 and 4). `z`: [B, E]; `shares`:
/// `[B]`.
fn covariance(z: &Tensor, shares: &Tensor) -> Tensor {
    let (centred, degrees) = centred(z, shares);
    let covariance = (&centred * shares.unsqueeze(1)).tr().matmul(&centred) / degrees; // [E, E]
    let squares = covariance.square();
    (squares.sum(Kind::Float) - squares.diagonal(0, 0, 1).sum(Kind::Float)) / z.size()[1] as f64
}

/// Rows less their weighted mean, and what a weighted sum of their products is divided by: B - 1 when all count 1.
fn centred(z: &Tensor, shares: &Tensor) -> (Tensor, Tensor) {
    let total = shares.sum(Kind::Float);
    let mean = (z * shares.unsqueeze(1)).sum_dim_intlist([0i64].as_slice(), true, Kind::Float) / &total;
    let degrees = &total - shares.square().sum(Kind::Float) / &total;
    (z - mean, degrees)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn ones(count: i64) -> Tensor {
        Tensor::ones([count], (Kind::Float, Device::Cpu))
    }

    fn number(tensor: &Tensor) -> f64 {
        tensor.double_value(&[])
    }

    /// [6, 3], as in the PyTorch program below.
    fn waves() -> Tensor {
        (Tensor::arange(18, (Kind::Float, Device::Cpu)).view([6, 3]) * 1.7).sin()
    }

    #[test]
    fn invariance_is_zero_for_equal_views_and_weighs_pictures() {
        let z = waves().narrow(0, 0, 3);
        assert_eq!(number(&invariance(&Tensor::cat(&[&z, &z], 0), &ones(3))), 0.0);
        // Views of picture 0 are 1 apart in each dimension, those of picture 1 are 2 apart.
        let z = Tensor::from_slice(&[0f32, 0., 0., 0., 1., 1., 2., 2.]).view([4, 2]);
        let loss = number(&invariance(&z, &Tensor::from_slice(&[3f32, 1.])));
        assert!((loss - (3.0 * 1.0 + 4.0) / 4.0).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn variance_is_zero_where_every_dimension_varies_and_one_where_none_does() {
        let wide = Tensor::from_slice(&[3f32, -3., -3., 3., 3., 3.]).view([3, 2]);
        assert_eq!(number(&variance(&wide, &ones(3))), 0.0);
        let constant = Tensor::ones([4, 2], (Kind::Float, Device::Cpu));
        assert!((number(&variance(&constant, &ones(4))) - (1.0 - EPSILON.sqrt())).abs() < 1e-6);
    }

    #[test]
    fn covariance_is_zero_for_dimensions_that_tell_nothing_of_each_other() {
        let crossed = Tensor::from_slice(&[1f32, 1., 1., -1., -1., 1., -1., -1.]).view([4, 2]);
        assert!(number(&covariance(&crossed, &ones(4))).abs() < 1e-12);
        let same = Tensor::from_slice(&[1f32, 1., -1., -1.]).view([2, 2]);
        // Both variances and the covariance are 2; the two entries off the diagonal are squared, over 2 dimensions.
        assert!((number(&covariance(&same, &ones(2))) - 4.0).abs() < 1e-6);
    }

    #[test]
    fn a_picture_that_was_drawn_twice_counts_once() {
        let shares = shares(&Tensor::from_slice(&[7i64, 7, 8]), &Tensor::from_slice(&[1f32, 1., 2.]));
        assert_eq!(Vec::<f32>::try_from(shares).unwrap(), [0.5, 0.5, 2.0]);
        let z = waves();
        let (once, twice) = (
            z.narrow(0, 0, 4),
            Tensor::cat(&[z.narrow(0, 0, 4), z.narrow(0, 3, 1)], 0),
        );
        let halved = Tensor::from_slice(&[1f32, 1., 1., 0.5, 0.5]);
        // The degrees of freedom differ, the mean does not.
        let (a, b) = (centred(&once, &ones(4)).0, centred(&twice, &halved).0);
        assert!(number(&(a - b.narrow(0, 0, 4)).abs().max()) < 1e-6);
    }

    /// By PyTorch 2.11, the terms of the published code (`repr_loss`, `std_loss`, `cov_loss`):
    /// `z = (torch.arange(18.).view(6, 3) * 1.7).sin(); x, y = z[:3], z[3:]`.
    #[test]
    fn the_terms_give_pytorchs_numbers() {
        let z = waves();
        let halves = z.chunk(2, 0);
        let of_both = |term: fn(&Tensor, &Tensor) -> Tensor| {
            number(&term(&halves[0], &ones(3))) + number(&term(&halves[1], &ones(3)))
        };
        for (found, expected) in [
            (number(&invariance(&z, &ones(3))), INVARIANCE_BY_PYTORCH),
            (of_both(variance) / 2.0, VARIANCE_BY_PYTORCH),
            (of_both(covariance), COVARIANCE_BY_PYTORCH),
        ] {
            assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
        }
    }

    const INVARIANCE_BY_PYTORCH: f64 = 1.848_823_8;
    const VARIANCE_BY_PYTORCH: f64 = 0.395_558_8;
    const COVARIANCE_BY_PYTORCH: f64 = 0.228_563_4;
}
