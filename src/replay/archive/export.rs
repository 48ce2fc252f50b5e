//! Export: from a buffer's segments to an archive.
//! Invariant: nothing in the buffer's folder changes; a sample that can not be believed is named, and is not in the
//! archive.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::ids::SourceHash;

use super::super::contents::Contents;
use super::super::log::{Content, Segments};
use super::super::pending::LedgerKey;
use super::super::record::{Entry, SourceMeta};
use super::super::recovery;
use super::super::redo::{Redo, Start};
use super::super::segment::Identity;
use super::super::verify::BadRecordReport;
use super::tar::Writer;
use super::{
    ArchiveError, CHUNK_BYTES_MAX, CHUNK_LINES_MAX, DuplicateLine, END_NAME, End, FORMAT, HEADER_NAME, Header,
    KeptLine, Line, PathText, SourceLine, VERSION, manifest_name, sample_name,
};

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ExportReport {
    /// Sources, those whose samples are evicted included.
    pub sources: u64,
    /// Samples with their contents.
    pub samples: u64,
    /// Further paths of sources.
    pub duplicates: u64,
    /// Bytes of the contents.
    pub bytes: u64,
    /// Records that can not be believed: they are not in the archive.
    pub bad_records: Vec<BadRecordReport>,
}

/// Writes what the buffer in `dir` keeps as an archive that names `stream`. The buffer must not be open.
pub fn export<W: Write>(dir: &Path, stream: &str, out: W) -> Result<(W, ExportReport), ArchiveError> {
    let (segments_dir, _) = recovery::folders(dir);
    let segments = recovery::find_segments(&segments_dir, false, || Identity { uid: 0, seed: 0 })?;
    let mut redo = Redo::new(&segments, Contents::default(), Start::default(), None);
    redo.run()?;
    let truth = redo.finish();
    let mut export = Export {
        tar: Writer::new(out),
        hasher: blake3::Hasher::new(),
        segments: &segments,
        contents: &truth.contents,
        parts: 0,
        lines: Vec::new(),
        line_count: 0,
        held: Vec::new(),
        held_bytes: 0,
        report: ExportReport::default(),
    };
    for (number, bad) in &truth.bad {
        export.report.bad_records.push(BadRecordReport {
            path: segments.path(*number),
            offset: bad.offset,
            sample: bad.id,
            why: bad.why.to_owned(),
        });
    }
    export.header(stream)?;
    let mut sources: Vec<&SourceMeta> = truth.contents.pending.sources.values().collect();
    sources.sort_by_key(|source| source.first);
    for source in sources {
        export.source(source)?;
    }
    let places = truth.contents.pending.places.iter();
    let mut duplicates: Vec<_> = places
        .filter_map(|(key, location)| match key {
            LedgerKey::Duplicate(number) => Some((*number, *location)),
            LedgerKey::Source(_) => None,
        })
        .collect();
    duplicates.sort_by_key(|(number, _)| *number);
    for (_, location) in duplicates {
        if let Some(Entry::Duplicate { source, path, .. }) = segments.read_whole_entry(location)? {
            export.duplicate(source, &path)?;
        }
    }
    export.end()
}

/// An archive on its way.
struct Export<'a, W> {
    tar: Writer<W>,
    /// Of the header and the manifest so far.
    hasher: blake3::Hasher,
    segments: &'a Segments,
    contents: &'a Contents,
    /// Parts of the manifest so far.
    parts: u64,
    /// The next part: its lines, how many they are, and the contents of its samples with their times.
    lines: Vec<u8>,
    line_count: usize,
    held: Vec<(u64, Vec<u8>, i64)>,
    held_bytes: u64,
    report: ExportReport,
}

impl<W: Write> Export<'_, W> {
    fn header(&mut self, stream: &str) -> Result<(), ArchiveError> {
        let header = json(&Header {
            format: FORMAT.to_owned(),
            format_version: VERSION,
            curiod_version: env!("CARGO_PKG_VERSION").to_owned(),
            stream: stream.to_owned(),
        })?;
        self.hasher.update(&header);
        self.tar.member(HEADER_NAME, &header, 0).map_err(ArchiveError::Write)
    }

    fn source(&mut self, source: &SourceMeta) -> Result<(), ArchiveError> {
        let mut kept = Vec::new();
        for (id, slot) in self.contents.samples.range(source.first.0..source.end()) {
            let Some(segment) = self.segments.get(slot.location.segment) else {
                continue;
            };
            match self.segments.read_sample(&segment.file, *id, slot.location)? {
                Content::Whole(content) => {
                    let bytes = content.len() as u64;
                    kept.push(KeptLine {
                        id: *id,
                        bytes,
                        blake3: SourceHash::of(&content),
                    });
                    self.report.samples += 1;
                    self.report.bytes += bytes;
                    self.held_bytes += bytes;
                    self.held.push((*id, content, source.taken_at.0.div_euclid(1_000)));
                }
                Content::Damaged(why) => self.report.bad_records.push(BadRecordReport {
                    path: self.segments.path(slot.location.segment),
                    offset: u64::from(slot.location.offset),
                    sample: Some(*id),
                    why: why.to_owned(),
                }),
            }
        }
        self.report.sources += 1;
        self.line(&Line::Source(SourceLine {
            hash: source.hash,
            path: PathText::of(&source.path),
            bytes: source.bytes,
            taken_at_ms: source.taken_at.0,
            exam: source.exam,
            first: source.first.0,
            samples: source.samples,
            kept,
        }))
    }

    fn duplicate(&mut self, source: SourceHash, path: &[u8]) -> Result<(), ArchiveError> {
        self.report.duplicates += 1;
        self.line(&Line::Duplicate(DuplicateLine {
            source,
            path: PathText::of(path),
        }))
    }

    /// Adds a line to the part, and writes the part when it is full.
    fn line(&mut self, line: &Line) -> Result<(), ArchiveError> {
        self.lines.extend(json(line)?);
        self.line_count += 1;
        if self.line_count >= CHUNK_LINES_MAX || self.held_bytes >= CHUNK_BYTES_MAX {
            self.part()?;
        }
        Ok(())
    }

    fn part(&mut self) -> Result<(), ArchiveError> {
        if self.line_count == 0 {
            return Ok(());
        }
        self.parts += 1;
        let lines = std::mem::take(&mut self.lines);
        self.hasher.update(&lines);
        let name = manifest_name(self.parts);
        self.tar.member(&name, &lines, 0).map_err(ArchiveError::Write)?;
        for (id, content, time_s) in self.held.drain(..) {
            let written = self.tar.member(&sample_name(id), &content, time_s);
            written.map_err(ArchiveError::Write)?;
        }
        (self.line_count, self.held_bytes) = (0, 0);
        Ok(())
    }

    fn end(mut self) -> Result<(W, ExportReport), ArchiveError> {
        self.part()?;
        let end = json(&End {
            sources: self.report.sources,
            samples: self.report.samples,
            duplicates: self.report.duplicates,
            blake3: self.hasher.finalize().to_hex().to_string(),
        })?;
        self.tar.member(END_NAME, &end, 0).map_err(ArchiveError::Write)?;
        let out = self.tar.finish().map_err(ArchiveError::Write)?;
        Ok((out, self.report))
    }
}

/// A value as one line.
fn json(value: &impl Serialize) -> Result<Vec<u8>, ArchiveError> {
    let mut line = serde_json::to_vec(value).map_err(|error| ArchiveError::Write(error.into()))?;
    line.push(b'\n');
    Ok(line)
}
