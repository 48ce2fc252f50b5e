//! The log of labels: one file, appended to, and written anew where most of it counts no more.
//! Invariant: when [`Log::append`] returns, its entries are durable, all of them; when it fails, none of them is in the log.
//!
//! The file begins with [`HEADER`]. Records follow: `LREC`, u32 length, u32 crc32c of the length and the payload, the payload:
//! entries, each u8 kind, u8 length and name of the set; of a label (1) and of one that was taken back (2) the hash of the
//! source, u32 which of its samples (u32::MAX: all); of a label u16 length and name of the class. A head that was asked for (3)
//! is its set alone, and so is one for which a copy of the network is trained too (4), of which a file of version 1 has none. Numbers
//! are little-endian. A record that is damaged is passed over up to the next whole one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::HeadKind;
use super::names::{ClassName, LabelKey, SetName};
use crate::disk;
use crate::durable::{self, DurableError, failed};
use crate::ids::SourceHash;

/// What the file begins with: its name and version.
const HEADER: &[u8; 8] = b"CURLAB\0\x02";

/// What a file begins with that knows of no copies. It is read, and appended to as long as none is asked for.
const HEADER_1: &[u8; 8] = b"CURLAB\0\x01";

const RECORD: &[u8; 4] = b"LREC";
const HEAD_LEN: usize = 12;

/// Bytes of a record's payload. What says more is damaged: one request brings less.
const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// Entries of a record of a log that is written anew.
const ENTRIES_A_RECORD: usize = 4_096;

/// All the samples of a source.
const ALL_PARTS: u32 = u32::MAX;

/// What a log says, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// From here on this is of this class.
    Label(SetName, LabelKey, ClassName),
    /// From here on it has no label.
    Unlabel(SetName, LabelKey),
    /// A classifier of this set was asked for.
    Head(SetName, HeadKind),
}

/// The file, where it is written.
pub(super) struct Log {
    path: PathBuf,
    /// Whether there is no file yet.
    is_new: bool,
    /// Whether it is of version 1.
    is_old: bool,
    /// None where it must be opened again first: before the first entry, and after a rewrite of which it is not known how far it came.
    file: Option<File>,
    end: u64,
    /// Whether what a failed write left behind could not be cut off. Nothing is written before that is done.
    has_rest: bool,
}

/// What was read.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) entries: Vec<Entry>,
    /// Bytes that are no record, with whole records behind them.
    pub(super) damaged_bytes: usize,
    /// Bytes behind the last whole record: a batch that was being written when the process died.
    pub(super) torn_bytes: usize,
}

impl Log {
    /// Opens the log, and reads it. What a torn write left behind is cut off before the next one. An error where the file was
    /// written by another version.
    pub(super) fn open(path: &Path) -> Result<(Self, Reading), DurableError> {
        let mut log = Self {
            path: path.to_owned(),
            is_new: true,
            is_old: false,
            file: None,
            end: 0,
            has_rest: false,
        };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((log, Reading::default())),
            Err(error) => return Err(failed("read", path)(error)),
        };
        log.is_old = bytes.starts_with(HEADER_1);
        if !log.is_old && !bytes.starts_with(HEADER) {
            let why = "it is not a log of labels of this version";
            return Err(failed("use", path)(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        let reading = read(&bytes);
        if reading.damaged_bytes > 0 {
            // For whoever can make something of it. The labels that could be read are written anew by the caller.
            durable::write_file(&path.with_extension("damaged"), &bytes)?;
        }
        log.is_new = false;
        log.reopen(&bytes, &reading)?;
        Ok((log, reading))
    }

    /// Bytes of the file that count.
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    /// Whether it must be written anew before this entry can be in it.
    pub(super) fn is_too_old_for(&self, entry: &Entry) -> bool {
        self.is_old && matches!(entry, Entry::Head(_, HeadKind::Finetuned))
    }

    /// Makes entries durable.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<(), DurableError> {
        if self.is_new {
            return self.rewrite(entries.iter().cloned());
        }
        if self.file.is_none() {
            let bytes = fs::read(&self.path).map_err(failed("read", &self.path))?;
            self.reopen(&bytes, &read(&bytes))?;
        }
        if self.has_rest {
            self.cut()?;
        }
        let record = record(entries);
        let Some(file) = &self.file else { return Ok(()) };
        let written = disk::write_at("labels.write", file, &self.path, &record, self.end)
            .and_then(|()| disk::sync("labels.sync", file, &self.path));
        if let Err(error) = written {
            self.has_rest = true;
            // The next append tries again.
            let _ = self.cut();
            return Err(failed("write", &self.path)(error));
        }
        self.end += record.len() as u64;
        Ok(())
    }

    /// Writes the log anew with these entries alone: whoever reads it finds the old one or the new one.
    pub(super) fn rewrite(&mut self, entries: impl Iterator<Item = Entry>) -> Result<(), DurableError> {
        self.file = None;
        let mut writer = durable::FileWriter::create(&self.path)?;
        let mut write = |bytes: &[u8]| writer.write_all(bytes).map_err(failed("write", &self.path));
        write(HEADER)?;
        let mut end = HEADER.len() as u64;
        let mut entries = entries.peekable();
        while entries.peek().is_some() {
            let some: Vec<Entry> = entries.by_ref().take(ENTRIES_A_RECORD).collect();
            let record = record(&some);
            write(&record)?;
            end += record.len() as u64;
        }
        writer.finish()?;
        (self.is_new, self.is_old, self.end, self.has_rest) = (false, false, end, false);
        self.open_file()
    }

    fn reopen(&mut self, bytes: &[u8], reading: &Reading) -> Result<(), DurableError> {
        self.end = (bytes.len() - reading.torn_bytes) as u64;
        self.has_rest = reading.torn_bytes > 0;
        self.open_file()
    }

    fn open_file(&mut self) -> Result<(), DurableError> {
        let opened = OpenOptions::new().read(true).write(true).open(&self.path);
        self.file = Some(opened.map_err(failed("open", &self.path))?);
        Ok(())
    }

    fn cut(&mut self) -> Result<(), DurableError> {
        if let Some(file) = &self.file {
            disk::cut("labels.cut", file, &self.path, self.end).map_err(failed("cut", &self.path))?;
        }
        self.has_rest = false;
        Ok(())
    }
}

/// About how many bytes an entry takes in the log.
pub(super) fn entry_bytes(entry: &Entry) -> u64 {
    let (set, rest) = match entry {
        Entry::Label(set, _, class) => (set, 38 + class.as_str().len()),
        Entry::Unlabel(set, _) => (set, 36),
        Entry::Head(set, _) => (set, 0),
    };
    (2 + set.as_str().len() + rest) as u64
}

fn record(entries: &[Entry]) -> Vec<u8> {
    let mut payload = Vec::new();
    for entry in entries {
        let (kind, set) = match entry {
            Entry::Label(set, ..) => (1, set),
            Entry::Unlabel(set, _) => (2, set),
            Entry::Head(set, HeadKind::Frozen) => (3, set),
            Entry::Head(set, HeadKind::Finetuned) => (4, set),
        };
        payload.extend([kind, set.as_str().len() as u8]);
        payload.extend(set.as_str().as_bytes());
        if let Entry::Label(_, key, _) | Entry::Unlabel(_, key) = entry {
            payload.extend(key.source.0);
            payload.extend(key.part.unwrap_or(ALL_PARTS).to_le_bytes());
        }
        if let Entry::Label(_, _, class) = entry {
            payload.extend((class.as_str().len() as u16).to_le_bytes());
            payload.extend(class.as_str().as_bytes());
        }
    }
    let len = (payload.len() as u32).to_le_bytes();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&len), &payload);
    [RECORD.as_slice(), &len, &crc.to_le_bytes(), &payload].concat()
}

/// Reads the records behind the header; any bytes will do.
pub(super) fn read(bytes: &[u8]) -> Reading {
    let mut reading = Reading::default();
    let (mut at, mut last_whole) = (HEADER.len().min(bytes.len()), HEADER.len().min(bytes.len()));
    while at < bytes.len() {
        match whole_record(&bytes[at..]) {
            Some((entries, len)) => {
                reading.damaged_bytes += at - last_whole;
                reading.entries.extend(entries);
                at += len;
                last_whole = at;
            }
            None => {
                let next = bytes[at + 1..].windows(RECORD.len()).position(|four| four == RECORD);
                at = next.map_or(bytes.len(), |next| at + 1 + next);
            }
        }
    }
    reading.torn_bytes = bytes.len() - last_whole;
    reading
}

/// The entries of the record that begins here, and its bytes; None where none does that is whole.
fn whole_record(bytes: &[u8]) -> Option<(Vec<Entry>, usize)> {
    let mut fields = Fields(bytes);
    if fields.take(RECORD.len())? != RECORD {
        return None;
    }
    let len_bytes: [u8; 4] = fields.array()?;
    let crc = u32::from_le_bytes(fields.array()?);
    let len = u32::from_le_bytes(len_bytes) as usize;
    if len > PAYLOAD_BYTES_MAX {
        return None;
    }
    let payload = fields.take(len)?;
    if crc32c::crc32c_append(crc32c::crc32c(&len_bytes), payload) != crc {
        return None;
    }
    let mut fields = Fields(payload);
    let mut entries = Vec::new();
    while !fields.0.is_empty() {
        entries.push(fields.entry()?);
    }
    Some((entries, HEAD_LEN + len))
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn text(&mut self, len: usize) -> Option<&'a str> {
        std::str::from_utf8(self.take(len)?).ok()
    }

    fn entry(&mut self) -> Option<Entry> {
        let [kind, set_len] = self.array()?;
        let set: SetName = self.text(usize::from(set_len))?.parse().ok()?;
        match kind {
            3 => return Some(Entry::Head(set, HeadKind::Frozen)),
            4 => return Some(Entry::Head(set, HeadKind::Finetuned)),
            _ => {}
        }
        let source = SourceHash(self.array()?);
        let part = u32::from_le_bytes(self.array()?);
        let key = LabelKey {
            source,
            part: (part != ALL_PARTS).then_some(part),
        };
        match kind {
            1 => {
                let len = u16::from_le_bytes(self.array()?);
                Some(Entry::Label(set, key, self.text(usize::from(len))?.parse().ok()?))
            }
            2 => Some(Entry::Unlabel(set, key)),
            _ => None,
        }
    }
}
