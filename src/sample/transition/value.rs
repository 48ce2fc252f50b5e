//! What one field of a row holds.
//! Always true: no more numbers are held than the limits allow a state or an action, each of them finite.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::TransitionLimits;
use crate::sample::reading::json::check_nesting;

/// A whole number above this may not be what was written.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// A field's value. A field that is null is as good as absent: it has none.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Flag(bool),
    Number {
        value: f64,
        /// Where it is written as an integer from 0 on.
        whole: Option<u64>,
    },
    /// A list of numbers, nested or not.
    Numbers(Vec<f32>),
    Word(String),
    /// More numbers than the limit.
    Long,
    /// What it holds that is no number.
    Wrong(&'static str),
}

impl Value {
    /// What a cell of a table holds.
    pub(super) fn of_cell(cell: &str, limits: &TransitionLimits) -> Option<Self> {
        let cell = cell.trim();
        if cell.is_empty() {
            return None;
        }
        if cell.starts_with(['[', '{']) {
            return of_json(cell, limits);
        }
        if let Ok(value) = cell.parse::<f64>() {
            let whole = cell.parse().ok();
            return Some(Self::Number { value, whole });
        }
        Some(if cell.eq_ignore_ascii_case("true") {
            Self::Flag(true)
        } else if cell.eq_ignore_ascii_case("false") {
            Self::Flag(false)
        } else {
            Self::Word(cell.to_owned())
        })
    }

    /// A number that a table stores as one: as an integer, or not.
    pub(super) fn of_number(value: f64, is_integer: bool) -> Self {
        let is_whole = is_integer && (0.0..=WHOLE_MAX).contains(&value);
        Self::Number {
            value,
            whole: is_whole.then_some(value as u64),
        }
    }

    /// A list of numbers that a table stores as one.
    pub(super) fn of_list(list: &[f64], limits: &TransitionLimits) -> Self {
        let mut flat = Flat::new(limits);
        list.iter().for_each(|&value| flat.push(value));
        flat.value()
    }

    /// The vector whose parts are in columns of their own; nothing where none of them is there.
    pub(super) fn of_parts(parts: impl Iterator<Item = Option<Self>>, limits: &TransitionLimits) -> Option<Self> {
        let (mut flat, mut missing, mut count) = (Flat::new(limits), 0_usize, 0_usize);
        for part in parts {
            count += 1;
            match part {
                Some(Self::Number { value, .. }) => flat.push(value),
                Some(Self::Flag(_)) => flat.wrong("a truth value"),
                Some(_) => flat.wrong("what is no number"),
                None => {
                    missing += 1;
                    flat.wrong("a cell without a number");
                }
            }
        }
        (missing < count).then(|| flat.value())
    }

    /// The integer from 0 on that it is, however it is written.
    pub(super) fn count(&self) -> Option<u64> {
        match self {
            Self::Number { whole: Some(whole), .. } => Some(*whole),
            Self::Number { value, .. } if value.fract() == 0.0 && (0.0..=WHOLE_MAX).contains(value) => {
                Some(*value as u64)
            }
            Self::Word(word) => word.trim().parse().ok(),
            _ => None,
        }
    }

    /// Numbers in it, where it holds nothing else.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Self::Number { .. } => Some(1),
            Self::Numbers(numbers) => Some(numbers.len()),
            _ => None,
        }
    }

    /// Whether it says yes.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Flag(flag) => *flag,
            Self::Number { value, .. } => *value != 0.0,
            Self::Word(word) => word.eq_ignore_ascii_case("true"),
            _ => false,
        }
    }
}

/// What a JSON value in a cell holds.
fn of_json(cell: &str, limits: &TransitionLimits) -> Option<Value> {
    if check_nesting(cell, limits.reading()).is_err() {
        return Some(Value::Wrong("a list nested deeper than the limit"));
    }
    let mut parser = serde_json::Deserializer::from_str(cell);
    let value = ValueSeed { limits }.deserialize(&mut parser);
    let value = value.and_then(|value| parser.end().map(|()| value));
    value.unwrap_or(Some(Value::Wrong("a list that is no JSON")))
}

/// Reads a field of an object.
#[derive(Clone, Copy)]
pub(super) struct ValueSeed<'a> {
    pub(super) limits: &'a TransitionLimits,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        let mut flat = Flat::new(self.limits);
        Nested(&mut flat).visit_seq(items)?;
        Ok(Some(flat.value()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let mut flat = Flat::new(self.limits);
        Nested(&mut flat).visit_map(map)?;
        Ok(Some(flat.value()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Value::Word(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Some(Value::Flag(flag)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(Value::Number {
            value: value as f64,
            whole: u64::try_from(value).ok(),
        }))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(Value::Number {
            value: value as f64,
            whole: Some(value),
        }))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(Value::Number { value, whole: None }))
    }
}

/// Numbers of a nested value, one after the other.
struct Flat {
    numbers: Vec<f32>,
    count: usize,
    count_max: usize,
    wrong: Option<&'static str>,
}

impl Flat {
    fn new(limits: &TransitionLimits) -> Self {
        Self {
            numbers: Vec::new(),
            count: 0,
            count_max: limits.state_dims_max.max(limits.actions_max),
            wrong: None,
        }
    }

    fn push(&mut self, value: f64) {
        self.count += 1;
        match finite(value) {
            None => self.wrong("a number that is not finite"),
            Some(value) if self.count <= self.count_max => self.numbers.push(value),
            Some(_) => {}
        }
    }

    fn wrong(&mut self, what: &'static str) {
        self.wrong.get_or_insert(what);
    }

    fn value(self) -> Value {
        match self.wrong {
            _ if self.count > self.count_max => Value::Long,
            Some(what) => Value::Wrong(what),
            None => Value::Numbers(self.numbers),
        }
    }
}

/// The number as it is kept, where that is one.
pub(super) fn finite(value: f64) -> Option<f32> {
    Some(value as f32).filter(|value| value.is_finite())
}

/// Reads what is nested into a list. An object's members are taken in the order of their names, which rows may write in any
/// order.
struct Nested<'a>(&'a mut Flat);

impl<'de> DeserializeSeed<'de> for Nested<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Nested(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut before = std::mem::take(&mut self.0.numbers);
        let mut members = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            map.next_value_seed(Nested(self.0))?;
            members.push((name, std::mem::take(&mut self.0.numbers)));
        }
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        before.extend(members.into_iter().flat_map(|(_, numbers)| numbers));
        self.0.numbers = before;
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.0.wrong("a word");
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.wrong("a null");
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.0.wrong("a truth value");
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.push(value as f64);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0.push(value as f64);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.push(value);
        Ok(())
    }
}
