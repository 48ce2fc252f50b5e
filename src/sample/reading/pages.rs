//! The pages of a Parquet column -> its values.
//! Always true: what a page claims to expand to is taken from the file's allowance before it is expanded, and no more
//! values are held than rows, or entries of lists, that were asked for.

use ruzstd::decoding::StreamingDecoder;

use super::gzip::read_at_most;
use super::parquet::{broken, unsupported};
use super::thrift::{Malformed, Parsed, Reader};
use super::values::Decode;
use crate::sample::{Reason, Rejection};

/// Where a column's pages lie.
#[derive(Clone, Default)]
pub(super) struct Chunk {
    pub(super) codec: i64,
    /// Place of its first page in the file.
    pub(super) start: usize,
    pub(super) bytes: usize,
    /// Values, missing ones and empty lists among them.
    pub(super) entries: usize,
    /// Whether a value may be missing, and where it may.
    pub(super) depth: Depth,
}

/// The levels that say which values are there.
#[derive(Clone, Copy, Default)]
pub(super) struct Depth {
    /// The definition level of a value that is there.
    pub(super) value: u32,
    /// Of a list the definition level of an item, although it may be missing.
    pub(super) item: Option<u32>,
}

/// The entries of a column as they lie in its pages.
pub(super) struct Entries<T> {
    /// Each value or item: nothing where it is missing.
    pub(super) values: Vec<Option<T>>,
    /// Of a list where each row's items begin.
    pub(super) starts: Vec<usize>,
}

/// Bytes that a page counts as at least: one that holds nothing takes its time, too.
const PAGE_BYTES_MIN: u64 = 1 << 10;

/// Page types, by their numbers in the format.
const DATA: i64 = 0;
const INDEX: i64 = 1;
const DICTIONARY: i64 = 2;
const DATA_V2: i64 = 3;

/// Encodings of values, by their numbers in the format.
const PLAIN: i64 = 0;
const PLAIN_DICTIONARY: i64 = 2;
const RLE: i64 = 3;
const RLE_DICTIONARY: i64 = 8;

#[derive(Default)]
struct Header {
    of: i64,
    expanded: usize,
    stored: usize,
    values: usize,
    encoding: i64,
    /// Bytes of the levels before the values, which the second version does not compress.
    levels: usize,
    definition_levels: usize,
    is_compressed: bool,
}

/// Reads a column's entries, at most `entries_max`; `allowance` is what may still be expanded.
pub(super) fn read<D: Decode>(
    file: &[u8],
    chunk: &Chunk,
    into: &mut D,
    entries_max: usize,
    allowance: &mut u64,
) -> Result<Entries<D::Value>, Rejection> {
    let end = chunk.start.checked_add(chunk.bytes);
    let bytes = end
        .and_then(|end| file.get(chunk.start..end))
        .ok_or_else(|| broken("a column lies outside the file"))?;
    let mut reader = Reader::new(bytes);
    let wanted = chunk.entries.min(entries_max);
    let (mut values, mut starts) = (Vec::new(), Vec::new());
    let mut dictionary: Vec<D::Value> = Vec::new();
    let mut seen = 0;
    while seen < wanted {
        let header = header(&mut reader).map_err(|_| broken("a page header is malformed"))?;
        let (stored, rest) = reader
            .rest()
            .split_at_checked(header.stored)
            .ok_or_else(|| broken("a page is cut"))?;
        reader = Reader::new(rest);
        if header.of == INDEX {
            spend(allowance, 0)?;
            continue;
        }
        if ![DATA, DICTIONARY, DATA_V2].contains(&header.of) {
            return Err(unsupported(format!("a page of type {}", header.of)));
        }
        let page = expand(stored, &header, chunk.codec, allowance)?;
        if header.of == DICTIONARY {
            // A dictionary with more entries than the column has values was made to fill the memory.
            if header.values > chunk.entries {
                return Err(broken("a dictionary is larger than its column"));
            }
            dictionary = into.plain(&page, 0, header.values)?;
        } else {
            let entries = header.values.min(wanted - seen);
            seen += entries;
            let levels = levels(&page, &header, chunk.depth, entries)?;
            let is_there = |level: &&u32| **level == chunk.depth.value;
            let count = levels.definition.iter().filter(is_there).count();
            let read = match header.encoding {
                PLAIN => into.plain(&page, levels.end, count)?,
                PLAIN_DICTIONARY | RLE_DICTIONARY => by_number(&page, levels.end, count, &dictionary)?,
                RLE => into.runs(&page, levels.end, count)?,
                other => return Err(unsupported(format!("values in encoding {other}"))),
            };
            let mut read = read.into_iter();
            let item = chunk.depth.item.unwrap_or(0);
            for (entry, level) in levels.definition.iter().enumerate() {
                if chunk.depth.item.is_some() && levels.repetition.get(entry) == Some(&0) {
                    starts.push(values.len());
                }
                if is_there(&level) {
                    values.push(read.next());
                } else if *level >= item {
                    values.push(None);
                }
            }
        }
        into.keep(page);
    }
    Ok(Entries { values, starts })
}

fn header(reader: &mut Reader<'_>) -> Parsed<Header> {
    let mut header = Header {
        of: -1,
        is_compressed: true,
        ..Header::default()
    };
    reader.structure(|reader, id, of| {
        match id {
            1 => header.of = reader.integer()?,
            2 => header.expanded = reader.count()?,
            3 => header.stored = reader.count()?,
            // A data page and a dictionary open with the same two fields.
            5 | 7 => reader.structure(|reader, id, of| {
                match id {
                    1 => header.values = reader.count()?,
                    2 => header.encoding = reader.integer()?,
                    _ => reader.skip(of)?,
                }
                Ok(())
            })?,
            8 => {
                let (mut definition, mut repetition) = (0_usize, 0_usize);
                reader.structure(|reader, id, of| {
                    match id {
                        1 => header.values = reader.count()?,
                        4 => header.encoding = reader.integer()?,
                        5 => definition = reader.count()?,
                        6 => repetition = reader.count()?,
                        7 => header.is_compressed = of.is_true(),
                        _ => reader.skip(of)?,
                    }
                    Ok(())
                })?;
                header.definition_levels = definition;
                header.levels = definition.checked_add(repetition).ok_or(Malformed)?;
            }
            _ => reader.skip(of)?,
        }
        Ok(())
    })?;
    Ok(header)
}

/// Takes a page's bytes off what the pages of a file may expand to.
fn spend(allowance: &mut u64, expanded: u64) -> Result<(), Rejection> {
    *allowance = allowance.checked_sub(expanded.max(PAGE_BYTES_MIN)).ok_or_else(|| {
        let detail = "its pages expand to more than the limit for a file of its size";
        Rejection::new(Reason::Bomb, detail)
    })?;
    Ok(())
}

fn expand(stored: &[u8], header: &Header, codec: i64, allowance: &mut u64) -> Result<Vec<u8>, Rejection> {
    spend(allowance, header.expanded as u64)?;
    let lies = || broken("a page does not expand to the size that it claims");
    let (levels, packed) = stored.split_at_checked(header.levels).ok_or_else(lies)?;
    let size = header.expanded.checked_sub(levels.len()).ok_or_else(lies)?;
    let codec = if header.is_compressed && !packed.is_empty() {
        codec
    } else {
        0
    };
    let unpacked = match codec {
        0 => packed.to_vec(),
        1 => {
            if snap::raw::decompress_len(packed).ok() != Some(size) {
                return Err(lies());
            }
            snap::raw::Decoder::new()
                .decompress_vec(packed)
                .map_err(|error| broken(format!("a page: {error}")))?
        }
        2 => read_at_most(flate2::read::MultiGzDecoder::new(packed), size as u64)?,
        6 => {
            let decoder = StreamingDecoder::new(packed).map_err(|error| broken(format!("a page: {error}")))?;
            read_at_most(decoder, size as u64)?
        }
        other => {
            return Err(unsupported(format!(
                "compression {other}: none, Snappy, gzip and Zstandard are read"
            )));
        }
    };
    if unpacked.len() != size {
        return Err(lies());
    }
    Ok(if levels.is_empty() {
        unpacked
    } else {
        [levels, &unpacked].concat()
    })
}

/// The levels of a page's entries, and where the values start after them.
struct Levels {
    repetition: Vec<u32>,
    definition: Vec<u32>,
    end: usize,
}

fn levels(page: &[u8], header: &Header, depth: Depth, entries: usize) -> Result<Levels, Rejection> {
    let cut = || broken("a page is cut");
    let mut end = 0;
    // The second version says in the header how long they are, the first before each of them.
    let mut next = |is_there: bool, length: usize| {
        let from = if header.of == DATA_V2 {
            end
        } else if is_there {
            end + 4
        } else {
            return Ok(&[][..]);
        };
        let length = if header.of == DATA_V2 {
            length
        } else {
            let length = page.get(end..).and_then(<[u8]>::first_chunk).ok_or_else(cut)?;
            u32::from_le_bytes(*length) as usize
        };
        end = from.checked_add(length).ok_or_else(cut)?;
        page.get(from..end).ok_or_else(cut)
    };
    let repetition = next(depth.item.is_some(), header.levels - header.definition_levels)?;
    let definition = next(depth.value > 0, header.definition_levels)?;
    let read = |bytes, max: u32| match max {
        0 => Ok(vec![0; entries]),
        max => hybrid(bytes, u32::BITS - max.leading_zeros(), entries),
    };
    Ok(Levels {
        repetition: match depth.item {
            Some(_) => read(repetition, 1)?,
            None => Vec::new(),
        },
        definition: read(definition, depth.value)?,
        end,
    })
}

/// Values by their numbers in the dictionary.
fn by_number<T: Clone>(page: &[u8], start: usize, count: usize, dictionary: &[T]) -> Result<Vec<T>, Rejection> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let packed = page.get(start..).and_then(<[u8]>::split_first);
    let (&width, packed) = packed.ok_or_else(|| broken("a page is cut"))?;
    let numbers = hybrid(packed, u32::from(width), count)?.into_iter();
    numbers
        .map(|number| {
            dictionary
                .get(number as usize)
                .cloned()
                .ok_or_else(|| broken("a value is not in its dictionary"))
        })
        .collect()
}

/// `count` integers of `width` bits in the hybrid of runs and packed bits.
pub(super) fn hybrid(bytes: &[u8], width: u32, count: usize) -> Result<Vec<u32>, Rejection> {
    let cut = || broken("a page's numbers are cut");
    if width > 32 {
        return Err(broken("a page's numbers are too wide"));
    }
    let mut integers = Vec::with_capacity(count);
    let mut rest = bytes;
    while integers.len() < count {
        let (mut head, mut shift) = (0_u64, 0);
        loop {
            let (&byte, after) = rest.split_first().filter(|_| shift < 35).ok_or_else(cut)?;
            rest = after;
            head |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let missing = count - integers.len();
        let run = usize::try_from(head >> 1).map_err(|_| cut())?;
        if head & 1 == 0 {
            let (value, after) = rest.split_at_checked(width.div_ceil(8) as usize).ok_or_else(cut)?;
            rest = after;
            let value = value.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte));
            // A run of none would be read for ever.
            if run == 0 {
                return Err(cut());
            }
            integers.extend(std::iter::repeat_n(value, run.min(missing)));
        } else {
            let packed_bytes = run.checked_mul(width as usize).ok_or_else(cut)?;
            // The last group may be cut short of its padding.
            let (packed, after) = rest.split_at(packed_bytes.min(rest.len()));
            rest = after;
            let held = if width == 0 {
                run.saturating_mul(8)
            } else {
                packed.len() * 8 / width as usize
            };
            if held == 0 {
                return Err(cut());
            }
            integers.extend((0..held.min(missing)).map(|i| bits(packed, i * width as usize, width)));
        }
    }
    Ok(integers)
}

/// `width` bits from bit `at` on, the lowest first.
fn bits(bytes: &[u8], at: usize, width: u32) -> u32 {
    let window = bytes
        .iter()
        .skip(at / 8)
        .take(5)
        .rev()
        .fold(0_u64, |window, &byte| window << 8 | u64::from(byte));
    let value = window >> (at % 8) & ((1 << width) - 1);
    u32::try_from(value).unwrap_or_default()
}
