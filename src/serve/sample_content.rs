//! What a sample is, as JSON says it.

use schemars::JsonSchema;
use serde::Serialize;

use crate::sample::{Action, Content};

/// A passage, a window of a series, or a transition, as it is kept.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "modality", rename_all = "lowercase")]
pub(super) enum SampleContent {
    /// A passage of text.
    Text {
        /// What it says.
        text: String,
        /// The number of its document in its source, from 0.
        document: u32,
        /// Its number in the document, from 0.
        part: u32,
    },
    /// A window of a series.
    Series {
        /// The number of its first step in its source, from 0.
        start: u64,
        /// When its last step was, milliseconds since 1970 in UTC, where the source says so.
        time: Option<i64>,
        /// The steps of each variable; null where one is missing.
        series: Vec<Vec<Option<f64>>>,
    },
    /// A transition.
    Transition {
        /// The number of its episode in its source.
        episode: u64,
        /// Its number in the episode.
        t: u64,
        /// The state before.
        state: Vec<f32>,
        /// What was done: a choice, counted from 0, or real numbers.
        action: Did,
        /// The state after.
        next_state: Vec<f32>,
    },
}

/// What was done.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Did {
    /// One of a number of choices.
    Choice(u32),
    /// Real numbers.
    Numbers(Vec<f32>),
}

impl SampleContent {
    /// Of a sample that is no picture.
    pub(super) fn of(content: Content) -> Option<Self> {
        Some(match content {
            Content::Image(_) => return None,
            Content::Text(passage) => Self::Text {
                text: passage.text,
                document: passage.document,
                part: passage.part,
            },
            Content::Series(window) => {
                let there = |value: &f64| (!value.is_nan()).then_some(*value);
                let of = |channel| window.channel(channel).iter().map(there).collect();
                Self::Series {
                    start: window.start,
                    time: window.time,
                    series: (0..usize::from(window.channels)).map(of).collect(),
                }
            }
            Content::Transition(transition) => Self::Transition {
                episode: transition.episode,
                t: transition.t,
                state: transition.state,
                action: match transition.action {
                    Action::Discrete(choice) => Did::Choice(choice),
                    Action::Real(numbers) => Did::Numbers(numbers),
                },
                next_state: transition.next_state,
            },
        })
    }
}
