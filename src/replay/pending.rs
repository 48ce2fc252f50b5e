//! Pending: what the log holds and the catalogue does not yet.
//! Invariant: an entry here is newer than the catalogue's of the same key.

use std::collections::{BTreeMap, HashMap};

use crate::curiosity::Judgement;
use crate::ids::SourceHash;

use super::record::SourceMeta;
use super::segment::Location;
use super::types::{QuarantineEntry, Score};

/// Where a live sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) location: Location,
    /// Its source, if it is held out for the exam, whose order is that of its sources.
    pub(super) exam: Option<SourceHash>,
}

/// A record of the ledger, by a number that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LedgerKey {
    /// The source whose first sample has this id.
    Source(u64),
    /// The duplicate of this number.
    Duplicate(u64),
}

/// A path in a key of bounded length: the first half of its blake3 hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PathKey(pub(super) [u8; 16]);

impl PathKey {
    pub(super) fn of(path: &[u8]) -> Self {
        let hash = blake3::hash(path);
        let mut key = [0; 16];
        key.copy_from_slice(&hash.as_bytes()[..16]);
        Self(key)
    }
}

/// What replaying a sample has told about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Signals {
    pub(super) visits: u32,
    /// NaN where there is none yet.
    pub(super) error: f32,
    pub(super) weight: u32,
    /// What the teacher said last. In the catalogue by itself, for it changes less often.
    pub(super) score: Option<Score>,
    /// Why its weight is what it is. Not in the catalogue either.
    pub(super) judgement: Option<Judgement>,
}

/// What a sample shows: the perceptual hash of the first of the samples that show the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look(u64);

impl Look {
    /// A sample on which nothing is to be seen: it shows what no other shows.
    pub(super) const NOTHING: Self = Self(0);

    /// The look of the group that begins with this hash, half of whose bits are set.
    pub(super) fn of(hash: u64) -> Self {
        Self(hash)
    }

    /// The hash, if there is one.
    pub(super) fn get(self) -> Option<u64> {
        (self != Self::NOTHING).then_some(self.0)
    }
}

/// Changes by key; `None` removes.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    pub(super) samples: BTreeMap<u64, Option<Kept>>,
    pub(super) sources: HashMap<SourceHash, SourceMeta>,
    /// The numbers of duplicates.
    pub(super) duplicates: HashMap<(SourceHash, PathKey), u64>,
    /// Where the ledger's records are. Apart from what they say, for compaction changes only this.
    pub(super) places: BTreeMap<LedgerKey, Location>,
    pub(super) quarantine: HashMap<String, Option<(QuarantineEntry, Location)>>,
    pub(super) signals: BTreeMap<u64, Option<Signals>>,
    pub(super) scores: BTreeMap<u64, Option<Score>>,
    pub(super) looks: BTreeMap<u64, Option<Look>>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes of all kinds.
    pub(super) fn len(&self) -> usize {
        let ledger = self.sources.len() + self.duplicates.len() + self.places.len();
        self.samples.len() + ledger + self.quarantine.len() + self.signals.len() + self.scores.len() + self.looks.len()
    }

    /// Takes over older changes, where there is no newer one of the same key.
    pub(super) fn add_older(&mut self, older: &Self) {
        for (id, sample) in &older.samples {
            self.samples.entry(*id).or_insert(*sample);
        }
        for (hash, source) in &older.sources {
            self.sources.entry(*hash).or_insert_with(|| source.clone());
        }
        for (key, number) in &older.duplicates {
            self.duplicates.entry(*key).or_insert(*number);
        }
        for (key, location) in &older.places {
            self.places.entry(*key).or_insert(*location);
        }
        for (path, entry) in &older.quarantine {
            self.quarantine.entry(path.clone()).or_insert_with(|| entry.clone());
        }
        for (id, signals) in &older.signals {
            self.signals.entry(*id).or_insert(*signals);
        }
        for (id, score) in &older.scores {
            self.scores.entry(*id).or_insert(*score);
        }
        for (id, look) in &older.looks {
            self.looks.entry(*id).or_insert(*look);
        }
    }
}
