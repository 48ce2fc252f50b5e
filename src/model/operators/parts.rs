//! What operators are made of: inputs, constants, nodes.
//! Invariants: every name is given once; a node's inputs are inputs of the network, constants, or outputs of nodes before it.

use prost::bytes::Bytes;

/// A whole network, which gives `embedding`, float32 `[batch, dim]`.
#[derive(Clone, Debug)]
pub(in crate::model) struct Operators {
    /// What the caller brings, in this order.
    pub(in crate::model) inputs: Vec<Input>,
    /// Weights, and numbers that a network computes with.
    pub(in crate::model) constants: Vec<Constant>,
    /// In the order in which they compute.
    pub(in crate::model) nodes: Vec<Node>,
    /// Numbers of an embedding.
    pub(in crate::model) dim: i64,
}

/// What an input or a constant consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) enum Number {
    /// float32
    Float,
    /// float64
    Double,
    /// int64
    Whole,
}

/// A dimension of an input.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) enum Size {
    /// So many.
    Fixed(i64),
    /// As many as the caller brings.
    Any(&'static str),
}

/// What the caller brings.
#[derive(Clone, Debug)]
pub(in crate::model) struct Input {
    pub(in crate::model) name: &'static str,
    pub(in crate::model) number: Number,
    pub(in crate::model) shape: Vec<Size>,
    /// What it is, in words.
    pub(in crate::model) about: String,
}

/// Numbers that are known: little-endian, the last dimension first.
#[derive(Clone, Debug)]
pub(in crate::model) struct Constant {
    pub(in crate::model) name: String,
    pub(in crate::model) number: Number,
    pub(in crate::model) shape: Vec<i64>,
    pub(in crate::model) data: Data,
}

/// Where a constant's numbers come from.
#[derive(Clone, Debug)]
pub(in crate::model) enum Data {
    /// From `model.safetensors`.
    Weight {
        /// Its name there.
        path: String,
        /// Its shape there.
        stored: Vec<i64>,
        /// Its numbers there.
        bytes: Bytes,
        /// What the constant is of it.
        form: Form,
    },
    /// From the network's description.
    Own(Bytes),
}

/// What a constant is of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) enum Form {
    /// The same numbers in the same order; the shape may be another.
    InOrder,
    /// A matrix, its rows as columns.
    Turned,
}

/// One operator of ONNX.
#[derive(Clone, Debug)]
pub(in crate::model) struct Node {
    pub(in crate::model) kind: &'static str,
    pub(in crate::model) inputs: Vec<String>,
    pub(in crate::model) outputs: Vec<String>,
    /// Its attributes, by their names.
    pub(in crate::model) settings: Vec<(&'static str, Set)>,
}

/// What an attribute of an operator is set to.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::model) enum Set {
    /// A whole number.
    Whole(i64),
    /// A number.
    Float(f32),
    /// A row of whole numbers.
    Wholes(Vec<i64>),
}

/// A setting that is a whole number.
pub(super) fn int(name: &'static str, value: i64) -> (&'static str, Set) {
    (name, Set::Whole(value))
}

/// A setting that is a number.
pub(super) fn float(name: &'static str, value: f32) -> (&'static str, Set) {
    (name, Set::Float(value))
}

/// A setting that is a row of whole numbers.
pub(super) fn ints(name: &'static str, values: &[i64]) -> (&'static str, Set) {
    (name, Set::Wholes(values.to_vec()))
}

/// The setting of `Cast`: what it makes numbers of.
pub(super) fn to(number: Number) -> (&'static str, Set) {
    int("to", number.data_type().into())
}

impl Number {
    /// ONNX's number of the type (`TensorProto.DataType`).
    pub(in crate::model) fn data_type(self) -> i32 {
        match self {
            Self::Float => 1,
            Self::Whole => 7,
            Self::Double => 11,
        }
    }
}
