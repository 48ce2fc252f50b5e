//! Pictures: augmented views for a step, views that never change for scores and anchors, rendered by threads or by the device.
//! Invariant: a view is a function of the picture and of (seed, step, place), or of the sample's id alone; how many threads
//! render changes nothing.

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::prelude::*;
use tch::{Device, Tensor};

use super::{ShowError, Shown};
use crate::config::ObjectiveKind;
use crate::curiosity::{THUMBNAIL_PX, Thumbnail};
use crate::ids::SampleId;
use crate::learn::LearnError;
use crate::learn::augment::{Canvases, Crop, Recipe, Renderer, VIEWS, View, view_rng};
use crate::rng;
use crate::sample::{Content, ContentError, ImageTile};
use crate::torch;

/// Seed of the views that scores are made of, and of those that anchors are asked through.
const SCORE_SEED: u64 = 0x7363_6f72_6521;
const ANCHOR_SEED: u64 = 0x616e_6368_6f72;

/// The views that an objective learns from: two augmentations that hardly share a colour where views shall be found alike,
/// crop and mirror alone where pixels are predicted (He et al. 2022, table 1e: more augmentation is worse).
pub(super) fn recipe(kind: ObjectiveKind, px: u32) -> Recipe {
    match kind {
        ObjectiveKind::Inpaint | ObjectiveKind::Mae => Recipe::crop_and_mirror(px),
        _ => Recipe::for_px(px),
    }
}

/// The pictures in these contents.
pub(super) fn tiles(contents: &[Content]) -> Result<Vec<&ImageTile>, ContentError> {
    contents.iter().map(tile).collect()
}

fn tile(content: &Content) -> Result<&ImageTile, ContentError> {
    match content {
        Content::Image(tile) => Ok(tile),
        _ => Err(ContentError("it is no picture")),
    }
}

/// The samples' pictures.
pub(super) fn tiles_of<'a>(shown: &[(SampleId, &'a Content)]) -> Result<Vec<(SampleId, &'a ImageTile)>, ContentError> {
    shown.iter().map(|(id, content)| Ok((*id, tile(content)?))).collect()
}

/// Two views of each picture for a step: the first view of every picture, then the second.
pub(super) fn drawn_views(tiles: &[&ImageTile], recipe: &Recipe, seed: u64, step: u64) -> Vec<View> {
    (0..VIEWS * tiles.len())
        .map(|index| {
            let (view, position) = (index / tiles.len(), index % tiles.len());
            let tile = tiles[position];
            let mut rng = view_rng(seed, step, position, view);
            recipe.draw(tile.width.into(), tile.height.into(), &mut rng)
        })
        .collect()
}

/// Two views of each of these pictures, the same ones for ever: first the first view of every picture, then the second.
pub(super) fn fixed_pairs<'a>(
    samples: impl ExactSizeIterator<Item = (SampleId, &'a Content)>,
    px: u32,
) -> Result<Shown, ShowError> {
    let (recipe, mut renderer) = (Recipe::for_px(px), Renderer::new(px));
    let (count, numbers) = (samples.len(), (px * px * 3) as usize);
    let mut values = vec![0.0; VIEWS * count * numbers];
    for (position, (id, content)) in samples.enumerate() {
        let tile = tile(content)?;
        for view in 0..VIEWS {
            let mut rng = rng::for_step(ANCHOR_SEED, id.0, view as u64);
            let drawn = recipe.draw(tile.width.into(), tile.height.into(), &mut rng);
            let at = (view * count + position) * numbers;
            renderer.render(&drawn, tile, &mut values[at..at + numbers]);
        }
    }
    Ok(Shown::Pictures {
        views: VIEWS * count,
        px,
        pixels: Pixels::with_home(values, drop),
    })
}

/// The views of these samples' pictures that scores are made of: the first of every picture, the second, then the clean one.
pub(super) fn fixed_views(samples: &[(SampleId, &ImageTile)], recipe: &Recipe) -> Vec<View> {
    let of = |view: usize| {
        samples.iter().map(move |(id, tile)| {
            if view == VIEWS {
                return clean_view(tile);
            }
            let mut rng = rng::for_step(SCORE_SEED, id.0, view as u64);
            recipe.draw(tile.width.into(), tile.height.into(), &mut rng)
        })
    };
    (0..=VIEWS).flat_map(of).collect()
}

/// The largest square at the centre, unchanged: what `eval_view` shows of a picture as it is kept, but for the rounding
/// to 8 bits where the picture is enlarged or reduced.
fn clean_view(tile: &ImageTile) -> View {
    let (width, height) = (u32::from(tile.width), u32::from(tile.height));
    let side = width.min(height);
    // Half a pixel is rounded to even, as `eval_view` does.
    let offset = |length: u32| (f64::from(length - side) / 2.0).round_ties_even() as u32;
    View {
        crop: Crop {
            left: offset(width),
            top: offset(height),
            width: side,
            height: side,
        },
        flip: false,
        jitter: None,
        grey: false,
        sigma: None,
    }
}

/// The picture's largest centred square, grey (the mean of its channels), each pixel the mean of what it covers.
pub(super) fn thumbnail(tile: &ImageTile) -> Thumbnail {
    let Crop {
        left, top, width: side, ..
    } = clean_view(tile).crop;
    // Where a pixel of the thumbnail begins in the picture; one smaller than the thumbnail repeats its pixels.
    let edge = |at: usize| (at as u32 * side) as usize / THUMBNAIL_PX;
    let span = |at: usize| edge(at)..edge(at + 1).max(edge(at) + 1);
    std::array::from_fn(|at| {
        let (columns, rows) = (span(at % THUMBNAIL_PX), span(at / THUMBNAIL_PX));
        let (mut sum, count) = (0u32, columns.len() * rows.len() * 3);
        for row in rows {
            let start = ((top as usize + row) * usize::from(tile.width) + left as usize + columns.start) * 3;
            let line = &tile.rgb[start..start + 3 * columns.len()];
            sum += line.iter().map(|value| u32::from(*value)).sum::<u32>();
        }
        sum as f32 / (255 * count) as f32
    })
}

/// The views of a batch, on their way to the device.
pub struct Pixels(Source);

enum Source {
    /// Rendered on the CPU.
    Rendered(Buffer),
    /// To be rendered by the device.
    OnDevice(Canvases, Vec<View>),
}

/// Rendered numbers; they go back home when their last user is gone, so that pages are not faulted in anew.
struct Buffer {
    values: Vec<f32>,
    home: Option<Box<dyn FnOnce(Vec<f32>) + Send>>,
}

impl Pixels {
    /// Rendered views, in their order, whose buffer is given `home` when nobody uses it any more.
    pub fn with_home(values: Vec<f32>, home: impl FnOnce(Vec<f32>) + Send + 'static) -> Self {
        Self(Source::Rendered(Buffer {
            values,
            home: Some(Box::new(home)),
        }))
    }

    /// Pictures, and the views that the device will render of them.
    pub(super) fn on_device(tiles: &[&ImageTile], views: Vec<View>) -> Self {
        Self(Source::OnDevice(Canvases::new(tiles), views))
    }

    /// The views as a tensor on the device, channels last in memory: [views, 3, px, px].
    pub(super) fn images(self, views: i64, px: u32, device: Device) -> Result<Tensor, LearnError> {
        let side = i64::from(px);
        Ok(match self.0 {
            Source::Rendered(buffer) => {
                torch::tensor_over(buffer, &[views, 3, side, side], &[side * side * 3, 1, side * 3, 3])?
                    .f_to_device(device)?
            }
            Source::OnDevice(canvases, views) => canvases.render(&views, px, device)?,
        })
    }
}

impl AsMut<[f32]> for Buffer {
    fn as_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home(std::mem::take(&mut self.values));
        }
    }
}

/// Where buffers of one size wait to be used again.
pub(super) struct Home {
    home: Sender<Vec<f32>>,
    spare: Receiver<Vec<f32>>,
}

impl Home {
    /// For so many of them at once.
    pub(super) fn new(most: usize) -> Self {
        let (home, spare) = bounded(most);
        Self { home, spare }
    }

    /// Pixels in a buffer from here, which comes back.
    pub(super) fn filled(&self, numbers: usize, fill: impl FnOnce(&mut [f32])) -> Pixels {
        let mut values = self.spare.try_recv().unwrap_or_default();
        values.resize(numbers, 0.0);
        fill(&mut values);
        let home = self.home.clone();
        // Full or closed: the buffer is freed.
        Pixels::with_home(values, move |values| drop(home.try_send(values)))
    }
}

/// Renders the views, each into its part of `pixels`.
pub(super) fn render(tiles: &[&ImageTile], views: &[View], recipe: &Recipe, pixels: &mut [f32]) {
    let numbers = (recipe.px * recipe.px * 3) as usize;
    // A renderer for each thread, not for each view.
    let part = views.len().div_ceil(rayon::current_num_threads());
    pixels
        .par_chunks_exact_mut(numbers)
        .enumerate()
        .with_min_len(part)
        .for_each_init(
            || Renderer::new(recipe.px),
            |renderer, (index, out)| renderer.render(&views[index], tiles[index % tiles.len()], out),
        );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::image::eval_view;

    #[test]
    fn the_fixed_views_are_those_of_the_sample_wherever_it_is_drawn() {
        let tile = ImageTile {
            width: 48,
            height: 40,
            rgb: vec![7; 48 * 40 * 3],
        };
        let recipe = Recipe::for_px(32);
        let (a, b) = ((SampleId(7), &tile), (SampleId(8), &tile));
        let together = fixed_views(&[a, b], &recipe);
        let alone = fixed_views(&[b], &recipe);
        assert_eq!([together[1], together[3], together[5]], alone[..]);
        assert_ne!(together[0], together[1]);
    }

    #[test]
    fn the_clean_view_is_what_queries_are_embedded_from() {
        let (width, height, px) = (45u16, 32u16, 32u32);
        let mut rng = rng::for_step(5, 0, 0);
        let rgb = (0..usize::from(width) * usize::from(height) * 3)
            .map(|_| rng::below(&mut rng, 256) as u8)
            .collect();
        let tile = ImageTile { width, height, rgb };
        let mut rendered = vec![0.0; (px * px * 3) as usize];
        Renderer::new(px).render(&clean_view(&tile), &tile, &mut rendered);
        let [mean, std] = [crate::model::PIXEL_MEAN, crate::model::PIXEL_STD];
        let shown = eval_view(&tile, px).rgb;
        for (at, (ours, theirs)) in rendered.iter().zip(shown).enumerate() {
            let theirs = (f32::from(theirs) / 255.0 - mean[at % 3]) / std[at % 3];
            assert!((ours - theirs).abs() < 1e-4, "{at}: {ours} {theirs}");
        }
    }

    #[test]
    fn a_thumbnail_is_the_middle_of_the_picture_in_grey() {
        for (width, height) in [(48u16, 32u16), (32, 45), (7, 9), (16, 16)] {
            // White where the middle square is, black beside it.
            let side = width.min(height);
            let left = (f64::from(width - side) / 2.0).round_ties_even() as u16;
            let top = (f64::from(height - side) / 2.0).round_ties_even() as u16;
            let inside = |x: u16, y: u16| (left..left + side).contains(&x) && (top..top + side).contains(&y);
            let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
            let rgb = pixels
                .flat_map(|(x, y)| [if inside(x, y) { 255 } else { 0 }; 3])
                .collect();
            assert_eq!(
                thumbnail(&ImageTile { width, height, rgb }),
                [1.0; 256],
                "{width} x {height}"
            );
        }
    }
}
