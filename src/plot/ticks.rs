//! An axis and where it is labelled: round numbers, round times of day, the first of a month.

use std::ops::Range;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use super::Unit;

const SECOND: f64 = 1_000.0;
const MINUTE: f64 = 60.0 * SECOND;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;
const YEAR: f64 = 365.25 * DAY;

/// Steps of time between a second and a month.
const STEPS: [f64; 18] = [
    SECOND,
    2.0 * SECOND,
    5.0 * SECOND,
    15.0 * SECOND,
    30.0 * SECOND,
    MINUTE,
    2.0 * MINUTE,
    5.0 * MINUTE,
    15.0 * MINUTE,
    30.0 * MINUTE,
    HOUR,
    3.0 * HOUR,
    6.0 * HOUR,
    12.0 * HOUR,
    DAY,
    2.0 * DAY,
    5.0 * DAY,
    10.0 * DAY,
];

/// An axis, never empty, with its labels.
pub(super) struct Ticks {
    range: Range<f64>,
    labels: Labels,
}

/// Where the labels of an axis are, in order, and how they are written.
struct Labels {
    at: Vec<f64>,
    style: Style,
}

/// How a label is written.
enum Style {
    Number {
        decimals: usize,
    },
    /// Digits behind the first.
    Scientific {
        decimals: usize,
    },
    Share {
        decimals: usize,
    },
    /// jiff's pattern.
    Time(&'static str),
}

impl Ticks {
    /// At most so many steps from label to label, and not many fewer.
    pub(super) fn new(range: Range<f64>, unit: Unit, steps_max: u32) -> Self {
        let least = (range.end - range.start) / f64::from(steps_max);
        let labels = match unit {
            Unit::Number => Labels::numbers(&range, least),
            Unit::Share => Labels::shares(&range, least),
            Unit::Time => Labels::times(&range, least),
        };
        Self { range, labels }
    }
}

impl Ranged for Ticks {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.labels.at.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Ticks {
    fn format(value: &f64) -> String {
        value.to_string()
    }

    fn format_ext(&self, value: &f64) -> String {
        self.labels.style.write(*value)
    }
}

impl Style {
    fn write(&self, value: f64) -> String {
        // Adding 0 makes 0 of -0.
        match *self {
            Self::Number { decimals } => format!("{:.decimals$}", value + 0.0),
            Self::Scientific { decimals } => format!("{:.decimals$e}", value + 0.0),
            Self::Share { decimals } => format!("{:.decimals$} %", 100.0 * value + 0.0),
            Self::Time(pattern) => match jiff::Timestamp::from_millisecond(value.round() as i64) {
                Ok(moment) => moment.to_zoned(TimeZone::UTC).strftime(pattern).to_string(),
                Err(_) => format!("{value:e}"),
            },
        }
    }
}

impl Labels {
    fn numbers(range: &Range<f64>, least: f64) -> Self {
        let step = round_up(least);
        let most = range.start.abs().max(range.end.abs());
        let style = if most < 1e7 && step >= 1e-4 {
            Style::Number {
                decimals: decimals(step),
            }
        } else {
            let digits = most.log10().floor() - step.log10().floor();
            Style::Scientific {
                decimals: digits.clamp(0.0, 9.0) as usize,
            }
        };
        Self::multiples(range, step, style)
    }

    fn shares(range: &Range<f64>, least: f64) -> Self {
        let step = round_up(least);
        let decimals = decimals(100.0 * step);
        Self::multiples(range, step, Style::Share { decimals })
    }

    fn times(range: &Range<f64>, least: f64) -> Self {
        if least <= SECOND / 2.0 {
            let step = round_up(least).max(1.0);
            return Self::multiples(range, step, Style::Time("%H:%M:%S%.3f"));
        }
        if let Some(step) = STEPS.into_iter().find(|step| *step >= least) {
            let pattern = match step {
                _ if step < MINUTE => "%H:%M:%S",
                _ if step < DAY => "%m-%d %H:%M",
                _ => "%Y-%m-%d",
            };
            return Self::multiples(range, step, Style::Time(pattern));
        }
        let years = least / YEAR;
        let (months, pattern) = match [1, 2, 3, 6]
            .into_iter()
            .find(|months| f64::from(*months) >= 12.0 * years)
        {
            Some(months) => (i64::from(months), "%Y-%m"),
            None => (12 * round_up(years).clamp(1.0, 1e4) as i64, "%Y"),
        };
        firsts(range, months).map_or_else(
            || Self::numbers(range, least),
            |at| Self {
                at,
                style: Style::Time(pattern),
            },
        )
    }

    fn multiples(range: &Range<f64>, step: f64, style: Style) -> Self {
        let (first, last) = ((range.start / step).ceil(), (range.end / step).floor());
        // Bounded where a step is lost in the size of the numbers, too.
        let count = (last - first + 1.0).clamp(0.0, 100.0) as usize;
        Self {
            at: (0..count).map(|number| (first + number as f64) * step).collect(),
            style,
        }
    }
}

/// The first days of every so many months; nothing where the calendar does not reach.
fn firsts(range: &Range<f64>, months: i64) -> Option<Vec<f64>> {
    let month = |at: f64| {
        let moment = jiff::Timestamp::from_millisecond(at as i64).ok()?;
        let date = moment.to_zoned(TimeZone::UTC).date();
        Some(12 * i64::from(date.year()) + i64::from(date.month()) - 1)
    };
    let (first, last) = (month(range.start)?, month(range.end)?);
    let at = (first.div_euclid(months)..=last.div_euclid(months)).filter_map(|number| {
        let month = number * months;
        let year = i16::try_from(month.div_euclid(12)).ok()?;
        let date = Date::new(year, (month.rem_euclid(12) + 1) as i8, 1).ok()?;
        let moment = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
        Some(moment.as_millisecond() as f64)
    });
    Some(at.filter(|at| range.contains(at)).collect())
}

/// 1, 2 or 5 times a power of ten, the next that is not smaller.
fn round_up(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let times = [1.0, 2.0, 5.0].into_iter().find(|times| times * power >= least);
    times.unwrap_or(10.0) * power
}

/// Digits behind the point that tell multiples of a step apart.
fn decimals(step: f64) -> usize {
    (-step.log10().floor()).clamp(0.0, 9.0) as usize
}
