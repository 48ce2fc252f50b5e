//! What a BERT is pre-trained with: the words that were hidden, and whether the second text follows the first.
//! Invariant: variables bear the names that Hugging Face's `BertForPreTraining` gives them.

use tch::Tensor;
use tch::nn::{Init, Path};

use super::{BertPlan, Dense, LayerNorm};

/// Predicts hidden words. Its last matrix is the network's table of words (Press and Wolf 2017).
#[derive(Debug)]
pub struct MaskedHead {
    dense: Dense,
    norm: LayerNorm,
    bias: Tensor,
}

impl MaskedHead {
    /// Below `path`, the model's root: `cls.predictions`.
    pub fn new(path: &Path, plan: &BertPlan) -> Self {
        let predictions = path / "cls" / "predictions";
        let transform = &predictions / "transform";
        Self {
            dense: Dense::new(&(&transform / "dense"), plan.hidden, plan.hidden),
            norm: LayerNorm::with_epsilon(&(&transform / "LayerNorm"), plan.hidden, plan.layer_norm_eps),
            bias: predictions.var("bias", &[plan.vocab], Init::Const(0.0)),
        }
    }

    /// Vectors of the places that are asked for, [M, H], and of all words, [V, H], to a score for each word: [M, V]. To
    /// ask for hidden places alone, select them first: seven of eight would be scored for nothing.
    pub fn forward(&self, hidden: &Tensor, words: &Tensor) -> Tensor {
        let x = self.norm.forward(&self.dense.forward(hidden).gelu("none"));
        x.linear(words, Some(&self.bias))
    }
}

/// Tells whether the second text follows the first (class 0) or is any (class 1).
#[derive(Debug)]
pub struct NextHead {
    pooler: Dense,
    relationship: Dense,
}

impl NextHead {
    /// Below `network`, where the network's own variables are: `pooler`; below `path`, the model's root:
    /// `cls.seq_relationship`.
    pub fn new(network: &Path, path: &Path, plan: &BertPlan) -> Self {
        Self {
            pooler: Dense::new(&(network / "pooler" / "dense"), plan.hidden, plan.hidden),
            relationship: Dense::new(&(path / "cls" / "seq_relationship"), plan.hidden, 2),
        }
    }

    /// All places' vectors, of which the first is read: [B, T, H] to [B, 2].
    pub fn forward(&self, hidden: &Tensor) -> Tensor {
        self.relationship
            .forward(&self.pooler.forward(&hidden.select(1, 0)).tanh())
    }
}
