//! SimCLR (Chen et al. 2020): of all views of a batch, a view shall find the other one of its picture.
//! Where we differ: the temperature is 0.2 (MoCo v2), the projector's hidden layer is twice the encoder's width, and
//! each picture's term may be weighted by importance.

use tch::nn::{Init, LinearConfig, Module, Path, linear};
use tch::{Kind, Tensor};

use super::LearnError;
use super::objective::{Loss, Numerics, Objective, Views};
use crate::model::Encoder;

/// Temperature of the softmax over similarities.
const TEMPERATURE: f64 = 0.2;

/// Numbers of a projection.
const PROJECTION: i64 = 128;

/// Below this length a vector is taken for zero, not divided by.
const LENGTH_MIN: f64 = 1e-12;

/// The objective: an encoder and the projector whose output the loss compares.
pub struct SimClr {
    encoder: Box<dyn Encoder>,
    hidden: tch::nn::Linear,
    output: tch::nn::Linear,
}

impl SimClr {
    /// The objective on this encoder; the projector's variables are added below `heads`.
    pub fn new(encoder: Box<dyn Encoder>, heads: &Path) -> Self {
        let dim = encoder.dim();
        // First values are given to the whole store afterwards, by `model::initialise`.
        let config = LinearConfig {
            ws_init: Init::Const(0.0),
            bs_init: Some(Init::Const(0.0)),
            bias: true,
        };
        let hidden = linear(heads / "projector" / "hidden", dim, 2 * dim, config);
        let output = linear(heads / "projector" / "output", 2 * dim, PROJECTION, config);
        Self {
            encoder,
            hidden,
            output,
        }
    }
}

impl Objective for SimClr {
    fn name(&self) -> &'static str {
        "simclr"
    }

    fn encoder(&self) -> &dyn Encoder {
        &*self.encoder
    }

    fn loss(&self, views: &Views, numerics: Numerics) -> Result<Loss, LearnError> {
        let (features, z) = {
            let _autocast = numerics.autocast()?;
            let features = self.encoder.forward(&views.images); //                    [2B, D]
            let z = self.output.forward(&self.hidden.forward(&features).relu()); //   [2B, P]
            (features, z)
        };
        let total = nt_xent(&unit(&z.to_kind(Kind::Float)), &views.pictures, &views.weights);
        let features = features.detach();
        let errors = deviation(&unit(&features));
        Ok(Loss {
            total,
            errors,
            features,
        })
    }
}

/// The normalised temperature-scaled cross-entropy (Chen et al. 2020, equation 1), each picture's two terms weighted.
/// Where we differ: a batch is drawn with replacement, so views of the same picture at other places of the batch are
/// left out of the sum; they are no negatives. `z`: [2B, P], unit rows, row `i` and `B + i` of one picture; `pictures`:
/// `[B]`, which picture; `weights`: `[B]`; returns [].
pub fn nt_xent(z: &Tensor, pictures: &Tensor, weights: &Tensor) -> Tensor {
    let n = z.size()[0];
    let partner = Tensor::arange(n, (Kind::Int64, z.device())).roll(n / 2, 0).unsqueeze(1); //       [2B, 1]
    let pictures = Tensor::cat(&[pictures, pictures], 0); //                                          [2B]
    let left_out = pictures
        .unsqueeze(0)
        .eq_tensor(&pictures.unsqueeze(1))
        .scatter_value(1, &partner, 0.0);
    let similarity = (z.matmul(&z.tr()) / TEMPERATURE).masked_fill(&left_out, f64::NEG_INFINITY); // [2B, 2B]
    let right = similarity
        .log_softmax(1, Kind::Float)
        .gather(1, &partner, false)
        .squeeze_dim(1); // [2B]
    let weights = Tensor::cat(&[weights, weights], 0); //                                             [2B]
    -(right * &weights).sum(Kind::Float) / weights.sum(Kind::Float)
}

/// Mean squared distance of a picture's two view embeddings from their mean: for unit vectors a quarter of the squared
/// distance between them, 0 (alike) to 1 (opposite). `z`: [2B, D], unit rows; returns `[B]`.
pub(super) fn deviation(z: &Tensor) -> Tensor {
    let pairs = z.chunk(2, 0); // 2 of [B, D]
    (&pairs[0] - &pairs[1])
        .square()
        .sum_dim_intlist([1i64].as_slice(), false, Kind::Float)
        / 4.0
}

/// Rows scaled to unit length.
pub(super) fn unit(z: &Tensor) -> Tensor {
    let lengths = z.norm_scalaropt_dim(2, [1i64].as_slice(), true).clamp_min(LENGTH_MIN);
    z / lengths
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn rows(values: &[f32], dim: i64) -> Tensor {
        unit(&Tensor::from_slice(values).view([-1, dim]))
    }

    fn two_pictures() -> Tensor {
        Tensor::from_slice(&[7i64, 8])
    }

    #[test]
    fn a_picture_that_is_drawn_twice_is_not_its_own_negative() {
        let z = rows(&[1., 0., 1., 0., 1., 0., 1., 0.], 2);
        let loss = nt_xent(
            &z,
            &Tensor::from_slice(&[7i64, 7]),
            &Tensor::ones([2], (Kind::Float, Device::Cpu)),
        );
        assert!(loss.double_value(&[]).abs() < 1e-6);
    }

    #[test]
    fn nt_xent_equals_the_sum_written_out() {
        let z = rows(&[1., 0., 0.5, 1., 0.9, 0.2, 0.1, 1., -1., 0.3, 0.4, -0.7], 3); // two pictures
        let row = |i: i64| Vec::<f32>::try_from(z.get(i)).unwrap();
        let dot = |a: i64, b: i64| row(a).iter().zip(row(b)).map(|(x, y)| f64::from(x * y)).sum::<f64>() / TEMPERATURE;
        let term = |i: i64| {
            let all: f64 = (0..4).filter(|&j| j != i).map(|j| dot(i, j).exp()).sum();
            -(dot(i, (i + 2) % 4).exp() / all).ln()
        };
        let plain = (0..4).map(term).sum::<f64>() / 4.0;
        let loss = nt_xent(&z, &two_pictures(), &Tensor::from_slice(&[1f32, 1.0])).double_value(&[]);
        assert!((loss - plain).abs() < 1e-5, "{loss} is not {plain}");

        let weighted = (2.0 * (term(0) + term(2)) + 0.5 * (term(1) + term(3))) / 5.0;
        let loss = nt_xent(&z, &two_pictures(), &Tensor::from_slice(&[2f32, 0.5])).double_value(&[]);
        assert!((loss - weighted).abs() < 1e-5, "{loss} is not {weighted}");
    }

    /// By PyTorch 2.11: `z = F.normalize(torch.arange(12.).view(6, 2).sin()); s = z @ z.T / 0.2; s.fill_diagonal_(-inf);
    /// F.cross_entropy(s, torch.tensor([3, 4, 5, 0, 1, 2]))`.
    #[test]
    fn nt_xent_gives_pytorchs_number() {
        let z = unit(&Tensor::arange(12, (Kind::Float, Device::Cpu)).view([6, 2]).sin());
        let ones = Tensor::ones([3], (Kind::Float, Device::Cpu));
        let loss = nt_xent(&z, &Tensor::from_slice(&[7i64, 8, 9]), &ones).double_value(&[]);
        assert!((loss - NT_XENT_BY_PYTORCH).abs() < 1e-5, "{loss}");
    }

    const NT_XENT_BY_PYTORCH: f64 = (0.050_303_63 + 0.039_307_10 + 0.000_992_87) / 3.0;

    #[test]
    fn views_that_agree_and_differ_from_the_others_have_almost_no_loss() {
        let z = rows(&[1., 0., -1., 0., 1., 0., -1., 0.], 2);
        let loss = nt_xent(&z, &two_pictures(), &Tensor::ones([2], (Kind::Float, Device::Cpu))).double_value(&[]);
        assert!(loss < 1e-3, "{loss}");
    }

    #[test]
    fn the_error_is_zero_for_equal_views_and_one_for_opposite_ones() {
        let z = rows(&[1., 0., 0.6, 0.8, 1., 0., -0.6, -0.8], 2);
        let errors = Vec::<f32>::try_from(deviation(&z)).unwrap();
        assert!(errors[0].abs() < 1e-6 && (errors[1] - 1.0).abs() < 1e-6, "{errors:?}");
    }
}
