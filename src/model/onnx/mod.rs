//! A published encoder as an ONNX file, which other programs run without libtorch and without us.
//! Always true: it holds the network's [operators](super::operators) as they are, and its weights; its properties say how it is asked.

mod proto;

use prost::Message;
use prost::bytes::Bytes;

use super::EncoderSpec;
use super::operators::{
    Constant, Data, Form, Input, Misfit, Node, Number, Operators, Set, Size, operators, properties,
};
use proto::{
    Attribute, Dim, GraphMessage, Model, NodeMessage, Numbers, Opset, Property, Shape, TensorType, ValueInfo, ValueType,
};

/// The format's version, and that of its operators: what runtimes of the last years read (ONNX 1.12, 2022).
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;

/// Bytes of a file: protobuf can not say more.
const BYTES_MAX: usize = (1 << 31) - 1;

/// Why a network is not written as ONNX.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The weights are not those of this network.
    #[error(transparent)]
    Weights(#[from] Misfit),
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
    let operators = operators(spec, safetensors)?;
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
        graph: Some(graph(operators)),
    };
    let bytes = model.encoded_len();
    if bytes > bytes_max {
        return Err(OnnxError::TooLarge { bytes });
    }
    Ok(model.encode_to_vec())
}

fn graph(operators: Operators) -> GraphMessage {
    let embedding = [Size::Any("batch"), Size::Fixed(operators.dim)];
    GraphMessage {
        name: "curiod".to_owned(),
        node: operators.nodes.into_iter().enumerate().map(node).collect(),
        initializer: operators.constants.into_iter().map(numbers).collect(),
        input: operators.inputs.iter().map(input).collect(),
        output: vec![described(
            "embedding",
            Number::Float,
            &embedding,
            "vectors of unit length",
        )],
    }
}

fn node((place, node): (usize, Node)) -> NodeMessage {
    NodeMessage {
        name: format!("{}_{place}", node.kind),
        input: node.inputs,
        output: node.outputs,
        op_type: node.kind.to_owned(),
        attribute: node.settings.into_iter().map(attribute).collect(),
    }
}

fn attribute((name, set): (&str, Set)) -> Attribute {
    let name = name.to_owned();
    match set {
        Set::Float(value) => Attribute {
            name,
            f: Some(value),
            kind: 1,
            ..Attribute::default()
        },
        Set::Whole(value) => Attribute {
            name,
            i: Some(value),
            kind: 2,
            ..Attribute::default()
        },
        Set::Wholes(values) => Attribute {
            name,
            ints: values,
            kind: 7,
            ..Attribute::default()
        },
    }
}

fn numbers(constant: Constant) -> Numbers {
    let raw_data = match constant.data {
        Data::Own(bytes) => bytes,
        Data::Weight { bytes, form, .. } => match form {
            Form::InOrder => bytes,
            Form::Turned => turned(&bytes, &constant.shape),
        },
    };
    Numbers {
        dims: constant.shape,
        data_type: constant.number.data_type(),
        name: constant.name,
        raw_data,
    }
}

/// A matrix of float32, its columns as rows: to [M, N].
fn turned(bytes: &[u8], shape: &[i64]) -> Bytes {
    let (words, _) = bytes.as_chunks::<4>();
    let columns = shape.first().map_or(0, |columns| *columns as usize);
    let mut turned = Vec::with_capacity(bytes.len());
    for column in 0..columns {
        turned.extend(words.iter().skip(column).step_by(columns).flatten());
    }
    turned.into()
}

fn input(input: &Input) -> ValueInfo {
    described(input.name, input.number, &input.shape, &input.about)
}

fn described(name: &str, number: Number, shape: &[Size], about: &str) -> ValueInfo {
    let dim = |size: &Size| match size {
        Size::Fixed(value) => Dim {
            dim_value: Some(*value),
            dim_param: None,
        },
        Size::Any(name) => Dim {
            dim_value: None,
            dim_param: Some((*name).to_owned()),
        },
    };
    let shape = Shape {
        dim: shape.iter().map(dim).collect(),
    };
    ValueInfo {
        name: name.to_owned(),
        r#type: Some(ValueType {
            tensor_type: Some(TensorType {
                elem_type: number.data_type(),
                shape: Some(shape),
            }),
        }),
        doc_string: about.to_owned(),
    }
}

#[cfg(test)]
mod tests;
