//! From drawn samples to a batch: what was drawn is shown, by threads that never call ATen.
//! Invariant: a batch is a function of its draft; how many threads work on it changes nothing.

use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::{ThreadPool, ThreadPoolBuilder};
use tch::Device;

use super::LearnError;
use super::score::{Asked, ToScore};
use super::show::{Presenter, ShowError, Shown, Studio};
use crate::ids::{SampleId, StreamName};
use crate::limits::BATCH_QUEUE_MAX;
use crate::replay::Draw;

/// What a step will be made of: drawn, not yet shown.
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

/// Two views of each of B samples, ready for a step.
pub struct Batch {
    /// The step that it is for.
    pub step: u64,
    /// The samples: B of them; the same one may be there twice.
    pub ids: Vec<SampleId>,
    /// How much each counts.
    pub weights: Vec<f32>,
    /// For each, 1 if a step has used it before, 0 if it is new.
    pub replayed: Vec<f32>,
    /// The views: first the first view of every sample, then the second.
    pub shown: Shown,
    /// What the teacher is asked about beside the step.
    pub to_score: Vec<ToScore>,
}

/// The threads that render, ahead of the learner by [`BATCH_QUEUE_MAX`].
pub(super) struct Augmenters {
    drafts: Option<Sender<Draft>>,
    batches: Receiver<Result<Batch, ShowError>>,
    thread: Option<JoinHandle<()>>,
}

impl Augmenters {
    /// Starts them: one that hands out, `threads` that render for a CPU; a GPU renders on its own.
    pub(super) fn start(
        stream: &StreamName,
        presenter: Presenter,
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
            .spawn(move || hand_out(&drafted, &rendered, &pool, &presenter, device))
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
    batches: &Sender<Result<Batch, ShowError>>,
    pool: &ThreadPool,
    presenter: &Presenter,
    device: Device,
) {
    let studio = Studio::new(pool, device);
    for draft in drafts {
        if batches.send(rendered(draft, &studio, presenter)).is_err() {
            return;
        }
    }
}

fn rendered(draft: Draft, studio: &Studio<'_>, presenter: &Presenter) -> Result<Batch, ShowError> {
    let of_pass = |asked: &Vec<Asked>| -> Result<ToScore, ShowError> {
        let samples: Vec<_> = asked.iter().map(|asked| (asked.id, asked.content.as_slice())).collect();
        let (shown, looks) = studio.scored(presenter, &samples, draft.pass)?;
        Ok(ToScore {
            ids: asked.iter().map(|asked| (asked.id, asked.fresh)).collect(),
            looks,
            count: draft.pass,
            shown,
        })
    };
    let to_score = draft.asked.iter().map(of_pass).collect::<Result<_, _>>()?;
    let samples = &draft.draw.samples;
    let contents: Vec<&[u8]> = samples.iter().map(|sample| sample.content.as_slice()).collect();
    Ok(Batch {
        step: draft.step,
        ids: samples.iter().map(|sample| sample.id).collect(),
        replayed: samples
            .iter()
            .map(|sample| f32::from(u8::from(sample.visits > 0)))
            .collect(),
        shown: studio.pairs(presenter, &contents, draft.seed, draft.step)?,
        to_score,
        weights: draft.weights,
    })
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
