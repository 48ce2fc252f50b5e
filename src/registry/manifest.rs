//! `curiod.json`: what a generation is, where it comes from, and what its files must hash to.
//! Invariant: a [`Manifest`] that was read from a folder agrees with the folder's files, byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::layout::{MANIFEST_FILE, MODEL_FILE, dir_name};
use crate::gate::{Network, Report};
use crate::ids::{Generation, SampleId, Space, StreamName};
use crate::model::EncoderSpec;

/// The version of the manifest that this curiod writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 2;

/// From this version on the manifest ends in its own checksum: a changed digit is not told from the right one without.
const CHECKED_VERSION: u32 = 2;

/// What stands before and after the checksum: the crc32c, as eight hexadecimal digits, of everything before it.
const CHECK_BEGINS: &str = ",\n  \"crc32c\": \"";
const CHECK_ENDS: &str = "\"\n}";

/// Where weights come from: what the learner knew when it handed them over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The stream that they were learnt from.
    pub stream: StreamName,
    /// Steps done in the learner's life.
    pub step: u64,
    /// Every sample up to this one had arrived.
    pub watermark: SampleId,
    /// The loss of the last steps, smoothed; none when it is not a number.
    pub loss: Option<f64>,
    /// The network.
    pub encoder: EncoderSpec,
}

/// The content of `curiod.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of the curiod that wrote it.
    pub format_version: u32,
    /// The version of that curiod.
    pub curiod_version: String,
    /// The generation's number.
    pub generation: Generation,
    /// Whether it was the best on the exam when it was published.
    pub best: bool,
    /// The generation that was published before it, if any.
    pub parent: Option<Generation>,
    /// The space of its vectors.
    pub space: Space,
    /// Numbers of one vector.
    pub dim: i64,
    /// Whether the student or its teacher is published.
    pub network: Network,
    /// Where the weights come from.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// When it was published: RFC 3339, UTC.
    pub created_at: String,
    /// The gate's verdict in one sentence.
    pub verdict: String,
    /// Every number of the exam, baselines included.
    pub exam: Report,
    /// blake3 of every other file in the folder, by its name.
    pub files: BTreeMap<String, String>,
}

/// Why a folder is not the generation that its name says.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It was written by a newer curiod: not broken, but not for us.
    #[error("it has manifest format {found}; this curiod reads up to {FORMAT_VERSION}")]
    Newer {
        /// The format it has.
        found: u32,
    },
    /// It is not whole.
    #[error("{0}")]
    Broken(String),
}

/// Share of its nearest that a sample keeps, on the mean, below which a generation is a major change: what clients learnt about
/// distances and thresholds holds no more.
pub const NEIGHBOURS_KEPT_MINOR: f64 = 0.6;

impl Manifest {
    /// Share of each exam sample's 10 nearest under the generation before that are among its nearest under this one; none before the
    /// first.
    pub fn neighbours_kept(&self) -> Option<f64> {
        self.exam.published.as_ref()?.neighbours_kept(self.network)
    }

    /// Whether the generation is a major change from the one before; none where there is none.
    pub fn is_major(&self) -> Option<bool> {
        self.neighbours_kept().map(|kept| kept < NEIGHBOURS_KEPT_MINOR)
    }

    /// Reads a generation's manifest and checks every file against it.
    pub fn read(dir: &Path, generation: Generation) -> Result<Self, ManifestError> {
        let broken = ManifestError::Broken;
        let text = fs::read(dir.join(MANIFEST_FILE)).map_err(|e| broken(format!("{MANIFEST_FILE}: {e}")))?;
        let manifest = Self::parse(&text, generation)?;
        for (name, expected) in &manifest.files {
            let found = hash_file(&dir.join(name)).map_err(|e| broken(format!("{name}: {e}")))?;
            if found != *expected {
                return Err(broken(format!(
                    "{name} has the blake3 hash {found}, {MANIFEST_FILE} says {expected}"
                )));
            }
        }
        Ok(manifest)
    }

    /// The manifest as the text of its file.
    pub(super) fn text(&self) -> serde_json::Result<Vec<u8>> {
        let text = serde_json::to_string_pretty(self)?;
        // A pretty object ends in a brace on a line of its own.
        let before = text.strip_suffix("\n}").unwrap_or(&text);
        let sum = crc32c::crc32c(before.as_bytes());
        Ok(format!("{before}{CHECK_BEGINS}{sum:08x}{CHECK_ENDS}").into_bytes())
    }

    /// The manifest that this text is, of this generation; its files are still to be checked.
    pub fn parse(text: &[u8], generation: Generation) -> Result<Self, ManifestError> {
        let broken = ManifestError::Broken;
        let version: FormatVersion =
            serde_json::from_slice(text).map_err(|e| broken(format!("{MANIFEST_FILE}: {e}")))?;
        if version.format_version > FORMAT_VERSION {
            return Err(ManifestError::Newer {
                found: version.format_version,
            });
        }
        if version.format_version == 0 {
            return Err(broken(format!(
                "{MANIFEST_FILE} has format {}, which no curiod wrote",
                version.format_version
            )));
        }
        if version.format_version >= CHECKED_VERSION && !is_whole(text) {
            return Err(broken(format!("{MANIFEST_FILE} does not match its own checksum")));
        }
        let manifest: Self = serde_json::from_slice(text).map_err(|e| broken(format!("{MANIFEST_FILE}: {e}")))?;
        if manifest.generation != generation {
            return Err(broken(format!(
                "{MANIFEST_FILE} is that of generation {}, the folder is {}",
                manifest.generation,
                dir_name(generation)
            )));
        }
        if !manifest.files.contains_key(MODEL_FILE) {
            return Err(broken(format!("{MANIFEST_FILE} names no {MODEL_FILE}")));
        }
        // A name that leads elsewhere would have another file of the machine read.
        let is_elsewhere = |name: &&String| {
            let mut parts = Path::new(name.as_str()).components();
            name.is_empty() || !parts.all(|part| matches!(part, Component::Normal(_)))
        };
        if let Some(name) = manifest.files.keys().find(is_elsewhere) {
            return Err(broken(format!(
                "{MANIFEST_FILE} names `{name}`, which is no file of its folder"
            )));
        }
        Ok(manifest)
    }
}

/// Whether a text ends in the checksum of what is before it.
fn is_whole(text: &[u8]) -> bool {
    let parts = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.rsplit_once(CHECK_BEGINS));
    parts.is_some_and(|(before, sum)| sum == format!("{:08x}{CHECK_ENDS}", crc32c::crc32c(before.as_bytes())))
}

/// blake3 of a file's content, in hexadecimal.
pub(super) fn hash_file(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// The one field that every format has.
#[derive(Deserialize)]
struct FormatVersion {
    format_version: u32,
}
