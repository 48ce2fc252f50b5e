//! What the exam shows of a sample: pairs of views that a good network finds to be of one sample; and what they are without any
//! network.
//! Always true: views are a function of the source and of the sample's place in it, so that every network, whenever it is
//! examined, sees the same ones.
//!
//! Of a picture they are augmented by the learner's recipe; of a passage of text they are its two halves, cut at another place
//! for each pair (same-document retrieval), of one too short for that two windows of its words; of a window of a series they are
//! two crops that have half of their steps in common, of another length and at another place for each pair, as they came: a
//! series' level is a part of what is seen.

use super::exam::VIEWS;
use crate::ids::SourceHash;
use crate::learn::augment::{Recipe, Renderer};
use crate::model::{EncoderSpec, PIXEL_MEAN, PIXEL_STD, text};
use crate::rng;
use crate::sample::{Content, ImageTile, Passage, Window};

/// Seed of the views, beside their source.
const VIEW_SEED: u64 = 0x6578_616d;

/// Side of the thumbnails that stand for raw pixels.
const THUMBNAIL_PX: u32 = 16;

/// Words below which a passage is not cut in two, and the share of them that a window shows.
const CUT_WORDS_MIN: usize = 6;
const WINDOW: f64 = 0.6;

/// The share of a window's steps in a crop, least and most: with half of it in common two crops of the most fill the window.
const CROP: (f64, f64) = (0.4, 0.66);

/// The [`VIEWS`] views of a sample, as samples that a user sends; the same ones for ever. A transition is its only one.
pub(super) fn views(source: SourceHash, content: &Content, spec: &EncoderSpec) -> Vec<Content> {
    match (content, spec) {
        (Content::Image(tile), EncoderSpec::Image(spec)) => of_picture(source, tile, spec.image_px),
        (Content::Text(passage), _) => of_passage(source, passage),
        (Content::Series(window), _) => of_window(source, window),
        // What was done is asked of it as it is.
        (Content::Transition(_), EncoderSpec::Transition(_)) => vec![content.clone()],
        // Of another kind than the network: shown as it is, and refused by it.
        (other, _) => vec![other.clone(); VIEWS],
    }
}

/// Augmented by the learner's recipe, `px` x `px`, rounded to 8 bits.
fn of_picture(source: SourceHash, tile: &ImageTile, px: u32) -> Vec<Content> {
    let (recipe, mut renderer) = (Recipe::for_px(px), Renderer::new(px));
    let mut normalised = vec![0.0; (px * px * 3) as usize];
    (0..VIEWS as u64)
        .map(|view| {
            let mut rng = rng::for_step(VIEW_SEED, source.prefix(), view);
            let view = recipe.draw(tile.width.into(), tile.height.into(), &mut rng);
            renderer.render(&view, tile, &mut normalised);
            Content::Image(to_tile(&normalised, px))
        })
        .collect()
}

fn of_passage(source: SourceHash, passage: &Passage) -> Vec<Content> {
    let place = u64::from(passage.document) << 32 | u64::from(passage.part);
    let is_long = text::words(&passage.text).nth(CUT_WORDS_MIN - 1).is_some();
    (0..VIEWS as u64 / 2)
        .flat_map(|pair| {
            let mut rng = rng::for_step(VIEW_SEED ^ place, source.prefix(), pair);
            let (one, other) = match is_long {
                true => text::split(&passage.text, &mut rng),
                false => (
                    text::window(&passage.text, &mut rng, WINDOW),
                    text::window(&passage.text, &mut rng, WINDOW),
                ),
            };
            [one, other].map(|said| {
                Content::Text(Passage {
                    text: said.to_owned(),
                    ..*passage
                })
            })
        })
        .collect()
}

/// Overlapping crops of the window, two and two. A window too short to be cut, and one with nothing in a crop, is shown whole.
fn of_window(source: SourceHash, window: &Window) -> Vec<Content> {
    let steps = window.steps();
    (0..VIEWS as u64 / 2)
        .flat_map(|pair| {
            let mut rng = rng::for_step(VIEW_SEED ^ window.start, source.prefix(), pair);
            let share = CROP.0 + (CROP.1 - CROP.0) * rng::unit(&mut rng);
            let len = (share * steps as f64) as usize;
            let apart = len.div_ceil(2);
            let first = rng::below(&mut rng, steps.saturating_sub(len + apart) + 1);
            let (early, late) = (first..first + len, first + apart..first + apart + len);
            let spans = if rng::below(&mut rng, 2) == 0 {
                [early, late]
            } else {
                [late, early]
            };
            spans.map(|span| Content::Series(window.crop(span).unwrap_or_else(|| window.clone())))
        })
        .collect()
}

/// A normalised view (rows from the top, red, green, blue) as a picture.
fn to_tile(normalised: &[f32], px: u32) -> ImageTile {
    let channels = (0..3).cycle();
    let byte = |(value, c): (&f32, usize)| ((value * PIXEL_STD[c] + PIXEL_MEAN[c]) * 255.0).round() as u8;
    ImageTile {
        width: px as u16,
        height: px as u16,
        rgb: normalised.iter().zip(channels).map(byte).collect(),
    }
}

/// A view as a unit vector, without a network.
pub(super) fn raw(view: &Content) -> Vec<f32> {
    crate::model::raw(view, THUMBNAIL_PX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_crops_of_a_pair_have_half_of_their_steps_in_common_and_are_the_same_ones_for_ever() {
        let window = Window {
            channels: 2,
            values: (0..200).map(f64::from).collect(),
            start: 5,
            time: Some(1),
        };
        let source = SourceHash([7; 32]);
        let shown = of_window(source, &window);
        assert_eq!(shown, of_window(source, &window));
        assert_eq!(shown.len(), VIEWS);
        for pair in shown.chunks(2) {
            let [Content::Series(one), Content::Series(other)] = pair else {
                panic!("a crop is a window")
            };
            let (early, late) = if one.start < other.start {
                (one, other)
            } else {
                (other, one)
            };
            let common = (early.start + early.steps() as u64).saturating_sub(late.start);
            assert_eq!((one.channels, one.steps()), (2, other.steps()));
            assert!(one.steps() >= 40 && common == one.steps() as u64 / 2);
        }
        let short = Window {
            channels: 1,
            values: vec![1.0],
            ..window
        };
        assert!(
            of_window(source, &short)
                .iter()
                .all(|view| *view == Content::Series(short.clone()))
        );
    }
}
