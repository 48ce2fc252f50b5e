//! A graph as it grows: an operator's inputs are values that are there already, so its nodes are in order.
//! Invariants: every name is given once; a weight bears its name in `model.safetensors`, has the shape that its network gives it, and
//! is in the graph once.

use std::collections::{BTreeMap, BTreeSet};

use prost::bytes::Bytes;
use safetensors::{Dtype, SafeTensors};

use super::OnnxError;
use super::proto::{
    Attribute, DOUBLE, Dim, FLOAT, GraphMessage, INT64, Node, Numbers, Shape, TensorType, ValueInfo, ValueType,
};

/// A value in a graph, by its name.
#[derive(Clone, Debug)]
pub(super) struct Value(String);

/// A dimension of an input.
#[derive(Clone, Copy, Debug)]
pub(super) enum Size {
    /// So many.
    Fixed(i64),
    /// As many as the caller brings.
    Any(&'static str),
}

/// A graph, and the weights that it may use.
pub(super) struct Graph<'a> {
    bytes: &'a Bytes,
    weights: SafeTensors<'a>,
    /// The names of those that are not in the graph.
    unused: BTreeSet<String>,
    known: BTreeMap<String, Value>,
    message: GraphMessage,
}

impl<'a> Graph<'a> {
    /// An empty graph over these weights, a `model.safetensors`.
    pub(super) fn new(bytes: &'a Bytes) -> Result<Self, OnnxError> {
        let weights = SafeTensors::deserialize(bytes).map_err(|error| OnnxError::Weights(error.to_string()))?;
        Ok(Self {
            bytes,
            unused: weights.names().into_iter().map(str::to_owned).collect(),
            weights,
            known: BTreeMap::new(),
            message: GraphMessage {
                name: "curiod".to_owned(),
                ..GraphMessage::default()
            },
        })
    }

    /// An input of the network.
    pub(super) fn input(&mut self, name: &str, elem_type: i32, shape: &[Size], about: &str) -> Value {
        self.message.input.push(described(name, elem_type, shape, about));
        Value(name.to_owned())
    }

    /// What an operator makes of these.
    pub(super) fn op<const N: usize>(&mut self, kind: &str, inputs: [&Value; N]) -> Value {
        self.op_with(kind, inputs, [])
    }

    /// What an operator makes of these under its settings.
    pub(super) fn op_with<const N: usize, const M: usize>(
        &mut self,
        kind: &str,
        inputs: [&Value; N],
        settings: [Attribute; M],
    ) -> Value {
        let [output] = self.outputs(kind, &inputs, settings.to_vec());
        output
    }

    /// The equal parts along the last dimension.
    pub(super) fn split<const N: usize>(&mut self, x: &Value) -> [Value; N] {
        self.outputs("Split", &[x], vec![int("axis", -1)])
    }

    fn outputs<const N: usize>(&mut self, kind: &str, inputs: &[&Value], attribute: Vec<Attribute>) -> [Value; N] {
        let number = self.message.node.len();
        let outputs = std::array::from_fn(|part| Value(format!("{kind}_{number}_{part}")));
        self.message.node.push(Node {
            input: inputs.iter().map(|input| input.0.clone()).collect(),
            output: outputs.iter().map(|output: &Value| output.0.clone()).collect(),
            name: format!("{kind}_{number}"),
            op_type: kind.to_owned(),
            attribute,
        });
        outputs
    }

    /// A weight of this shape, as it is.
    pub(super) fn weight(&mut self, name: &str, shape: &[i64]) -> Result<Value, OnnxError> {
        let data = self.bytes.slice_ref(self.stored(name, shape)?);
        Ok(self.named(name, FLOAT, shape.to_vec(), data))
    }

    /// A vector of weights as [C, 1, 1], to be met by maps of C channels.
    pub(super) fn channel_weight(&mut self, name: &str, channels: i64) -> Result<Value, OnnxError> {
        let data = self.bytes.slice_ref(self.stored(name, &[channels])?);
        Ok(self.named(name, FLOAT, vec![channels, 1, 1], data))
    }

    /// A matrix of weights, [N, M], as [M, N].
    pub(super) fn transposed(&mut self, name: &str, [rows, columns]: [i64; 2]) -> Result<Value, OnnxError> {
        let data = self.stored(name, &[rows, columns])?;
        let (words, _) = data.as_chunks::<4>();
        let (height, width) = (rows as usize, columns as usize);
        let mut turned = Vec::with_capacity(data.len());
        for column in 0..width {
            turned.extend((0..height).flat_map(|row| words[row * width + column]));
        }
        Ok(self.named(&format!("{name}.T"), FLOAT, vec![columns, rows], turned.into()))
    }

    /// The numbers of a weight, to compute with here.
    pub(super) fn numbers(&mut self, name: &str, shape: &[i64]) -> Result<Vec<f32>, OnnxError> {
        Ok(crate::model::weights::floats_of(self.stored(name, shape)?))
    }

    /// A weight that what is asked of the network does not use.
    pub(super) fn leave_out(&mut self, name: &str, shape: &[i64]) -> Result<(), OnnxError> {
        self.stored(name, shape).map(|_| ())
    }

    fn stored(&mut self, name: &str, shape: &[i64]) -> Result<&'a [u8], OnnxError> {
        self.unused.remove(name);
        let view = self
            .weights
            .tensor(name)
            .map_err(|_| OnnxError::Weights(format!("the file lacks `{name}`")))?;
        let found: Vec<i64> = view.shape().iter().map(|size| *size as i64).collect();
        if view.dtype() == Dtype::F32 && found == shape {
            return Ok(view.data());
        }
        Err(OnnxError::Weights(format!(
            "`{name}` is {:?} {found:?} in the file and F32 {shape:?} in the network",
            view.dtype()
        )))
    }

    /// A constant number.
    pub(super) fn float(&mut self, value: f32) -> Value {
        self.floats(&[], &[value])
    }

    /// Constant numbers of a shape.
    pub(super) fn floats(&mut self, shape: &[i64], values: &[f32]) -> Value {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(FLOAT, shape.to_vec(), data)
    }

    /// A constant number in double precision.
    pub(super) fn double(&mut self, value: f64) -> Value {
        self.constant(DOUBLE, Vec::new(), value.to_le_bytes().to_vec())
    }

    /// A constant whole number.
    pub(super) fn whole(&mut self, value: i64) -> Value {
        self.constant(INT64, Vec::new(), value.to_le_bytes().to_vec())
    }

    /// Constant whole numbers in a row: axes, shapes, places.
    pub(super) fn wholes(&mut self, values: &[i64]) -> Value {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(INT64, vec![values.len() as i64], data)
    }

    fn constant(&mut self, data_type: i32, dims: Vec<i64>, data: Vec<u8>) -> Value {
        let name = format!("constant_{}", self.message.initializer.len());
        self.named(&name, data_type, dims, data.into())
    }

    fn named(&mut self, name: &str, data_type: i32, dims: Vec<i64>, raw_data: Bytes) -> Value {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        self.message.initializer.push(Numbers {
            dims,
            data_type,
            name: name.to_owned(),
            raw_data,
        });
        let value = Value(name.to_owned());
        self.known.insert(name.to_owned(), value.clone());
        value
    }

    /// The whole graph, which gives this value, `[batch, dim]`, as `embedding`. An error where weights were left over: they are
    /// another network's.
    pub(super) fn finish(mut self, embedding: &Value, dim: i64) -> Result<GraphMessage, OnnxError> {
        if let Some(name) = self.unused.first() {
            return Err(OnnxError::Weights(format!("the file's `{name}` is unknown")));
        }
        self.message.node.push(Node {
            input: vec![embedding.0.clone()],
            output: vec!["embedding".to_owned()],
            name: "embedding".to_owned(),
            op_type: "Identity".to_owned(),
            attribute: Vec::new(),
        });
        let shape = [Size::Any("batch"), Size::Fixed(dim)];
        self.message
            .output
            .push(described("embedding", FLOAT, &shape, "vectors of unit length"));
        Ok(self.message)
    }
}

fn described(name: &str, elem_type: i32, shape: &[Size], about: &str) -> ValueInfo {
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
                elem_type,
                shape: Some(shape),
            }),
        }),
        doc_string: about.to_owned(),
    }
}

/// A setting that is a whole number.
pub(super) fn int(name: &str, value: i64) -> Attribute {
    Attribute {
        name: name.to_owned(),
        i: Some(value),
        kind: 2,
        ..Attribute::default()
    }
}

/// A setting that is a number.
pub(super) fn float(name: &str, value: f32) -> Attribute {
    Attribute {
        name: name.to_owned(),
        f: Some(value),
        kind: 1,
        ..Attribute::default()
    }
}

/// A setting that is a row of whole numbers.
pub(super) fn ints(name: &str, values: &[i64]) -> Attribute {
    Attribute {
        name: name.to_owned(),
        ints: values.to_vec(),
        kind: 7,
        ..Attribute::default()
    }
}
