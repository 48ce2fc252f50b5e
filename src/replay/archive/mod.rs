//! Archives: what a replay buffer keeps, in one file that other programs can read, and back.
//! Invariant: what an import has inserted is whole, whatever the archive is; an archive that is cut short, changed or
//! of a newer version is refused by name.
//!
//! A tar archive (docs/FORMATS.md): a header, then chunks, each a part of the manifest (JSON lines) and the contents of
//! the samples that it names, then an end that holds a hash of header and manifest. The manifest holds a hash of each
//! content. So both ways are one pass with a bounded chunk in memory, through a pipe too.

mod export;
mod import;
mod tar;

use std::io;

use serde::{Deserialize, Serialize};

use crate::ids::SourceHash;

use super::types::ReplayError;

pub use export::{ExportReport, export};
pub use import::ImportReport;
pub(super) use import::import;

/// What the header says that the archive is.
const FORMAT: &str = "curiod-replay";

/// The version that is written, and the newest that is read.
const VERSION: u32 = 1;

/// The first member.
const HEADER_NAME: &str = "curiod-replay.json";

/// The last member.
const END_NAME: &str = "end.json";

/// Bytes of the header and of the end.
const HEADER_BYTES_MAX: u64 = 64 << 10;

/// Lines of one part of the manifest, and bytes of the contents that it names. Full: the next part begins.
const CHUNK_LINES_MAX: usize = 1_024;
const CHUNK_BYTES_MAX: u64 = 32 << 20;

/// Bytes of one sample's content: ten times the largest picture that is kept. More is refused.
const SAMPLE_BYTES_MAX: u64 = 16 << 20;

/// Bytes of one part of the manifest: its lines at their longest.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// An archived sample's id is below this, so that a hostile archive does not use up the buffer's numbers.
const ID_MAX: u64 = 1 << 53;

/// Why an archive could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The replay buffer failed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The archive could not be written.
    #[error("it can not be written: {0}")]
    Write(io::Error),
    /// The archive could not be read.
    #[error("it can not be read: {0}")]
    Read(io::Error),
    /// The archive ends before its end.
    #[error("it is cut short: it ends after {after}")]
    Cut {
        /// The last whole member.
        after: String,
    },
    /// The archive is not what was written.
    #[error("it is damaged after {after}: {what}")]
    Damaged {
        /// The last whole member.
        after: String,
        /// What is wrong.
        what: String,
    },
    /// The archive was never one of ours.
    #[error("it is no archive of a replay buffer: {0}")]
    Foreign(String),
    /// The archive was written by a newer version.
    #[error("its format is version {0}, this curiod knows version {VERSION}")]
    Newer(u32),
}

impl ArchiveError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Replay(_) => "see to the buffer first: curiod replay verify says what is wrong with it",
            Self::Write(_) => "give a place with room that this user may write to, and run it again",
            Self::Read(_) => "make the archive readable, and run it again",
            Self::Cut { .. } | Self::Damaged { .. } => {
                "get a whole copy of the archive, or export again, and run it again: what is kept is not taken twice"
            }
            Self::Foreign(_) => "give a file that `curiod replay export` wrote, unpacked of any compression",
            Self::Newer(_) => "import it with the curiod that wrote it, or a newer one",
        }
    }
}

/// What an archive says of itself, first of all.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: String,
    format_version: u32,
    curiod_version: String,
    /// The stream whose buffer it was.
    stream: String,
}

/// A line of the manifest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Source(SourceLine),
    Duplicate(DuplicateLine),
}

/// A source that was taken, in the order in which it was.
#[derive(Debug, Serialize, Deserialize)]
struct SourceLine {
    hash: SourceHash,
    #[serde(flatten)]
    path: PathText,
    /// Bytes of the file.
    bytes: u64,
    /// When it was taken: milliseconds since 1970.
    taken_at_ms: i64,
    /// Whether it is held out for the exam.
    exam: bool,
    /// The id of its first sample; the others follow.
    first: u64,
    /// How many were cut from it.
    samples: u32,
    /// Those of them that are kept: each has a member of the archive.
    kept: Vec<KeptLine>,
}

/// A sample that is kept.
#[derive(Debug, Serialize, Deserialize)]
struct KeptLine {
    id: u64,
    bytes: u64,
    /// The hash of its content.
    blake3: SourceHash,
}

/// One more path of a source.
#[derive(Debug, Serialize, Deserialize)]
struct DuplicateLine {
    source: SourceHash,
    #[serde(flatten)]
    path: PathText,
}

/// A path below an inbox.
#[derive(Debug, Serialize, Deserialize)]
struct PathText {
    /// For people: what is no UTF-8 is replaced.
    path: String,
    /// Its bytes in hexadecimal, where it is no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
}

impl PathText {
    fn of(bytes: &[u8]) -> Self {
        let hex = || bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            path: String::from_utf8_lossy(bytes).into_owned(),
            path_hex: str::from_utf8(bytes).is_err().then(hex),
        }
    }

    /// The filesystem's bytes; none where the hexadecimal text is none.
    fn bytes(&self) -> Option<Vec<u8>> {
        let Some(hex) = &self.path_hex else {
            return Some(self.path.clone().into_bytes());
        };
        let digits: Option<Vec<u8>> = hex.chars().map(|digit| Some(digit.to_digit(16)? as u8)).collect();
        let (pairs, rest) = digits.as_ref()?.as_chunks::<2>();
        let bytes = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        rest.is_empty().then_some(bytes)
    }
}

/// What an archive says of itself at its end.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    sources: u64,
    samples: u64,
    duplicates: u64,
    /// The hash of the header and of all parts of the manifest, one after the other.
    blake3: String,
}

fn manifest_name(part: u64) -> String {
    format!("manifest/{part:06}.jsonl")
}

fn sample_name(id: u64) -> String {
    format!("samples/{id:012}")
}
