//! Weights to continue from: a folder as timm saves and curiod publishes it (`config.json`, `model.safetensors`).
//! Invariant: a [`Pretrained`] has every variable of the network that it was read for, by name, shape and type, and of
//! what `config.json` says nothing contradicts that network.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tch::Device;
use tch::nn::VarStore;
use tracing::{info, warn};

use super::{EncoderSpec, ModelError, PIXEL_MEAN, PIXEL_STD, Plan, short_f64, weights};

/// What a classifier's variables begin with: nobody's classes are wanted here.
const CLASSIFIERS: [&str; 2] = ["fc.", "head."];

/// Weights that fit a network.
#[derive(Debug)]
pub struct Pretrained {
    dir: PathBuf,
    bytes: Vec<u8>,
}

impl Pretrained {
    /// Reads a folder's weights for this network.
    pub fn read(dir: &Path, spec: &EncoderSpec) -> Result<Self, ModelError> {
        let unfit = |reason: String| ModelError::Pretrained {
            dir: dir.to_owned(),
            reason,
        };
        let read = |name: &str| std::fs::read(dir.join(name)).map_err(|error| unfit(format!("{name}: {error}")));
        let config: Value =
            serde_json::from_slice(&read("config.json")?).map_err(|error| unfit(format!("config.json: {error}")))?;
        let bytes = read("model.safetensors")?;
        contradiction(&config, spec).map_or(Ok(()), |why| Err(unfit(why)))?;
        let variables = VarStore::new(Device::Cpu);
        let _ = spec.build(&variables.root());
        let ignored = weights::compare(&variables, &bytes, is_classifier).map_err(|error| match error {
            ModelError::Weights(why) => unfit(format!(
                "{why}; the network is {:?} for pictures of {} px: set `learning.encoder` and `learning.image_px` to \
                 what the folder holds",
                spec.architecture, spec.image_px
            )),
            other => other,
        })?;
        if !ignored.is_empty() {
            info!(folder = %dir.display(), variables = ignored.join(", "), "left the classifier of the weights out");
        }
        warn_of_other_pixels(dir, &config);
        Ok(Self {
            dir: dir.to_owned(),
            bytes,
        })
    }

    /// Loads the weights into the variables of that network.
    pub fn load_into(&self, variables: &VarStore) -> Result<(), ModelError> {
        weights::load_known(variables, &self.bytes, is_classifier)?;
        info!(folder = %self.dir.display(), "learning continues from these weights");
        Ok(())
    }
}

fn is_classifier(name: &str) -> bool {
    CLASSIFIERS.iter().any(|prefix| name.starts_with(prefix))
}

/// What in the folder's `config.json` is not so in the network, though names and shapes may be the same.
fn contradiction(config: &Value, spec: &EncoderSpec) -> Option<String> {
    let architecture = config["architecture"].as_str().unwrap_or_default();
    match spec.plan() {
        Plan::Resnet(plan) => {
            let told = config["model_args"]["norm_layer"].as_str();
            let norm = told.unwrap_or(if architecture.ends_with("_gn") {
                "groupnorm"
            } else {
                "batchnorm"
            });
            (norm != plan.norm_layer()).then(|| {
                format!(
                    "its norm is {norm}, the network's is {}: curiod has no BatchNorm, whose statistics would mix new \
                     and replayed samples",
                    plan.norm_layer()
                )
            })
        }
        // Heads and norms leave no trace in the shapes; of the families that share them only plain ViT is this network.
        Plan::Vit(plan) => {
            let family = plan.architecture.split("_patch").next().unwrap_or_default();
            let is_of_family = architecture.split("_patch").next() == Some(family);
            (!is_of_family).then(|| format!("it is of `{architecture}`, not of a `{family}`"))
        }
    }
}

/// Says so where the weights were trained on pixels that were normalised otherwise: they must get used to ours.
fn warn_of_other_pixels(dir: &Path, config: &Value) {
    let differs = |name: &str, ours: [f32; 3]| {
        let theirs = &config["pretrained_cfg"][name];
        theirs.is_array() && *theirs != serde_json::json!(ours.map(short_f64))
    };
    if differs("mean", PIXEL_MEAN) || differs("std", PIXEL_STD) {
        warn!(
            folder = %dir.display(),
            hint = "none: learning adapts the first layer; expect the first generations below the weights' own quality",
            "the weights were trained on pixels normalised by another mean or deviation than curiod's"
        );
    }
}
