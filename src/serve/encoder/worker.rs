//! A lane of an encoder at work: passes for queries, and the first lane's index work between them.
//! Invariants: a panic is answered and followed by a fresh start; a lane that has failed takes no query that another can answer.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tracing::{error, info};

use super::{EncodeError, Job, Open, Work, WorkError};
use crate::model::{Embedder, ModelError};
use crate::sample::Content;
use crate::serve::follow::Follower;
use crate::torch;

/// How often an idle thread looks whether the buffer has changed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Passes for queries after which one pass of index work is due, so that a flood of queries can not keep new samples
/// out of the index.
const QUERY_PASSES_MAX: usize = 4;

/// The size of a pass from which on waking another thread for each operation costs less than it does: four pictures of 64 x 64, or
/// texts of about 60 tokens.
const LARGE: usize = 4 * 64 * 64;

/// What a character of a text is worth beside a pixel.
const CHARACTER: usize = 64;

/// How long the thread rests after a failure; twice as long after each further one, up to the second bound.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(60);

pub(super) struct Worker {
    pub(super) name: String,
    /// Its number among the encoder's.
    pub(super) lane: usize,
    pub(super) open: Arc<Open>,
    pub(super) threads: usize,
    pub(super) lanes: usize,
    /// Lanes that are answering.
    pub(super) at_work: Arc<AtomicUsize>,
    /// Pictures of one pass.
    pub(super) pass: usize,
    pub(super) jobs: Receiver<Work>,
    pub(super) follower: Option<Follower>,
    pub(super) on_covered: Option<Box<dyn FnOnce() + Send>>,
    pub(super) failures: Arc<Mutex<Vec<Option<String>>>>,
    pub(super) held: Weak<()>,
}

/// How much a sample is to a network, in pixels.
fn size(content: &Content) -> usize {
    match content {
        Content::Image(tile) => tile.rgb.len() / 3,
        Content::Text(passage) => passage.text.len() * CHARACTER,
        // Networks of these are small.
        Content::Series(_) | Content::Transition(_) => 0,
    }
}

/// Nobody holds the encoder any more.
struct Abandoned;

/// A lane is at work as long as it lives; after it index work goes on with the lane's own threads.
struct Turn<'a>(&'a Worker);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
        torch::set_threads(self.0.threads);
    }
}

impl Worker {
    pub(super) fn run(&mut self) {
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
            // A part fills no pass up and is not filled up: another lane would wait for nothing.
            if samples >= self.pass || jobs.last().is_some_and(|job| job.is_part) {
                return jobs;
            }
            next = self.jobs.try_recv().ok();
        }
    }

    fn answer(&self, embedder: &Embedder, jobs: Vec<Job>) {
        let _turn = self.turn(jobs.iter().flat_map(|job| &job.contents).map(size).sum());
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

    /// Counts this lane among those at work, on samples of this size together. While no other is, and nothing waits for one, the
    /// operations of a large pass use the threads of all.
    fn turn(&self, size: usize) -> Turn<'_> {
        let others = self.at_work.fetch_add(1, Ordering::Relaxed);
        let uses_all = size >= LARGE && others == 0 && self.jobs.is_empty();
        torch::set_threads(if uses_all {
            self.threads * self.lanes
        } else {
            self.threads
        });
        Turn(self)
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
pub(super) fn said<T>(
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
