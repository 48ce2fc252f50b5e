//! What a value of the graph is in TorchScript.
//! Always true: an expression here is a name or a literal, so that it may be said any number of times.

use crate::model::operators::Number;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Numbers on the device.
    Tensor(String),
    /// A constant number, of the type of the tensor that it meets.
    Number(f64),
    /// Whole numbers that Python's own integers are: places, axes, sizes. A constant or a tensor's shape, or computed from them.
    Wholes(Wholes),
}

/// Whole numbers, one expression each.
#[derive(Clone, Debug)]
pub(super) struct Wholes {
    pub(super) each: Vec<String>,
    /// False of a number that is alone and no row.
    pub(super) is_row: bool,
}

impl Value {
    /// What stands for it beside a tensor.
    pub(super) fn scalar(&self) -> Option<String> {
        match self {
            Self::Number(value) => Some(literal(*value)),
            Self::Wholes(Wholes { each, is_row: false }) => each.first().cloned(),
            Self::Tensor(_) | Self::Wholes(_) => None,
        }
    }
}

/// A number that is read back as the same.
pub(super) fn literal(value: f64) -> String {
    match value {
        _ if value.is_nan() => "nan".to_owned(),
        f64::INFINITY => "inf".to_owned(),
        f64::NEG_INFINITY => "-inf".to_owned(),
        _ => format!("{value:?}"),
    }
}

/// A list of expressions.
pub(super) fn list<T: ToString>(each: impl IntoIterator<Item = T>) -> String {
    let each: Vec<String> = each.into_iter().map(|one| one.to_string()).collect();
    format!("[{}]", each.join(", "))
}

/// torch's number of a type (`c10::ScalarType`).
pub(super) fn scalar_type(number: Number) -> i32 {
    match number {
        Number::Whole => 4,
        Number::Float => 6,
        Number::Double => 7,
    }
}
