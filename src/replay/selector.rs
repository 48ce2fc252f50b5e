//! Selectors: which sample is next. One interface, used as sampler and as remover.
//! Invariant: a selection depends on the live ids in their order, their weights and the generator, never on the history
//! of what has come and gone. Weights are integers, for sums of integers do not depend on the order of adding.

use std::collections::HashMap;

use crate::curiosity::Priority;
use crate::ids::SampleId;
use crate::rng::{self, Rng};

/// A choice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Selection {
    /// The sample.
    pub id: SampleId,
    /// The probability with which it was chosen.
    pub probability: f64,
}

/// Chooses one of the samples it was told of.
pub trait Selector: Send {
    /// Adds a sample. One that is already there is updated.
    fn insert(&mut self, id: SampleId, priority: Priority);
    /// Changes a sample's priority; `false` if it is not there.
    fn update(&mut self, id: SampleId, priority: Priority) -> bool;
    /// Removes a sample; `false` if it is not there.
    fn remove(&mut self, id: SampleId) -> bool;
    /// Chooses a sample, which stays; `None` if there is none.
    fn select(&mut self, rng: &mut Rng) -> Option<Selection>;
}

/// Every sample with the same probability.
#[derive(Default)]
pub struct Uniform(SumTree);

impl Uniform {
    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.0.live
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.0.live == 0
    }

    /// Whether the sample is there.
    pub fn contains(&self, id: SampleId) -> bool {
        self.0.weight(id.0) > 0
    }

    /// The sample with `rank` older ones.
    pub fn nth(&self, rank: usize) -> Option<SampleId> {
        self.0.find(rank as u64).map(SampleId)
    }

    /// How many samples are older than this one.
    pub fn rank(&self, id: SampleId) -> usize {
        self.0.sum_before(id.0) as usize
    }
}

impl Selector for Uniform {
    fn insert(&mut self, id: SampleId, _: Priority) {
        self.0.set(id.0, 1);
    }

    fn update(&mut self, id: SampleId, _: Priority) -> bool {
        self.contains(id)
    }

    fn remove(&mut self, id: SampleId) -> bool {
        self.0.remove(id.0)
    }

    fn select(&mut self, rng: &mut Rng) -> Option<Selection> {
        let id = self.nth(rng::below(rng, self.len()))?;
        Some(Selection {
            id,
            probability: 1.0 / self.len() as f64,
        })
    }
}

/// A selector that draws what is to be learnt from.
pub trait Sampler: Selector {
    /// The sample is one of so many that show the same, and is drawn as that part of one.
    fn set_copies(&mut self, id: SampleId, copies: u32);
    /// The probability with which a sample is chosen; 0 if it is not there.
    fn probability(&self, id: SampleId) -> f64;
}

/// The weight of a sample that shows what no other shows.
const WHOLE: u32 = 1 << 20;

/// Everything there is to be seen with the same probability: of samples that show the same, each its part.
#[derive(Default)]
pub struct Even(SumTree);

impl Selector for Even {
    fn insert(&mut self, id: SampleId, _: Priority) {
        self.0.set(id.0, WHOLE);
    }

    fn update(&mut self, id: SampleId, _: Priority) -> bool {
        self.0.weight(id.0) > 0
    }

    fn remove(&mut self, id: SampleId) -> bool {
        self.0.remove(id.0)
    }

    fn select(&mut self, rng: &mut Rng) -> Option<Selection> {
        let id = SampleId(self.0.find(rng::below(rng, self.0.total as usize) as u64)?);
        Some(Selection {
            id,
            probability: self.probability(id),
        })
    }
}

impl Sampler for Even {
    fn set_copies(&mut self, id: SampleId, copies: u32) {
        if self.0.weight(id.0) > 0 {
            self.0.set(id.0, part(WHOLE, copies));
        }
    }

    fn probability(&self, id: SampleId) -> f64 {
        f64::from(self.0.weight(id.0)) / self.0.total.max(1) as f64
    }
}

/// A part of a weight, never nothing.
fn part(weight: u32, copies: u32) -> u32 {
    (weight / copies.max(1)).max(1)
}

/// Half of the draws by priority, half even, so that no probability is less than half of even.
#[derive(Default)]
pub struct Prioritized {
    even: Even,
    weights: SumTree,
    /// The samples that are one of several that show the same: of how many, and what they would weigh alone.
    shared: HashMap<u64, (u32, u32)>,
}

impl Selector for Prioritized {
    fn insert(&mut self, id: SampleId, priority: Priority) {
        self.even.insert(id, priority);
        self.shared.remove(&id.0);
        self.weights.set(id.0, priority.weight());
    }

    fn update(&mut self, id: SampleId, priority: Priority) -> bool {
        let there = self.weights.weight(id.0) > 0;
        if there {
            let copies = self.shared.get_mut(&id.0).map_or(1, |(copies, alone)| {
                *alone = priority.weight();
                *copies
            });
            self.weights.set(id.0, part(priority.weight(), copies));
        }
        there
    }

    fn remove(&mut self, id: SampleId) -> bool {
        self.shared.remove(&id.0);
        self.even.remove(id) && self.weights.remove(id.0)
    }

    fn select(&mut self, rng: &mut Rng) -> Option<Selection> {
        let id = if rng::unit(rng) < 0.5 {
            self.even.select(rng)?.id
        } else {
            SampleId(self.weights.find(rng::below(rng, self.weights.total as usize) as u64)?)
        };
        Some(Selection {
            id,
            probability: self.probability(id),
        })
    }
}

impl Sampler for Prioritized {
    fn set_copies(&mut self, id: SampleId, copies: u32) {
        let weight = self.weights.weight(id.0);
        if weight == 0 {
            return;
        }
        let alone = self.shared.get(&id.0).map_or(weight, |(_, alone)| *alone);
        match copies {
            0 | 1 => self.shared.remove(&id.0),
            copies => self.shared.insert(id.0, (copies, alone)),
        };
        self.even.set_copies(id, copies);
        self.weights.set(id.0, part(alone, copies));
    }

    fn probability(&self, id: SampleId) -> f64 {
        match self.weights.weight(id.0) {
            0 => 0.0,
            weight => 0.5 * self.even.probability(id) + 0.5 * f64::from(weight) / self.weights.total as f64,
        }
    }
}

/// Weights of ids in ascending order, and their partial sums as a binary indexed tree (Fenwick 1994): setting a weight
/// and finding the id at a sum take O(log n). An id that is gone leaves a hole of weight 0; when holes are the larger
/// part, the tree is built anew without them.
#[derive(Default)]
struct SumTree {
    ids: Vec<u64>,
    weights: Vec<u32>,
    /// `sums[i]` covers the `lowest_bit(i + 1)` weights up to and with `i`.
    sums: Vec<u64>,
    total: u64,
    live: usize,
}

impl SumTree {
    /// The weight of an id; 0 if it is not there.
    fn weight(&self, id: u64) -> u32 {
        self.ids.binary_search(&id).map_or(0, |slot| self.weights[slot])
    }

    /// Sets the weight, above 0, of an id that may be new.
    fn set(&mut self, id: u64, weight: u32) {
        match self.ids.binary_search(&id) {
            Ok(slot) => self.set_slot(slot, weight),
            Err(slot) if slot == self.ids.len() => self.push(id, weight),
            Err(slot) => {
                self.ids.insert(slot, id);
                self.weights.insert(slot, weight);
                self.rebuild();
            }
        }
    }

    fn remove(&mut self, id: u64) -> bool {
        let Ok(slot) = self.ids.binary_search(&id) else {
            return false;
        };
        if self.weights[slot] == 0 {
            return false;
        }
        self.set_slot(slot, 0);
        if self.ids.len() > 2 * self.live + 1_024 {
            self.rebuild();
        }
        true
    }

    fn push(&mut self, id: u64, weight: u32) {
        let node = self.ids.len() + 1;
        let mut sum = u64::from(weight);
        let mut below = node - 1;
        while below > node - lowest_bit(node) {
            sum += self.sums[below - 1];
            below -= lowest_bit(below);
        }
        self.ids.push(id);
        self.weights.push(weight);
        self.sums.push(sum);
        self.total += u64::from(weight);
        self.live += 1;
    }

    fn set_slot(&mut self, slot: usize, weight: u32) {
        let old = std::mem::replace(&mut self.weights[slot], weight);
        self.live = self.live + usize::from(weight > 0) - usize::from(old > 0);
        self.total = self.total + u64::from(weight) - u64::from(old);
        let mut node = slot + 1;
        while node <= self.sums.len() {
            let sum = &mut self.sums[node - 1];
            *sum = *sum + u64::from(weight) - u64::from(old);
            node += lowest_bit(node);
        }
    }

    /// The id at whose weight the running sum of weights passes `sum`.
    fn find(&self, sum: u64) -> Option<u64> {
        if sum >= self.total {
            return None;
        }
        let mut left = sum;
        let mut slot = 0;
        let mut step = (self.sums.len() + 1).next_power_of_two();
        while step > 0 {
            let node = slot + step;
            if node <= self.sums.len() && self.sums[node - 1] <= left {
                left -= self.sums[node - 1];
                slot = node;
            }
            step /= 2;
        }
        self.ids.get(slot).copied()
    }

    /// The sum of the weights of lower ids.
    fn sum_before(&self, id: u64) -> u64 {
        let mut node = self.ids.partition_point(|other| *other < id);
        let mut sum = 0;
        while node > 0 {
            sum += self.sums[node - 1];
            node -= lowest_bit(node);
        }
        sum
    }

    fn rebuild(&mut self) {
        let ids = std::mem::take(&mut self.ids);
        let weights = std::mem::take(&mut self.weights);
        *self = Self::default();
        for (id, weight) in ids.into_iter().zip(weights) {
            if weight > 0 {
                self.push(id, weight);
            }
        }
    }
}

fn lowest_bit(node: usize) -> usize {
    node & node.wrapping_neg()
}
