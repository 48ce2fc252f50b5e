//! Series and transitions: a folder as curiod publishes it (`config.json`, `model.safetensors`).
//! Invariant: a [`PretrainedOwn`] has every variable of the network that it was read for, by name, shape and type.

use std::path::{Path, PathBuf};

use tch::Device;
use tch::nn::VarStore;
use tracing::info;

use crate::model::{EncoderSpec, ModelError, weights};

/// Weights that fit a network of series or of transitions.
#[derive(Debug)]
pub struct PretrainedOwn {
    dir: PathBuf,
    bytes: Vec<u8>,
}

impl PretrainedOwn {
    /// Reads a folder's weights for this network.
    pub fn read(dir: &Path, spec: &EncoderSpec) -> Result<Self, ModelError> {
        let unfit = |reason: String| ModelError::Pretrained {
            dir: dir.to_owned(),
            reason,
        };
        let bytes = std::fs::read(dir.join("model.safetensors"))
            .map_err(|error| unfit(format!("model.safetensors: {error}")))?;
        let variables = VarStore::new(Device::Cpu);
        let _ = spec.build(&variables.root());
        weights::compare(&variables, &bytes, |_| false).map_err(|error| match error {
            ModelError::Weights(why) => unfit(format!(
                "{why}; the network is one of {}: set `learning.encoder` to what the folder holds",
                spec.modality()
            )),
            other => other,
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            bytes,
        })
    }

    /// Loads the weights into the variables of that network.
    pub fn load_into(&self, variables: &VarStore) -> Result<(), ModelError> {
        weights::load_into(variables, &self.bytes)?;
        info!(folder = %self.dir.display(), "learning continues from these weights");
        Ok(())
    }
}
