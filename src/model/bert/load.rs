//! A BERT's weights from a safetensors file of Hugging Face's.
//! Invariant: every name, type and shape is compared before anything changes; an error names all that do not fit.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tch::Tensor;
use tch::nn::VarStore;

use crate::model::{ModelError, weights};

/// What a file may hold and the network need not have: a pooler, heads, and the numbers 0 to 511 that old versions saved.
const LEFT_OUT: [&str; 3] = ["pooler.", "cls.", "embeddings.position_ids"];

/// Names that an error spells out; of more it gives the number.
const NAMES_MAX: usize = 8;

/// Loads a `model.safetensors` into the variables of a [`Bert`](super::Bert), with heads or without. Files of a
/// `BertModel` and those of a model around one, whose names begin with `bert.`, are read alike, as are norms of the
/// paper's code (`gamma`, `beta`). Returns the names that were left out. An error, with nothing changed, where a variable
/// is missing, unknown, of another shape or of another type than float32.
pub fn load(variables: &VarStore, bytes: &[u8]) -> Result<Vec<String>, ModelError> {
    let unfit = |error: safetensors::SafeTensorError| ModelError::Weights(error.to_string());
    let file = SafeTensors::deserialize(bytes).map_err(unfit)?;
    let mut wanted: BTreeMap<String, Tensor> = variables.variables().into_iter().collect();
    let (mut pairs, mut left_out, mut unknown, mut wrong) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut names = file.names();
    names.sort_unstable();
    for name in names {
        let known = aliases(name).into_iter().find_map(|alias| wanted.remove(&alias));
        match known {
            Some(variable) => {
                let view = file.tensor(name).map_err(unfit)?;
                match misfit(&variable, &view) {
                    Some(why) => wrong.push(format!("{name}: {why}")),
                    None => pairs.push((variable, view)),
                }
            }
            None if is_left_out(name) => left_out.push(name.to_owned()),
            None => unknown.push(name.to_owned()),
        }
    }
    let missing: Vec<String> = wanted.into_keys().collect();
    let faults: Vec<String> = [
        ("missing", missing),
        ("unknown", unknown),
        ("of another shape or type", wrong),
    ]
    .into_iter()
    .filter(|(_, names)| !names.is_empty())
    .map(|(what, names)| format!("{what}: {}", listed(&names)))
    .collect();
    if !faults.is_empty() {
        return Err(ModelError::Weights(faults.join("; ")));
    }
    let _no_grad = tch::no_grad_guard();
    for (mut variable, view) in pairs {
        let shape = variable.size();
        variable.f_copy_(&Tensor::from_slice(&weights::floats_of(view.data())).f_view(shape.as_slice())?)?;
    }
    Ok(left_out)
}

/// What a variable of the file may be called in the network.
fn aliases(name: &str) -> Vec<String> {
    let new = name
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias");
    let bare = new.strip_prefix("bert.").map(str::to_owned);
    std::iter::once(new.clone()).chain(bare).collect()
}

fn is_left_out(name: &str) -> bool {
    let bare = name.strip_prefix("bert.").unwrap_or(name);
    LEFT_OUT.iter().any(|prefix| bare.starts_with(prefix))
}

fn misfit(variable: &Tensor, view: &TensorView) -> Option<String> {
    let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
    (view.dtype() != Dtype::F32 || shape != variable.size()).then(|| {
        format!(
            "{:?} {shape:?} in the file, F32 {:?} in the network",
            view.dtype(),
            variable.size()
        )
    })
}

fn listed(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMES_MAX)].join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
