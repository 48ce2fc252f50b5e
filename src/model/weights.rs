//! Weights as safetensors bytes, under the names that timm and transformers give them.
//! Invariant: loading compares every name, type and shape before it changes anything; the same weights give the same
//! bytes.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tch::nn::VarStore;
use tch::{Kind, Tensor};

use super::ModelError;
use crate::torch;

/// All variables of the store as a safetensors file: float32, contiguous, `format = "pt"`, names in order.
pub fn export(variables: &VarStore) -> Result<Vec<u8>, ModelError> {
    let named: Vec<(String, Vec<usize>, Vec<u8>)> = variables
        .variables()
        .into_iter()
        .map(|(name, variable)| {
            let shape = variable.size().iter().map(|&n| n as usize).collect();
            Ok((name, shape, bytes_of(&variable)?))
        })
        .collect::<Result<_, ModelError>>()?;
    let views = named
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(unfit)?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(unfit)
}

/// Loads the bytes of a safetensors file into the store's variables. An error, with nothing changed, when the bytes hold
/// a variable too many, too few, of another shape or of another type than float32.
pub fn load_into(variables: &VarStore, bytes: &[u8]) -> Result<(), ModelError> {
    load_known(variables, bytes, |_| false)
}

/// As [`load_into`], but variables of the file whose names are to be `ignored` may be too many.
pub fn load_known(variables: &VarStore, bytes: &[u8], ignored: impl Fn(&str) -> bool) -> Result<(), ModelError> {
    let file = SafeTensors::deserialize(bytes).map_err(unfit)?;
    copy(pairs(variables, &file, ignored)?.0)
}

/// Loads those of the network's variables that the file has under names that are `wanted`, if it has all of these; whether it
/// did.
pub fn load_some(variables: &VarStore, bytes: &[u8], wanted: impl Fn(&str) -> bool) -> Result<bool, ModelError> {
    let file = SafeTensors::deserialize(bytes).map_err(unfit)?;
    let of_network: HashMap<String, Tensor> = variables
        .variables()
        .into_iter()
        .filter(|(name, _)| wanted(name))
        .collect();
    let mut pairs = Vec::with_capacity(of_network.len());
    for (name, variable) in of_network {
        let Ok(view) = file.tensor(&name) else { return Ok(false) };
        fits(&name, &variable, &view)?;
        pairs.push((variable, view));
    }
    copy(pairs)?;
    Ok(true)
}

/// Whether [`load_known`] would load these bytes; which of their variables it would ignore.
pub fn compare(variables: &VarStore, bytes: &[u8], ignored: impl Fn(&str) -> bool) -> Result<Vec<String>, ModelError> {
    let file = SafeTensors::deserialize(bytes).map_err(unfit)?;
    Ok(pairs(variables, &file, ignored)?.1)
}

/// The weights on the line from `from` (share 0) to `to` (share 1), as a safetensors file: every number of it is
/// `from + share (to - from)`. An error where the two do not hold the same variables of the same shapes, all float32.
pub fn mix(from: &[u8], to: &[u8], share: f64) -> Result<Vec<u8>, ModelError> {
    let (from, to) = (
        SafeTensors::deserialize(from).map_err(unfit)?,
        SafeTensors::deserialize(to).map_err(unfit)?,
    );
    let mut names = to.names();
    names.sort_unstable();
    if let Some(name) = from.names().into_iter().find(|name| names.binary_search(name).is_err()) {
        return Err(ModelError::Weights(format!(
            "only one of two files to be mixed has `{name}`"
        )));
    }
    let mixed: Vec<(&str, Vec<usize>, Vec<u8>)> = names
        .into_iter()
        .map(|name| {
            let one = from
                .tensor(name)
                .map_err(|_| ModelError::Weights(format!("only one of two files to be mixed has `{name}`")))?;
            let other = to.tensor(name).map_err(unfit)?;
            if one.shape() != other.shape() || (one.dtype(), other.dtype()) != (Dtype::F32, Dtype::F32) {
                let reason = format!("`{name}` is of another shape or type in one of two files to be mixed");
                return Err(ModelError::Weights(reason));
            }
            let numbers = floats_of(one.data()).into_iter().zip(floats_of(other.data()));
            let bytes = numbers.flat_map(|(one, other)| (one + share as f32 * (other - one)).to_le_bytes());
            Ok((name, other.shape().to_vec(), bytes.collect()))
        })
        .collect::<Result<_, _>>()?;
    let views = mixed
        .iter()
        .map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(unfit)?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(unfit)
}

fn copy(pairs: Vec<Pair<'_>>) -> Result<(), ModelError> {
    let _no_grad = tch::no_grad_guard();
    for (mut variable, view) in pairs {
        let shape = variable.size();
        variable.f_copy_(&Tensor::from_slice(&floats_of(view.data())).f_view(shape.as_slice())?)?;
    }
    Ok(())
}

/// A variable of a network, and its values in a file.
type Pair<'a> = (Tensor, TensorView<'a>);

/// Every variable with its values in the file, and the names that are ignored.
fn pairs<'a>(
    variables: &VarStore,
    file: &SafeTensors<'a>,
    ignored: impl Fn(&str) -> bool,
) -> Result<(Vec<Pair<'a>>, Vec<String>), ModelError> {
    let variables = variables.variables();
    let (mut left_out, strange): (Vec<_>, Vec<_>) = file
        .names()
        .into_iter()
        .filter(|&name| !variables.contains_key(name))
        .map(str::to_owned)
        .partition(|name| ignored(name));
    if let Some(name) = strange.iter().min() {
        return Err(ModelError::Weights(format!("the file's `{name}` is unknown")));
    }
    left_out.sort();
    let mut pairs = Vec::with_capacity(variables.len());
    let mut named: Vec<_> = variables.into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, variable) in named {
        let view = file
            .tensor(&name)
            .map_err(|_| ModelError::Weights(format!("the file lacks `{name}`")))?;
        fits(&name, &variable, &view)?;
        pairs.push((variable, view));
    }
    Ok((pairs, left_out))
}

/// An error where the file's values are not of the variable's type or shape.
fn fits(name: &str, variable: &Tensor, view: &TensorView<'_>) -> Result<(), ModelError> {
    let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
    if view.dtype() == Dtype::F32 && shape == variable.size() {
        return Ok(());
    }
    Err(ModelError::Weights(format!(
        "`{name}` is {:?} {shape:?} in the file and F32 {:?} in the network",
        view.dtype(),
        variable.size()
    )))
}

/// The tensor's values as little-endian float32, rows first whatever its layout in memory.
pub(crate) fn bytes_of(tensor: &Tensor) -> Result<Vec<u8>, ModelError> {
    let mut values = vec![0f32; tensor.numel()];
    tensor
        .detach()
        .f_to_kind(Kind::Float)?
        .f_contiguous()?
        .f_copy_data(&mut values, tensor.numel())?;
    Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// The float32 values of little-endian bytes.
pub(crate) fn floats_of(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

fn unfit(error: safetensors::SafeTensorError) -> ModelError {
    ModelError::Weights(error.to_string())
}

/// Lays convolutions out channels last, as pictures are.
pub fn lay_out(store: &VarStore) -> Result<(), ModelError> {
    for (_, variable) in store.variables() {
        if variable.dim() == 4 {
            torch::param_channels_last(&variable)?;
        }
    }
    Ok(())
}
