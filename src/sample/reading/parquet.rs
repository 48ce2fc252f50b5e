//! A Parquet file -> its columns and their values.
//! Always true: nothing in the footer is believed before it was compared with the bytes that are there. That is why it
//! is read here: the `parquet` crate allocates what a file's numbers say, and some of them panic.
//!
//! Read are top-level columns of strings, of numbers and of lists of numbers, plain or with a dictionary, without
//! compression or with Snappy, gzip or Zstandard, which is what common writers write. Columns of another kind are passed
//! over.

use super::ReadLimits;
use super::pages::{self, Chunk};
use super::schema::{self, Kind, columns, element};
use super::thrift::{Parsed, Reader};
use super::values::{Lists, Number, StringPages, Strings};
use crate::sample::{Reason, Rejection};

pub(in crate::sample) use super::schema::Column;

const MAGIC: &[u8] = b"PAR1";

/// Footers of common files have some kilobytes. What is read from one takes up to 30 times its size.
const FOOTER_BYTES_MAX: usize = 16 << 20;

/// Names down to the values of a list: the column, its list, the item.
const LIST_PATH_MAX: usize = 3;

/// A file whose structure is wrong.
pub(in crate::sample) fn broken(what: impl Into<String>) -> Rejection {
    Rejection::new(Reason::Corrupt, format!("the Parquet file is broken: {}", what.into()))
}

/// A file that is written in a way that is not read.
pub(in crate::sample) fn unsupported(what: impl Into<String>) -> Rejection {
    Rejection::new(Reason::UnsupportedType, format!("the Parquet file has {}", what.into()))
}

/// The metadata: before the last eight bytes, which hold its length and the magic again.
fn footer(file: &[u8]) -> Result<&[u8], Rejection> {
    let truncated = || Rejection::new(Reason::Truncated, "the Parquet file has no footer: its end is missing");
    let body = file.strip_suffix(MAGIC).ok_or_else(truncated)?;
    let (body, length) = body.split_last_chunk().ok_or_else(truncated)?;
    let start = body.len().checked_sub(u32::from_le_bytes(*length) as usize);
    start
        .and_then(|start| body.get(start..))
        .ok_or_else(|| broken("its footer is longer than the file"))
}

/// Rows that are stored together.
pub(in crate::sample) struct Group {
    pub(in crate::sample) rows: usize,
    chunks: Vec<Stored>,
}

/// A column's pages in a group.
struct Stored {
    path: String,
    physical: i64,
    chunk: Chunk,
}

/// What a file says it holds.
#[derive(Default)]
pub(in crate::sample) struct Footer {
    pub(in crate::sample) columns: Vec<Column>,
    pub(in crate::sample) groups: Vec<Group>,
    is_wide: bool,
}

impl Footer {
    /// The footer of a file.
    pub(in crate::sample) fn read(file: &[u8], limits: ReadLimits) -> Result<Self, Rejection> {
        let bytes = footer(file)?;
        if bytes.len() > FOOTER_BYTES_MAX {
            let detail = format!("a footer of {} bytes, limit is {FOOTER_BYTES_MAX}", bytes.len());
            return Err(Rejection::new(Reason::Limits, detail));
        }
        let footer = Self::parse(bytes, limits).map_err(|_| broken("its footer is malformed"))?;
        if footer.is_wide {
            let detail = format!("more columns than {}, the limit", limits.columns_max);
            return Err(Rejection::new(Reason::Limits, detail));
        }
        Ok(footer)
    }

    /// The rows of all groups.
    pub(in crate::sample) fn rows(&self) -> usize {
        self.groups
            .iter()
            .fold(0, |rows, group| rows.saturating_add(group.rows))
    }

    fn parse(bytes: &[u8], limits: ReadLimits) -> Parsed<Self> {
        let mut footer = Self::default();
        Reader::new(bytes).structure(|reader, id, of| match id {
            2 => {
                let mut elements = Vec::new();
                reader.list(|reader, _| {
                    let element = element(reader)?;
                    footer.is_wide = elements.len() > limits.columns_max;
                    if !footer.is_wide {
                        elements.push(element);
                    }
                    Ok(())
                })?;
                footer.columns = columns(&elements)?;
                Ok(())
            }
            4 => reader.list(|reader, _| {
                footer.groups.push(group(reader)?);
                Ok(())
            }),
            _ => reader.skip(of),
        })?;
        Ok(footer)
    }

    /// A column's strings in a group, at most `rows_max`.
    pub(in crate::sample) fn strings(
        &self,
        file: &[u8],
        group: &Group,
        number: usize,
        rows_max: usize,
        allowance: &mut u64,
    ) -> Result<Strings, Rejection> {
        let chunk = self.chunk(group, number)?;
        let mut pages = StringPages::default();
        let entries = pages::read(file, &chunk, &mut pages, rows_max, allowance)?;
        Ok(Strings::new(pages, entries.values))
    }

    /// A column's numbers, or moments, in a group, at most `rows_max`: NaN where one is missing.
    pub(in crate::sample) fn numbers(
        &self,
        file: &[u8],
        group: &Group,
        number: usize,
        rows_max: usize,
        allowance: &mut u64,
    ) -> Result<Vec<f64>, Rejection> {
        let chunk = self.chunk(group, number)?;
        let entries = pages::read(file, &chunk, &mut self.number(number)?, rows_max, allowance)?;
        Ok(entries
            .values
            .into_iter()
            .map(|value| value.unwrap_or(f64::NAN))
            .collect())
    }

    /// A column's lists of numbers in a group. More items than `items_max`: the file is refused.
    pub(in crate::sample) fn lists(
        &self,
        file: &[u8],
        group: &Group,
        number: usize,
        items_max: usize,
        allowance: &mut u64,
    ) -> Result<Lists, Rejection> {
        let chunk = self.chunk(group, number)?;
        if chunk.entries > items_max {
            let detail = format!("lists of {} numbers, limit is {items_max}", chunk.entries);
            return Err(Rejection::new(Reason::Limits, detail));
        }
        let entries = pages::read(file, &chunk, &mut self.number(number)?, items_max, allowance)?;
        let values = entries.values.into_iter();
        let lists = Lists::new(values.map(|value| value.unwrap_or(f64::NAN)).collect(), entries.starts);
        if lists.len() != group.rows {
            return Err(broken("a column has more or fewer lists than rows"));
        }
        Ok(lists)
    }

    fn number(&self, number: usize) -> Result<Number, Rejection> {
        match self.columns.get(number).map(|column| column.kind) {
            Some(Kind::Number(stored) | Kind::Time(stored)) => Ok(stored),
            _ => Err(broken("a column holds no numbers")),
        }
    }

    fn chunk(&self, group: &Group, number: usize) -> Result<Chunk, Rejection> {
        let column = self.columns.get(number).ok_or_else(|| broken("a column is missing"))?;
        let mut chunks = group.chunks.iter();
        let stored = chunks.find(|stored| stored.path == column.path && stored.physical == column.physical);
        let chunk = &stored.ok_or_else(|| broken("a group lacks a column"))?.chunk;
        if column.depth.item.is_none() && chunk.entries != group.rows {
            return Err(broken("a column has more or fewer values than rows"));
        }
        Ok(Chunk {
            depth: column.depth,
            ..chunk.clone()
        })
    }
}

fn group(reader: &mut Reader<'_>) -> Parsed<Group> {
    let mut group = Group {
        rows: 0,
        chunks: Vec::new(),
    };
    reader.structure(|reader, id, of| match id {
        1 => reader.list(|reader, _| {
            group.chunks.extend(chunk(reader)?);
            Ok(())
        }),
        3 => {
            group.rows = reader.count()?;
            Ok(())
        }
        _ => reader.skip(of),
    })?;
    Ok(group)
}

/// A column's pages; nothing for columns that are nested deeper than lists.
fn chunk(reader: &mut Reader<'_>) -> Parsed<Option<Stored>> {
    let mut chunk = Chunk::default();
    let (mut physical, mut path, mut dictionary) = (0, Vec::new(), None);
    reader.structure(|reader, id, of| {
        if id != 3 {
            return reader.skip(of);
        }
        reader.structure(|reader, id, of| {
            match id {
                1 => physical = reader.integer()?,
                3 => reader.list(|reader, _| {
                    path.push(String::from_utf8_lossy(reader.binary()?).into_owned());
                    Ok(())
                })?,
                4 => chunk.codec = reader.integer()?,
                5 => chunk.entries = reader.count()?,
                7 => chunk.bytes = reader.count()?,
                9 => chunk.start = reader.count()?,
                11 => dictionary = Some(reader.count()?),
                _ => reader.skip(of)?,
            }
            Ok(())
        })
    })?;
    // Some writers give 0 for a dictionary that is not there.
    if let Some(dictionary) = dictionary.filter(|&dictionary| dictionary > 0) {
        chunk.start = chunk.start.min(dictionary);
    }
    let is_read = (1..=LIST_PATH_MAX).contains(&path.len());
    Ok(is_read.then(|| Stored {
        path: schema::path(path.iter().map(String::as_str)),
        physical,
        chunk,
    }))
}
