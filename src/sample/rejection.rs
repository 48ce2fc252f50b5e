//! Why an input was rejected: one key for machines, one sentence for people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of a rejection. Its snake_case key is part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No bytes, or nothing but white space.
    EmptyFile,
    /// It ends before its own structure says it should.
    Truncated,
    /// A checksum or the structure is wrong.
    Corrupt,
    /// Tiny on disk, it would expand past the limits; refused before allocating.
    Bomb,
    /// The content is not what the name says.
    TypeMismatch,
    /// Recognised or not, no type that is learned from.
    UnsupportedType,
    /// Reading it could run code.
    UnsafeType,
    /// Over a documented limit.
    Limits,
    /// The file may not be read.
    Permission,
    /// The disk failed while it was read.
    Io,
    /// The decoder failed in a way it should not; a bug, kept from harming the rest.
    DecoderPanic,
}

impl Reason {
    /// The key.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EmptyFile => "empty_file",
            Self::Truncated => "truncated",
            Self::Corrupt => "corrupt",
            Self::Bomb => "bomb",
            Self::TypeMismatch => "type_mismatch",
            Self::UnsupportedType => "unsupported_type",
            Self::UnsafeType => "unsafe_type",
            Self::Limits => "limits",
            Self::Permission => "permission",
            Self::Io => "io",
            Self::DecoderPanic => "decoder_panic",
        }
    }

    /// Whether the cause lies outside the file's bytes, so that the same bytes may be taken later.
    pub fn transient(self) -> bool {
        matches!(self, Self::Permission | Self::Io)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An input that is not learned from, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Rejection {
    /// The kind.
    pub reason: Reason,
    /// What was wrong, in a sentence.
    pub detail: String,
}

impl Rejection {
    /// A rejection of this kind, with its sentence.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_one_key_everywhere() {
        for reason in [
            Reason::EmptyFile,
            Reason::TypeMismatch,
            Reason::DecoderPanic,
            Reason::Io,
        ] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
