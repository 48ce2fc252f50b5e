//! Where samples come from: a sample's place in its source, and sources by their names.
//! Invariant: the ledger outlives the samples, so that a source keeps its name when all of it was evicted.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use super::ReplayBuffer;
use super::entries::LedgerItem;
use super::pending::PathKey;
use super::record::{Entry, SourceMeta};
use super::types::ReplayError;
use crate::ids::{SampleId, SourceHash};

/// How often a sample that was moved while it was looked up is looked up again.
const TRIES: usize = 3;

/// A sample's place in its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The source.
    pub source: SourceHash,
    /// Which of the source's samples it is, from 0.
    pub part: u32,
    /// How many samples were cut from the source.
    pub parts: u32,
}

/// A source that was taken, whether its samples are live or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The ids that its samples were given, in their order.
    pub ids: Range<u64>,
    /// Its path below the inbox; bytes that are no UTF-8 are replaced.
    pub path: String,
}

/// What [`ReplayBuffer::find_sources`] found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The sources that came under each path, those that had come before under another included.
    pub by_path: HashMap<String, BTreeSet<SourceHash>>,
    /// The origins of samples.
    pub by_id: HashMap<SampleId, Origin>,
}

impl ReplayBuffer {
    /// Where a live sample comes from; `None` where it is not live.
    pub fn origin(&self, id: SampleId) -> Result<Option<Origin>, ReplayError> {
        for _ in 0..TRIES {
            let location = {
                let memory = self.store.memory.lock();
                memory.contents.samples.get(&id.0).map(|slot| slot.location)
            };
            let Some(location) = location else {
                return Ok(None);
            };
            let Some(Entry::Sample(sample)) = self.store.segments.read_entry(location)? else {
                continue;
            };
            if sample.id == id {
                let source = self.store.source(&sample.source)?;
                return Ok(source.and_then(|source| origin_in(&source, id)));
            }
        }
        Ok(None)
    }

    /// A source that was taken, by its hash.
    pub fn taken(&self, hash: &SourceHash) -> Result<Option<Taken>, ReplayError> {
        let source = self.store.source(hash)?;
        Ok(source.map(|source| Taken {
            ids: source.first.0..source.first.0.saturating_add(u64::from(source.samples)),
            path: String::from_utf8_lossy(&source.path).into_owned(),
        }))
    }

    /// Finds sources by their paths, and by samples that may be gone, in one reading of the whole ledger: about a second
    /// for a million sources. What was not found is absent.
    pub fn find_sources(&self, paths: &HashSet<String>, ids: &HashSet<SampleId>) -> Result<Found, ReplayError> {
        let wanted: HashMap<PathKey, &String> = paths.iter().map(|path| (PathKey::of(path.as_bytes()), path)).collect();
        let sorted: BTreeSet<SampleId> = ids.iter().copied().collect();
        let mut found = Found::default();
        let mut named = |key: &PathKey, hash: SourceHash| {
            if let Some(path) = wanted.get(key) {
                found.by_path.entry((*path).clone()).or_default().insert(hash);
            }
        };
        let mut owned = HashMap::new();
        let mut source = |meta: &SourceMeta| {
            named(&PathKey::of(&meta.path), meta.hash);
            for id in sorted.range(meta.first..SampleId(meta.end())) {
                owned.extend(origin_in(meta, *id).map(|origin| (*id, origin)));
            }
        };
        // The catalogue last: what is pending now may be in it by then, and is then seen twice, which does no harm.
        let (sources, duplicates) = {
            let memory = self.store.memory.lock();
            let contents = &memory.contents;
            let pendings = [Some(&contents.pending), contents.in_flight.as_deref()];
            let sources = pendings.iter().flatten().flat_map(|pending| pending.sources.values());
            let duplicates = pendings.iter().flatten().flat_map(|pending| pending.duplicates.keys());
            let sources: Vec<SourceMeta> = sources.cloned().collect();
            (sources, duplicates.copied().collect::<Vec<_>>())
        };
        sources.iter().for_each(&mut source);
        let mut copies = duplicates;
        let catalogue = self.store.catalogue()?;
        if let Some(mark) = catalogue.mark()? {
            catalogue.each_ledger(&mark, |item| match item {
                LedgerItem::Source(meta) => source(&meta),
                LedgerItem::Duplicate((hash, key), _) if wanted.contains_key(&key) => copies.push((hash, key)),
                LedgerItem::Duplicate(..) => {}
            })?;
        }
        for (hash, key) in copies {
            named(&key, hash);
        }
        found.by_id = owned;
        Ok(found)
    }

    /// The live ones of these samples, ascending, `max` at most.
    pub fn live_in(&self, ids: Range<u64>, max: usize) -> Vec<SampleId> {
        if ids.is_empty() {
            return Vec::new();
        }
        let memory = self.store.memory.lock();
        let live = memory.contents.samples.range(ids);
        live.take(max).map(|(id, _)| SampleId(*id)).collect()
    }

    /// The group of near-duplicates that each sample is in; `None` for one that is in none.
    pub fn near_duplicate_groups(&self, ids: &[SampleId]) -> Vec<Option<u64>> {
        let memory = self.store.memory.lock();
        let group = |id: &SampleId| memory.contents.samples.get(&id.0)?.look?.get();
        ids.iter().map(group).collect()
    }
}

fn origin_in(source: &SourceMeta, id: SampleId) -> Option<Origin> {
    let part = u32::try_from(id.0.checked_sub(source.first.0)?).ok()?;
    (part < source.samples).then_some(Origin {
        source: source.hash,
        part,
        parts: source.samples,
    })
}
