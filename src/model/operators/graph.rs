//! A graph as it grows: an operator's inputs are values that are there already, so its nodes are in order.
//! Invariants: every name is given once; a weight bears its name in `model.safetensors`, has the shape that its network gives it, and
//! is in the graph once.

use std::collections::{BTreeMap, BTreeSet};

use prost::bytes::Bytes;
use safetensors::{Dtype, SafeTensors};

use super::Misfit;
use super::parts::{Constant, Data, Form, Input, Node, Number, Operators, Set, Size, int};

/// A value in a graph, by its name.
#[derive(Clone, Debug)]
pub(super) struct Value(String);

/// A graph, and the weights that it may use.
pub(super) struct Graph<'a> {
    bytes: &'a Bytes,
    weights: SafeTensors<'a>,
    /// The names of those that are not in the graph.
    unused: BTreeSet<String>,
    known: BTreeMap<String, Value>,
    inputs: Vec<Input>,
    constants: Vec<Constant>,
    nodes: Vec<Node>,
}

impl<'a> Graph<'a> {
    /// An empty graph over these weights, a `model.safetensors`.
    pub(super) fn new(bytes: &'a Bytes) -> Result<Self, Misfit> {
        let weights = SafeTensors::deserialize(bytes).map_err(|error| Misfit(error.to_string()))?;
        Ok(Self {
            bytes,
            unused: weights.names().into_iter().map(str::to_owned).collect(),
            weights,
            known: BTreeMap::new(),
            inputs: Vec::new(),
            constants: Vec::new(),
            nodes: Vec::new(),
        })
    }

    /// An input of the network.
    pub(super) fn input(&mut self, name: &'static str, number: Number, shape: &[Size], about: &str) -> Value {
        self.inputs.push(Input {
            name,
            number,
            shape: shape.to_vec(),
            about: about.to_owned(),
        });
        Value(name.to_owned())
    }

    /// What an operator makes of these.
    pub(super) fn op<const N: usize>(&mut self, kind: &'static str, inputs: [&Value; N]) -> Value {
        self.op_with(kind, inputs, [])
    }

    /// What an operator makes of these under its settings.
    pub(super) fn op_with<const N: usize, const M: usize>(
        &mut self,
        kind: &'static str,
        inputs: [&Value; N],
        settings: [(&'static str, Set); M],
    ) -> Value {
        let [output] = self.outputs(kind, &inputs, settings.to_vec());
        output
    }

    /// The equal parts along the last dimension.
    pub(super) fn split<const N: usize>(&mut self, x: &Value) -> [Value; N] {
        self.outputs("Split", &[x], vec![int("axis", -1)])
    }

    fn outputs<const N: usize>(
        &mut self,
        kind: &'static str,
        inputs: &[&Value],
        settings: Vec<(&'static str, Set)>,
    ) -> [Value; N] {
        let number = self.nodes.len();
        let outputs = std::array::from_fn(|part| Value(format!("{kind}_{number}_{part}")));
        self.nodes.push(Node {
            kind,
            inputs: inputs.iter().map(|input| input.0.clone()).collect(),
            outputs: outputs.iter().map(|output: &Value| output.0.clone()).collect(),
            settings,
        });
        outputs
    }

    /// A weight of this shape, as it is.
    pub(super) fn weight(&mut self, name: &str, shape: &[i64]) -> Result<Value, Misfit> {
        self.weight_as(name, name, shape, shape.to_vec(), Form::InOrder)
    }

    /// A vector of weights as [C, 1, 1], to be met by maps of C channels.
    pub(super) fn channel_weight(&mut self, name: &str, channels: i64) -> Result<Value, Misfit> {
        self.weight_as(name, name, &[channels], vec![channels, 1, 1], Form::InOrder)
    }

    /// A matrix of weights, [N, M], as [M, N].
    pub(super) fn transposed(&mut self, name: &str, [rows, columns]: [i64; 2]) -> Result<Value, Misfit> {
        let turned = format!("{name}.T");
        self.weight_as(&turned, name, &[rows, columns], vec![columns, rows], Form::Turned)
    }

    fn weight_as(
        &mut self,
        name: &str,
        path: &str,
        stored: &[i64],
        shape: Vec<i64>,
        form: Form,
    ) -> Result<Value, Misfit> {
        let data = Data::Weight {
            path: path.to_owned(),
            bytes: self.bytes.slice_ref(self.stored(path, stored)?),
            stored: stored.to_vec(),
            form,
        };
        Ok(self.named(name, Number::Float, shape, data))
    }

    /// A weight that what is asked of the network does not use.
    pub(super) fn leave_out(&mut self, name: &str, shape: &[i64]) -> Result<(), Misfit> {
        self.stored(name, shape).map(|_| ())
    }

    fn stored(&mut self, name: &str, shape: &[i64]) -> Result<&'a [u8], Misfit> {
        self.unused.remove(name);
        let view = self
            .weights
            .tensor(name)
            .map_err(|_| Misfit(format!("the file lacks `{name}`")))?;
        let found: Vec<i64> = view.shape().iter().map(|size| *size as i64).collect();
        if view.dtype() == Dtype::F32 && found == shape {
            return Ok(view.data());
        }
        Err(Misfit(format!(
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
        self.constant(Number::Float, shape.to_vec(), data)
    }

    /// A constant number in double precision.
    pub(super) fn double(&mut self, value: f64) -> Value {
        self.constant(Number::Double, Vec::new(), value.to_le_bytes().to_vec())
    }

    /// A constant whole number.
    pub(super) fn whole(&mut self, value: i64) -> Value {
        self.constant(Number::Whole, Vec::new(), value.to_le_bytes().to_vec())
    }

    /// Constant whole numbers in a row: axes, shapes, places.
    pub(super) fn wholes(&mut self, values: &[i64]) -> Value {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(Number::Whole, vec![values.len() as i64], data)
    }

    fn constant(&mut self, number: Number, shape: Vec<i64>, data: Vec<u8>) -> Value {
        let name = format!("constant_{}", self.constants.len());
        self.named(&name, number, shape, Data::Own(data.into()))
    }

    fn named(&mut self, name: &str, number: Number, shape: Vec<i64>, data: Data) -> Value {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        self.constants.push(Constant {
            name: name.to_owned(),
            number,
            shape,
            data,
        });
        let value = Value(name.to_owned());
        self.known.insert(name.to_owned(), value.clone());
        value
    }

    /// The whole graph, which gives this value, `[batch, dim]`, as `embedding`. An error where weights were left over: they are
    /// another network's.
    pub(super) fn finish(mut self, embedding: &Value, dim: i64) -> Result<Operators, Misfit> {
        if let Some(name) = self.unused.first() {
            return Err(Misfit(format!("the file's `{name}` is unknown")));
        }
        self.nodes.push(Node {
            kind: "Identity",
            inputs: vec![embedding.0.clone()],
            outputs: vec!["embedding".to_owned()],
            settings: Vec::new(),
        });
        Ok(Operators {
            inputs: self.inputs,
            constants: self.constants,
            nodes: self.nodes,
            dim,
        })
    }
}
