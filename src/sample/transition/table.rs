//! A table of text -> the rows of its columns.
//! Always true: a row whose width is not the table's is a fault, never a guess.

use super::TransitionLimits;
use super::columns::Columns;
use super::stream::Stream;
use super::value::Value;
use crate::sample::reading::dialect::DELIMITERS;
use crate::sample::reading::records::{Record, Records};
use crate::sample::{Reason, Rejection};

/// A table whose header names a state and an action.
pub(super) struct Table {
    delimiter: u8,
    columns: Columns,
    width: usize,
}

impl Table {
    /// The table that a text with `\n` line ends is.
    pub(super) fn of(text: &str, limits: &TransitionLimits) -> Result<Self, Rejection> {
        let mut is_wide = false;
        for delimiter in DELIMITERS {
            match Records::new(text, delimiter, limits.reading()).next() {
                Some(Record::Fields(names)) => {
                    if let Some(columns) = Columns::of(names.iter().map(AsRef::as_ref)) {
                        let width = names.len();
                        return Ok(Self {
                            delimiter,
                            columns,
                            width,
                        });
                    }
                }
                Some(Record::Wide) => is_wide = true,
                _ => {}
            }
        }
        if is_wide {
            let detail = format!("more columns than {}, the limit", limits.columns_max);
            return Err(Rejection::new(Reason::Limits, detail));
        }
        let detail = "neither rows of JSON nor a table whose header names a state and an action";
        Err(Rejection::new(Reason::UnsupportedType, detail))
    }

    /// Reads the rows of the text that it was told from.
    pub(super) fn read(&self, text: &str, limits: &TransitionLimits, into: &mut Stream<'_>) -> Result<(), Rejection> {
        let mut records = Records::new(text, self.delimiter, limits.reading());
        records.next();
        records.width = Some(self.width);
        let mut at = 0;
        while let Some(record) = records.next() {
            at += 1;
            let line = records.line;
            let wrong = |reason, detail| Err(Rejection::new(reason, detail));
            let row = match record {
                Record::Fields(cells) if cells.len() == self.width => {
                    let cell = |column: usize| Value::of_cell(cells.get(column)?, limits);
                    Ok(self.columns.row(limits, cell))
                }
                Record::Fields(cells) => {
                    let detail = format!("line {line} has {} fields, the table has {}", cells.len(), self.width);
                    wrong(Reason::Corrupt, detail)
                }
                Record::StrayQuote => wrong(Reason::Corrupt, format!("a quote in line {line} is not closed")),
                Record::Long => {
                    let detail = format!("line {line} is longer than {} bytes, the limit", limits.line_bytes_max);
                    wrong(Reason::Limits, detail)
                }
                Record::Wide => {
                    let detail = format!("line {line} has more fields than {}, the limit", limits.columns_max);
                    wrong(Reason::Limits, detail)
                }
            };
            into.row(at, row)?;
        }
        if at == 0 {
            return Err(Rejection::new(Reason::EmptyFile, "the table has a header and no rows"));
        }
        Ok(())
    }
}
