//! Texts: a BERT as Hugging Face's transformers, sentence-transformers and curiod save it (`config.json`,
//! `model.safetensors`, `tokenizer.json`), of the encoder alone or under a head (`bert.*`, `cls.*`).
//! Invariant: what `config.json` and the pooling's say contradicts nothing of the network; the vocabulary fits it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tch::nn::VarStore;
use tracing::{info, warn};

use crate::model::bert::{self, BertPlan};
use crate::model::text::Tokenizer;
use crate::model::{ModelError, TextSpec, weights};

/// The head that predicts hidden words.
const HEAD: &str = "cls.predictions.";

/// Weights that fit a network of texts.
#[derive(Debug)]
pub struct PretrainedBert {
    dir: PathBuf,
    bytes: Vec<u8>,
    tokenizer: Tokenizer,
}

impl PretrainedBert {
    /// The shape of a folder's network.
    pub fn plan(dir: &Path) -> Result<BertPlan, ModelError> {
        let config: Value = serde_json::from_slice(&read(dir, "config.json")?)
            .map_err(|error| unfit(dir, format!("config.json: {error}")))?;
        BertPlan::parse(&config).map_err(|why| unfit(dir, format!("config.json: {why}")))
    }

    /// Reads a folder's weights and vocabulary for this network.
    pub fn read(dir: &Path, spec: &TextSpec) -> Result<Self, ModelError> {
        let plan = Self::plan(dir)?;
        if plan != spec.bert {
            return Err(unfit(
                dir,
                format!(
                    "its network is {plan:?}, the stream's is {:?}: leave `learning.encoder` out",
                    spec.bert
                ),
            ));
        }
        if let Some(why) = pools_otherwise(dir)? {
            return Err(unfit(dir, why));
        }
        let tokenizer = Tokenizer::parse(&read(dir, "tokenizer.json")?)
            .map_err(|error| unfit(dir, format!("tokenizer.json: {error}")))?;
        if tokenizer.vocab_size() as i64 > plan.vocab {
            let (tokens, rows) = (tokenizer.vocab_size(), plan.vocab);
            return Err(unfit(
                dir,
                format!("tokenizer.json has {tokens} tokens, the network knows {rows}"),
            ));
        }
        let pretrained = Self {
            dir: dir.to_owned(),
            bytes: read(dir, "model.safetensors")?,
            tokenizer,
        };
        let variables = VarStore::new(tch::Device::Cpu);
        let _ = bert::Bert::new(&variables.root(), &plan);
        bert::load(&variables, &pretrained.bytes).map_err(|error| match error {
            ModelError::Weights(why) => unfit(dir, format!("model.safetensors: {why}")),
            other => other,
        })?;
        Ok(pretrained)
    }

    /// Loads the encoder's weights into the variables of that network.
    pub fn load_into(&self, variables: &VarStore) -> Result<(), ModelError> {
        bert::load(variables, &self.bytes)?;
        info!(folder = %self.dir.display(), "learning continues from these weights");
        Ok(())
    }

    /// Loads the head that predicts hidden words, if the folder has it, into variables of its names.
    pub fn load_head_into(&self, variables: &VarStore) -> Result<bool, ModelError> {
        let loaded = weights::load_some(variables, &self.bytes, |name| name.starts_with(HEAD))?;
        if !loaded {
            warn!(folder = %self.dir.display(),
                hint = "none: the head learns within the first thousand steps",
                "the weights have no head that predicts hidden words; it starts untrained");
        }
        Ok(loaded)
    }

    /// The vocabulary.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

/// Why the folder's own pooling, where it tells one, is not ours.
fn pools_otherwise(dir: &Path) -> Result<Option<String>, ModelError> {
    let path = dir.join("1_Pooling").join("config.json");
    if !path.exists() {
        return Ok(None);
    }
    let config: Value = serde_json::from_slice(&read(dir, "1_Pooling/config.json")?)
        .map_err(|error| unfit(dir, format!("1_Pooling/config.json: {error}")))?;
    let is_mean = config["pooling_mode_mean_tokens"] == true || config["pooling_mode"] == "mean";
    Ok((!is_mean).then(|| "its sentences are pooled otherwise than by the mean of their tokens".to_owned()))
}

fn read(dir: &Path, name: &str) -> Result<Vec<u8>, ModelError> {
    std::fs::read(dir.join(name)).map_err(|error| unfit(dir, format!("{name}: {error}")))
}

fn unfit(dir: &Path, reason: String) -> ModelError {
    ModelError::Pretrained {
        dir: dir.to_owned(),
        reason,
    }
}
