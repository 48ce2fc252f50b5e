//! Each operator of ONNX that a network uses, as an expression of TorchScript.
//! Always true: what is not known exactly here is None, and no file is written. Sizes, which Python's own integers compute with, are
//! divided as numbers that are not negative, which they are.

use super::values::{Value, Wholes, list, literal, scalar_type};
use crate::model::operators::{Node, Number, Set};

/// What an operator makes.
#[derive(Debug)]
pub(super) enum Said {
    /// A tensor by an expression.
    Tensor(String),
    /// Whole numbers by an expression each.
    Wholes(Wholes),
    /// A list of tensors by an expression.
    Parts(String),
    /// What is there already.
    Value(Value),
}

/// An operator of these inputs; `device`: where a tensor without any is made.
pub(super) fn said(node: &Node, inputs: &[Value], device: &str) -> Option<Said> {
    let set = Settings(&node.settings);
    match (node.kind, inputs) {
        _ if inputs.len() != node.inputs.len() => None,
        ("Identity", [x]) => Some(Said::Value(x.clone())),
        ("Split", [Value::Tensor(x)]) => {
            let (parts, axis) = (node.outputs.len(), set.whole("axis")?);
            Some(Said::Parts(format!("torch.chunk({x}, {parts}, {axis})")))
        }
        ("Shape", [Value::Tensor(x)]) => {
            let places = set.whole("start")?..set.whole("end")?;
            let each = places.map(|place| format!("torch.size({x}, {place})")).collect();
            Some(Said::Wholes(Wholes { each, is_row: true }))
        }
        (_, [Value::Wholes(_), ..]) if inputs.iter().all(|input| matches!(input, Value::Wholes(_))) => {
            let each: Vec<&Wholes> = inputs.iter().filter_map(wholes).collect();
            match node.kind {
                "Range" => range(&each, device).map(Said::Tensor),
                _ => of_wholes(node.kind, &each),
            }
        }
        _ => of_tensors(node.kind, inputs, &set).map(Said::Tensor),
    }
}

fn wholes(value: &Value) -> Option<&Wholes> {
    match value {
        Value::Wholes(wholes) => Some(wholes),
        Value::Tensor(_) | Value::Number(_) => None,
    }
}

/// Of places, axes and sizes.
fn of_wholes(kind: &str, inputs: &[&Wholes]) -> Option<Said> {
    let function = match (kind, inputs) {
        ("Concat", _) => {
            let each = inputs.iter().flat_map(|input| input.each.clone()).collect();
            return Some(Said::Value(Value::Wholes(Wholes { each, is_row: true })));
        }
        ("Squeeze", [x, _]) => {
            let is_row = x.each.len() != 1;
            return (!is_row).then(|| {
                Said::Value(Value::Wholes(Wholes {
                    is_row,
                    each: x.each.clone(),
                }))
            });
        }
        ("Neg", [_]) => "torch.neg",
        // Both have the divisor's sign.
        ("Mod", [_, _]) => "torch.remainder",
        ("Div", [_, _]) => "torch.floordiv",
        ("Sub", [_, _]) => "torch.sub",
        ("Max", [_, _]) => "ops.prim.max",
        _ => return None,
    };
    let first = inputs.first()?;
    if inputs
        .iter()
        .any(|other| (other.each.len(), other.is_row) != (first.each.len(), first.is_row))
    {
        return None;
    }
    let of = |place: usize| {
        let given: Vec<&str> = inputs.iter().map(|input| input.each[place].as_str()).collect();
        format!("{function}({})", given.join(", "))
    };
    Some(Said::Wholes(Wholes {
        each: (0..first.each.len()).map(of).collect(),
        is_row: first.is_row,
    }))
}

fn range(inputs: &[&Wholes], device: &str) -> Option<String> {
    let [from, to, step] = inputs else { return None };
    let (from, to, step) = (from.each.first()?, to.each.first()?, step.each.first()?);
    let whole = scalar_type(Number::Whole);
    Some(format!(
        "torch.arange({from}, {to}, {step}, dtype={whole}, device={device})"
    ))
}

/// Where a tensor is among the inputs.
fn of_tensors(kind: &str, inputs: &[Value], set: &Settings<'_>) -> Option<String> {
    use Value::{Tensor, Wholes as W};
    Some(match (kind, inputs) {
        ("Relu" | "Erf" | "Sqrt" | "Abs" | "Log" | "Sign" | "Sin" | "Cos" | "Asinh" | "IsNaN", [Tensor(x)]) => {
            format!("torch.{}({x})", kind.to_ascii_lowercase())
        }
        ("Not", [Tensor(x)]) => format!("torch.logical_not({x})"),
        ("Add" | "Mul" | "Sub" | "Div" | "Greater" | "LessOrEqual" | "Max" | "Min", [a, b]) => pairwise(kind, a, b)?,
        ("MatMul", [Tensor(a), Tensor(b)]) => format!("torch.matmul({a}, {b})"),
        ("Where", [Tensor(c), Tensor(a), Tensor(b)]) => format!("torch.where({c}, {a}, {b})"),
        ("Where", [Tensor(c), Tensor(a), b]) => format!("torch.where({c}, {a}, {})", b.scalar()?),
        ("Where", [Tensor(c), a, Tensor(b)]) => format!("torch.where({c}, {}, {b})", a.scalar()?),
        ("Clip", [Tensor(x), least, most]) => format!("torch.clamp({x}, {}, {})", least.scalar()?, most.scalar()?),
        ("Cast", [Tensor(x)]) => {
            let numbers = [Number::Float, Number::Double, Number::Whole];
            let to = numbers
                .into_iter()
                .find(|number| set.whole("to") == Some(number.data_type().into()))?;
            format!("torch.to({x}, {})", scalar_type(to))
        }
        ("Softmax", [Tensor(x)]) => format!("torch.softmax({x}, {})", set.whole("axis")?),
        ("Concat", _) => {
            let tensors = inputs.iter().map(|input| match input {
                Tensor(x) => Some(x),
                _ => None,
            });
            let tensors: Vec<&String> = tensors.collect::<Option<_>>()?;
            format!("torch.cat({}, {})", list(tensors), set.whole("axis")?)
        }
        ("Transpose", [Tensor(x)]) => format!("torch.permute({x}, {})", list(set.wholes("perm")?)),
        ("Reshape", [Tensor(x), W(shape)]) => {
            // A 0 is the size that was there.
            let size = |(place, size): (usize, &String)| match size.as_str() {
                "0" => format!("torch.size({x}, {place})"),
                size => size.to_owned(),
            };
            format!("torch.reshape({x}, {})", list(shape.each.iter().enumerate().map(size)))
        }
        ("Expand", [Tensor(x), W(shape)]) => format!("torch.broadcast_to({x}, {})", list(&shape.each)),
        ("Unsqueeze", [Tensor(x), W(axes)]) => axes
            .each
            .iter()
            .fold(x.clone(), |x, axis| format!("torch.unsqueeze({x}, {axis})")),
        ("Squeeze", [Tensor(x), W(axes)]) => match axes.each.as_slice() {
            [axis] => format!("torch.squeeze({x}, {axis})"),
            _ => return None,
        },
        ("Slice", [Tensor(x), W(from), W(to), W(axes)]) => {
            let bounds = axes.each.iter().zip(from.each.iter().zip(&to.each));
            bounds.fold(x.clone(), |x, (axis, (from, to))| {
                format!("torch.slice({x}, {axis}, {from}, {to}, 1)")
            })
        }
        ("Pad", [Tensor(x), W(pads), value]) => {
            // torch has the last dimension first, what is before and what is after together.
            let (before, after) = pads.each.split_at(pads.each.len() / 2);
            let pads = before
                .iter()
                .zip(after)
                .rev()
                .flat_map(|(before, after)| [before, after]);
            format!("torch.constant_pad_nd({x}, {}, {})", list(pads), value.scalar()?)
        }
        ("Gather", [Tensor(table), Tensor(places)]) => format!("torch.embedding({table}, {places})"),
        ("Gather", [Tensor(table), place]) => format!("torch.select({table}, 0, {})", place.scalar()?),
        ("ReduceSum", [Tensor(x), W(axes)]) => format!("torch.sum({x}, {}, {})", list(&axes.each), set.keeps()?),
        ("ReduceMean", [Tensor(x)]) => format!("torch.mean({x}, {}, {})", list(set.wholes("axes")?), set.keeps()?),
        ("ReduceMax", [Tensor(x)]) => format!("torch.amax({x}, {}, {})", list(set.wholes("axes")?), set.keeps()?),
        ("ReduceL2", [Tensor(x)]) => {
            format!("torch.norm({x}, 2, {}, {})", list(set.wholes("axes")?), set.keeps()?)
        }
        ("LayerNormalization", [Tensor(x), Tensor(weight), Tensor(bias)]) if set.whole("axis") == Some(-1) => {
            let epsilon = literal(set.float("epsilon")?);
            format!("torch.layer_norm({x}, torch.size({weight}), {weight}, {bias}, {epsilon})")
        }
        ("InstanceNormalization", [Tensor(x), Tensor(weight), Tensor(bias)]) => {
            let epsilon = literal(set.float("epsilon")?);
            format!("torch.instance_norm({x}, {weight}, {bias}, None, None, True, 0., {epsilon}, False)")
        }
        ("Conv", [Tensor(x), Tensor(weight), bias @ ..]) => {
            let bias = match bias {
                [] => "None",
                [Tensor(bias)] => bias,
                _ => return None,
            };
            let (strides, pads) = (list(set.wholes("strides")?), list(set.pads()?));
            format!("torch.conv2d({x}, {weight}, {bias}, {strides}, {pads}, [1, 1], 1)")
        }
        ("MaxPool", [Tensor(x)]) => {
            let (size, strides) = (list(set.wholes("kernel_shape")?), list(set.wholes("strides")?));
            format!(
                "torch.max_pool2d({x}, {size}, {strides}, {}, [1, 1], False)",
                list(set.pads()?)
            )
        }
        _ => return None,
    })
}

/// Number by number, of two tensors or a tensor and a number.
fn pairwise(kind: &str, a: &Value, b: &Value) -> Option<String> {
    let (function, by_number) = match kind {
        "Add" => ("add", "add"),
        "Mul" => ("mul", "mul"),
        "Sub" => ("sub", "sub"),
        "Div" => ("div", "div"),
        "Greater" => ("gt", "gt"),
        "LessOrEqual" => ("le", "le"),
        "Max" => ("maximum", "clamp_min"),
        "Min" => ("minimum", "clamp_max"),
        _ => return None,
    };
    Some(match (a, b) {
        (Value::Tensor(a), Value::Tensor(b)) => format!("torch.{function}({a}, {b})"),
        (Value::Tensor(a), b) => format!("torch.{by_number}({a}, {})", b.scalar()?),
        (a, Value::Tensor(b)) => match kind {
            "Add" | "Mul" | "Max" | "Min" => format!("torch.{by_number}({b}, {})", a.scalar()?),
            "Sub" => format!("torch.rsub({b}, {})", a.scalar()?),
            _ => return None,
        },
        _ => return None,
    })
}

/// The attributes of a node.
struct Settings<'a>(&'a [(&'static str, Set)]);

impl Settings<'_> {
    fn get(&self, name: &str) -> Option<&Set> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, set)| set)
    }

    fn whole(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Set::Whole(value) => Some(*value),
            Set::Float(_) | Set::Wholes(_) => None,
        }
    }

    fn wholes(&self, name: &str) -> Option<&[i64]> {
        match self.get(name)? {
            Set::Wholes(values) => Some(values),
            Set::Float(_) | Set::Whole(_) => None,
        }
    }

    fn float(&self, name: &str) -> Option<f64> {
        match self.get(name)? {
            Set::Float(value) => Some((*value).into()),
            Set::Whole(_) | Set::Wholes(_) => None,
        }
    }

    /// Whether a reduced dimension stays, as one of 1.
    fn keeps(&self) -> Option<&'static str> {
        self.whole("keepdims")
            .map(|keeps| if keeps == 0 { "False" } else { "True" })
    }

    /// What is put before and after both sides of a picture, where that is the same.
    fn pads(&self) -> Option<[i64; 2]> {
        match self.wholes("pads") {
            None => Some([0, 0]),
            Some([top, left, bottom, right]) if (top, left) == (bottom, right) => Some([*top, *left]),
            Some(_) => None,
        }
    }
}
