//! BERT (Devlin et al. 2019): token ids in, a vector for each token out.
//! Invariant: variables bear Hugging Face's names and shapes (`BertModel`), so that weights travel both ways unrenamed; a
//! token's vector does not depend on what it was padded or batched with, up to rounding.
//!
//! Where we differ from the paper: there is no dropout. A step is a function of (seed, step), and libtorch's dropout draws
//! from a global generator that is not; and a small network that learns from a stream sees a text a few times at most, so
//! there is little to be kept from being learnt by heart (ALBERT v2 and Geiping and Goldstein 2023 pre-train without it
//! for that reason). The pooler, which only next-sentence prediction trains, is in [`NextHead`].

mod heads;
mod load;
mod plan;
mod tokens;

use tch::nn::{Init, Path};
use tch::{Kind, Tensor};

pub use heads::{MaskedHead, NextHead};
pub use load::load;
pub use plan::{BASE, BertPlan, MINI, PlanError, TINY};
pub use tokens::{Packing, Tokens};

use super::{Dense, LayerNorm};

/// What is added to the score of a place without a token. Finite, so that a row of nothing but padding is no `NaN`.
pub(super) const NO_TOKEN: f64 = -1e9;

/// The network. Owned by one thread.
#[derive(Debug)]
pub struct Bert {
    words: Tensor,
    places: Tensor,
    types: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
    heads: i64,
}

impl Bert {
    /// Adds the network's variables, zero until initialised or loaded, below `path`.
    pub fn new(path: &Path, plan: &BertPlan) -> Self {
        let (embeddings, zero) = (path / "embeddings", Init::Const(0.0));
        let table = |name: &str, rows: i64| (&embeddings / name).var("weight", &[rows, plan.hidden], zero);
        Self {
            words: table("word_embeddings", plan.vocab),
            places: table("position_embeddings", plan.positions),
            types: table("token_type_embeddings", plan.types),
            norm: LayerNorm::with_epsilon(&(&embeddings / "LayerNorm"), plan.hidden, plan.layer_norm_eps),
            layers: (0..plan.layers)
                .map(|index| Layer::new(&(path / "encoder" / "layer" / index), plan))
                .collect(),
            heads: plan.heads,
        }
    }

    /// Numbers of a token's vector.
    pub fn dim(&self) -> i64 {
        self.words.size()[1]
    }

    /// The vectors that words begin as: [V, H]. What predicts words is tied to it.
    pub fn words(&self) -> &Tensor {
        &self.words
    }

    /// A vector for each place: [B, T] to [B, T, H]. Those of places without a token are finite and mean nothing.
    pub fn hidden(&self, tokens: &Tokens) -> Tensor {
        let (count, len) = tokens.size();
        let span = Span::new(tokens, self.heads);
        let mut x = self.norm.forward(&span.packed(self.first(tokens)));
        for layer in &self.layers {
            x = layer.forward(&x, &span);
        }
        span.padded(x).view([count, len, self.dim()])
    }

    /// Makes it ready to be used and no longer trained: what is joined in every pass is joined once, and its matrices are kept in
    /// this kind (bfloat16 for passes under autocast), in the order that products want.
    pub fn settle(&mut self, kind: Kind) {
        let _no_grad = tch::no_grad_guard();
        self.layers.iter_mut().for_each(|layer| layer.settle(kind));
    }

    /// What a batch's tokens begin as, before the norm: [B * T, H].
    fn first(&self, tokens: &Tokens) -> Tensor {
        let look_up = |table: &Tensor, ids: &Tensor| Tensor::embedding(table, ids, -1, false, false);
        let len = tokens.size().1;
        let x = look_up(&self.words, &tokens.ids) + self.places.narrow(0, 0, len) + look_up(&self.types, &tokens.types);
        x.flatten(0, 1)
    }
}

/// The mean of a text's tokens (sentence-transformers: `pooling_mode_mean_tokens`): [B, T, H] to [B, H], float32. `mask`
/// [B, T]: true where there is a token; None where every place has one.
pub fn mean_pooled(hidden: &Tensor, mask: Option<&Tensor>) -> Tensor {
    let Some(mask) = mask else {
        return hidden.mean_dim([1i64].as_slice(), false, Kind::Float);
    };
    let mask = mask.to_kind(Kind::Float).unsqueeze(2); //                             [B, T, 1]
    let over_tokens = [1i64].as_slice();
    let sum = (hidden * &mask).sum_dim_intlist(over_tokens, false, Kind::Float);
    sum / mask.sum_dim_intlist(over_tokens, false, Kind::Float).clamp_min(1.0)
}

/// Whether a variable of this name is a BERT's, or one of its heads'.
pub(super) fn owns(name: &str) -> bool {
    ["embeddings.", "encoder.layer.", "pooler.", "cls.", "bert."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// A batch's places, one below the other.
struct Span<'a> {
    count: i64,
    len: i64,
    /// What is added to scores: [B * heads, 1, T], 0 at tokens and [`NO_TOKEN`] elsewhere.
    penalty: Option<Tensor>,
    packing: Option<&'a Packing>,
}

impl<'a> Span<'a> {
    fn new(tokens: &'a Tokens, heads: i64) -> Self {
        let (count, len) = tokens.size();
        let penalty = tokens.mask.as_ref().map(|mask| {
            let penalty = mask.logical_not().to_kind(Kind::Float) * NO_TOKEN;
            penalty
                .unsqueeze(1)
                .expand([count, heads, len], false)
                .reshape([count * heads, 1, len])
        });
        Self {
            count,
            len,
            penalty,
            packing: tokens.packing.as_ref(),
        }
    }

    /// [B * T, N] to [M, N] without padding, where it is left out.
    fn packed(&self, x: Tensor) -> Tensor {
        match self.packing {
            Some(packing) => x.index_select(0, &packing.places),
            None => x,
        }
    }

    /// [M, N] to [B * T, N]; what stands in padding means nothing.
    fn padded(&self, x: Tensor) -> Tensor {
        match self.packing {
            Some(packing) => x.index_select(0, &packing.rows),
            None => x,
        }
    }
}

/// Attention and a network of two layers, each followed by a norm of its sum with what it was given.
#[derive(Debug)]
struct Layer {
    qkv: Qkv,
    attended: Dense,
    norm1: LayerNorm,
    wide: Dense,
    narrow: Dense,
    norm2: LayerNorm,
    heads: i64,
}

/// The matrices of queries, keys and values.
#[derive(Debug)]
enum Qkv {
    /// As they are trained and named.
    Apart([Dense; 3]),
    /// One below the other, once they no longer change.
    Joined(Dense),
}

impl Qkv {
    /// [N, H] to [N, 3 * H]. One product in place of three: what is read once need not be cast, nor its gradients added, three
    /// times.
    fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Self::Apart(parts) => join(parts).forward(x),
            Self::Joined(joined) => joined.forward(x),
        }
    }
}

fn join(parts: &[Dense; 3]) -> Dense {
    let joined = |of: fn(&Dense) -> &Tensor| Tensor::cat(&parts.each_ref().map(of), 0);
    Dense::of(joined(|part| &part.weight), joined(|part| &part.bias))
}

impl Layer {
    fn new(path: &Path, plan: &BertPlan) -> Self {
        let (attention, hidden) = (path / "attention", plan.hidden);
        let square = |name: &str| Dense::new(&(&attention / "self" / name), hidden, hidden);
        let norm = |path: Path| LayerNorm::with_epsilon(&(path / "LayerNorm"), hidden, plan.layer_norm_eps);
        Self {
            qkv: Qkv::Apart(["query", "key", "value"].map(square)),
            attended: Dense::new(&(&attention / "output" / "dense"), hidden, hidden),
            norm1: norm(&attention / "output"),
            wide: Dense::new(&(path / "intermediate" / "dense"), hidden, plan.intermediate),
            narrow: Dense::new(&(path / "output" / "dense"), plan.intermediate, hidden),
            norm2: norm(path / "output"),
            heads: plan.heads,
        }
    }

    /// [N, H] to [N, H].
    fn forward(&self, x: &Tensor, span: &Span<'_>) -> Tensor {
        let x = self.norm1.forward(&(self.attend(x, span) + x));
        let y = self.narrow.forward(&self.wide.forward_gelu(&x));
        self.norm2.forward(&(y + x))
    }

    fn attend(&self, x: &Tensor, span: &Span<'_>) -> Tensor {
        let qkv = self.qkv.forward(x); //                                                 [N, 3 * H]
        self.attended
            .forward(&span.packed(mix(&span.padded(qkv), span, self.heads)))
    }

    fn settle(&mut self, kind: Kind) {
        if let Qkv::Apart(parts) = &self.qkv {
            self.qkv = Qkv::Joined(join(parts));
        }
        if let Qkv::Joined(joined) = &mut self.qkv {
            joined.settle(kind);
        }
        for dense in [&mut self.attended, &mut self.wide, &mut self.narrow] {
            dense.settle(kind);
        }
    }
}

/// Softmax attention of one batch (Vaswani et al. 2017, eq. 1): [B * T, 3 * H] to [B * T, H].
///
/// In float32, libtorch's fused kernel; in bfloat16, whose fused backward pass takes 3 to 25 times as long on a CPU, two
/// products and a softmax, which sums in float32 and rounds its result.
fn mix(qkv: &Tensor, span: &Span<'_>, heads: i64) -> Tensor {
    let (count, len) = (span.count, span.len);
    let size = qkv.size()[1] / 3 / heads;
    let scale = 1.0 / (size as f64).sqrt();
    // Cut, not indexed: the backward pass of a cut is one concatenation.
    let [q, k, v] = [0, 1, 2].map(|part: i64| {
        qkv.narrow(1, part * heads * size, heads * size)
            .view([count, len, heads, size])
            .transpose(1, 2)
    }); //                                                                            [B, heads, T, size] each
    let mixed = if qkv.kind() == Kind::BFloat16 && !qkv.device().is_cuda() {
        let flat = |x: &Tensor| x.reshape([count * heads, len, size]);
        let (none, weight) = (
            Tensor::zeros([1, 1, 1], (qkv.kind(), qkv.device())),
            span.penalty.is_some(),
        );
        let penalty = span.penalty.as_ref().unwrap_or(&none).to_kind(qkv.kind());
        let scores = penalty.baddbmm(&flat(&q), &flat(&k).transpose(1, 2), f64::from(u8::from(weight)), scale);
        scores
            .softmax(-1, qkv.kind())
            .bmm(&flat(&v))
            .view([count, heads, len, size])
    } else {
        let penalty = span.penalty.as_ref().map(|penalty| {
            penalty
                .view([count, heads, 1, len])
                .to_kind(qkv.kind())
                .expand([count, heads, len, len], false)
        });
        Tensor::scaled_dot_product_attention(&q, &k, &v, penalty.as_ref(), 0.0, false, None, false)
    };
    mixed.transpose(1, 2).reshape([count * len, heads * size])
}

#[cfg(test)]
mod tests;
