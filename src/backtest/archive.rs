//! The archive that a backtest plays: pictures in an order, and the labels that score what was learnt of them.
//! Always true: labels are for scoring alone; nothing of this room hands one to the buffer or the learner.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{BacktestError, jsonl};
use crate::ids::SourceHash;
use crate::sample::{Content, Cutting, Passage};

/// Bytes of all decoded pictures; more is refused.
const TILES_BYTES_MAX: usize = 8 << 30;

/// Bytes of one file; a larger one is passed over.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Where the manifest does not say which pictures ask, one in this many of each label does.
const ASKS_ONE_IN: usize = 5;

/// What a manifest's column `split` calls the pictures that ask.
pub(super) const ASKS: [&str; 4] = ["test", "val", "valid", "validation"];

/// Which pictures, and what they are called.
#[derive(Clone, Debug)]
pub struct ArchiveSetup {
    /// A folder or a tar archive.
    pub data: PathBuf,
    /// A CSV file with a line for each sample: its columns `path` and `labels`, and perhaps `split` and `order`. A sample
    /// whose label is empty arrives with the others and is not scored. Of a stream of texts also JSON lines that hold them.
    pub manifest: PathBuf,
    /// The column with the labels.
    pub labels: String,
    /// How the stream is cut into experiences.
    pub experiences: Cut,
    /// Only lines whose column has this value.
    pub only: Vec<(String, String)>,
    /// How a file is read; of one that holds several samples the first counts.
    pub cutting: Cutting,
}

/// How a stream is cut into experiences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Into so many equal parts.
    Parts(usize),
    /// Where this column's value changes.
    Column(String),
}

/// A picture with its label.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its name in the archive.
    pub path: String,
    /// The hash of its file.
    pub hash: SourceHash,
    /// Bytes of its file.
    pub bytes: u64,
    /// The sample.
    pub content: Content,
    /// Which label it has; one without is learnt from and never scored.
    pub label: Option<usize>,
}

/// An archive in memory.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    /// What the labels are called.
    pub labels: Vec<String>,
    /// What arrives, in order.
    pub stream: Vec<Item>,
    /// What asks when it is scored.
    pub asks: Vec<Item>,
    /// After how many arrivals each experience ends, ascending; the last is all of them.
    pub ends: Vec<usize>,
    /// Files that could not be used, and why.
    pub passed_over: Vec<(String, String)>,
}

impl Item {
    /// Whether the buffer holds it out for the exam.
    pub fn is_held_out(&self) -> bool {
        self.hash.holds_out(Content::group_of(&self.content.encode()))
    }
}

/// A text of a manifest that holds them itself, as if it came in a file of its own.
fn of_text(text: String) -> (SourceHash, u64, Content) {
    let (hash, bytes) = (SourceHash::of(text.as_bytes()), text.len() as u64);
    let passage = Passage {
        text,
        document: 0,
        part: 0,
    };
    (hash, bytes, Content::Text(passage))
}

/// The first sample of a file.
fn of_file(setup: &ArchiveSetup, path: &str, bytes: &[u8]) -> Result<(SourceHash, u64, Content), String> {
    let pieces = setup
        .cutting
        .cut(Path::new(path), bytes)
        .map_err(|rejection| rejection.to_string())?;
    let first = pieces.contents.into_iter().next().ok_or("it holds no sample")?;
    Ok((SourceHash::of(bytes), bytes.len() as u64, first))
}

/// A line of the manifest.
pub(super) struct Line {
    pub(super) path: String,
    /// What it says itself, in a manifest of texts.
    pub(super) text: Option<String>,
    pub(super) label: String,
    pub(super) asks: Option<bool>,
    pub(super) part: String,
}

impl Archive {
    /// Reads the manifest and every picture that it names.
    pub fn open(setup: &ArchiveSetup) -> Result<Self, BacktestError> {
        let (lines, mut files) = match &setup.cutting {
            // It holds the texts: nothing else is read.
            Cutting::Texts { field, .. } if setup.manifest.extension().is_some_and(|it| it == "jsonl") => {
                let lines = jsonl::manifest(setup, field.as_deref().unwrap_or("text"))?;
                (lines, Files::Folder(setup.data.clone()))
            }
            _ => (manifest(setup)?, Files::open(&setup.data)?),
        };
        let mut archive = Self::default();
        let (mut numbers, mut seen) = (BTreeMap::<String, usize>::new(), HashMap::<usize, usize>::new());
        let (mut tile_bytes, mut parts, mut hashes) = (0, Vec::new(), HashSet::new());
        for line in lines {
            let loaded = match line.text {
                Some(text) => Ok(of_text(text)),
                None => files
                    .read(&line.path)
                    .and_then(|bytes| of_file(setup, &line.path, &bytes)),
            };
            // The same file twice would be known and asked at once, or arrive and be refused by the buffer.
            let new = loaded.and_then(|loaded| match hashes.insert(loaded.0) {
                true => Ok(loaded),
                false => Err("the same content as an earlier file".to_owned()),
            });
            let (hash, bytes, content) = match new {
                Ok(loaded) => loaded,
                Err(why) => {
                    archive.passed_over.push((line.path, why));
                    continue;
                }
            };
            tile_bytes += content.encode().len();
            if tile_bytes > TILES_BYTES_MAX {
                return Err(BacktestError::new(
                    format!("the samples take more than {} GiB", TILES_BYTES_MAX >> 30),
                    "name fewer in the manifest, choose with --only, or set learning.image_px lower",
                ));
            }
            let label = (!line.label.is_empty()).then(|| {
                let next = numbers.len();
                *numbers.entry(line.label.clone()).or_insert(next)
            });
            if label == Some(archive.labels.len()) {
                archive.labels.push(line.label);
            }
            let asks = label.is_some_and(|label| {
                let of_label = seen.entry(label).or_default();
                *of_label += 1;
                line.asks.unwrap_or_else(|| of_label.is_multiple_of(ASKS_ONE_IN))
            });
            let item = Item {
                path: line.path,
                hash,
                bytes,
                content,
                label,
            };
            if asks {
                archive.asks.push(item);
            } else {
                archive.stream.push(item);
                parts.push(line.part);
            }
        }
        archive.ends = match &setup.experiences {
            Cut::Parts(count) => equal_parts(archive.stream.len(), *count),
            Cut::Column(_) => ends_of_runs(&parts),
        };
        archive.check()?;
        Ok(archive)
    }

    /// Whether there is something to learn from and something to score with.
    fn check(&self) -> Result<(), BacktestError> {
        let why = if self.stream.len() < 64 {
            format!("{} pictures arrive; at least 64 must", self.stream.len())
        } else if self.asks.is_empty() {
            "no picture is left out for scoring".to_owned()
        } else if self.labels.len() < 2 {
            "there is one label only, so that any answer is right".to_owned()
        } else {
            return Ok(());
        };
        let passed_over = self.passed_over.first().map_or_else(String::new, |(path, why)| {
            format!(
                " ({} files were passed over, the first, {path}: {why})",
                self.passed_over.len()
            )
        });
        Err(BacktestError::new(
            format!("the archive is too small: {why}{passed_over}"),
            "look at the manifest's `path`, `split` and label columns, and at --data",
        ))
    }

    /// The experience in which each label came first, by label; `None` for one that never arrives.
    pub fn first_experience(&self) -> Vec<Option<usize>> {
        let mut first = vec![None; self.labels.len()];
        for (position, item) in self.stream.iter().enumerate() {
            let experience = self.ends.partition_point(|end| *end <= position);
            if let Some(label) = item.label {
                first[label].get_or_insert(experience);
            }
        }
        first
    }
}

/// `count` parts whose lengths differ by one at most.
fn equal_parts(items: usize, count: usize) -> Vec<usize> {
    let count = count.clamp(1, items.max(1));
    (1..=count).map(|part| part * items / count).collect()
}

/// Where a value differs from the one after it, and the end.
fn ends_of_runs(values: &[String]) -> Vec<usize> {
    (1..=values.len())
        .filter(|end| values.get(*end) != Some(&values[end - 1]))
        .collect()
}

fn manifest(setup: &ArchiveSetup) -> Result<Vec<Line>, BacktestError> {
    let name = setup.manifest.display();
    let bad = |why: String| {
        BacktestError::new(
            format!("the manifest {name}: {why}"),
            "it is a CSV file with a head line",
        )
    };
    let mut reader = csv::Reader::from_path(&setup.manifest).map_err(|error| bad(error.to_string()))?;
    let head = reader.headers().map_err(|error| bad(error.to_string()))?.clone();
    let find = |column: &str| head.iter().position(|title| title == column);
    let column = |column: &str| {
        find(column).ok_or_else(|| {
            let titles = head.iter().collect::<Vec<_>>().join(", ");
            bad(format!("it has no column `{column}`; it has {titles}"))
        })
    };
    let (path, label) = (column("path")?, column(&setup.labels)?);
    let (split, order) = (find("split"), find("order"));
    let part = match &setup.experiences {
        Cut::Parts(_) => None,
        Cut::Column(title) => Some(column(title)?),
    };
    let only: Vec<(usize, &str)> = setup
        .only
        .iter()
        .map(|(title, value)| Ok((column(title)?, value.as_str())))
        .collect::<Result<_, BacktestError>>()?;
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| bad(error.to_string()))?;
        let cell = |at: usize| record.get(at).unwrap_or_default();
        let asked = split.map(|at| ASKS.contains(&cell(at)));
        if (cell(label).is_empty() && asked == Some(true)) || only.iter().any(|(at, value)| cell(*at) != *value) {
            continue;
        }
        let rank = match order {
            Some(at) => cell(at)
                .parse::<f64>()
                .map_err(|_| bad(format!("`{}` in the column `order` is no number", cell(at))))?,
            None => lines.len() as f64,
        };
        let line = Line {
            path: cell(path).to_owned(),
            text: None,
            label: cell(label).to_owned(),
            asks: asked,
            part: part.map_or_else(String::new, |at| cell(at).to_owned()),
        };
        lines.push((rank, line));
    }
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

/// The files of an archive, read one by one.
enum Files {
    Folder(PathBuf),
    Tar(File, HashMap<String, (u64, u64)>),
}

impl Files {
    fn open(data: &Path) -> Result<Self, BacktestError> {
        let bad = |error: std::io::Error| {
            BacktestError::new(
                format!("failed to read {}: {error}", data.display()),
                "give --data a folder or an uncompressed tar archive",
            )
        };
        if data.is_dir() {
            return Ok(Self::Folder(data.to_owned()));
        }
        let mut places = HashMap::new();
        let file = File::open(data).map_err(bad)?;
        let mut tar = tar::Archive::new(&file);
        for entry in tar.entries_with_seek().map_err(bad)? {
            let entry = entry.map_err(bad)?;
            if entry.header().entry_type().is_file() {
                let name = entry.path().map_err(bad)?.to_string_lossy().into_owned();
                places.insert(plain(&name), (entry.raw_file_position(), entry.size()));
            }
        }
        Ok(Self::Tar(file, places))
    }

    fn read(&mut self, path: &str) -> Result<Vec<u8>, String> {
        let too_large = |bytes: u64| format!("its {bytes} bytes are more than {FILE_BYTES_MAX}");
        let io = |error: std::io::Error| error.to_string();
        match self {
            Self::Folder(folder) => {
                let file = File::open(folder.join(path)).map_err(io)?;
                let bytes = file.metadata().map_err(io)?.len();
                if bytes > FILE_BYTES_MAX {
                    return Err(too_large(bytes));
                }
                let mut content = Vec::new();
                file.take(FILE_BYTES_MAX).read_to_end(&mut content).map_err(io)?;
                Ok(content)
            }
            Self::Tar(file, places) => {
                let (at, bytes) = *places.get(&plain(path)).ok_or("the archive has no such member")?;
                if bytes > FILE_BYTES_MAX {
                    return Err(too_large(bytes));
                }
                let mut content = vec![0; bytes as usize];
                file.read_exact_at(&mut content, at).map_err(io)?;
                Ok(content)
            }
        }
    }
}

/// A member's name without a leading `./`.
fn plain(name: &str) -> String {
    name.trim_start_matches("./").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_equal_parts_or_where_a_column_changes() {
        assert_eq!(equal_parts(10, 3), [3, 6, 10]);
        assert_eq!(equal_parts(2, 5), [1, 2]);
        let values: Vec<String> = ["a", "a", "b", "a"].map(str::to_owned).into();
        assert_eq!(ends_of_runs(&values), [2, 3, 4]);
        assert!(ends_of_runs(&[]).is_empty());
    }
}
