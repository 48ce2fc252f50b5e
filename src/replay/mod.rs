//! Replay buffer: bounded, durable, sampled by priority.
//! Invariant: every live id has exactly one record that counts; what was acknowledged survives a kill at any moment;
//! a record whose checksum fails is named, counted and never served.
//!
//! Append-only [segments](segment) are the truth; the [catalogue] in sled follows them at checkpoints and can be rebuilt;
//! ids, places and priorities are in RAM. No tensors here: contents are bytes.

mod archive;
mod carried;
mod catalogue;
mod cause;
mod compaction;
mod contents;
mod curator;
mod drawing;
mod entries;
mod fields;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod keeper;
mod log;
mod looking;
mod min_redundancy;
mod near_duplicates;
mod origin;
mod pending;
mod record;
mod recovery;
mod redo;
mod redundancy;
mod remover;
mod reopening;
mod segment;
mod selector;
mod store;
#[cfg(test)]
mod tests;
mod types;
mod verify;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::error;

use crate::config::ReplayConfig;
use crate::curiosity::Priority;
use crate::ids::{SampleId, SourceHash};

pub use archive::{ArchiveError, ExportReport, ImportReport, export};
pub use origin::{Found, Origin, Taken};
pub use remover::{Fifo, Reservoir};
pub use selector::{Even, Prioritized, Sampler, Selection, Selector, Uniform};
pub use types::*;
pub use verify::{BadRecordReport, VerifyReport};

use keeper::Keeper;
use log::{Content, Segment};
use pending::Signals;
use record::Entry;
use segment::Location;
use store::Store;

/// What to do when the catalogue can not be read.
const UNREADABLE: &str = "look at the disk; the catalogue is opened again or rebuilt by itself, no sample is lost";

/// The bounded durable store of a stream's samples. Shared by all of a stream's threads.
pub struct ReplayBuffer {
    store: Arc<Store>,
    draws: (f64, f64),
    keeper: Option<Keeper>,
}

impl ReplayBuffer {
    /// Opens the buffer in `dir`, or makes an empty one, whose evictions are drawn from `seed`. Who opens it must hold a
    /// lock on the folder above.
    pub fn open(dir: &Path, config: &ReplayConfig, seed: u64) -> Result<(Self, OpenReport), ReplayError> {
        std::fs::create_dir_all(dir).map_err(ReplayError::io("create", dir))?;
        let (store, report) = recovery::open(dir, config, seed)?;
        let store = Arc::new(store);
        let keeper = Keeper::start(Arc::clone(&store)).map_err(ReplayError::io("start a thread for", dir))?;
        let buffer = Self {
            store,
            draws: config.draws(),
            keeper: Some(keeper),
        };
        Ok((buffer, report))
    }

    /// Makes sources durable, in one write where they fit into a segment; when this returns they are. A source that is
    /// known is not stored again: see [`Inserted`]. What no longer fits is evicted. An error leaves some sources
    /// inserted, none in part; inserting all of them again is right.
    pub fn insert(&self, sources: Vec<NewSource>) -> Result<Vec<Inserted>, ReplayError> {
        self.store.insert(sources)
    }

    /// Whether a source was ever taken, even if its samples are long evicted. An error of the catalogue is logged and
    /// answered `false`: [`ReplayBuffer::insert`] asks again and says it.
    pub fn knows(&self, hash: &SourceHash) -> bool {
        self.store.source(hash).map_or_else(
            |error| {
                error!(%error, source = %hash, hint = UNREADABLE, "failed to look up a source");
                false
            },
            |source| source.is_some(),
        )
    }

    /// Puts a file into quarantine, durably. An older entry of the same path is replaced.
    pub fn record_quarantine(&self, entry: QuarantineEntry) -> Result<(), ReplayError> {
        self.record_quarantines(vec![entry])
    }

    /// Puts files into quarantine with one durable write.
    pub fn record_quarantines(&self, entries: Vec<QuarantineEntry>) -> Result<(), ReplayError> {
        self.store.quarantine(entries)
    }

    /// The files in quarantine, by path.
    pub fn quarantined(&self) -> Vec<QuarantineEntry> {
        let memory = self.store.memory.lock();
        memory
            .contents
            .quarantine
            .values()
            .map(|(entry, _)| entry.clone())
            .collect()
    }

    /// The entry of this path.
    pub fn quarantine_entry(&self, path: &str) -> Option<QuarantineEntry> {
        let memory = self.store.memory.lock();
        memory.contents.quarantine.get(path).map(|(entry, _)| entry.clone())
    }

    /// Takes a file out of quarantine, durably; `false` if it was not in it.
    pub fn drop_quarantine(&self, path: &str) -> Result<bool, ReplayError> {
        let entry = self.quarantine_entry(path);
        Ok(self.store.drop_quarantines(entry.as_slice())? > 0)
    }

    /// Takes these entries out of quarantine with one durable write; how many of them were in it. A newer entry of the
    /// same path stays.
    pub fn drop_quarantines(&self, entries: &[QuarantineEntry]) -> Result<usize, ReplayError> {
        self.store.drop_quarantines(entries)
    }

    /// A file as it was when it was last looked at. A cache: it may have forgotten.
    pub fn seen(&self, path: &[u8]) -> Option<(SeenFile, FileVerdict)> {
        self.store
            .catalogue()
            .and_then(|catalogue| catalogue.seen(path))
            .unwrap_or_else(|error| {
                error!(%error, hint = UNREADABLE, "failed to look up a file");
                None
            })
    }

    /// Remembers files as they are now.
    pub fn record_seen(&self, files: &[(Vec<u8>, SeenFile, FileVerdict)]) -> Result<(), ReplayError> {
        self.store.catalogue()?.record_seen(files)
    }

    /// Forgets a file, so that it will be read again.
    pub fn forget_seen(&self, path: &[u8]) -> Result<(), ReplayError> {
        self.store.catalogue()?.forget_seen(path)
    }

    /// The buffer in numbers.
    pub fn counts(&self) -> Counts {
        let catalogue_bytes = self.store.catalogue_bytes.load(Ordering::Relaxed);
        let disk_bytes = self.store.segments.bytes() + catalogue_bytes;
        let memory = self.store.memory.lock();
        let contents = &memory.contents;
        Counts {
            sources_accepted: contents.state.totals.sources,
            sources_duplicate: contents.state.duplicates,
            sources_quarantined: contents.quarantine.len() as u64 + contents.state.quarantine_unlisted,
            samples: contents.samples.len() as u64,
            exam_samples: contents.exam.len() as u64,
            near_duplicates: memory.curator.near_duplicates(),
            bytes: contents.bytes,
            disk_bytes,
            inserted_samples: contents.state.totals.inserted,
            drawn: contents.state.drawn,
            quarantined_records: memory.bad_records,
        }
    }

    /// Why nothing can be taken for now, if so. It is tried again by itself.
    pub fn failure(&self) -> Option<String> {
        let failed = "the catalogue of the replay buffer failed; it is opened again as soon as the disk allows";
        self.store.catalogue_failed().then(|| failed.to_owned())
    }

    /// The ids of the exam in a stable order (by source), `max` at most.
    pub fn exam(&self, max: usize) -> Vec<SampleId> {
        let memory = self.store.memory.lock();
        memory.contents.exam.iter().take(max).map(|(_, id)| *id).collect()
    }

    /// The oldest live samples of the exam, oldest first, `max` at most.
    pub fn oldest_exam(&self, max: usize) -> Vec<SampleId> {
        let memory = self.store.memory.lock();
        memory
            .contents
            .exam_sources
            .keys()
            .take(max)
            .map(|id| SampleId(*id))
            .collect()
    }

    /// A sample's content; `None` if it is gone, or is found damaged now.
    pub fn read(&self, id: SampleId) -> Result<Option<Vec<u8>>, ReplayError> {
        Ok(self.read_many(&[id])?.pop().flatten())
    }

    /// Contents in the order of `ids`; `None` for those that are gone, or are found damaged now.
    pub fn read_many(&self, ids: &[SampleId]) -> Result<Vec<Option<Vec<u8>>>, ReplayError> {
        let places: Vec<Option<(Location, Segment)>> = {
            let memory = self.store.memory.lock();
            let place = |id: &SampleId| {
                let location = memory.contents.samples.get(&id.0)?.location;
                Some((location, self.store.segments.get(location.segment)?))
            };
            ids.iter().map(place).collect()
        };
        if ids.len() > 1 {
            // The disk may fetch all of them at once, in the order it likes best, while the first is waited for.
            for (location, segment) in places.iter().flatten() {
                log::fetch_ahead(&segment.file, *location);
            }
        }
        let mut damaged = Vec::new();
        let mut contents = Vec::with_capacity(ids.len());
        for (id, place) in ids.iter().zip(places) {
            let Some((location, segment)) = place else {
                contents.push(None);
                continue;
            };
            match self.store.segments.read_sample(&segment.file, id.0, location)? {
                Content::Whole(content) => contents.push(Some(content)),
                Content::Damaged(why) => {
                    damaged.push((*id, why));
                    contents.push(None);
                }
            }
        }
        if !damaged.is_empty() {
            self.store.quarantine_records(&damaged);
        }
        Ok(contents)
    }

    /// A live sample, without its content.
    pub fn info(&self, id: SampleId) -> Option<SampleInfo> {
        let (slot, probability) = {
            let memory = self.store.memory.lock();
            let slot = memory.contents.samples.get(&id.0).copied()?;
            let probability = if slot.exam { 0.0 } else { memory.curator.probability(id) };
            (slot, probability)
        };
        let sample = match self.store.segments.read_entry(slot.location) {
            Ok(Some(Entry::Sample(sample))) if sample.id == id => sample,
            // Moved or evicted since, or damaged: reading the content says which.
            Ok(_) => return None,
            Err(error) => {
                error!(%error, sample = id.0, hint = UNREADABLE, "failed to look up a sample");
                return None;
            }
        };
        let source = self.store.source(&sample.source).unwrap_or_else(|error| {
            error!(%error, source = %sample.source, hint = UNREADABLE, "failed to look up a source");
            None
        });
        let path = source.map(|source| String::from_utf8_lossy(&source.path).into_owned());
        let Signals {
            visits,
            error,
            weight,
            score,
            judgement,
        } = slot.signals;
        Some(SampleInfo {
            id,
            source: sample.source,
            path: path.unwrap_or_default(),
            taken_at: sample.taken_at,
            bytes: slot.bytes,
            exam: slot.exam,
            visits,
            error: (!error.is_nan()).then_some(error),
            priority: Priority::from_weight(weight).get() as f32,
            probability,
            score,
            judgement,
        })
    }

    /// The live ids after `after`, exam included, ascending, `max` at most.
    pub fn ids_after(&self, after: Option<SampleId>, max: usize) -> Vec<SampleId> {
        let memory = self.store.memory.lock();
        let from = after.map_or(0, |id| id.0.saturating_add(1));
        let live = memory.contents.samples.range(from..);
        live.take(max).map(|(id, _)| SampleId(*id)).collect()
    }

    /// Whether a sample is live.
    pub fn is_live(&self, id: SampleId) -> bool {
        self.store.memory.lock().contents.samples.contains_key(&id.0)
    }

    /// What became of a sample that is gone; `None` if it is live, was never there, or went before the newest
    /// [`FATES_MAX`](crate::limits::FATES_MAX), or before the buffer was opened.
    pub fn fate(&self, id: SampleId) -> Option<Fate> {
        let memory = self.store.memory.lock();
        memory.fates.iter().rev().find(|fate| fate.id == id).copied()
    }

    /// The newest id that was given: every sample up to it has arrived.
    pub fn newest(&self) -> SampleId {
        SampleId(self.store.memory.lock().contents.state.next_id.saturating_sub(1))
    }

    /// Samples inserted for life, and samples evicted since the buffer was opened: while both stay, nothing has changed.
    pub fn changes(&self) -> (u64, u64) {
        let memory = self.store.memory.lock();
        (memory.contents.state.totals.inserted, memory.evicted_seq)
    }

    /// Waits until [`ReplayBuffer::changes`] differs from `since`, or `timeout` has passed; then what it is.
    pub fn wait_for_change(&self, since: (u64, u64), timeout: Duration) -> (u64, u64) {
        let deadline = Instant::now() + timeout;
        let mut memory = self.store.memory.lock();
        loop {
            let now = (memory.contents.state.totals.inserted, memory.evicted_seq);
            if now != since || self.store.changed.wait_until(&mut memory, deadline).timed_out() {
                return (memory.contents.state.totals.inserted, memory.evicted_seq);
            }
        }
    }

    /// The samples evicted since [`ReplayBuffer::changes`] gave `evicted_seq`; `None` when that is too long ago: then
    /// compare with [`ReplayBuffer::ids_after`].
    pub fn evicted_since(&self, evicted_seq: u64) -> Option<Vec<SampleId>> {
        let memory = self.store.memory.lock();
        let missed = usize::try_from(memory.evicted_seq.saturating_sub(evicted_seq)).ok()?;
        let skip = memory.evicted.len().checked_sub(missed)?;
        Some(memory.evicted.iter().skip(skip).copied().collect())
    }

    /// Lets the catalogue follow the log, so that opening is fast, and makes counters and priorities durable.
    pub fn checkpoint(&self) -> Result<(), ReplayError> {
        self.store.checkpoint()
    }

    /// Reads every record of the buffer in `dir` and compares ledger, catalogue and segments. Changes nothing. The
    /// buffer must not be open.
    pub fn verify(dir: &Path) -> Result<VerifyReport, ReplayError> {
        verify::verify(dir)
    }

    /// Inserts what an archive of [`export`] keeps; `check` says why a content is none that a stream can use. `report`
    /// tells what was inserted, of an archive that turned out to be bad too. Importing it again is right.
    pub fn import(
        &self,
        archive: impl std::io::Read,
        check: impl Fn(&[u8]) -> Result<(), String>,
        report: &mut ImportReport,
    ) -> Result<(), ArchiveError> {
        archive::import(&self.store, archive, check, report)
    }

    /// Ends the buffer's thread and makes a last checkpoint.
    pub fn close(mut self) -> Result<(), ReplayError> {
        self.shut()
    }

    fn shut(&mut self) -> Result<(), ReplayError> {
        let Some(keeper) = self.keeper.take() else {
            return Ok(());
        };
        if keeper.stop().is_err() {
            error!(
                hint = "please report it with this log, and restart; the segments are whole",
                "the replay buffer's thread panicked"
            );
        }
        self.store.checkpoint()
    }
}

impl Drop for ReplayBuffer {
    fn drop(&mut self) {
        if let Err(error) = self.shut() {
            error!(%error,
                hint = "look at the disk; nothing that was acknowledged is lost",
                "failed to close the replay buffer; the next open takes longer");
        }
    }
}
