//! A stream's serving: which generation answers, the next one being prepared beside it, older ones on demand.
//! Invariants: the model and the index of a [`Served`] are of one space and change together; a generation replaces
//! another only when its index has come as far.

mod classifiers;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tch::Device;
use tracing::{error, info};

use super::encoder::{Encoder, EncoderSetup, WorkError};
use super::follow::{CoveredBelow, Follower};
use super::heads::Heads;
use super::index::Index;
use super::query::Found;
use crate::clock::Clock;
use crate::disk;
use crate::ids::{Generation, Space, StreamName};
use crate::labels::LabelStore;
use crate::limits::OLDER_ENCODERS_MAX;
use crate::model::Embedder;
use crate::registry::{Published, Registry};
use crate::replay::ReplayBuffer;

/// A generation that answers queries: its model, and the index of its space.
pub struct Served {
    /// What is known of it.
    pub published: Published,
    /// Its network.
    pub encoder: Encoder,
    /// Every sample's embedding in its space.
    pub index: Arc<Index>,
    /// Its most novel samples, as they were found last.
    pub(super) most_novel: tokio::sync::Mutex<Option<Found>>,
    /// The classifiers of its vectors; None until they are fitted.
    pub(super) heads: ArcSwapOption<Heads>,
    covered_below: CoveredBelow,
    /// Whether the index has been complete once.
    searchable: AtomicBool,
}

impl Served {
    /// Whether the index has been complete once; before, a search would miss what is held.
    pub fn is_searchable(&self) -> bool {
        self.searchable.load(Ordering::Acquire)
    }
}

/// An older generation, for embedding alone.
pub struct Older {
    /// What is known of it.
    pub published: Published,
    /// Its network.
    pub encoder: Encoder,
}

/// What a stream's serving is made of.
pub struct ServingSetup {
    /// The stream.
    pub stream: StreamName,
    /// Its samples.
    pub replay: Arc<ReplayBuffer>,
    /// Its generations.
    pub registry: Arc<Registry>,
    /// Its labels.
    pub labels: Arc<LabelStore>,
    /// When a classifier was fitted.
    pub clock: Arc<dyn Clock>,
    /// Where its networks compute.
    pub device: Device,
    /// Threads of one operation.
    pub threads: usize,
    /// Passes for queries that run at once, each with a network of its own.
    pub lanes: usize,
    /// Whether their costly operations run in bfloat16.
    pub bf16: bool,
    /// Samples of an index up to which a search compares with all of them.
    pub exact_rows_max: usize,
    /// Called when a generation begins to answer; must not call back into the serving.
    pub on_serving: Box<dyn Fn(&Published) + Send + Sync>,
}

/// A stream's serving in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct ServingState {
    /// The generation that answers; None before the first.
    pub generation: Option<Generation>,
    /// Its space.
    pub space: Option<Space>,
    /// Samples in its index.
    pub index_covered: u64,
    /// Samples that the index should hold.
    pub index_total: u64,
    /// Bytes that the index takes, names of files apart.
    pub index_bytes: u64,
    /// What share of the ten nearest a search was measured to find where it is approximate; None where it is exact.
    pub index_recall: Option<f32>,
    /// Queries that wait for the encoder.
    pub encode_queue: u64,
    /// Why queries fail, when they do.
    pub failure: Option<String>,
}

/// A stream's serving.
pub struct StreamServing {
    inner: Arc<Inner>,
}

struct Inner {
    setup: ServingSetup,
    current: ArcSwapOption<Served>,
    build: Mutex<Build>,
    older: Mutex<VecDeque<Arc<Older>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held while classifiers are fitted, and until the generation that they are of answers: none is fitted for a generation
    /// that another is about to replace.
    fitting: Mutex<()>,
    /// Held while a copy is trained: one at a time.
    tuning: Mutex<()>,
    stopping: AtomicBool,
}

/// The generation whose index is being built, and the newest that waits for its turn. One that waits is replaced by a
/// newer one; one that is being built is not, or a busy stream would never serve any.
#[derive(Default)]
struct Build {
    running: Option<Arc<Served>>,
    next: Option<Published>,
}

impl StreamServing {
    /// Serves the registry's latest generation, if there is one.
    pub fn start(setup: ServingSetup) -> Self {
        let serving = Self {
            inner: Arc::new(Inner {
                setup,
                current: ArcSwapOption::empty(),
                build: Mutex::default(),
                older: Mutex::default(),
                threads: Mutex::default(),
                fitting: Mutex::default(),
                tuning: Mutex::default(),
                stopping: AtomicBool::new(false),
            }),
        };
        serving.follow_registry();
        serving
    }

    /// Prepares the generation that the registry says should answer, and serves it when it is ready; nothing where it answers or is
    /// being prepared already. To be called after a publication, a roll-back or a pin. The first one answers at once.
    pub fn follow_registry(&self) {
        // Held from the reading on: of two decisions at once the later one is followed.
        let mut build = self.inner.build.lock();
        let registry = &self.inner.setup.registry;
        let Some(latest) = registry.latest() else { return };
        let is_latest = |published: &Published| published.generation == latest.generation;
        match build.running.clone() {
            Some(running) if is_latest(&running.published) => build.next = None,
            // What was being prepared was rolled back from; its thread ends with it.
            _ if self.current().is_some_and(|current| is_latest(&current.published)) => *build = Build::default(),
            Some(running) if !self.is_to_be_given_up(&running) => build.next = Some(latest),
            _ => {
                build.next = None;
                self.inner.begin(&mut build, latest);
            }
        }
    }

    /// Whether a generation that is being prepared should not answer even for a moment, or can not be opened, which would keep its
    /// successors waiting for ever. Any other is finished first, or a busy stream would never serve any.
    fn is_to_be_given_up(&self, running: &Served) -> bool {
        let registry = &self.inner.setup.registry;
        running.encoder.failure().is_some()
            || registry.is_withdrawn(running.published.generation)
            || registry.pinned().is_some()
    }

    /// The generation that answers queries.
    pub fn current(&self) -> Option<Arc<Served>> {
        self.inner.current.load_full()
    }

    /// An older generation, loaded if it is not; None when it is not kept.
    pub fn older(&self, generation: Generation) -> std::io::Result<Option<Arc<Older>>> {
        let mut older = self.inner.older.lock();
        let at = older.iter().position(|older| older.published.generation == generation);
        let loaded = at.and_then(|at| older.remove(at));
        let Some(published) = self.inner.setup.registry.get(generation) else {
            return Ok(None);
        };
        let asked = match loaded {
            Some(loaded) => loaded,
            None => {
                let encoder = self.inner.encoder(&published, None, Box::new(|| {}))?;
                Arc::new(Older { published, encoder })
            }
        };
        older.push_back(Arc::clone(&asked));
        if older.len() > OLDER_ENCODERS_MAX {
            older.pop_front();
        }
        Ok(Some(asked))
    }

    /// Whether the costly operations of its networks run in bfloat16.
    pub fn is_bf16(&self) -> bool {
        self.inner.setup.bf16
    }

    /// The serving in numbers.
    pub fn state(&self) -> ServingState {
        let current = self.current();
        let building_failed = || {
            self.inner
                .build
                .lock()
                .running
                .as_ref()
                .and_then(|running| running.encoder.failure())
        };
        ServingState {
            generation: current.as_ref().map(|served| served.published.generation),
            space: current.as_ref().map(|served| served.published.space.clone()),
            index_covered: current.as_ref().map_or(0, |served| served.index.len() as u64),
            index_total: self.inner.setup.replay.counts().samples,
            index_bytes: current
                .as_ref()
                .map_or(0, |served| served.index.snapshot().bytes() as u64),
            index_recall: current
                .as_ref()
                .and_then(|served| Some(served.index.snapshot().approximate()?.recall)),
            encode_queue: current.as_ref().map_or(0, |served| served.encoder.queued() as u64),
            failure: current
                .as_ref()
                .and_then(|served| served.encoder.failure())
                .or_else(building_failed),
        }
    }

    /// Ends every thread and waits for them. Call when no query is being answered.
    pub fn stop(&self) {
        self.inner.stopping.store(true, Ordering::Relaxed);
        *self.inner.build.lock() = Build::default();
        self.inner.older.lock().clear();
        self.inner.current.store(None);
        let threads = std::mem::take(&mut *self.inner.threads.lock());
        for thread in threads {
            // Its panics are caught where it runs.
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn begin(self: &Arc<Self>, build: &mut Build, published: Published) {
        build.running = None;
        match self.prepare(published) {
            Ok(served) => {
                if self.current.load().is_none() {
                    self.serve(&served);
                }
                build.running = Some(served);
            }
            Err(error) => {
                error!(stream = %self.setup.stream, %error,
                    hint = "raise the limit of threads (ulimit -u, TasksMax= of the unit), and look at the memory",
                    "failed to start an encoder")
            }
        }
    }

    /// Starts the encoder of a generation; its index is built from here on.
    fn prepare(self: &Arc<Self>, published: Published) -> std::io::Result<Arc<Served>> {
        let generation = published.generation;
        let index = Arc::new(Index::new(
            published.manifest.provenance.encoder.dim() as usize,
            generation.0,
            self.setup.exact_rows_max,
        ));
        let covered_below = CoveredBelow::default();
        // One whose own index was never complete is no measure.
        let current = self.current.load_full().filter(|current| current.is_searchable());
        let rival = current.map(|current| Arc::clone(&current.covered_below));
        let follower = Follower::new(
            Arc::clone(&self.setup.replay),
            Arc::clone(&index),
            Arc::clone(&covered_below),
            rival,
        );
        let inner: Weak<Self> = Arc::downgrade(self);
        let on_covered = Box::new(move || {
            if let Some(inner) = inner.upgrade() {
                inner.covered(generation);
            }
        });
        let encoder = self.encoder(&published, Some(follower), on_covered)?;
        Ok(Arc::new(Served {
            published,
            encoder,
            index,
            most_novel: tokio::sync::Mutex::default(),
            heads: ArcSwapOption::empty(),
            covered_below,
            searchable: AtomicBool::new(false),
        }))
    }

    /// The index of a generation is complete: the generation answers from now on, and the next is begun.
    fn finish(self: &Arc<Self>, generation: Generation) {
        let mut build = self.build.lock();
        let Some(served) = build
            .running
            .take_if(|running| running.published.generation == generation)
        else {
            // A newer one has taken its place.
            return;
        };
        served.searchable.store(true, Ordering::Release);
        if self
            .current
            .load()
            .as_ref()
            .is_none_or(|current| !Arc::ptr_eq(current, &served))
        {
            self.serve(&served);
        }
        if let Some(next) = build.next.take() {
            self.begin(&mut build, next);
        }
    }

    fn serve(&self, served: &Arc<Served>) {
        let published = &served.published;
        // Nothing of it is on the disk: only a kill can fall here.
        let _ = disk::point("index.flip");
        self.current.store(Some(Arc::clone(served)));
        info!(stream = %self.setup.stream, generation = %published.generation, space = %published.space,
            samples = served.index.len(), "a generation began to answer");
        (self.setup.on_serving)(published);
    }

    fn encoder(
        &self,
        published: &Published,
        follower: Option<Follower>,
        on_covered: Box<dyn FnOnce() + Send>,
    ) -> std::io::Result<Encoder> {
        let (source, device, bf16) = (published.clone(), self.setup.device, self.setup.bf16);
        let spec = source.manifest.provenance.encoder;
        let open = move || -> Result<Embedder, WorkError> {
            let tokenizer = source.tokenizer()?;
            let mut embedder = Embedder::open(&spec, tokenizer.as_ref(), &source.weights()?, device)?;
            if bf16 {
                embedder = embedder.in_bf16();
            }
            Ok(match source.decoder()? {
                Some(decoder) => embedder.with_decoder(&decoder)?,
                None => embedder,
            })
        };
        // An older generation is asked now and then.
        let lanes = if follower.is_some() { self.setup.lanes } else { 1 };
        let (encoder, lanes) = Encoder::start(EncoderSetup {
            name: format!("encoder-{}-{}", self.setup.stream, published.generation),
            open: Arc::new(open),
            lanes,
            input_len: spec.input_len(),
            threads: self.setup.threads,
            follower,
            on_covered,
        })?;
        let mut threads = self.threads.lock();
        threads.retain(|thread| !thread.is_finished());
        threads.extend(lanes);
        Ok(encoder)
    }
}
