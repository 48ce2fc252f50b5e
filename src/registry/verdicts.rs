//! The last verdicts of a stream's gate, accepted or not, as people read them afterwards.
//! Invariant: the file holds at most [`VERDICTS_KEPT`] lines, oldest first, each a whole verdict.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::RegistryError;
use crate::durable::{self, DurableError};
use crate::gate::Report;
use crate::ids::Generation;

/// Verdicts kept for each stream; the oldest goes.
pub const VERDICTS_KEPT: usize = 50;

/// The version of a line that this curiod writes, and the newest that it reads.
const FORMAT_VERSION: u32 = 2;

/// From this version on each line ends in its checksum: a changed digit is not told from the right one without.
const CHECKED_VERSION: u32 = 2;

/// What stands before and after the checksum, the crc32c of everything before it as eight hexadecimal digits.
const CHECK_BEGINS: &str = ",\"crc32c\":\"";
const CHECK_ENDS: &str = "\"}";

/// A verdict as a line of the file.
#[derive(Serialize)]
struct Line<'a> {
    format_version: u32,
    #[serde(flatten)]
    record: &'a VerdictRecord,
}

/// The one field that every version has; lines from before there were versions have none.
#[derive(Deserialize)]
struct LineVersion {
    #[serde(default)]
    format_version: u32,
}

/// A verdict and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictRecord {
    /// When: RFC 3339, UTC.
    pub at: String,
    /// The candidate's step.
    pub step: u64,
    /// The generation that it became; none when it was rejected or could not be published.
    pub generation: Option<Generation>,
    /// The verdict in one sentence, or the failure.
    pub reason: String,
    /// Seconds that the judgement took.
    pub seconds: f64,
    /// Every number of the exam; none when it could not be held.
    pub exam: Option<Report>,
    /// The best generation, which answers again because the published one was found to be worse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fell_back_to: Option<Generation>,
}

/// The ring of the last verdicts and its file.
#[derive(Debug)]
pub(super) struct VerdictHistory {
    path: PathBuf,
    ring: VecDeque<VerdictRecord>,
}

impl VerdictHistory {
    /// Reads the file; lines that are no verdicts are skipped, named in the log. A newer curiod's is refused, for it
    /// would be written over.
    pub(super) fn open(path: PathBuf) -> Result<Self, RegistryError> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => {
                // A verdict is written with the file, so that one without any was cut.
                if text.is_empty() {
                    warn!(file = %path.display(),
                        hint = "none: history alone is lost; look at the disk",
                        "found an emptied verdict history");
                }
                text
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                warn!(file = %path.display(),
                    hint = "none: history alone is lost; look at the disk",
                    "skipped a verdict history that is not text");
                String::new()
            }
            Err(e) => return Err(durable::failed("read", &path)(e).into()),
        };
        let versions = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        if let Some(LineVersion { format_version }) = versions.max_by_key(|line: &LineVersion| line.format_version)
            && format_version > FORMAT_VERSION
        {
            let reason = format!("it has a line of format {format_version}; this curiod reads up to {FORMAT_VERSION}");
            return Err(RegistryError::Newer { path, reason });
        }
        let mut ring: VecDeque<_> = text
            .lines()
            .zip(1..)
            .filter_map(|(line, n)| parse(&path, n, line))
            .collect();
        ring.drain(..ring.len().saturating_sub(VERDICTS_KEPT));
        Ok(Self { path, ring })
    }

    /// Adds a verdict, durably; the oldest goes when there are too many.
    pub(super) fn push(&mut self, record: VerdictRecord) -> Result<(), DurableError> {
        if self.ring.len() == VERDICTS_KEPT {
            self.ring.pop_front();
        }
        self.ring.push_back(record);
        let mut text = Vec::new();
        for record in &self.ring {
            let line = Line {
                format_version: FORMAT_VERSION,
                record,
            };
            let line = serde_json::to_string(&line).map_err(|e| durable::failed("write", &self.path)(e.into()))?;
            text.extend_from_slice(checked(&line).as_bytes());
            text.push(b'\n');
        }
        durable::write_file(&self.path, &text)
    }

    /// The verdicts, oldest first.
    pub(super) fn list(&self) -> Vec<VerdictRecord> {
        self.ring.iter().cloned().collect()
    }
}

/// A JSON object with its checksum as the last field.
fn checked(object: &str) -> String {
    let before = &object[..object.len() - 1];
    format!(
        "{before}{CHECK_BEGINS}{:08x}{CHECK_ENDS}",
        crc32c::crc32c(before.as_bytes())
    )
}

/// Whether a line has the checksum that its version asks for, and it is right.
fn is_whole(line: &str) -> bool {
    match line.rsplit_once(CHECK_BEGINS) {
        Some((before, sum)) => sum == format!("{:08x}{CHECK_ENDS}", crc32c::crc32c(before.as_bytes())),
        None => serde_json::from_str(line).is_ok_and(|LineVersion { format_version }| format_version < CHECKED_VERSION),
    }
}

fn parse(path: &Path, line_number: usize, line: &str) -> Option<VerdictRecord> {
    let read = if is_whole(line) {
        serde_json::from_str(line).map_err(|error| error.to_string())
    } else {
        Err("its checksum is wrong".to_owned())
    };
    read.map_err(|error| {
        warn!(file = %path.display(), line = line_number, %error,
            hint = "none: history alone is lost; look at the disk",
            "skipped a line that is no verdict")
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64) -> VerdictRecord {
        VerdictRecord {
            at: "2026-01-01T00:00:00.000Z".to_owned(),
            step,
            generation: None,
            reason: "rejected: it had collapsed".to_owned(),
            seconds: 0.5,
            exam: None,
            fell_back_to: None,
        }
    }

    #[test]
    fn the_last_fifty_verdicts_are_kept_over_a_restart_and_a_torn_line_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verdicts.jsonl");
        let mut history = VerdictHistory::open(path.clone()).unwrap();
        for step in 0..60 {
            history.push(record(step)).unwrap();
        }
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"at\": \"2026");
        fs::write(&path, text).unwrap();

        let steps: Vec<_> = VerdictHistory::open(path)
            .unwrap()
            .list()
            .iter()
            .map(|r| r.step)
            .collect();
        assert_eq!(steps, (10..60).collect::<Vec<_>>());
    }

    #[test]
    fn a_line_of_which_a_digit_was_changed_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verdicts.jsonl");
        let mut history = VerdictHistory::open(path.clone()).unwrap();
        (0..3).for_each(|step| history.push(record(step)).unwrap());
        let text = fs::read_to_string(&path).unwrap();
        for (right, wrong) in [("\"step\":1", "\"step\":7"), ("\"crc32c\"", "\"crc32d\"")] {
            fs::write(&path, text.replacen(right, wrong, 1)).unwrap();
            let steps: Vec<_> = VerdictHistory::open(path.clone())
                .unwrap()
                .list()
                .iter()
                .map(|r| r.step)
                .collect();
            assert_eq!(steps.len(), 2, "{wrong}: {steps:?}");
        }
    }

    #[test]
    fn an_emptied_history_is_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verdicts.jsonl");
        fs::write(&path, "").unwrap();
        let mut history = VerdictHistory::open(path.clone()).unwrap();
        assert!(history.list().is_empty());
        history.push(record(1)).unwrap();
        assert_eq!(VerdictHistory::open(path).unwrap().list(), [record(1)]);
    }

    #[test]
    fn a_newer_history_is_refused_and_one_without_versions_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verdicts.jsonl");
        let line = serde_json::to_string(&record(1)).unwrap();
        fs::write(&path, format!("{line}\n")).unwrap();
        let mut history = VerdictHistory::open(path.clone()).unwrap();
        history.push(record(2)).unwrap();
        assert_eq!(
            VerdictHistory::open(path.clone()).unwrap().list(),
            [record(1), record(2)]
        );
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("\"format_version\":2").count(), 2);
        let newer = text.replacen("\"format_version\":2", "\"format_version\":3", 1);
        fs::write(&path, &newer).unwrap();
        let refused = VerdictHistory::open(path.clone()).unwrap_err().to_string();
        assert!(
            refused.contains("verdicts.jsonl") && refused.contains("format 3"),
            "{refused}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), newer);
    }
}
