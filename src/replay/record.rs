//! Records: what the log is made of, and how each is written.
//! Invariant: a record is believed only when the checksums of its head and of its payload hold.
//!
//! A record is a head of [`HEAD_LEN`] bytes, a meta part that says what it means, and a payload (a sample's content,
//! else empty). Numbers are little-endian. The head's checksum covers the meta part too and starts from the store's own
//! random number, so that bytes inside a hostile payload can not pass for a record.

use crate::clock::Timestamp;
use crate::ids::{SampleId, SourceHash};

use super::cause::Cause;
use super::fields::{Fields, put_bytes};
use super::types::QuarantineEntry;

/// Bytes of a record's head.
pub(super) const HEAD_LEN: usize = 36;

/// Bytes of a sample's meta part.
pub(super) const SAMPLE_META_LEN: usize = 41;

/// The first bytes of a record.
pub(super) const MAGIC: [u8; 4] = *b"cuR1";

/// The record is the last of its batch: with it the batch is whole.
const ENDS_BATCH: u8 = 1;

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: u8,
    pub(super) ends_batch: bool,
    pub(super) meta_len: u16,
    pub(super) payload_len: u32,
    pub(super) payload_crc: u32,
    /// The number of its batch.
    pub(super) seq: u64,
    pub(super) id: u64,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Entry {
    /// A sample; its content is the payload.
    Sample(SampleMeta),
    /// A source is taken: its samples, which come before this in the same batch, count.
    Source(SourceMeta),
    /// A source was found under one more path, for the `number`th time that this happened in the store.
    Duplicate {
        number: u64,
        source: SourceHash,
        path: Vec<u8>,
    },
    /// A sample is gone. Its record is in `segment`; when that is gone, this may go too.
    Tombstone(Tombstone),
    /// A file could not be taken.
    Quarantine(QuarantineEntry),
    /// A file is no longer in quarantine. Older records of it are in `segment` or older ones; when those are gone,
    /// this may go too.
    QuarantineDrop { path: String, segment: u32 },
    /// Numbers that no other record tells.
    State(State),
}

/// A sample, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SampleMeta {
    pub(super) id: SampleId,
    pub(super) source: SourceHash,
    pub(super) taken_at: Timestamp,
    pub(super) exam: bool,
}

/// A source that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SourceMeta {
    /// The id of its first sample; the others follow. A source without samples uses up an id, too.
    pub(super) first: SampleId,
    pub(super) samples: u32,
    pub(super) hash: SourceHash,
    pub(super) path: Vec<u8>,
    pub(super) bytes: u64,
    pub(super) taken_at: Timestamp,
    /// Whether its first samples are held out for the exam; of the others each record says it.
    pub(super) exam: bool,
    pub(super) totals: Totals,
}

/// The store's lifetime counts with a source, which the source carries wherever its record goes: the largest of all
/// records is the truth, in whatever order and however often they are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Sources taken.
    pub(super) sources: u64,
    /// Samples inserted.
    pub(super) inserted: u64,
    /// Those of them that are not held out for the exam.
    pub(super) inserted_training: u64,
}

impl Totals {
    /// The counts with one more source, of whose samples so many are held out for the exam.
    pub(super) fn with(self, samples: usize, held_out: usize) -> Self {
        Self {
            sources: self.sources + 1,
            inserted: self.inserted + samples as u64,
            inserted_training: self.inserted_training + samples.saturating_sub(held_out) as u64,
        }
    }

    /// The larger counts.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            sources: self.sources.max(other.sources),
            inserted: self.inserted.max(other.inserted),
            inserted_training: self.inserted_training.max(other.inserted_training),
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        for number in [self.sources, self.inserted, self.inserted_training] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            sources: fields.u64()?,
            inserted: fields.u64()?,
            inserted_training: fields.u64()?,
        })
    }
}

impl SourceMeta {
    /// The ids of its samples, those that are gone included.
    pub(super) fn ids(&self) -> impl Iterator<Item = SampleId> + use<> {
        (self.first.0..self.first.0.saturating_add(u64::from(self.samples))).map(SampleId)
    }

    /// The first id that is not its own.
    pub(super) fn end(&self) -> u64 {
        self.first.0.saturating_add(u64::from(self.samples).max(1))
    }
}

/// A sample that is gone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tombstone {
    pub(super) id: SampleId,
    pub(super) segment: u32,
    pub(super) cause: Cause,
}

/// Numbers that no other record tells, or that are slow to tell from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The next sample's id.
    pub(super) next_id: u64,
    /// The next batch's number.
    pub(super) next_seq: u64,
    /// Sources and samples, for life.
    pub(super) totals: Totals,
    /// Paths that held a source taken under another path, for life.
    pub(super) duplicates: u64,
    /// Samples drawn, for life.
    pub(super) drawn: u64,
    /// Files in quarantine that are no longer listed, for there were too many.
    pub(super) quarantine_unlisted: u64,
    /// The remover keeps only samples whose key is below this.
    pub(super) threshold: u64,
    /// The segment that compaction is at, or was at last.
    pub(super) cleaning: u32,
}

impl Default for State {
    fn default() -> Self {
        Self {
            next_id: 1,
            next_seq: 1,
            totals: Totals::default(),
            duplicates: 0,
            drawn: 0,
            quarantine_unlisted: 0,
            threshold: u64::MAX,
            cleaning: 0,
        }
    }
}

const KIND_SAMPLE: u8 = 1;
const KIND_SOURCE: u8 = 2;
const KIND_DUPLICATE: u8 = 3;
const KIND_TOMBSTONE: u8 = 4;
pub(super) const KIND_QUARANTINE: u8 = 5;
const KIND_QUARANTINE_DROP: u8 = 6;
const KIND_STATE: u8 = 7;
/// The footer of a sealed segment: no part of any batch.
pub(super) const KIND_FOOTER: u8 = 8;

impl Head {
    /// Bytes of the whole record.
    pub(super) fn record_len(&self) -> u64 {
        HEAD_LEN as u64 + u64::from(self.meta_len) + u64::from(self.payload_len)
    }

    /// The head's bytes, before the checksum of head and meta part is known.
    fn to_bytes(self) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[16..18].copy_from_slice(&self.meta_len.to_le_bytes());
        bytes[18] = self.kind;
        bytes[19] = if self.ends_batch { ENDS_BATCH } else { 0 };
        bytes[20..28].copy_from_slice(&self.id.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.seq.to_le_bytes());
        bytes
    }

    /// The head at the start of `bytes`, if head and meta part are there and their checksum holds.
    pub(super) fn parse(bytes: &[u8], salt: u32) -> Option<Self> {
        let head = bytes.get(..HEAD_LEN)?;
        if head[0..4] != MAGIC {
            return None;
        }
        let mut fields = Fields::new(&head[4..]);
        let head_crc = fields.u32()?;
        let payload_crc = fields.u32()?;
        let payload_len = fields.u32()?;
        let meta_len = fields.u16()?;
        let kind = fields.u8()?;
        let flags = fields.u8()?;
        let id = fields.u64()?;
        let seq = fields.u64()?;
        let covered = bytes.get(8..HEAD_LEN + usize::from(meta_len))?;
        (crc32c::crc32c_append(salt, covered) == head_crc).then_some(Self {
            kind,
            ends_batch: flags & ENDS_BATCH != 0,
            meta_len,
            payload_len,
            payload_crc,
            seq,
            id,
        })
    }
}

/// Writes a record at the end of `out`.
pub(super) fn write(out: &mut Vec<u8>, mut head: Head, meta: &[u8], payload: &[u8], salt: u32) {
    head.payload_crc = crc32c::crc32c(payload);
    let start = out.len();
    out.extend_from_slice(&head.to_bytes());
    out.extend_from_slice(meta);
    seal(&mut out[start..], salt);
    out.extend_from_slice(payload);
}

/// Marks the record at the start of `bytes` as the last of its batch.
pub(super) fn end_batch(bytes: &mut [u8], salt: u32) {
    let meta_len = usize::from(u16::from_le_bytes([bytes[16], bytes[17]]));
    bytes[19] |= ENDS_BATCH;
    seal(&mut bytes[..HEAD_LEN + meta_len], salt);
}

/// Writes the checksum of a head and its meta part.
fn seal(head_and_meta: &mut [u8], salt: u32) {
    let crc = crc32c::crc32c_append(salt, &head_and_meta[8..]);
    head_and_meta[4..8].copy_from_slice(&crc.to_le_bytes());
}

impl Entry {
    /// The number of its kind.
    pub(super) fn kind(&self) -> u8 {
        match self {
            Self::Sample(_) => KIND_SAMPLE,
            Self::Source(_) => KIND_SOURCE,
            Self::Duplicate { .. } => KIND_DUPLICATE,
            Self::Tombstone(_) => KIND_TOMBSTONE,
            Self::Quarantine(_) => KIND_QUARANTINE,
            Self::QuarantineDrop { .. } => KIND_QUARANTINE_DROP,
            Self::State(_) => KIND_STATE,
        }
    }

    /// Whether it takes back what an older record says, so that it must stay as long as that one.
    pub(super) fn says_what_is_gone(&self) -> bool {
        matches!(self, Self::Tombstone(_) | Self::QuarantineDrop { .. })
    }

    /// The entry as compaction writes it. What a tombstone did to the remover's threshold is in the state since.
    pub(super) fn carried(self) -> Self {
        match self {
            Self::Tombstone(tombstone) if tombstone.cause == Cause::Evicted => Self::Tombstone(Tombstone {
                cause: Cause::Random,
                ..tombstone
            }),
            other => other,
        }
    }

    /// The id in its head.
    pub(super) fn id(&self) -> u64 {
        match self {
            Self::Sample(sample) => sample.id.0,
            Self::Source(source) => source.first.0,
            Self::Tombstone(tombstone) => tombstone.id.0,
            Self::Duplicate { number, .. } => *number,
            Self::Quarantine(_) | Self::QuarantineDrop { .. } | Self::State(_) => 0,
        }
    }

    /// Its meta part.
    pub(super) fn meta(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        match self {
            Self::Sample(sample) => {
                out.extend_from_slice(&sample.source.0);
                out.extend_from_slice(&sample.taken_at.0.to_le_bytes());
                out.push(u8::from(sample.exam));
            }
            Self::Source(source) => {
                out.extend_from_slice(&source.hash.0);
                out.extend_from_slice(&source.samples.to_le_bytes());
                out.extend_from_slice(&source.bytes.to_le_bytes());
                out.extend_from_slice(&source.taken_at.0.to_le_bytes());
                out.push(u8::from(source.exam));
                source.totals.write(&mut out);
                put_bytes(&mut out, &source.path);
            }
            Self::Duplicate { source, path, .. } => {
                out.extend_from_slice(&source.0);
                put_bytes(&mut out, path);
            }
            Self::Tombstone(tombstone) => {
                out.extend_from_slice(&tombstone.segment.to_le_bytes());
                tombstone.cause.write(&mut out);
            }
            Self::Quarantine(entry) => {
                out.push(u8::from(entry.source.is_some()));
                out.extend_from_slice(&entry.source.map_or([0; 32], |source| source.0));
                out.extend_from_slice(&entry.bytes.to_le_bytes());
                out.extend_from_slice(&entry.at.0.to_le_bytes());
                put_bytes(&mut out, entry.path.as_bytes());
                put_bytes(&mut out, entry.reason.as_bytes());
                put_bytes(&mut out, entry.detail.as_bytes());
            }
            Self::QuarantineDrop { path, segment } => {
                out.extend_from_slice(&segment.to_le_bytes());
                put_bytes(&mut out, path.as_bytes());
            }
            Self::State(state) => state.write(&mut out),
        }
        out
    }

    /// What a record with this head and meta part says; `None` if this version knows no such record.
    pub(super) fn parse(head: &Head, meta: &[u8]) -> Option<Self> {
        let id = SampleId(head.id);
        let mut fields = Fields::new(meta);
        let fields = &mut fields;
        Some(match head.kind {
            KIND_SAMPLE => Self::Sample(SampleMeta {
                id,
                source: SourceHash(fields.array()?),
                taken_at: Timestamp(fields.i64()?),
                exam: fields.u8()? != 0,
            }),
            KIND_SOURCE => {
                let hash = SourceHash(fields.array()?);
                Self::Source(SourceMeta {
                    first: id,
                    hash,
                    samples: fields.u32()?,
                    bytes: fields.u64()?,
                    taken_at: Timestamp(fields.i64()?),
                    exam: fields.u8()? != 0,
                    totals: Totals::read(fields)?,
                    path: fields.bytes()?.to_vec(),
                })
            }
            KIND_DUPLICATE => Self::Duplicate {
                number: head.id,
                source: SourceHash(fields.array()?),
                path: fields.bytes()?.to_vec(),
            },
            KIND_TOMBSTONE => Self::Tombstone(Tombstone {
                id,
                segment: fields.u32()?,
                cause: Cause::read(fields)?,
            }),
            KIND_QUARANTINE => {
                let known = fields.u8()? != 0;
                let hash = SourceHash(fields.array()?);
                Self::Quarantine(QuarantineEntry {
                    source: known.then_some(hash),
                    bytes: fields.u64()?,
                    at: Timestamp(fields.i64()?),
                    path: fields.text()?,
                    reason: fields.text()?,
                    detail: fields.text()?,
                })
            }
            KIND_QUARANTINE_DROP => Self::QuarantineDrop {
                segment: fields.u32()?,
                path: fields.text()?,
            },
            KIND_STATE => Self::State(State::read(fields)?),
            _ => return None,
        })
    }
}

impl State {
    /// Writes the numbers at the end of `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.totals.write(out);
        for number in [
            self.next_id,
            self.next_seq,
            self.duplicates,
            self.drawn,
            self.quarantine_unlisted,
            self.threshold,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.cleaning.to_le_bytes());
    }

    /// The numbers that [`State::write`] wrote.
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            totals: Totals::read(fields)?,
            next_id: fields.u64()?,
            next_seq: fields.u64()?,
            duplicates: fields.u64()?,
            drawn: fields.u64()?,
            quarantine_unlisted: fields.u64()?,
            threshold: fields.u64()?,
            cleaning: fields.u32()?,
        })
    }
}
