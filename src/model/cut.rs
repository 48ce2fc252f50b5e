//! Windows of series cut into rows of patches, in plain Rust: what is seen, and what was where something is hidden.
//! Always true: every number is finite; one that is missing reaches nothing; one that is hidden reaches nothing but what is to
//! be told.
//!
//! Patches are cut from the end of a window backwards, and their places count from there: the newest patch is always at place
//! 0, so that what is forecast stands where it was learnt, however long the past is. What of the oldest patch lies before the
//! window is missing.
//!
//! A variable is normalised by the mean and deviation of what is visible of it: those of the whole window would tell of what is
//! hidden. So what is hidden may lie any number of deviations away, and counts as [`FAR`] at most. Where a variable does not
//! vary in what is visible, any other number is [`FAR`] away; where fewer than [`VISIBLE_MIN`] numbers are visible, they say
//! too little of its scale, and what is hidden of it is not asked for.

use super::SeriesSpec;
use crate::sample::{Normalised, Window};

/// Tokens of one window, at most. Of more variables than fit the first are kept; of a single one that is longer the newest
/// patches.
pub const TOKENS_MAX: usize = 2_048;

/// The most that a number is away from its variable's mean, in deviations. Farther ones count as this far, so that a spike
/// weighs as much as 25 numbers and not as all others together.
pub const FAR: f32 = 5.0;

/// Numbers of a variable that must be visible for the others to be asked for.
const VISIBLE_MIN: usize = 4;

/// Lengths are rounded up to a multiple of this, so that few shapes come up.
const LENGTH_STEP: usize = 8;

/// The most that a feature of scale is: see [`soft`].
pub(super) const SCALE_MAX: f64 = 4.0;

/// Deviations from a mean that rounding makes of what does not vary.
const ROUNDING: f64 = 1e-9;

/// What is shown of a window: its first variables, its newest patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Variables.
    pub channels: usize,
    /// Patches of each.
    pub patches: usize,
}

impl Grid {
    /// Of this window, in the patches of this network.
    pub fn of(window: &Window, spec: &SeriesSpec) -> Self {
        let patches = window.steps().div_ceil(spec.patch_steps as usize).min(TOKENS_MAX);
        Self {
            channels: usize::from(window.channels).min(TOKENS_MAX / patches.max(1)),
            patches,
        }
    }
}

/// A window as tokens: of each patch in which a number is there or hidden, those of the first variable from the oldest on, then
/// those of the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PatchRow {
    /// P of each token: normalised, 0 where one is missing or hidden.
    pub values: Vec<f32>,
    /// P of each token: 1 where a number is seen, else 0.
    pub there: Vec<f32>,
    /// Two of each token: the mean and the deviation of its variable, as features.
    pub scale: Vec<f32>,
    /// Each token's variable.
    pub channels: Vec<i64>,
    /// Each token's place: patches from the end.
    pub places: Vec<i64>,
    /// Whether a token hides its patch.
    pub hidden: Vec<bool>,
    /// P of each hidden token: what was there, 0 where it is missing.
    pub was: Vec<f32>,
    /// P of each hidden token: 1 where a number is asked for, else 0.
    pub asked: Vec<f32>,
    /// What each variable was normalised by.
    pub scales: Vec<Scale>,
}

/// What a variable is normalised by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The mean of what is visible.
    pub mean: f64,
    /// Its standard deviation; 0 where it does not vary.
    pub deviation: f64,
    /// Whether enough is visible to ask for the rest.
    pub is_known: bool,
}

impl PatchRow {
    /// Of this window, where patches of variables (its number, that of the patch from the oldest shown) are hidden.
    pub fn new(window: &Window, spec: &SeriesSpec, is_hidden: impl Fn(usize, usize) -> bool) -> Self {
        let (grid, len) = (Grid::of(window, spec), spec.patch_steps as usize);
        let mut row = Self::default();
        for channel in 0..grid.channels {
            let steps = window.channel(channel);
            // Where a patch's steps are; those of the oldest may begin before the window.
            let span = |patch: usize| {
                let to = steps.len() - (grid.patches - 1 - patch) * len;
                to.saturating_sub(len)..to
            };
            let mut visible = steps[span(0).start..].to_vec();
            for patch in (0..grid.patches).filter(|patch| is_hidden(channel, *patch)) {
                let first = span(0).start;
                visible[span(patch).start - first..span(patch).end - first].fill(f64::NAN);
            }
            let (scale, normal) = normalised(visible);
            let features = [
                soft(scale.mean.asinh()),
                soft(scale.deviation.max(f64::MIN_POSITIVE).ln()),
            ];
            for patch in 0..grid.patches {
                let span = span(patch);
                let seen = &normal[span.start - (steps.len() - normal.len())..][..span.len()];
                let hides = is_hidden(channel, patch);
                if !hides && seen.iter().all(|value| value.is_nan()) {
                    continue;
                }
                let before = len - span.len();
                push(&mut row.values, &mut row.there, before, seen);
                row.scale.extend(features);
                row.channels.push(channel.min(spec.channels_max as usize - 1) as i64);
                row.places.push((grid.patches - 1 - patch) as i64);
                row.hidden.push(hides);
                if hides {
                    let was: Vec<f32> = steps[span].iter().map(|value| scale.normal(*value)).collect();
                    push(&mut row.was, &mut row.asked, before, &was);
                }
            }
            row.scales.push(scale);
        }
        row
    }

    /// How many tokens it is.
    pub fn len(&self) -> usize {
        self.hidden.len()
    }

    /// Whether it is none.
    pub fn is_empty(&self) -> bool {
        self.hidden.is_empty()
    }

    /// The places of its hidden tokens in it.
    pub fn hidden_places(&self) -> Vec<i64> {
        let hidden = (0..).zip(&self.hidden).filter(|(_, is_hidden)| **is_hidden);
        hidden.map(|(at, _)| at).collect()
    }
}

impl Scale {
    /// A number in deviations from the mean, [`FAR`] at most; NaN where it is missing or not to be asked for.
    pub(super) fn normal(&self, value: f64) -> f32 {
        let off = value - self.mean;
        if value.is_nan() || !self.is_known {
            return f32::NAN;
        }
        if self.deviation > 0.0 {
            return ((off / self.deviation) as f32).clamp(-FAR, FAR);
        }
        match off.abs() <= ROUNDING * self.mean.abs() {
            true => 0.0,
            false => FAR.copysign(off as f32),
        }
    }

    /// The number that is so many deviations from the mean.
    pub fn real(&self, normal: f32) -> f64 {
        (self.mean + f64::from(normal) * self.deviation).clamp(f64::MIN, f64::MAX)
    }

    /// The squared difference of two numbers in deviations, `FAR` squared at most; None where the variable does not vary in what
    /// is visible, or where a number is missing.
    pub fn squared(&self, one: f64, other: f64) -> Option<f64> {
        let off = (one - other) / self.deviation;
        (self.is_known && self.deviation > 0.0 && !off.is_nan()).then(|| (off * off).min(f64::from(FAR * FAR)))
    }
}

/// Rows of patches, filled up to one length.
#[derive(Clone, Debug, PartialEq)]
pub struct PaddedPatches {
    /// How many.
    pub rows: usize,
    /// Tokens of each.
    pub columns: usize,
    /// The rows, one after the other.
    pub filled: PatchRow,
    /// Whether a place holds a token and not padding.
    pub mask: Vec<bool>,
    /// Steps of a patch.
    pub patch_steps: usize,
}

impl PaddedPatches {
    /// These rows, which all are of this network's patches.
    pub fn new(rows: &[&PatchRow], spec: &SeriesSpec) -> Self {
        let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let (columns, len) = (padded(longest), spec.patch_steps as usize);
        let mut filled = PatchRow::default();
        let mut mask = Vec::with_capacity(rows.len() * columns);
        for (at, row) in rows.iter().enumerate() {
            let until = (at + 1) * columns;
            let add = |into: &mut Vec<f32>, own: &[f32], numbers: usize| {
                into.extend_from_slice(own);
                into.resize(until * numbers, 0.0);
            };
            add(&mut filled.values, &row.values, len);
            add(&mut filled.there, &row.there, len);
            add(&mut filled.scale, &row.scale, 2);
            filled.channels.extend_from_slice(&row.channels);
            filled.channels.resize(until, 0);
            filled.places.extend_from_slice(&row.places);
            filled.places.resize(until, 0);
            filled.hidden.extend_from_slice(&row.hidden);
            filled.hidden.resize(until, false);
            mask.extend(std::iter::repeat_n(true, row.len()));
            mask.resize(until, false);
            filled.was.extend_from_slice(&row.was);
            filled.asked.extend_from_slice(&row.asked);
        }
        Self {
            rows: rows.len(),
            columns,
            filled,
            mask,
            patch_steps: len,
        }
    }
}

/// The length that a row of so many tokens is filled up to.
pub fn padded(tokens: usize) -> usize {
    tokens.max(1).next_multiple_of(LENGTH_STEP)
}

/// What a variable's numbers are normalised by, and themselves, normalised.
fn normalised(visible: Vec<f64>) -> (Scale, Vec<f32>) {
    let count = visible.iter().filter(|value| !value.is_nan()).count();
    let alone = Window {
        channels: 1,
        values: visible,
        start: 0,
        time: None,
    };
    let Normalised {
        values,
        mean,
        deviation,
    } = alone.normalised(0);
    // Of numbers as large as a double can be both may be larger still by rounding.
    let scale = Scale {
        mean: mean.clamp(f64::MIN, f64::MAX),
        deviation: deviation.min(f64::MAX),
        is_known: count >= VISIBLE_MIN,
    };
    (scale, values)
}

/// Adds a patch: numbers that are missing before it, then its own, [`FAR`] at most, as values and whether they are there.
fn push(values: &mut Vec<f32>, there: &mut Vec<f32>, before: usize, own: &[f32]) {
    let missing = std::iter::repeat_n(f32::NAN, before);
    for number in missing.chain(own.iter().copied()) {
        values.push(if number.is_nan() { 0.0 } else { number.clamp(-FAR, FAR) });
        there.push(if number.is_nan() { 0.0 } else { 1.0 });
    }
}

/// A logarithm as a feature: half of it where it is small, [`SCALE_MAX`] at most, so that 1e300 is as tame as 1.
fn soft(logarithm: f64) -> f32 {
    // The largest doubles have no finite `asinh` here.
    let logarithm = logarithm.clamp(f64::MIN_EXP.into(), f64::MAX_EXP.into());
    (logarithm / 2.0 / (1.0 + logarithm.abs() / (2.0 * SCALE_MAX))) as f32
}
