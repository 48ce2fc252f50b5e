//! `Range` of a request (RFC 9110, section 14): which bytes of a file are asked for.
//! Always true: a range lies within the file; what is no range is as if it was not asked, as the RFC has it.

use axum::http::{HeaderMap, HeaderName, header};

/// What of a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// From this byte on, up to and without that one; at least one.
    Bytes {
        /// The first.
        from: u64,
        /// One more than the last.
        to: u64,
    },
    /// Bytes that it does not have.
    None,
}

impl Part {
    /// What a request asks for of a file of so many bytes with this tag. A range on condition (`If-Range`) is one only where the
    /// condition is this tag; several ranges are answered with the whole, which a server may do.
    pub(super) fn asked(headers: &HeaderMap, tag: &str, bytes: u64) -> Self {
        let condition = headers.get(header::IF_RANGE);
        if condition.is_some_and(|condition| condition.as_bytes() != tag.as_bytes()) {
            return Self::Whole;
        }
        match only(headers, header::RANGE) {
            Some(range) => Self::parse(range, bytes).unwrap_or(Self::Whole),
            None => Self::Whole,
        }
    }

    /// None where it is no single range of bytes.
    fn parse(range: &str, bytes: u64) -> Option<Self> {
        let (unit, range) = range.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = range.trim().split_once('-')?;
        let within = |from: u64, to: u64| match from < to {
            true => Self::Bytes { from, to },
            false => Self::None,
        };
        if first.is_empty() {
            let count = number(last)?;
            return Some(within(bytes.saturating_sub(count), bytes));
        }
        let first = number(first)?;
        let last = match last {
            "" => u64::MAX,
            last => number(last)?,
        };
        (first <= last).then(|| within(first, last.saturating_add(1).min(bytes)))
    }
}

/// The one header of this name.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// A number in digits; the largest there is where they are of a larger one.
fn number(digits: &str) -> Option<u64> {
    let is_one = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_one.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_asked_a_range_lies_within_the_file(range in "(bytes=)?[0-9,a-z -]{0,24}", bytes in 0u64..1_000_000) {
            if let Part::Bytes { from, to } = asked(&range, bytes) {
                prop_assert!(from < to && to <= bytes, "{from}..{to} of {bytes}");
            }
        }
    }

    fn asked(range: &str, bytes: u64) -> Part {
        let headers = HeaderMap::from_iter([(header::RANGE, range.parse().unwrap())]);
        Part::asked(&headers, "\"tag\"", bytes)
    }

    #[test]
    fn a_range_is_cut_to_the_file_and_one_outside_it_is_none() {
        for (range, from, to) in [
            ("bytes=0-0", 0, 1),
            ("bytes=0-", 0, 10),
            ("bytes=3-5", 3, 6),
            ("BYTES=9-99", 9, 10),
            ("bytes=-4", 6, 10),
            ("bytes=-99", 0, 10),
            ("bytes=2-99999999999999999999999999", 2, 10),
            ("bytes=0-18446744073709551615", 0, 10),
        ] {
            assert_eq!(asked(range, 10), Part::Bytes { from, to }, "{range}");
        }
        for range in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(asked(range, 10), Part::None, "{range}");
        }
        for range in ["bytes=0-", "bytes=-5", "bytes=0-0"] {
            assert_eq!(asked(range, 0), Part::None, "{range} of nothing");
        }
    }

    #[test]
    fn what_is_no_single_range_of_bytes_is_not_looked_at() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-3",
            "bytes=0-1,3-4",
            "bytes=a-b",
            "bytes=1",
            "lines=0-1",
            "bytes=+1-2",
            "bytes=1-+2",
            "bytes=--1",
            "bytes 0-1",
        ] {
            assert_eq!(asked(range, 10), Part::Whole, "{range}");
        }
        let mut twice = HeaderMap::new();
        twice.append(header::RANGE, "bytes=0-1".parse().unwrap());
        twice.append(header::RANGE, "bytes=2-3".parse().unwrap());
        assert_eq!(Part::asked(&twice, "\"tag\"", 10), Part::Whole);
    }

    #[test]
    fn a_range_on_condition_is_one_where_the_file_is_the_same() {
        for (condition, is_range) in [
            ("\"tag\"", true),
            ("W/\"tag\"", false),
            ("\"other\"", false),
            ("Wed, 21 Oct 2015 07:28:00 GMT", false),
        ] {
            let headers = HeaderMap::from_iter([
                (header::RANGE, "bytes=2-3".parse().unwrap()),
                (header::IF_RANGE, condition.parse().unwrap()),
            ]);
            let part = Part::asked(&headers, "\"tag\"", 10);
            assert_eq!(part == Part::Bytes { from: 2, to: 4 }, is_range, "{condition}");
            assert_eq!(part == Part::Whole, !is_range, "{condition}");
        }
    }
}
