//! Samples as vectors without any network: what a network has to be better than.

use super::text::bag_of_words;
use crate::sample::image::resize_bilinear;
use crate::sample::{Content, Transition, Window};

/// Numbers that words are counted in.
const WORDS_DIM: usize = 1_024;

/// Variables of a series that are told apart, and numbers that each is drawn out or shrunk to.
const CHANNELS: usize = 32;
const CHANNEL_STEPS: usize = 32;

/// Numbers that a state is counted in; what is more is added from the first on.
const STATE_DIMS: usize = 256;

/// A sample as a unit vector: of a picture its pixels at `side_px` squared, their mean taken off; of a text how often its words
/// occur; of a window its variables' means over equal spans of time, each variable less its mean and over its deviation; of a
/// transition its states' numbers, large ones as logarithms: what was done is not among them, for it is what is to be told.
pub fn raw(sample: &Content, side_px: u32) -> Vec<f32> {
    let numbers: Vec<f32> = match sample {
        Content::Image(tile) => {
            let bytes = resize_bilinear(tile, side_px, side_px).rgb;
            let mean = bytes.iter().map(|byte| f32::from(*byte)).sum::<f32>() / bytes.len() as f32;
            bytes.iter().map(|byte| f32::from(*byte) - mean).collect()
        }
        Content::Text(passage) => bag_of_words(&passage.text, WORDS_DIM),
        Content::Series(window) => of_window(window),
        Content::Transition(transition) => of_transition(transition),
    };
    let length = numbers.iter().map(|number| number * number).sum::<f32>().sqrt();
    let length = length.max(f32::MIN_POSITIVE);
    numbers.iter().map(|number| number / length).collect()
}

fn of_window(window: &Window) -> Vec<f32> {
    let mut numbers = vec![0f32; CHANNELS * CHANNEL_STEPS];
    for channel in 0..usize::from(window.channels).min(CHANNELS) {
        let normal = window.normalised(channel).values;
        let into = &mut numbers[channel * CHANNEL_STEPS..(channel + 1) * CHANNEL_STEPS];
        for (at, number) in into.iter_mut().enumerate() {
            let (from, to) = (
                at * normal.len() / CHANNEL_STEPS,
                (at + 1) * normal.len() / CHANNEL_STEPS,
            );
            let span = normal.get(from..to.max(from + 1)).unwrap_or_default();
            let there = span.iter().filter(|value| !value.is_nan());
            let count = there.clone().count().max(1);
            *number = there.sum::<f32>() / count as f32;
        }
    }
    numbers
}

fn of_transition(transition: &Transition) -> Vec<f32> {
    let mut numbers = vec![0f32; 2 * STATE_DIMS];
    for (state, into) in [&transition.state, &transition.next_state]
        .into_iter()
        .zip(numbers.chunks_mut(STATE_DIMS))
    {
        for (at, number) in state.iter().enumerate() {
            // As a double: of the largest numbers a float's is no number.
            into[at % STATE_DIMS] += f64::from(*number).asinh() as f32;
        }
    }
    numbers
}
