//! The shape of a BERT, as Hugging Face's `config.json` says it.
//! Invariant: a plan that was parsed describes a network that this room builds exactly; anything else is refused by name.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything that decides a BERT's variables and what it computes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BertPlan {
    /// Layers of attention.
    pub layers: i64,
    /// Numbers of a token's vector.
    pub hidden: i64,
    /// Attention heads; divides `hidden`.
    pub heads: i64,
    /// Numbers between the two matrices that follow attention.
    pub intermediate: i64,
    /// Words, or pieces of them.
    pub vocab: i64,
    /// Longest text, in tokens.
    pub positions: i64,
    /// Kinds of a token: the first text's, the second's.
    pub types: i64,
    /// Added to the variance in every norm.
    pub layer_norm_eps: f64,
}

/// 2 layers of 128; the vocabulary is the caller's, as in every plan here (Turc et al. 2019).
pub const TINY: BertPlan = plan(2, 128, 2);

/// 4 layers of 256.
pub const MINI: BertPlan = plan(4, 256, 4);

/// 12 layers of 768.
pub const BASE: BertPlan = plan(12, 768, 12);

const fn plan(layers: i64, hidden: i64, heads: i64) -> BertPlan {
    BertPlan {
        layers,
        hidden,
        heads,
        intermediate: 4 * hidden,
        vocab: 0,
        positions: 512,
        types: 2,
        layer_norm_eps: 1e-12,
    }
}

/// Why a `config.json` is not that of a network which can be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A value that no BERT has.
    #[error("`{name}` is {found}, not {wanted}")]
    Value {
        /// The key.
        name: &'static str,
        /// What was found.
        found: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// A BERT of a kind that is not built here.
    #[error("`{name}` is {found}; only {supported} is supported")]
    Unsupported {
        /// The key.
        name: &'static str,
        /// What was found.
        found: String,
        /// What can be built.
        supported: &'static str,
    },
}

impl BertPlan {
    /// The same shape for a vocabulary of this many words.
    pub fn with_vocab(self, vocab: i64) -> Self {
        Self { vocab, ..self }
    }

    /// The `config.json` from which Hugging Face builds the same network; `pad` is the id of the padding token.
    pub fn config_json(&self, pad: u32) -> Value {
        serde_json::json!({
            "architectures": ["BertModel"],
            "attention_probs_dropout_prob": 0.0,
            "classifier_dropout": null,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0,
            "hidden_size": self.hidden,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate,
            "layer_norm_eps": self.layer_norm_eps,
            "max_position_embeddings": self.positions,
            "model_type": "bert",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "pad_token_id": pad,
            "position_embedding_type": "absolute",
            "torch_dtype": "float32",
            "type_vocab_size": self.types,
            "use_cache": true,
            "vocab_size": self.vocab,
        })
    }

    /// The plan in a `config.json`. Dropout is not looked at: what was trained with it is read without it.
    pub fn parse(config: &Value) -> Result<Self, PlanError> {
        let only = |name: &'static str, supported: &'static str, absent: bool| match config[name].as_str() {
            Some(found) if found == supported => Ok(()),
            None if absent && config[name].is_null() => Ok(()),
            _ => Err(PlanError::Unsupported {
                name,
                found: config[name].to_string(),
                supported,
            }),
        };
        only("model_type", "bert", false)?;
        only("hidden_act", "gelu", true)?;
        only("position_embedding_type", "absolute", true)?;
        for name in ["is_decoder", "add_cross_attention"] {
            if !matches!(config[name], Value::Null | Value::Bool(false)) {
                return Err(PlanError::Unsupported {
                    name,
                    found: config[name].to_string(),
                    supported: "false",
                });
            }
        }
        let count = |name: &'static str| match config[name].as_i64() {
            // A bound that no product of two of them can overflow.
            Some(found @ 1..=0x7fff_ffff) => Ok(found),
            _ => Err(PlanError::Value {
                name,
                found: config[name].to_string(),
                wanted: "a positive whole number",
            }),
        };
        let layer_norm_eps = match &config["layer_norm_eps"] {
            Value::Null => TINY.layer_norm_eps,
            value => value
                .as_f64()
                .filter(|eps| *eps >= 0.0)
                .ok_or_else(|| PlanError::Value {
                    name: "layer_norm_eps",
                    found: value.to_string(),
                    wanted: "a number that is not negative",
                })?,
        };
        let plan = Self {
            layers: count("num_hidden_layers")?,
            hidden: count("hidden_size")?,
            heads: count("num_attention_heads")?,
            intermediate: count("intermediate_size")?,
            vocab: count("vocab_size")?,
            positions: count("max_position_embeddings")?,
            types: count("type_vocab_size")?,
            layer_norm_eps,
        };
        if plan.hidden % plan.heads != 0 {
            return Err(PlanError::Value {
                name: "num_attention_heads",
                found: plan.heads.to_string(),
                wanted: "a divisor of `hidden_size`",
            });
        }
        Ok(plan)
    }
}
