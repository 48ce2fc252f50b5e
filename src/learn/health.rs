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
        })
    }
}
