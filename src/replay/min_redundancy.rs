//! Minimum redundancy: evicts what the rest already says (MinRed, Purushwalkam et al. 2022, section 4.2); all that it says,
//! or only what is much closer to another than is usual, the rest by lot.
//! Invariant: every sample is as likely to be looked at, whenever it came and whether or not it has a score.
//!
//! Of a random subset, the closest pairs in teacher space are found, and of each pair the one goes whose error is lower.
//! We differ from the paper in three ways. The features are the teacher's of the clean picture, not running means of
//! training features, with which the memory came to hold the newest samples alone. One pass over a subset plans several
//! evictions, for it costs milliseconds. And samples without a score, which can not be compared, go at random, in
//! proportion to their share: would only what is scored go, what is scored soonest would go first.
//!
//! The priority does not decide, for visits lower it: of a pair the older would go each time. In a simulation (6,000
//! samples of 20 clusters, 800 kept) the last fifth of the stream then held half of what was kept; so it is a third.

use std::collections::VecDeque;

use crate::curiosity::Priority;
use crate::ids::SampleId;
use crate::rng::{self, Rng};

use super::cause::Cause;
use super::pending::Signals;
use super::redundancy::{self, Closest};
use super::remover::Reservoir;
use super::selector::{Selection, Selector, Uniform};
use super::types::Score;

/// Samples of a subset. A pass costs the square of it: 2,000 take some milliseconds, in which the memory is locked.
const SUBSET: usize = 2_000;

/// With fewer scored samples in a subset there is nothing to compare.
const SCORED_MIN: usize = 64;

/// Evictions that a pass plans, where it finds so many pairs.
const PLANNED: usize = 16;

/// When much must go at once (a thousand files in one commit, a bound that was lowered), a pass plans this part of it, so
/// that there are as many passes.
const PASSES: usize = 8;

/// A pass plans no more than one eviction for so many samples that it compared.
const COMPARED_EACH: usize = 8;

/// An eviction that a pass planned.
#[derive(Clone, Copy, Debug)]
struct Planned {
    id: SampleId,
    /// What says the same, and how much; `None` for a sample that goes at random.
    twin: Option<(SampleId, f32)>,
}

/// A sample that can be compared.
struct Scored {
    id: SampleId,
    visits: u32,
    error: f32,
}

/// Evicts of the closest pair in teacher space the one with less to teach.
pub(super) struct MinRedundancy {
    seed: u64,
    /// The part of the usual distance below which a pair is redundant at all; `None`: the closest always is.
    within: Option<f32>,
    passes: u64,
    live: Uniform,
    /// The rule for what can not be compared.
    reservoir: Reservoir,
    planned: VecDeque<Planned>,
    /// Evictions before the next look, after one that found nothing to compare.
    blind: usize,
    /// Why the last selection is to go.
    cause: Cause,
}

impl MinRedundancy {
    /// A remover that draws its subsets from `seed`. With `within`, only pairs that are closer than this part of the usual
    /// distance to the nearest other are thinned out, and for the rest it chooses as a reservoir does.
    pub(super) fn new(seed: u64, within: Option<f32>) -> Self {
        Self {
            seed,
            within,
            passes: 0,
            live: Uniform::default(),
            reservoir: Reservoir::new(seed, u64::MAX),
            planned: VecDeque::new(),
            blind: 0,
            cause: Cause::Random,
        }
    }

    /// Why the last selection is to go.
    pub(super) fn cause(&self) -> Cause {
        self.cause
    }

    /// Looks at a subset, if nothing is planned: `wanted` samples must go, `signals` tells of each what is known.
    pub(super) fn look(&mut self, wanted: usize, signals: impl Fn(SampleId) -> Option<Signals>) {
        self.planned.retain(|planned| is_still_true(&self.live, planned));
        if !self.planned.is_empty() || self.blind > 0 || self.live.len() < SCORED_MIN {
            return;
        }
        self.passes += 1;
        let mut rng = rng::for_step(self.seed, self.passes, 0);
        let subset = self.subset(&mut rng);
        let mut scored = Vec::with_capacity(subset.len());
        let mut embeddings = Vec::with_capacity(subset.len());
        let mut unscored = Vec::new();
        for id in &subset {
            let known = signals(*id);
            match known.and_then(|known| Some((known.visits, known.score?))) {
                Some((visits, Score { error, embedding, .. })) => {
                    let id = *id;
                    scored.push(Scored { id, visits, error });
                    embeddings.push(embedding);
                }
                None => unscored.push(*id),
            }
        }
        if scored.len() < SCORED_MIN {
            self.blind = PLANNED;
            return;
        }
        let planned = (wanted / PASSES).max(PLANNED).min(scored.len() / COMPARED_EACH);
        let unscored_share = unscored.len() as f64 / subset.len() as f64;
        let Closest { mut pairs, usual } = redundancy::closest_pairs(&embeddings, planned);
        if let Some(within) = self.within {
            pairs.retain(|pair| 1.0 - pair.similarity < within * (1.0 - usual));
            self.blind = planned - pairs.len();
        }
        // So many of the unscored to each of the scored as there are.
        let at_random = pairs.len() as f64 * unscored_share / (1.0 - unscored_share);
        let at_random = (at_random + rng::unit(&mut rng)) as usize;
        for pair in pairs {
            let (first, second) = (&scored[pair.first], &scored[pair.second]);
            let (goes, stays) = if self.teaches_less(first, second) {
                (first.id, second.id)
            } else {
                (second.id, first.id)
            };
            self.planned.push_back(Planned {
                id: goes,
                twin: Some((stays, pair.similarity)),
            });
        }
        // As a reservoir chooses, so that one that is refused stays refused.
        unscored.sort_unstable_by_key(|id| std::cmp::Reverse(Reservoir::key_of(self.seed, *id)));
        let at_random = unscored.into_iter().take(at_random);
        self.planned.extend(at_random.map(|id| Planned { id, twin: None }));
    }

    /// Up to [`SUBSET`] live samples, one of each of as many equal parts of them by age.
    fn subset(&self, rng: &mut Rng) -> Vec<SampleId> {
        let (live, parts) = (self.live.len(), self.live.len().min(SUBSET));
        let part = |at: usize| (at * live) / parts.max(1);
        let ranks = (0..parts).map(|at| part(at) + rng::below(rng, part(at + 1) - part(at)));
        ranks.filter_map(|rank| self.live.nth(rank)).collect()
    }

    /// Whether the first has less to teach than the second: its error is lower, or it was replayed more, or it lost the
    /// toss. An error that is no number is none.
    fn teaches_less(&self, first: &Scored, second: &Scored) -> bool {
        let error = |of: &Scored| if of.error.is_finite() { of.error } else { 0.0 };
        let toss = |of: &Scored| Reservoir::key_of(self.seed, of.id);
        let by_error = error(first).total_cmp(&error(second));
        let by_visits = || second.visits.cmp(&first.visits);
        let by_toss = || toss(second).cmp(&toss(first));
        by_error.then_with(by_visits).then_with(by_toss).is_lt()
    }
}

/// Whether a planned eviction is as right as when it was planned: the sample is there, and so is what says the same.
fn is_still_true(live: &Uniform, planned: &Planned) -> bool {
    live.contains(planned.id) && planned.twin.is_none_or(|(twin, _)| live.contains(twin))
}

impl Selector for MinRedundancy {
    fn insert(&mut self, id: SampleId, priority: Priority) {
        self.live.insert(id, priority);
        self.reservoir.insert(id, priority);
    }

    fn update(&mut self, id: SampleId, _: Priority) -> bool {
        self.live.contains(id)
    }

    fn remove(&mut self, id: SampleId) -> bool {
        self.reservoir.remove(id);
        self.live.remove(id)
    }

    /// What was planned, else as a reservoir chooses.
    fn select(&mut self, rng: &mut Rng) -> Option<Selection> {
        while let Some(planned) = self.planned.pop_front() {
            if is_still_true(&self.live, &planned) {
                self.cause = match planned.twin {
                    Some((twin, similarity)) => Cause::Redundant { twin, similarity },
                    None => Cause::Random,
                };
                return Some(Selection {
                    id: planned.id,
                    probability: 1.0,
                });
            }
        }
        self.cause = Cause::Random;
        self.blind = self.blind.saturating_sub(1);
        self.reservoir.select(rng)
    }
}
