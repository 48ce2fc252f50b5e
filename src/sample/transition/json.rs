//! Rows of JSON: a line each, or the items of one array.
//! Always true: each row is parsed by itself, so that a broken one costs no other, and none is longer or nested deeper than
//! the limits.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::TransitionLimits;
use super::names;
use super::row::Row;
use super::stream::Stream;
use super::value::ValueSeed;
use crate::sample::reading::json::{check_line, fault};
use crate::sample::reading::{ReadLimits, SAMPLE_ROWS};
use crate::sample::{Reason, Rejection};

/// How rows of JSON follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Lines,
    Array,
}

impl Form {
    /// The form of a text, if it is JSON: an array, unless its first line is one by itself; or lines of which most open as
    /// an object does.
    pub(super) fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        if text.starts_with('[') && (rest.is_empty() || !first.trim_end().ends_with(']')) {
            return Some(Self::Array);
        }
        let (mut lines, mut objects) = (0, 0);
        for (_, line) in rows(text).take(SAMPLE_ROWS) {
            lines += 1;
            objects += usize::from(line.starts_with('{'));
        }
        (objects * 2 > lines).then_some(Self::Lines)
    }
}

/// Reads a text of this form.
pub(super) fn read(text: &str, form: Form, limits: &TransitionLimits, into: &mut Stream<'_>) -> Result<(), Rejection> {
    let parser = Parser {
        limits,
        read_limits: limits.reading(),
    };
    match form {
        Form::Lines => rows(text).try_for_each(|(at, line)| into.row(at, parser.row(line))),
        Form::Array => Items::of(text)
            .zip(1..)
            .try_for_each(|(item, at)| into.row(at, item.and_then(|item| parser.row(item)))),
    }
}

/// The lines that are not blank, with their numbers.
fn rows(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let lines = text.split('\n').zip(1..).map(|(line, at)| (at, line.trim()));
    lines.filter(|(_, line)| !line.is_empty())
}

struct Parser<'a> {
    limits: &'a TransitionLimits,
    read_limits: ReadLimits,
}

impl Parser<'_> {
    fn row(&self, text: &str) -> Result<Row, Rejection> {
        check_line(text, self.read_limits)?;
        let mut parser = serde_json::Deserializer::from_str(text);
        let row = RowSeed { limits: self.limits }.deserialize(&mut parser);
        let row = row.and_then(|row| parser.end().map(|()| row));
        let row = row.map_err(|error| fault(&error))?;
        let row = row.map_err(|what| Rejection::new(Reason::Corrupt, format!("the row is {what}, not an object")))?;
        if row.state.is_none() && row.action.is_none() {
            let detail = "the object names neither a state nor an action";
            return Err(Rejection::new(Reason::UnsupportedType, detail));
        }
        Ok(row)
    }
}

/// The items of an array, cut apart and not parsed.
struct Items<'a> {
    rest: &'a str,
    is_open: bool,
    /// Whether the text ends before the array, which is still to be said.
    is_cut: bool,
}

impl<'a> Items<'a> {
    fn of(text: &'a str) -> Self {
        let text = text.trim();
        Self {
            rest: text.strip_prefix('[').unwrap_or(text).trim_start(),
            is_open: true,
            is_cut: false,
        }
    }

    /// Where the item ends that is at the start of the rest, and with what.
    fn end(&self) -> Option<(usize, u8)> {
        let (mut depth, mut is_string, mut is_escaped) = (0_usize, false, false);
        for (at, byte) in self.rest.bytes().enumerate() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if is_string => is_escaped = true,
                // No string goes on past its line: one quote too many costs one item.
                b'\n' => is_string = false,
                b'"' => is_string = !is_string,
                _ if is_string => {}
                b',' | b']' if depth == 0 => return Some((at, byte)),
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        None
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<&'a str, Rejection>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_open {
            let (item, after) = match self.end() {
                Some((end, mark)) => {
                    self.is_open = mark == b',';
                    self.rest.split_at(end)
                }
                None => {
                    self.is_open = false;
                    // An item that is cut as well says it itself.
                    self.is_cut = self.rest.is_empty() || self.rest.ends_with('}');
                    (self.rest, "")
                }
            };
            self.rest = after.get(1..).unwrap_or_default().trim_start();
            let item = item.trim();
            // Nothing before the end: an empty array, or a comma too many.
            if self.is_open || !item.is_empty() {
                return Some(Ok(item));
            }
        }
        if std::mem::take(&mut self.is_cut) {
            return Some(Err(Rejection::new(Reason::Truncated, "the array does not end")));
        }
        let is_over = std::mem::take(&mut self.rest).is_empty();
        let odd = || Rejection::new(Reason::Corrupt, "something follows the end of the array");
        (!is_over).then(|| Err(odd()))
    }
}

/// Reads a row; what is no object is named.
struct RowSeed<'a> {
    limits: &'a TransitionLimits,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = Result<Row, &'static str>;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = Result<Row, &'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            match names::known(&name) {
                Some(known) => {
                    let value = map.next_value_seed(ValueSeed { limits: self.limits })?;
                    values.extend(value.map(|value| (known, value)));
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Ok(Row::of(values)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Err("an array"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Err("a string"))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Err("null"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Err("a truth value"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Err("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Err("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Err("a number"))
    }
}
