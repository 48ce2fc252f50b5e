//! Lists of an inference request's JSON, read element by element: a client may send a million of them.
//! Invariant: a list is within its bound while it is read, not only when it is.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use axum::body::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeSeed, Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Numbers of one tensor, at most: 256 series that are as long as any may be.
const NUMBERS_MAX: usize = 1 << 23;

/// A tensor's elements.
#[derive(Clone, Debug)]
pub(super) enum Data {
    /// From JSON; who reads them counts them before.
    Texts(Vec<String>),
    /// From JSON; NaN where one is missing.
    Numbers(Vec<f64>),
    /// As they came after the JSON.
    Raw(Bytes),
}

/// A list that is refused when it gets longer than `MAX`: who sends more means another server.
#[derive(Clone, Debug)]
pub(super) struct Few<T, const MAX: usize>(pub(super) Vec<T>);

impl<T, const MAX: usize> Default for Few<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Few<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
            type Value = Few<T, MAX>;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(to, "a list of at most {MAX}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Few<T, MAX>, A::Error> {
                let mut few = Vec::new();
                while few.len() < MAX {
                    match list.next_element()? {
                        Some(element) => few.push(element),
                        None => return Ok(Few(few)),
                    }
                }
                match list.next_element::<IgnoredAny>()? {
                    Some(_) => Err(A::Error::invalid_length(MAX + 1, &self)),
                    None => Ok(Few(few)),
                }
            }
        }

        deserializer.deserialize_seq(List(PhantomData))
    }
}

impl<T: JsonSchema, const MAX: usize> JsonSchema for Few<T, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Few_{}_{MAX}", T::schema_name()).into()
    }

    fn json_schema(types: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "maxItems": MAX, "items": types.subschema_for::<T>() })
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut data = None;
        deserializer.deserialize_any(Elements(&mut data))?;
        Ok(data.unwrap_or(Self::Numbers(Vec::new())))
    }
}

/// Takes what stands in a tensor's lists into its data.
struct Elements<'a>(&'a mut Option<Data>);

impl Elements<'_> {
    fn number<E: Error>(self, number: f64) -> Result<(), E> {
        match self.0.get_or_insert_with(|| Data::Numbers(Vec::new())) {
            Data::Numbers(numbers) if numbers.len() < NUMBERS_MAX => {
                numbers.push(number);
                Ok(())
            }
            Data::Numbers(_) => Err(E::custom(format!("`data` has more than {NUMBERS_MAX} numbers"))),
            Data::Texts(_) | Data::Raw(_) => Err(E::custom("`data` has texts and numbers")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("texts, numbers, or lists of them")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.0.get_or_insert_with(|| Data::Texts(Vec::new())) {
            Data::Texts(texts) => {
                texts.push(text.to_owned());
                Ok(())
            }
            Data::Numbers(_) | Data::Raw(_) => Err(E::custom("`data` has texts and numbers")),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.number(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.number(number as f64)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.number(number as f64)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.number(f64::NAN)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Elements(&mut *self.0))?.is_some() {}
        Ok(())
    }
}
