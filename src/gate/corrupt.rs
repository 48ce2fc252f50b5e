//! Samples as they come from a bad day: what a model should still know them by.
//! Always true: how a sample is spoilt is a function of its source and its place in it.
//!
//! Of a picture (after Hendrycks and Dietterich 2019) one of noise, blur, a covered part and faint light; of a text every seventh
//! word or so is misspelt or missing; of a series a fifth is missing, in runs, and the rest is shaken by a fifth of its spread; the
//! numbers of a transition are shaken by a twentieth of their size.

use crate::ids::SourceHash;
use crate::rng::{self, Rng};
use crate::sample::{Content, ImageTile, Passage, Transition, Window};

/// Seed of what is spoilt, beside the source.
const SEED: u64 = 0x7370_6f69;

/// Deviation of a picture's noise, of 255.
const NOISE: f64 = 32.0;

/// Share of a text's words that are spoilt.
const WORDS: f64 = 0.15;

/// Share of a series' steps that are missing, and the longest run of them in shares of the window.
const MISSING: f64 = 0.2;
const RUN: f64 = 0.1;

/// Deviation of what is added to a step, in deviations of its variable; to a number of a transition, in shares of itself.
const SHAKE: f64 = 0.2;
const NUDGE: f64 = 0.05;

/// The sample, spoilt.
pub(super) fn corrupted(source: SourceHash, content: &Content) -> Content {
    match content {
        Content::Image(tile) => Content::Image(picture(tile, &mut rng::for_step(SEED, source.prefix(), 0))),
        Content::Text(passage) => {
            let place = u64::from(passage.document) << 32 | u64::from(passage.part);
            Content::Text(text(passage, &mut rng::for_step(SEED, source.prefix(), place)))
        }
        Content::Series(window) => {
            Content::Series(series(window, &mut rng::for_step(SEED, source.prefix(), window.start)))
        }
        Content::Transition(transition) => {
            let place = transition.episode << 32 ^ transition.t;
            Content::Transition(nudged(transition, &mut rng::for_step(SEED, source.prefix(), place)))
        }
    }
}

fn picture(tile: &ImageTile, rng: &mut Rng) -> ImageTile {
    let (width, height) = (usize::from(tile.width), usize::from(tile.height));
    let mut rgb = tile.rgb.clone();
    match rng::below(rng, 4) {
        0 => {
            for value in &mut rgb {
                *value = (f64::from(*value) + NOISE * normal(rng)).clamp(0.0, 255.0) as u8;
            }
        }
        1 => (0..2).for_each(|_| rgb = blurred(&rgb, width, height)),
        2 => {
            let (wide, high) = ((width / 3).max(1), (height / 3).max(1));
            let left = rng::below(rng, width - wide + 1);
            let top = rng::below(rng, height - high + 1);
            for row in top..top + high {
                rgb[(row * width + left) * 3..][..wide * 3].fill(128);
            }
        }
        _ => rgb
            .iter_mut()
            .for_each(|value| *value = (f64::from(*value) * 0.4) as u8),
    }
    ImageTile { rgb, ..*tile }
}

/// Each value the mean of itself and of those beside, above and below it.
fn blurred(rgb: &[u8], width: usize, height: usize) -> Vec<u8> {
    let at = |row: usize, column: usize, colour: usize| u32::from(rgb[(row * width + column) * 3 + colour]);
    let mut out = Vec::with_capacity(rgb.len());
    for row in 0..height {
        for column in 0..width {
            let rows = row.saturating_sub(1)..(row + 2).min(height);
            let columns = column.saturating_sub(1)..(column + 2).min(width);
            let count = (rows.len() * columns.len()) as u32;
            for colour in 0..3 {
                let sum: u32 = rows
                    .clone()
                    .flat_map(|row| columns.clone().map(move |column| (row, column)))
                    .map(|(row, column)| at(row, column, colour))
                    .sum();
                out.push((sum / count) as u8);
            }
        }
    }
    out
}

fn text(passage: &Passage, rng: &mut Rng) -> Passage {
    let mut said = String::with_capacity(passage.text.len());
    for word in passage.text.split_inclusive(char::is_whitespace) {
        if rng::unit(rng) >= WORDS {
            said.push_str(word);
            continue;
        }
        let mut letters: Vec<char> = word.chars().collect();
        let long = letters.iter().take_while(|letter| !letter.is_whitespace()).count();
        // Two letters change places; a short word goes.
        if long >= 4 {
            let at = 1 + rng::below(rng, long - 2);
            letters.swap(at, at - 1);
            said.extend(letters);
        }
    }
    if said.trim().is_empty() {
        said.clone_from(&passage.text);
    }
    Passage { text: said, ..*passage }
}

fn series(window: &Window, rng: &mut Rng) -> Window {
    let steps = window.steps();
    let mut values = window.values.clone();
    for channel in values.chunks_mut(steps.max(1)) {
        let there = || channel.iter().filter(|value| !value.is_nan());
        let count = there().count().max(1) as f64;
        let mean = there().sum::<f64>() / count;
        let deviation = (there().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
        for value in channel.iter_mut() {
            let shaken = *value + SHAKE * deviation * normal(rng);
            // Of numbers as large as there are none larger is made.
            if shaken.is_finite() {
                *value = shaken;
            }
        }
    }
    let shaken = Window {
        values: values.clone(),
        ..*window
    };
    let mut missing = 0;
    while missing < (MISSING * steps as f64) as usize {
        let run = 1 + rng::below(rng, ((RUN * steps as f64) as usize).max(1));
        let from = rng::below(rng, steps.saturating_sub(run) + 1);
        for channel in values.chunks_mut(steps) {
            channel[from..(from + run).min(steps)].fill(f64::NAN);
        }
        missing += run;
    }
    // Nothing at all is no window.
    match values.iter().all(|value| value.is_nan()) {
        true => shaken,
        false => Window { values, ..*window },
    }
}

fn nudged(transition: &Transition, rng: &mut Rng) -> Transition {
    let mut shaken = |numbers: &[f32]| -> Vec<f32> {
        let nudge = |number: &f32| {
            let nudged = number * (1.0 + (NUDGE * normal(rng)) as f32);
            if nudged.is_finite() { nudged } else { *number }
        };
        numbers.iter().map(nudge).collect()
    };
    Transition {
        state: shaken(&transition.state),
        next_state: shaken(&transition.next_state),
        ..transition.clone()
    }
}

/// Nearly normal: the sum of twelve uniform numbers less its mean.
fn normal(rng: &mut Rng) -> f64 {
    (0..12).map(|_| rng::unit(rng)).sum::<f64>() - 6.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Action;

    fn source(byte: u8) -> SourceHash {
        SourceHash([byte; 32])
    }

    #[test]
    fn a_sample_is_spoilt_the_same_way_each_time_and_stays_what_it_is() {
        let tile = |number: u8| ImageTile {
            width: 9,
            height: 5,
            rgb: (0..135u8).map(|i| i.wrapping_mul(number)).collect(),
        };
        let samples = [
            Content::Image(tile(7)),
            Content::Text(Passage {
                text: "Wherever nothing certain stands, words themselves gradually wander about without any purpose. "
                    .repeat(4),
                document: 3,
                part: 1,
            }),
            Content::Series(Window {
                channels: 2,
                values: (0..200).map(|i| f64::from(i % 17)).collect(),
                start: 8,
                time: Some(1),
            }),
            Content::Transition(Transition {
                episode: 1,
                t: 2,
                state: vec![1.0, -2.0, 3.0],
                action: Action::Discrete(1),
                next_state: vec![1.5, -2.5, 3.5],
            }),
        ];
        for content in &samples {
            for byte in 0..16 {
                let spoilt = corrupted(source(byte), content);
                assert_eq!(spoilt.encode(), corrupted(source(byte), content).encode());
                assert_ne!(spoilt.encode(), content.encode(), "{content:?}");
                // What is made is a sample that can be kept.
                assert!(Content::decode(&spoilt.encode()).is_ok());
            }
        }
    }

    #[test]
    fn small_and_empty_looking_samples_are_spoilt_without_harm() {
        let pixel = Content::Image(ImageTile {
            width: 1,
            height: 1,
            rgb: vec![1, 2, 3],
        });
        let word = Content::Text(Passage {
            text: "a".to_owned(),
            document: 0,
            part: 0,
        });
        let step = Content::Series(Window {
            channels: 1,
            values: vec![4.0],
            start: 0,
            time: None,
        });
        for content in [pixel, word, step] {
            for byte in 0..32 {
                let spoilt = corrupted(source(byte), &content);
                assert!(Content::decode(&spoilt.encode()).is_ok());
            }
        }
    }
}
