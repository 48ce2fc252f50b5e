//! Removers: which sample is evicted when the buffer is full.
//! Invariant: the choice of `fifo` and `reservoir` depends on the live ids and the store's seed alone, so that an eviction
//! whose record was lost in a crash is made again. That of `min_redundancy` depends on scores, of which a crash costs the
//! newest, and so does that of `distinct`: it may then choose another sample, and the one that had gone is back.

use std::collections::BTreeSet;

use crate::config::RemoverKind;
use crate::curiosity::Priority;
use crate::ids::SampleId;
use crate::rng::{self, Rng};

use super::cause::Cause;
use super::min_redundancy::MinRedundancy;
use super::pending::Signals;
use super::selector::{Selection, Selector};

/// `distinct`: the part of the usual distance to the nearest other below which one of two samples is redundant.
const CLOSE: f32 = 0.75;

/// The remover of the configuration.
pub(super) enum Remover {
    Fifo(Fifo),
    Reservoir(Reservoir),
    MinRedundancy(MinRedundancy),
}

impl Remover {
    /// The configured remover, which goes on at `threshold`.
    pub(super) fn new(kind: RemoverKind, seed: u64, threshold: u64) -> Self {
        match kind {
            RemoverKind::Fifo => Self::Fifo(Fifo::default()),
            RemoverKind::Reservoir => Self::Reservoir(Reservoir::new(seed, threshold)),
            RemoverKind::Distinct => Self::MinRedundancy(MinRedundancy::new(seed, Some(CLOSE))),
            RemoverKind::MinRedundancy => Self::MinRedundancy(MinRedundancy::new(seed, None)),
        }
    }

    /// Whether a sample must go, whatever room there is.
    pub(super) fn refuses(&self, id: SampleId) -> bool {
        match self {
            Self::Fifo(_) | Self::MinRedundancy(_) => false,
            Self::Reservoir(reservoir) => reservoir.refuses(id),
        }
    }

    /// Before a choice, when `wanted` samples must go: a look at what is known of those that may be chosen.
    pub(super) fn look(&mut self, wanted: usize, signals: impl Fn(SampleId) -> Option<Signals>) {
        if let Self::MinRedundancy(remover) = self {
            remover.look(wanted, signals);
        }
    }

    /// Why the sample that it chose last goes.
    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::Fifo(_) => Cause::Aged,
            Self::Reservoir(_) => Cause::Evicted,
            Self::MinRedundancy(remover) => remover.cause(),
        }
    }

    /// Notes that its choice was evicted for want of room.
    pub(super) fn evicted(&mut self, id: SampleId) {
        match self {
            Self::Fifo(fifo) => {
                fifo.remove(id);
            }
            Self::Reservoir(reservoir) => reservoir.evicted(id),
            Self::MinRedundancy(remover) => {
                remover.remove(id);
            }
        }
    }

    /// The threshold to go on at after a restart.
    pub(super) fn threshold(&self) -> Option<u64> {
        match self {
            Self::Fifo(_) | Self::MinRedundancy(_) => None,
            Self::Reservoir(reservoir) => Some(reservoir.threshold),
        }
    }

    pub(super) fn selector(&mut self) -> &mut dyn Selector {
        match self {
            Self::Fifo(fifo) => fifo,
            Self::Reservoir(reservoir) => reservoir,
            Self::MinRedundancy(remover) => remover,
        }
    }
}

/// Evicts the oldest.
#[derive(Default)]
pub struct Fifo(BTreeSet<SampleId>);

impl Selector for Fifo {
    fn insert(&mut self, id: SampleId, _: Priority) {
        self.0.insert(id);
    }

    fn update(&mut self, id: SampleId, _: Priority) -> bool {
        self.0.contains(&id)
    }

    fn remove(&mut self, id: SampleId) -> bool {
        self.0.remove(&id)
    }

    fn select(&mut self, _: &mut Rng) -> Option<Selection> {
        let id = *self.0.first()?;
        Some(Selection { id, probability: 1.0 })
    }
}

/// Keeps every sample ever seen with the same probability, whenever it came.
///
/// Algorithm R (Vitter 1985) counts slots; a buffer is full of bytes. So each sample is given a random key, a function
/// of the store's seed and its id. The largest key is evicted, and from then on keys as large are refused: what is kept
/// is at any time exactly the samples whose key is below a threshold that only falls. For samples of one size that is
/// algorithm R's distribution; for others a large sample is as likely to be kept as a small one.
pub struct Reservoir {
    seed: u64,
    threshold: u64,
    keys: BTreeSet<(u64, SampleId)>,
}

impl Reservoir {
    /// An empty reservoir that goes on at `threshold` (`u64::MAX` for one that never evicted).
    pub fn new(seed: u64, threshold: u64) -> Self {
        Self {
            seed,
            threshold,
            keys: BTreeSet::new(),
        }
    }

    /// Whether the sample's key is not below the threshold: it would have been evicted, had it come sooner.
    pub fn refuses(&self, id: SampleId) -> bool {
        self.key(id) >= self.threshold
    }

    /// Removes a sample that was evicted for want of room, and refuses its like.
    pub fn evicted(&mut self, id: SampleId) {
        self.threshold = self.threshold.min(self.key(id));
        self.remove(id);
    }

    fn key(&self, id: SampleId) -> u64 {
        Self::key_of(self.seed, id)
    }

    /// The random key of a sample.
    pub fn key_of(seed: u64, id: SampleId) -> u64 {
        use rand_core::RngCore;
        // One less than the largest number, so that a reservoir that never evicted refuses nothing.
        rng::for_step(seed, id.0, 0).next_u64().min(u64::MAX - 1)
    }
}

impl Selector for Reservoir {
    fn insert(&mut self, id: SampleId, _: Priority) {
        self.keys.insert((self.key(id), id));
    }

    fn update(&mut self, id: SampleId, _: Priority) -> bool {
        self.keys.contains(&(self.key(id), id))
    }

    fn remove(&mut self, id: SampleId) -> bool {
        self.keys.remove(&(self.key(id), id))
    }

    fn select(&mut self, _: &mut Rng) -> Option<Selection> {
        let (_, id) = *self.keys.last()?;
        Some(Selection { id, probability: 1.0 })
    }
}
