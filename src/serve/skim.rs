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

/// How many texts there are below a path of keys, at whatever depth of lists; of a list up to its first element that is neither
/// text nor list, where who reads it stops too.
pub(super) fn texts(json: &[u8], path: &[&str]) -> usize {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let mut count = 0;
    // What is no JSON is refused by who reads it.
    let _ = Below {
        path,
        count: &mut count,
    }
    .deserialize(&mut reader);
    count
}

/// Counts texts below a path; whether what it was shown may be counted on from.
struct Below<'a> {
    path: &'a [&'a str],
    count: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for Below<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Below<'_> {
    type Value = bool;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("JSON")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<bool, E> {
        *self.count += usize::from(self.path.is_empty());
        Ok(true)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        let Self { path, count } = self;
        while let Some(goes_on) = list.next_element_seed(Below {
            path,
            count: &mut *count,
        })? {
            if !goes_on {
                while list.next_element::<IgnoredAny>()?.is_some() {}
            }
        }
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let Self { path, count } = self;
        let (own, below) = path.split_first().unzip();
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            match below {
                Some(path) if own == Some(&key.as_ref()) => {
                    map.next_value_seed(Below {
                        path,
                        count: &mut *count,
                    })?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(!path.is_empty())
    }
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
    use super::{items, texts};

    #[test]
    fn the_elements_of_the_named_lists_are_counted() {
        let json = br#"{"model": "a", "texts": ["", "[1,2]", ""], "series": [[1, 2], [3]], "other": [1, 2, 3]}"#;
        assert_eq!(items(json, &["texts", "series"]), 5);
        assert_eq!(items(json, &["images"]), 0);
        assert_eq!(items(json, &[]), 0);
    }

    #[test]
    fn texts_below_a_path_are_counted_up_to_what_is_none() {
        for (json, count) in [
            (r#"{"input": "a", "model": "b"}"#, 1),
            (r#"{"model": "b", "input": ["a", "b", "c"]}"#, 3),
            (r#"{"input": [["a"], ["b", "c"]]}"#, 3),
            (r#"{"input": ["a", "b", 1, "c"]}"#, 2),
            (r#"{"input": [1, "a"]}"#, 0),
            (r#"{"input": {"input": ["a"]}}"#, 0),
            (r#"{"input": ["a", "b""#, 2),
            ("[]", 0),
        ] {
            assert_eq!(texts(json.as_bytes(), &["input"]), count, "{json}");
        }
        let tensors =
            br#"{"inputs": [{"name": "x", "data": ["a", ["b"]]}, {"data": ["c"]}], "outputs": [{"data": ["d"]}]}"#;
        assert_eq!(texts(tensors, &["inputs", "data"]), 3);
    }

    #[test]
    fn what_is_no_object_of_lists_counts_nothing() {
        for other in ["", "[]", "{\"texts\": 3}", "{\"texts\": [1", "7"] {
            assert_eq!(items(other.as_bytes(), &["texts"]), 0, "{other}");
        }
    }
}
