//! A series as JSON says it: read number by number, for a client may send millions.
//! Invariant: what is held of a series is its numbers, eight bytes each, and never more of them than a request may ask about.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::sample::{Content, Window};

/// Numbers of one series in a request, at most.
const NUMBERS_MAX: usize = 2_000_000;

/// A series: the numbers of its one variable, or a list of them for each; null where one is missing.
#[derive(Debug, Default)]
pub(in crate::serve) struct GivenSeries {
    /// NaN where one is missing: all steps of the first variable, then those of the next.
    numbers: Vec<f64>,
    /// Steps of each variable.
    steps: Vec<usize>,
}

impl GivenSeries {
    /// Variables of equally many steps, one after the other.
    pub(in crate::serve) fn of_variables(numbers: Vec<f64>, variables: usize) -> Self {
        let steps = vec![numbers.len() / variables.max(1); variables];
        Self { numbers, steps }
    }

    /// Numbers of all variables together.
    pub(in crate::serve) fn numbers(&self) -> usize {
        self.numbers.len()
    }

    /// As one window, however long; why it is none.
    pub(in crate::serve) fn window(self) -> Result<Content, String> {
        let steps = self.steps.first().copied().unwrap_or(0);
        if steps == 0 || self.steps.iter().any(|other| *other != steps) {
            return Err("a series has variables of equally many steps, at least one".to_owned());
        }
        let channels = u16::try_from(self.steps.len()).map_err(|_| "the series has too many variables".to_owned())?;
        if self.numbers.iter().all(|number| number.is_nan()) {
            return Err("every number of the series is missing".to_owned());
        }
        if self.numbers.iter().any(|number| number.is_infinite()) {
            return Err("a number of the series is not finite".to_owned());
        }
        Ok(Content::Series(Window {
            channels,
            values: self.numbers,
            start: 0,
            time: None,
        }))
    }

    fn take<E: Error>(&mut self, number: Option<f64>) -> Result<(), E> {
        if self.numbers.len() >= NUMBERS_MAX {
            return Err(E::custom(format!("a series has more than {NUMBERS_MAX} numbers")));
        }
        self.numbers.push(number.unwrap_or(f64::NAN));
        Ok(())
    }
}

/// What stands in a series' list.
enum Element {
    /// A number of the one variable.
    Number(Option<f64>),
    /// A variable, whose numbers were taken.
    Variable,
}

/// Takes an element of a series' list into the series.
struct ElementOf<'a>(&'a mut GivenSeries);

impl<'de> serde::de::DeserializeSeed<'de> for ElementOf<'_> {
    type Value = Element;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Element, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ElementOf<'_> {
    type Value = Element;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a number, null, or a variable's list of them")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Element, E> {
        Ok(Element::Number(Some(number)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Element, E> {
        Ok(Element::Number(Some(number as f64)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Element, E> {
        Ok(Element::Number(Some(number as f64)))
    }

    fn visit_unit<E: Error>(self) -> Result<Element, E> {
        Ok(Element::Number(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Element, A::Error> {
        let before = self.0.numbers.len();
        while let Some(number) = list.next_element::<Option<f64>>()? {
            self.0.take(number)?;
        }
        if self.0.steps.len() >= usize::from(u16::MAX) {
            return Err(A::Error::custom("a series has too many variables"));
        }
        self.0.steps.push(self.0.numbers.len() - before);
        Ok(Element::Variable)
    }
}

impl<'de> Deserialize<'de> for GivenSeries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = GivenSeries;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a list of numbers, or a list of them for each variable")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<GivenSeries, A::Error> {
                let mut series = GivenSeries::default();
                let mut alone = 0;
                while let Some(element) = list.next_element_seed(ElementOf(&mut series))? {
                    if let Element::Number(number) = element {
                        series.take(number)?;
                        alone += 1;
                    }
                    if alone > 0 && !series.steps.is_empty() {
                        return Err(A::Error::custom("a series has numbers, or lists of them, not both"));
                    }
                }
                if alone > 0 {
                    series.steps.push(alone);
                }
                Ok(series)
            }
        }

        deserializer.deserialize_seq(List)
    }
}

impl JsonSchema for GivenSeries {
    fn schema_name() -> Cow<'static, str> {
        "GivenSeries".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        /// A series: the numbers of its one variable, or a list of them for each; null where one is missing.
        #[derive(JsonSchema)]
        #[serde(untagged)]
        #[allow(dead_code, reason = "it is the description of what is read by hand")]
        enum GivenSeries {
            /// One variable.
            One(Vec<Option<f64>>),
            /// Several variables, as many steps of each.
            Several(Vec<Vec<Option<f64>>>),
        }
        GivenSeries::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(json: &str) -> Result<Content, String> {
        let given: GivenSeries = serde_json::from_str(json).map_err(|error| error.to_string())?;
        given.window()
    }

    #[test]
    fn a_series_is_one_variable_or_several_and_null_is_missing() {
        let Ok(Content::Series(window)) = series("[1, null, -3.5]") else {
            panic!()
        };
        assert_eq!((window.channels, window.steps(), window.values[2]), (1, 3, -3.5));
        assert!(window.values[1].is_nan());
        let Ok(Content::Series(window)) = series("[[1, 2], [3, null]]") else {
            panic!()
        };
        assert_eq!((window.channel(0), window.channels), (&[1.0, 2.0][..], 2));
        assert!(window.channel(1)[1].is_nan());
    }

    #[test]
    fn what_is_no_series_is_refused() {
        for bad in [
            "[]",
            "[[1, 2], [3]]",
            "[null, null]",
            "[[]]",
            "[1, [2]]",
            "[[1], 2]",
            "[\"1\"]",
            "[true]",
            "{}",
            "[[[1]]]",
        ] {
            assert!(series(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_series_without_end_is_refused_while_it_is_read() {
        let long = format!("[{}0]", "0,".repeat(NUMBERS_MAX));
        let why = series(&long).unwrap_err();
        assert!(why.contains("more than 2000000 numbers"), "{why}");
        let wide = format!("[{}[0]]", "[],".repeat(70_000));
        assert!(series(&wide).unwrap_err().contains("too many variables"));
    }
}
