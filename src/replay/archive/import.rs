//! Import: from an archive into an open buffer.
//! Invariant: a part of the archive is inserted only when all of it was read and every hash in it holds; a source that
//! is known is not inserted again, so that an import that was interrupted can be run again.

use std::collections::HashSet;
use std::io::Read;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Timestamp;
use crate::ids::{SampleId, SourceHash};
use crate::sample;

use super::super::fields::FIELD_BYTES_MAX;
use super::super::log::SAMPLE_RECORD_LEN;
use super::super::record::{Entry, SampleMeta, SourceMeta};
use super::super::store::Store;
use super::super::types::{Inserted, NewSource, ReplayError};
use super::tar::{Member, Reader, TarError};
use super::{
    ArchiveError, CHUNK_BYTES_MAX, CHUNK_LINES_MAX, END_NAME, End, FORMAT, HEADER_BYTES_MAX, HEADER_NAME, Header,
    ID_MAX, Line, MANIFEST_BYTES_MAX, PathText, SAMPLE_BYTES_MAX, SourceLine, VERSION, manifest_name, sample_name,
};

/// What became of an archive so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Sources that the buffer did not know.
    pub sources: u64,
    /// Samples inserted with them; what does not fit into the buffer is evicted as ever.
    pub samples: u64,
    /// Sources that it knew under the same path: nothing is done.
    pub known: u64,
    /// Sources that it knew under another path, and further paths of sources: counted once for each path.
    pub duplicates: u64,
}

/// A source of an archive, read and believed.
struct Archived {
    line: SourceLine,
    path: Vec<u8>,
    contents: Vec<Vec<u8>>,
}

/// Inserts what an archive keeps; `check` says why a content is none that a stream can use.
pub(in super::super) fn import(
    store: &Store,
    input: impl Read,
    check: impl Fn(&[u8]) -> Result<(), String>,
    report: &mut ImportReport,
) -> Result<(), ArchiveError> {
    let mut archive = Archive {
        tar: Reader::new(input),
        after: "its first byte".to_owned(),
        hasher: blake3::Hasher::new(),
    };
    archive.header()?;
    let mut seen = End::default();
    for part in 1.. {
        let member = archive.next(MANIFEST_BYTES_MAX)?;
        if member.name == END_NAME {
            let end: End = archive.json(&member.bytes)?;
            seen.blake3 = archive.hasher.finalize().to_hex().to_string();
            return match archive.tar.next(0) {
                _ if end != seen => Err(archive.damaged("its end does not fit what is before it")),
                Ok(None) => Ok(()),
                Ok(Some(_)) | Err(TarError::Damaged(_)) => Err(archive.damaged("something follows its end")),
                Err(error) => Err(archive.failed(error)),
            };
        }
        if member.name != manifest_name(part) {
            return Err(archive.damaged(format!("`{}` is where a part of the manifest belongs", member.name)));
        }
        archive.hasher.update(&member.bytes);
        let (sources, duplicates) = archive.part(&member.bytes, &check)?;
        seen.sources += sources.len() as u64;
        seen.samples += sources.iter().map(|source| source.contents.len() as u64).sum::<u64>();
        seen.duplicates += duplicates.len() as u64;
        insert(store, sources, report)?;
        for (source, path) in duplicates {
            if store.source(&source)?.is_none() {
                return Err(archive.damaged(format!("it has a duplicate of {source}, and not the source")));
            }
            note_path(store, source, path, report)?;
        }
    }
    Ok(())
}

/// Inserts the sources of a part, those that the buffer does not know with one write.
fn insert(store: &Store, sources: Vec<Archived>, report: &mut ImportReport) -> Result<(), ReplayError> {
    let mut unknown = Vec::new();
    for source in sources {
        if store.source(&source.line.hash)?.is_some() {
            note_path(store, source.line.hash, source.path, report)?;
        } else {
            unknown.push(source);
        }
    }
    let sources = unknown.len() as u64;
    let samples = unknown.iter().map(|source| source.contents.len() as u64).sum::<u64>();
    store.restore(unknown)?;
    // Counted once they are durable: a disk that is full must not be told of as kept.
    report.sources += sources;
    report.samples += samples;
    Ok(())
}

/// A source that is known was found under this path.
fn note_path(store: &Store, hash: SourceHash, path: Vec<u8>, report: &mut ImportReport) -> Result<(), ReplayError> {
    let again = NewSource {
        hash,
        path,
        bytes: 0,
        taken_at: Timestamp(0),
        samples: Vec::new(),
    };
    for inserted in store.insert(vec![again])? {
        match inserted {
            Inserted::Accepted { .. } => report.known += 1,
            Inserted::Duplicate => report.duplicates += 1,
        }
    }
    Ok(())
}

impl Store {
    /// Makes sources durable as they were elsewhere. They keep their samples' ids where this buffer has not yet given
    /// those or later ones. None of them may be known.
    fn restore(&self, sources: Vec<Archived>) -> Result<(), ReplayError> {
        if sources.is_empty() {
            return Ok(());
        }
        self.make_room()?;
        let mut log = self.log.lock();
        let mut state = self.memory.lock().contents.state;
        let mut batch = self.batch(&log);
        let mut batch_bytes = 0;
        for Archived { line, path, contents } in sources {
            let bytes = contents.iter().map(|content| content.len() + SAMPLE_RECORD_LEN);
            let bytes = (bytes.sum::<usize>() + path.len() + 128) as u64;
            if batch_bytes > 0 && batch_bytes + bytes > log.segment_bytes() {
                self.commit(&mut log, batch)?;
                (batch, batch_bytes) = (self.batch(&log), 0);
            }
            batch_bytes += bytes;
            let held_out = |content: &&Vec<u8>| line.hash.holds_out(sample::Content::group_of(content));
            // Of what was evicted before nobody knows any more.
            state.totals = state
                .totals
                .with(line.samples as usize, contents.iter().filter(held_out).count());
            let meta = SourceMeta {
                first: SampleId(state.next_id.max(line.first)),
                samples: line.samples,
                hash: line.hash,
                path,
                bytes: line.bytes,
                taken_at: Timestamp(line.taken_at_ms),
                exam: line.exam,
                totals: state.totals,
            };
            for (kept, content) in line.kept.iter().zip(&contents) {
                let sample = SampleMeta {
                    id: SampleId(meta.first.0 + (kept.id - line.first)),
                    source: meta.hash,
                    taken_at: meta.taken_at,
                    exam: held_out(&content),
                };
                batch.push(Entry::Sample(sample), content);
            }
            state.next_id = meta.end();
            batch.push(Entry::Source(meta), &[]);
        }
        self.commit(&mut log, batch)
    }
}

/// An archive being read.
struct Archive<R> {
    tar: Reader<R>,
    /// The last whole member.
    after: String,
    /// Of the header and the manifest so far.
    hasher: blake3::Hasher,
}

impl<R: Read> Archive<R> {
    fn header(&mut self) -> Result<(), ArchiveError> {
        let foreign = |what: &str| ArchiveError::Foreign(what.to_owned());
        let member = match self.tar.next(HEADER_BYTES_MAX) {
            Ok(Some(member)) if member.name == HEADER_NAME => member,
            Ok(_) => return Err(foreign("it does not begin with curiod-replay.json")),
            Err(TarError::Damaged(what)) => return Err(ArchiveError::Foreign(what)),
            Err(error) => return Err(self.failed(error)),
        };
        /// What tells the format, in every version.
        #[derive(serde::Deserialize)]
        struct Which {
            format: String,
            format_version: u32,
        }
        let which: Which = serde_json::from_slice(&member.bytes).map_err(|error| foreign(&error.to_string()))?;
        if which.format != FORMAT {
            return Err(foreign("its header names another format"));
        }
        if which.format_version > VERSION {
            return Err(ArchiveError::Newer(which.format_version));
        }
        self.hasher.update(&member.bytes);
        self.json::<Header>(&member.bytes)?;
        self.after = member.name;
        Ok(())
    }

    /// The next member; there must be one.
    fn next(&mut self, bytes_max: u64) -> Result<Member, ArchiveError> {
        match self.tar.next(bytes_max) {
            Ok(Some(member)) => {
                self.after.clone_from(&member.name);
                Ok(member)
            }
            Ok(None) => Err(self.damaged("its members end without `end.json`")),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The sources and duplicates of a part of the manifest, with the contents that follow it.
    #[expect(clippy::type_complexity, reason = "named where it is taken apart, once")]
    fn part(
        &mut self,
        lines: &[u8],
        check: &impl Fn(&[u8]) -> Result<(), String>,
    ) -> Result<(Vec<Archived>, Vec<(SourceHash, Vec<u8>)>), ArchiveError> {
        let (mut sources, mut duplicates) = (Vec::new(), Vec::new());
        let (mut hashes, mut bytes, mut count) = (HashSet::new(), 0, 0);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            count += 1;
            match self.json(line)? {
                Line::Source(line) => {
                    let path = self.path(&line.path)?;
                    self.check_source(&line)?;
                    if !hashes.insert(line.hash) {
                        return Err(self.damaged(format!("it has the source {} twice", line.hash)));
                    }
                    bytes += line.kept.iter().map(|kept| kept.bytes).sum::<u64>();
                    let contents = Vec::new();
                    sources.push(Archived { line, path, contents });
                }
                Line::Duplicate(line) => duplicates.push((line.source, self.path(&line.path)?)),
            }
            // The last sample of a part may be one too many.
            if count > CHUNK_LINES_MAX || bytes > CHUNK_BYTES_MAX + SAMPLE_BYTES_MAX {
                return Err(self.damaged("a part of the manifest is longer than any that is written"));
            }
        }
        for source in &mut sources {
            for kept in &source.line.kept {
                let Member { name, bytes } = self.next(kept.bytes)?;
                if name != sample_name(kept.id) || SourceHash::of(&bytes) != kept.blake3 {
                    return Err(self.damaged(format!("sample {} is not as its manifest says", kept.id)));
                }
                check(&bytes).map_err(|why| self.damaged(format!("sample {}: {why}", kept.id)))?;
                source.contents.push(bytes);
            }
        }
        Ok((sources, duplicates))
    }

    fn check_source(&self, line: &SourceLine) -> Result<(), ArchiveError> {
        let end = line.first.saturating_add(u64::from(line.samples).max(1));
        let ids = line.kept.iter().map(|kept| kept.id);
        let is_good = (1..ID_MAX).contains(&line.first)
            && ids.clone().all(|id| (line.first..end).contains(&id))
            && ids.is_sorted_by(|a, b| a < b)
            && line.kept.iter().all(|kept| kept.bytes <= SAMPLE_BYTES_MAX)
            && line.exam == line.hash.in_exam();
        match is_good {
            true => Ok(()),
            false => Err(self.damaged(format!("the source {} contradicts itself", line.hash))),
        }
    }

    fn path(&self, path: &PathText) -> Result<Vec<u8>, ArchiveError> {
        let bytes = path.bytes().filter(|bytes| bytes.len() <= FIELD_BYTES_MAX);
        bytes.ok_or_else(|| self.damaged("a path can not be read"))
    }

    fn json<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, ArchiveError> {
        serde_json::from_slice(bytes).map_err(|error| self.damaged(error.to_string()))
    }

    fn damaged(&self, what: impl Into<String>) -> ArchiveError {
        ArchiveError::Damaged {
            after: self.after.clone(),
            what: what.into(),
        }
    }

    fn failed(&self, error: TarError) -> ArchiveError {
        match error {
            TarError::Cut => ArchiveError::Cut {
                after: self.after.clone(),
            },
            TarError::Damaged(what) => self.damaged(what),
            TarError::Io(error) => ArchiveError::Read(error),
        }
    }
}
