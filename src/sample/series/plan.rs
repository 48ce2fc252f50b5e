//! The first rows of a source -> which of its columns is the time, and which may be variables.

use super::SeriesLimits;
use super::cells::Cell;
use super::times::{self, Format};
use crate::sample::reading::quoted;
use crate::sample::{Reason, Rejection};

/// Names of a column of times, in lower case.
const TIME_NAMES: [&str; 22] = [
    "timestamp",
    "time",
    "date",
    "datetime",
    "date_time",
    "date time",
    "ds",
    "ts",
    "t",
    "day",
    "month",
    "year",
    "period",
    "unix",
    "unixtime",
    "unix_time",
    "epoch",
    "utc",
    "zeit",
    "datum",
    "zeitpunkt",
    "local_time",
];

/// The first rows of a source.
pub(super) struct Sample<'a> {
    pub(super) names: Vec<String>,
    pub(super) rows: Vec<Vec<Cell<'a>>>,
}

/// Where a row's time stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time {
    pub(super) column: usize,
    format: Format,
    /// The column of the time of day, where the other holds days.
    clock: Option<usize>,
}

impl Time {
    /// Whether moments are meant, so that a window can say when it was.
    pub(super) fn is_dated(self) -> bool {
        self.format.is_dated()
    }

    /// The columns that it stands in.
    pub(super) fn columns(self) -> impl Iterator<Item = usize> {
        std::iter::once(self.column).chain(self.clock)
    }

    /// The time of the row whose cells `cell` gives by their columns.
    pub(super) fn read<'c>(self, cell: impl Fn(usize) -> Cell<'c>) -> Option<f64> {
        let day = self.format.read(&cell(self.column))?;
        match self.clock {
            Some(clock) => Some(day + clock_of(&cell(clock))?),
            None => Some(day),
        }
    }
}

fn clock_of(cell: &Cell<'_>) -> Option<f64> {
    match cell {
        Cell::Word(text) => times::clock(text),
        _ => None,
    }
}

/// Which columns are read.
pub(super) struct Plan {
    pub(super) time: Option<Time>,
    /// Columns that may be variables: whether they are shows when all rows are read.
    pub(super) variables: Vec<usize>,
}

impl Plan {
    /// The columns that the limits name; else the likeliest.
    pub(super) fn of(sample: &Sample<'_>, limits: &SeriesLimits) -> Result<Self, Rejection> {
        let time = match &limits.time_column {
            Some(name) => {
                let column = sample.find(name)?;
                let format = sample.format(column).or_else(|| sample.count(column));
                let format = format.ok_or_else(|| {
                    let detail = format!("its column {} holds no times that can be read", quoted(name));
                    Rejection::new(Reason::UnsupportedType, detail)
                })?;
                Some((column, format))
            }
            None => sample.time(),
        };
        let time = time.map(|(column, format)| Time {
            column,
            format,
            clock: sample.clock(column, format),
        });
        let is_time = |column: usize| time.is_some_and(|time| time.columns().any(|time| time == column));
        let variables: Vec<usize> = if limits.value_columns.is_empty() {
            let all = 0..sample.names.len();
            all.filter(|&column| !is_time(column) && sample.may_be_variable(column))
                .collect()
        } else {
            let named = limits.value_columns.iter().map(|name| sample.find(name));
            named.collect::<Result<_, _>>()?
        };
        Ok(Self { time, variables })
    }
}

impl Sample<'_> {
    fn cells(&self, column: usize) -> impl Iterator<Item = &Cell<'_>> {
        let cells = self.rows.iter().filter_map(move |row| row.get(column));
        cells.filter(|cell| !matches!(cell, Cell::Empty | Cell::Missing(_)))
    }

    fn numbers(&self, column: usize) -> Vec<f64> {
        let number = |cell: &Cell<'_>| match cell {
            Cell::Number(number) => Some(*number),
            _ => None,
        };
        self.cells(column).filter_map(number).collect()
    }

    fn find(&self, name: &str) -> Result<usize, Rejection> {
        let found = self.names.iter().position(|known| known == name);
        found.ok_or_else(|| {
            let detail = format!(
                "it has no column {}; its columns are {}",
                quoted(name),
                quoted(&self.names.join(", "))
            );
            Rejection::new(Reason::UnsupportedType, detail)
        })
    }

    /// A column named as times are; else the first of written times; else the first column, where its numbers grow and are
    /// times by their size.
    fn time(&self) -> Option<(usize, Format)> {
        let is_named = |column: &usize| {
            let name = self.names.get(*column).map(|name| name.trim().to_lowercase());
            name.is_some_and(|name| TIME_NAMES.contains(&name.as_str()))
        };
        let columns = 0..self.names.len();
        let named = columns.clone().filter(is_named).find_map(|column| {
            let is_moment = |format: &Format| *format != Format::Year || self.is_distinct(column);
            let format = self.format(column).filter(is_moment);
            let format = format.or_else(|| self.count(column).filter(|_| self.grows(column)));
            Some((column, format?))
        });
        let written = || {
            let mut written = columns.clone();
            written.find_map(|column| Some((column, self.format(column).filter(|format| format.is_worded())?)))
        };
        let first = || Some((0, self.format(0).filter(|_| self.grows(0))?));
        named.or_else(written).or_else(first)
    }

    /// The format of a column's times.
    fn format(&self, column: usize) -> Option<Format> {
        Format::of(&self.cells(column).collect::<Vec<_>>())
    }

    /// The column of times of day beside one of days: the nearest behind it, else before it.
    fn clock(&self, days: usize, format: Format) -> Option<usize> {
        const DAY_MS: f64 = 86_400_000.0;
        let is_day = |cell: &Cell<'_>| format.read(cell).is_none_or(|time| time % DAY_MS == 0.0);
        if !format.is_dated() || !self.cells(days).all(is_day) {
            return None;
        }
        let is_clock = |column: &usize| {
            let cells: Vec<&Cell<'_>> = self.cells(*column).collect();
            let read = cells.iter().filter(|cell| clock_of(cell).is_some()).count();
            !cells.is_empty() && read * 10 >= cells.len() * 9
        };
        (days + 1..self.names.len()).chain((0..days).rev()).find(is_clock)
    }

    /// Times of numbers that are no moments.
    fn count(&self, column: usize) -> Option<Format> {
        let mut cells = self.cells(column).peekable();
        let is_number = |cell: &Cell<'_>| matches!(cell, Cell::Number(_));
        (cells.peek().is_some() && cells.all(is_number)).then_some(Format::Count)
    }

    /// Whether hardly a number of a column is there twice: the years of days are no times.
    fn is_distinct(&self, column: usize) -> bool {
        let mut numbers = self.numbers(column);
        let all = numbers.len();
        numbers.sort_by(f64::total_cmp);
        numbers.dedup();
        numbers.len() * 10 >= all * 8
    }

    /// Whether each of a column's numbers is larger than the one before it.
    fn grows(&self, column: usize) -> bool {
        let numbers = self.numbers(column);
        numbers.len() > 1 && numbers.windows(2).all(|pair| pair[0] < pair[1])
    }

    /// Whether words are not most of what a column holds. An empty one may hold numbers further on.
    fn may_be_variable(&self, column: usize) -> bool {
        let words = self
            .cells(column)
            .filter(|cell| !matches!(cell, Cell::Number(_)))
            .count();
        words * 2 <= self.cells(column).count()
    }
}
