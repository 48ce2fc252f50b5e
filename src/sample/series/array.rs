//! A NumPy array -> series: `[steps]`, `[steps, channels]`, or `[windows, steps, channels]`, each window a series.
//! Always true: what the header says is compared with the bytes that are there, and objects are never unpickled.

use super::SeriesLimits;
use super::windows::Series;
use crate::sample::reading::quoted;
use crate::sample::{Reason, Rejection};

/// What every array begins with.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// Headers of arrays of numbers have some hundred bytes.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// An array's numbers and how they lie.
struct Array<'a> {
    shape: Vec<usize>,
    is_fortran: bool,
    of: Item,
    data: &'a [u8],
}

/// How a number is stored.
#[derive(Clone, Copy)]
struct Item {
    kind: u8,
    bytes: usize,
    is_big: bool,
}

/// Reads an array.
pub(super) fn read(bytes: &[u8], limits: &SeriesLimits) -> Result<Vec<Series>, Rejection> {
    let array = Array::parse(bytes, limits)?;
    let [windows, steps, channels] = match *array.shape.as_slice() {
        [steps] => [1, steps, 1],
        [steps, channels] => [1, steps, channels],
        [windows, steps, channels] => [windows, steps, channels],
        _ => {
            let detail = format!("an array of {} dimensions: 1 to 3 are read", array.shape.len());
            return Err(Rejection::new(Reason::UnsupportedType, detail));
        }
    };
    if windows == 0 || steps == 0 || channels == 0 {
        return Err(Rejection::new(Reason::EmptyFile, "the array has no numbers"));
    }
    limits.check_channels(channels)?;
    if windows > limits.windows_max {
        return Err(limits.too_many_windows());
    }
    let series = (0..windows).map(|window| {
        let places = (0..channels).flat_map(|channel| (0..steps).map(move |step| [window, step, channel]));
        Series {
            channels,
            values: places
                .map(|[window, step, channel]| {
                    let place = match array.is_fortran {
                        true => (channel * steps + step) * windows + window,
                        false => (window * steps + step) * channels + channel,
                    };
                    array.number(place)
                })
                .collect(),
            times: Vec::new(),
        }
    });
    Ok(series.collect())
}

impl<'a> Array<'a> {
    fn parse(bytes: &'a [u8], limits: &SeriesLimits) -> Result<Self, Rejection> {
        let cut = || Rejection::new(Reason::Truncated, "the array ends before its header does");
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(cut)?;
        let (length, rest) = match rest {
            [1, _, low, high, rest @ ..] => (usize::from(u16::from_le_bytes([*low, *high])), rest),
            [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
            [1..=3, ..] | [] => return Err(cut()),
            _ => {
                return Err(Rejection::new(
                    Reason::UnsupportedType,
                    "an array of an unknown version",
                ));
            }
        };
        if length > HEADER_BYTES_MAX {
            let detail = format!("an array's header of {length} bytes, limit is {HEADER_BYTES_MAX}");
            return Err(Rejection::new(Reason::Limits, detail));
        }
        let (header, data) = rest.split_at_checked(length).ok_or_else(cut)?;
        let broken = || Rejection::new(Reason::Corrupt, "the array's header is malformed");
        let header = std::str::from_utf8(header).map_err(|_| broken())?;
        let of = Item::parse(value(header, "descr").ok_or_else(broken)?)?;
        let is_fortran = match value(header, "fortran_order").ok_or_else(broken)? {
            order if order.starts_with("True") => true,
            order if order.starts_with("False") => false,
            _ => return Err(broken()),
        };
        let shape = value(header, "shape").and_then(|shape| shape.strip_prefix('('));
        let (shape, _) = shape.and_then(|shape| shape.split_once(')')).ok_or_else(broken)?;
        let sides = shape.split(',').map(str::trim).filter(|side| !side.is_empty());
        let shape: Vec<usize> = sides.map(str::parse).collect::<Result<_, _>>().map_err(|_| broken())?;
        let numbers = shape
            .iter()
            .try_fold(1_usize, |numbers, side| numbers.checked_mul(*side));
        let needed = numbers.and_then(|numbers| numbers.checked_mul(of.bytes));
        if needed.is_none_or(|needed| needed > data.len()) {
            let detail = format!(
                "the array's header promises {}, and {} bytes follow",
                quoted(&format!("{shape:?}")),
                data.len()
            );
            return Err(Rejection::new(Reason::Truncated, detail));
        }
        if numbers.is_none_or(|numbers| numbers > limits.values_max) {
            return Err(limits.too_many_values());
        }
        Ok(Self {
            shape,
            is_fortran,
            of,
            data,
        })
    }

    /// The number at a place; NaN where it is not finite.
    fn number(&self, place: usize) -> f64 {
        let from = place * self.of.bytes;
        let number = self
            .data
            .get(from..from + self.of.bytes)
            .map_or(f64::NAN, |bytes| self.of.read(bytes));
        if number.is_finite() { number } else { f64::NAN }
    }
}

/// What follows a key of the header, which is a Python dictionary.
fn value<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, after) = ['\'', '"']
        .into_iter()
        .find_map(|quote| header.split_once(&format!("{quote}{key}{quote}")))?;
    after.trim_start().strip_prefix(':').map(str::trim_start)
}

impl Item {
    /// The type that a header names.
    fn parse(text: &str) -> Result<Self, Rejection> {
        let unsupported = |what: &str| Err(Rejection::new(Reason::UnsupportedType, format!("an array of {what}")));
        let Some(quote) = text.chars().next().filter(|quote| "'\"".contains(*quote)) else {
            if text.contains("O'") || text.contains("O\"") {
                return Err(unsafe_type());
            }
            return unsupported("records: plain numbers are read");
        };
        let name = text.trim_start_matches(quote).split(quote).next().unwrap_or_default();
        let (is_big, name) = match name.split_at_checked(1) {
            Some((">", name)) => (true, name),
            Some(("<" | "|" | "=", name)) => (false, name),
            _ => (false, name),
        };
        if name.starts_with('O') {
            return Err(unsafe_type());
        }
        let (kind, bytes) = match name {
            "b1" | "?" => (b'b', 1),
            "i1" => (b'i', 1),
            "i2" => (b'i', 2),
            "i4" => (b'i', 4),
            "i8" => (b'i', 8),
            "u1" => (b'u', 1),
            "u2" => (b'u', 2),
            "u4" => (b'u', 4),
            "u8" => (b'u', 8),
            "f2" => (b'f', 2),
            "f4" => (b'f', 4),
            "f8" => (b'f', 8),
            other => return unsupported(&format!("{}: numbers of up to 8 bytes are read", quoted(other))),
        };
        Ok(Self { kind, bytes, is_big })
    }

    fn read(self, bytes: &[u8]) -> f64 {
        let mut word = [0; 8];
        for (place, byte) in word.iter_mut().zip(bytes) {
            *place = *byte;
        }
        if self.is_big {
            word[..self.bytes].reverse();
        }
        let bits = u64::from_le_bytes(word);
        match (self.kind, self.bytes) {
            (b'f', 2) => half(bits as u16),
            (b'f', 4) => f64::from(f32::from_bits(bits as u32)),
            (b'f', _) => f64::from_bits(bits),
            (b'b', _) => f64::from(u8::from(bits != 0)),
            (b'u', _) => bits as f64,
            _ => {
                // The sign is the number's highest bit, and not the word's.
                let unused = u64::BITS - 8 * self.bytes as u32;
                ((bits << unused).cast_signed() >> unused) as f64
            }
        }
    }
}

/// A number of 16 bits (IEEE 754).
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 => f64::NAN,
        _ => (1.0 + fraction / 1_024.0) * 2_f64.powi(exponent - 15),
    }
}

fn unsafe_type() -> Rejection {
    let detail = "a NumPy array of objects, a pickle: reading it could run code";
    Rejection::new(Reason::UnsafeType, detail)
}
