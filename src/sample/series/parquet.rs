//! A Parquet file -> the rows of its columns of numbers. Where it has none, each list of numbers is a series.

use std::borrow::Cow;

use super::SeriesLimits;
use super::cells::{Cell, Decimal};
use super::notes::Notes;
use super::plan::Sample;
use super::rows::Rows;
use super::windows::Series;
use crate::sample::reading::SAMPLE_ROWS;
use crate::sample::reading::gzip::expansion_max;
use crate::sample::reading::parquet::{Column, Footer, Group};
use crate::sample::reading::values::Strings;
use crate::sample::{Reason, Rejection};

/// Reads a Parquet file.
pub(super) fn read(file: &[u8], limits: &SeriesLimits, notes: &mut Notes) -> Result<Vec<Series>, Rejection> {
    let reading = limits.reading();
    let mut footer = Footer::read(file, reading)?;
    if !footer.columns.iter().any(Column::is_number)
        && let Some(number) = footer.columns.iter().position(|column| is_wanted(column, limits))
    {
        return lists(&footer, file, number, limits);
    }
    footer
        .columns
        .retain(|column| column.is_text() || column.is_number() || column.is_time());
    let rows = footer.rows();
    if rows > limits.values_max {
        return Err(limits.too_many_values());
    }
    let Some(first) = footer.groups.iter().find(|group| group.rows > 0) else {
        return Err(Rejection::new(Reason::EmptyFile, "the table has no rows"));
    };
    let mut samples = Vec::new();
    // One allowance for all: their pages are held together, and columns may claim the same bytes.
    let mut allowance = expansion_max(file.len(), reading);
    for number in 0..footer.columns.len() {
        samples.push(Values::read(&footer, file, first, number, SAMPLE_ROWS, &mut allowance)?);
    }
    let sampled = 0..first.rows.min(SAMPLE_ROWS);
    let sample = Sample {
        names: footer.columns.iter().map(|column| column.name.clone()).collect(),
        rows: sampled
            .map(|row| samples.iter().map(|values| values.cell(row)).collect())
            .collect(),
    };
    let mut into = Rows::new(&sample, limits)?;
    if rows.saturating_mul(into.columns().count() + 2) > limits.values_max {
        return Err(limits.too_many_values());
    }
    let mut at = 0;
    let mut allowance = expansion_max(file.len(), reading);
    for group in &footer.groups {
        let mut columns: Vec<Values> = footer.columns.iter().map(|_| Values::Unread).collect();
        for number in into.columns() {
            if let Some(values) = columns.get_mut(number) {
                *values = Values::read(&footer, file, group, number, group.rows, &mut allowance)?;
            }
        }
        for row in 0..group.rows {
            at += 1;
            into.push(
                at,
                |column| columns.get(column).map_or(Cell::Empty, |values| values.cell(row)),
                notes,
            )?;
        }
    }
    into.finish(notes)
}

/// Whether a column may be one whose lists are the series.
fn is_wanted(column: &Column, limits: &SeriesLimits) -> bool {
    let names = &limits.value_columns;
    column.is_list() && (names.is_empty() || names.contains(&column.name))
}

/// The lists of a column, each a series.
fn lists(footer: &Footer, file: &[u8], number: usize, limits: &SeriesLimits) -> Result<Vec<Series>, Rejection> {
    let mut allowance = expansion_max(file.len(), limits.reading());
    let (mut series, mut left) = (Vec::new(), limits.values_max);
    for group in &footer.groups {
        let lists = footer.lists(file, group, number, left, &mut allowance)?;
        for list in (0..lists.len()).filter_map(|row| lists.get(row)) {
            left = left
                .checked_sub(list.len() + 1)
                .ok_or_else(|| limits.too_many_values())?;
            if list.is_empty() {
                continue;
            }
            if series.len() >= limits.windows_max {
                return Err(limits.too_many_windows());
            }
            series.push(Series {
                channels: 1,
                values: list
                    .iter()
                    .map(|value| if value.is_finite() { *value } else { f64::NAN })
                    .collect(),
                times: Vec::new(),
            });
        }
    }
    Ok(series)
}

/// The values of a column in a group.
enum Values {
    Unread,
    Numbers(Vec<f64>),
    Moments(Vec<f64>),
    Strings(Strings),
}

impl Values {
    fn read(
        footer: &Footer,
        file: &[u8],
        group: &Group,
        number: usize,
        rows_max: usize,
        allowance: &mut u64,
    ) -> Result<Self, Rejection> {
        let is = |kind: fn(&Column) -> bool| footer.columns.get(number).is_some_and(kind);
        if is(Column::is_text) {
            return footer
                .strings(file, group, number, rows_max, allowance)
                .map(Self::Strings);
        }
        let numbers = footer.numbers(file, group, number, rows_max, allowance)?;
        Ok(if is(Column::is_time) {
            Self::Moments(numbers)
        } else {
            Self::Numbers(numbers)
        })
    }

    fn cell(&self, row: usize) -> Cell<'_> {
        match self {
            Self::Unread => Cell::Empty,
            // A number that is not there reads as one that is none.
            Self::Numbers(numbers) => match numbers.get(row) {
                Some(number) if !number.is_nan() => Cell::number(*number, || Cow::Borrowed("inf")),
                _ => Cell::Empty,
            },
            Self::Moments(moments) => match moments.get(row) {
                Some(moment) if moment.is_finite() => Cell::Moment(*moment),
                _ => Cell::Empty,
            },
            Self::Strings(strings) => match strings.get(row).map(std::str::from_utf8) {
                Some(Ok(text)) => Cell::of(text, Decimal::Point),
                Some(Err(_)) => Cell::Word(Cow::Borrowed("bytes")),
                None => Cell::Empty,
            },
        }
    }
}
