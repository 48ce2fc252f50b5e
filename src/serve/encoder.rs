//! The encoder of one generation: lanes, each an OS thread that owns a network of its own, answer queries in batches; the first
//! keeps the index level with the replay buffer.
//! Invariants: the threads end when nobody holds their [`Encoder`]; a query goes before index work; a query whose caller
//! has gone costs nothing; a failure is named, answered, and followed by a fresh start from the published bytes; as long as
//! one lane works queries are answered.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::{error, info};

use super::follow::Follower;
use crate::limits::{ENCODE_PASS_PIXELS_MAX, ENCODE_QUEUE_MAX};
use crate::model::text::Tokenizer;
use crate::model::{Embedder, ModelError};
use crate::sample::Content;
use crate::torch;

/// How often an idle thread looks whether the buffer has changed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Passes for queries after which one pass of index work is due, so that a flood of queries can not keep new samples
/// out of the index.
const QUERY_PASSES_MAX: usize = 4;

/// How long the thread rests after a failure; twice as long after each further one, up to the second bound.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(60);

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
    /// Threads of one operation.
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
    _room: Option<OwnedSemaphorePermit>,
    reply: oneshot::Sender<Result<Vec<f32>, EncodeError>>,
}

impl Encoder {
    /// Starts the threads.
    pub fn start(setup: EncoderSetup) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (jobs, received) = bounded(ENCODE_QUEUE_MAX);
        let lanes = setup.lanes.max(1);
        let failures = Arc::new(Mutex::new(vec![None; lanes]));
        let held = Arc::new(());
        let numbers = setup.input_len.max(1);
        let mut followed = Some((setup.follower, setup.on_covered));
        let start = |lane| {
            let (follower, on_covered) = followed.take().unzip();
            let mut worker = Worker {
                name: setup.name.clone(),
                lane,
                open: Arc::clone(&setup.open),
                threads: setup.threads,
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
        let (reply, answer) = oneshot::channel();
        let Inputs { contents, room: _room } = inputs.into();
        self.hand_in(Work::Embed(Job { contents, _room, reply }))?;
        answer.await.unwrap_or_else(|_| Err(self.lost()))
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

struct Worker {
    name: String,
    /// Its number among the encoder's.
    lane: usize,
    open: Arc<Open>,
    threads: usize,
    /// Pictures of one pass.
    pass: usize,
    jobs: Receiver<Work>,
    follower: Option<Follower>,
    on_covered: Option<Box<dyn FnOnce() + Send>>,
    failures: Arc<Mutex<Vec<Option<String>>>>,
    held: Weak<()>,
}

/// Nobody holds the encoder any more.
struct Abandoned;

impl Worker {
    fn run(&mut self) {
        let mut rest = REST_MIN;
        loop {
            let started = Instant::now();
            // A panic leaves nothing half-done behind: the network is dropped with the stack, an index row is whole or
            // absent, and the follower moves on only after its rows are in.
            let why = match catch_unwind(AssertUnwindSafe(|| self.work())) {
                Ok(Ok(Abandoned)) => break,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => Failed::Panicked(panic).to_string(),
            };
            error!(thread = %self.name, error = %why,
                hint = "none if it works again soon; else restart, which sets a damaged generation aside",
                "an encoder failed; it starts afresh from the published bytes");
            self.failures.lock()[self.lane] = Some(why.clone());
            rest = if started.elapsed() > REST_MAX { REST_MIN } else { rest };
            if self.refuse_for(rest, &why).is_err() {
                break;
            }
            rest = (2 * rest).min(REST_MAX);
        }
    }

    fn work(&mut self) -> Result<Abandoned, WorkError> {
        torch::set_threads(self.threads);
        let embedder = (self.open)()?;
        if self.failures.lock()[self.lane].take().is_some() {
            info!(thread = %self.name, "an encoder works again");
        }
        let mut query_passes = 0;
        loop {
            let Ok(jobs) = self.waiting_jobs(&embedder) else {
                return Ok(Abandoned);
            };
            if !jobs.is_empty() && query_passes < QUERY_PASSES_MAX {
                self.answer(&embedder, jobs);
                query_passes += 1;
                continue;
            }
            query_passes = 0;
            let indexed = self.follow(&embedder)?;
            if !jobs.is_empty() {
                self.answer(&embedder, jobs);
            } else if !indexed {
                match self.jobs.recv_timeout(LOOK_EVERY) {
                    Ok(first) => {
                        let jobs = self.pass_of(&embedder, first);
                        self.answer(&embedder, jobs);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Ok(Abandoned),
                }
            }
        }
    }

    /// A pass of index work; whether there was any.
    fn follow(&mut self, embedder: &Embedder) -> Result<bool, WorkError> {
        let Some(follower) = &mut self.follower else {
            return Ok(false);
        };
        let indexed = follower.advance(embedder, self.pass)?;
        if follower.has_covered()
            && let Some(on_covered) = self.on_covered.take()
        {
            on_covered();
        }
        Ok(indexed)
    }

    /// The jobs of the next pass; none when none wait.
    fn waiting_jobs(&self, embedder: &Embedder) -> Result<Vec<Job>, Abandoned> {
        match self.jobs.try_recv() {
            Ok(first) => Ok(self.pass_of(embedder, first)),
            Err(TryRecvError::Empty) => Ok(Vec::new()),
            Err(TryRecvError::Disconnected) => Err(Abandoned),
        }
    }

    /// A pass filled up with jobs that wait. Those whose caller has gone fall away; another question on the way is answered at
    /// once and ends the filling, so that no number of them keeps a job waiting.
    fn pass_of(&self, embedder: &Embedder, first: Work) -> Vec<Job> {
        let mut jobs: Vec<Job> = Vec::new();
        let mut next = Some(first);
        loop {
            match next {
                Some(Work::Embed(job)) => jobs.push(job),
                Some(Work::Ask(question)) => {
                    question(Ok(embedder));
                    return jobs;
                }
                None => return jobs,
            }
            jobs.retain(|job| !job.reply.is_closed());
            let samples: usize = jobs.iter().map(|job| job.contents.len()).sum();
            if samples >= self.pass {
                return jobs;
            }
            next = self.jobs.try_recv().ok();
        }
    }

    fn answer(&self, embedder: &Embedder, jobs: Vec<Job>) {
        let contents: Vec<&Content> = jobs.iter().flat_map(|job| &job.contents).collect();
        let mut embeddings = Vec::with_capacity(contents.len() * embedder.dim());
        for pass in contents.chunks(self.pass) {
            if jobs.iter().all(|job| job.reply.is_closed()) {
                return;
            }
            // Caught here too, so that whoever asked hears why.
            let why = match catch_unwind(AssertUnwindSafe(|| embedder.embed(pass))) {
                Ok(Ok(rows)) => {
                    embeddings.extend(rows);
                    continue;
                }
                Ok(Err(error)) => Failed::Once(error.to_string()),
                Err(panic) => Failed::Panicked(panic),
            };
            error!(thread = %self.name, error = %why,
                hint = "ask again; if it comes again, look at the memory and at the device",
                "failed to embed a query");
            for job in jobs {
                let _ = job.reply.send(Err(EncodeError::Failed(why.to_string())));
            }
            match why {
                Failed::Once(_) => return,
                Failed::Panicked(panic) => resume_unwind(panic),
            }
        }
        let mut rest = embeddings.as_slice();
        for job in jobs {
            let (own, others) = rest.split_at(job.contents.len() * embedder.dim());
            rest = others;
            // A caller that has gone meanwhile needs no answer.
            let _ = job.reply.send(Ok(own.to_vec()));
        }
    }

    /// Waits until the rest is over; answers queries with the failure where no other lane can answer them.
    fn refuse_for(&self, rest: Duration, why: &str) -> Result<(), Abandoned> {
        let end = Instant::now() + rest;
        while Instant::now() < end {
            if self.held.strong_count() == 0 {
                return Err(Abandoned);
            }
            let look = end.min(Instant::now() + LOOK_EVERY);
            if self.failures.lock().iter().any(Option::is_none) {
                std::thread::sleep(look.saturating_duration_since(Instant::now()));
                continue;
            }
            match self.jobs.recv_deadline(look) {
                Ok(Work::Embed(job)) => {
                    let _ = job.reply.send(Err(EncodeError::Failed(why.to_owned())));
                }
                Ok(Work::Ask(question)) => question(Err(why)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Abandoned),
            }
        }
        Ok(())
    }
}

/// Answers with what the network says, or with the failure, unless the caller has gone; a panic is told, and goes on.
fn said<T>(
    reply: oneshot::Sender<Result<T, EncodeError>>,
    network: Result<&Embedder, &str>,
    asks: impl FnOnce(&Embedder) -> Result<Option<T>, ModelError>,
) {
    if reply.is_closed() {
        return;
    }
    let answer = match network.map(|network| catch_unwind(AssertUnwindSafe(|| asks(network)))) {
        Ok(Ok(Ok(Some(answer)))) => Ok(answer),
        Ok(Ok(Ok(None))) => Err(EncodeError::Failed("it says nothing of what is hidden".to_owned())),
        Ok(Ok(Err(error @ ModelError::NothingHidden))) => Err(EncodeError::NotAsked(error.to_string())),
        Ok(Ok(Err(error))) => Err(EncodeError::Failed(error.to_string())),
        Ok(Err(panic)) => {
            let _ = reply.send(Err(EncodeError::Failed(panicked(&*panic))));
            resume_unwind(panic)
        }
        Err(why) => Err(EncodeError::Failed(why.to_owned())),
    };
    // A caller that has gone meanwhile needs no answer.
    let _ = reply.send(answer);
}

/// How a pass failed.
enum Failed {
    /// By an error: the network is as it was.
    Once(String),
    /// By a panic: the thread starts afresh.
    Panicked(Box<dyn Any + Send>),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Once(why) => f.write_str(why),
            Self::Panicked(panic) => f.write_str(&panicked(&**panic)),
        }
    }
}

/// What a panic said.
fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("without a word"))
}
