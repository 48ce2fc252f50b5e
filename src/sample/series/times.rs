//! Values of a column of times -> milliseconds since 1970 in UTC. A time without a zone is taken for UTC.

use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::cells::Cell;

/// How a column writes its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Words: ISO 8601 and its relatives, or moments of a typed source.
    Written,
    /// Words: `1/31/2024`, as Americans write it.
    MonthFirst,
    /// Words: `31/1/2024`, as most others do.
    DayFirst,
    /// `20240131`.
    Compact,
    Year,
    Seconds,
    Millis,
    Micros,
    Nanos,
    /// Numbers that only say what comes before what.
    Count,
}

/// Formats that are told by what a cell holds. Numbers are told by their size, which does not overlap; seconds are from 1973 on.
const TOLD: [Format; 9] = [
    Format::Written,
    Format::MonthFirst,
    Format::DayFirst,
    Format::Year,
    Format::Compact,
    Format::Seconds,
    Format::Millis,
    Format::Micros,
    Format::Nanos,
];

/// Moments that are told by size alone are from 1973 to 2096.
const SECONDS: std::ops::RangeInclusive<f64> = 1e8..=4e9;

/// Plain years.
const YEARS: std::ops::RangeInclusive<f64> = 1_500.0..=2_100.0;

impl Format {
    /// The format that reads nine of ten of these cells, of which none is empty: a stray word is that row's fault. Of days and
    /// months that may be either the reading is taken in which the times lie closer together.
    pub(super) fn of(cells: &[&Cell<'_>]) -> Option<Self> {
        let read = |format: &Self| -> Vec<f64> { cells.iter().filter_map(|cell| format.read(cell)).collect() };
        let fits = |times: &[f64]| !cells.is_empty() && times.len() * 10 >= cells.len() * 9;
        let format = TOLD.into_iter().find(|format| fits(&read(format)))?;
        if format != Self::MonthFirst {
            return Some(format);
        }
        let gaps = |times: &[f64]| times.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum::<f64>();
        let (month, day) = (read(&Self::MonthFirst), read(&Self::DayFirst));
        let is_day = day.len() > month.len() || (day.len() == month.len() && gaps(&day) < gaps(&month));
        Some(if is_day { Self::DayFirst } else { Self::MonthFirst })
    }

    /// Whether it is of words.
    pub(super) fn is_worded(self) -> bool {
        matches!(self, Self::Written | Self::MonthFirst | Self::DayFirst)
    }

    /// Whether moments are meant, so that a window can say when it was.
    pub(super) fn is_dated(self) -> bool {
        self != Self::Count
    }

    /// The time of a cell.
    pub(super) fn read(self, cell: &Cell<'_>) -> Option<f64> {
        let number = match cell {
            Cell::Moment(moment) => return Some(*moment),
            Cell::Word(text) => {
                return match self {
                    Self::Written => written(text),
                    Self::MonthFirst => slashed(text, |first, second| (first, second)),
                    Self::DayFirst => slashed(text, |first, second| (second, first)),
                    _ => None,
                };
            }
            Cell::Number(number) => *number,
            Cell::Empty | Cell::Missing(_) => return None,
        };
        let unix = |per_ms: f64| {
            let seconds = number / per_ms / 1e3;
            SECONDS.contains(&seconds).then_some(number / per_ms)
        };
        match self {
            Self::Written | Self::MonthFirst | Self::DayFirst => None,
            Self::Compact => compact(number),
            Self::Year if YEARS.contains(&number) && number.fract() == 0.0 => midnight(number as i16, 1, 1),
            Self::Year => None,
            Self::Seconds => unix(1e-3),
            Self::Millis => unix(1.0),
            Self::Micros => unix(1e3),
            Self::Nanos => unix(1e6),
            Self::Count => Some(number),
        }
    }
}

/// Whether it is a time, or a time of day, and no number.
pub(super) fn is_time(cell: &Cell<'_>) -> bool {
    match cell {
        Cell::Moment(_) => true,
        Cell::Word(text) => {
            let worded = [Format::Written, Format::MonthFirst, Format::DayFirst];
            worded.iter().any(|format| format.read(cell).is_some()) || clock(text).is_some()
        }
        _ => false,
    }
}

/// `YYYYMMDD`.
fn compact(number: f64) -> Option<f64> {
    if number.fract() != 0.0 || !(1e7..1e8).contains(&number) {
        return None;
    }
    let number = number as i32;
    let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
    midnight(year as i16, month as i8, day as i8)
}

/// The first moment of a day in UTC.
fn midnight(year: i16, month: i8, day: i8) -> Option<f64> {
    let moment = DateTime::new(year, month, day, 0, 0, 0, 0).ok()?;
    Some(Offset::UTC.to_timestamp(moment).ok()?.as_millisecond() as f64)
}

/// `YYYY-MM-DD`, `YYYY/MM/DD`, `DD.MM.YYYY` or `YYYY-MM`, with or without a time of day and a zone.
fn written(text: &str) -> Option<f64> {
    let mut rest = text.trim();
    let first = number(&mut rest, 4)?;
    let mark = rest.chars().next().filter(|mark| "-/.".contains(*mark))?;
    rest = rest.get(1..)?;
    let second = number(&mut rest, 2)?;
    let third = match rest.strip_prefix(mark) {
        Some(after) => {
            rest = after;
            Some(number(&mut rest, 4)?)
        }
        None => None,
    };
    let (year, month, day) = match (mark, first, third) {
        ('.', 0..=31, Some(year @ 1_000..)) => (year, second, first),
        ('-' | '/' | '.', 1_000.., Some(day)) => (first, second, day),
        ('-', 1_000.., None) if rest.is_empty() => (first, second, 1),
        _ => return None,
    };
    dated(year, month, day, rest)
}

/// `1/31/2024` or `1/31/24`, with or without a time of day and a zone; which of the first two numbers are month and day says
/// `order`.
fn slashed(text: &str, order: impl Fn(i32, i32) -> (i32, i32)) -> Option<f64> {
    let mut rest = text.trim();
    let first = number(&mut rest, 2)?;
    rest = rest.strip_prefix('/')?;
    let second = number(&mut rest, 2)?;
    rest = rest.strip_prefix('/')?;
    let year = match number(&mut rest, 4)? {
        year @ 1_000.. => year,
        // As POSIX reads two digits.
        year @ 69..=99 => 1_900 + year,
        year @ 0..=68 => 2_000 + year,
        _ => return None,
    };
    let (month, day) = order(first, second);
    dated(year, month, day, rest)
}

/// A day, and the time of day and the zone that follow it, or nothing.
fn dated(year: i32, month: i32, day: i32, rest: &str) -> Option<f64> {
    let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    let day = midnight(i16::try_from(year).ok()?, month, day)?;
    if rest.is_empty() {
        return Some(day);
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?.trim_start();
    Some(day + clock(rest)?)
}

/// Milliseconds of a time of day, such as `14:30`, `14:30:00.25+02` or `2:30 PM`, since midnight in UTC.
pub(super) fn clock(text: &str) -> Option<f64> {
    let mut rest = text.trim();
    let (mut clock, mut nanos) = ([0_i32; 3], 0);
    for (part, value) in clock.iter_mut().enumerate() {
        if part > 0 {
            match rest.strip_prefix(':') {
                Some(after) => rest = after,
                None if part == 2 => break,
                None => return None,
            }
        }
        *value = number(&mut rest, 2)?;
    }
    // A leap second is the one before it.
    if clock[2] == 60 {
        clock[2] = 59;
    }
    if let Some(after) = rest.strip_prefix(['.', ',']) {
        rest = after;
        nanos = fraction(&mut rest)?;
    }
    let [mut hour, minute, second] = clock;
    rest = rest.trim_start();
    let half = rest.get(..2).map(str::to_ascii_lowercase);
    if let Some(half @ ("am" | "pm")) = half.as_deref() {
        if !(1..=12).contains(&hour) {
            return None;
        }
        hour = hour % 12 + if half == "pm" { 12 } else { 0 };
        rest = &rest[2..];
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = f64::from(3_600 * hour + 60 * minute + second);
    // Sound and vibration have more than a step a millisecond.
    let fraction_ms = f64::from(nanos / 1_000) / 1e3;
    Some(seconds * 1e3 + fraction_ms - zone(rest.trim())?)
}

/// A number of at most so many digits, taken off the text.
fn number(rest: &mut &str, digits_max: usize) -> Option<i32> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || digits > digits_max {
        return None;
    }
    let (number, after) = rest.split_at_checked(digits)?;
    *rest = after;
    number.parse().ok()
}

/// Nanoseconds of a fraction of a second; finer ones are cut off.
fn fraction(rest: &mut &str) -> Option<i32> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (fraction, after) = rest.split_at_checked(digits)?;
    *rest = after;
    format!("{fraction:0<9}").get(..9)?.parse().ok()
}

/// Milliseconds that a zone is ahead of UTC.
fn zone(text: &str) -> Option<f64> {
    if text.is_empty() || ["z", "utc", "gmt"].iter().any(|zone| zone.eq_ignore_ascii_case(text)) {
        return Some(0.0);
    }
    let (sign, mut rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1.0, rest),
        ("-", rest) => (-1.0, rest),
        _ => return None,
    };
    let first = number(&mut rest, 4)?;
    let (hours, minutes) = match rest.strip_prefix(':') {
        Some(mut rest) => (first, number(&mut rest, 2).filter(|_| rest.is_empty())?),
        None if !rest.is_empty() => return None,
        None if first > 99 => (first / 100, first % 100),
        None => (first, 0),
    };
    (hours < 24 && minutes < 60).then(|| sign * f64::from(hours * 60 + minutes) * 60_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_moment_is_read_in_every_writing() {
        let expected = 1_706_702_400_000.0; // 2024-01-31 12:00:00 in UTC
        for text in [
            "2024-01-31 12:00",
            "2024-01-31T12:00:00Z",
            "2024-01-31 12:00:00.000",
            "2024-01-31T14:30:00+02:30",
            "2024-01-31T14:30:00.000+0230",
            "2024-01-31 07:00:00-05",
            "2024/01/31 12:00:00 UTC",
            "31.01.2024 12:00",
            "2024/1/31 12:00",
        ] {
            assert_eq!(written(text), Some(expected), "{text}");
        }
        assert_eq!(written("2024-01-31"), Some(expected - 43_200_000.0));
        assert_eq!(written("2024-01"), Some(1_704_067_200_000.0));
        assert_eq!(written("1969-12-31T23:59:59.999"), Some(-1.0));
    }

    #[test]
    fn what_is_no_time_is_not_taken_for_one() {
        for text in [
            "",
            "2024",
            "2024-13-01",
            "2024-02-30",
            "12:30",
            "1.5",
            "1/2/2024",
            "v1.2.3",
            "2024-01-31 noon",
            "2024-01-31 25:00",
        ] {
            assert_eq!(written(text), None, "{text}");
        }
    }

    #[test]
    fn days_and_months_between_slashes_are_told_by_the_other_rows() {
        let of = |texts: &[&str]| {
            let cells: Vec<Cell<'_>> = texts.iter().map(|text| Cell::Word((*text).into())).collect();
            Format::of(&cells.iter().collect::<Vec<_>>())
        };
        assert_eq!(of(&["1/30/2024", "1/31/2024", "2/1/2024"]), Some(Format::MonthFirst));
        assert_eq!(of(&["30/01/2024", "31/01/2024", "01/02/2024"]), Some(Format::DayFirst));
        // Both readings are days: one after the other, or a month apart.
        assert_eq!(of(&["1/2/2024", "1/3/2024", "1/4/2024"]), Some(Format::MonthFirst));
        assert_eq!(of(&["01/02/2024", "02/02/2024", "03/02/2024"]), Some(Format::DayFirst));
        assert_eq!(of(&["13/13/2024", "1/2/3/4"]), None);
        let expected = 1_706_711_400_000.0; // 2024-01-31 14:30:00 in UTC
        let read = |format: Format, text: &str| format.read(&Cell::Word(text.to_owned().into()));
        for text in [
            "1/31/2024 2:30 PM",
            "1/31/24 14:30",
            "01/31/2024 14:30:00",
            "1/31/2024 02:30:00pm",
        ] {
            assert_eq!(read(Format::MonthFirst, text), Some(expected), "{text}");
        }
        assert_eq!(read(Format::DayFirst, "31/1/2024 14:30"), Some(expected));
        assert_eq!(read(Format::DayFirst, "1/31/2024"), None);
    }

    #[test]
    fn a_time_of_day_is_read_alone() {
        for (text, ms) in [
            ("00:00", Some(0.0)),
            ("14:30:00.250", Some(52_200_250.0)),
            ("12:05 am", Some(300_000.0)),
            ("12:05 PM", Some(43_500_000.0)),
            ("14:30+02", Some(45_000_000.0)),
            ("24:00", None),
            ("13:00 pm", None),
            ("7", None),
            ("7:5x", None),
        ] {
            assert_eq!(clock(text), ms, "{text}");
        }
    }

    #[test]
    fn numbers_are_times_by_their_size() {
        let format = |number| Format::of(&[&Cell::Number(number)]);
        assert_eq!(format(1700.0), Some(Format::Year));
        assert_eq!(format(19_580_329.0), Some(Format::Compact));
        assert_eq!(format(19_581_329.0), None);
        assert_eq!(format(1_706_702_400.5), Some(Format::Seconds));
        assert_eq!(format(1_706_702_400_000.0), Some(Format::Millis));
        assert_eq!(format(1_706_702_400_000_000.0), Some(Format::Micros));
        assert_eq!(format(1.0), None);
        assert_eq!(Format::Year.read(&Cell::Number(1970.0)), Some(0.0));
    }
}
