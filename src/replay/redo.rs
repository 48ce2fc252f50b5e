//! Redo: the log's records, applied to contents in their order.
//! Invariant: reading a log changes nothing in it; a torn tail is cut by whoever opens the store to write.

use std::fs::File;
use std::sync::Arc;

use tracing::{error, warn};

use crate::disk;

use super::catalogue::Catalogue;
use super::cause::Cause;
use super::contents::{Before, Contents};
use super::log::{Active, Segment, Segments};
use super::pending::{LedgerKey, PathKey, Pending};
use super::record::{Entry, HEAD_LEN};
use super::remover::Reservoir;
use super::segment::{self, BadRecord, HEADER_LEN, Located, Location};
use super::types::ReplayError;

/// Changes that wait in RAM during a rebuild before they are handed to the catalogue.
const REBUILD_CHUNK: usize = 65_536;

/// Where in the log to start.
#[derive(Clone, Copy, Default)]
pub(super) struct Start {
    pub(super) segment: u32,
    pub(super) offset: u64,
}

/// The log's records on their way into contents.
pub(super) struct Redo<'a> {
    segments: &'a Segments,
    contents: Contents,
    start: Start,
    catalogue: Option<&'a Catalogue>,
    next_seq: u64,
    bad: Vec<(u32, BadRecord)>,
    torn_bytes: u64,
    last: Option<LastSegment>,
    unsealed: Vec<Unsealed>,
}

/// What was found.
pub(super) struct Tail {
    pub(super) contents: Contents,
    pub(super) next_seq: u64,
    /// Records that can not be believed, with their segments.
    pub(super) bad: Vec<(u32, BadRecord)>,
    pub(super) torn_bytes: u64,
    pub(super) last: Option<LastSegment>,
    pub(super) unsealed: Vec<Unsealed>,
}

/// A segment, not the newest, whose footer is gone.
pub(super) struct Unsealed {
    number: u32,
    file: Arc<File>,
    len: u64,
    items: Vec<u8>,
}

impl Unsealed {
    /// Writes a footer that tells of the records that can be believed, after everything that is there.
    pub(super) fn seal(self, segments: &Segments) -> Result<(), ReplayError> {
        let path = segments.path(self.number);
        let footer = segment::footer(&self.items, self.len as u32, segments.identity.salt());
        disk::write_at("replay.append.write", &self.file, &path, &footer, self.len)
            .and_then(|()| disk::sync("replay.append.sync", &self.file, &path))
            .map_err(ReplayError::io("seal", &path))?;
        let bytes = self.len + footer.len() as u64;
        segments.insert(self.number, Segment { file: self.file, bytes });
        Ok(())
    }
}

/// The newest segment, if it is not sealed.
pub(super) struct LastSegment {
    number: u32,
    file: Arc<File>,
    end: u64,
    len: u64,
    items: Vec<u8>,
    whole_header: bool,
}

impl LastSegment {
    /// Cuts off what was not acknowledged. The segment, to go on with; `None` if its header is damaged.
    pub(super) fn cut(self, segments: &Segments) -> Result<Option<Active>, ReplayError> {
        let path = segments.path(self.number);
        if self.end < self.len {
            disk::cut("replay.cut", &self.file, &path, self.end).map_err(ReplayError::io("cut", &path))?;
            warn!(segment = %path.display(), bytes = self.len - self.end,
                hint = "none: a kill or a power cut in a write leaves it; nothing acknowledged was in it",
                "cut a torn tail");
            let segment = Segment {
                file: Arc::clone(&self.file),
                bytes: self.end,
            };
            segments.insert(self.number, segment);
        }
        Ok(self.whole_header.then_some(Active {
            number: self.number,
            file: self.file,
            end: self.end,
            items: self.items,
        }))
    }
}

impl<'a> Redo<'a> {
    pub(super) fn new(
        segments: &'a Segments,
        contents: Contents,
        start: Start,
        catalogue: Option<&'a Catalogue>,
    ) -> Self {
        Self {
            segments,
            next_seq: contents.state.next_seq,
            contents,
            start,
            catalogue,
            bad: Vec::new(),
            torn_bytes: 0,
            last: None,
            unsealed: Vec::new(),
        }
    }

    /// Applies every record from the start on.
    pub(super) fn run(&mut self) -> Result<(), ReplayError> {
        let sizes = self.segments.sizes();
        let newest = sizes.last().map(|(number, _)| *number);
        for (number, bytes) in sizes {
            if number >= self.start.segment {
                self.segment(number, bytes, newest == Some(number))?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Tail {
        Tail {
            contents: self.contents,
            next_seq: self.next_seq,
            bad: self.bad,
            torn_bytes: self.torn_bytes,
            last: self.last,
            unsealed: self.unsealed,
        }
    }

    fn segment(&mut self, number: u32, len: u64, newest: bool) -> Result<(), ReplayError> {
        let Some(Segment { file, .. }) = self.segments.get(number) else {
            return Ok(());
        };
        let salt = self.segments.identity.salt();
        let from = if number == self.start.segment {
            self.start.offset
        } else {
            0
        };
        if let Some((records, _)) = segment::read_footer(&file, len, number, salt) {
            return self.records(records, from);
        }
        let path = self.segments.path(number);
        let bytes = std::fs::read(&path).map_err(ReplayError::io("read", &path))?;
        let believed_to = if newest { from } else { u64::MAX };
        let scan = segment::scan(&bytes, HEADER_LEN, number, salt, believed_to);
        for bad in scan.bad {
            error!(
                segment = %path.display(),
                offset = bad.offset,
                sample = bad.id,
                why = bad.why,
                hint = "the disk gave back other bytes than were written: look at its health (smartctl) and the memory's",
                "quarantined a damaged record"
            );
            self.bad.push((number, bad));
        }
        let mut items = Vec::new();
        for Located { location, .. } in &scan.records {
            let record = &bytes[location.offset as usize..];
            let meta_len = usize::from(u16::from_le_bytes([record[16], record[17]]));
            segment::footer_item(&mut items, location.offset, &record[..HEAD_LEN + meta_len]);
        }
        if !newest {
            self.unsealed.push(Unsealed {
                number,
                file,
                len,
                items,
            });
        } else {
            let whole_header = segment::read_header(&file, &path)?.identity.is_some();
            self.torn_bytes += len.saturating_sub(scan.end);
            self.last = Some(LastSegment {
                number,
                file,
                end: scan.end,
                len,
                items,
                whole_header,
            });
        }
        self.records(scan.records, from)
    }

    fn records(&mut self, records: Vec<Located>, from: u64) -> Result<(), ReplayError> {
        for record in records {
            self.next_seq = self.next_seq.max(record.seq.saturating_add(1));
            if u64::from(record.location.offset) >= from {
                self.apply(record)?;
            }
        }
        if let Some(catalogue) = self.catalogue
            && self.contents.pending.len() > REBUILD_CHUNK
        {
            let pending: Pending = std::mem::take(&mut self.contents.pending);
            catalogue.write_ledger(&pending)?;
            catalogue.write_samples(&pending, None)?;
        }
        Ok(())
    }

    fn apply(&mut self, record: Located) -> Result<(), ReplayError> {
        let Located { entry, location, .. } = record;
        if entry.says_what_is_gone() {
            self.contents.keep_gone(location.segment, u64::from(location.len));
        }
        match entry {
            Entry::Sample(sample) => self.contents.add_sample(&sample, location),
            Entry::Source(meta) => {
                let known = self.contents.source(&meta.hash);
                let listed = known.or_else(|| self.in_catalogue(|catalogue| catalogue.source(&meta.hash)))?;
                let before = Before {
                    listed: listed.is_some(),
                    place: self.place(LedgerKey::Source(meta.first.0))?,
                };
                self.contents.add_source(meta, location, before);
            }
            Entry::Duplicate { number, source, path } => {
                let key = (source, PathKey::of(&path));
                let known = self.contents.duplicate(&key);
                let listed = known.or_else(|| self.in_catalogue(|catalogue| catalogue.duplicate(&key)))?;
                let before = Before {
                    listed: listed.is_some(),
                    place: self.place(LedgerKey::Duplicate(number))?,
                };
                self.contents.add_duplicate(number, key, location, before);
            }
            Entry::Tombstone(tombstone) => {
                self.contents.remove_sample(tombstone.id);
                if tombstone.cause == Cause::Evicted {
                    let key = Reservoir::key_of(self.segments.identity.seed, tombstone.id);
                    let threshold = &mut self.contents.state.threshold;
                    *threshold = (*threshold).min(key);
                }
            }
            Entry::Quarantine(entry) => self.contents.add_quarantined(entry, location),
            Entry::QuarantineDrop { path, .. } => {
                self.contents.remove_quarantined(&path);
            }
            Entry::State(state) => {
                let ours = &mut self.contents.state;
                ours.next_id = ours.next_id.max(state.next_id);
                ours.drawn = state.drawn;
                ours.quarantine_unlisted = state.quarantine_unlisted;
                ours.threshold = state.threshold;
                ours.cleaning = state.cleaning;
            }
        }
        Ok(())
    }

    fn place(&self, key: LedgerKey) -> Result<Option<Location>, ReplayError> {
        let known = self.contents.place(key);
        known.or_else(|| self.in_catalogue(|catalogue| catalogue.place(key)))
    }

    fn in_catalogue<T>(
        &self,
        look: impl FnOnce(&Catalogue) -> Result<Option<T>, ReplayError>,
    ) -> Result<Option<T>, ReplayError> {
        self.catalogue.map_or(Ok(None), look)
    }
}
