//! A value of a source -> a number, a word or nothing.

use std::borrow::Cow;

/// A value as a source writes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Empty,
    /// A finite number.
    Number(f64),
    /// Milliseconds since 1970, where the source's type says so.
    Moment(f64),
    /// What stands for a number that is not there, or is none.
    Missing(Cow<'a, str>),
    Word(Cow<'a, str>),
}

/// What writers put where a number is missing or could not be computed, in lower case. Not finite numbers are as well.
const MISSING: [&str; 17] = [
    "na", "n/a", "n.a.", "nan", "null", "none", "nil", "-", "--", "?", ".", "#n/a", "#na", "missing", "#div/0!",
    "#value!", "#num!",
];

impl<'a> Cell<'a> {
    /// The value that this text is.
    pub(super) fn of(text: &'a str, decimal: Decimal) -> Self {
        let text = text.trim();
        if text.is_empty() {
            return Self::Empty;
        }
        let number = match decimal {
            Decimal::Comma if text.contains(',') && !text.contains('.') => text.replacen(',', ".", 1).parse(),
            _ => text.parse::<f64>(),
        };
        match number {
            Ok(number) => Self::number(number, || Cow::Borrowed(text)),
            Err(_) if MISSING.iter().any(|missing| missing.eq_ignore_ascii_case(text)) => {
                Self::Missing(Cow::Borrowed(text))
            }
            Err(_) => Self::Word(Cow::Borrowed(text)),
        }
    }

    /// A number, or what it is where it is not finite.
    pub(super) fn number(number: f64, text: impl FnOnce() -> Cow<'a, str>) -> Self {
        if number.is_finite() {
            Self::Number(number)
        } else {
            Self::Missing(text())
        }
    }
}

/// What separates a number's whole part from the rest. Thousands are never separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decimal {
    Point,
    Comma,
}

impl Decimal {
    /// A comma where some of these cells are numbers with it, and none is one with a point.
    pub(super) fn of<'a>(cells: impl Iterator<Item = &'a str>) -> Self {
        let mut comma = Self::Point;
        for cell in cells {
            let cell = cell.trim();
            if cell.contains('.') && cell.parse::<f64>().is_ok() {
                return Self::Point;
            }
            if cell.contains(',') && matches!(Cell::of(cell, Self::Comma), Cell::Number(_)) {
                comma = Self::Comma;
            }
        }
        comma
    }
}
