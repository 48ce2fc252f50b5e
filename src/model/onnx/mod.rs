//! A published encoder as an ONNX file, which other programs run without libtorch and without us.
//! Always true: it gives the embedding that the daemon gives, pooled and of unit length, for any number of samples; its weights are
//! in it.
//!
//! What a sample's numbers go through before the network is in the graph where ONNX can say it: series are cut and normalised there,
//! states filled up and scaled. Pictures come normalised, texts as token ids; the file's properties say how.

mod graph;
mod layers;
mod pictures;
mod proto;
mod series;
mod states;
mod texts;

use prost::Message;
use prost::bytes::Bytes;

use super::{EncoderSpec, PIXEL_MEAN, PIXEL_STD};
use graph::Graph;
use proto::{Model, Opset, Property};

/// The format's version, and that of its operators: what runtimes of the last years read (ONNX 1.12, 2022).
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;

/// Bytes of a file: protobuf can not say more.
const BYTES_MAX: usize = (1 << 31) - 1;

/// Why a network is not written as ONNX.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The weights are not those of this network.
    #[error("the weights do not fit the network: {0}")]
    Weights(String),
    /// The file would be larger than the format allows.
    #[error("the network is {bytes} bytes as ONNX, and one file may hold {BYTES_MAX}")]
    TooLarge {
        /// What it would be.
        bytes: usize,
    },
}

/// The file of a network with these weights, a `model.safetensors`. `about`: what else is known of it, keys and values; `version`:
/// the number of its generation.
///
/// # Errors
/// Weights of another network; more than 2 GiB.
pub fn onnx(
    spec: &EncoderSpec,
    safetensors: Vec<u8>,
    about: &[(&str, String)],
    version: u64,
) -> Result<Vec<u8>, OnnxError> {
    bounded(spec, safetensors, about, version, BYTES_MAX)
}

fn bounded(
    spec: &EncoderSpec,
    safetensors: Vec<u8>,
    about: &[(&str, String)],
    version: u64,
    bytes_max: usize,
) -> Result<Vec<u8>, OnnxError> {
    must_be_built(spec)?;
    let bytes = Bytes::from(safetensors);
    let mut graph = Graph::new(&bytes)?;
    let embedding = match spec {
        EncoderSpec::Image(spec) => pictures::embedding(&mut graph, spec)?,
        EncoderSpec::Text(spec) => texts::embedding(&mut graph, spec)?,
        EncoderSpec::Series(spec) => series::embedding(&mut graph, spec)?,
        EncoderSpec::Transition(spec) => states::embedding(&mut graph, spec)?,
    };
    let own = properties(spec);
    let properties = about.iter().chain(&own).map(|(key, value)| Property {
        key: (*key).to_owned(),
        value: value.clone(),
    });
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: "curiod".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        model_version: i64::try_from(version).unwrap_or(i64::MAX),
        doc_string: format!(
            "An encoder of {}: `metadata_props` say how it is asked.",
            spec.modality()
        ),
        metadata_props: properties.collect(),
        opset_import: vec![Opset {
            domain: String::new(),
            version: OPSET,
        }],
        graph: Some(graph.finish(&embedding, spec.dim())?),
    };
    let bytes = model.encoded_len();
    if bytes > bytes_max {
        return Err(OnnxError::TooLarge { bytes });
    }
    Ok(model.encode_to_vec())
}

/// An error where a spec is of a network that nobody could build.
fn must_be_built(spec: &EncoderSpec) -> Result<(), OnnxError> {
    let divides = |heads: i64, dim: i64| heads > 0 && dim > 0 && dim % heads == 0;
    let can_be = match spec {
        EncoderSpec::Image(spec) => spec.image_px > 0,
        EncoderSpec::Text(spec) => divides(spec.bert.heads, spec.bert.hidden),
        EncoderSpec::Series(spec) => divides(spec.heads.into(), spec.hidden.into()) && spec.patch_steps > 0,
        EncoderSpec::Transition(spec) => spec.state_dims > 0,
    };
    match can_be {
        true => Ok(()),
        false => Err(OnnxError::Weights(format!("no network is as {spec:?}"))),
    }
}

/// What whoever asks the network must know of its input.
fn properties(spec: &EncoderSpec) -> Vec<(&'static str, String)> {
    let list = |values: [f32; 3]| values.map(|value| value.to_string()).join(",");
    let mut all = match spec {
        EncoderSpec::Image(spec) => vec![
            (
                "input",
                format!(
                    "pixel_values: the picture upright, its shorter side brought to {0} pixels (bilinear, antialiased, as \
                     PIL does), the {0} x {0} in the middle cut out; red, green, blue; each level divided by 255, less `mean`, \
                     divided by `std`",
                    spec.image_px
                ),
            ),
            ("image_px", spec.image_px.to_string()),
            ("mean", list(PIXEL_MEAN)),
            ("std", list(PIXEL_STD)),
        ],
        EncoderSpec::Text(spec) => vec![
            (
                "input",
                format!(
                    "input_ids, attention_mask: the text by `tokenizer.json`, [CLS] and [SEP] around it, cut to {} tokens; shorter \
                     ones padded, where the mask is 0",
                    spec.tokens_max
                ),
            ),
            ("tokens_max", spec.tokens_max.to_string()),
        ],
        EncoderSpec::Series(spec) => vec![
            (
                "input",
                "series: windows, NaN where a number is missing; shorter ones of a batch are filled up with NaN before their first \
                 step. They are normalised in the graph"
                    .to_owned(),
            ),
            ("patch_steps", spec.patch_steps.to_string()),
        ],
        EncoderSpec::Transition(spec) => vec![
            (
                "input",
                format!(
                    "state, next_state: the state before and the one after, finite numbers, {} at most; they are filled up and \
                     scaled in the graph",
                    spec.state_dims
                ),
            ),
            ("state_dims", spec.state_dims.to_string()),
        ],
    };
    all.push(("output", "embedding: of unit length, as the daemon gives it".to_owned()));
    all.push(("modality", spec.modality().to_string()));
    all
}

#[cfg(test)]
mod tests;
