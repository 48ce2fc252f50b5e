//! Entries: the values of the catalogue, as bytes.
//! Invariant: what was written reads back the same; what can not be read is `None`.

use crate::clock::Timestamp;
use crate::ids::{SampleId, SourceHash};

use super::contents::Listed;
use super::fields::{Fields, put_bytes};
use super::pending::{Kept, LedgerKey, Look, PathKey, Signals};
use super::record::{Entry, Head, KIND_QUARANTINE, SourceMeta, State, Totals};
use super::segment::Location;
use super::types::{Embedding, FileVerdict, QuarantineEntry, Score, SeenFile};

/// The version of everything in the catalogue. Another one is rebuilt from the segments.
const FORMAT_VERSION: u8 = 2;

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
    /// Entries of the ledger.
    pub(super) listed: Listed,
    pub(super) state: State,
}

/// An entry of the ledger.
pub(super) enum LedgerItem {
    Source(SourceMeta),
    Duplicate((SourceHash, PathKey), u64),
}

pub(super) fn duplicate_key((hash, path): &(SourceHash, PathKey)) -> Vec<u8> {
    [hash.0.as_slice(), path.0.as_slice()].concat()
}

pub(super) fn read_ledger(key: &[u8], value: &[u8]) -> Option<LedgerItem> {
    let mut fields = Fields::new(key);
    let hash = SourceHash(fields.array()?);
    Some(match fields.array() {
        None => LedgerItem::Source(read_source(hash, value)?),
        Some(path) => LedgerItem::Duplicate((hash, PathKey(path)), read_number(value)?),
    })
}

pub(super) fn read_number(value: &[u8]) -> Option<u64> {
    Fields::new(value).u64()
}

/// Keys of places: sources by their first id, then duplicates by their number.
pub(super) fn ledger_key(key: LedgerKey) -> [u8; 9] {
    let (kind, number) = match key {
        LedgerKey::Source(first) => (0, first),
        LedgerKey::Duplicate(number) => (1, number),
    };
    let mut bytes = [kind; 9];
    bytes[1..].copy_from_slice(&number.to_be_bytes());
    bytes
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

pub(super) fn write_sample(kept: &Kept) -> Vec<u8> {
    let mut out = write_location(kept.location);
    if let Some(source) = kept.exam {
        out.extend_from_slice(&source.0);
    }
    out
}

pub(super) fn read_sample(key: &[u8], value: &[u8]) -> Option<(SampleId, Kept)> {
    let id = u64::from_be_bytes(key.try_into().ok()?);
    let mut fields = Fields::new(value);
    let kept = Kept {
        location: read_location(&mut fields)?,
        exam: fields.array().map(SourceHash),
    };
    Some((SampleId(id), kept))
}

pub(super) fn write_source(meta: &SourceMeta) -> Vec<u8> {
    let mut out = meta.first.0.to_le_bytes().to_vec();
    out.extend_from_slice(&meta.samples.to_le_bytes());
    out.extend_from_slice(&meta.bytes.to_le_bytes());
    out.extend_from_slice(&meta.taken_at.0.to_le_bytes());
    out.push(u8::from(meta.exam));
    put_bytes(&mut out, &meta.path);
    out
}

/// The source without the totals, which only the log has.
pub(super) fn read_source(hash: SourceHash, value: &[u8]) -> Option<SourceMeta> {
    let mut fields = Fields::new(value);
    Some(SourceMeta {
        first: SampleId(fields.u64()?),
        samples: fields.u32()?,
        bytes: fields.u64()?,
        taken_at: Timestamp(fields.i64()?),
        exam: fields.u8()? != 0,
        path: fields.bytes()?.to_vec(),
        hash,
        totals: Totals::default(),
    })
}

pub(super) fn write_quarantined(entry: &QuarantineEntry, location: Location) -> Vec<u8> {
    let mut out = write_location(location);
    out.extend_from_slice(&Entry::Quarantine(entry.clone()).meta());
    out
}

pub(super) fn read_quarantined(value: &[u8]) -> Option<(QuarantineEntry, Location)> {
    let location = read_location(&mut Fields::new(value))?;
    let head = Head {
        kind: KIND_QUARANTINE,
        ends_batch: false,
        meta_len: 0,
        payload_len: 0,
        payload_crc: 0,
        seq: 0,
        id: 0,
    };
    match Entry::parse(&head, value.get(12..)?)? {
        Entry::Quarantine(entry) => Some((entry, location)),
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
            score: None,
            judgement: None,
        },
    ))
}

pub(super) fn write_score(score: &Score) -> Vec<u8> {
    let mut out = score.step.to_le_bytes().to_vec();
    out.extend_from_slice(&score.error.to_le_bytes());
    out.extend_from_slice(&score.embedding.0.map(|number| number as u8));
    out
}

pub(super) fn read_score(key: &[u8], value: &[u8]) -> Option<(SampleId, Score)> {
    let id = u64::from_be_bytes(key.try_into().ok()?);
    let mut fields = Fields::new(value);
    let score = Score {
        step: fields.u64()?,
        error: fields.f32()?,
        embedding: Embedding(fields.array()?.map(|byte: u8| byte as i8)),
    };
    Some((SampleId(id), score))
}

pub(super) fn write_look(look: Look) -> Vec<u8> {
    look.get().unwrap_or_default().to_le_bytes().to_vec()
}

pub(super) fn read_look(key: &[u8], value: &[u8]) -> Option<(SampleId, Look)> {
    let id = u64::from_be_bytes(key.try_into().ok()?);
    Some((SampleId(id), Look::of(read_number(value)?)))
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
        let Listed { keys, places } = self.listed;
        for number in [self.offset, self.samples, self.quarantined, keys, places] {
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
            listed: Listed {
                keys: fields.u64()?,
                places: fields.u64()?,
            },
            state: State::read(&mut fields)?,
        })
    }
}
