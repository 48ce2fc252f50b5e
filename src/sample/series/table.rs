//! A table of text -> the rows of its columns of numbers.
//! Always true: a row whose width is not the table's is a fault, never a guess.

use std::borrow::Cow;

use super::SeriesLimits;
use super::cells::{Cell, Decimal};
use super::notes::Notes;
use super::plan::Sample;
use super::rows::Rows;
use super::times::is_time;
use super::windows::Series;
use crate::sample::reading::dialect::{DELIMITERS, Dialect, NO_DELIMITER};
use crate::sample::reading::records::Record;
use crate::sample::reading::{ReadLimits, SAMPLE_ROWS};
use crate::sample::{Reason, Rejection};

/// Names of columns are shorter than this.
const HEADER_CHARS_MAX: usize = 64;

/// Reads a table with `\n` line ends.
pub(super) fn read(text: &str, limits: &SeriesLimits, notes: &mut Notes) -> Result<Vec<Series>, Rejection> {
    let reading = limits.reading();
    let dialect = dialect(text, reading);
    let mut records = dialect.records(text, reading);
    let Some(first) = records.next() else {
        return Err(Rejection::new(Reason::EmptyFile, "the table has no rows"));
    };
    let first = first.first(reading)?;
    let width = first.len();
    let sample: Vec<_> = dialect.sample(text, reading);
    let decimal = decimal(dialect, &sample);
    let has_header = is_header(&first, decimal, limits);
    let is_sentence = |cell: &Cow<'_, str>| cell.chars().nth(HEADER_CHARS_MAX).is_some() || cell.trim().contains(' ');
    if has_header && records.next().is_none() {
        if width == 1 && first.iter().any(is_sentence) {
            return Err(Rejection::new(Reason::UnsupportedType, "a text, not a series"));
        }
        return Err(Rejection::new(Reason::EmptyFile, "the table has a header and no rows"));
    }
    let name = |(cell, number): (&Cow<'_, str>, usize)| match has_header {
        true => cell.trim().to_owned(),
        false => format!("column {number}"),
    };
    let whole = sample
        .iter()
        .skip(usize::from(has_header))
        .filter(|row| row.len() == width);
    let sample = Sample {
        names: first.iter().zip(1..).map(name).collect(),
        rows: whole
            .map(|row| row.iter().map(|cell| Cell::of(cell, decimal)).collect())
            .collect(),
    };
    let mut rows = Rows::new(&sample, limits)?;
    let mut records = dialect.records(text, reading);
    if has_header {
        records.next();
    }
    records.width = Some(width);
    let mut at = 0;
    while let Some(record) = records.next() {
        at += 1;
        if let Some((reason, detail)) = record.fault(records.line, width, reading) {
            notes.fault(at, reason, || detail);
        } else if let Record::Fields(row) = record {
            let cell = |column: usize| row.get(column).map_or(Cell::Empty, |cell| Cell::of(cell, decimal));
            rows.push(at, cell, notes)?;
        }
    }
    rows.finish(notes)
}

/// The delimiter that makes most numbers and times of the first rows, which it cuts alike; of equals the one with more columns.
fn dialect(text: &str, limits: ReadLimits) -> Dialect {
    let delimiters = std::iter::once(NO_DELIMITER).chain(DELIMITERS);
    let fits = delimiters.map(|delimiter| {
        let dialect = Dialect { delimiter };
        // A first row that is too wide to read is no reason to take the table for one of a single column.
        if matches!(dialect.records(text, limits).next(), Some(Record::Wide)) {
            return (usize::MAX, 0, dialect);
        }
        let rows = dialect.sample(text, limits);
        let decimal = decimal(dialect, &rows);
        // The header, if there is one, is not needed to tell.
        let rows = rows.get(1..).filter(|below| !below.is_empty()).unwrap_or(&rows);
        let width = rows.first().map_or(0, Vec::len);
        let alike = rows.iter().filter(|row| row.len() == width).count();
        let is_read = |cell: &&Cow<'_, str>| {
            let cell = Cell::of(cell, decimal);
            matches!(cell, Cell::Number(_)) || is_time(&cell)
        };
        let cells = rows.iter().map(Vec::len).sum::<usize>().max(1);
        let read = rows.iter().flatten().filter(is_read).count();
        (read * 1_000 / cells * alike / rows.len().max(1), width, dialect)
    });
    let best = fits.max_by_key(|&(share, width, _)| (share, width));
    best.map_or(
        Dialect {
            delimiter: NO_DELIMITER,
        },
        |(.., dialect)| dialect,
    )
}

fn decimal(dialect: Dialect, sample: &[Vec<Cow<'_, str>>]) -> Decimal {
    match dialect.delimiter {
        b',' => Decimal::Point,
        _ => Decimal::of(sample.iter().take(SAMPLE_ROWS).flatten().map(Cow::as_ref)),
    }
}

/// Whether the first row names the columns: it holds words or the wanted names, and no number or time.
fn is_header(first: &[Cow<'_, str>], decimal: Decimal, limits: &SeriesLimits) -> bool {
    let mut wanted = limits.value_columns.iter().chain(&limits.time_column);
    if wanted.any(|name| first.iter().any(|cell| cell.trim() == name)) {
        return true;
    }
    let is_name = |cell: &Cell<'_>| matches!(cell, Cell::Word(_)) && !is_time(cell);
    let is_nothing = |cell: &Cell<'_>| matches!(cell, Cell::Empty | Cell::Missing(_));
    let cells: Vec<Cell<'_>> = first.iter().map(|cell| Cell::of(cell, decimal)).collect();
    cells.iter().any(is_name) && cells.iter().all(|cell| is_name(cell) || is_nothing(cell))
}
