//! The log: the segments of a store, of which the newest is written to.
//! Invariant: when [`Log::append`] returns, its batch is durable; when it fails, nothing of the batch is in the log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::disk;

use super::record::{self, Entry, HEAD_LEN, Head, SAMPLE_META_LEN};
use super::segment::{self, HEADER_LEN, Identity, Located, Location};
use super::types::ReplayError;

/// Bytes of a record of a sample without its content.
pub(super) const SAMPLE_RECORD_LEN: usize = HEAD_LEN + SAMPLE_META_LEN;

/// The segments that can be read. Shared by the writer and the readers.
pub(super) struct Segments {
    pub(super) dir: PathBuf,
    pub(super) identity: Identity,
    files: RwLock<BTreeMap<u32, Segment>>,
}

/// A segment's file.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) file: Arc<File>,
    pub(super) bytes: u64,
}

/// A sample as it was read.
pub(super) enum Content {
    Whole(Vec<u8>),
    Damaged(&'static str),
}

impl Segments {
    pub(super) fn new(dir: &Path, identity: Identity) -> Self {
        Self {
            dir: dir.to_owned(),
            identity,
            files: RwLock::default(),
        }
    }

    pub(super) fn path(&self, number: u32) -> PathBuf {
        self.dir.join(segment::file_name(number))
    }

    pub(super) fn insert(&self, number: u32, segment: Segment) {
        self.files.write().insert(number, segment);
    }

    pub(super) fn get(&self, number: u32) -> Option<Segment> {
        self.files.read().get(&number).cloned()
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.files.read().contains_key(&number)
    }

    /// The segments' numbers and bytes, oldest first.
    pub(super) fn sizes(&self) -> Vec<(u32, u64)> {
        self.files.read().iter().map(|(number, s)| (*number, s.bytes)).collect()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.read().values().map(|segment| segment.bytes).sum()
    }

    /// Deletes a segment; its absence is durable when this returns. Who reads it may finish.
    pub(super) fn unlink(&self, number: u32) -> Result<(), ReplayError> {
        let path = self.path(number);
        disk::remove_file("compaction.unlink", &path).map_err(ReplayError::io("delete", &path))?;
        disk::sync_dir("compaction.sync_dir", &self.dir).map_err(ReplayError::io("make durable", &self.dir))?;
        self.files.write().remove(&number);
        Ok(())
    }

    /// Reads a sample's content.
    pub(super) fn read_sample(&self, file: &File, id: u64, location: Location) -> Result<Content, ReplayError> {
        let mut start = [0; SAMPLE_RECORD_LEN];
        let mut content = vec![0; (location.len as usize).saturating_sub(SAMPLE_RECORD_LEN)];
        match read_both(file, &mut start, &mut content, u64::from(location.offset)) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Ok(Content::Damaged("it is cut short"));
            }
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                return Ok(Content::Damaged("the disk can not read it"));
            }
            Err(error) => return Err(ReplayError::io("read", &self.path(location.segment))(error)),
        }
        Ok(match Head::parse(&start, self.identity.salt()) {
            None => Content::Damaged("its head is damaged"),
            Some(head) if head.id != id || head.record_len() != u64::from(location.len) => {
                Content::Damaged("another record is in its place")
            }
            Some(head) if crc32c::crc32c(&content) != head.payload_crc => Content::Damaged("its checksum fails"),
            Some(_) => Content::Whole(content),
        })
    }

    /// Reads what a record says, without its payload.
    pub(super) fn read_entry(&self, location: Location) -> Result<Option<Entry>, ReplayError> {
        let Some(segment) = self.get(location.segment) else {
            return Ok(None);
        };
        let mut start = [0; SAMPLE_RECORD_LEN];
        segment
            .file
            .read_exact_at(&mut start, u64::from(location.offset))
            .map_err(ReplayError::io("read", &self.path(location.segment)))?;
        let head = Head::parse(&start, self.identity.salt());
        Ok(head.and_then(|head| Entry::parse(&head, start.get(HEAD_LEN..HEAD_LEN + usize::from(head.meta_len))?)))
    }

    /// Reads what a record without payload says, however long its meta part is.
    pub(super) fn read_whole_entry(&self, location: Location) -> Result<Option<Entry>, ReplayError> {
        let Some(segment) = self.get(location.segment) else {
            return Ok(None);
        };
        let mut record = vec![0; location.len as usize];
        segment
            .file
            .read_exact_at(&mut record, u64::from(location.offset))
            .map_err(ReplayError::io("read", &self.path(location.segment)))?;
        let head = Head::parse(&record, self.identity.salt());
        Ok(head.and_then(|head| Entry::parse(&head, record.get(HEAD_LEN..HEAD_LEN + usize::from(head.meta_len))?)))
    }
}

/// Asks the system to fetch a record that will soon be read. A hint: what it answers does not matter.
pub(super) fn fetch_ahead(file: &File, location: Location) {
    let len = std::num::NonZeroU64::new(u64::from(location.len));
    let _ = rustix::fs::fadvise(file, u64::from(location.offset), len, rustix::fs::Advice::WillNeed);
}

/// Reads two neighbouring parts of a file with one call, where the system gives them in one.
fn read_both(file: &File, first: &mut [u8], second: &mut [u8], offset: u64) -> std::io::Result<()> {
    let read = loop {
        let mut parts = [IoSliceMut::new(first), IoSliceMut::new(second)];
        match rustix::io::preadv(file, &mut parts, offset) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    if read < first.len() {
        file.read_exact_at(first, offset)?;
        file.read_exact_at(second, offset + first.len() as u64)
    } else {
        let have = read - first.len();
        file.read_exact_at(&mut second[have..], offset + read as u64)
    }
}

/// Records that become durable together, or not at all.
pub(super) struct Batch {
    salt: u32,
    seq: u64,
    bytes: Vec<u8>,
    records: Vec<(Entry, u32)>,
}

impl Batch {
    /// Adds a record.
    pub(super) fn push(&mut self, entry: Entry, payload: &[u8]) {
        let meta = entry.meta();
        let head = Head {
            kind: entry.kind(),
            ends_batch: false,
            meta_len: meta.len() as u16,
            payload_len: payload.len() as u32,
            payload_crc: 0,
            seq: self.seq,
            id: entry.id(),
        };
        self.records.push((entry, self.bytes.len() as u32));
        record::write(&mut self.bytes, head, &meta, payload, self.salt);
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }
}

/// The end of the log, where it is written.
pub(super) struct Log {
    pub(super) segments: Arc<Segments>,
    /// The segment that is written to. `None`: the next batch opens one.
    active: Option<Active>,
    /// A segment that would grow beyond this is sealed.
    segment_bytes: u64,
    last_number: u32,
    next_seq: u64,
    /// Whether what a failed write left behind could not be cut off. Nothing is written before that is done.
    has_rest: bool,
}

/// The segment that is written to.
pub(super) struct Active {
    pub(super) number: u32,
    pub(super) file: Arc<File>,
    pub(super) end: u64,
    /// What its footer will say.
    pub(super) items: Vec<u8>,
}

impl Log {
    /// A log that goes on after `last_number`, or in `active`.
    pub(super) fn new(
        segments: Arc<Segments>,
        active: Option<Active>,
        last_number: u32,
        next_seq: u64,
        segment_bytes: u64,
    ) -> Self {
        Self {
            segments,
            active,
            segment_bytes,
            last_number,
            next_seq,
            has_rest: false,
        }
    }

    /// An empty batch.
    pub(super) fn batch(&self) -> Batch {
        Batch {
            salt: self.segments.identity.salt(),
            seq: self.next_seq,
            bytes: Vec::new(),
            records: Vec::new(),
        }
    }

    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    pub(super) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// The segment that is written to, if there is one.
    pub(super) fn active_number(&self) -> Option<u32> {
        self.active.as_ref().map(|active| active.number)
    }

    /// Where the next record will be, at the earliest: everything before is durable.
    pub(super) fn position(&self) -> (u32, u64) {
        self.active
            .as_ref()
            .map_or((self.last_number + 1, HEADER_LEN), |active| (active.number, active.end))
    }

    /// Makes a batch durable with one write and one fdatasync. Where its records are.
    pub(super) fn append(&mut self, mut batch: Batch) -> Result<Vec<Located>, ReplayError> {
        let Some((_, last)) = batch.records.last() else {
            return Ok(Vec::new());
        };
        record::end_batch(&mut batch.bytes[*last as usize..], batch.salt);
        let len = batch.bytes.len() as u64;
        if self.has_rest {
            self.cut()?;
        }
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.end > HEADER_LEN && active.end + len > self.segment_bytes)
        {
            self.seal()?;
        }
        self.open_segment()?;
        // A batch's number is used up even if it fails, so that no two batches ever have the same.
        self.next_seq += 1;
        self.write(&batch.bytes)?;
        let Some(active) = &mut self.active else {
            return Ok(Vec::new());
        };
        let mut written = Vec::with_capacity(batch.records.len());
        let mut next_starts = batch.records.iter().skip(1).map(|(_, start)| *start as usize);
        let mut spans = Vec::with_capacity(batch.records.len());
        for (_, start) in &batch.records {
            spans.push((*start as usize, next_starts.next().unwrap_or(batch.bytes.len())));
        }
        for ((entry, _), (start, end)) in batch.records.into_iter().zip(spans) {
            let offset = active.end as u32 + start as u32;
            let record = &batch.bytes[start..end];
            let meta_len = usize::from(u16::from_le_bytes([record[16], record[17]]));
            segment::footer_item(&mut active.items, offset, &record[..HEAD_LEN + meta_len]);
            written.push(Located {
                entry,
                location: Location {
                    segment: active.number,
                    offset,
                    len: (end - start) as u32,
                },
                seq: batch.seq,
            });
        }
        active.end += len;
        self.segments.insert(
            active.number,
            Segment {
                file: Arc::clone(&active.file),
                bytes: active.end,
            },
        );
        Ok(written)
    }

    fn open_segment(&mut self) -> Result<(), ReplayError> {
        if self.active.is_none() {
            let number = self.last_number + 1;
            let file = Arc::new(segment::create(&self.segments.dir, number, self.segments.identity)?);
            self.last_number = number;
            self.active = Some(Active {
                number,
                file,
                end: HEADER_LEN,
                items: Vec::new(),
            });
        }
        Ok(())
    }

    /// Writes the footer of the segment that is written to; the next batch opens another.
    pub(super) fn seal(&mut self) -> Result<(), ReplayError> {
        let Some(active) = &self.active else {
            return Ok(());
        };
        let footer = segment::footer(&active.items, active.end as u32, self.segments.identity.salt());
        self.write(&footer)?;
        if let Some(active) = self.active.take() {
            self.segments.insert(
                active.number,
                Segment {
                    file: active.file,
                    bytes: active.end + footer.len() as u64,
                },
            );
        }
        Ok(())
    }

    /// Writes at the end of the segment and makes it durable. On failure the segment is cut back to its durable end,
    /// which is made durable in turn, for after a failed fdatasync nobody knows what the disk holds.
    fn write(&mut self, bytes: &[u8]) -> Result<(), ReplayError> {
        let Some(active) = &self.active else {
            return Ok(());
        };
        let path = self.segments.path(active.number);
        let written = disk::write_at("replay.append.write", &active.file, &path, bytes, active.end)
            .and_then(|()| disk::sync("replay.append.sync", &active.file, &path))
            .and_then(|()| disk::point("replay.append.done"))
            .map_err(ReplayError::io("write", &path));
        if written.is_err() {
            self.has_rest = true;
            // The next batch tries again.
            let _ = self.cut();
        }
        written
    }

    /// Cuts off what a failed write left behind.
    fn cut(&mut self) -> Result<(), ReplayError> {
        if let Some(active) = &self.active {
            let path = self.segments.path(active.number);
            disk::cut("replay.cut", &active.file, &path, active.end).map_err(ReplayError::io("cut", &path))?;
        }
        self.has_rest = false;
        Ok(())
    }
}
