//! A Parquet file -> the rows of its columns of numbers, lists of numbers and strings.
//! Always true: of one group of rows at a time no more than `VALUES_MAX` values are held, whatever the file says of itself.

use super::TransitionLimits;
use super::columns::Columns;
use super::stream::Stream;
use super::value::Value;
use crate::sample::reading::gzip::expansion_max;
use crate::sample::reading::parquet::{Column, Footer, Group};
use crate::sample::reading::values::{Lists, Strings};
use crate::sample::{Reason, Rejection};

/// Values of the rows that are stored together. A file with more is refused: it can be written in smaller groups.
const VALUES_MAX: usize = 1 << 25;

/// Reads a Parquet file.
pub(super) fn read(file: &[u8], limits: &TransitionLimits, into: &mut Stream<'_>) -> Result<(), Rejection> {
    let footer = Footer::read(file, limits.reading())?;
    let is_read = |column: &Column| column.is_number() || column.is_list() || column.is_text();
    let names = footer.columns.iter();
    let names = names.map(|column| if is_read(column) { column.name.as_str() } else { "" });
    let columns = Columns::of(names).ok_or_else(|| {
        let detail = "no column of numbers, of lists of numbers or of texts names a state, or none an action";
        Rejection::new(Reason::UnsupportedType, detail)
    })?;
    let rows = footer.rows();
    if rows > limits.transitions_max {
        let detail = format!(
            "{rows} rows, limit is {} transitions of one source",
            limits.transitions_max
        );
        return Err(Rejection::new(Reason::Limits, detail));
    }
    if rows == 0 {
        return Err(Rejection::new(Reason::EmptyFile, "the table has no rows"));
    }
    let mut allowance = expansion_max(file.len(), limits.reading());
    let mut at = 0;
    for group in &footer.groups {
        let held = held(file, &footer, group, &columns, &mut allowance)?;
        for row in 0..group.rows {
            at += 1;
            let cell = |column: usize| held.get(column)?.as_ref()?.cell(row, limits);
            into.row(at, Ok(columns.row(limits, cell)))?;
        }
    }
    Ok(())
}

/// A column's values in one group of rows.
enum Held {
    Numbers { numbers: Vec<f64>, are_integers: bool },
    Lists(Lists),
    Strings(Strings),
}

impl Held {
    /// What a row holds; a list that is empty and a number that is NaN stand for one that is missing.
    fn cell(&self, row: usize, limits: &TransitionLimits) -> Option<Value> {
        match self {
            Self::Numbers { numbers, are_integers } => {
                let value = numbers.get(row).copied().filter(|value| !value.is_nan())?;
                Some(Value::of_number(value, *are_integers))
            }
            Self::Lists(lists) => {
                let list = lists.get(row).filter(|list| !list.is_empty())?;
                Some(Value::of_list(list, limits))
            }
            Self::Strings(strings) => {
                let string = strings.get(row)?;
                if string.len() > limits.line_bytes_max {
                    return Some(Value::Wrong("a text longer than the limit"));
                }
                match std::str::from_utf8(string) {
                    Ok(text) => Value::of_cell(text, limits),
                    Err(_) => Some(Value::Wrong("what is no UTF-8")),
                }
            }
        }
    }
}

/// The values of the columns that are read; nothing at the places of the others.
fn held(
    file: &[u8],
    footer: &Footer,
    group: &Group,
    columns: &Columns,
    allowance: &mut u64,
) -> Result<Vec<Option<Held>>, Rejection> {
    let too_many = || {
        let detail = format!("a group of rows with more than {VALUES_MAX} values, the limit");
        Rejection::new(Reason::Limits, detail)
    };
    let mut held: Vec<Option<Held>> = footer.columns.iter().map(|_| None).collect();
    let mut left = VALUES_MAX;
    for number in columns.numbers() {
        let (Some(column), Some(held)) = (footer.columns.get(number), held.get_mut(number)) else {
            continue;
        };
        left = left.checked_sub(group.rows).ok_or_else(too_many)?;
        *held = Some(if column.is_list() {
            let lists = footer.lists(file, group, number, left, allowance)?;
            let items = (0..lists.len()).filter_map(|row| lists.get(row)).map(<[f64]>::len);
            left = left.saturating_sub(items.sum());
            Held::Lists(lists)
        } else if column.is_text() {
            Held::Strings(footer.strings(file, group, number, group.rows, allowance)?)
        } else {
            Held::Numbers {
                numbers: footer.numbers(file, group, number, group.rows, allowance)?,
                are_integers: column.is_integer(),
            }
        });
    }
    Ok(held)
}
