//! Values of a column of times -> milliseconds since 1970 in UTC. A time without a zone is taken for UTC.

use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::cells::Cell;

/// How a column writes its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Words: ISO 8601 and its relatives, or moments of a typed source.
    Written,
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

/// Formats of numbers, told by their size, which does not overlap. Seconds are from 1973 on.
const BY_SIZE: [Format; 6] = [
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
    /// The format that reads all of these cells, of which none is empty.
    pub(super) fn of(cells: &[&Cell<'_>]) -> Option<Self> {
        let reads = |format: &Self| !cells.is_empty() && cells.iter().all(|cell| format.read(cell).is_some());
        [Self::Written].into_iter().chain(BY_SIZE).find(reads)
    }

    /// Whether moments are meant, so that a window can say when it was.
    pub(super) fn is_dated(self) -> bool {
        self != Self::Count
    }

    /// The time of a cell.
    pub(super) fn read(self, cell: &Cell<'_>) -> Option<f64> {
        let number = match cell {
            Cell::Moment(moment) => return Some(*moment),
            Cell::Word(text) => return written(text).filter(|_| self == Self::Written),
            Cell::Number(number) => *number,
            Cell::Empty | Cell::Missing(_) => return None,
        };
        let unix = |per_ms: f64| {
            let seconds = number / per_ms / 1e3;
            SECONDS.contains(&seconds).then_some(number / per_ms)
        };
        match self {
            Self::Written => None,
            Self::Compact => compact(number),
            Self::Year if YEARS.contains(&number) && number.fract() == 0.0 => moment(number as i16, [1, 1, 0, 0, 0], 0),
            Self::Year => None,
            Self::Seconds => unix(1e-3),
            Self::Millis => unix(1.0),
            Self::Micros => unix(1e3),
            Self::Nanos => unix(1e6),
            Self::Count => Some(number),
        }
    }
}

/// `YYYYMMDD`.
fn compact(number: f64) -> Option<f64> {
    if number.fract() != 0.0 || !(1e7..1e8).contains(&number) {
        return None;
    }
    let number = number as i32;
    let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
    moment(year as i16, [month as i8, day as i8, 0, 0, 0], 0)
}

/// A moment of year, month, day, hour, minute and second in UTC.
fn moment(year: i16, [month, day, hour, minute, second]: [i8; 5], nanos: i32) -> Option<f64> {
    let moment = DateTime::new(year, month, day, hour, minute, second, nanos).ok()?;
    let moment = Offset::UTC.to_timestamp(moment).ok()?;
    // Sound and vibration have more than a step a millisecond.
    Some(moment.as_microsecond() as f64 / 1e3)
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
    let (mut clock, mut nanos) = ([0_i8; 3], 0);
    let mut offset_ms = 0.0;
    if !rest.is_empty() {
        rest = rest.strip_prefix(['T', 't', ' '])?.trim_start();
        for (part, value) in clock.iter_mut().enumerate() {
            if part > 0 {
                match rest.strip_prefix(':') {
                    Some(after) => rest = after,
                    None if part == 2 => break,
                    None => return None,
                }
            }
            *value = i8::try_from(number(&mut rest, 2)?).ok()?;
        }
        // A leap second is the one before it.
        if clock[2] == 60 {
            clock[2] = 59;
        }
        if let Some(after) = rest.strip_prefix(['.', ',']) {
            rest = after;
            nanos = fraction(&mut rest)?;
        }
        offset_ms = zone(rest.trim())?;
    }
    let [hour, minute, second] = clock;
    let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    Some(moment(i16::try_from(year).ok()?, [month, day, hour, minute, second], nanos)? - offset_ms)
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
