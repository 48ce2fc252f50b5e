//! One JSON value -> the strings of a row.
//! Always true: a row holds at most `columns_max` strings, and what is nested below it is read past, not kept.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::TextLimits;
use crate::sample::Rejection;
use crate::sample::reading::json::fault;

/// The strings of a row.
pub(super) enum Row {
    Fields(Vec<(String, String)>),
    Text(String),
    /// More fields than the limit.
    Wide,
    /// What it is instead.
    Other(&'static str),
}

/// The row that this text is.
pub(super) fn parse(text: &str, limits: &TextLimits) -> Result<Row, Rejection> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let row = RowSeed::of(limits).deserialize(&mut parser);
    row.and_then(|row| parser.end().map(|()| row))
        .map_err(|error| fault(&error))
}

/// Hands each item of an array to `each` until that says stop; a stop reads as an error of the text.
pub(super) fn items(text: &str, limits: &TextLimits, each: impl FnMut(Row) -> bool) -> Result<(), serde_json::Error> {
    let mut parser = serde_json::Deserializer::from_str(text);
    parser.deserialize_seq(Items { limits, each })?;
    parser.end()
}

struct Items<'a, F> {
    limits: &'a TextLimits,
    each: F,
}

impl<'de, F: FnMut(Row) -> bool> Visitor<'de> for Items<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects or strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(row) = items.next_element_seed(RowSeed::of(self.limits))? {
            if !(self.each)(row) {
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// Reads a row, or, below it, a field's value: nothing is kept of what is deeper.
#[derive(Clone, Copy)]
struct RowSeed<'a> {
    limits: &'a TextLimits,
    is_value: bool,
}

impl<'a> RowSeed<'a> {
    fn of(limits: &'a TextLimits) -> Self {
        Self {
            limits,
            is_value: false,
        }
    }
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = Row;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Row, D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = Row;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a string")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
        if self.is_value {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Row::Other("an object"));
        }
        let (mut fields, mut count) = (Vec::new(), 0);
        let value = RowSeed { is_value: true, ..self };
        while let Some(name) = map.next_key::<String>()? {
            count += 1;
            if count > self.limits.columns_max {
                map.next_value::<IgnoredAny>()?;
            } else if let Row::Text(value) = map.next_value_seed(value)? {
                fields.push((name, value));
            }
        }
        Ok(if count > self.limits.columns_max {
            Row::Wide
        } else {
            Row::Fields(fields)
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Row, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Row::Other("an array"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Row, E> {
        Ok(Row::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Row, E> {
        Ok(Row::Other("null"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Row, E> {
        Ok(Row::Other("a truth value"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Row, E> {
        Ok(Row::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Row, E> {
        Ok(Row::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Row, E> {
        Ok(Row::Other("a number"))
    }
}
