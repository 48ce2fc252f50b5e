//! The contents: which samples are live and where, in RAM; and what of that the catalogue does not have yet.
//! Invariant: replaying the log's records in their order gives the same contents, wherever the replay starts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::curiosity::Priority;
use crate::ids::{SampleId, SourceHash};
use crate::limits::QUARANTINE_ENTRIES_MAX;

use super::log::SAMPLE_RECORD_LEN;
use super::pending::{Kept, LedgerKey, Look, PathKey, Pending, Signals};
use super::record::{SampleMeta, SourceMeta, State};
use super::segment::Location;
use super::types::{QuarantineEntry, Score};

/// A live sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slot {
    pub(super) location: Location,
    pub(super) signals: Signals,
    /// What it shows; `None` while it was not looked at.
    pub(super) look: Option<Look>,
    pub(super) exam: bool,
    /// Bytes of its content.
    pub(super) bytes: u32,
}

/// What the ledger knows of a key.
#[derive(Clone, Debug)]
pub(super) enum Lookup<T> {
    /// This.
    Here(T),
    /// What the catalogue knows.
    InCatalogue,
}

impl<T> Lookup<T> {
    fn of(found: Option<T>) -> Self {
        found.map_or(Self::InCatalogue, Self::Here)
    }

    /// What is known here, else what `catalogue` says.
    pub(super) fn or_else<E>(self, catalogue: impl FnOnce() -> Result<Option<T>, E>) -> Result<Option<T>, E> {
        match self {
            Self::Here(found) => Ok(Some(found)),
            Self::InCatalogue => catalogue(),
        }
    }
}

/// How many entries the ledger has. Damage may cost some, so that they are fewer than were taken for life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// Sources by hash, and duplicates.
    pub(super) keys: u64,
    /// Records of them.
    pub(super) places: u64,
}

/// What the ledger had of a record before: what is in both was counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    /// Whether its key was listed.
    pub(super) listed: bool,
    /// Where the record was.
    pub(super) place: Option<Location>,
}

/// The contents of a store.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) samples: BTreeMap<u64, Slot>,
    /// The exam in a stable order: by source.
    pub(super) exam: BTreeSet<(SourceHash, SampleId)>,
    /// The exam by age.
    pub(super) exam_sources: BTreeMap<u64, SourceHash>,
    /// Bytes of the live contents, and those of the exam among them.
    pub(super) bytes: u64,
    pub(super) exam_bytes: u64,
    /// Bytes of the records in each segment that must be kept.
    pub(super) live_bytes: BTreeMap<u32, u64>,
    /// Those of them that say what is gone. They count until compaction looks at them, for only it sees which may go.
    pub(super) gone_bytes: BTreeMap<u32, u64>,
    pub(super) quarantine: BTreeMap<String, (QuarantineEntry, Location)>,
    quarantine_by_age: BTreeSet<(i64, String)>,
    pub(super) listed: Listed,
    pub(super) state: State,
    pub(super) pending: Pending,
    /// What is being written to the catalogue right now.
    pub(super) in_flight: Option<Arc<Pending>>,
}

impl Contents {
    /// A sample is live here; if it was live elsewhere, it has moved.
    pub(super) fn add_sample(&mut self, sample: &SampleMeta, location: Location) {
        let kept = Kept {
            location,
            exam: sample.exam.then_some(sample.source),
        };
        self.state.next_id = self.state.next_id.max(sample.id.0.saturating_add(1));
        self.pending.samples.insert(sample.id.0, Some(kept));
        self.load_sample(sample.id, kept);
    }

    /// As [`Contents::add_sample`], for a sample that the catalogue has.
    pub(super) fn load_sample(&mut self, id: SampleId, kept: Kept) {
        let location = kept.location;
        self.keep(location);
        if let Some(slot) = self.samples.get_mut(&id.0) {
            let old = std::mem::replace(&mut slot.location, location);
            self.release(old);
            return;
        }
        let slot = Slot {
            location,
            signals: Signals {
                visits: 0,
                error: f32::NAN,
                weight: Priority::unseen().weight(),
                score: None,
                judgement: None,
            },
            look: None,
            exam: kept.exam.is_some(),
            bytes: location.len.saturating_sub(SAMPLE_RECORD_LEN as u32),
        };
        self.samples.insert(id.0, slot);
        self.bytes += u64::from(slot.bytes);
        if let Some(source) = kept.exam {
            self.exam_bytes += u64::from(slot.bytes);
            self.exam.insert((source, id));
            self.exam_sources.insert(id.0, source);
        }
    }

    /// A sample is gone.
    pub(super) fn remove_sample(&mut self, id: SampleId) -> Option<Slot> {
        let slot = self.samples.remove(&id.0)?;
        self.pending.samples.insert(id.0, None);
        self.pending.signals.insert(id.0, None);
        if slot.signals.score.is_some() {
            self.pending.scores.insert(id.0, None);
        }
        if slot.look.is_some() {
            self.pending.looks.insert(id.0, None);
        }
        self.release(slot.location);
        self.bytes -= u64::from(slot.bytes);
        if let Some(source) = self.exam_sources.remove(&id.0) {
            self.exam_bytes -= u64::from(slot.bytes);
            self.exam.remove(&(source, id));
        }
        Some(slot)
    }

    /// A sample's signals have changed; `false` if it is gone.
    pub(super) fn set_signals(&mut self, id: SampleId, signals: Signals) -> bool {
        let there = self.load_signals(id, signals);
        if there {
            self.pending.signals.insert(id.0, Some(signals));
        }
        there
    }

    /// As [`Contents::set_signals`], for signals that the catalogue has.
    pub(super) fn load_signals(&mut self, id: SampleId, signals: Signals) -> bool {
        let slot = self.samples.get_mut(&id.0);
        slot.map(|slot| {
            let score = signals.score.or(slot.signals.score);
            slot.signals = Signals { score, ..signals };
        })
        .is_some()
    }

    /// What the teacher says of a sample has changed; `false` if it is gone.
    pub(super) fn set_score(&mut self, id: SampleId, score: Score) -> bool {
        let there = self.load_score(id, score);
        if there {
            self.pending.scores.insert(id.0, Some(score));
        }
        there
    }

    /// No sample has a score any more.
    pub(super) fn forget_scores(&mut self) {
        for (id, slot) in &mut self.samples {
            if slot.signals.score.take().is_some() {
                self.pending.scores.insert(*id, None);
            }
        }
    }

    /// As [`Contents::set_score`], for a score that the catalogue has.
    pub(super) fn load_score(&mut self, id: SampleId, score: Score) -> bool {
        let slot = self.samples.get_mut(&id.0);
        slot.map(|slot| slot.signals.score = Some(score)).is_some()
    }

    /// It is known what a sample shows; `false` if it is gone.
    pub(super) fn set_look(&mut self, id: SampleId, look: Look) -> bool {
        let there = self.load_look(id, look);
        if there {
            self.pending.looks.insert(id.0, Some(look));
        }
        there
    }

    /// As [`Contents::set_look`], for a look that the catalogue has.
    pub(super) fn load_look(&mut self, id: SampleId, look: Look) -> bool {
        let slot = self.samples.get_mut(&id.0);
        slot.map(|slot| slot.look = Some(look)).is_some()
    }

    /// A source is in the ledger here.
    pub(super) fn add_source(&mut self, meta: SourceMeta, location: Location, before: Before) {
        self.listed.keys += u64::from(!before.listed);
        self.state.next_id = self.state.next_id.max(meta.end());
        self.state.totals = self.state.totals.max(meta.totals);
        self.move_ledger(LedgerKey::Source(meta.first.0), location, before.place);
        self.pending.sources.insert(meta.hash, meta);
    }

    /// A duplicate is in the ledger here.
    pub(super) fn add_duplicate(
        &mut self,
        number: u64,
        key: (SourceHash, PathKey),
        location: Location,
        before: Before,
    ) {
        self.listed.keys += u64::from(!before.listed);
        self.state.duplicates = self.state.duplicates.max(number);
        self.move_ledger(LedgerKey::Duplicate(number), location, before.place);
        self.pending.duplicates.insert(key, number);
    }

    /// A record of the ledger is here; `before` is where it was.
    pub(super) fn move_ledger(&mut self, key: LedgerKey, location: Location, before: Option<Location>) {
        match before {
            Some(before) => self.release(before),
            None => self.listed.places += 1,
        }
        self.keep(location);
        self.pending.places.insert(key, location);
    }

    /// A file is in quarantine. When the list is full, the oldest leaves it.
    pub(super) fn add_quarantined(&mut self, entry: QuarantineEntry, location: Location) {
        self.pending
            .quarantine
            .insert(entry.path.clone(), Some((entry.clone(), location)));
        self.load_quarantined(entry, location);
        if self.quarantine.len() > QUARANTINE_ENTRIES_MAX
            && let Some((_, oldest)) = self.quarantine_by_age.first().cloned()
        {
            self.remove_quarantined(&oldest);
            self.state.quarantine_unlisted += 1;
        }
    }

    /// As [`Contents::add_quarantined`], for an entry that the catalogue has.
    pub(super) fn load_quarantined(&mut self, entry: QuarantineEntry, location: Location) {
        self.keep(location);
        self.quarantine_by_age.insert((entry.at.0, entry.path.clone()));
        if let Some((old, old_location)) = self.quarantine.insert(entry.path.clone(), (entry.clone(), location)) {
            self.release(old_location);
            if old.at != entry.at {
                self.quarantine_by_age.remove(&(old.at.0, old.path));
            }
        }
    }

    /// A file is no longer in quarantine; `false` if it was not.
    pub(super) fn remove_quarantined(&mut self, path: &str) -> bool {
        let Some((entry, location)) = self.quarantine.remove(path) else {
            return false;
        };
        self.quarantine_by_age.remove(&(entry.at.0, entry.path));
        self.pending.quarantine.insert(path.to_owned(), None);
        self.release(location);
        true
    }

    /// What the ledger knows of a source.
    pub(super) fn source(&self, hash: &SourceHash) -> Lookup<SourceMeta> {
        let flying = self.in_flight.as_deref();
        let source = self.pending.sources.get(hash);
        Lookup::of(source.or_else(|| flying?.sources.get(hash)).cloned())
    }

    /// What the ledger knows of a duplicate.
    pub(super) fn duplicate(&self, key: &(SourceHash, PathKey)) -> Lookup<u64> {
        let flying = self.in_flight.as_deref();
        let number = self.pending.duplicates.get(key);
        Lookup::of(number.or_else(|| flying?.duplicates.get(key)).copied())
    }

    /// Where a record of the ledger is.
    pub(super) fn place(&self, key: LedgerKey) -> Lookup<Location> {
        let flying = self.in_flight.as_deref();
        let place = self.pending.places.get(&key);
        Lookup::of(place.or_else(|| flying?.places.get(&key)).copied())
    }

    /// Counts a record as one that must be kept.
    pub(super) fn keep(&mut self, location: Location) {
        *self.live_bytes.entry(location.segment).or_default() += u64::from(location.len);
    }

    /// Counts a record that says what is gone as one that must be kept.
    pub(super) fn keep_gone(&mut self, segment: u32, bytes: u64) {
        *self.live_bytes.entry(segment).or_default() += bytes;
        *self.gone_bytes.entry(segment).or_default() += bytes;
    }

    /// A segment was deleted.
    pub(super) fn forget_segment(&mut self, segment: u32) {
        self.live_bytes.remove(&segment);
        self.gone_bytes.remove(&segment);
    }

    fn release(&mut self, location: Location) {
        if let Some(live) = self.live_bytes.get_mut(&location.segment) {
            *live = live.saturating_sub(u64::from(location.len));
        }
    }
}
