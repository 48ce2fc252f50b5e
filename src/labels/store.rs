//! The store of a stream's labels.
//! Invariant: what is answered as kept is durable; the labels in memory are those of the log.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tracing::{error, info};

use super::log::{Entry, Log, entry_bytes};
use super::names::{ClassName, LabelKey, SetName};
use super::{CLASSES_MAX, HeadKind, LABELS_MAX, SETS_MAX};
use crate::durable::{self, DurableError, failed};

/// Bytes that the log may have beside twice what its labels need, before it is written anew.
const SLACK_BYTES: u64 = 1 << 20;

/// Why labels could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The log could not be read or written.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// The stream is being stopped; another store may soon write to the log.
    #[error("the stream is stopping")]
    Closed,
}

/// A label that is given, or taken back where there is no class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it is of.
    pub key: LabelKey,
    /// Its class from now on.
    pub class: Option<ClassName>,
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// There was no label, and now there is one.
    Added,
    /// There was another label.
    Replaced,
    /// There was a label, and now there is none.
    Removed,
    /// It is as it was.
    Unchanged,
}

/// Why a label is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The stream has as many as it may.
    #[error("the stream has {LABELS_MAX} labels, as many as it may")]
    TooManyLabels,
    /// The set has as many classes as it may.
    #[error("the set has {CLASSES_MAX} classes, as many as it may")]
    TooManyClasses,
    /// The stream has as many sets as it may.
    #[error("the stream has {SETS_MAX} sets of labels, as many as it may")]
    TooManySets,
}

/// A set of labels, as it was at one moment.
#[derive(Clone, Debug, Default)]
pub struct LabelSet {
    labels: BTreeMap<LabelKey, ClassName>,
    classes: BTreeMap<ClassName, usize>,
    /// Grows with every change.
    revision: u64,
}

impl LabelSet {
    /// The labels, in the order of what they are of; that of a whole source before those of its samples.
    pub fn labels(&self) -> &BTreeMap<LabelKey, ClassName> {
        &self.labels
    }

    /// The classes, each with its number of labels.
    pub fn classes(&self) -> &BTreeMap<ClassName, usize> {
        &self.classes
    }

    /// Which state of the set this is; grows with every change, begins anew with the daemon.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Sets a label or takes it away; what was there.
    fn put(&mut self, key: LabelKey, class: Option<ClassName>) -> Option<ClassName> {
        let before = match &class {
            // One name in memory however often it is given.
            Some(class) => {
                let known = self.classes.get_key_value(class).map(|(known, _)| known.clone());
                let class = known.unwrap_or_else(|| class.clone());
                *self.classes.entry(class.clone()).or_default() += 1;
                self.labels.insert(key, class)
            }
            None => self.labels.remove(&key),
        };
        if let Some(before) = &before
            && let Some(count) = self.classes.get_mut(before)
        {
            *count -= 1;
            if *count == 0 {
                self.classes.remove(before);
            }
        }
        before
    }
}

/// A stream's labels.
pub struct LabelStore {
    inner: Mutex<Inner>,
}

struct Inner {
    log: Log,
    is_closed: bool,
    sets: BTreeMap<SetName, Arc<LabelSet>>,
    /// The sets that a classifier was asked of, each with a label.
    heads: BTreeMap<SetName, HeadKind>,
    labels: usize,
    /// Changes so far.
    revision: u64,
    /// Bytes that the log needs at least.
    needed: u64,
}

impl LabelStore {
    /// Opens the labels in `dir`, or makes the folder. Damage is logged; the labels around it stay.
    pub fn open(dir: &Path) -> Result<Self, LabelError> {
        std::fs::create_dir_all(dir).map_err(failed("create", dir))?;
        durable::sweep(dir)?;
        let path = dir.join("labels.log");
        let (log, reading) = Log::open(&path)?;
        let mut inner = Inner {
            log,
            is_closed: false,
            sets: BTreeMap::new(),
            heads: BTreeMap::new(),
            labels: 0,
            revision: 0,
            needed: 0,
        };
        for entry in reading.entries {
            match entry {
                Entry::Label(set, key, class) => inner.put(&set, key, Some(class)),
                Entry::Unlabel(set, key) => inner.put(&set, key, None),
                Entry::Head(set, kind) => inner.add_head(set, kind),
            }
        }
        if reading.torn_bytes > 0 {
            info!(log = %path.display(), bytes = reading.torn_bytes, "cut off labels that were being written when the daemon ended");
        }
        if reading.damaged_bytes > 0 {
            error!(log = %path.display(), bytes = reading.damaged_bytes, labels = inner.labels,
                hint = "compare `curiod labels list` with what you gave, and give what is missing again; look at the disk's health \
                        (smartctl). The damaged file is kept beside the log as labels.damaged",
                "a part of the labels is damaged; all others are kept");
            inner.rewrite()?;
        }
        inner.compact_if_due()?;
        Ok(Self {
            inner: Mutex::new(inner),
        })
    }

    /// Gives and takes back labels of a set, each by itself or not at all; when this returns those that were not refused are
    /// durable. An error leaves all as it was.
    pub fn apply(&self, set: &SetName, changes: &[Change]) -> Result<Vec<Result<Changed, Refused>>, LabelError> {
        let mut inner = self.open_inner()?;
        let heads = inner.heads.clone();
        let (mut done, mut entries, mut undo) = (Vec::with_capacity(changes.len()), Vec::new(), Vec::new());
        for Change { key, class } in changes {
            let before = inner.sets.get(set).and_then(|set| set.labels.get(key)).cloned();
            if before == *class {
                done.push(Ok(Changed::Unchanged));
                continue;
            }
            if let Some(class) = class
                && let Err(refused) = inner.has_room(set, class, before.is_none())
            {
                done.push(Err(refused));
                continue;
            }
            done.push(Ok(match (&before, class) {
                (None, _) => Changed::Added,
                (Some(_), Some(_)) => Changed::Replaced,
                (Some(_), None) => Changed::Removed,
            }));
            entries.push(match class {
                Some(class) => Entry::Label(set.clone(), *key, class.clone()),
                None => Entry::Unlabel(set.clone(), *key),
            });
            inner.put(set, *key, class.clone());
            undo.push((*key, before));
        }
        if !entries.is_empty() {
            if let Err(error) = inner.log.append(&entries) {
                for (key, before) in undo.into_iter().rev() {
                    inner.put(set, key, before);
                }
                heads.into_iter().for_each(|(set, kind)| inner.add_head(set, kind));
                return Err(error.into());
            }
            // What was given is durable; a log that stays long is written anew at the next chance.
            if let Err(error) = inner.compact_if_due() {
                error!(%error, hint = "look at the disk: its space, owner and health", "failed to write the log of labels anew");
            }
        }
        Ok(done)
    }

    /// Remembers that a classifier of a set was asked for, and of what kind the last one was, so that it is fitted for every
    /// generation until the set has no label any more.
    pub fn keep_head(&self, set: &SetName, kind: HeadKind) -> Result<(), LabelError> {
        let mut inner = self.open_inner()?;
        let before = inner.heads.get(set).copied();
        if !inner.sets.contains_key(set) || before == Some(kind) {
            return Ok(());
        }
        let entry = Entry::Head(set.clone(), kind);
        if !inner.log.is_too_old_for(&entry) {
            inner.log.append(&[entry])?;
            inner.add_head(set.clone(), kind);
            return Ok(());
        }
        inner.add_head(set.clone(), kind);
        inner.rewrite().inspect_err(|_| match before {
            Some(kind) => inner.add_head(set.clone(), kind),
            None => inner.drop_head(set),
        })?;
        Ok(())
    }

    /// Takes nothing from here on: when this returns, nobody writes to the log any more.
    pub fn close(&self) {
        self.inner.lock().is_closed = true;
    }

    fn open_inner(&self) -> Result<MutexGuard<'_, Inner>, LabelError> {
        let inner = self.inner.lock();
        if inner.is_closed {
            Err(LabelError::Closed)
        } else {
            Ok(inner)
        }
    }

    /// The sets that a classifier was asked of, and of what kind.
    pub fn heads(&self) -> BTreeMap<SetName, HeadKind> {
        self.inner.lock().heads.clone()
    }

    /// A set as it is now; empty where there is none.
    pub fn set(&self, name: &SetName) -> Arc<LabelSet> {
        self.inner.lock().sets.get(name).cloned().unwrap_or_default()
    }

    /// Every set that has a label, as it is now.
    pub fn sets(&self) -> BTreeMap<SetName, Arc<LabelSet>> {
        self.inner.lock().sets.clone()
    }
}

impl Inner {
    fn has_room(&self, set: &SetName, class: &ClassName, is_new: bool) -> Result<(), Refused> {
        let known = self.sets.get(set);
        if is_new && self.labels >= LABELS_MAX {
            return Err(Refused::TooManyLabels);
        }
        if known.is_none() && self.sets.len() >= SETS_MAX {
            return Err(Refused::TooManySets);
        }
        match known {
            Some(set) if set.classes.len() >= CLASSES_MAX && !set.classes.contains_key(class) => {
                Err(Refused::TooManyClasses)
            }
            _ => Ok(()),
        }
    }

    /// Sets a label in memory.
    fn put(&mut self, set: &SetName, key: LabelKey, class: Option<ClassName>) {
        let labels = self.sets.entry(set.clone()).or_default();
        let bytes = |class: &ClassName| entry_bytes(&Entry::Label(set.clone(), key, class.clone()));
        if let Some(class) = &class {
            self.needed += bytes(class);
            self.labels += 1;
        }
        let labels = Arc::make_mut(labels);
        self.revision += 1;
        labels.revision = self.revision;
        if let Some(before) = labels.put(key, class) {
            self.needed -= bytes(&before);
            self.labels -= 1;
        }
        if labels.labels.is_empty() {
            self.sets.remove(set);
            // So that no more sets are fitted than may have labels.
            self.drop_head(set);
        }
    }

    fn add_head(&mut self, set: SetName, kind: HeadKind) {
        if self.heads.insert(set.clone(), kind).is_none() {
            self.needed += entry_bytes(&Entry::Head(set, kind));
        }
    }

    fn drop_head(&mut self, set: &SetName) {
        if let Some(kind) = self.heads.remove(set) {
            self.needed -= entry_bytes(&Entry::Head(set.clone(), kind));
        }
    }

    fn compact_if_due(&mut self) -> Result<(), DurableError> {
        if self.log.bytes() > 2 * self.needed + SLACK_BYTES {
            self.rewrite()?;
        }
        Ok(())
    }

    fn rewrite(&mut self) -> Result<(), DurableError> {
        let heads = self.heads.iter().map(|(set, kind)| Entry::Head(set.clone(), *kind));
        let labels = self.sets.iter().flat_map(|(name, set)| {
            let labels = set.labels.iter();
            labels.map(|(key, class)| Entry::Label(name.clone(), *key, class.clone()))
        });
        self.log.rewrite(heads.chain(labels))
    }
}
