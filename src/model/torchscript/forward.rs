//! The method `forward`: the inputs in their order, then a line or a few for each constant and each operator.
//! Always true: constants are made on the device of the first input, so that the module may be moved to any.

use std::collections::BTreeMap;

use super::TorchScriptError;
use super::expressions::{Said, said};
use super::tree::ROOT;
use super::values::{Value, Wholes, list, literal, scalar_type};
use crate::model::operators::{Constant, Data, Form, Node, Number, Operators};

/// The source of the method, as part of its class.
pub(super) fn forward(operators: &Operators) -> Result<String, TorchScriptError> {
    let names: Vec<&str> = operators.inputs.iter().map(|input| input.name).collect();
    let mut lines = Lines {
        known: BTreeMap::new(),
        text: String::new(),
        device: format!("ops.prim.device({})", names.first().copied().unwrap_or_default()),
    };
    for name in &names {
        lines
            .known
            .insert((*name).to_owned(), Value::Tensor((*name).to_owned()));
    }
    for (number, constant) in operators.constants.iter().enumerate() {
        let value = lines.constant(number, constant);
        lines.known.insert(constant.name.clone(), value);
    }
    for node in &operators.nodes {
        lines.node(node)?;
    }
    let given: String = names.iter().map(|name| format!(",\n    {name}: Tensor")).collect();
    let Some(Value::Tensor(embedding)) = lines.known.get("embedding") else {
        return Err(TorchScriptError::Unsaid {
            node: "the embedding".to_owned(),
        });
    };
    Ok(format!(
        "  def forward(self: __torch__.{ROOT}{given}) -> Tensor:\n{}    return {embedding}\n",
        lines.text
    ))
}

struct Lines {
    known: BTreeMap<String, Value>,
    text: String,
    device: String,
}

impl Lines {
    /// Gives an expression a name.
    fn let_be(&mut self, name: &str, expression: &str) -> String {
        self.text.push_str(&format!("    {name} = {expression}\n"));
        name.to_owned()
    }

    fn constant(&mut self, number: usize, constant: &Constant) -> Value {
        match &constant.data {
            Data::Weight { path, stored, form, .. } => {
                let weight = path
                    .split('.')
                    .fold("self".to_owned(), |part, name| format!("getattr({part}, \"{name}\")"));
                let expression = match form {
                    Form::Turned => format!("torch.t({weight})"),
                    Form::InOrder if *stored == constant.shape => weight,
                    Form::InOrder => format!("torch.reshape({weight}, {})", list(&constant.shape)),
                };
                Value::Tensor(self.let_be(&format!("weight_{number}"), &expression))
            }
            Data::Own(bytes) => {
                let (singles, _) = bytes.as_chunks::<4>();
                let (doubles, _) = bytes.as_chunks::<8>();
                let numbers: Vec<f64> = match constant.number {
                    Number::Float => singles.iter().map(|bytes| f32::from_le_bytes(*bytes).into()).collect(),
                    Number::Double => doubles.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
                    Number::Whole => {
                        return Value::Wholes(Wholes {
                            each: doubles
                                .iter()
                                .map(|bytes| i64::from_le_bytes(*bytes).to_string())
                                .collect(),
                            is_row: !constant.shape.is_empty(),
                        });
                    }
                };
                match (constant.shape.as_slice(), numbers.as_slice()) {
                    ([], [number]) => Value::Number(*number),
                    (shape, numbers) => Value::Tensor(self.numbers(number, constant.number, shape, numbers)),
                }
            }
        }
    }

    /// Constant numbers of a shape, made where the inputs are.
    fn numbers(&mut self, number: usize, of: Number, shape: &[i64], numbers: &[f64]) -> String {
        let how = format!("dtype={}, device={}", scalar_type(of), self.device);
        let shape = list(shape);
        let expression = match numbers.split_first() {
            Some((first, others)) if others.iter().all(|other| other == first) => {
                format!("torch.full({shape}, {}, {how})", literal(*first))
            }
            _ => {
                let numbers = list(numbers.iter().map(|number| literal(*number)));
                format!("torch.reshape(torch.tensor({numbers}, {how}), {shape})")
            }
        };
        self.let_be(&format!("constant_{number}"), &expression)
    }

    fn node(&mut self, node: &Node) -> Result<(), TorchScriptError> {
        let inputs: Vec<Value> = node
            .inputs
            .iter()
            .filter_map(|name| self.known.get(name))
            .cloned()
            .collect();
        let unsaid = || TorchScriptError::Unsaid {
            node: format!("{} of {inputs:?} under {:?}", node.kind, node.settings),
        };
        let [output, ..] = node.outputs.as_slice() else {
            return Err(unsaid());
        };
        let value = match said(node, &inputs, &self.device).ok_or_else(unsaid)? {
            Said::Value(value) => value,
            Said::Tensor(expression) => Value::Tensor(self.let_be(output, &expression)),
            Said::Wholes(wholes) => Value::Wholes(Wholes {
                each: wholes
                    .each
                    .iter()
                    .enumerate()
                    .map(|(place, expression)| self.let_be(&format!("{output}_{place}"), expression))
                    .collect(),
                is_row: wholes.is_row,
            }),
            Said::Parts(expression) => {
                let all = self.let_be(&format!("{}_all", node.kind), &expression);
                for (place, name) in node.outputs.iter().enumerate() {
                    let part = self.let_be(name, &format!("{all}[{place}]"));
                    self.known.insert(name.clone(), Value::Tensor(part));
                }
                return Ok(());
            }
        };
        self.known.insert(output.clone(), value);
        Ok(())
    }
}
