//! The curator: which samples are drawn and which are evicted.
//! Invariant: what it draws depends on the live samples, their weights and the generator, never on how they came to be; so
//! a reopened buffer draws as the one that was closed. What it evicts does not depend on it either where the remover is
//! `reservoir` or `fifo`; `distinct` and `min_redundancy` plan ahead, and a reopened one plans anew.
//!
//! The buffer is bounded in bytes and in samples. The newest samples (up to `recent_samples` of them and a fifth of each
//! bound) are never evicted, so that the learner sees each at least for a while; a sample that is no longer among them is
//! up to the remover. The exam has a tenth of each bound to itself, its oldest samples go first.
//!
//! When room is needed, samples of which nothing can be learnt go first; they are known as such when they are replayed, and
//! again after a restart. Of samples that show the same all but the oldest follow; together they are drawn about as often
//! as one.

use std::collections::{BTreeSet, VecDeque};

use crate::config::{NearDuplicates as NearDuplicatesKind, RemoverKind, ReplayConfig, SamplerKind};
use crate::curiosity::Priority;
use crate::ids::SampleId;
use crate::rng::{self, Rng};

use super::cause::Cause;
use super::contents::Contents;
use super::near_duplicates::{NearDuplicates, Reweighed};
use super::pending::Look;
use super::remover::Remover;
use super::selector::{Even, Prioritized, Sampler, Selection, Selector, Uniform};

/// The exam's part of the bytes and of the samples.
const EXAM_SHARE: u64 = 10;

/// The part of the bytes and of the samples that the newest may take.
const RECENT_SHARE: u64 = 5;

/// One of the newest samples.
struct Newest {
    id: SampleId,
    bytes: u32,
    look: Option<Look>,
}

/// Chooses samples.
pub(super) struct Curator {
    config: ReplayConfig,
    /// `samples_max`, where there is one.
    samples_max: usize,
    /// How many of the newest samples are recent.
    recent_max: usize,
    /// The samples by age.
    uniform: Uniform,
    sampler: Box<dyn Sampler>,
    near_duplicates: NearDuplicates,
    remover: Remover,
    /// The newest samples with their bytes, oldest first.
    newest: VecDeque<Newest>,
    newest_bytes: u64,
    /// Samples that the remover refused when they left the newest.
    refused: Vec<SampleId>,
    /// Samples of which nothing can be learnt.
    junk: BTreeSet<SampleId>,
}

impl Curator {
    /// The curator of these contents.
    pub(super) fn new(config: &ReplayConfig, seed: u64, contents: &mut Contents) -> Self {
        if config.remover != RemoverKind::Reservoir {
            // What another remover keeps is no sample of what was seen: a later reservoir begins anew.
            contents.state.threshold = u64::MAX;
        }
        let samples_max = match config.samples_max {
            0 => usize::MAX,
            bound => bound,
        };
        let mut curator = Self {
            config: config.clone(),
            samples_max,
            recent_max: config.recent_samples.min((samples_max / RECENT_SHARE as usize).max(1)),
            uniform: Uniform::default(),
            sampler: match config.sampler {
                SamplerKind::Uniform => Box::new(Even::default()),
                SamplerKind::Prioritized => Box::new(Prioritized::default()),
            },
            near_duplicates: NearDuplicates::default(),
            remover: Remover::new(config.remover, seed, contents.state.threshold),
            newest: VecDeque::new(),
            newest_bytes: 0,
            refused: Vec::new(),
            junk: BTreeSet::new(),
        };
        for (id, slot) in contents.samples.iter().filter(|(_, slot)| !slot.exam) {
            let weight = Priority::from_weight(slot.signals.weight);
            curator.admit(SampleId(*id), slot.bytes, weight, slot.look);
        }
        curator
    }

    /// What a sample with this hash shows: what others show, if there are some that are near.
    pub(super) fn look_of(&self, hash: Option<u64>) -> Look {
        hash.map_or(Look::NOTHING, |hash| self.near_duplicates.look_of(hash))
    }

    /// Whether near-duplicates are collapsed.
    pub(super) fn collapses(&self) -> bool {
        self.config.near_duplicates == NearDuplicatesKind::Collapse
    }

    /// A sample that is not of the exam has come.
    pub(super) fn admit(&mut self, id: SampleId, bytes: u32, priority: Priority, look: Option<Look>) {
        self.uniform.insert(id, priority);
        self.sampler.insert(id, priority);
        self.newest.push_back(Newest { id, bytes, look: None });
        self.show(id, look);
        self.newest_bytes += u64::from(bytes);
        while self.newest.len() > self.recent_max
            || (self.newest_bytes > self.config.bytes_max / RECENT_SHARE && self.newest.len() > 1)
        {
            let Some(Newest { id, bytes, look }) = self.newest.pop_front() else {
                break;
            };
            self.newest_bytes -= u64::from(bytes);
            self.remover.selector().insert(id, priority);
            self.near_duplicates.settle(look.unwrap_or(Look::NOTHING));
            if self.remover.refuses(id) {
                self.refused.push(id);
            }
        }
    }

    /// It is known what a sample shows that was admitted before.
    pub(super) fn show(&mut self, id: SampleId, look: Option<Look>) {
        let Some(look) = look.filter(|_| self.collapses()) else {
            return;
        };
        let newest = self.newest.binary_search_by_key(&id, |newest| newest.id);
        if let Ok(at) = newest {
            self.newest[at].look = Some(look);
        }
        let reweighed = self.near_duplicates.insert(look, id, newest.is_err());
        self.sampler.set_copies(id, self.near_duplicates.copies(look));
        self.weigh(reweighed);
    }

    fn weigh(&mut self, reweighed: Option<Reweighed>) {
        let Some(Reweighed { members, copies }) = reweighed else {
            return;
        };
        for id in members {
            self.sampler.set_copies(id, copies);
        }
    }

    /// A sample is gone.
    pub(super) fn forget(&mut self, id: SampleId, look: Option<Look>) {
        self.uniform.remove(id);
        self.sampler.remove(id);
        self.junk.remove(&id);
        if let Some(look) = look {
            let reweighed = self.near_duplicates.remove(look, id);
            self.weigh(reweighed);
        }
        if !self.remover.selector().remove(id)
            && let Ok(at) = self.newest.binary_search_by_key(&id, |newest| newest.id)
            && let Some(Newest { bytes, .. }) = self.newest.remove(at)
        {
            self.newest_bytes -= u64::from(bytes);
        }
    }

    /// How many samples show what another shows that is older.
    pub(super) fn near_duplicates(&self) -> u64 {
        self.near_duplicates.count()
    }

    /// Whether nothing can be learnt from a sample, however often it is replayed: then it goes first when room is needed.
    pub(super) fn note_junk(&mut self, id: SampleId, is_junk: bool) {
        if is_junk {
            self.junk.insert(id);
        } else {
            self.junk.remove(&id);
        }
    }

    /// The oldest junk that is not among the newest samples.
    fn oldest_junk(&self) -> Option<SampleId> {
        let oldest = *self.junk.first()?;
        let is_newest = self.newest.front().is_some_and(|newest| newest.id <= oldest);
        (!is_newest).then_some(oldest)
    }

    /// The newest samples that came after this one, oldest first; all of them where it is yet to come, for then the buffer
    /// was begun anew.
    pub(super) fn newest_after(&self, after: Option<SampleId>) -> impl Iterator<Item = SampleId> {
        let after = after.filter(|after| self.newest.back().is_some_and(|newest| *after <= newest.id));
        let first = after.map_or(0, |after| self.newest.partition_point(|newest| newest.id <= after));
        self.newest.range(first..).map(|newest| newest.id)
    }

    /// A sample's priority has changed.
    pub(super) fn update(&mut self, id: SampleId, priority: Priority) {
        self.sampler.update(id, priority);
    }

    /// How many samples can be drawn.
    pub(super) fn len(&self) -> usize {
        self.uniform.len()
    }

    /// Draws `n` samples with replacement: `recent_share` of them from the newest, the others by the sampler.
    pub(super) fn draw(&mut self, n: usize, rng: &mut Rng) -> Vec<Selection> {
        let len = self.uniform.len();
        let recent = self.recent_max.min(len);
        let from_recent = if recent == 0 {
            0
        } else {
            (n as f64 * self.config.recent_share).round().min(n as f64) as usize
        };
        let share = from_recent as f64 / n.max(1) as f64;
        let mut picks = Vec::with_capacity(n);
        for turn in 0..n {
            let pick = if turn < from_recent {
                self.uniform.nth(len - 1 - rng::below(rng, recent))
            } else {
                self.sampler.select(rng).map(|selection| selection.id)
            };
            let Some(id) = pick else { break };
            picks.push(Selection {
                id,
                probability: self.mixed(id, share),
            });
        }
        picks
    }

    /// The probability with which one draw of a large batch gives this sample, which is there.
    pub(super) fn probability(&self, id: SampleId) -> f64 {
        self.mixed(id, self.config.recent_share)
    }

    /// The same where this share of the batch is drawn from the newest.
    fn mixed(&self, id: SampleId, share: f64) -> f64 {
        let len = self.uniform.len();
        let recent = self.recent_max.min(len);
        let share = if recent == 0 { 0.0 } else { share };
        let by_recent = if recent > 0 && self.uniform.rank(id) >= len - recent {
            share / recent as f64
        } else {
            0.0
        };
        by_recent + (1.0 - share) * self.sampler.probability(id)
    }

    /// The next sample that must go, if one must. It is told of every sample that goes by [`Curator::forget`].
    pub(super) fn victim(&mut self, contents: &mut Contents) -> Option<(SampleId, Cause)> {
        let oldest_exam = |contents: &Contents| contents.exam_sources.keys().next().map(|id| SampleId(*id));
        let exam_is_over = contents.exam_bytes > self.config.bytes_max / EXAM_SHARE
            || contents.exam.len() > self.samples_max / EXAM_SHARE as usize;
        if exam_is_over && let Some(id) = oldest_exam(contents) {
            return Some((id, Cause::Aged));
        }
        while let Some(id) = self.refused.pop() {
            if contents.samples.contains_key(&id.0) {
                return Some((id, Cause::Evicted));
            }
        }
        let wanted = self.over(contents);
        if wanted == 0 {
            return None;
        }
        if let Some(id) = self.oldest_junk() {
            return Some((id, Cause::Junk));
        }
        if let Some((id, original)) = self.near_duplicates.surplus() {
            return Some((id, Cause::NearDuplicate { original }));
        }
        self.remover
            .look(wanted, |id| contents.samples.get(&id.0).map(|slot| slot.signals));
        // The removers choose by keys and looks of their own, so the generator is not asked.
        let mut unused = rng::for_step(0, 0, 0);
        if let Some(Selection { id, .. }) = self.remover.selector().select(&mut unused) {
            self.remover.evicted(id);
            if let Some(threshold) = self.remover.threshold() {
                contents.state.threshold = threshold;
            }
            return Some((id, self.remover.cause()));
        }
        let oldest = self.newest.front().map(|newest| newest.id);
        oldest.or_else(|| oldest_exam(contents)).map(|id| (id, Cause::Aged))
    }

    /// How many samples must go, about; 0 if none.
    fn over(&self, contents: &Contents) -> usize {
        let samples = contents.samples.len();
        let bytes = contents.bytes.saturating_sub(self.config.bytes_max);
        let bytes_each = (contents.bytes / samples.max(1) as u64).max(1);
        let by_bytes = bytes.div_ceil(bytes_each) as usize;
        by_bytes.max(samples.saturating_sub(self.samples_max))
    }
}
