//! The names of a table's columns -> its rows, one cell after the other.

use super::TransitionLimits;
use super::names::{self, Field, Known};
use super::row::Row;
use super::value::Value;

/// Which columns hold what. A vector in one cell is meant before one in columns of its own.
pub(super) struct Columns {
    whole: Vec<(Known, usize)>,
    /// Vectors whose parts are columns, in the order of their places.
    parts: Vec<(Known, Vec<usize>)>,
}

impl Columns {
    /// The columns of these names; nothing where no state or no action is among them.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a str>) -> Option<Self> {
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        for (name, column) in names.zip(0..) {
            if let Some(known) = names::known(name) {
                whole.push((known, column));
            } else if let Some(part) = names::part(name) {
                parts.push((part, column));
            }
        }
        parts.sort_by_key(|(part, _)| part.index);
        let mut vectors: Vec<(Known, Vec<usize>)> = Vec::new();
        for (part, column) in parts {
            match vectors.iter_mut().find(|(known, _)| *known == part.known) {
                Some((_, columns)) => columns.push(column),
                None => vectors.push((part.known, vec![column])),
            }
        }
        let known = |field| whole.iter().map(|(known, _)| known.field).any(|it| it == field);
        vectors.retain(|(vector, _)| !known(vector.field));
        let named = |field| known(field) || vectors.iter().any(|(vector, _)| vector.field == field);
        let is_known = named(Field::State) && named(Field::Action);
        is_known.then_some(Self { whole, parts: vectors })
    }

    /// The columns that are read.
    pub(super) fn numbers(&self) -> impl Iterator<Item = usize> {
        let parts = self.parts.iter().flat_map(|(_, columns)| columns.iter().copied());
        self.whole.iter().map(|&(_, column)| column).chain(parts)
    }

    /// The row of these cells.
    pub(super) fn row(&self, limits: &TransitionLimits, cell: impl Fn(usize) -> Option<Value>) -> Row {
        let whole = self.whole.iter().map(|&(known, column)| (known, cell(column)));
        let parts = self.parts.iter().map(|(known, columns)| {
            let parts = columns.iter().map(|&column| cell(column));
            (*known, Value::of_parts(parts, limits))
        });
        let values = whole.chain(parts);
        Row::of(values.filter_map(|(known, value)| Some((known, value?))).collect())
    }
}
