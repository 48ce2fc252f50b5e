//! A published encoder as a TorchScript archive, which libtorch and PyTorch run without us.
//! Always true: it says the network's [operators](super::operators) in TorchScript's words, so that it holds for any number of
//! samples and any length, as a traced one would not; each weight is in it once, under its name in `model.safetensors`.

mod archive;
mod expressions;
mod forward;
mod pickle;
mod tree;
mod values;

use super::EncoderSpec;
use super::operators::{Misfit, operators, properties};
use tree::Tree;

/// Why a network is not written as TorchScript.
#[derive(Debug, thiserror::Error)]
pub enum TorchScriptError {
    /// The weights are not those of this network.
    #[error(transparent)]
    Weights(#[from] Misfit),
    /// Nobody has said what an operator is in TorchScript: a defect of curiod.
    #[error("it is not known what {node} is in TorchScript")]
    Unsaid {
        /// The operator, and what it was given.
        node: String,
    },
    /// The archive could not be put together.
    #[error("the archive can not be written: {0}")]
    Archive(#[from] zip::result::ZipError),
}

/// The archive of a network with these weights, a `model.safetensors`. `about`: what else is known of it, keys and values; with what
/// must be known of its input they are its extra file `about.json`.
///
/// # Errors
/// Weights of another network; an operator that is not known here.
pub fn torchscript(
    spec: &EncoderSpec,
    safetensors: Vec<u8>,
    about: &[(&str, String)],
) -> Result<Vec<u8>, TorchScriptError> {
    let operators = operators(spec, safetensors)?;
    let own = properties(spec);
    let about: serde_json::Map<String, serde_json::Value> = about
        .iter()
        .chain(&own)
        .map(|(key, value)| ((*key).to_owned(), value.clone().into()))
        .collect();
    let tree = Tree::of(&operators);
    let source = tree.source(&forward::forward(&operators)?);
    Ok(archive::archive(
        &tree,
        &source,
        &serde_json::Value::Object(about).to_string(),
    )?)
}

#[cfg(test)]
mod tests;
