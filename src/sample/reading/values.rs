//! The values of a Parquet column: strings where they lie in the pages, numbers as `f64`.

use std::ops::Range;

use super::pages::hybrid;
use super::parquet::broken;
use crate::sample::Rejection;

/// What makes values of a page's bytes.
pub(super) trait Decode {
    type Value: Clone;

    /// `count` values, one after the other from `start` on.
    fn plain(&self, page: &[u8], start: usize, count: usize) -> Result<Vec<Self::Value>, Rejection>;

    /// `count` values in runs: only truth values are.
    fn runs(&self, page: &[u8], start: usize, count: usize) -> Result<Vec<Self::Value>, Rejection>;

    /// Takes a page whose values were made.
    fn keep(&mut self, page: Vec<u8>);
}

/// Expanded pages, in which strings lie.
#[derive(Default)]
pub(super) struct StringPages {
    pages: Vec<Vec<u8>>,
}

/// Where a string lies.
#[derive(Clone)]
pub(super) struct Place {
    page: usize,
    bytes: Range<usize>,
}

impl Decode for StringPages {
    type Value = Place;

    /// Strings with their lengths before them.
    fn plain(&self, page: &[u8], start: usize, count: usize) -> Result<Vec<Place>, Rejection> {
        let cut = || broken("a value goes on past its page");
        let mut places = Vec::new();
        let mut at = start;
        for _ in 0..count {
            let length = page.get(at..).and_then(<[u8]>::first_chunk).ok_or_else(cut)?;
            let from = at + 4;
            let to = from.checked_add(u32::from_le_bytes(*length) as usize).ok_or_else(cut)?;
            if to > page.len() {
                return Err(cut());
            }
            places.push(Place {
                page: self.pages.len(),
                bytes: from..to,
            });
            at = to;
        }
        Ok(places)
    }

    fn runs(&self, _page: &[u8], _start: usize, _count: usize) -> Result<Vec<Place>, Rejection> {
        Err(broken("its strings are said to be truth values"))
    }

    fn keep(&mut self, page: Vec<u8>) {
        self.pages.push(page);
    }
}

/// Strings of a column, each in one of the expanded pages.
#[derive(Default)]
pub(in crate::sample) struct Strings {
    pages: StringPages,
    places: Vec<Option<Place>>,
}

impl Strings {
    pub(super) fn new(pages: StringPages, places: Vec<Option<Place>>) -> Self {
        Self { pages, places }
    }

    pub(in crate::sample) fn len(&self) -> usize {
        self.places.len()
    }

    /// The string of a row: nothing where it is missing.
    pub(in crate::sample) fn get(&self, row: usize) -> Option<&[u8]> {
        let place = self.places.get(row)?.as_ref()?;
        self.pages.pages.get(place.page)?.get(place.bytes.clone())
    }
}

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Physical {
    Boolean,
    Int32,
    Uint32,
    Int64,
    Uint64,
    /// Nanoseconds of a day and the day, as old writers store moments: read as milliseconds since 1970.
    Moment,
    Float,
    Double,
}

/// How a number is stored, and what it counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    pub(super) physical: Physical,
    /// What is stored is `times / over` units.
    pub(super) times: f64,
    pub(super) over: f64,
}

/// The day 1970-01-01, counted as astronomers do.
const EPOCH_JULIAN_DAY: f64 = 2_440_588.0;

const DAY_MS: f64 = 86_400_000.0;

impl Number {
    /// Whether what is stored is an integer, and counts as one.
    pub(super) fn is_integer(self) -> bool {
        let is_real = matches!(self.physical, Physical::Float | Physical::Double | Physical::Moment);
        !is_real && self.times == 1.0 && self.over == 1.0
    }

    fn bytes(self) -> usize {
        match self.physical {
            Physical::Boolean => 1,
            Physical::Int32 | Physical::Uint32 | Physical::Float => 4,
            Physical::Int64 | Physical::Uint64 | Physical::Double => 8,
            Physical::Moment => 12,
        }
    }

    fn read(self, bytes: &[u8]) -> f64 {
        let four = || bytes.first_chunk().copied().unwrap_or_default();
        let eight = || bytes.first_chunk().copied().unwrap_or_default();
        let stored = match self.physical {
            Physical::Boolean => f64::from(four()[0]),
            Physical::Int32 => f64::from(i32::from_le_bytes(four())),
            Physical::Uint32 => f64::from(u32::from_le_bytes(four())),
            Physical::Float => f64::from(f32::from_le_bytes(four())),
            Physical::Int64 => i64::from_le_bytes(eight()) as f64,
            Physical::Uint64 => u64::from_le_bytes(eight()) as f64,
            Physical::Double => f64::from_le_bytes(eight()),
            Physical::Moment => {
                let day = bytes.last_chunk().copied().unwrap_or_default();
                let days = f64::from(u32::from_le_bytes(day)) - EPOCH_JULIAN_DAY;
                days * DAY_MS + i64::from_le_bytes(eight()) as f64 / 1e6
            }
        };
        stored * self.times / self.over
    }
}

impl Decode for Number {
    type Value = f64;

    fn plain(&self, page: &[u8], start: usize, count: usize) -> Result<Vec<f64>, Rejection> {
        let cut = || broken("its numbers go on past their page");
        let bytes = page.get(start..).ok_or_else(cut)?;
        if self.physical == Physical::Boolean {
            let packed = bytes.get(..count.div_ceil(8)).ok_or_else(cut)?;
            let bits = packed.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
            return Ok(bits.take(count).map(f64::from).collect());
        }
        let length = count.checked_mul(self.bytes()).ok_or_else(cut)?;
        let bytes = bytes.get(..length).ok_or_else(cut)?;
        Ok(bytes.chunks_exact(self.bytes()).map(|bytes| self.read(bytes)).collect())
    }

    fn runs(&self, page: &[u8], start: usize, count: usize) -> Result<Vec<f64>, Rejection> {
        if self.physical != Physical::Boolean {
            return Err(broken("its numbers are said to be truth values"));
        }
        let bytes = page.get(start..).and_then(|bytes| bytes.get(4..));
        let bytes = bytes.ok_or_else(|| broken("a page is cut"))?;
        Ok(hybrid(bytes, 1, count)?.into_iter().map(f64::from).collect())
    }

    fn keep(&mut self, _page: Vec<u8>) {}
}

/// The lists of a column, one a row; one that is missing is empty.
#[derive(Default)]
pub(in crate::sample) struct Lists {
    /// NaN where an item is missing.
    values: Vec<f64>,
    starts: Vec<usize>,
}

impl Lists {
    pub(super) fn new(values: Vec<f64>, starts: Vec<usize>) -> Self {
        Self { values, starts }
    }

    pub(in crate::sample) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The numbers of a row.
    pub(in crate::sample) fn get(&self, row: usize) -> Option<&[f64]> {
        let start = *self.starts.get(row)?;
        let end = self.starts.get(row + 1).copied().unwrap_or(self.values.len());
        self.values.get(start..end)
    }
}
