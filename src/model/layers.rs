//! Layers that encoders and the heads of objectives share. Their variables are zero until initialised or loaded.

use tch::nn::{Init, Path};
use tch::{Kind, Tensor};

/// LayerNorm's epsilon, timm's for a ViT.
pub(super) const EPSILON: f64 = 1e-6;

/// A matrix and a bias.
#[derive(Debug)]
pub struct Dense {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
}

impl Dense {
    /// From `inputs` numbers to `outputs`; zero until initialised or loaded.
    pub fn new(path: &Path, inputs: i64, outputs: i64) -> Self {
        Self {
            weight: path.var("weight", &[outputs, inputs], Init::Const(0.0)),
            bias: path.var("bias", &[outputs], Init::Const(0.0)),
        }
    }

    /// Keeps its numbers in this kind from now on.
    pub(super) fn cast(&mut self, kind: Kind) {
        for numbers in [&mut self.weight, &mut self.bias] {
            *numbers = numbers.to_kind(kind);
        }
    }

    /// [.., inputs] to [.., outputs].
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
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
