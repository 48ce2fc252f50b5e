//! Segments: one append-only file of records, `seg-%08u.dat`.
//! Invariant: only whole batches count. A batch is whole when its last record is there and every checksum holds; a
//! damaged batch that a later one follows had been whole (each is durable before the next is written), so that its
//! other records count.
//!
//! A segment is a header (twice, so that one flipped bit can not take the file), records, and, once it is sealed, a
//! footer: all heads and meta parts again, so that the catalogue can be rebuilt without reading a payload.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::disk;

use super::fields::Fields;
use super::record::{self, Entry, HEAD_LEN, Head, KIND_FOOTER, MAGIC};
use super::types::ReplayError;

/// Bytes before the first record.
pub(super) const HEADER_LEN: u64 = 128;

/// The version of everything in a segment.
const FORMAT_VERSION: u32 = 1;

const HEADER_MAGIC: [u8; 8] = *b"CURIOSEG";
const HEADER_COPY_LEN: usize = 64;
const TRAILER_MAGIC: [u8; 4] = *b"cuRf";
const TRAILER_LEN: u64 = 16;

/// Who a store is: drawn once, written in the header of each of its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// A random number. Its low half salts the checksums.
    pub(super) uid: u64,
    /// What the remover's choices are drawn from.
    pub(super) seed: u64,
}

impl Identity {
    /// Where the checksums of heads start from.
    pub(super) fn salt(self) -> u32 {
        self.uid as u32
    }
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    pub(super) segment: u32,
    pub(super) offset: u32,
    /// Bytes of the whole record.
    pub(super) len: u32,
}

/// A record and where it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Located {
    pub(super) entry: Entry,
    pub(super) location: Location,
    pub(super) seq: u64,
}

/// A record that can not be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadRecord {
    pub(super) offset: u64,
    pub(super) len: u64,
    /// Its id, where the head can be believed.
    pub(super) id: Option<u64>,
    pub(super) why: &'static str,
}

/// What was found in a segment.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The records that count, in order.
    pub(super) records: Vec<Located>,
    pub(super) bad: Vec<BadRecord>,
    /// Where the last batch that counts ends.
    pub(super) end: u64,
}

/// The name of a segment's file.
pub(super) fn file_name(number: u32) -> String {
    format!("seg-{number:08}.dat")
}

/// The segments in a folder.
pub(super) fn list(dir: &Path) -> Result<BTreeMap<u32, PathBuf>, ReplayError> {
    let mut found = BTreeMap::new();
    for item in std::fs::read_dir(dir).map_err(ReplayError::io("list", dir))? {
        let item = item.map_err(ReplayError::io("list", dir))?;
        let name = item.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("seg-")?.strip_suffix(".dat")?.parse().ok());
        if let Some(number) = number {
            found.insert(number, item.path());
        }
    }
    Ok(found)
}

/// Makes a folder's entries durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), ReplayError> {
    disk::sync_dir("replay.sync_dir", dir).map_err(ReplayError::io("make durable", dir))
}

/// Creates a segment; it is durable when this returns.
pub(super) fn create(dir: &Path, number: u32, identity: Identity) -> Result<File, ReplayError> {
    let path = dir.join(file_name(number));
    let file = disk::create_new("replay.segment.create", &path).map_err(ReplayError::io("create", &path))?;
    let written = write_header(&file, &path, number, identity).and_then(|()| sync_dir(dir));
    if let Err(error) = written {
        // An empty segment that stays behind is deleted at the next open, so that its removal may fail.
        let _ = std::fs::remove_file(&path);
        return Err(error);
    }
    Ok(file)
}

/// Writes a segment's header; it is durable when this returns.
pub(super) fn write_header(file: &File, path: &Path, number: u32, identity: Identity) -> Result<(), ReplayError> {
    let mut copy = Vec::with_capacity(HEADER_COPY_LEN);
    copy.extend_from_slice(&HEADER_MAGIC);
    copy.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    copy.extend_from_slice(&number.to_le_bytes());
    copy.extend_from_slice(&identity.uid.to_le_bytes());
    copy.extend_from_slice(&identity.seed.to_le_bytes());
    copy.extend_from_slice(&crc32c::crc32c(&copy).to_le_bytes());
    copy.resize(HEADER_COPY_LEN, 0);
    let header = [copy.clone(), copy].concat();
    disk::write_at("replay.segment.write", file, path, &header, 0)
        .and_then(|()| disk::sync("replay.segment.sync", file, path))
        .map_err(ReplayError::io("write", path))
}

/// What the two copies of a segment's header say.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    /// Whose segment it is: `None` if both copies are damaged.
    pub(super) identity: Option<Identity>,
    /// The number that it says it has.
    pub(super) number: Option<u32>,
    /// Whether both copies are good.
    pub(super) is_whole: bool,
}

/// Reads the header of a segment.
pub(super) fn read_header(file: &File, path: &Path) -> Result<Header, ReplayError> {
    let mut header = Header {
        identity: None,
        number: None,
        is_whole: true,
    };
    for copy in 0..2 {
        let mut bytes = [0; HEADER_COPY_LEN];
        let read = file.read_exact_at(&mut bytes, (copy * HEADER_COPY_LEN) as u64);
        let Some((version, number, identity)) = read.ok().and_then(|()| parse_header(&bytes)) else {
            header.is_whole = false;
            continue;
        };
        if version != FORMAT_VERSION {
            return Err(ReplayError::Format {
                path: path.to_owned(),
                detail: format!(
                    "its format is version {version}, this curiod knows version {FORMAT_VERSION}; use the curiod that wrote it"
                ),
            });
        }
        header.identity = header.identity.or(Some(identity));
        header.number = header.number.or(Some(number));
    }
    Ok(header)
}

fn parse_header(bytes: &[u8; HEADER_COPY_LEN]) -> Option<(u32, u32, Identity)> {
    let mut fields = Fields::new(bytes);
    let magic: [u8; 8] = fields.array()?;
    let version = fields.u32()?;
    let number = fields.u32()?;
    let uid = fields.u64()?;
    let seed = fields.u64()?;
    let crc = fields.u32()?;
    (magic == HEADER_MAGIC && crc32c::crc32c(&bytes[..32]) == crc).then_some((version, number, Identity { uid, seed }))
}

/// What a footer says about one record.
pub(super) fn footer_item(out: &mut Vec<u8>, offset: u32, head_and_meta: &[u8]) {
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(head_and_meta);
}

/// The footer and the trailer that says where it is.
pub(super) fn footer(items: &[u8], offset: u32, salt: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(items.len() + HEAD_LEN + TRAILER_LEN as usize);
    let head = Head {
        kind: KIND_FOOTER,
        ends_batch: false,
        meta_len: 0,
        payload_len: items.len() as u32,
        payload_crc: 0,
        seq: 0,
        id: 0,
    };
    record::write(&mut out, head, &[], items, salt);
    let mut trailer = [offset.to_le_bytes(), (out.len() as u32).to_le_bytes()].concat();
    trailer.extend_from_slice(&TRAILER_MAGIC);
    let crc = crc32c::crc32c_append(salt, &trailer);
    trailer.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&trailer);
    out
}

/// The records of a sealed segment, from its footer, and where they end. `None`: not sealed, or the footer is damaged.
pub(super) fn read_footer(file: &File, len: u64, segment: u32, salt: u32) -> Option<(Vec<Located>, u64)> {
    let mut trailer = [0; TRAILER_LEN as usize];
    file.read_exact_at(&mut trailer, len.checked_sub(TRAILER_LEN)?).ok()?;
    let mut fields = Fields::new(&trailer);
    let (offset, footer_len) = (fields.u32()?, fields.u32()?);
    let (magic, crc) = (fields.array::<4>()?, fields.u32()?);
    let right = magic == TRAILER_MAGIC
        && crc32c::crc32c_append(salt, &trailer[..12]) == crc
        && u64::from(offset) + u64::from(footer_len) + TRAILER_LEN == len;
    if !right {
        return None;
    }
    let mut bytes = vec![0; footer_len as usize];
    file.read_exact_at(&mut bytes, u64::from(offset)).ok()?;
    let head = Head::parse(&bytes, salt)?;
    let mut items = bytes.get(HEAD_LEN..)?;
    if head.kind != KIND_FOOTER || crc32c::crc32c(items) != head.payload_crc {
        return None;
    }
    let mut records = Vec::new();
    while !items.is_empty() {
        let (offset, rest) = items.split_first_chunk()?;
        let head = Head::parse(rest, salt)?;
        let (head_and_meta, rest) = rest.split_at_checked(HEAD_LEN + usize::from(head.meta_len))?;
        records.push(located(
            &head,
            &head_and_meta[HEAD_LEN..],
            segment,
            u32::from_le_bytes(*offset),
        )?);
        items = rest;
    }
    Some((records, u64::from(offset)))
}

fn located(head: &Head, meta: &[u8], segment: u32, offset: u32) -> Option<Located> {
    Some(Located {
        entry: Entry::parse(head, meta)?,
        location: Location {
            segment,
            offset,
            len: u32::try_from(head.record_len()).ok()?,
        },
        seq: head.seq,
    })
}

/// A batch as it was found.
#[derive(Default)]
struct FoundBatch {
    seq: Option<u64>,
    records: Vec<Located>,
    bad: Vec<BadRecord>,
    ended: bool,
    start: usize,
    end: usize,
}

/// Reads every record of a segment's bytes from `from` on, payloads included. Batches that start before `believed_to`
/// are known to have been durable; what follows the last whole batch after it is torn and does not count.
pub(super) fn scan(bytes: &[u8], from: u64, segment: u32, salt: u32, believed_to: u64) -> Scan {
    let batches = find_batches(bytes, from as usize, segment, salt);
    let counted = batches
        .iter()
        .rposition(|batch| (batch.ended && batch.bad.is_empty()) || (batch.start as u64) < believed_to)
        .map_or(0, |last| last + 1);
    let mut scan = Scan {
        end: from,
        ..Scan::default()
    };
    for batch in batches.into_iter().take(counted) {
        scan.end = batch.end as u64;
        scan.records.extend(batch.records);
        scan.bad.extend(batch.bad);
    }
    scan
}

fn find_batches(bytes: &[u8], from: usize, segment: u32, salt: u32) -> Vec<FoundBatch> {
    let mut batches = Vec::new();
    let mut open: Option<FoundBatch> = None;
    let mut at = from;
    while at < bytes.len() {
        let head = Head::parse(&bytes[at..], salt);
        if head.is_some_and(|head| head.kind == KIND_FOOTER) {
            break;
        }
        if let Some(head) = &head
            && open
                .as_ref()
                .is_some_and(|batch| batch.seq.is_some_and(|seq| seq != head.seq))
        {
            batches.extend(open.take());
        }
        let batch = open.get_or_insert_with(|| FoundBatch {
            start: at,
            ..FoundBatch::default()
        });
        let start = at;
        let mut bad = |end: usize, id, why| {
            batch.bad.push(BadRecord {
                offset: start as u64,
                len: (end - start) as u64,
                id,
                why,
            });
            end
        };
        let Some(head) = head else {
            at = bad(next_record(bytes, at + 1, salt), None, "its head is damaged");
            batch.end = at;
            continue;
        };
        let end = at as u64 + head.record_len();
        let meta_end = at + HEAD_LEN + usize::from(head.meta_len);
        at = if end > bytes.len() as u64 {
            bad(next_record(bytes, at + 1, salt), Some(head.id), "it is cut short")
        } else if crc32c::crc32c(&bytes[meta_end..end as usize]) != head.payload_crc {
            bad(end as usize, Some(head.id), "its checksum fails")
        } else {
            match located(&head, &bytes[start + HEAD_LEN..meta_end], segment, start as u32) {
                Some(located) => {
                    batch.records.push(located);
                    end as usize
                }
                None => bad(end as usize, Some(head.id), "its kind is unknown"),
            }
        };
        batch.seq = Some(head.seq);
        batch.end = at;
        if head.ends_batch && end <= bytes.len() as u64 {
            batch.ended = true;
            batches.extend(open.take());
        }
    }
    batches.extend(open);
    batches
}

/// Where the next record that can be believed starts, else the end.
fn next_record(bytes: &[u8], from: usize, salt: u32) -> usize {
    (from..bytes.len())
        .find(|&at| bytes[at] == MAGIC[0] && Head::parse(&bytes[at..], salt).is_some())
        .unwrap_or(bytes.len())
}
