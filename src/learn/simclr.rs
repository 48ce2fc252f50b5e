//! SimCLR (Chen et al. 2020): of all views of a batch, a view shall find the other one of its picture.
//! Where we differ: the temperature is 0.2 (MoCo v2), the projector's hidden layer is twice the encoder's width, and
//! each picture's term may be weighted by importance.

use tch::nn::Path;
use tch::{Kind, Tensor};

use super::LearnError;
use super::objective::{Loss, Numerics, Objective, Views, of_pictures_alone};
use super::pairs::{deviation, unit};
use crate::model::{Dense, Encoder, Input, ModelError};

/// Temperature of the softmax over similarities.
pub(super) const TEMPERATURE: f64 = 0.2;

/// Numbers of a projection.
const PROJECTION: i64 = 128;

/// Features to what the loss compares: two layers, the hidden one twice as wide.
pub(super) struct Projector {
    hidden: Dense,
    output: Dense,
}

impl Projector {
    /// Of features of `dim` numbers; its variables are added below `heads`.
    pub(super) fn new(heads: &Path, dim: i64) -> Self {
        let projector = heads / "projector";
        Self {
            hidden: Dense::new(&(&projector / "hidden"), dim, 2 * dim),
            output: Dense::new(&(&projector / "output"), 2 * dim, PROJECTION),
        }
    }

    /// [N, D] to [N, P].
    pub(super) fn forward(&self, features: &Tensor) -> Tensor {
        self.output.forward(&self.hidden.forward(features).relu())
    }
}

/// The objective: an encoder and the projector whose output the loss compares.
pub struct SimClr {
    encoder: Box<dyn Encoder>,
    projector: Projector,
}

impl SimClr {
    /// The objective on this encoder; the projector's variables are added below `heads`.
    pub fn new(encoder: Box<dyn Encoder>, heads: &Path) -> Self {
        Self {
            projector: Projector::new(heads, encoder.dim()),
            encoder,
        }
    }
}

impl Objective for SimClr {
    fn name(&self) -> &'static str {
        "simclr"
    }

    fn features(&self, input: &Input) -> Result<Tensor, ModelError> {
        of_pictures_alone(&*self.encoder, input)
    }

    fn loss(&self, views: &Views, numerics: Numerics) -> Result<Loss, LearnError> {
        let (features, z) = {
            let _autocast = numerics.autocast()?;
            let features = self.encoder.forward(views.images()?); //                    [2B, D]
            let z = self.projector.forward(&features); //                                 [2B, P]
            (features, z)
        };
        let total = nt_xent(
            &unit(&z.to_kind(Kind::Float)),
            &views.samples,
            &views.weights,
            TEMPERATURE,
        );
        let errors = deviation(&unit(&features.detach()));
        Ok(Loss {
            total,
            errors,
            features,
            critic: None,
        })
    }
}

/// The normalised temperature-scaled cross-entropy (Chen et al. 2020, equation 1), each picture's two terms weighted.
/// Where we differ: a batch is drawn with replacement, so views of the same picture at other places of the batch are
/// left out of the sum; they are no negatives. `z`: [2B, P], unit rows, row `i` and `B + i` of one picture; `samples`:
/// `[B]`, which sample; `weights`: `[B]`; returns [].
pub fn nt_xent(z: &Tensor, pictures: &Tensor, weights: &Tensor, temperature: f64) -> Tensor {
    let n = z.size()[0];
    let partner = Tensor::arange(n, (Kind::Int64, z.device())).roll(n / 2, 0).unsqueeze(1); //       [2B, 1]
    let pictures = Tensor::cat(&[pictures, pictures], 0); //                                          [2B]
    let left_out = pictures
        .unsqueeze(0)
        .eq_tensor(&pictures.unsqueeze(1))
        .scatter_value(1, &partner, 0.0);
    let similarity = (z.matmul(&z.tr()) / temperature).masked_fill(&left_out, f64::NEG_INFINITY); // [2B, 2B]
    let right = similarity
        .log_softmax(1, Kind::Float)
        .gather(1, &partner, false)
        .squeeze_dim(1); // [2B]
    let weights = Tensor::cat(&[weights, weights], 0); //                                             [2B]
    -(right * &weights).sum(Kind::Float) / weights.sum(Kind::Float)
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
            TEMPERATURE,
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
        let loss = nt_xent(&z, &two_pictures(), &Tensor::from_slice(&[1f32, 1.0]), TEMPERATURE).double_value(&[]);
        assert!((loss - plain).abs() < 1e-5, "{loss} is not {plain}");

        let weighted = (2.0 * (term(0) + term(2)) + 0.5 * (term(1) + term(3))) / 5.0;
        let loss = nt_xent(&z, &two_pictures(), &Tensor::from_slice(&[2f32, 0.5]), TEMPERATURE).double_value(&[]);
        assert!((loss - weighted).abs() < 1e-5, "{loss} is not {weighted}");
    }

    /// By PyTorch 2.11: `z = F.normalize(torch.arange(12.).view(6, 2).sin()); s = z @ z.T / 0.2; s.fill_diagonal_(-inf);
    /// F.cross_entropy(s, torch.tensor([3, 4, 5, 0, 1, 2]))`.
    #[test]
    fn nt_xent_gives_pytorchs_number() {
        let z = unit(&Tensor::arange(12, (Kind::Float, Device::Cpu)).view([6, 2]).sin());
        let ones = Tensor::ones([3], (Kind::Float, Device::Cpu));
        let loss = nt_xent(&z, &Tensor::from_slice(&[7i64, 8, 9]), &ones, TEMPERATURE).double_value(&[]);
        assert!((loss - NT_XENT_BY_PYTORCH).abs() < 1e-5, "{loss}");
    }

    const NT_XENT_BY_PYTORCH: f64 = (0.050_303_63 + 0.039_307_10 + 0.000_992_87) / 3.0;

    #[test]
    fn views_that_agree_and_differ_from_the_others_have_almost_no_loss() {
        let z = rows(&[1., 0., -1., 0., 1., 0., -1., 0.], 2);
        let loss = nt_xent(
            &z,
            &two_pictures(),
            &Tensor::ones([2], (Kind::Float, Device::Cpu)),
            TEMPERATURE,
        )
        .double_value(&[]);
        assert!(loss < 1e-3, "{loss}");
    }
}
