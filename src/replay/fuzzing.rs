//! What the log and the catalogue promise about any bytes; compiled for fuzzers and tests alone.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::entries::{self, LedgerItem, Mark};
use super::fields::Fields;
use super::record::{self, Entry, HEAD_LEN, Head, KIND_FOOTER, MAGIC};
use super::segment::{self, Located, Scan};
use crate::ids::SourceHash;

/// The segment and the salt that all of this is about.
const SEGMENT: u32 = 1;
const SALT: u32 = 0x5a17;

/// A segment: as it came, with every checksum made right, and one written from the bytes and then damaged.
pub fn segment(bytes: &[u8]) {
    scanned(bytes);
    scanned(&with_checksums(bytes));
    damaged(bytes);
    let Some(file) = file_of(bytes) else { return };
    let read = || segment::read_header(&file, Path::new("segment")).ok();
    assert_eq!(read(), read());
    let footer = segment::read_footer(&file, bytes.len() as u64, SEGMENT, SALT);
    assert!(footer.is_none_or(|(_, end)| end < bytes.len() as u64));
}

/// Reads records out of bytes, twice, and holds each against the bytes it was read from.
fn scanned(bytes: &[u8]) {
    for believed_to in [0, u64::MAX] {
        let scan = segment::scan(bytes, 0, SEGMENT, SALT, believed_to);
        let again = segment::scan(bytes, 0, SEGMENT, SALT, believed_to);
        assert!(
            scan.records == again.records && scan.bad == again.bad,
            "two readings differ"
        );
        let mut places: Vec<(u64, u64)> = scan.bad.iter().map(|bad| (bad.offset, bad.len)).collect();
        for found in &scan.records {
            places.push((found.location.offset.into(), found.location.len.into()));
            same_when_written_again(bytes, found);
        }
        places.sort_unstable();
        let mut end = 0;
        for (offset, len) in places {
            assert!(offset >= end && len > 0, "a byte belongs to two records");
            end = offset + len;
        }
        assert!(end <= scan.end && scan.end <= bytes.len() as u64);
        sealed(bytes, scan);
    }
}

/// A record says the same after it was written anew.
fn same_when_written_again(bytes: &[u8], found: &Located) {
    let record = &bytes[found.location.offset as usize..][..found.location.len as usize];
    let Some(head) = Head::parse(record, SALT) else {
        panic!("{found:?} was read from a head that can not be read");
    };
    assert_eq!((head.seq, head.record_len()), (found.seq, record.len() as u64));
    let meta = found.entry.meta();
    assert_eq!(Entry::parse(&head, &meta).as_ref(), Some(&found.entry));
    assert!(found.entry.kind() == head.kind && [0, head.id].contains(&found.entry.id()));
    if let Entry::Source(source) = &found.entry {
        assert!(source.ids().next().is_none_or(|first| first == source.first) && source.end() >= source.first.0);
    }
    // Who carries it to another segment writes it so.
    let mut written = Vec::new();
    let (meta_len, payload) = (meta.len() as u16, &record[HEAD_LEN + usize::from(head.meta_len)..]);
    record::write(&mut written, Head { meta_len, ..head }, &meta, payload, SALT);
    let rewritten = segment::scan(&written, 0, SEGMENT, SALT, u64::MAX);
    assert!(rewritten.bad.is_empty() && rewritten.records.len() == 1, "{found:?}");
    assert_eq!(rewritten.records[0].entry, found.entry);
}

/// A footer made of the records of a segment gives these records.
fn sealed(bytes: &[u8], scan: Scan) {
    let mut items = Vec::new();
    for Located { location, .. } in &scan.records {
        let record = &bytes[location.offset as usize..];
        let meta_len = usize::from(u16::from_le_bytes([record[16], record[17]]));
        segment::footer_item(&mut items, location.offset, &record[..HEAD_LEN + meta_len]);
    }
    let sealed = [
        &bytes[..scan.end as usize],
        &segment::footer(&items, scan.end as u32, SALT),
    ]
    .concat();
    let Some(file) = file_of(&sealed) else { return };
    let footer = segment::read_footer(&file, sealed.len() as u64, SEGMENT, SALT);
    assert_eq!(
        footer,
        Some((scan.records, scan.end)),
        "a footer says otherwise than its segment"
    );
}

/// The bytes with the checksums of all that looks like a record made right.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut fixed = bytes.to_vec();
    let mut at = 0;
    while let Some(record) = fixed.get_mut(at..).filter(|rest| rest.len() >= HEAD_LEN) {
        let meta_len = usize::from(u16::from_le_bytes([record[16], record[17]]));
        let payload_len = u32::from_le_bytes([record[12], record[13], record[14], record[15]]) as usize;
        let meta_end = HEAD_LEN + meta_len;
        if record[..4] != MAGIC || record.len() < meta_end {
            at += 1;
            continue;
        }
        let payload = record.get(meta_end..meta_end + payload_len).unwrap_or_default();
        let (crc, payload_len) = (crc32c::crc32c(payload), payload.len());
        record[8..12].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32c::crc32c_append(SALT, &record[8..meta_end]);
        record[4..8].copy_from_slice(&crc.to_le_bytes());
        at += meta_end + payload_len;
    }
    fixed
}

/// Writes the records that the bytes describe, then damages some bytes: the whole segment gives all records, the damaged
/// one none that was not written.
fn damaged(bytes: &[u8]) {
    let mut fields = Fields::new(bytes);
    let Some((mut segment, written, damages)) = write_described(&mut fields) else {
        return;
    };
    let whole = segment::scan(&segment, 0, SEGMENT, SALT, u64::MAX);
    assert!(
        whole.bad.is_empty() && whole.end == segment.len() as u64,
        "{:?}",
        whole.bad
    );
    assert_eq!(whole.records, written);
    if segment.is_empty() {
        return;
    }
    for (place, bits) in damages {
        let place = usize::from(place) % segment.len();
        segment[place] ^= bits;
    }
    for found in segment::scan(&segment, 0, SEGMENT, SALT, u64::MAX).records {
        assert!(written.contains(&found), "{found:?} was never written");
    }
}

/// A segment, the records in it, and up to three bytes to change: where and how.
type Described = (Vec<u8>, Vec<Located>, Vec<(u16, u8)>);

fn write_described(fields: &mut Fields<'_>) -> Option<Described> {
    let damages = (0..fields.u8()? % 4).map(|_| Some((fields.u16()?, fields.u8()?)));
    let damages = damages.collect::<Option<Vec<_>>>()?;
    let (mut segment, mut written, mut seq) = (Vec::new(), Vec::new(), 1);
    while let Some([kind, flags]) = fields.array() {
        let (Some(meta), Some(payload)) = (fields.bytes(), fields.bytes()) else {
            break;
        };
        let mut head = Head {
            kind: 1 + kind % (KIND_FOOTER - 1),
            ends_batch: flags & 1 != 0,
            meta_len: 0,
            payload_len: payload.len() as u32,
            payload_crc: 0,
            seq,
            id: u64::from(flags >> 1),
        };
        let Some(entry) = Entry::parse(&head, meta) else {
            continue;
        };
        let meta = entry.meta();
        (head.meta_len, head.id) = (meta.len() as u16, entry.id());
        let offset = segment.len() as u32;
        record::write(&mut segment, head, &meta, payload, SALT);
        let location = segment::Location {
            segment: SEGMENT,
            offset,
            len: segment.len() as u32 - offset,
        };
        written.push(Located { entry, location, seq });
        seq += u64::from(flags & 1);
    }
    Some((segment, written, damages))
}

/// A file in memory.
fn file_of(bytes: &[u8]) -> Option<File> {
    let file = File::from(rustix::fs::memfd_create("curiod-fuzzing", rustix::fs::MemfdFlags::CLOEXEC).ok()?);
    file.write_all_at(bytes, 0).ok()?;
    Some(file)
}

/// A key and a value of the catalogue: a value that can be read is written as one that says the same.
pub fn catalogue(bytes: &[u8]) {
    let mut fields = Fields::new(bytes);
    let Some(key) = fields.bytes() else { return };
    let value = &bytes[2 + key.len()..];
    let id = key.first_chunk::<8>().map_or([0; 8], |id| *id);
    let hash = SourceHash(key.first_chunk().map_or([0; 32], |hash| *hash));
    stable(value, |value| {
        Some(entries::write_sample(&entries::read_sample(&id, value)?.1))
    });
    stable(value, |value| {
        Some(entries::write_signals(entries::read_signals(&id, value)?.1))
    });
    stable(value, |value| {
        Some(entries::write_source(&entries::read_source(hash, value)?))
    });
    stable(value, |value| Some(Mark::read(value)?.write()));
    stable(value, |value| {
        let (entry, location) = entries::read_quarantined(value)?;
        Some(entries::write_quarantined(&entry, location))
    });
    stable(value, |value| {
        let (file, verdict) = entries::read_seen(value)?;
        Some(entries::write_seen(&file, verdict))
    });
    match entries::read_ledger(key, value) {
        Some(LedgerItem::Source(source)) => assert!(key.starts_with(&source.hash.0)),
        Some(LedgerItem::Duplicate(duplicate, _)) => assert!(key.starts_with(&entries::duplicate_key(&duplicate))),
        None => {}
    }
    assert!(entries::read_sample(key, value).is_none() || key.len() == 8);
}

/// What is written of a value that was read is read and written as the same.
fn stable(value: &[u8], again: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    if let Some(written) = again(value) {
        assert_eq!(again(&written), Some(written));
    }
}
