//! How many things a JSON body brings, told without keeping any of them: a list of a million empty texts is short as JSON and
//! long as texts.
//! Invariant: nothing is held but a count, and nothing is refused here: what is no JSON is refused by who reads it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// How many elements the lists of these keys have together.
pub(super) fn items(json: &[u8], lists: &[&str]) -> usize {
    let mut reader = serde_json::Deserializer::from_slice(json);
    Body(lists).deserialize(&mut reader).unwrap_or(0)
}

/// Counts the elements of some lists of an object.
struct Body<'a>(&'a [&'a str]);

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = usize;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
        let mut items = 0;
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if self.0.contains(&key.as_ref()) {
                items += map.next_value::<Length>()?.0;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(items)
    }
}

/// The length of a list.
struct Length(usize);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Length;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Length, A::Error> {
                let mut length = 0;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    length += 1;
                }
                Ok(Length(length))
            }

            fn visit_unit<E: Error>(self) -> Result<Length, E> {
                Ok(Length(0))
            }
        }

        deserializer.deserialize_seq(List)
    }
}

#[cfg(test)]
mod tests {
    use super::items;

    #[test]
    fn the_elements_of_the_named_lists_are_counted() {
        let json = br#"{"model": "a", "texts": ["", "[1,2]", ""], "series": [[1, 2], [3]], "other": [1, 2, 3]}"#;
        assert_eq!(items(json, &["texts", "series"]), 5);
        assert_eq!(items(json, &["images"]), 0);
        assert_eq!(items(json, &[]), 0);
    }

    #[test]
    fn what_is_no_object_of_lists_counts_nothing() {
        for other in ["", "[]", "{\"texts\": 3}", "{\"texts\": [1", "7"] {
            assert_eq!(items(other.as_bytes(), &["texts"]), 0, "{other}");
        }
    }
}
