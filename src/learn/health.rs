//! Is the network well? Numbers that fall before the exam does.

use tch::{Kind, Tensor};

use super::LearnError;
use crate::model::{effective_rank, spread};
use crate::torch;

/// The state of a network at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Health {
    /// Effective rank of the features of the batch (RankMe, Garrido et al. 2023), 1 to the encoder's width.
    pub rank: f64,
    /// Mean standard deviation of the unit features' dimensions, times the root of their number: 0 when all pictures
    /// look alike to the network, 1 when they point everywhere.
    pub spread: f64,
    /// Joint length of all weights.
    pub weight_norm: f64,
    /// Share of the features' dimensions that hardly answer to anything: their mean size is at most a fortieth of all
    /// dimensions' (Sokar et al. 2023, definition 3.1, tau = 0.025).
    pub dormant: f64,
}

/// The share of the mean size below which a dimension is dormant.
const DORMANT: f64 = 0.025;

/// The share of the columns of `features`, [N, D], whose mean size is at most [`DORMANT`] of all columns'.
fn dormant(features: &Tensor) -> f64 {
    let sizes = features
        .to_kind(Kind::Double)
        .abs()
        .mean_dim([0i64].as_slice(), false, Kind::Double); // [D]
    let least = sizes.mean(Kind::Double) * DORMANT;
    sizes
        .le_tensor(&least)
        .to_kind(Kind::Double)
        .mean(Kind::Double)
        .double_value(&[])
}

impl Health {
    /// Measures the features of a batch ([2B, D]) and the weights.
    pub(super) fn measure(features: &Tensor, params: &[Tensor]) -> Result<Self, LearnError> {
        let _no_grad = tch::no_grad_guard();
        let lengths = features
            .f_norm_scalaropt_dim(2, [1i64].as_slice(), true)?
            .f_clamp_min(1e-12)?;
        let unit = features
            .f_div(&lengths)?
            .to_kind(Kind::Float)
            .to_device(tch::Device::Cpu);
        Ok(Self {
            rank: effective_rank(&unit),
            spread: spread(&unit),
            weight_norm: torch::norm(params)?.double_value(&[]),
            dormant: dormant(features),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dimension_that_hardly_answers_is_dormant() {
        let features = Tensor::from_slice(&[1f32, 0.0, 0.01, -2.0, 3.0, 0.0, 0.02, 2.0]).view([2, 4]);
        assert_eq!(dormant(&features), 0.5);
        assert_eq!(dormant(&Tensor::ones([3, 5], (Kind::Float, tch::Device::Cpu))), 0.0);
        assert_eq!(dormant(&Tensor::zeros([3, 5], (Kind::Float, tch::Device::Cpu))), 1.0);
    }
}
