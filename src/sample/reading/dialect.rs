//! How a table of text is written, told by its first rows.

use std::borrow::Cow;

use super::records::{Record, Records};
use super::{ReadLimits, SAMPLE_ROWS};

/// What may stand between two fields.
pub(in crate::sample) const DELIMITERS: [u8; 4] = *b",\t;|";

/// Text holds no NUL.
pub(in crate::sample) const NO_DELIMITER: u8 = 0;

/// How a table is written.
#[derive(Clone, Copy)]
pub(in crate::sample) struct Dialect {
    /// What separates the fields: `NO_DELIMITER` where the table has one column: its lines then hold every delimiter as text.
    pub(in crate::sample) delimiter: u8,
}

impl Dialect {
    /// The delimiter that cuts most of the first rows as it cuts the first; of equals the one with more columns.
    pub(in crate::sample) fn of(text: &str, limits: ReadLimits) -> Self {
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

    pub(in crate::sample) fn records<'a>(&self, text: &'a str, limits: ReadLimits) -> Records<'a> {
        Records::new(text, self.delimiter, limits)
    }

    /// The first rows that can be read.
    pub(in crate::sample) fn sample<'a>(&self, text: &'a str, limits: ReadLimits) -> Vec<Vec<Cow<'a, str>>> {
        let first = self.records(text, limits).take(SAMPLE_ROWS + 1);
        first
            .filter_map(|record| match record {
                Record::Fields(fields) => Some(fields),
                _ => None,
            })
            .collect()
    }
}
