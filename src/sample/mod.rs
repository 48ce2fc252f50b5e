//! Samples: what is cut from a source, decoded and small, before any tensor.
//! Invariant: a value of these types is within its limits; nothing downstream checks it again.

mod cutting;
mod encoded;
mod fault;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod image;
pub mod perceptual;
mod reading;
mod rejection;
pub mod series;
pub mod text;
pub mod transition;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use cutting::{Cutting, Pieces};
pub use encoded::{ContentError, GROUP_PARTS, GROUP_STEPS, GROUP_TRANSITIONS};
pub use fault::Fault;
pub use rejection::{Reason, Rejection};

/// The kind of data of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Pictures.
    Image,
    /// Passages of text.
    Text,
    /// Windows of series of numbers.
    Series,
    /// Transitions: a state, an action, the next state.
    Transition,
}

impl fmt::Display for Modality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Image => "image",
            Self::Text => "text",
            Self::Series => "series",
            Self::Transition => "transition",
        })
    }
}

/// One sample's content.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A picture.
    Image(ImageTile),
    /// A passage of text.
    Text(Passage),
    /// A window of a series.
    Series(Window),
    /// A transition.
    Transition(Transition),
}

/// A picture as it is kept: upright, 8-bit sRGB, its shorter side at most the stream's `image_px`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageTile {
    /// Pixels a row.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// `height * width * 3` bytes: rows from the top, red, green, blue.
    pub rgb: Vec<u8>,
}

/// A piece of a document, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// What it says; never empty, its lines end in `\n`.
    pub text: String,
    /// The number of its document in its source (a row, a line, a file), from 0.
    pub document: u32,
    /// Its number among the passages of its document, in their order, from 0.
    pub part: u32,
}

/// A variable's deviation is the last digit's where it is below this share of its mean.
pub(crate) const FLAT: f64 = 1e-9;

/// A window of a series of one or more variables, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Variables, at least 1.
    pub channels: u16,
    /// `channels * steps` numbers: all steps of the first variable, in the order of time, then those of the next. NaN where one
    /// is missing; every other is finite, and at least one is there.
    pub values: Vec<f64>,
    /// The number of its first step in its source, from 0.
    pub start: u64,
    /// When its last step was: milliseconds since 1970 in UTC, where the source says so.
    pub time: Option<i64>,
}

impl Window {
    /// Steps of time.
    pub fn steps(&self) -> usize {
        self.values.len() / usize::from(self.channels.max(1))
    }

    /// The steps of one variable less its mean, over its deviation in this window.
    pub fn normalised(&self, channel: usize) -> Normalised {
        let steps = self.channel(channel);
        let there = || steps.iter().filter(|value| !value.is_nan());
        let count = there().count().max(1) as f64;
        // Of numbers as large as a double can be neither a sum nor a square is one: they are scaled first.
        let largest = there().fold(0f64, |largest, value| largest.max(value.abs()));
        let unit = if largest > 0.0 { largest } else { 1.0 };
        let mean = there().map(|value| value / unit / count).sum::<f64>();
        let spread = (there().map(|value| (value / unit - mean).powi(2) / count).sum::<f64>()).sqrt();
        // What does not vary is all zeros, not noise of the last digit blown up.
        let is_flat = spread <= FLAT * mean.abs().max(f64::MIN_POSITIVE);
        let normal = |value: &f64| match is_flat {
            true if !value.is_nan() => 0.0,
            _ => ((value / unit - mean) / spread) as f32,
        };
        Normalised {
            values: steps.iter().map(normal).collect(),
            mean: mean * unit,
            deviation: if is_flat { 0.0 } else { spread * unit },
        }
    }

    /// These steps of it alone; None where they are none, or nothing is there in them.
    pub fn crop(&self, steps: std::ops::Range<usize>) -> Option<Self> {
        let of = |channel: usize| self.channel(channel).get(steps.clone()).unwrap_or_default();
        let values: Vec<f64> = (0..usize::from(self.channels)).flat_map(of).copied().collect();
        values.iter().any(|value| !value.is_nan()).then(|| Self {
            values,
            start: self.start + steps.start as u64,
            time: self.time.filter(|_| steps.end == self.steps()),
            ..*self
        })
    }

    /// The steps of one variable.
    pub fn channel(&self, channel: usize) -> &[f64] {
        let steps = self.steps();
        self.values
            .get(channel * steps..(channel + 1) * steps)
            .unwrap_or_default()
    }
}

/// The steps of one variable of a window, normalised.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalised {
    /// A number each; NaN where one is missing.
    pub values: Vec<f32>,
    /// The mean that was taken off.
    pub mean: f64,
    /// The standard deviation that they were divided by; 0 where they do not vary, and are all 0.
    pub deviation: f64,
}

/// What an agent did.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// One of a number of choices, from 0.
    Discrete(u32),
    /// Real numbers, all finite.
    Real(Vec<f32>),
}

/// A transition of an agent's world, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The number of its episode in its source.
    pub episode: u64,
    /// Its number in the episode.
    pub t: u64,
    /// The state before; all numbers are finite.
    pub state: Vec<f32>,
    /// What was done.
    pub action: Action,
    /// The state after: as long as the one before.
    pub next_state: Vec<f32>,
}
