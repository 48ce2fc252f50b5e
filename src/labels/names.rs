//! The names of classes and of sets of labels, and what a label is of; each checked once, where it comes in.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::CLASS_CHARS_MAX;
use crate::ids::SourceHash;

/// The name of a set of labels: 1 to 64 of `a-z 0-9 _ -`, first a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetName(Arc<str>);

/// A class's name: 1 to [`CLASS_CHARS_MAX`] characters, none of them a control character, no space at either end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassName(Arc<str>);

/// What a label is of: a source with all its samples, or one of them, counted from 0. A label of one sample goes before that of
/// its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelKey {
    /// The source.
    pub source: SourceHash,
    /// Which of its samples; all where it is none.
    pub part: Option<u32>,
}

/// A text that is no such name; says what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

impl SetName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for SetName {
    fn default() -> Self {
        Self("default".into())
    }
}

impl FromStr for SetName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if text.len() <= 64 && starts_well && text.chars().all(allowed) {
            return Ok(Self(text.into()));
        }
        let shown: String = text.chars().take(80).collect();
        Err(NameError(format!(
            "`{shown}` is not the name of a set (1 to 64 of a-z, 0-9, _ and -; first a letter or digit)"
        )))
    }
}

impl Serialize for SetName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ClassName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClassName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let chars = text.chars().count();
        let why = if chars == 0 {
            "it is empty"
        } else if chars > CLASS_CHARS_MAX {
            "it has more than 200 characters"
        } else if text.chars().any(char::is_control) {
            "it holds a control character"
        } else if text.trim() != text {
            "it begins or ends with a space"
        } else {
            return Ok(Self(text.into()));
        };
        let shown: String = text.chars().take(40).collect();
        Err(NameError(format!("{shown:?} is not the name of a class: {why}")))
    }
}

impl Serialize for ClassName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for ClassName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for LabelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            None => self.source.fmt(f),
            Some(part) => write!(f, "{}:{part}", self.source),
        }
    }
}

impl FromStr for LabelKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError("it is no blake3 hash of 64 digits, nor one with `:` and a number".to_owned());
        let (source, part) = match text.split_once(':') {
            None => (text, None),
            Some((source, part)) => (source, Some(part.parse().map_err(|_| wrong())?)),
        };
        let source = source.parse().map_err(|_| wrong())?;
        Ok(Self { source, part })
    }
}
