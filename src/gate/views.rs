//! What the exam shows of a sample: pairs of views that a good network finds to be of one sample; and what they are without any
//! network.
//! Always true: views are a function of the source and of the sample's place in it, so that every network, whenever it is
//! examined, sees the same ones.
//!
//! Of a picture they are augmented by the learner's recipe; of a passage of text they are its two halves, cut at another place
//! for each pair (same-document retrieval), of one too short for that two windows of its words.

use super::exam::VIEWS;
use crate::ids::SourceHash;
use crate::learn::augment::{Recipe, Renderer};
use crate::model::{EncoderSpec, PIXEL_MEAN, PIXEL_STD, text};
use crate::rng;
use crate::sample::image::resize_bilinear;
use crate::sample::{Content, ImageTile, Passage};

/// Seed of the views, beside their source.
const VIEW_SEED: u64 = 0x6578_616d;

/// Side of the thumbnails that stand for raw pixels.
const THUMBNAIL_PX: u32 = 16;

/// Numbers that words are counted in.
const WORDS_DIM: usize = 1_024;

/// Words below which a passage is not cut in two, and the share of them that a window shows.
const CUT_WORDS_MIN: usize = 6;
const WINDOW: f64 = 0.6;

/// The [`VIEWS`] views of a sample, as samples that a user sends; the same ones for ever.
pub(super) fn views(source: SourceHash, content: &Content, spec: &EncoderSpec) -> Vec<Content> {
    match (content, spec) {
        (Content::Image(tile), EncoderSpec::Image(spec)) => of_picture(source, tile, spec.image_px),
        (Content::Text(passage), _) => of_passage(source, passage),
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

/// A view as a unit vector, without a network: of a picture its pixels at [`THUMBNAIL_PX`] squared, their mean taken off; of a
/// text how often its words occur.
pub(super) fn raw(view: &Content) -> Vec<f32> {
    let numbers: Vec<f32> = match view {
        Content::Image(tile) => {
            let bytes = resize_bilinear(tile, THUMBNAIL_PX, THUMBNAIL_PX).rgb;
            let mean = bytes.iter().map(|byte| f32::from(*byte)).sum::<f32>() / bytes.len() as f32;
            bytes.iter().map(|byte| f32::from(*byte) - mean).collect()
        }
        Content::Text(passage) => text::bag_of_words(&passage.text, WORDS_DIM),
    };
    let length = numbers.iter().map(|number| number * number).sum::<f32>().sqrt();
    let length = length.max(f32::MIN_POSITIVE);
    numbers.iter().map(|number| number / length).collect()
}
