//! What goes into the replay buffer and what comes out of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::curiosity::Judgement;
use crate::ids::{SampleId, SourceHash};

/// A source and the samples that were cut from it, about to be inserted.
#[derive(Clone, Debug)]
pub struct NewSource {
    /// The hash of the source's bytes: its identity.
    pub hash: SourceHash,
    /// Its path below the inbox, as the bytes of the filesystem.
    pub path: Vec<u8>,
    /// Its size.
    pub bytes: u64,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// Its samples, each `Content::encode`d. May be left empty for a source that the buffer [knows].
    ///
    /// [knows]: super::ReplayBuffer::knows
    pub samples: Vec<Vec<u8>>,
}

/// What became of an inserted source. Both mean that the file need not be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The source is durable under this path. Inserting it again under the same path says so again, so that a file
    /// whose acknowledgement was lost in a crash is neither taken nor counted twice.
    Accepted {
        /// The ids its samples were given; those evicted since are among them.
        ids: Vec<SampleId>,
    },
    /// The source is durable under another path. Counted once for each path.
    Duplicate,
}

/// A file as it was when it was last looked at: while it is the same, it need not be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenFile {
    /// The filesystem.
    pub dev: u64,
    /// The file on it.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970 at which it was last written.
    pub mtime_ns: i128,
}

/// What was decided about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileVerdict {
    /// Its samples are in the buffer.
    Accepted,
    /// Its content had been taken before, under another path.
    Duplicate,
    /// It is in quarantine.
    Quarantined,
}

/// A file that could not be taken, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineEntry {
    /// Its path below the inbox: the entry's key.
    pub path: String,
    /// The hash of its content, where that was read.
    pub source: Option<SourceHash>,
    /// The kind of its fault, a word that programs can compare.
    pub reason: String,
    /// The fault, for people.
    pub detail: String,
    /// Its size.
    pub bytes: u64,
    /// When it was rejected.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// What a step learnt about a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// The sample.
    pub id: SampleId,
    /// Its prediction error, in the objective's own unit.
    pub error: f32,
}

/// Numbers of an embedding in teacher space.
pub const EMBEDDING_DIM: usize = 64;

/// A sample's place in teacher space: the teacher's unit features of the clean picture, projected to 64 dimensions by a
/// fixed random matrix, of unit length again, times 127, rounded. Two of them compare by their dot product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedding(pub [i8; EMBEDDING_DIM]);

/// What the teacher says of a sample, looked at through views that are the same every time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// The prediction error of the fixed views, in the objective's own unit: comparable between steps.
    pub error: f32,
    /// Where the sample is in teacher space.
    pub embedding: Embedding,
    /// The step of the teacher that said so: the embedding's version.
    pub step: u64,
}

/// A live sample, without its content.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleInfo {
    /// The sample.
    pub id: SampleId,
    /// The source it was cut from.
    pub source: SourceHash,
    /// The source's path below the inbox; bytes that are no UTF-8 are replaced.
    pub path: String,
    /// When the source was taken.
    pub taken_at: Timestamp,
    /// Bytes of its content.
    pub bytes: u32,
    /// Whether it is held out for the exam.
    pub exam: bool,
    /// How often a step has used it.
    pub visits: u32,
    /// The prediction error of the newest of those steps.
    pub error: Option<f32>,
    /// How much it wants to be replayed.
    pub priority: f32,
    /// The probability with which one draw of the next batch gives it: 0 for the exam.
    pub probability: f64,
    /// What the teacher said of it last. None until it is scored, and when another network begins.
    pub score: Option<Score>,
    /// What was made of it at its newest visit. None as long.
    pub judgement: Option<Judgement>,
}

/// What became of a sample that is gone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fate {
    /// The sample.
    pub id: SampleId,
    /// When it was evicted.
    pub at: Timestamp,
    /// Why.
    pub cause: FateCause,
}

/// Why a sample was evicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FateCause {
    /// It was the oldest.
    Aged,
    /// Something had to go, and it was chosen at random.
    Random,
    /// Another sample says the same.
    Redundant {
        /// That sample.
        twin: SampleId,
        /// The cosine of their places in teacher space.
        similarity: f32,
    },
    /// It shows what another sample shows.
    NearDuplicate {
        /// That sample.
        original: SampleId,
    },
    /// However often it is replayed, nothing is learnt from it.
    Junk,
    /// Its checksum fails.
    Damaged,
}

impl std::fmt::Display for FateCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Aged => f.write_str("it was the oldest"),
            Self::Random => f.write_str("the buffer was full, and it was chosen at random"),
            Self::Redundant { twin, similarity } => {
                write!(f, "sample {twin} says the same (similarity {similarity:.3})")
            }
            Self::NearDuplicate { original } => write!(f, "it is a near-duplicate of sample {original}"),
            Self::Junk => f.write_str("nothing could be learnt from it"),
            Self::Damaged => f.write_str("its record on the disk is damaged"),
        }
    }
}

/// A sample drawn for a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// The sample.
    pub id: SampleId,
    /// Its content, `Content::encode`d.
    pub content: Vec<u8>,
    /// The probability with which one draw of this batch gives this sample: what importance weights divide by.
    pub probability: f64,
    /// How often a step had used the sample when it was drawn.
    pub visits: u32,
    /// The step of its newest score, if it has one.
    pub scored_at: Option<u64>,
}

/// A sample that has arrived and is not scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighted {
    /// The sample.
    pub id: SampleId,
    /// Its content, `Content::encode`d.
    pub content: Vec<u8>,
    /// How often a step has used it.
    pub visits: u32,
}

/// A batch of samples, drawn with replacement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draw {
    /// The samples. Empty when nothing can be drawn, else as many as were asked for.
    pub samples: Vec<Drawn>,
}

/// The buffer in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sources taken, for life.
    pub sources_accepted: u64,
    /// Paths whose content had been taken under another path, for life.
    pub sources_duplicate: u64,
    /// Files in quarantine.
    pub sources_quarantined: u64,
    /// Live samples, exam included.
    pub samples: u64,
    /// Live samples held out for the exam.
    pub exam_samples: u64,
    /// Live samples that show what an older one shows; 0 where near-duplicates are kept as all others.
    pub near_duplicates: u64,
    /// Bytes of the live samples' contents.
    pub bytes: u64,
    /// Bytes of all files.
    pub disk_bytes: u64,
    /// Samples inserted, for life, exam included.
    pub inserted_samples: u64,
    /// Samples drawn, for life.
    pub drawn: u64,
    /// Records whose checksum failed since the buffer was opened: named in the log, never served.
    pub quarantined_records: u64,
}

/// What was found when the buffer was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenReport {
    /// Live samples, exam included.
    pub samples: u64,
    /// Sources taken, for life.
    pub sources: u64,
    /// Bytes of the live samples' contents.
    pub bytes: u64,
    /// Why the catalogue had to be rebuilt from the segments, if it had to.
    pub rebuilt: Option<String>,
    /// Bytes of unacknowledged batches that were cut off.
    pub torn_bytes: u64,
    /// Records whose checksum failed.
    pub quarantined_records: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why the replay buffer could not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file could not be read or written.
    #[error("failed to {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The catalogue could not be read or written. The segments are the truth: opening the buffer again rebuilds it.
    #[error("failed to use the catalogue {}: {detail}; nothing acknowledged is lost, for it can be rebuilt from the segments", path.display())]
    Catalogue {
        /// The catalogue's folder.
        path: PathBuf,
        /// What went wrong.
        detail: String,
    },
    /// The catalogue is held by another user of it, who does not let go.
    #[error("the catalogue {} is in use; end what uses it and try again", path.display())]
    InUse {
        /// The catalogue's folder.
        path: PathBuf,
    },
    /// A file was written by another version, or is not a segment at all.
    #[error("can not use {}: {detail}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        detail: String,
    },
    /// A source is more than a segment can hold.
    #[error("the source {source_hash} has {bytes} bytes of samples, a source may have {bytes_max}")]
    TooLarge {
        /// The source.
        source_hash: SourceHash,
        /// Bytes of its samples.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
}

impl ReplayError {
    /// Names the file in an error of the system.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// A moment as an RFC 3339 text.
mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::clock::Timestamp;

    pub(super) fn serialize<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        moment.to_rfc3339().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Timestamp(moment.as_millisecond()))
    }
}
