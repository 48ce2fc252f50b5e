//! Keeps an index level with the replay buffer: what arrives is embedded into it, what is evicted leaves it.
//! Invariant: a sample below `covered_below` that is live is in the index, unless it can not be read.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::warn;

use super::encoder::WorkError;
use super::index::{Index, Origin};
use crate::ids::SampleId;
use crate::model::Embedder;
use crate::replay::ReplayBuffer;
use crate::sample::Content;

/// How far an index has come: every sample with a smaller id has been looked at.
pub(super) type CoveredBelow = Arc<AtomicU64>;

/// Carries changes of a buffer into an index. Owned by the encoder's thread.
pub struct Follower {
    replay: Arc<ReplayBuffer>,
    index: Arc<Index>,
    covered_below: CoveredBelow,
    /// How far the index that is to be replaced has come; to have come as far is to be as good.
    rival: Option<CoveredBelow>,
    /// Evictions already carried over.
    evicted_seq: u64,
    reached_the_end: bool,
    /// The path of the sample that was looked at last.
    last_path: Arc<str>,
}

impl Follower {
    /// Follows `replay` into an empty `index`.
    pub fn new(
        replay: Arc<ReplayBuffer>,
        index: Arc<Index>,
        covered_below: CoveredBelow,
        rival: Option<CoveredBelow>,
    ) -> Self {
        let (_, evicted_seq) = replay.changes();
        Self {
            replay,
            index,
            covered_below,
            rival,
            evicted_seq,
            reached_the_end: false,
            last_path: Arc::default(),
        }
    }

    /// Whether the index has held all that the buffer does, or all that the index does which it replaces.
    pub fn has_covered(&self) -> bool {
        let below = self.covered_below.load(Ordering::Relaxed);
        let rival = self.rival.as_ref().map(|rival| rival.load(Ordering::Relaxed));
        self.reached_the_end || rival.is_some_and(|rival| below >= rival)
    }

    /// Carries over every eviction and up to `max` new samples; whether there were new ones.
    pub fn advance(&mut self, embedder: &Embedder, max: usize) -> Result<bool, WorkError> {
        self.drop_evicted();
        let below = self.covered_below.load(Ordering::Relaxed);
        let ids = self.replay.ids_after(below.checked_sub(1).map(SampleId), max);
        let Some(last) = ids.last() else {
            self.reached_the_end = true;
            return Ok(false);
        };
        let mut held = Vec::with_capacity(ids.len());
        let mut contents = Vec::with_capacity(ids.len());
        for (id, content) in ids.iter().zip(self.replay.read_many(&ids)?) {
            // One that is gone was evicted since, or found damaged and named by the buffer.
            match content.map(|bytes| Content::decode(&bytes)) {
                Some(Ok(content)) if embedder.takes(&content) => {
                    held.push((*id, self.origin(*id)));
                    contents.push(content);
                }
                Some(Ok(_)) => {
                    warn!(sample = %id,
                        hint = "a stream keeps its modality: name another stream for the other kind of data",
                        "skipped a sample that is of another modality than the network")
                }
                Some(Err(error)) => {
                    warn!(sample = %id, %error,
                        hint = "look at the buffer: stop the daemon and run curiod replay verify",
                        "skipped a sample that can not be indexed")
                }
                None => {}
            }
        }
        let embeddings = embedder.embed(&contents.iter().collect::<Vec<_>>())?;
        self.index.add(&held, &embeddings);
        self.index.tend();
        self.covered_below.store(last.0 + 1, Ordering::Relaxed);
        self.reached_the_end |= ids.len() < max;
        Ok(true)
    }

    /// Where a sample came from. Of one that was evicted a moment ago nothing is known, and it leaves the index soon.
    fn origin(&mut self, id: SampleId) -> Origin {
        let Some(info) = self.replay.info(id) else {
            return Origin::default();
        };
        // Samples of one file follow each other, and share its name.
        if *self.last_path != *info.path {
            self.last_path = info.path.into();
        }
        Origin {
            taken_at: info.taken_at,
            path: Arc::clone(&self.last_path),
        }
    }

    fn drop_evicted(&mut self) {
        // Read first: what is evicted after this is told again by the next call, and removing twice does no harm.
        let (_, evicted_seq) = self.replay.changes();
        if evicted_seq == self.evicted_seq {
            return;
        }
        let gone = self
            .replay
            .evicted_since(self.evicted_seq)
            .unwrap_or_else(|| self.dead());
        self.index.remove(&gone);
        self.evicted_seq = evicted_seq;
    }

    /// The index's samples that the buffer holds no more.
    fn dead(&self) -> Vec<SampleId> {
        let live: HashSet<SampleId> = self.replay.ids_after(None, usize::MAX).into_iter().collect();
        self.index.ids().into_iter().filter(|id| !live.contains(id)).collect()
    }
}
