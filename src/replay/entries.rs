//! Entries: the values of the catalogue, as bytes.
//! Invariant: what was written reads back the same; what can not be read is `None`.

use crate::ids::{SampleId, SourceHash};

use super::fields::Fields;
use super::pending::{PathKey, Signals, Source};
use super::record::{Entry, Head, KIND_QUARANTINE, KIND_SAMPLE, KIND_SOURCE, SampleMeta, State};
use super::segment::Location;
use super::types::{FileVerdict, QuarantineEntry, SeenFile};

/// The version of everything in the catalogue. Another one is rebuilt from the segments.
const FORMAT_VERSION: u8 = 1;

/// How far the catalogue follows the log, and what must be in it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The store it belongs to.
    pub(super) uid: u64,
    /// Everything before this place of the log is in the catalogue.
    pub(super) segment: u32,
    pub(super) offset: u64,
    /// Samples in `idx`.
    pub(super) samples: u64,
    /// Files in quarantine in `idx`.
    pub(super) quarantined: u64,
    pub(super) state: State,
}

/// An entry of the ledger.
pub(super) enum LedgerItem {
    Source(Source),
    Duplicate(SourceHash, PathKey, Location),
}

pub(super) fn duplicate_key(hash: &SourceHash, path: PathKey) -> Vec<u8> {
    [hash.0.as_slice(), path.0.as_slice()].concat()
}

pub(super) fn read_ledger(key: &[u8], value: &[u8]) -> Option<LedgerItem> {
    let mut fields = Fields::new(key);
    let hash = SourceHash(fields.array()?);
    Some(match fields.array() {
        None => LedgerItem::Source(read_source(hash, value)?),
        Some(path) => LedgerItem::Duplicate(hash, PathKey(path), read_location(&mut Fields::new(value))?),
    })
}

fn put_location(out: &mut Vec<u8>, location: Location) {
    for number in [location.segment, location.offset, location.len] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

pub(super) fn write_location(location: Location) -> Vec<u8> {
    let mut out = Vec::with_capacity(12);
    put_location(&mut out, location);
    out
}

pub(super) fn read_location(fields: &mut Fields<'_>) -> Option<Location> {
    Some(Location {
        segment: fields.u32()?,
        offset: fields.u32()?,
        len: fields.u32()?,
    })
}

/// Values of records: where the record is, the id in its head, then its meta part.
fn write_record(entry: &Entry, location: Location) -> Vec<u8> {
    let mut out = write_location(location);
    out.extend_from_slice(&entry.id().to_le_bytes());
    out.extend_from_slice(&entry.meta());
    out
}

fn read_record(kind: u8, value: &[u8]) -> Option<(Entry, Location)> {
    let mut fields = Fields::new(value);
    let location = read_location(&mut fields)?;
    let head = Head {
        kind,
        ends_batch: false,
        meta_len: 0,
        payload_len: 0,
        payload_crc: 0,
        seq: 0,
        id: fields.u64()?,
    };
    Some((Entry::parse(&head, value.get(20..)?)?, location))
}

pub(super) fn write_sample(sample: &SampleMeta, location: Location) -> Vec<u8> {
    write_record(&Entry::Sample(*sample), location)
}

pub(super) fn read_sample(key: &[u8], value: &[u8]) -> Option<(SampleMeta, Location)> {
    let id = u64::from_be_bytes(key.try_into().ok()?);
    match read_record(KIND_SAMPLE, value)? {
        (Entry::Sample(sample), location) if sample.id.0 == id => Some((sample, location)),
        _ => None,
    }
}

pub(super) fn write_source(source: &Source) -> Vec<u8> {
    write_record(&Entry::Source(source.meta.clone()), source.location)
}

pub(super) fn read_source(hash: SourceHash, value: &[u8]) -> Option<Source> {
    match read_record(KIND_SOURCE, value)? {
        (Entry::Source(meta), location) if meta.hash == hash => Some(Source { meta, location }),
        _ => None,
    }
}

pub(super) fn write_quarantined(entry: &QuarantineEntry, location: Location) -> Vec<u8> {
    write_record(&Entry::Quarantine(entry.clone()), location)
}

pub(super) fn read_quarantined(value: &[u8]) -> Option<(QuarantineEntry, Location)> {
    match read_record(KIND_QUARANTINE, value)? {
        (Entry::Quarantine(entry), location) => Some((entry, location)),
        _ => None,
    }
}

pub(super) fn write_signals(signals: Signals) -> Vec<u8> {
    let mut out = signals.visits.to_le_bytes().to_vec();
    out.extend_from_slice(&signals.error.to_le_bytes());
    out.extend_from_slice(&signals.weight.to_le_bytes());
    out
}

pub(super) fn read_signals(key: &[u8], value: &[u8]) -> Option<(SampleId, Signals)> {
    let id = u64::from_be_bytes(key.try_into().ok()?);
    let mut fields = Fields::new(value);
    Some((
        SampleId(id),
        Signals {
            visits: fields.u32()?,
            error: fields.f32()?,
            weight: fields.u32()?,
        },
    ))
}

pub(super) fn write_seen(file: &SeenFile, verdict: FileVerdict) -> Vec<u8> {
    let mut out = vec![match verdict {
        FileVerdict::Accepted => 0,
        FileVerdict::Duplicate => 1,
        FileVerdict::Quarantined => 2,
    }];
    for number in [file.dev, file.inode, file.size] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&file.mtime_ns.to_le_bytes());
    out
}

pub(super) fn read_seen(value: &[u8]) -> Option<(SeenFile, FileVerdict)> {
    let mut fields = Fields::new(value);
    let verdict = match fields.u8()? {
        0 => FileVerdict::Accepted,
        1 => FileVerdict::Duplicate,
        2 => FileVerdict::Quarantined,
        _ => return None,
    };
    let file = SeenFile {
        dev: fields.u64()?,
        inode: fields.u64()?,
        size: fields.u64()?,
        mtime_ns: fields.i128()?,
    };
    Some((file, verdict))
}

impl Mark {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = vec![FORMAT_VERSION];
        out.extend_from_slice(&self.uid.to_le_bytes());
        out.extend_from_slice(&self.segment.to_le_bytes());
        for number in [self.offset, self.samples, self.quarantined] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        self.state.write(&mut out);
        out
    }

    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(value);
        if fields.u8()? != FORMAT_VERSION {
            return None;
        }
        Some(Self {
            uid: fields.u64()?,
            segment: fields.u32()?,
            offset: fields.u64()?,
            samples: fields.u64()?,
            quarantined: fields.u64()?,
            state: State::read(&mut fields)?,
        })
    }
}
