//! The encoder of one generation: lanes, each an OS thread that owns a network of its own, answer queries in batches; the first
//! keeps the index level with the replay buffer.
//! Invariants: the threads end when nobody holds their [`Encoder`]; a query goes before index work; a query whose caller
//! has gone costs nothing; a failure is named, answered, and followed by a fresh start from the published bytes; as long as
//! one lane works queries are answered.

mod worker;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, TrySendError, bounded};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use self::worker::{Worker, said};
use super::follow::Follower;
use crate::limits::{ENCODE_PASS_PIXELS_MAX, ENCODE_QUEUE_MAX};
use crate::model::text::Tokenizer;
use crate::model::{Embedder, ModelError};
use crate::sample::Content;

/// Samples of one request from which on it is dealt out to the lanes, so many or more to each.
const PART_MIN: usize = 8;

/// Why a query got no embeddings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// As many queries are waiting as may.
    #[error("{ENCODE_QUEUE_MAX} requests are waiting for the encoder")]
    QueueFull,
    /// The question is none, and why.
    #[error("{0}")]
    NotAsked(String),
    /// The encoder failed, and why.
    #[error("the encoder failed: {0}")]
    Failed(String),
}

/// Why an encoder's thread stopped working.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The published bytes can not be read.
    #[error(transparent)]
    Registry(#[from] crate::registry::RegistryError),
    /// They make no network, or the network fails.
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
    /// The buffer can not be read.
    #[error(transparent)]
    Replay(#[from] crate::replay::ReplayError),
}

/// The handle of an encoder's threads; they end with the last of its holders.
pub struct Encoder {
    jobs: Sender<Work>,
    /// Of each lane, why it is not working.
    failures: Arc<Mutex<Vec<Option<String>>>>,
    /// Goes with the last of the holders.
    _held: Arc<()>,
    /// The network's vocabulary, once it was asked for; None where it has none.
    tokenizer: OnceLock<Option<Tokenizer>>,
}

/// Opens the network from the published bytes; asked by each lane, and again after a failure.
pub(super) type Open = dyn Fn() -> Result<Embedder, WorkError> + Send + Sync;

/// What an encoder's threads are made of.
pub struct EncoderSetup {
    /// The threads' name.
    pub name: String,
    /// How each comes by its network.
    pub open: Arc<Open>,
    /// Passes that run at once: threads, each with a network of its own. At least one.
    pub lanes: usize,
    /// Numbers that the network is shown of one sample: pixels, or tokens.
    pub input_len: usize,
    /// Threads of one operation; of all lanes together while one alone is at work.
    pub threads: usize,
    /// Keeps an index level with the buffer, for a generation that has one.
    pub follower: Option<Follower>,
    /// Called once, when the index holds all that the buffer does.
    pub on_covered: Box<dyn FnOnce() + Send>,
}

/// Samples to embed, and the room in memory that they were granted: given back when they are gone.
pub struct Inputs {
    /// The samples.
    pub contents: Vec<Content>,
    /// Their room, where it is counted.
    pub room: Option<OwnedSemaphorePermit>,
}

impl From<Vec<Content>> for Inputs {
    fn from(contents: Vec<Content>) -> Self {
        Self { contents, room: None }
    }
}

/// What waits for a thread.
enum Work {
    /// Samples for their embeddings.
    Embed(Job),
    /// Another question about the network.
    Ask(Question),
}

/// Answers itself from the network, or with the failure where there is none. A panic is answered, and goes on.
type Question = Box<dyn FnOnce(Result<&Embedder, &str>) + Send>;

/// Samples that wait for their embeddings.
struct Job {
    contents: Vec<Content>,
    /// Whether others of the same request wait beside it, for other lanes.
    is_part: bool,
    _room: Arc<Option<OwnedSemaphorePermit>>,
    reply: oneshot::Sender<Result<Vec<f32>, EncodeError>>,
}

impl Encoder {
    /// Starts the threads.
    pub fn start(setup: EncoderSetup) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (jobs, received) = bounded(ENCODE_QUEUE_MAX);
        let lanes = setup.lanes.max(1);
        let failures = Arc::new(Mutex::new(vec![None; lanes]));
        let held = Arc::new(());
        let at_work = Arc::new(AtomicUsize::new(0));
        let numbers = setup.input_len.max(1);
        let mut followed = Some((setup.follower, setup.on_covered));
        let start = |lane| {
            let (follower, on_covered) = followed.take().unzip();
            let mut worker = Worker {
                name: setup.name.clone(),
                lane,
                open: Arc::clone(&setup.open),
                threads: setup.threads,
                lanes,
                at_work: Arc::clone(&at_work),
                pass: (ENCODE_PASS_PIXELS_MAX / numbers).clamp(1, 64),
                jobs: received.clone(),
                follower: follower.flatten(),
                on_covered,
                failures: Arc::clone(&failures),
                held: Arc::downgrade(&held),
            };
            let thread = std::thread::Builder::new().name(setup.name.clone());
            thread.spawn(move || worker.run())
        };
        let threads = (0..lanes).map(start).collect::<Result<_, _>>()?;
        let encoder = Self {
            jobs,
            failures,
            _held: held,
            tokenizer: OnceLock::new(),
        };
        Ok((encoder, threads))
    }

    /// Embeddings of these samples, `[contents.len(), dim]`, each of unit length. Dropping the future takes the query back.
    pub async fn embed(&self, inputs: impl Into<Inputs>) -> Result<Vec<f32>, EncodeError> {
        let Inputs { contents, room } = inputs.into();
        let room = Arc::new(room);
        let count = contents.len();
        let parts = (count / PART_MIN).clamp(1, self.lanes());
        // In turns, so that what is long by its place in the request is long for each.
        let mut dealt: Vec<Vec<Content>> = (0..parts).map(|_| Vec::with_capacity(count.div_ceil(parts))).collect();
        for (at, content) in contents.into_iter().enumerate() {
            dealt[at % parts].push(content);
        }
        let mut answers = Vec::with_capacity(parts);
        for contents in dealt {
            let (reply, answer) = oneshot::channel();
            self.hand_in(Work::Embed(Job {
                contents,
                is_part: parts > 1,
                _room: Arc::clone(&room),
                reply,
            }))?;
            answers.push(answer);
        }
        let mut rows = Vec::with_capacity(parts);
        for answer in answers {
            rows.push(answer.await.unwrap_or_else(|_| Err(self.lost()))?);
        }
        if parts == 1 {
            return Ok(rows.pop().unwrap_or_default());
        }
        let dim = rows.iter().map(Vec::len).sum::<usize>() / count;
        let row = |at: usize| &rows[at % parts][at / parts * dim..][..dim];
        Ok((0..count).flat_map(row).copied().collect())
    }

    /// What the network says of something, such as of what is hidden in a sample; `asks` owns what it is about. Dropping the future
    /// takes the question back. An error where it says nothing (None): it has not learnt to.
    pub async fn ask<T: Send + 'static>(
        &self,
        asks: impl FnOnce(&Embedder) -> Result<Option<T>, ModelError> + Send + 'static,
    ) -> Result<T, EncodeError> {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |network| said(reply, network, asks));
        self.hand_in(Work::Ask(question))?;
        answer.await.unwrap_or_else(|_| Err(self.lost()))
    }

    /// What the network's texts are read with; None where it reads none.
    pub async fn tokenizer(&self) -> Result<Option<Tokenizer>, EncodeError> {
        if let Some(known) = self.tokenizer.get() {
            return Ok(known.clone());
        }
        let asked = self.ask(|network| Ok(Some(network.tokenizer().cloned()))).await?;
        Ok(self.tokenizer.get_or_init(|| asked).clone())
    }

    fn lanes(&self) -> usize {
        self.failures.lock().len()
    }

    fn hand_in(&self, work: Work) -> Result<(), EncodeError> {
        self.jobs.try_send(work).map_err(|refused| match refused {
            TrySendError::Full(_) => EncodeError::QueueFull,
            TrySendError::Disconnected(_) => self.lost(),
        })
    }

    /// Queries that wait.
    pub fn queued(&self) -> usize {
        self.jobs.len()
    }

    /// Why the first lane, which keeps the index level, is not working, when it is not. Others may go on answering.
    pub fn failure(&self) -> Option<String> {
        self.failures.lock()[0].clone()
    }

    fn lost(&self) -> EncodeError {
        EncodeError::Failed(self.failure().unwrap_or_else(|| "its thread has ended".to_owned()))
    }
}
