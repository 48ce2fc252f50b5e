//! The one thing that OpenAI's and TEI's requests bring: a string, or a list of them. To a stream of texts each is a text, to
//! one of pictures a picture's data URL.
//! Invariant: token ids are refused at the first one.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::ids::StreamName;
use crate::sample::Modality;
use crate::serve::body::PictureFile;
use crate::serve::given::Given;
use crate::serve::problem::{Kind, Problem};

/// What a picture's string begins with.
const PICTURE: &str = "data:image/";

/// A string, or a list of them.
#[derive(Debug)]
pub(super) struct Strings(pub(super) Vec<String>);

impl Strings {
    /// What a stream makes of them; `key` is what the request calls them.
    pub(super) fn given(self, stream: &StreamName, modality: Modality, key: &str) -> Result<Given, Problem> {
        if self.0.is_empty() {
            return Err(Problem::new(
                Kind::Unprocessable,
                format!("`{key}` is an empty list: there is nothing to embed"),
            ));
        }
        match modality {
            Modality::Text => Ok(Given {
                texts: self.0,
                ..Given::default()
            }),
            Modality::Image => {
                let files = self.0.into_iter().enumerate().map(|(item, text)| picture(item, text));
                files.collect::<Result<_, _>>().map(Given::of_files)
            }
            Modality::Series | Modality::Transition => Err(nothing_for(stream, modality)),
        }
    }
}

/// Why a stream can not be asked by strings.
pub(super) fn nothing_for(stream: &StreamName, modality: Modality) -> Problem {
    let detail = format!("the stream {stream} is of the modality `{modality}`, which no string can bring");
    Problem::new(Kind::Unprocessable, detail).hint("ask POST /api/v1/embed, or below /v2 for series")
}

fn picture(item: usize, text: String) -> Result<PictureFile, Problem> {
    let why = if text.starts_with(PICTURE) {
        match PictureFile::parse(&text) {
            Ok(file) => return Ok(file),
            Err(why) => why,
        }
    } else {
        "the stream is of pictures, and this is none".to_owned()
    };
    let problem = Problem::new(Kind::Unprocessable, format!("item {item}: {why}")).item(item);
    Err(problem.hint("send a picture as `data:image/png;base64,` and its file in base64"))
}

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrSeveral;

        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = Strings;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a string or a list of strings")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Strings, E> {
                Ok(Strings(vec![text.to_owned()]))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Strings, E> {
                Ok(Strings(vec![text]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Strings, A::Error> {
                let mut strings = Vec::new();
                while let Some(Text(text)) = list.next_element()? {
                    strings.push(text);
                }
                Ok(Strings(strings))
            }
        }

        deserializer.deserialize_any(OneOrSeveral)
    }
}

/// A string of a list.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Alone;

        fn tokens<T, E: Error>() -> Result<T, E> {
            Err(E::custom(
                "it holds token ids, which are of another vocabulary than the model's: send the texts (LangChain: \
                 check_embedding_ctx_length=False)",
            ))
        }

        impl<'de> Visitor<'de> for Alone {
            type Value = Text;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Text, E> {
                Ok(Text(text))
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Text, E> {
                tokens()
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Text, E> {
                tokens()
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Text, A::Error> {
                tokens()
            }
        }

        deserializer.deserialize_any(Alone)
    }
}

impl JsonSchema for Strings {
    fn schema_name() -> Cow<'static, str> {
        "Strings".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        /// A string, or a list of them: a text each, or to a stream of pictures a picture's data URL.
        #[derive(JsonSchema)]
        #[serde(untagged)]
        #[allow(dead_code, reason = "it is the description of what is read by hand")]
        enum Strings {
            /// One.
            One(String),
            /// Several.
            Several(Vec<String>),
        }
        Strings::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Vec<String>, String> {
        serde_json::from_str::<Strings>(json)
            .map(|strings| strings.0)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_string_and_a_list_of_them_are_read() {
        assert_eq!(read("\"a\\n\"").unwrap(), ["a\n"]);
        assert_eq!(read("[\"a\", \"\"]").unwrap(), ["a", ""]);
        assert!(read("[]").unwrap().is_empty());
    }

    #[test]
    fn token_ids_are_refused_by_name_at_the_first_one() {
        for tokens in ["[1, 2]", "[[1, 2], [3]]", "[\"a\", 1]", "[-1]"] {
            assert!(read(tokens).unwrap_err().contains("token ids"), "{tokens}");
        }
        for other in ["1", "null", "{}", "[null]", "[{}]", "[true]", "[1.5]"] {
            assert!(!read(other).unwrap_err().contains("token ids"), "{other}");
        }
        // What comes after it is not even looked at.
        assert!(read("[1, this is no JSON").unwrap_err().contains("token ids"));
    }

    #[test]
    fn a_stream_of_pictures_takes_data_urls_and_no_others() {
        let stream: StreamName = "pictures".parse().unwrap();
        let given = |text: &str| Strings(vec![text.to_owned()]).given(&stream, Modality::Image, "input");
        assert_eq!(given("data:image/png;base64,AAEC").unwrap().files[0].0, [0, 1, 2]);
        for bad in [
            "a cat",
            "AAEC",
            "data:image/png;base64,?",
            "data:text/plain;base64,AAEC",
            "",
        ] {
            let problem = given(bad).unwrap_err();
            assert_eq!((problem.status, problem.item), (422, Some(0)), "{bad}");
        }
        for other in [Modality::Series, Modality::Transition] {
            let refused = Strings(vec![String::new()]).given(&stream, other, "input");
            assert_eq!(refused.unwrap_err().status, 422);
        }
    }
}
