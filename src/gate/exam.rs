//! The exam: which pictures, which views of them, and what a network answers.
//! Always true: the pictures were never trained on; a picture's views are a function of its source alone, so that every
//! network, whenever it is examined, sees the same ones.

use std::collections::{HashMap, HashSet};

use tch::Tensor;

use super::{GateError, probes};
use crate::ids::{SampleId, SourceHash};
use crate::learn::augment::{Recipe, Renderer};
use crate::model::{Embedder, PIXEL_MEAN, PIXEL_STD};
use crate::replay::ReplayBuffer;
use crate::rng;
use crate::sample::image::resize_bilinear;
use crate::sample::{Content, ImageTile};

/// Pictures below which an exam proves nothing.
pub const EXAM_PICTURES_MIN: usize = 32;

/// Pairs of augmented views of each picture.
pub const PAIRS: usize = 8;

/// Pictures on which finiteness, determinism, spread and rank are measured at least, as far as the buffer has them.
pub const CANARIES: usize = 64;

/// Augmented views of a picture: pair after pair.
pub(super) const VIEWS: usize = 2 * PAIRS;

/// Pictures read and embedded at once, with all their views.
pub(super) const CHUNK: usize = 8;

/// Seed of the views; fixed for ever, or verdicts of two days could not be compared.
const VIEW_SEED: u64 = 0x6578_616d;

/// Side of the thumbnails that stand for raw pixels.
const THUMBNAIL_PX: u32 = 16;

/// A picture to examine on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picture {
    pub(super) id: SampleId,
    source: SourceHash,
}

/// The pictures of one judgement.
#[derive(Debug)]
pub(super) struct Exam {
    /// Held-out pictures, in the order of their sources' hashes, which depends on nothing a network could know.
    pub(super) pictures: Vec<Picture>,
    /// Pictures of the buffer that fill the exam's up to [`CANARIES`]; only looked at clean.
    pub(super) fill: Vec<Picture>,
}

impl Exam {
    /// The exam that the buffer offers now.
    pub(super) fn collect(replay: &ReplayBuffer, pictures_max: usize) -> Self {
        let with_source = |id: SampleId| {
            replay.info(id).map(|info| Picture {
                id,
                source: info.source,
            })
        };
        let pictures: Vec<_> = replay.exam(pictures_max).into_iter().filter_map(with_source).collect();
        let taken: HashSet<_> = pictures.iter().map(|picture| picture.id).collect();
        let fill = replay
            .ids_after(None, CANARIES + pictures.len())
            .into_iter()
            .filter(|id| !taken.contains(id))
            .filter_map(with_source)
            .take(CANARIES.saturating_sub(pictures.len()))
            .collect();
        Self { pictures, fill }
    }

    /// Every picture that is looked at clean.
    pub(super) fn clean(&self) -> Vec<Picture> {
        self.pictures.iter().chain(&self.fill).copied().collect()
    }

    /// Names the set of held-out pictures.
    pub(super) fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for picture in &self.pictures {
            hasher.update(&picture.source.0);
            hasher.update(&picture.id.0.to_be_bytes());
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }

    /// Leaves out pictures that the buffer evicted since the exam was collected.
    pub(super) fn retain(&mut self, is_there: impl Fn(&Picture) -> bool) {
        self.pictures.retain(&is_there);
        self.fill.retain(&is_there);
    }
}

/// Reads pictures and makes of each the views to show. One that the buffer no longer has is left out.
pub(super) fn read(
    replay: &ReplayBuffer,
    pictures: &[Picture],
    views: impl Fn(&Picture, ImageTile) -> Vec<ImageTile>,
) -> Result<Vec<Shown>, GateError> {
    let ids: Vec<_> = pictures.iter().map(|picture| picture.id).collect();
    let contents = replay.read_many(&ids)?;
    let there = pictures
        .iter()
        .zip(contents)
        .filter_map(|(picture, bytes)| Some((picture, bytes?)));
    there
        .map(|(picture, bytes)| {
            let Content::Image(tile) = Content::decode(&bytes)?;
            Ok((*picture, views(picture, tile)))
        })
        .collect()
}

/// The [`VIEWS`] augmented views of a picture, `px` x `px`, by the learner's recipe; the same ones for ever. Rounded to
/// 8 bits, as a picture that a user sends is.
pub(super) fn views(picture: &Picture, tile: &ImageTile, px: u32) -> Vec<ImageTile> {
    let (recipe, mut renderer) = (Recipe::for_px(px), Renderer::new(px));
    let mut normalised = vec![0.0; (px * px * 3) as usize];
    (0..VIEWS as u64)
        .map(|view| {
            let mut rng = rng::for_step(VIEW_SEED, picture.source.prefix(), view);
            let view = recipe.draw(tile.width.into(), tile.height.into(), &mut rng);
            renderer.render(&view, tile, &mut normalised);
            to_tile(&normalised, px)
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

/// Who is examined.
pub(super) enum Taker {
    /// A network.
    Network(Embedder),
    /// The views' own pixels.
    Pixels,
}

impl Taker {
    /// One unit row per view.
    fn embed(&self, views: &[&ImageTile]) -> Result<Vec<f32>, GateError> {
        match self {
            Self::Network(embedder) => Ok(embedder.embed(views)?),
            Self::Pixels => Ok(views.iter().flat_map(|view| thumbnail(view)).collect()),
        }
    }
}

/// A view as a unit vector of its pixels at [`THUMBNAIL_PX`] squared, their mean taken off.
fn thumbnail(view: &ImageTile) -> Vec<f32> {
    let pixels: Vec<f32> = resize_bilinear(view, THUMBNAIL_PX, THUMBNAIL_PX)
        .rgb
        .iter()
        .map(|byte| f32::from(*byte))
        .collect();
    let mean = pixels.iter().sum::<f32>() / pixels.len() as f32;
    let norm = pixels
        .iter()
        .map(|p| (p - mean).powi(2))
        .sum::<f32>()
        .sqrt()
        .max(f32::MIN_POSITIVE);
    pixels.iter().map(|p| (p - mean) / norm).collect()
}

/// What a taker answered: unit vectors, as many to each picture as it was shown views of it.
#[derive(Debug, Default)]
pub(super) struct Answers(HashMap<SampleId, Vec<f32>>);

/// A picture and the views of it that are shown.
pub(super) type Shown = (Picture, Vec<ImageTile>);

impl Answers {
    /// Lets a taker answer the pictures that it has not answered.
    pub(super) fn ask<'a>(&mut self, taker: &Taker, shown: impl Iterator<Item = &'a Shown>) -> Result<(), GateError> {
        let new: Vec<&Shown> = shown.filter(|(picture, _)| !self.has(picture)).collect();
        let views: Vec<&ImageTile> = new.iter().flat_map(|(_, views)| views).collect();
        let vectors = taker.embed(&views)?;
        let dim = vectors.len() / views.len().max(1);
        let mut rest = vectors.as_slice();
        for (picture, views) in new {
            let (own, others) = rest.split_at(views.len() * dim);
            self.0.insert(picture.id, own.to_vec());
            rest = others;
        }
        Ok(())
    }

    /// Whether this picture was answered.
    pub(super) fn has(&self, picture: &Picture) -> bool {
        self.0.contains_key(&picture.id)
    }

    /// Forgets every picture but these.
    pub(super) fn keep_only(&mut self, pictures: &[Picture]) {
        let kept: HashSet<_> = pictures.iter().map(|picture| picture.id).collect();
        self.0.retain(|id, _| kept.contains(id));
    }

    /// Whether there are vectors, and all their numbers are finite.
    pub(super) fn finite(&self) -> bool {
        !self.0.is_empty() && self.0.values().flatten().all(|number| number.is_finite())
    }

    /// Whether every number is within `tolerance` of the other's.
    pub(super) fn agrees(&self, other: &Self, tolerance: f32) -> bool {
        self.0.iter().all(|(id, vectors)| {
            other.0.get(id).is_some_and(|others| {
                vectors.len() == others.len() && vectors.iter().zip(others).all(|(a, b)| (a - b).abs() <= tolerance)
            })
        })
    }

    /// The vectors of one of the views shown of these pictures, which were all answered: [N, D].
    pub(super) fn matrix(&self, pictures: &[Picture], view: usize, views: usize) -> Tensor {
        let answered: Vec<_> = pictures.iter().filter_map(|picture| self.0.get(&picture.id)).collect();
        let dim = answered.first().map_or(0, |vectors| vectors.len() / views);
        let rows: Vec<f32> = answered
            .iter()
            .flat_map(|vectors| &vectors[view * dim..(view + 1) * dim])
            .copied()
            .collect();
        Tensor::from_slice(&rows).reshape([answered.len() as i64, dim as i64])
    }

    /// For each picture, the mean of its view retrieval over the pairs: the exam's scores.
    pub(super) fn retrieval(&self, pictures: &[Picture]) -> Vec<f64> {
        let mut scores = vec![0.0; pictures.len()];
        for pair in 0..PAIRS {
            let a = self.matrix(pictures, 2 * pair, VIEWS);
            let b = self.matrix(pictures, 2 * pair + 1, VIEWS);
            for (score, found) in scores.iter_mut().zip(probes::view_retrieval(&a, &b)) {
                *score += found / PAIRS as f64;
            }
        }
        scores
    }
}
