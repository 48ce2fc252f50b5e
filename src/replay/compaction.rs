//! Compaction: what still counts in the emptiest segment is copied to the end of the log, and the segment deleted.
//! Invariant: a segment is deleted only after the checkpoint that follows its last copy; segments are deleted in the
//! order they were emptied, and those that may hold old copies come first after a restart or an error, so that no
//! tombstone goes before the last copy of its sample.

use std::collections::VecDeque;

use tracing::debug;

use crate::disk;
use crate::limits::COMPACTION_STEP_BYTES_MAX;

use super::log::{Content, Segment};
use super::pending::LedgerKey;
use super::record::{Entry, State};
use super::segment::{self, HEADER_LEN, Located, Location};
use super::store::{Memory, Store};
use super::types::ReplayError;

/// Segments are cleaned while they hold more than this many times what counts.
const SPACE_AIM: f64 = 1.3;

/// Inserts help with cleaning while the segments hold more than this many times what counts.
const SPACE_MAX: f64 = 1.36;

/// A checkpoint is made for segments that wait to be deleted when they are one byte in this many.
const EMPTIED_ONE_IN: u64 = 32;

/// A segment of which more than this part counts is left alone.
const FULLNESS_MAX: f64 = 0.95;

/// What compaction is at.
#[derive(Default)]
pub(super) struct Cleaner {
    victim: Option<Victim>,
    /// Segments that come before all others, for a sample that was copied out of them and evicted later has a tombstone
    /// that knows of the newer copy alone: the one of which a part was copied when the store was closed, killed, or
    /// failed, and those that were emptied and not yet deleted then. Oldest first, as copies go to newer segments.
    first: VecDeque<u32>,
    /// Segments without anything that counts, in the order they were emptied, to be deleted after the next checkpoint.
    emptied: Vec<u32>,
}

struct Victim {
    number: u32,
    records: std::vec::IntoIter<Located>,
}

impl Cleaner {
    /// A cleaner that begins with these segments, oldest first.
    pub(super) fn beginning_with(first: VecDeque<u32>) -> Self {
        Self {
            first,
            ..Self::default()
        }
    }

    /// Segments that may be deleted after a checkpoint that begins now.
    pub(super) fn emptied(&self) -> Vec<u32> {
        self.emptied.clone()
    }

    /// A segment was deleted.
    pub(super) fn forget(&mut self, number: u32) {
        self.emptied.retain(|emptied| *emptied != number);
    }
}

/// A record that is copied, where it was, and its payload.
struct Copied {
    entry: Entry,
    from: Location,
    payload: Vec<u8>,
}

impl Store {
    /// Whether enough segments wait to be deleted to make a checkpoint for them.
    pub(super) fn much_emptied(&self) -> bool {
        let emptied = self.cleaner.lock().emptied();
        let bytes = |number: &u32| self.segments.get(*number).map_or(0, |segment| segment.bytes);
        let waiting: u64 = emptied.iter().map(bytes).sum();
        waiting * EMPTIED_ONE_IN > self.segments.bytes()
    }

    /// Whether the segments, less those that are about to be deleted, hold more than `times` of what counts.
    fn exceeds(&self, cleaner: &Cleaner, times: f64) -> bool {
        let memory = self.memory.lock();
        let live: u64 = memory.contents.live_bytes.values().sum();
        let total: u64 = self.sizes_less_emptied(cleaner).iter().map(|(_, bytes)| bytes).sum();
        total as f64 > times * live as f64
    }

    fn sizes_less_emptied(&self, cleaner: &Cleaner) -> Vec<(u32, u64)> {
        let mut sizes = self.segments.sizes();
        sizes.retain(|(number, _)| !cleaner.emptied.contains(number));
        sizes
    }

    /// Copies up to [`COMPACTION_STEP_BYTES_MAX`] out of the emptiest segment. `false`: there was nothing to do.
    pub(super) fn compact(&self) -> Result<bool, ReplayError> {
        let mut cleaner = self.cleaner.lock();
        let Some(mut victim) = (match cleaner.victim.take() {
            Some(victim) => Some(victim),
            None => self.next_victim(&mut cleaner)?,
        }) else {
            return Ok(false);
        };
        if let Err(error) = self.copy_a_part(&mut victim, &cleaner) {
            cleaner.first.push_front(victim.number);
            return Err(error);
        }
        if victim.records.len() == 0 {
            cleaner.emptied.push(victim.number);
        } else {
            cleaner.victim = Some(victim);
        }
        Ok(true)
    }

    fn copy_a_part(&self, victim: &mut Victim, cleaner: &Cleaner) -> Result<(), ReplayError> {
        let mut copied = Vec::new();
        let mut bytes = 0;
        let mut damaged = Vec::new();
        let file = self.segments.get(victim.number);
        for Located { entry, location, .. } in victim.records.by_ref() {
            if !self.counts(&entry, location, cleaner)? {
                continue;
            }
            bytes += u64::from(location.len);
            let payload = match (&entry, &file) {
                (Entry::Sample(sample), Some(Segment { file, .. })) => {
                    match self.segments.read_sample(file, sample.id.0, location)? {
                        Content::Whole(content) => content,
                        Content::Damaged(why) => {
                            damaged.push((sample.id, why));
                            continue;
                        }
                    }
                }
                _ => Vec::new(),
            };
            copied.push(Copied {
                entry,
                from: location,
                payload,
            });
            if bytes >= COMPACTION_STEP_BYTES_MAX {
                break;
            }
        }
        debug!(
            segment = victim.number,
            bytes,
            left = victim.records.len(),
            "cleaned a part of a segment"
        );
        if !damaged.is_empty() {
            self.quarantine_records(&damaged);
        }
        self.copy(copied)
    }

    /// If space is short, the first of those that come first, else the emptiest segment.
    fn next_victim(&self, cleaner: &mut Cleaner) -> Result<Option<Victim>, ReplayError> {
        if !self.exceeds(cleaner, SPACE_AIM) {
            return Ok(None);
        }
        let Some(number) = cleaner.first.pop_front().or_else(|| self.choose(cleaner)) else {
            return Ok(None);
        };
        let records = match self.records(number) {
            Ok(records) => records.into_iter(),
            Err(error) => {
                cleaner.first.push_front(number);
                return Err(error);
            }
        };
        // One that was copied in part stays named for as long as it waits, whatever is cleaned before it.
        let state = &mut self.memory.lock().contents.state;
        if !cleaner.first.contains(&state.cleaning) {
            state.cleaning = number;
        }
        Ok(Some(Victim { number, records }))
    }

    /// The sealed segment with the least that counts; of equals the oldest.
    fn choose(&self, cleaner: &Cleaner) -> Option<u32> {
        let active = self.log.lock().active_number();
        let emptiest = {
            let memory = self.memory.lock();
            let live = |number: u32| memory.contents.live_bytes.get(&number).copied().unwrap_or(0);
            self.sizes_less_emptied(cleaner)
                .into_iter()
                .filter(|(number, _)| Some(*number) != active)
                .map(|(number, bytes)| (live(number) as f64 / bytes as f64, number))
                .min_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)))
        };
        // A segment with nothing to gain would be copied for ever.
        emptiest.and_then(|(fullness, number)| (fullness <= FULLNESS_MAX).then_some(number))
    }

    /// Every record of a sealed segment.
    fn records(&self, number: u32) -> Result<Vec<Located>, ReplayError> {
        let Some(Segment { file, .. }) = self.segments.get(number) else {
            return Ok(Vec::new());
        };
        let (path, salt) = (self.segments.path(number), self.segments.identity.salt());
        let len = file.metadata().map_err(ReplayError::io("look at", &path))?.len();
        if let Some((records, _)) = segment::read_footer(&file, len, number, salt) {
            return Ok(records);
        }
        let bytes = std::fs::read(&path).map_err(ReplayError::io("read", &path))?;
        Ok(segment::scan(&bytes, HEADER_LEN, number, salt, u64::MAX).records)
    }

    /// Whether a record must be kept.
    fn counts(&self, entry: &Entry, location: Location, cleaner: &Cleaner) -> Result<bool, ReplayError> {
        let exists = |number: u32| !cleaner.emptied.contains(&number) && self.segments.contains(number);
        Ok(match entry {
            Entry::Source(meta) => self.place(LedgerKey::Source(meta.first.0))? == Some(location),
            Entry::Duplicate { number, .. } => self.place(LedgerKey::Duplicate(*number))? == Some(location),
            Entry::Tombstone(tombstone) => tombstone.segment != location.segment && exists(tombstone.segment),
            Entry::QuarantineDrop { segment, .. } => {
                let older = self.segments.sizes().into_iter().map(|(number, _)| number);
                older
                    .take_while(|number| number <= segment)
                    .any(|number| number != location.segment && exists(number))
                    && self.memory.lock().is_current(entry, location)
            }
            // The next checkpoint writes a newer one before this segment is deleted.
            Entry::State(_) => false,
            Entry::Sample(_) | Entry::Quarantine(_) => self.memory.lock().is_current(entry, location),
        })
    }

    /// Writes copies at the end of the log; those that stopped counting meanwhile are left out.
    fn copy(&self, copied: Vec<Copied>) -> Result<(), ReplayError> {
        let mut log = self.log.lock();
        let mut batch = self.batch(&log);
        let state = State {
            next_seq: log.next_seq() + 1,
            ..self.memory.lock().contents.state
        };
        batch.push(Entry::State(state), &[]);
        let waiting = batch.len();
        let mut from = Vec::with_capacity(copied.len());
        {
            let memory = self.memory.lock();
            for copy in copied {
                if memory.is_current(&copy.entry, copy.from) {
                    batch.push(copy.entry.carried(), &copy.payload);
                    from.push(copy.from);
                }
            }
        }
        if from.is_empty() {
            return Ok(());
        }
        let dir = &self.segments.dir;
        disk::point("compaction.copy").map_err(ReplayError::io("write", dir))?;
        let records = log.append(batch)?;
        let mut memory = self.memory.lock();
        memory.logged(&records);
        memory.moved(records.into_iter().skip(waiting).zip(from));
        Ok(())
    }

    /// Before an insert: while cleaning lags far behind, the insert does a step of it, so that space is bounded.
    pub(super) fn make_room(&self) -> Result<(), ReplayError> {
        let lags = {
            let cleaner = self.cleaner.lock();
            let memory = self.memory.lock();
            let live: u64 = memory.contents.live_bytes.values().sum();
            drop(memory);
            let slack = 2 * self.log.lock().segment_bytes();
            let total = self.segments.bytes();
            (total as f64 > SPACE_MAX * live as f64 && total > live + slack).then_some(!cleaner.emptied.is_empty())
        };
        match lags {
            None => Ok(()),
            Some(true) => self.checkpoint(),
            Some(false) => self.compact().map(drop),
        }
    }
}

impl Memory {
    /// Whether a record that is kept in RAM still counts. What only inserts could change can not have changed.
    fn is_current(&self, entry: &Entry, location: Location) -> bool {
        match entry {
            Entry::Sample(sample) => {
                let slot = self.contents.samples.get(&sample.id.0);
                slot.is_some_and(|slot| slot.location == location)
            }
            Entry::Quarantine(entry) => {
                let current = self.contents.quarantine.get(&entry.path);
                current.is_some_and(|(_, current)| *current == location)
            }
            Entry::QuarantineDrop { path, .. } => !self.contents.quarantine.contains_key(path),
            Entry::Source(_) | Entry::Duplicate { .. } | Entry::Tombstone(_) | Entry::State(_) => true,
        }
    }

    /// Takes over where copied records are now, and where they were.
    fn moved(&mut self, records: impl Iterator<Item = (Located, Location)>) {
        for (Located { entry, location, .. }, from) in records {
            match entry {
                Entry::Sample(sample) => self.contents.add_sample(&sample, location),
                Entry::Source(meta) => {
                    let key = LedgerKey::Source(meta.first.0);
                    self.contents.move_ledger(key, location, Some(from));
                }
                Entry::Duplicate { number, .. } => {
                    let key = LedgerKey::Duplicate(number);
                    self.contents.move_ledger(key, location, Some(from));
                }
                Entry::Quarantine(entry) => self.contents.add_quarantined(entry, location),
                Entry::QuarantineDrop { .. } | Entry::Tombstone(_) | Entry::State(_) => {}
            }
        }
    }
}
