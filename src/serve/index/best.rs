//! The best of what a search has seen.
//! Invariant: of two rows with one score the smaller id is the better.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::ids::SampleId;

/// A neighbour: a sample and its cosine to the query, -1 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The sample.
    pub id: SampleId,
    /// Cosine similarity.
    pub score: f32,
}

/// The best `k` hits so far; the worst of them on top.
pub(super) struct Best {
    k: usize,
    /// Score that a hit must reach once `k` are held.
    floor: f32,
    heap: BinaryHeap<Worst>,
}

/// A hit, ordered so that the worst is the greatest.
#[derive(PartialEq)]
struct Worst(Hit);

impl Eq for Worst {}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Worst {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.score.total_cmp(&self.0.score).then(self.0.id.cmp(&other.0.id))
    }
}

impl Best {
    /// Of `k` hits, none of them seen.
    pub(super) fn of(k: usize) -> Self {
        Self {
            k,
            floor: f32::NEG_INFINITY,
            heap: BinaryHeap::with_capacity(k.min(1_024) + 1),
        }
    }

    /// What a hit must reach to be taken.
    pub(super) fn floor(&self) -> f32 {
        self.floor
    }

    /// Whether there are as many as are wanted.
    pub(super) fn is_full(&self) -> bool {
        self.heap.len() >= self.k
    }

    /// Takes a hit if it is among the best.
    #[inline]
    pub(super) fn offer(&mut self, hit: Hit) {
        if hit.score >= self.floor && self.k > 0 {
            self.take(hit);
        }
    }

    fn take(&mut self, hit: Hit) {
        self.heap.push(Worst(hit));
        if self.heap.len() > self.k {
            self.heap.pop();
        }
        if self.heap.len() == self.k {
            self.floor = self.heap.peek().map_or(f32::NEG_INFINITY, |worst| worst.0.score);
        }
    }

    /// The best, best first.
    pub(super) fn into_hits(self) -> Vec<Hit> {
        self.heap.into_sorted_vec().into_iter().map(|worst| worst.0).collect()
    }
}
