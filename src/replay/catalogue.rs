//! The catalogue: what is in the segments and where, in sled. The only file that names sled.
//! Invariant: the catalogue follows the log and never leads it; what it holds up to its mark is also in the segments, so
//! that losing it costs time and nothing else.
//!
//! sled 0.34.7 has edges, each met here: a kill during open leaves `*.generating` behind, which bricks the next open
//! (deleted first); `flush` does not sync on Linux (fdatasync follows); opening and calling it may panic or hang
//! (caught, bounded); iteration stops in silence at a bad page (counts are compared).

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use sled::{Batch, Db, Tree};
use tracing::info;

use crate::clock::Timestamp;
use crate::disk;
use crate::ids::{SampleId, SourceHash};

use super::entries::{self, LedgerItem, Mark};
use super::fields::Fields;
use super::pending::{Kept, LedgerKey, Look, PathKey, Pending, Signals};
use super::record::SourceMeta;
use super::segment::{Location, sync_dir};
use super::types::{FileVerdict, QuarantineEntry, ReplayError, Score, SeenFile};

/// sled takes up to five times as much.
const CACHE_BYTES: u64 = 16 << 20;

/// Changes of one batch, where they need not be one.
const PORTION: usize = 256;

/// An open that takes longer is taken for a hang.
const OPEN_TIME_MAX: Duration = Duration::from_secs(120);

/// How long the lock of a catalogue that was closed just now is waited for, and how often it is tried.
const LOCK_TIME_MAX: Duration = Duration::from_secs(30);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Ids sort before these keys, for their first byte is 0.
const MARK_KEY: &[u8] = b"mark";
const QUARANTINE_PREFIX: &[u8] = b"quarantine/";
const GONE_BYTES_KEY: &[u8] = b"gone_bytes";

/// The trees, opened.
pub(super) struct Catalogue {
    dir: PathBuf,
    /// id -> where its record is; `quarantine/` and a path -> why it could not be taken; the mark, written in the same
    /// batch as the entries that it covers.
    idx: Tree,
    /// id -> visits, error, weight.
    prio: Tree,
    /// id -> what the teacher said last: step, error, embedding.
    score: Tree,
    /// id -> what it shows.
    look: Tree,
    /// The ledger: hash -> the source; hash and the hash of a path -> the number of a duplicate.
    hash: Tree,
    /// Where the ledger's records are.
    place: Tree,
    /// path -> the file as it was last looked at. A cache.
    seen: Tree,
    /// What has one value.
    sys: Tree,
    db: Db,
    /// Whether a call failed. sled refuses every call after a write that failed.
    has_failed: AtomicBool,
}

impl Catalogue {
    /// Opens the catalogue, or makes an empty one.
    pub(super) fn open(dir: &Path) -> Result<Self, ReplayError> {
        std::fs::create_dir_all(dir).map_err(ReplayError::io("create", dir))?;
        delete_unfinished_snapshots(dir)?;
        let (result, opened) = mpsc::channel();
        let path = dir.to_owned();
        std::thread::Builder::new()
            .name("catalogue-open".to_owned())
            .spawn(move || {
                let catalogue = catch_unwind(AssertUnwindSafe(|| Self::open_when_free(&path)));
                // Nobody listens any more when the open took too long; then there is nothing left to say.
                let _ = result.send(catalogue.unwrap_or_else(|_| Err(sled::Error::ReportableBug("panic".to_owned()))));
            })
            .map_err(ReplayError::io("start a thread to open", dir))?;
        let catalogue = match opened.recv_timeout(OPEN_TIME_MAX) {
            Ok(Ok(catalogue)) => catalogue,
            Ok(Err(error)) if is_lock_held(&error) => return Err(ReplayError::InUse { path: dir.to_owned() }),
            Ok(Err(error)) => return Err(failed(dir, &error.to_string())),
            Err(_) => return Err(failed(dir, "it does not open")),
        };
        sync_dir(dir)?;
        catalogue.sync()?;
        Ok(catalogue)
    }

    /// Waits for the lock: sled's threads hold it for a moment after the catalogue was dropped.
    fn open_when_free(dir: &Path) -> sled::Result<Self> {
        let started = Instant::now();
        loop {
            match Self::open_trees(dir) {
                Err(error) if is_lock_held(&error) && started.elapsed() < LOCK_TIME_MAX => {
                    std::thread::sleep(LOCK_RETRY);
                }
                opened => return opened,
            }
        }
    }

    fn open_trees(dir: &Path) -> sled::Result<Self> {
        let db = sled::Config::default()
            .path(dir)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(500))
            .use_compression(false)
            .open()?;
        Ok(Self {
            dir: dir.to_owned(),
            idx: db.open_tree("idx")?,
            prio: db.open_tree("prio")?,
            score: db.open_tree("score")?,
            look: db.open_tree("look")?,
            hash: db.open_tree("hash")?,
            place: db.open_tree("place")?,
            seen: db.open_tree("seen")?,
            sys: db.open_tree("sys")?,
            db,
            has_failed: AtomicBool::new(false),
        })
    }

    /// Whether a call failed: then it is of no use until it is opened again.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// How far the catalogue follows the log. `None`: it is empty, or of another version.
    pub(super) fn mark(&self) -> Result<Option<Mark>, ReplayError> {
        let value = self.guarded(|| self.idx.get(MARK_KEY))?;
        Ok(value.and_then(|value| Mark::read(&value)))
    }

    /// Every sample in ascending order, then every file in quarantine.
    pub(super) fn each_entry(
        &self,
        mark: &Mark,
        mut sample: impl FnMut(SampleId, Kept),
        mut quarantined: impl FnMut(QuarantineEntry, Location),
    ) -> Result<(), ReplayError> {
        let expected = mark.samples + mark.quarantined;
        let (samples, files) = self.guarded(|| {
            let (mut samples, mut files) = (0, 0);
            for item in self.idx.iter().take(bound(expected)) {
                let (key, value) = item?;
                if key.starts_with(QUARANTINE_PREFIX) {
                    let (entry, location) = entries::read_quarantined(&value).ok_or_else(|| undecodable("idx"))?;
                    quarantined(entry, location);
                    files += 1;
                } else if key.as_ref() != MARK_KEY {
                    let (id, kept) = entries::read_sample(&key, &value).ok_or_else(|| undecodable("idx"))?;
                    sample(id, kept);
                    samples += 1;
                }
            }
            Ok((samples, files))
        })?;
        self.compare("samples", samples, mark.samples)?;
        self.compare("files in quarantine", files, mark.quarantined)
    }

    /// The signals of every sample that has some.
    pub(super) fn each_signals(&self, mut each: impl FnMut(SampleId, Signals)) -> Result<(), ReplayError> {
        self.guarded(|| {
            for item in self.prio.iter() {
                let (key, value) = item?;
                let (id, signals) = entries::read_signals(&key, &value).ok_or_else(|| undecodable("prio"))?;
                each(id, signals);
            }
            Ok(())
        })
    }

    /// The score of every sample that has one.
    pub(super) fn each_score(&self, mut each: impl FnMut(SampleId, Score)) -> Result<(), ReplayError> {
        self.guarded(|| {
            for item in self.score.iter() {
                let (key, value) = item?;
                let (id, score) = entries::read_score(&key, &value).ok_or_else(|| undecodable("score"))?;
                each(id, score);
            }
            Ok(())
        })
    }

    /// What every sample shows that was looked at.
    pub(super) fn each_look(&self, mut each: impl FnMut(SampleId, Look)) -> Result<(), ReplayError> {
        self.guarded(|| {
            for item in self.look.iter() {
                let (key, value) = item?;
                let (id, look) = entries::read_look(&key, &value).ok_or_else(|| undecodable("look"))?;
                each(id, look);
            }
            Ok(())
        })
    }

    /// Every source and every duplicate of the ledger. How many there are: those that the mark counts, and any that were
    /// written after it.
    pub(super) fn each_ledger(&self, mark: &Mark, mut each: impl FnMut(LedgerItem)) -> Result<u64, ReplayError> {
        let expected = mark.listed.keys;
        let count = self.guarded(|| {
            let mut count = 0;
            for item in self.hash.iter() {
                let (key, value) = item?;
                each(entries::read_ledger(&key, &value).ok_or_else(|| undecodable("hash"))?);
                count += 1;
            }
            Ok(count)
        })?;
        self.compare("sources and duplicates", count.min(expected), expected)?;
        Ok(count)
    }

    /// Where every record of the ledger is. How many there are, as [`Catalogue::each_ledger`] says it.
    pub(super) fn each_place(&self, mark: &Mark, mut each: impl FnMut(Location)) -> Result<u64, ReplayError> {
        let expected = mark.listed.places;
        let count = self.guarded(|| {
            let mut count = 0;
            for item in self.place.iter() {
                let (_, value) = item?;
                each(entries::read_location(&mut Fields::new(&value)).ok_or_else(|| undecodable("place"))?);
                count += 1;
            }
            Ok(count)
        })?;
        self.compare("records of sources and duplicates", count.min(expected), expected)?;
        Ok(count)
    }

    /// A source that was taken.
    pub(super) fn source(&self, hash: &SourceHash) -> Result<Option<SourceMeta>, ReplayError> {
        let value = self.guarded(|| self.hash.get(hash.0))?;
        value
            .map(|value| {
                entries::read_source(*hash, &value).ok_or_else(|| failed(&self.dir, "an entry of hash is damaged"))
            })
            .transpose()
    }

    /// The number of a duplicate.
    pub(super) fn duplicate(&self, key: &(SourceHash, PathKey)) -> Result<Option<u64>, ReplayError> {
        let value = self.guarded(|| self.hash.get(entries::duplicate_key(key)))?;
        Ok(value.and_then(|value| entries::read_number(&value)))
    }

    /// Where a record of the ledger is.
    pub(super) fn place(&self, key: LedgerKey) -> Result<Option<Location>, ReplayError> {
        let value = self.guarded(|| self.place.get(entries::ledger_key(key)))?;
        Ok(value.and_then(|value| entries::read_location(&mut Fields::new(&value))))
    }

    /// A file as it was last looked at.
    pub(super) fn seen(&self, path: &[u8]) -> Result<Option<(SeenFile, FileVerdict)>, ReplayError> {
        let value = self.guarded(|| self.seen.get(path))?;
        Ok(value.and_then(|value| entries::read_seen(&value)))
    }

    /// Remembers files as they are now; durable some time soon.
    pub(super) fn record_seen(&self, files: &[(Vec<u8>, SeenFile, FileVerdict)]) -> Result<(), ReplayError> {
        let mut batch = Batch::default();
        for (path, file, verdict) in files {
            batch.insert(path.as_slice(), entries::write_seen(file, *verdict));
        }
        self.guarded(|| self.seen.apply_batch(batch))
    }

    /// Forgets a file.
    pub(super) fn forget_seen(&self, path: &[u8]) -> Result<(), ReplayError> {
        self.guarded(|| self.seen.remove(path)).map(drop)
    }

    /// The segments, and bytes of the records in each that say what is gone.
    pub(super) fn gone_bytes(&self) -> Result<Vec<(u32, u64)>, ReplayError> {
        let value = self.guarded(|| self.sys.get(GONE_BYTES_KEY))?.unwrap_or_default();
        let mut fields = Fields::new(&value);
        Ok(std::iter::from_fn(|| Some((fields.u32()?, fields.u64()?))).collect())
    }

    /// Writes what is not in `idx`: entries that the mark does not cover yet do no harm, for they are in the log.
    pub(super) fn write_ledger(&self, pending: &Pending) -> Result<(), ReplayError> {
        let sources = pending.sources.iter();
        let sources = sources.map(|(key, source)| (key.0.to_vec(), Some(entries::write_source(source))));
        let duplicates = pending.duplicates.iter();
        let duplicates = duplicates.map(|(key, n)| (entries::duplicate_key(key), Some(n.to_le_bytes().to_vec())));
        let places = pending.places.iter();
        let places = places.map(|(key, place)| {
            let key = entries::ledger_key(*key).to_vec();
            (key, Some(entries::write_location(*place)))
        });
        let signals = pending.signals.iter();
        let signals = signals.map(|(id, signals)| (id.to_be_bytes().to_vec(), signals.map(entries::write_signals)));
        self.write_portions(&self.hash, sources.chain(duplicates))?;
        self.write_portions(&self.place, places)?;
        let scores = pending.scores.iter();
        let scores = scores.map(|(id, score)| (id.to_be_bytes().to_vec(), score.as_ref().map(entries::write_score)));
        self.write_portions(&self.prio, signals)?;
        self.write_portions(&self.score, scores)?;
        let looks = pending.looks.iter();
        let looks = looks.map(|(id, look)| (id.to_be_bytes().to_vec(), look.map(entries::write_look)));
        self.write_portions(&self.look, looks)
    }

    /// Writes changes by key (nothing removes), so many in a batch: sled keeps what a batch replaces until it ends.
    fn write_portions(
        &self,
        tree: &Tree,
        mut changes: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<(), ReplayError> {
        loop {
            let mut batch = Batch::default();
            let mut is_empty = true;
            for (key, value) in changes.by_ref().take(PORTION) {
                is_empty = false;
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            if is_empty {
                return Ok(());
            }
            self.guarded(|| tree.apply_batch(batch))?;
        }
    }

    /// Writes entries of `idx`, and the mark that covers them in the same batch.
    pub(super) fn write_samples(&self, pending: &Pending, mark: Option<&Mark>) -> Result<(), ReplayError> {
        let mut idx = Batch::default();
        for (id, sample) in &pending.samples {
            match sample {
                Some(kept) => idx.insert(&id.to_be_bytes(), entries::write_sample(kept)),
                None => idx.remove(&id.to_be_bytes()),
            }
        }
        for (path, entry) in &pending.quarantine {
            let key = [QUARANTINE_PREFIX, path.as_bytes()].concat();
            match entry {
                Some((entry, location)) => idx.insert(key, entries::write_quarantined(entry, *location)),
                None => idx.remove(key),
            }
        }
        if let Some(mark) = mark {
            idx.insert(MARK_KEY, mark.write());
        }
        self.guarded(|| self.idx.apply_batch(idx))
    }

    /// Follows the log up to `mark`: what the mark vouches for is durable before the mark is written, and the mark is
    /// durable when this returns.
    pub(super) fn commit(
        &self,
        pending: &Pending,
        gone_bytes: &BTreeMap<u32, u64>,
        mark: &Mark,
    ) -> Result<(), ReplayError> {
        let point = |at| disk::point(at).map_err(ReplayError::io("write", &self.dir));
        point("catalogue.ledger")?;
        self.write_ledger(pending)?;
        let mut gone = Vec::with_capacity(12 * gone_bytes.len());
        for (segment, bytes) in gone_bytes {
            gone.extend_from_slice(&segment.to_le_bytes());
            gone.extend_from_slice(&bytes.to_le_bytes());
        }
        self.guarded(|| self.sys.insert(GONE_BYTES_KEY, gone))?;
        self.sync()?;
        point("catalogue.samples")?;
        self.write_samples(pending, Some(mark))?;
        self.sync()?;
        point("catalogue.done")
    }

    /// Bytes of its files.
    pub(super) fn disk_bytes(&self) -> u64 {
        let files = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        files
            .filter_map(|file| file.metadata().ok())
            .map(|meta| meta.len())
            .sum()
    }

    /// Flushes, and makes durable what sled's own flush only hands to the system.
    fn sync(&self) -> Result<(), ReplayError> {
        self.guarded(|| self.db.flush())?;
        let path = self.dir.join("db");
        File::open(&path)
            .and_then(|file| file.sync_data())
            .map_err(ReplayError::io("make durable", &path))
    }

    fn compare(&self, what: &str, found: u64, expected: u64) -> Result<(), ReplayError> {
        if found == expected {
            return Ok(());
        }
        Err(failed(
            &self.dir,
            &format!("it has {found} {what}, its mark says {expected}"),
        ))
    }

    fn guarded<T>(&self, call: impl FnOnce() -> sled::Result<T>) -> Result<T, ReplayError> {
        let detail = match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "sled panicked".to_owned(),
        };
        self.has_failed.store(true, Ordering::Relaxed);
        Err(failed(&self.dir, &detail))
    }
}

/// Moves a catalogue that can not be used out of the way, over the one that was moved before.
pub(super) fn move_aside(dir: &Path, now: Timestamp) -> Result<PathBuf, ReplayError> {
    let parent = dir.parent().unwrap_or(Path::new("."));
    for item in std::fs::read_dir(parent)
        .map_err(ReplayError::io("list", parent))?
        .flatten()
    {
        if item.file_name().to_string_lossy().starts_with("catalogue.broken-") {
            std::fs::remove_dir_all(item.path()).map_err(ReplayError::io("delete", &item.path()))?;
            info!(folder = %item.path().display(), "deleted an older catalogue that could not be used");
        }
    }
    let aside = parent.join(format!("catalogue.broken-{}", now.0));
    if dir.exists() {
        std::fs::rename(dir, &aside).map_err(ReplayError::io("move aside", dir))?;
        sync_dir(parent)?;
    }
    Ok(aside)
}

fn delete_unfinished_snapshots(dir: &Path) -> Result<(), ReplayError> {
    for item in std::fs::read_dir(dir).map_err(ReplayError::io("list", dir))?.flatten() {
        if item.file_name().to_string_lossy().ends_with(".generating") {
            std::fs::remove_file(item.path()).map_err(ReplayError::io("delete", &item.path()))?;
        }
    }
    Ok(())
}

fn failed(dir: &Path, detail: &str) -> ReplayError {
    ReplayError::Catalogue {
        path: dir.to_owned(),
        detail: detail.to_owned(),
    }
}

/// Whether another open catalogue holds the lock. sled tells it by its text alone.
fn is_lock_held(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(io) if io.to_string().starts_with("could not acquire lock"))
}

fn undecodable(tree: &str) -> sled::Error {
    sled::Error::Unsupported(format!("an entry of {tree} can not be decoded"))
}

/// One more than there should be, and the mark.
fn bound(entries: u64) -> usize {
    usize::try_from(entries).unwrap_or(usize::MAX).saturating_add(2)
}
