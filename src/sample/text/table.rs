//! A table of text -> the rows of the column that holds the text.
//! Always true: a row whose width is not the table's is a fault, never a guess.

use std::borrow::Cow;

use super::TextLimits;
use super::records::{Record, Records};
use super::rows::{Collector, Fields, SAMPLE_ROWS, is_text_name, is_wordy};
use crate::sample::{Reason, Rejection};

/// What may stand between two fields.
const DELIMITERS: [u8; 4] = *b",\t;|";

/// Text holds no NUL.
const NO_DELIMITER: u8 = 0;

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
    let shape = Shape::of(text, limits);
    let mut records = shape.records(text, limits);
    let Some(first) = records.next() else {
        return Ok(());
    };
    let first = match first {
        Record::Fields(first) => first,
        Record::Wide => {
            let detail = format!("more columns than {}, the limit", limits.columns_max);
            return Err(Rejection::new(Reason::Limits, detail));
        }
        Record::Long => {
            let detail = format!(
                "its first line is longer than {} bytes, the limit",
                limits.line_bytes_max
            );
            return Err(Rejection::new(Reason::Limits, detail));
        }
        Record::StrayQuote => {
            return Err(Rejection::new(
                Reason::Corrupt,
                "a quote in its first line is not closed",
            ));
        }
    };
    let sample = shape.sample(text, limits);
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
    let mut records = shape.records(text, limits);
    if has_header {
        records.next();
    }
    records.width = Some(width);
    let mut number = 0;
    while let Some(record) = records.next() {
        number += 1;
        let line = records.line;
        match record {
            Record::Fields(row) if row.len() == width => {
                let cell = |column: usize| row.get(column).map(Cow::as_ref);
                into.document(
                    number - 1,
                    choice.title.and_then(cell),
                    cell(choice.text).unwrap_or_default(),
                )?;
            }
            Record::Fields(row) => {
                let detail = format!("line {line} has {} fields, the table has {width}", row.len());
                into.broken(number, Reason::Corrupt, detail);
            }
            Record::StrayQuote => {
                into.broken(number, Reason::Corrupt, format!("a quote in line {line} is not closed"));
            }
            Record::Long => {
                let detail = format!("line {line} is longer than {} bytes, the limit", limits.line_bytes_max);
                into.broken(number, Reason::Limits, detail);
            }
            Record::Wide => {
                let detail = format!("line {line} has more fields than {}, the limit", limits.columns_max);
                into.broken(number, Reason::Limits, detail);
            }
        }
    }
    Ok(())
}

/// Whether a text is a table although its name does not say so: each of its first lines has the same delimiter as
/// often, under a header.
pub(super) fn is_table(text: &str, limits: &TextLimits) -> bool {
    let shape = Shape::of(text, limits);
    let rows = shape.sample(text, limits);
    let Some(first) = rows.first() else {
        return false;
    };
    let is_even = rows.len() >= TABLE_ROWS_MIN && first.len() > 1 && rows.iter().all(|row| row.len() == first.len());
    is_even && is_header(first, &rows, None)
}

/// What separates the fields.
struct Shape {
    /// `NO_DELIMITER` where the table has one column: its lines then hold every delimiter as text.
    delimiter: u8,
}

impl Shape {
    /// The delimiter that cuts most of the first rows as it cuts the first; of equals the one with more columns.
    fn of(text: &str, limits: &TextLimits) -> Self {
        let fits = DELIMITERS.into_iter().filter_map(|delimiter| {
            let rows = Self { delimiter }.sample(text, limits);
            let width = rows.first().map_or(0, Vec::len);
            let like_first = rows.iter().filter(|row| row.len() == width).count();
            let is_fit = width > 1 && like_first * 2 >= rows.len();
            // A first row that is too wide to read is no reason to take the table for one of a single column.
            let is_wide = matches!(Self { delimiter }.records(text, limits).next(), Some(Record::Wide));
            let share = if is_wide {
                1_000
            } else {
                like_first * 1_000 / rows.len().max(1)
            };
            (is_fit || is_wide).then_some((share, width, delimiter))
        });
        let best = fits.max_by_key(|&(share, width, _)| (share, width));
        Self {
            delimiter: best.map_or(NO_DELIMITER, |(.., delimiter)| delimiter),
        }
    }

    fn records<'a>(&self, text: &'a str, limits: &'a TextLimits) -> Records<'a> {
        Records::new(text, self.delimiter, limits)
    }

    /// The first rows that can be read.
    fn sample<'a>(&self, text: &'a str, limits: &'a TextLimits) -> Vec<Vec<Cow<'a, str>>> {
        let first = self.records(text, limits).take(SAMPLE_ROWS + 1);
        first
            .filter_map(|record| match record {
                Record::Fields(fields) => Some(fields),
                _ => None,
            })
            .collect()
    }
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
