//! Pictures: a folder as timm saves and curiod publishes it (`config.json`, `model.safetensors`).
//! Invariant: a [`PretrainedTimm`] has every variable of the network that it was read for, by name, shape and type, and of
//! what `config.json` says nothing contradicts that network.
//!
//! Weights that were trained on pixels of another mean and deviation than ours are rewritten for ours where that can be
//! done exactly: in a ViT, whose first layer has a bias and sees no padding.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};
use tracing::{info, warn};

use crate::model::{ImageSpec, ModelError, PIXEL_MEAN, PIXEL_STD, Plan, short_f64, weights};

/// What a classifier's variables begin with: nobody's classes are wanted here.
const CLASSIFIERS: [&str; 2] = ["fc.", "head."];

/// Weights that fit a network of pictures.
#[derive(Debug)]
pub struct PretrainedTimm {
    dir: PathBuf,
    bytes: Vec<u8>,
    /// The pixels that the weights know, where they are not ours and the weights are to be rewritten.
    pixels: Option<Pixels>,
}

/// Mean and standard deviation of each channel that pictures are normalised by.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pixels {
    mean: [f64; 3],
    std: [f64; 3],
}

impl PretrainedTimm {
    /// Reads a folder's weights for this network.
    pub fn read(dir: &Path, spec: &ImageSpec) -> Result<Self, ModelError> {
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
        let pixels = Pixels::of(&config).filter(|pixels| *pixels != Pixels::ours());
        if pixels.is_some() && !matches!(spec.plan(), Plan::Vit(_)) {
            warn!(
                folder = %dir.display(),
                hint = "none: learning adapts the first layer; expect the first generations below the weights' own quality",
                "the weights were trained on pixels normalised by another mean or deviation than curiod's"
            );
        }
        Ok(Self {
            dir: dir.to_owned(),
            bytes,
            pixels: pixels.filter(|_| matches!(spec.plan(), Plan::Vit(_))),
        })
    }

    /// Loads the weights into the variables of that network.
    pub fn load_into(&self, variables: &VarStore) -> Result<(), ModelError> {
        weights::load_known(variables, &self.bytes, is_classifier)?;
        if let Some(pixels) = &self.pixels {
            pixels.rewrite_for_ours(variables)?;
        }
        info!(folder = %self.dir.display(), "learning continues from these weights");
        Ok(())
    }
}

fn is_classifier(name: &str) -> bool {
    CLASSIFIERS.iter().any(|prefix| name.starts_with(prefix))
}

/// What in the folder's `config.json` is not so in the network, though names and shapes may be the same.
fn contradiction(config: &Value, spec: &ImageSpec) -> Option<String> {
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

impl Pixels {
    /// curiod's.
    fn ours() -> Self {
        Self {
            mean: PIXEL_MEAN.map(short_f64),
            std: PIXEL_STD.map(short_f64),
        }
    }

    /// What `config.json` says; None where it says nothing that could be divided by.
    fn of(config: &Value) -> Option<Self> {
        let three = |name: &str| -> Option<[f64; 3]> {
            let numbers = config["pretrained_cfg"][name].as_array()?;
            let numbers: Vec<f64> = numbers.iter().filter_map(Value::as_f64).collect();
            numbers.try_into().ok()
        };
        let std = three("std").filter(|std| std.iter().all(|value| *value > 0.0))?;
        Some(Self {
            mean: three("mean")?,
            std,
        })
    }

    /// Rewrites the layer that cuts a picture into patches so that it gives for our pixels what it gave for these:
    /// `(p - mean) / std = ours * (our_std / std) + (our_mean - mean) / std`, channel by channel.
    fn rewrite_for_ours(&self, variables: &VarStore) -> Result<(), ModelError> {
        let _no_grad = tch::no_grad_guard();
        let (ours, named) = (Self::ours(), variables.variables());
        let (Some(weight), Some(bias)) = (named.get("patch_embed.proj.weight"), named.get("patch_embed.proj.bias"))
        else {
            return Ok(());
        };
        let channels = |value: &dyn Fn(usize) -> f64| {
            Tensor::from_slice(&[0, 1, 2].map(|channel| value(channel) as f32))
                .view([1, 3, 1, 1])
                .to_device(weight.device())
        };
        let scale = channels(&|c| ours.std[c] / self.std[c]);
        let shift = channels(&|c| (ours.mean[c] - self.mean[c]) / self.std[c]);
        let shifted = (weight * shift).f_sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Float)?;
        let _ = bias.shallow_clone().f_add_(&shifted)?;
        let _ = weight.shallow_clone().f_mul_(&scale)?;
        Ok(())
    }
}
