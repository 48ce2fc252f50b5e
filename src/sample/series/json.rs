//! JSON Lines of objects with numbers -> their rows. The fields of the first rows are the columns, in the order of their names:
//! an object has no other. A number that is not finite, as Python writes it, is missing.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::SeriesLimits;
use super::cells::{Cell, Decimal};
use super::notes::Notes;
use super::plan::Sample;
use super::rows::Rows;
use super::windows::Series;
use crate::sample::reading::{SAMPLE_ROWS, json};
use crate::sample::{Reason, Rejection};

/// Reads lines, each an object.
pub(super) fn read(text: &str, limits: &SeriesLimits, notes: &mut Notes) -> Result<Vec<Series>, Rejection> {
    let lines = || {
        let lines = text.split('\n').zip(1_u64..);
        let lines = lines.map(|(line, number)| (number, line.trim()));
        lines.filter(|(_, line)| !line.is_empty())
    };
    let first: Vec<_> = lines()
        .take(SAMPLE_ROWS)
        .filter_map(|(_, line)| object(line, limits).ok().map(without_lists))
        .collect();
    let mut names: Vec<String> = Vec::new();
    for name in first.iter().flat_map(Map::keys) {
        // Rows without a common field could name new ones for ever.
        if names.len() < limits.reading().columns_max && !names.contains(name) {
            names.push(name.clone());
        }
    }
    let rows = first
        .iter()
        .map(|row| names.iter().map(|name| cell(row, name)).collect());
    let sample = Sample {
        rows: rows.collect(),
        names: names.clone(),
    };
    if first.is_empty()
        && let Some((_, line)) = lines().next()
    {
        return object(line, limits).map(|_| Vec::new());
    }
    let mut rows = Rows::new(&sample, limits)?;
    for (at, line) in lines() {
        match object(line, limits) {
            Ok(row) => {
                let named = |column: usize| names.get(column).map_or(Cell::Empty, |name| cell(&row, name));
                rows.push(at, named, notes)?;
            }
            Err(Rejection { reason, detail }) => notes.fault(at, reason, || detail),
        }
    }
    rows.finish(notes)
}

/// Whether a text's first line is an object by itself.
pub(super) fn opens_with_object(text: &str, limits: &SeriesLimits) -> bool {
    let line = text.trim_start().split('\n').next().unwrap_or_default().trim();
    line.starts_with('{') && object(line, limits).is_ok()
}

fn object(line: &str, limits: &SeriesLimits) -> Result<Map<String, Value>, Rejection> {
    let reading = limits.reading();
    let value = json::value(line, reading).or_else(|rejection| match json::without_not_finite(line) {
        Some(line) => json::value(&line, reading),
        None => Err(rejection),
    });
    match value? {
        Value::Object(fields) if fields.len() > reading.columns_max => {
            let detail = format!("more fields than {}, the limit", reading.columns_max);
            Err(Rejection::new(Reason::Limits, detail))
        }
        Value::Object(fields) => Ok(fields),
        _ => Err(Rejection::new(Reason::Corrupt, "the line is no object")),
    }
}

fn cell<'a>(row: &'a Map<String, Value>, name: &str) -> Cell<'a> {
    match row.get(name) {
        None | Some(Value::Null) => Cell::Empty,
        Some(Value::Bool(truth)) => Cell::Number(f64::from(u8::from(*truth))),
        Some(Value::Number(number)) => {
            Cell::number(number.as_f64().unwrap_or(f64::NAN), || Cow::Owned(number.to_string()))
        }
        Some(Value::String(text)) => Cell::of(text, Decimal::Point),
        Some(Value::Array(_)) => Cell::Word(Cow::Borrowed("a list")),
        Some(Value::Object(_)) => Cell::Word(Cow::Borrowed("an object")),
    }
}

/// A list takes dozens of times its line, and only that it is one is looked at.
fn without_lists(mut row: Map<String, Value>) -> Map<String, Value> {
    for value in row.values_mut() {
        match value {
            Value::Array(list) => *list = Vec::new(),
            Value::Object(fields) => *fields = Map::new(),
            _ => {}
        }
    }
    row
}
