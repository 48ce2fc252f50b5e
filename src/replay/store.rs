//! The store: log, contents and catalogue together, and the order in which they change.
//! Invariant: the log first, then RAM, the catalogue at checkpoints. Locks are taken in the order checkpoint, cleaner,
//! log, memory; nobody waits for the disk while holding the memory.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use tracing::{debug, error};

use crate::clock::{Clock, SystemClock};
use crate::curiosity::Priority;
use crate::ids::{SampleId, SourceHash};
use crate::limits::{EVICTED_IDS_MAX, FATES_MAX};
use crate::sample::{self, perceptual};

use super::catalogue::Catalogue;
use super::cause::Cause;
use super::compaction::Cleaner;
use super::contents::{Before, Contents, Slot};
use super::curator::Curator;
use super::entries::Mark;
use super::log::{Batch, Log, SAMPLE_RECORD_LEN, Segments};
use super::pending::{LedgerKey, PathKey};
use super::record::{Entry, SampleMeta, SourceMeta, State, Tombstone};
use super::segment::{Located, Location};
use super::types::{Fate, Inserted, NewSource, QuarantineEntry, ReplayError};

/// What is in RAM.
pub(super) struct Memory {
    pub(super) contents: Contents,
    pub(super) curator: Curator,
    /// Samples that are gone, whose tombstones go with the next batch. Lost in a crash they are chosen again.
    pub(super) tombstones: Vec<Tombstone>,
    /// The newest of the evicted samples, and how many there were since the store was opened.
    pub(super) evicted: VecDeque<SampleId>,
    pub(super) evicted_seq: u64,
    /// The newest of the evicted samples and why, oldest first.
    pub(super) fates: VecDeque<Fate>,
    /// Samples of which it is not known what they show.
    pub(super) unseen: VecDeque<SampleId>,
    pub(super) bad_records: u64,
    /// Batches since the last checkpoint.
    pub(super) batches: u64,
    /// Samples drawn at the last checkpoint.
    pub(super) drawn_kept: u64,
}

/// An open store.
pub(super) struct Store {
    pub(super) segments: Arc<Segments>,
    pub(super) log: Mutex<Log>,
    pub(super) memory: Mutex<Memory>,
    pub(super) changed: Condvar,
    /// `None` while one that failed is opened again.
    pub(super) catalogue: RwLock<Option<Catalogue>>,
    pub(super) catalogue_bytes: AtomicU64,
    pub(super) cleaner: Mutex<Cleaner>,
    pub(super) checkpointing: Mutex<Marks>,
}

/// The catalogue's last marks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    /// The one that is known to be durable.
    pub(super) durable: Option<Mark>,
    /// The one that was to be written last.
    pub(super) begun: Option<Mark>,
}

impl Memory {
    pub(super) fn new(contents: Contents, curator: Curator) -> Self {
        let is_unseen = |slot: &Slot| curator.collapses() && !slot.exam && slot.look.is_none();
        let unseen = contents.samples.iter().filter(|(_, slot)| is_unseen(slot));
        let unseen = unseen.map(|(id, _)| SampleId(*id)).collect();
        Self {
            drawn_kept: contents.state.drawn,
            contents,
            curator,
            tombstones: Vec::new(),
            evicted: VecDeque::new(),
            evicted_seq: 0,
            fates: VecDeque::new(),
            unseen,
            bad_records: 0,
            batches: 0,
        }
    }

    /// Takes a sample out of everything; its tombstone goes with the next batch.
    pub(super) fn bury(&mut self, id: SampleId, cause: Cause) {
        let Some(slot) = self.contents.remove_sample(id) else {
            return;
        };
        self.curator.forget(id, slot.look);
        self.tombstones.push(Tombstone {
            id,
            segment: slot.location.segment,
            cause,
        });
        self.fates.push_back(Fate {
            id,
            at: SystemClock.now(),
            cause: cause.into(),
        });
        if self.fates.len() > FATES_MAX {
            self.fates.pop_front();
        }
        self.evicted.push_back(id);
        self.evicted_seq += 1;
        if self.evicted.len() > EVICTED_IDS_MAX {
            self.evicted.pop_front();
        }
    }

    /// Evicts a sample, if the buffer is beyond its bounds; `false` if it is not.
    pub(super) fn evict_one(&mut self) -> bool {
        let victim = self.curator.victim(&mut self.contents);
        if let Some((id, cause)) = victim {
            self.bury(id, cause);
        }
        victim.is_some()
    }

    /// Takes over records that became durable. None of them is of a source or duplicate that was known before. What no
    /// longer fits must be evicted after it.
    fn apply(&mut self, records: Vec<Located>, hashes: &Hashes) {
        self.batches += 1;
        for Located { entry, location, .. } in records {
            match entry {
                Entry::Sample(sample) => {
                    self.contents.add_sample(&sample, location);
                    if let (false, Some(slot)) = (sample.exam, self.contents.samples.get(&sample.id.0)) {
                        let priority = Priority::from_weight(slot.signals.weight);
                        self.curator.admit(sample.id, slot.bytes, priority, None);
                        match hashes.get(&sample.id.0) {
                            Some(hash) => self.show(sample.id, *hash),
                            None if self.curator.collapses() => self.unseen.push_back(sample.id),
                            None => {}
                        }
                    }
                }
                Entry::Source(source) => self.contents.add_source(source, location, Before::default()),
                Entry::Duplicate { number, source, path } => {
                    let key = (source, PathKey::of(&path));
                    self.contents.add_duplicate(number, key, location, Before::default());
                }
                Entry::Quarantine(entry) => self.contents.add_quarantined(entry, location),
                Entry::QuarantineDrop { path, .. } => {
                    self.contents.remove_quarantined(&path);
                }
                Entry::Tombstone(_) | Entry::State(_) => {}
            }
        }
    }
}

impl Store {
    /// Makes sources durable. An error leaves those of whole groups behind, never a part of a source.
    pub(super) fn insert(&self, sources: Vec<NewSource>) -> Result<Vec<Inserted>, ReplayError> {
        self.make_room()?;
        let mut log = self.log.lock();
        for source in &sources {
            let (bytes, bytes_max) = (record_bytes(source), u64::from(u32::MAX) / 2);
            if bytes > bytes_max || source.samples.len() > u32::MAX as usize {
                return Err(ReplayError::TooLarge {
                    source_hash: source.hash,
                    bytes,
                    bytes_max,
                });
            }
        }
        let mut verdicts = Vec::with_capacity(sources.len());
        let mut group = self.group();
        let mut batch = self.batch(&log);
        let mut batch_bytes = 0;
        for source in sources {
            let bytes = record_bytes(&source);
            if batch_bytes > 0 && batch_bytes + bytes > log.segment_bytes() {
                self.commit_with(&mut log, batch, &group.hashes)?;
                batch = self.batch(&log);
                (group, batch_bytes) = (self.group(), 0);
            }
            batch_bytes += bytes;
            verdicts.push(self.stage(source, &mut group, &mut batch)?);
        }
        if !group.sources.is_empty() || !group.duplicates.is_empty() {
            self.commit_with(&mut log, batch, &group.hashes)?;
        }
        Ok(verdicts)
    }

    fn group(&self) -> Group {
        let memory = self.memory.lock();
        Group {
            sources: HashMap::new(),
            duplicates: HashSet::new(),
            looks: memory.curator.collapses(),
            hashes: Hashes::new(),
            state: memory.contents.state,
        }
    }

    /// Adds what a source needs to a batch.
    fn stage(&self, source: NewSource, group: &mut Group, batch: &mut Batch) -> Result<Inserted, ReplayError> {
        let known = match group.sources.get(&source.hash) {
            Some(meta) => Some(meta.clone()),
            None => self.source(&source.hash)?,
        };
        if let Some(known) = known {
            if known.path == source.path {
                return Ok(Inserted::Accepted {
                    ids: known.ids().collect(),
                });
            }
            let key = (source.hash, PathKey::of(&source.path));
            if !group.duplicates.contains(&key) && !self.is_duplicate(&key)? {
                group.duplicates.insert(key);
                group.state.duplicates += 1;
                let entry = Entry::Duplicate {
                    number: group.state.duplicates,
                    source: source.hash,
                    path: source.path,
                };
                batch.push(entry, &[]);
            }
            return Ok(Inserted::Duplicate);
        }
        let held_out: Vec<bool> = source
            .samples
            .iter()
            .map(|content| source.hash.holds_out(sample::Content::group_of(content)))
            .collect();
        let held_out_len = held_out.iter().filter(|held_out| **held_out).count();
        group.state.totals = group.state.totals.with(held_out.len(), held_out_len);
        let meta = SourceMeta {
            first: SampleId(group.state.next_id),
            samples: source.samples.len() as u32,
            hash: source.hash,
            path: source.path,
            bytes: source.bytes,
            taken_at: source.taken_at,
            exam: source.hash.in_exam(),
            totals: group.state.totals,
        };
        for ((id, content), exam) in meta.ids().zip(&source.samples).zip(held_out) {
            let sample = SampleMeta {
                id,
                source: meta.hash,
                taken_at: meta.taken_at,
                exam,
            };
            if group.looks && !sample.exam {
                group.hashes.insert(id.0, perceptual::of_encoded(content));
            }
            batch.push(Entry::Sample(sample), content);
        }
        batch.push(Entry::Source(meta.clone()), &[]);
        group.state.next_id = meta.end();
        let ids = meta.ids().collect();
        group.sources.insert(meta.hash, meta);
        Ok(Inserted::Accepted { ids })
    }

    /// Puts files into quarantine.
    pub(super) fn quarantine(&self, entries: Vec<QuarantineEntry>) -> Result<(), ReplayError> {
        let mut log = self.log.lock();
        let mut batch = self.batch(&log);
        for entry in entries {
            batch.push(Entry::Quarantine(entry), &[]);
        }
        self.commit(&mut log, batch)
    }

    /// Takes these entries out of quarantine; how many of them were in it. A newer entry of the same path stays.
    pub(super) fn drop_quarantines(&self, entries: &[QuarantineEntry]) -> Result<usize, ReplayError> {
        let mut log = self.log.lock();
        let listed: Vec<&QuarantineEntry> = {
            let quarantine = &self.memory.lock().contents.quarantine;
            let is_listed = |entry: &&QuarantineEntry| quarantine.get(&entry.path).is_some_and(|(it, _)| it == *entry);
            entries.iter().filter(is_listed).collect()
        };
        if listed.is_empty() {
            return Ok(0);
        }
        let mut batch = self.batch(&log);
        for entry in &listed {
            let entry = Entry::QuarantineDrop {
                path: entry.path.clone(),
                segment: log.position().0,
            };
            batch.push(entry, &[]);
        }
        self.commit(&mut log, batch)?;
        Ok(listed.len())
    }

    /// Names records that can not be believed and takes their samples out of everything.
    pub(super) fn quarantine_records(&self, damaged: &[(SampleId, &'static str)]) {
        // No copy of them may be under way: it would bring them back.
        let _log = self.log.lock();
        let mut memory = self.memory.lock();
        for (id, why) in damaged {
            if let Some(slot) = memory.contents.samples.get(&id.0) {
                let location = slot.location;
                error!(
                    segment = %self.segments.path(location.segment).display(),
                    offset = location.offset,
                    sample = id.0,
                    why,
                    hint = "the disk gave back other bytes than were written: look at its health (smartctl) and the memory's",
                    "quarantined a damaged record"
                );
                memory.bad_records += 1;
                memory.bury(*id, Cause::Damaged);
            }
        }
        drop(memory);
        self.changed.notify_all();
    }

    /// A source that was taken, whenever that was.
    pub(super) fn source(&self, hash: &SourceHash) -> Result<Option<SourceMeta>, ReplayError> {
        let known = self.memory.lock().contents.source(hash);
        known.or_else(|| self.catalogue()?.source(hash))
    }

    fn is_duplicate(&self, key: &(SourceHash, PathKey)) -> Result<bool, ReplayError> {
        let known = self.memory.lock().contents.duplicate(key);
        Ok(known.or_else(|| self.catalogue()?.duplicate(key))?.is_some())
    }

    /// Where a record of the ledger is.
    pub(super) fn place(&self, key: LedgerKey) -> Result<Option<Location>, ReplayError> {
        let known = self.memory.lock().contents.place(key);
        known.or_else(|| self.catalogue()?.place(key))
    }

    /// A batch that begins with the tombstones that wait for one.
    pub(super) fn batch(&self, log: &Log) -> Batch {
        let mut batch = log.batch();
        for tombstone in &self.memory.lock().tombstones {
            batch.push(Entry::Tombstone(*tombstone), &[]);
        }
        batch
    }

    /// Makes a batch durable, then takes it over into RAM. What samples in it show is looked at later.
    pub(super) fn commit(&self, log: &mut Log, batch: Batch) -> Result<(), ReplayError> {
        self.commit_with(log, batch, &Hashes::new())
    }

    /// As [`Store::commit`], with the perceptual hashes of the batch's samples.
    fn commit_with(&self, log: &mut Log, batch: Batch, hashes: &Hashes) -> Result<(), ReplayError> {
        let records = log.append(batch)?;
        let mut memory = self.memory.lock();
        memory.logged(&records);
        memory.apply(records, hashes);
        while memory.evict_one() {
            // A remover may have looked at many samples: whoever waits for the memory comes first now.
            MutexGuard::bump(&mut memory);
        }
        drop(memory);
        self.changed.notify_all();
        Ok(())
    }

    /// Lets the catalogue follow the log, and deletes the segments that nothing needs any more.
    pub(super) fn checkpoint(&self) -> Result<(), ReplayError> {
        self.checkpoint_if(false)
    }

    /// As [`Store::checkpoint`], and `always` even where nothing has changed.
    pub(super) fn checkpoint_if(&self, always: bool) -> Result<(), ReplayError> {
        let mut marks = self.checkpointing.lock();
        let started = Instant::now();
        let emptied = self.cleaner.lock().emptied();
        let (pending, gone_bytes, mark) = {
            let mut log = self.log.lock();
            {
                let memory = self.memory.lock();
                let idle = memory.contents.pending.is_empty()
                    && memory.tombstones.is_empty()
                    && memory.contents.state.drawn == memory.drawn_kept;
                if idle && emptied.is_empty() && !always {
                    return Ok(());
                }
            }
            let mut batch = self.batch(&log);
            let mut state = self.memory.lock().contents.state;
            state.next_seq = log.next_seq() + 1;
            batch.push(Entry::State(state), &[]);
            let records = log.append(batch)?;
            let mut memory = self.memory.lock();
            memory.logged(&records);
            memory.batches = 0;
            memory.drawn_kept = state.drawn;
            let (segment, offset) = log.position();
            let contents = &mut memory.contents;
            let mark = Mark {
                uid: self.segments.identity.uid,
                segment,
                offset,
                samples: contents.samples.len() as u64,
                quarantined: contents.quarantine.len() as u64,
                listed: contents.listed,
                state: State {
                    next_seq: state.next_seq,
                    ..contents.state
                },
            };
            let pending = Arc::new(std::mem::take(&mut contents.pending));
            contents.in_flight = Some(Arc::clone(&pending));
            (pending, contents.gone_bytes.clone(), mark)
        };
        marks.begun = Some(mark);
        let commit = |catalogue: &Catalogue| {
            catalogue.commit(&pending, &gone_bytes, &mark)?;
            Ok(catalogue.disk_bytes())
        };
        let committed = self.catalogue().and_then(|catalogue| commit(&catalogue));
        {
            let mut memory = self.memory.lock();
            memory.contents.in_flight = None;
            if committed.is_err() {
                memory.contents.pending.add_older(&pending);
            }
        }
        self.catalogue_bytes.store(committed?, Ordering::Relaxed);
        marks.durable = Some(mark);
        debug!(
            changes = pending.len(),
            elapsed_ms = started.elapsed().as_millis() as u64,
            "made a checkpoint"
        );
        for number in emptied {
            self.segments.unlink(number)?;
            self.memory.lock().contents.forget_segment(number);
            self.cleaner.lock().forget(number);
            debug!(segment = number, "deleted an emptied segment");
        }
        Ok(())
    }
}

impl Memory {
    /// Records became durable: the tombstones among them wait no longer.
    pub(super) fn logged(&mut self, records: &[Located]) {
        let mut logged = HashSet::new();
        for Located { entry, location, .. } in records {
            if let Entry::Tombstone(tombstone) = entry {
                logged.insert(tombstone.id.0);
            }
            if entry.says_what_is_gone() {
                self.contents.keep_gone(location.segment, u64::from(location.len));
            }
        }
        self.tombstones.retain(|tombstone| !logged.contains(&tombstone.id.0));
    }
}

/// Perceptual hashes by sample; `None` where nothing is to be seen.
type Hashes = HashMap<u64, Option<u64>>;

/// What a batch holds that is not durable yet.
struct Group {
    sources: HashMap<SourceHash, SourceMeta>,
    duplicates: HashSet<(SourceHash, PathKey)>,
    /// Whether what samples show is looked at, and what was seen.
    looks: bool,
    hashes: Hashes,
    /// The store's numbers with what is staged.
    state: State,
}

/// Bytes of a source's records, about.
fn record_bytes(source: &NewSource) -> u64 {
    let contents: usize = source
        .samples
        .iter()
        .map(|content| content.len() + SAMPLE_RECORD_LEN)
        .sum();
    (contents + source.path.len() + 128) as u64
}
