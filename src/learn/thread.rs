//! The learner's thread: what it is started with, what it says of itself, and how it is stopped.
//! Invariant: a panic ends in a named failure of this stream; nothing else ends with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;
use tch::Device;
use tracing::error;

use super::checkpoint::Checkpoints;
use super::run::Loop;
use super::{DeviceTurns, Health, LearnError};
use crate::config::{CuriosityConfig, LearningConfig, PublicationConfig, SamplerKind};
use crate::curiosity::{Alert, Counts};
use crate::ids::{SampleId, StreamName};
use crate::model::text::Tokenizer;
use crate::model::{Decoders, EncoderSpec, Pretrained, Scales};
use crate::replay::{ReplayBuffer, SampleInfo};

/// How much lower than the others' the learner's priority is: queries and arrivals go first.
const NICENESS: i32 = 10;

/// What a stream's learner is started with.
#[derive(Clone, Debug)]
pub struct LearnSetup {
    /// The stream; names the threads.
    pub stream: StreamName,
    /// How it learns.
    pub config: LearningConfig,
    /// The signals it is steered by.
    pub curiosity: CuriosityConfig,
    /// When it hands over candidates.
    pub publication: PublicationConfig,
    /// How the replay buffer draws.
    pub sampler: SamplerKind,
    /// The network.
    pub spec: EncoderSpec,
    /// What texts are read with; None: what the checkpoint or the weights to continue from say, else the stream's first texts.
    pub tokenizer: Option<Tokenizer>,
    /// What the numbers of transitions are scaled by; None: what the checkpoint or the weights to continue from say, else what is
    /// measured on the stream's first transitions.
    pub scales: Option<Scales>,
    /// Where it computes.
    pub device: Device,
    /// Threads of one operation.
    pub learn_threads: usize,
    /// Threads that render views.
    pub augment_threads: usize,
    /// Bytes free on the disk below which nothing is taken; checkpoints pause below half of them.
    pub disk_reserve_bytes: u64,
    /// The folder of its checkpoints.
    pub checkpoints: PathBuf,
    /// Steps of the published model; 0 when there is none.
    pub published_step: u64,
}

/// Weights that ask to be published.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The stream.
    pub stream: StreamName,
    /// Steps done.
    pub step: u64,
    /// The network.
    pub spec: EncoderSpec,
    /// What texts are read with.
    pub tokenizer: Option<Tokenizer>,
    /// The student's weights, as safetensors.
    pub student: Vec<u8>,
    /// The teacher's weights, as safetensors.
    pub teacher: Vec<u8>,
    /// The weights of what fills holes beside either, where the objective has it.
    pub decoders: Option<Decoders>,
    /// Every sample up to this one had arrived.
    pub watermark: SampleId,
    /// The loss, smoothed.
    pub loss: Option<f64>,
}

/// What a learner is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Activity {
    /// Steps.
    Learning,
    /// Nothing: there are too few samples yet.
    #[default]
    Waiting,
    /// Nothing: what there is has been replayed often enough.
    Bored,
    /// Nothing: somebody paused it.
    Paused,
    /// Nothing more: why.
    Failed(String),
}

/// A learner in numbers.
#[derive(Clone, Debug, Default)]
pub struct LearnerState {
    /// What it is doing.
    pub activity: Activity,
    /// Steps done in its life.
    pub step: u64,
    /// Steps a second, over the last minute.
    pub steps_per_s: f64,
    /// Share of the last minute spent on steps, 0 to 1.
    pub duty_cycle: f64,
    /// The loss, smoothed. None before the first step.
    pub loss: Option<f64>,
    /// Joint length of the last step's gradients.
    pub grad_norm: Option<f64>,
    /// The network's health when it was last measured.
    pub health: Option<Health>,
    /// Error of what is seen for the first time over the error of all.
    pub surprise: Option<f64>,
    /// The share of the most draws that an arrival is granted, 0 to 1: how much there is to learn.
    pub effort: f64,
    /// The weight of the alignment with the teacher, 0 while nothing is being forgotten.
    pub alignment: f64,
    /// By how much the oldest pictures of the exam are answered worse than they once were, nats. None before it is known.
    pub forgotten: Option<f64>,
    /// Collapses that were undone since the start.
    pub collapses: u64,
    /// Times since the start that weights were shrunk, for too many units had stopped to answer.
    pub shrinks: u64,
    /// How much lower the errors of fixed views are lately than before, as a share: see
    /// [`Progress::of_stream`](crate::curiosity::Progress::of_stream).
    pub progress: Option<f64>,
    /// Scores, drift and outliers, in its life.
    pub curiosity: Counts,
    /// The newest change of the stream since the start, in a sentence.
    pub drift: Option<String>,
    /// Steps that failed since the start.
    pub failed_steps: u64,
    /// Checkpoints that could not be written since the start.
    pub checkpoint_failures: u64,
    /// Why the newest checkpoint could not be written, if it could not. Learning goes on.
    pub checkpoint_failure: Option<String>,
    /// Why no checkpoints are written for now, if none are.
    pub checkpoints_paused: Option<String>,
    /// When the loop last went round: a learner that is stuck leaves it behind.
    pub alive_at: Option<Instant>,
}

/// A stream's learner, on a thread of its own.
pub struct LearnerThread {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// What the thread and its handle tell each other.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) stop: AtomicBool,
    pub(super) paused: AtomicBool,
    pub(super) offer_again: AtomicBool,
    pub(super) state: Mutex<LearnerState>,
    pub(super) on_alert: Mutex<Option<OnAlert>>,
}

/// Told of an alert and the sample that it is about, if that is still held. Must not block.
pub type OnAlert = Box<dyn Fn(&Alert, Option<&SampleInfo>) + Send>;

impl LearnerThread {
    /// Resumes the newest checkpoint and starts to learn. An error when there is none and the folder to continue from does
    /// not fit. `deliver` takes candidates and must not block.
    pub fn start(
        setup: LearnSetup,
        replay: Arc<ReplayBuffer>,
        turns: Arc<DeviceTurns>,
        deliver: impl Fn(Candidate) + Send + 'static,
    ) -> Result<Self, LearnError> {
        let checkpoints = Checkpoints::open(&setup.checkpoints, setup.config.checkpoints_kept)?;
        if let Some(dir) = setup.config.init.as_ref().filter(|_| checkpoints.is_empty()) {
            // Read again by the thread that owns the network; what is wrong with it is said before anything starts.
            Pretrained::read(dir, &setup.spec)?;
        }
        let shared = Arc::new(Shared::default());
        let name = format!("learn-{}", setup.stream);
        let body = {
            let shared = Arc::clone(&shared);
            move || {
                let stream = setup.stream.clone();
                crate::niceness::lower(NICENESS, "the learner");
                let ended = catch_unwind(AssertUnwindSafe(|| {
                    match Loop::new(setup, replay, turns, checkpoints, Arc::clone(&shared), deliver)? {
                        Some(this) => this.run(),
                        None => Ok(()), // Stopped before there was enough to begin with.
                    }
                }));
                let failure = match ended {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => error.to_string(),
                    Err(panic) => format!("panicked: {}", panic_text(&*panic)),
                };
                error!(%stream, failure,
                    hint = "restart; if it ends again, mend what its failure says, or move the newest step-* folder away",
                    "the learner ended; restart the daemon to resume from the last checkpoint");
                shared.state.lock().activity = Activity::Failed(failure);
            }
        };
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(body)
            .map_err(|source| LearnError::Thread { name, source })?;
        Ok(Self { shared, thread })
    }

    /// The learner in numbers.
    pub fn state(&self) -> LearnerState {
        self.shared.state.lock().clone()
    }

    /// Tells why it ended by itself, if it did, for as long as anybody asks.
    pub fn failure(&self) -> impl Fn() -> Option<String> + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move || match &shared.state.lock().activity {
            Activity::Failed(failure) => Some(failure.clone()),
            _ => None,
        }
    }

    /// Pauses it, or lets it go on.
    pub fn pause(&self, paused: bool) {
        self.shared.paused.store(paused, Ordering::Relaxed);
    }

    /// Makes it offer a candidate again as if none had been offered since the published model: the last may be lost.
    pub fn offer_again(&self) {
        self.shared.offer_again.store(true, Ordering::Relaxed);
    }

    /// Says who is told of alerts from now on; the log is told of all.
    pub fn on_alert(&self, tell: OnAlert) {
        *self.shared.on_alert.lock() = Some(tell);
    }

    /// Asks it to finish its step, write a checkpoint and end.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// Waits until it has ended.
    pub fn join(self) {
        self.stop();
        // Its panics are caught where it runs.
        let _ = self.thread.join();
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    // libtorch's texts go on with a C++ stack.
    text.unwrap_or("no text").lines().next().unwrap_or_default().to_owned()
}
