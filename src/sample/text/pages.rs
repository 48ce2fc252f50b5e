//! The pages of a Parquet column of strings -> its values.
//! Always true: what a page claims to expand to is taken from the file's allowance before it is expanded, and no more
//! values are held than rows that were asked for.

use std::ops::Range;

use ruzstd::decoding::StreamingDecoder;

use super::gzip::read_at_most;
use super::parquet::{broken, unsupported};
use super::thrift::{Malformed, Parsed, Reader};
use crate::sample::{Reason, Rejection};

/// Where a column's pages lie.
#[derive(Clone, Default)]
pub(super) struct Chunk {
    pub(super) codec: i64,
    /// Place of its first page in the file.
    pub(super) start: usize,
    pub(super) bytes: usize,
    pub(super) values: usize,
    /// Whether a value may be missing.
    pub(super) is_optional: bool,
}

/// Values of a column, each in one of the expanded pages.
#[derive(Default)]
pub(super) struct Values {
    pages: Vec<Vec<u8>>,
    values: Vec<Option<Place>>,
}

#[derive(Clone)]
struct Place {
    page: usize,
    bytes: Range<usize>,
}

impl Values {
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The value of a row: nothing where it is missing.
    pub(super) fn get(&self, row: usize) -> Option<&[u8]> {
        let place = self.values.get(row)?.as_ref()?;
        self.pages.get(place.page)?.get(place.bytes.clone())
    }
}

/// Page types, by their numbers in the format.
const DATA: i64 = 0;
const INDEX: i64 = 1;
const DICTIONARY: i64 = 2;
const DATA_V2: i64 = 3;

/// Encodings of values, by their numbers in the format.
const PLAIN: i64 = 0;
const PLAIN_DICTIONARY: i64 = 2;
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

/// Reads a column's values, up to `rows_max`; `allowance` is what may still be expanded.
pub(super) fn read(file: &[u8], chunk: &Chunk, rows_max: usize, allowance: &mut u64) -> Result<Values, Rejection> {
    let end = chunk.start.checked_add(chunk.bytes);
    let bytes = end
        .and_then(|end| file.get(chunk.start..end))
        .ok_or_else(|| broken("a column lies outside the file"))?;
    let mut reader = Reader::new(bytes);
    let wanted = chunk.values.min(rows_max);
    let mut values = Values::default();
    let mut dictionary: Vec<Place> = Vec::new();
    while values.len() < wanted {
        let header = header(&mut reader).map_err(|_| broken("a page header is malformed"))?;
        let (stored, rest) = reader
            .rest()
            .split_at_checked(header.stored)
            .ok_or_else(|| broken("a page is cut"))?;
        reader = Reader::new(rest);
        if header.of == INDEX {
            continue;
        }
        if ![DATA, DICTIONARY, DATA_V2].contains(&header.of) {
            return Err(unsupported(format!("a page of type {}", header.of)));
        }
        let page = expand(stored, &header, chunk.codec, allowance)?;
        let number = values.pages.len();
        if header.of == DICTIONARY {
            // A dictionary with more entries than the column has values was made to fill the memory.
            if header.values > chunk.values {
                return Err(broken("a dictionary is larger than its column"));
            }
            dictionary = plain(&page, 0, header.values, number)?;
        } else {
            let rows = header.values.min(wanted - values.len());
            let (present, start) = present(&page, &header, chunk.is_optional, rows)?;
            let count = present.iter().filter(|&&is_present| is_present).count();
            let places = match header.encoding {
                PLAIN => plain(&page, start, count, number)?,
                PLAIN_DICTIONARY | RLE_DICTIONARY => by_number(&page, start, count, &dictionary)?,
                other => return Err(unsupported(format!("strings in encoding {other}"))),
            };
            let mut places = places.into_iter();
            values.values.extend(
                present
                    .iter()
                    .map(|&is_present| if is_present { places.next() } else { None }),
            );
        }
        values.pages.push(page);
    }
    Ok(values)
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

fn expand(stored: &[u8], header: &Header, codec: i64, allowance: &mut u64) -> Result<Vec<u8>, Rejection> {
    let expanded = header.expanded as u64;
    *allowance = allowance.checked_sub(expanded).ok_or_else(|| {
        let detail = "its pages expand to more than the limit for a file of its size";
        Rejection::new(Reason::Bomb, detail)
    })?;
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

/// For each row whether it has a value, and where the values start in the page.
fn present(page: &[u8], header: &Header, is_optional: bool, rows: usize) -> Result<(Vec<bool>, usize), Rejection> {
    if !is_optional {
        return Ok((vec![true; rows], header.levels));
    }
    let (levels, start) = if header.of == DATA_V2 {
        // The levels of repetition come first; without lists there are none.
        (header.levels - header.definition_levels..header.levels, header.levels)
    } else {
        let length = page.first_chunk().map(|&length| u32::from_le_bytes(length) as usize);
        let end = length
            .and_then(|length| length.checked_add(4))
            .ok_or_else(|| broken("a page is cut"))?;
        (4..end, end)
    };
    let levels = page.get(levels).ok_or_else(|| broken("a page is cut"))?;
    let levels = hybrid(levels, 1, rows)?;
    Ok((levels.into_iter().map(|level| level == 1).collect(), start))
}

/// Values with their lengths before them.
fn plain(page: &[u8], start: usize, count: usize, number: usize) -> Result<Vec<Place>, Rejection> {
    let cut = || broken("a value goes on past its page");
    let mut places = Vec::new();
    let mut at = start;
    for _ in 0..count {
        let length = page.get(at..).and_then(<[u8]>::first_chunk).ok_or_else(cut)?;
        let from = at + 4;
        let to = from.checked_add(u32::from_le_bytes(*length) as usize).ok_or_else(cut)?;
        if to > page.len() {
            return Err(cut());
        }
        places.push(Place {
            page: number,
            bytes: from..to,
        });
        at = to;
    }
    Ok(places)
}

/// Values by their numbers in the dictionary.
fn by_number(page: &[u8], start: usize, count: usize, dictionary: &[Place]) -> Result<Vec<Place>, Rejection> {
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
fn hybrid(bytes: &[u8], width: u32, count: usize) -> Result<Vec<u32>, Rejection> {
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
