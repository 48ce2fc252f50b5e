//! A Parquet file's schema -> the columns that are read.

use super::pages::Depth;
use super::thrift::{Malformed, Parsed, Reader};
use super::values::{Number, Physical};

/// The physical type of strings.
const BYTE_ARRAY: i64 = 6;

/// Of the types that a column may be said to hold those that are moments, decimal numbers, and integers without a sign.
const DECIMAL: i64 = 5;
const DATE: i64 = 6;
const TIMESTAMP_MILLIS: i64 = 9;
const TIMESTAMP_MICROS: i64 = 10;
const UNSIGNED: std::ops::RangeInclusive<i64> = 11..=14;

/// How often a value is there.
const REQUIRED: i64 = 0;
const OPTIONAL: i64 = 1;
const REPEATED: i64 = 2;

/// What a column of bytes may be said to hold, as text: nothing, UTF-8, an enumeration, JSON.
const TEXT_TYPES: [Option<i64>; 4] = [None, Some(0), Some(4), Some(19)];

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Text,
    Number(Number),
    /// Milliseconds since 1970.
    Time(Number),
}

/// A column that is read.
pub(in crate::sample) struct Column {
    pub(in crate::sample) name: String,
    pub(super) kind: Kind,
    pub(super) depth: Depth,
    /// The names down to its values.
    pub(super) path: String,
    pub(super) physical: i64,
}

impl Column {
    /// Whether each row has one string.
    pub(in crate::sample) fn is_text(&self) -> bool {
        self.kind == Kind::Text && self.depth.item.is_none()
    }

    /// Whether each row has one number.
    pub(in crate::sample) fn is_number(&self) -> bool {
        matches!(self.kind, Kind::Number(_)) && self.depth.item.is_none()
    }

    /// Whether its numbers are stored as integers, or as truth values, which are 0 and 1.
    pub(in crate::sample) fn is_integer(&self) -> bool {
        matches!(self.kind, Kind::Number(number) if number.is_integer())
    }

    /// Whether each row has one moment, read as milliseconds since 1970.
    pub(in crate::sample) fn is_time(&self) -> bool {
        matches!(self.kind, Kind::Time(_)) && self.depth.item.is_none()
    }

    /// Whether each row has a list of numbers.
    pub(in crate::sample) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::Number(_)) && self.depth.item.is_some()
    }
}

/// One entry of the schema, which lists the tree of columns depth first.
#[derive(Default)]
pub(super) struct Element {
    name: String,
    physical: Option<i64>,
    converted: Option<i64>,
    /// Digits of a decimal number after its point.
    scale: i64,
    /// Of a moment how many of its unit are a millisecond, by the newer of the two ways to say so.
    per_ms: Option<f64>,
    repetition: i64,
    children: usize,
}

/// The columns among the root's children that are read.
pub(super) fn columns(elements: &[Element]) -> Parsed<Vec<Column>> {
    let mut columns = Vec::new();
    let mut at = 1;
    while let Some(element) = elements.get(at) {
        // What belongs to the column: the entries below it.
        let mut below = element.children;
        let start = at;
        at += 1;
        while below > 0
            && let Some(element) = elements.get(at)
        {
            below = (below - 1).checked_add(element.children).ok_or(Malformed)?;
            at += 1;
        }
        columns.extend(elements.get(start..at).and_then(column));
    }
    Ok(columns)
}

/// A column, where its entries are those of a value or of a list.
fn column(entries: &[Element]) -> Option<Column> {
    let optional = |element: &Element| match element.repetition {
        REQUIRED => Some(0),
        OPTIONAL => Some(1),
        _ => None,
    };
    let is_group = |element: &Element| element.children == 1;
    let (leaf, depth) = match entries {
        [leaf] if leaf.repetition == REPEATED => {
            let depth = Depth {
                value: 1,
                item: Some(1),
            };
            (leaf, depth)
        }
        [leaf] => {
            let depth = Depth {
                value: optional(leaf)?,
                item: None,
            };
            (leaf, depth)
        }
        [list, leaf] if is_group(list) && leaf.repetition == REPEATED => {
            let item = optional(list)? + 1;
            let depth = Depth {
                value: item,
                item: Some(item),
            };
            (leaf, depth)
        }
        [list, items, leaf] if is_group(list) && is_group(items) && items.repetition == REPEATED => {
            let item = optional(list)? + 1;
            let depth = Depth {
                value: item + optional(leaf)?,
                item: Some(item),
            };
            (leaf, depth)
        }
        _ => return None,
    };
    if leaf.children > 0 {
        return None;
    }
    Some(Column {
        name: entries.first()?.name.clone(),
        kind: kind(leaf)?,
        depth,
        path: path(entries.iter().map(|element| element.name.as_str())),
        physical: leaf.physical?,
    })
}

pub(super) fn path<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join("\0")
}

/// What a column of this type holds, where it is read.
fn kind(leaf: &Element) -> Option<Kind> {
    let physical = leaf.physical?;
    let number = |physical, times: f64, over: f64| Number { physical, times, over };
    if physical == BYTE_ARRAY {
        return TEXT_TYPES.contains(&leaf.converted).then_some(Kind::Text);
    }
    let is_unsigned = leaf.converted.is_some_and(|converted| UNSIGNED.contains(&converted));
    let stored = match physical {
        0 => Physical::Boolean,
        1 if is_unsigned => Physical::Uint32,
        1 => Physical::Int32,
        2 if is_unsigned => Physical::Uint64,
        2 => Physical::Int64,
        3 => return Some(Kind::Time(number(Physical::Moment, 1.0, 1.0))),
        4 => Physical::Float,
        5 => Physical::Double,
        _ => return None,
    };
    Some(match (leaf.converted, leaf.per_ms) {
        (_, Some(per_ms)) => Kind::Time(number(stored, 1.0, per_ms)),
        (Some(DATE), _) => Kind::Time(number(stored, 86_400_000.0, 1.0)),
        (Some(TIMESTAMP_MILLIS), _) => Kind::Time(number(stored, 1.0, 1.0)),
        (Some(TIMESTAMP_MICROS), _) => Kind::Time(number(stored, 1.0, 1e3)),
        (Some(DECIMAL), _) => {
            let digits = i32::try_from(leaf.scale)
                .ok()
                .filter(|digits| (0..=18).contains(digits))?;
            Kind::Number(number(stored, 1.0, 10_f64.powi(digits)))
        }
        _ => Kind::Number(number(stored, 1.0, 1.0)),
    })
}

pub(super) fn element(reader: &mut Reader<'_>) -> Parsed<Element> {
    let mut element = Element::default();
    reader.structure(|reader, id, of| {
        match id {
            1 => element.physical = Some(reader.integer()?),
            3 => element.repetition = reader.integer()?,
            4 => element.name = String::from_utf8_lossy(reader.binary()?).into_owned(),
            5 => element.children = reader.count()?,
            6 => element.converted = Some(reader.integer()?),
            7 => element.scale = reader.integer()?,
            10 => element.per_ms = moment(reader)?,
            _ => reader.skip(of)?,
        }
        Ok(())
    })?;
    Ok(element)
}

/// Of a logical type that is a moment how many of its unit are a millisecond.
fn moment(reader: &mut Reader<'_>) -> Parsed<Option<f64>> {
    let mut per_ms = None;
    reader.structure(|reader, id, of| {
        if id != 8 {
            return reader.skip(of);
        }
        reader.structure(|reader, id, of| {
            if id != 2 {
                return reader.skip(of);
            }
            reader.structure(|reader, id, of| {
                per_ms = [1.0, 1e3, 1e6].into_iter().zip(1..).find(|&(_, unit)| unit == id);
                reader.skip(of)
            })
        })
    })?;
    Ok(per_ms.map(|(per_ms, _)| per_ms))
}
