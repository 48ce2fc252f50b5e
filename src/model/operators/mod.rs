//! A published encoder as a row of operators, which a file for other programs is written from.
//! Always true: they give the embedding that the daemon gives, pooled and of unit length, for any number of samples. They are ONNX's
//! operators (opset 17), with ONNX's meaning: [`onnx`](super::onnx) writes them as they are,
//! [`torchscript`](super::torchscript) says each in TorchScript.
//!
//! What a sample's numbers go through before the network is among them where ONNX can say it: series are cut and normalised there,
//! states filled up and scaled. Pictures come normalised, texts as token ids; [`properties`] say how.

#[cfg(test)]
pub(in crate::model) mod examples;
mod graph;
mod layers;
mod parts;
mod pictures;
mod properties;
mod series;
mod states;
mod texts;

use prost::bytes::Bytes;

use super::EncoderSpec;
use graph::Graph;

pub(in crate::model) use parts::{Constant, Data, Form, Input, Node, Number, Operators, Set, Size};
pub(in crate::model) use properties::properties;

/// The weights are not those of this network.
#[derive(Debug, thiserror::Error)]
#[error("the weights do not fit the network: {0}")]
pub struct Misfit(String);

/// The operators of a network with these weights, a `model.safetensors`.
///
/// # Errors
/// Weights of another network, or a spec of a network that nobody could build.
pub(in crate::model) fn operators(spec: &EncoderSpec, safetensors: Vec<u8>) -> Result<Operators, Misfit> {
    must_be_built(spec)?;
    let bytes = Bytes::from(safetensors);
    let mut graph = Graph::new(&bytes)?;
    let embedding = match spec {
        EncoderSpec::Image(spec) => pictures::embedding(&mut graph, spec)?,
        EncoderSpec::Text(spec) => texts::embedding(&mut graph, spec)?,
        EncoderSpec::Series(spec) => series::embedding(&mut graph, spec)?,
        EncoderSpec::Transition(spec) => states::embedding(&mut graph, spec)?,
    };
    graph.finish(&embedding, spec.dim())
}

/// An error where a spec is of a network that nobody could build.
fn must_be_built(spec: &EncoderSpec) -> Result<(), Misfit> {
    let divides = |heads: i64, dim: i64| heads > 0 && dim > 0 && dim % heads == 0;
    let can_be = match spec {
        EncoderSpec::Image(spec) => spec.image_px > 0,
        EncoderSpec::Text(spec) => divides(spec.bert.heads, spec.bert.hidden),
        EncoderSpec::Series(spec) => divides(spec.heads.into(), spec.hidden.into()) && spec.patch_steps > 0,
        EncoderSpec::Transition(spec) => spec.state_dims > 0,
    };
    match can_be {
        true => Ok(()),
        false => Err(Misfit(format!("no network is as {spec:?}"))),
    }
}
