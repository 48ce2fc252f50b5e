//! A Parquet file -> the rows of the column that holds the text.
//! Always true: nothing in the footer is believed before it was compared with the bytes that are there. That is why it
//! is read here: the `parquet` crate allocates what a file's numbers say, and some of them panic.
//!
//! Read are top-level columns of strings, plain or with a dictionary, without compression or with Snappy, gzip or
//! Zstandard, which is what common writers write for text. Columns of another kind are passed over.

use super::TextLimits;
use super::gzip::expansion_max;
use super::pages::{self, Chunk, Values};
use super::rows::{Collector, Fields, SAMPLE_ROWS};
use super::thrift::{Malformed, Parsed, Reader};
use crate::sample::{Reason, Rejection};

const MAGIC: &[u8] = b"PAR1";

/// Footers of common files have some kilobytes. What is read from one takes up to 30 times its size.
const FOOTER_BYTES_MAX: usize = 16 << 20;

/// The physical type of strings.
const BYTE_ARRAY: i64 = 6;

/// What a column of bytes may be said to hold, as text: nothing, UTF-8, an enumeration, JSON.
const TEXT_TYPES: [Option<i64>; 4] = [None, Some(0), Some(4), Some(19)];

/// Reads a Parquet file.
pub(super) fn read(
    file: &[u8],
    wanted: Option<&str>,
    limits: &TextLimits,
    into: &mut Collector<'_>,
) -> Result<(), Rejection> {
    let footer = footer(file)?;
    if footer.len() > FOOTER_BYTES_MAX {
        let detail = format!("a footer of {} bytes, limit is {FOOTER_BYTES_MAX}", footer.len());
        return Err(Rejection::new(Reason::Limits, detail));
    }
    let footer = Footer::parse(footer, limits).map_err(|_| broken("its footer is malformed"))?;
    if footer.is_wide {
        let detail = format!("more columns than {}, the limit", limits.columns_max);
        return Err(Rejection::new(Reason::Limits, detail));
    }
    let rows: usize = footer
        .groups
        .iter()
        .fold(0, |rows, group| rows.saturating_add(group.rows));
    if rows > limits.passages_max {
        let detail = format!("{rows} rows, limit is {} of one source", limits.passages_max);
        return Err(Rejection::new(Reason::Limits, detail));
    }
    if rows == 0 {
        return Err(Rejection::new(Reason::EmptyFile, "the table has no rows"));
    }
    let mut fields = Fields::default();
    for column in &footer.columns {
        fields.add(&column.name);
    }
    if let Some(group) = footer.groups.iter().find(|group| group.rows > 0) {
        (0..group.rows.min(SAMPLE_ROWS)).for_each(|_| fields.row());
        for number in 0..footer.columns.len() {
            // Each column may spend the allowance: only one's pages are held at a time.
            let mut allowance = expansion_max(file.len(), limits);
            let sample = footer.values(file, group, number, SAMPLE_ROWS, &mut allowance)?;
            for row in 0..sample.len() {
                let text = sample.get(row).and_then(|value| std::str::from_utf8(value).ok());
                fields.see(number, text.unwrap_or_default());
            }
        }
    }
    let choice = fields.choose(wanted)?;
    let mut allowance = expansion_max(file.len(), limits);
    let mut number = 0;
    for group in &footer.groups {
        let texts = footer.values(file, group, choice.text, group.rows, &mut allowance)?;
        let titles = match choice.title {
            Some(title) => footer.values(file, group, title, group.rows, &mut allowance)?,
            None => Values::default(),
        };
        for row in 0..texts.len() {
            number += 1;
            let value = texts.get(row).unwrap_or_default();
            if value.len() > limits.line_bytes_max {
                let detail = format!("the text is {} bytes, limit is {}", value.len(), limits.line_bytes_max);
                into.broken(number, Reason::Limits, detail);
                continue;
            }
            match std::str::from_utf8(value) {
                Ok(text) => {
                    let title = titles.get(row).and_then(|title| std::str::from_utf8(title).ok());
                    into.document(number - 1, title, text)?;
                }
                Err(_) => into.broken(number, Reason::Corrupt, "the text is no UTF-8".into()),
            }
        }
    }
    Ok(())
}

/// A file whose structure is wrong.
pub(super) fn broken(what: impl Into<String>) -> Rejection {
    Rejection::new(Reason::Corrupt, format!("the Parquet file is broken: {}", what.into()))
}

/// A file that is written in a way that is not read.
pub(super) fn unsupported(what: impl Into<String>) -> Rejection {
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

/// A column that may hold text.
struct Column {
    name: String,
    is_optional: bool,
}

struct Group {
    rows: usize,
    /// Name and pages of the columns of bytes at the top level.
    chunks: Vec<(String, Chunk)>,
}

#[derive(Default)]
struct Footer {
    columns: Vec<Column>,
    groups: Vec<Group>,
    is_wide: bool,
}

/// One entry of the schema, which lists the tree of columns depth first.
#[derive(Default)]
struct Element {
    name: String,
    physical: Option<i64>,
    converted: Option<i64>,
    repetition: i64,
    children: usize,
}

impl Footer {
    fn parse(bytes: &[u8], limits: &TextLimits) -> Parsed<Self> {
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

    /// A column's values in a group, at most `rows_max`.
    fn values(
        &self,
        file: &[u8],
        group: &Group,
        number: usize,
        rows_max: usize,
        allowance: &mut u64,
    ) -> Result<Values, Rejection> {
        let column = self.columns.get(number).ok_or_else(|| broken("a column is missing"))?;
        let chunk = group.chunks.iter().find(|(name, _)| *name == column.name);
        let (_, chunk) = chunk.ok_or_else(|| broken("a group lacks a column"))?;
        if chunk.values != group.rows {
            return Err(broken("a column has more or fewer values than rows"));
        }
        let chunk = Chunk {
            is_optional: column.is_optional,
            ..chunk.clone()
        };
        pages::read(file, &chunk, rows_max, allowance)
    }
}

/// The columns of text among the root's children.
fn columns(elements: &[Element]) -> Parsed<Vec<Column>> {
    let mut columns = Vec::new();
    // Entries that belong to a nested column, still to be passed over.
    let mut nested = 0_usize;
    for element in elements.iter().skip(1) {
        if nested > 0 {
            nested = (nested - 1).checked_add(element.children).ok_or(Malformed)?;
        } else if element.children > 0 {
            nested = element.children;
        } else if element.physical == Some(BYTE_ARRAY)
            && TEXT_TYPES.contains(&element.converted)
            && (0..=1).contains(&element.repetition)
        {
            columns.push(Column {
                name: element.name.clone(),
                is_optional: element.repetition == 1,
            });
        }
    }
    Ok(columns)
}

fn element(reader: &mut Reader<'_>) -> Parsed<Element> {
    let mut element = Element::default();
    reader.structure(|reader, id, of| {
        match id {
            1 => element.physical = Some(reader.integer()?),
            3 => element.repetition = reader.integer()?,
            4 => element.name = String::from_utf8_lossy(reader.binary()?).into_owned(),
            5 => element.children = reader.count()?,
            6 => element.converted = Some(reader.integer()?),
            _ => reader.skip(of)?,
        }
        Ok(())
    })?;
    Ok(element)
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

/// A column's name and pages; nothing for columns that are nested or hold no bytes.
fn chunk(reader: &mut Reader<'_>) -> Parsed<Option<(String, Chunk)>> {
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
                5 => chunk.values = reader.count()?,
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
    let is_read = physical == BYTE_ARRAY && path.len() == 1;
    Ok(path.pop().filter(|_| is_read).map(|name| (name, chunk)))
}
