//! Names of things, each its own type, so that one can not be passed for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A sample's number in its stream's replay buffer. Grows for the life of the buffer; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SampleId(pub u64);

impl fmt::Display for SampleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The blake3 hash of a source's bytes: its identity, whatever its name and place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceHash(pub [u8; 32]);

impl SourceHash {
    /// The hash of a source's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The first eight bytes, big-endian: what a source is split and seeded by.
    pub fn prefix(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(first)
    }

    /// Whether the source belongs to the exam: held out for ever, never trained on. One source in
    /// [`crate::limits::EXAM_ONE_IN`] does, by its hash alone, so that no order of arrival can change it.
    pub fn in_exam(&self) -> bool {
        self.prefix().is_multiple_of(crate::limits::EXAM_ONE_IN)
    }

    /// As [`in_exam`](Self::in_exam), for one of the groups that a source of many samples is held out by: of the first that is
    /// decided by the source's hash, of the others by theirs.
    pub fn holds_out(&self, group: u64) -> bool {
        if group == 0 {
            return self.in_exam();
        }
        let mut of_group = [0; 40];
        of_group[..32].copy_from_slice(&self.0);
        of_group[32..].copy_from_slice(&group.to_be_bytes());
        Self::of(&of_group).in_exam()
    }
}

impl fmt::Display for SourceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SourceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceHash({self})")
    }
}

impl FromStr for SourceHash {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError(format!("`{text}` is not a source hash (64 hexadecimal digits)"));
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for SourceHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SourceHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A published model's number in its stream: an integer that only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An embedding space's name: vectors of two spaces are never compared. It is the first 16 hexadecimal
/// digits of the blake3 hash of the weights that make the space.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Space(String);

impl Space {
    /// The space that these weights (the bytes of `model.safetensors`) make.
    pub fn of_weights(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).to_hex()[..16].to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stream's name: 1 to 64 of `a-z 0-9 _ -`, first a letter or digit, so that it can be a folder, a metric's
/// label and a part of a URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct StreamName(String);

impl StreamName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if text.len() <= 64 && starts_well && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError(format!(
                "`{text}` is not a stream name (1 to 64 of a-z, 0-9, _ and -; first a letter or digit)"
            )))
        }
    }
}

impl<'de> Deserialize<'de> for StreamName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is not the name it should be; says what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IdError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_hash_reads_back_as_it_was_written() {
        let hash = SourceHash::of(b"a picture");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert!("xyz".parse::<SourceHash>().is_err());
        assert!("é".repeat(32).parse::<SourceHash>().is_err());
        assert!("+f".repeat(32).parse::<SourceHash>().is_err());
    }

    #[test]
    fn a_stream_name_can_not_leave_its_folder() {
        for bad in ["", "..", "a/b", "A", "-a", "a b", &"a".repeat(65)] {
            assert!(bad.parse::<StreamName>().is_err(), "{bad:?} was taken");
        }
        assert_eq!(
            "pictures-2".parse::<StreamName>().map(|n| n.to_string()),
            Ok("pictures-2".to_owned())
        );
    }

    #[test]
    fn one_source_in_fifty_is_held_out() {
        let held_out = (0..50_000u32)
            .filter(|n| SourceHash::of(&n.to_le_bytes()).in_exam())
            .count();
        assert!((900..1100).contains(&held_out), "{held_out} of 50,000");
    }
}
