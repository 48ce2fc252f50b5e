//! A table of text -> the rows of the column that holds the text.
//! Always true: a row whose width is not the table's is a fault, never a guess.

use std::borrow::Cow;

use super::TextLimits;
use super::rows::{Collector, Fields, is_text_name, is_wordy};
use crate::sample::reading::dialect::Dialect;
use crate::sample::reading::records::Record;
use crate::sample::{Reason, Rejection};

/// Cells of a header are shorter than this.
const HEADER_CHARS_MAX: usize = 64;

/// Rows that a text without a telling name needs to be read as a table.
const TABLE_ROWS_MIN: usize = 3;

/// Reads a table with `\n` line ends.
pub(super) fn read(
    text: &str,
    wanted: Option<&str>,
    limits: &TextLimits,
    into: &mut Collector<'_>,
) -> Result<(), Rejection> {
    let dialect = Dialect::of(text, limits.reading());
    let mut records = dialect.records(text, limits.reading());
    let Some(first) = records.next() else {
        return Ok(());
    };
    let first = first.first(limits.reading())?;
    let sample = dialect.sample(text, limits.reading());
    let has_header = is_header(&first, &sample, wanted);
    let width = first.len();
    let mut fields = Fields::default();
    for (cell, number) in first.iter().zip(1..) {
        let name = if has_header {
            cell.trim().to_owned()
        } else {
            format!("column {number}")
        };
        fields.add(&name);
    }
    let data = sample.iter().skip(usize::from(has_header));
    for row in data.clone().filter(|row| row.len() == width) {
        fields.row();
        for (number, cell) in row.iter().enumerate() {
            fields.see(number, cell);
        }
    }
    if has_header && records.next().is_none() {
        return Err(Rejection::new(Reason::EmptyFile, "the table has a header and no rows"));
    }
    let choice = fields.choose(wanted)?;
    let mut records = dialect.records(text, limits.reading());
    if has_header {
        records.next();
    }
    records.width = Some(width);
    let mut number = 0;
    while let Some(record) = records.next() {
        number += 1;
        let line = records.line;
        if let Some((reason, detail)) = record.fault(line, width, limits.reading()) {
            into.broken(number, reason, detail);
        } else if let Record::Fields(row) = record {
            let cell = |column: usize| row.get(column).map(Cow::as_ref);
            into.document(
                number - 1,
                choice.title.and_then(cell),
                cell(choice.text).unwrap_or_default(),
            )?;
        }
    }
    Ok(())
}

/// Whether a text is a table although its name does not say so: each of its first lines has the same delimiter as
/// often, under a header.
pub(super) fn is_table(text: &str, limits: &TextLimits) -> bool {
    let dialect = Dialect::of(text, limits.reading());
    let rows = dialect.sample(text, limits.reading());
    let Some(first) = rows.first() else {
        return false;
    };
    let is_even = rows.len() >= TABLE_ROWS_MIN && first.len() > 1 && rows.iter().all(|row| row.len() == first.len());
    is_even && is_header(first, &rows, None)
}

/// Whether the first row names the columns: with a known or the wanted name; else with short names, all different,
/// over a column of another kind, or each a single word over texts of many.
fn is_header(first: &[Cow<'_, str>], sample: &[Vec<Cow<'_, str>>], wanted: Option<&str>) -> bool {
    if let Some(wanted) = wanted {
        return first.iter().any(|cell| cell.trim() == wanted) || is_header(first, sample, None);
    }
    let is_name = |cell: &Cow<'_, str>| {
        let cell = cell.trim();
        let is_short = !cell.is_empty() && cell.chars().nth(HEADER_CHARS_MAX).is_none();
        is_short && cell.parse::<f64>().is_err() && !cell.ends_with(['.', '!', '?', '。', ',']) && !cell.contains('\n')
    };
    let mut names: Vec<&str> = first.iter().map(|cell| cell.trim()).collect();
    names.sort_unstable();
    names.dedup();
    if !first.iter().all(is_name) || names.len() != first.len() {
        return false;
    }
    if first.iter().any(|cell| is_text_name(cell)) || sample.len() < 2 {
        return true;
    }
    let below = |column: usize| {
        let rows = sample.iter().skip(1).filter_map(move |row| row.get(column));
        rows.filter(|cell| !cell.trim().is_empty())
    };
    let is_other_kind = |column| below(column).next().is_some() && below(column).all(|cell| !is_wordy(cell));
    let has_other_kind = first
        .iter()
        .enumerate()
        .any(|(column, name)| is_wordy(name) && is_other_kind(column));
    let is_word = |cell: &Cow<'_, str>| cell.split_whitespace().nth(1).is_none();
    let is_texts = |column| below(column).filter(|cell| !is_word(cell)).count() * 2 > below(column).count();
    has_other_kind || (first.iter().all(is_word) && (0..first.len()).any(is_texts))
}
