//! Layers that encoders and the heads of objectives share. Their variables are zero until initialised or loaded.

use tch::nn::{Init, Path};
use tch::{Device, Kind, Tensor};

use crate::torch::{PackedMatrix, TorchError};

/// LayerNorm's epsilon, timm's for a ViT.
pub(super) const EPSILON: f64 = 1e-6;

/// A matrix and a bias.
#[derive(Debug)]
pub struct Dense {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
    /// Both as a product wants them, once they no longer change.
    packed: Option<PackedMatrix>,
}

impl Dense {
    /// From `inputs` numbers to `outputs`; zero until initialised or loaded.
    pub fn new(path: &Path, inputs: i64, outputs: i64) -> Self {
        Self::of(
            path.var("weight", &[outputs, inputs], Init::Const(0.0)),
            path.var("bias", &[outputs], Init::Const(0.0)),
        )
    }

    /// Of a matrix [outputs, inputs] and a bias `[outputs]`.
    pub(super) fn of(weight: Tensor, bias: Tensor) -> Self {
        Self {
            weight,
            bias,
            packed: None,
        }
    }

    /// Makes it ready to be used and no longer trained: its numbers are of this kind from now on, and on a CPU in the order that
    /// products want, alone. Where oneDNN has no such products they stay in rows: the same numbers come out, later.
    pub(super) fn settle(&mut self, kind: Kind) {
        let _no_grad = tch::no_grad_guard();
        if let Some(packed) = self.packed.take() {
            self.weight = used(packed.matrix());
        }
        for numbers in [&mut self.weight, &mut self.bias] {
            *numbers = numbers.to_kind(kind);
        }
        if self.weight.device() == Device::Cpu
            && let Ok(packed) = PackedMatrix::new(&self.weight, &self.bias)
        {
            self.packed = Some(packed);
            self.weight = Tensor::empty([0], (kind, Device::Cpu));
        }
    }

    /// [.., inputs] to [.., outputs].
    pub fn forward(&self, x: &Tensor) -> Tensor {
        match &self.packed {
            Some(packed) => used(packed.multiply(x, false)),
            None => x.linear(&self.weight, Some(&self.bias)),
        }
    }

    /// [.., inputs] to [.., outputs], through GELU.
    pub(super) fn forward_gelu(&self, x: &Tensor) -> Tensor {
        match &self.packed {
            Some(packed) => used(packed.multiply(x, true)),
            None => self.forward(x).gelu("none"),
        }
    }
}

/// What a product gives. One that fails panics, as tch's operators do; where a network is used, panics are caught.
fn used(product: Result<Tensor, TorchError>) -> Tensor {
    product.unwrap_or_else(|error| panic!("{error}"))
}

/// Layer normalisation over the last dimension (Ba et al. 2016).
#[derive(Debug)]
pub struct LayerNorm {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
    pub(super) epsilon: f64,
}

impl LayerNorm {
    /// Over `dim` numbers, with timm's epsilon.
    pub fn new(path: &Path, dim: i64) -> Self {
        Self::with_epsilon(path, dim, EPSILON)
    }

    /// Over `dim` numbers.
    pub fn with_epsilon(path: &Path, dim: i64, epsilon: f64) -> Self {
        Self {
            weight: path.var("weight", &[dim], Init::Const(1.0)),
            bias: path.var("bias", &[dim], Init::Const(0.0)),
            epsilon,
        }
    }

    /// [.., dim] to [.., dim], in the kind of its weights: float32 where nobody cast them.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.to_kind(self.weight.kind()).layer_norm(
            self.weight.size().as_slice(),
            Some(&self.weight),
            Some(&self.bias),
            self.epsilon,
            false,
        )
    }
}
