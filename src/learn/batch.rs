//! From drawn samples to a batch: pictures decoded, two views of each rendered, by threads that never call ATen.
//! Invariant: a batch is a function of its draft; how many threads render it changes nothing.

use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tch::{Device, Tensor};

use super::LearnError;
use super::augment::{Canvases, Recipe, Renderer, VIEWS, View, view_rng};
use super::score::{self, Asked, ToScore};
use crate::ids::{SampleId, StreamName};
use crate::limits::BATCH_QUEUE_MAX;
use crate::replay::Draw;
use crate::rng;
use crate::sample::{Content, ContentError, ImageTile};
use crate::torch;

/// What a step will be made of: drawn, not yet rendered.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The step that it is for.
    pub step: u64,
    /// Seed of the views.
    pub seed: u64,
    /// The samples; none where the teacher alone is asked.
    pub draw: Draw,
    /// How much each counts.
    pub weights: Vec<f32>,
    /// What the teacher is asked about beside the step: in each pass up to `pass` samples.
    pub asked: Vec<Vec<Asked>>,
    /// Samples of a pass.
    pub pass: usize,
}

/// Two views of each of B pictures, ready for a step.
pub struct Batch {
    /// The step that it is for.
    pub step: u64,
    /// The samples: B of them; the same one may be there twice.
    pub ids: Vec<SampleId>,
    /// How much each counts.
    pub weights: Vec<f32>,
    /// For each, 1 if a step has used it before, 0 if it is new.
    pub replayed: Vec<f32>,
    /// Pixels of each side of a view.
    pub px: u32,
    /// The views: first the first view of every picture, then the second. Rendered they are `2 * B * px * px * 3` numbers,
    /// normalised, channels last.
    pub pixels: Pixels,
    /// What the teacher is asked about beside the step.
    pub to_score: Vec<ToScore>,
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
    /// Rendered views, in the order of [`Batch::pixels`], whose buffer is given `home` when nobody uses it any more.
    pub fn with_home(values: Vec<f32>, home: impl FnOnce(Vec<f32>) + Send + 'static) -> Self {
        Self(Source::Rendered(Buffer {
            values,
            home: Some(Box::new(home)),
        }))
    }

    /// Pictures, and the views that the device will render of them.
    pub fn on_device(canvases: Canvases, views: Vec<View>) -> Self {
        Self(Source::OnDevice(canvases, views))
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

/// The draft's pictures, and the views that are drawn of them: the first view of every picture, then the second.
fn draw_views(draft: &Draft, recipe: &Recipe) -> Result<(Vec<ImageTile>, Vec<View>), ContentError> {
    let tiles = decoded(draft.draw.samples.iter().map(|sample| sample.content.as_slice()))?;
    let views = (0..VIEWS * tiles.len())
        .map(|index| {
            let (view, position) = (index / tiles.len(), index % tiles.len());
            let tile = &tiles[position];
            let mut rng = view_rng(draft.seed, draft.step, position, view);
            recipe.draw(tile.width.into(), tile.height.into(), &mut rng)
        })
        .collect();
    Ok((tiles, views))
}

/// The pictures in these contents.
fn decoded<'a>(contents: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ImageTile>, ContentError> {
    contents
        .map(|content| match Content::decode(content)? {
            Content::Image(tile) => Ok(tile),
        })
        .collect()
}

/// Seed of views that are the same every time that a picture is asked.
const FIXED_SEED: u64 = 0x616e_6368_6f72;

/// Two views of each of these pictures, the same ones for ever: first the first view of every picture, then the second.
pub(super) fn fixed_views(samples: &[(SampleId, Vec<u8>)], px: u32) -> Result<Pixels, ContentError> {
    let (recipe, mut renderer) = (Recipe::for_px(px), Renderer::new(px));
    let numbers = (px * px * 3) as usize;
    let mut values = vec![0.0; VIEWS * samples.len() * numbers];
    for (position, (id, content)) in samples.iter().enumerate() {
        let Content::Image(tile) = Content::decode(content)?;
        for view in 0..VIEWS {
            let mut rng = rng::for_step(FIXED_SEED, id.0, view as u64);
            let drawn = recipe.draw(tile.width.into(), tile.height.into(), &mut rng);
            let at = (view * samples.len() + position) * numbers;
            renderer.render(&drawn, &tile, &mut values[at..at + numbers]);
        }
    }
    Ok(Pixels::with_home(values, drop))
}

/// Renders the views, each into its part of `pixels`.
fn render(tiles: &[ImageTile], views: &[View], recipe: &Recipe, pixels: &mut [f32]) {
    let numbers = (recipe.px * recipe.px * 3) as usize;
    // A renderer for each thread, not for each view.
    let part = views.len().div_ceil(rayon::current_num_threads());
    pixels
        .par_chunks_exact_mut(numbers)
        .enumerate()
        .with_min_len(part)
        .for_each_init(
            || Renderer::new(recipe.px),
            |renderer, (index, out)| renderer.render(&views[index], &tiles[index % tiles.len()], out),
        );
}

/// The threads that render, ahead of the learner by [`BATCH_QUEUE_MAX`].
pub(super) struct Augmenters {
    drafts: Option<Sender<Draft>>,
    batches: Receiver<Result<Batch, ContentError>>,
    thread: Option<JoinHandle<()>>,
}

impl Augmenters {
    /// Starts them: one that hands out, `threads` that render for a CPU; a GPU renders on its own.
    pub(super) fn start(
        stream: &StreamName,
        recipe: Recipe,
        device: Device,
        threads: usize,
    ) -> Result<Self, LearnError> {
        let name = format!("augment-{stream}");
        let pool_name = name.clone();
        let failed = |source| LearnError::Thread {
            name: name.clone(),
            source,
        };
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(move |index| format!("{pool_name}-{index}"))
            .build()
            .map_err(|error| failed(std::io::Error::other(error)))?;
        let (drafts, drafted) = bounded::<Draft>(BATCH_QUEUE_MAX);
        let (rendered, batches) = bounded(BATCH_QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || hand_out(&drafted, &rendered, &pool, recipe, device))
            .map_err(failed)?;
        Ok(Self {
            drafts: Some(drafts),
            batches,
            thread: Some(thread),
        })
    }

    /// Hands a draft over. Never blocks while at most [`BATCH_QUEUE_MAX`] are under way.
    pub(super) fn send(&self, draft: Draft) -> Result<(), LearnError> {
        let drafts = self.drafts.as_ref().ok_or(LearnError::AugmentersEnded)?;
        drafts.send(draft).map_err(|_| LearnError::AugmentersEnded)
    }

    /// Waits for the next batch, in the order of the drafts.
    pub(super) fn receive(&self) -> Result<Batch, LearnError> {
        Ok(self.batches.recv().map_err(|_| LearnError::AugmentersEnded)??)
    }
}

impl Drop for Augmenters {
    fn drop(&mut self) {
        self.drafts = None;
        // Makes room, so that the thread can finish what it has and see that no more comes.
        while self.batches.recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            // A panic in it has been seen as `AugmentersEnded`.
            let _ = thread.join();
        }
    }
}

fn hand_out(
    drafts: &Receiver<Draft>,
    batches: &Sender<Result<Batch, ContentError>>,
    pool: &ThreadPool,
    recipe: Recipe,
    device: Device,
) {
    // Buffers of both sizes go home to their own.
    let (of_step, of_scores) = (Home::new(1), Home::new(score::PASSES_MAX));
    let pixels = |home: &Home, tiles: Vec<ImageTile>, views: Vec<View>| {
        if device.is_cuda() {
            return Pixels::on_device(Canvases::new(&tiles), views);
        }
        home.filled(views.len() * (recipe.px * recipe.px * 3) as usize, |values| {
            pool.install(|| render(&tiles, &views, &recipe, values));
        })
    };
    for draft in drafts {
        let of_pass = |asked: &Vec<Asked>| -> Result<ToScore, ContentError> {
            let tiles = decoded(asked.iter().map(|asked| asked.content.as_slice()))?;
            let shown = || (0..draft.pass).map(|place| place % tiles.len());
            let views = score::fixed_views(
                &shown()
                    .map(|place| (asked[place].id, &tiles[place]))
                    .collect::<Vec<_>>(),
                &recipe,
            );
            Ok(ToScore {
                ids: asked.iter().map(|asked| (asked.id, asked.fresh)).collect(),
                thumbnails: tiles.iter().map(score::thumbnail).collect(),
                count: draft.pass,
                px: recipe.px,
                pixels: pixels(&of_scores, shown().map(|place| tiles[place].clone()).collect(), views),
            })
        };
        let batch = draw_views(&draft, &recipe).and_then(|(tiles, views)| {
            let samples = &draft.draw.samples;
            Ok(Batch {
                step: draft.step,
                ids: samples.iter().map(|sample| sample.id).collect(),
                replayed: samples
                    .iter()
                    .map(|sample| f32::from(u8::from(sample.visits > 0)))
                    .collect(),
                px: recipe.px,
                pixels: pixels(&of_step, tiles, views),
                to_score: draft.asked.iter().map(of_pass).collect::<Result<_, _>>()?,
                weights: draft.weights.clone(),
            })
        });
        if batches.send(batch).is_err() {
            return;
        }
    }
}

/// Where buffers of one size wait to be used again.
struct Home {
    home: Sender<Vec<f32>>,
    spare: Receiver<Vec<f32>>,
}

impl Home {
    /// For a batch that has so many of them.
    fn new(of_batch: usize) -> Self {
        // One more than can be ready: the learner works on one.
        let (home, spare) = bounded((BATCH_QUEUE_MAX + 2) * of_batch);
        Self { home, spare }
    }

    /// Pixels in a buffer from here, which comes back.
    fn filled(&self, numbers: usize, fill: impl FnOnce(&mut [f32])) -> Pixels {
        let mut values = self.spare.try_recv().unwrap_or_default();
        values.resize(numbers, 0.0);
        fill(&mut values);
        let home = self.home.clone();
        // Full or closed: the buffer is freed.
        Pixels::with_home(values, move |values| drop(home.try_send(values)))
    }
}

/// How much each drawn sample counts: its probability under a uniform draw over that of the draw it was in, at most 2
/// (larger ones make steps noisy).
pub(super) fn importance(draw: &Draw, samples: u64) -> Vec<f32> {
    let uniform = 1.0 / (samples.max(1) as f64);
    draw.samples
        .iter()
        .map(|sample| (uniform / sample.probability).min(2.0) as f32)
        .collect()
}
