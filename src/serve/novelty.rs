//! Novelty: how far a picture lies from what is held, and how unusual that is among the held ones themselves.
//! Invariant: every representative's list is exactly its nearest held rows, itself left out.

use std::cmp::Ordering;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::index::{Hit, Index, Place, QUERIES_AT_ONCE, QueryCodes, RowCodes, Snapshot, dot};
use crate::ids::SampleId;
use crate::rng::{self, Rng};

/// Neighbours whose mean distance is a sample's distance from what is held.
pub const NEIGHBOURS: usize = 10;

/// Neighbours remembered of a representative: it is searched again only when evictions have left fewer than
/// [`NEIGHBOURS`] of them.
const NEIGHBOURS_KEPT: usize = 2 * NEIGHBOURS;

/// Held rows that stand for all of them: a quantile's resolution is one in this many. Each row that arrives is compared
/// with each of them, about 5 microseconds at 256 dimensions.
const REPRESENTATIVES: usize = 1_024;

/// Rows up to which the most novel are found by comparing all with all; above, the candidates for an exact comparison
/// are those farthest from a sample of this many rows.
const ALL_PAIRS_MAX: usize = 4_096;

/// Rows that candidates are compared with when there are more than [`ALL_PAIRS_MAX`].
const LANDMARKS: usize = 512;

/// The mean distance (1 - cosine) of the first [`NEIGHBOURS`] of these hits; `None` of none.
pub fn mean_distance(hits: &[Hit]) -> Option<f32> {
    let nearest = &hits[..hits.len().min(NEIGHBOURS)];
    let sum: f32 = nearest.iter().map(|hit| (1.0 - hit.score).max(0.0)).sum();
    (!nearest.is_empty()).then(|| sum / nearest.len() as f32)
}

/// How the mean distances of the held samples are spread: those of [`REPRESENTATIVES`] rows, a uniform sample of all
/// (Vitter 1985, algorithm R), each to its nearest other rows, kept up to date as rows come and go.
pub struct Typical {
    dim: usize,
    sample: Mutex<Sample>,
    /// The representatives' mean distances, ascending.
    distances: ArcSwap<Vec<f32>>,
}

struct Sample {
    rng: Rng,
    /// Rows ever added.
    seen: usize,
    members: Vec<Member>,
    /// The members' embeddings, in their order.
    codes: QueryCodes,
}

struct Member {
    id: SampleId,
    embedding: Vec<f32>,
    /// The nearest other rows, best first.
    near: Vec<Hit>,
}

impl Typical {
    pub(super) fn new(dim: usize, seed: u64) -> Self {
        Self {
            dim,
            sample: Mutex::new(Sample {
                rng: rng::for_step(seed, 0, 0),
                seen: 0,
                members: Vec::new(),
                codes: QueryCodes::new(dim),
            }),
            distances: ArcSwap::default(),
        }
    }

    /// The share of held samples that lie closer to their neighbours than `distance`, 0 to 1; ties count half. 1 when
    /// there is nothing to compare with.
    pub fn quantile(&self, distance: f32) -> f32 {
        let distances = self.distances.load();
        if distances.is_empty() {
            return 1.0;
        }
        let below = distances.partition_point(|held| *held < distance);
        let up_to = distances.partition_point(|held| *held <= distance);
        (below + up_to) as f32 / (2 * distances.len()) as f32
    }

    /// `added` are in `now` already.
    pub(super) fn follow_added(&self, added: &[(SampleId, &[f32])], now: &Snapshot) {
        let mut sample = self.sample.lock();
        sample.meet(added);
        for (id, embedding) in added {
            sample.seen += 1;
            let place = if sample.members.len() < REPRESENTATIVES {
                sample.members.len()
            } else {
                let seen = sample.seen;
                rng::below(&mut sample.rng, seen)
            };
            if place < REPRESENTATIVES {
                let member = Member::of(*id, embedding, now);
                if place == sample.members.len() {
                    sample.codes.push(&member.embedding);
                    sample.members.push(member);
                } else {
                    sample.codes.set(place, &member.embedding);
                    sample.members[place] = member;
                }
            }
        }
        self.publish(&sample);
    }

    /// `removed` are in `now` no more.
    pub(super) fn follow_removed(&self, removed: &[SampleId], now: &Snapshot) {
        let removed: std::collections::HashSet<SampleId> = removed.iter().copied().collect();
        let mut sample = self.sample.lock();
        let sample = &mut *sample;
        let before = sample.members.len();
        sample.members.retain(|member| !removed.contains(&member.id));
        let mut stay = sample.members.len() == before;
        for member in &mut sample.members {
            member.near.retain(|hit| !removed.contains(&hit.id));
            if member.near.len() < NEIGHBOURS {
                *member = Member::of(member.id, &member.embedding, now);
            }
        }
        // A representative that was evicted leaves its place to another row, drawn from all that are held.
        let wanted = REPRESENTATIVES.min(now.len());
        let mut taken: std::collections::HashSet<SampleId> = sample.members.iter().map(|m| m.id).collect();
        for _ in 0..4 * wanted.saturating_sub(sample.members.len()) {
            if sample.members.len() >= wanted {
                break;
            }
            let Some((id, embedding)) = now.nth(rng::below(&mut sample.rng, now.len())) else {
                break;
            };
            if taken.insert(id) {
                stay = false;
                sample.members.push(Member::of(id, embedding, now));
            }
        }
        if !stay {
            sample.codes = QueryCodes::new(self.dim);
            for member in &sample.members {
                sample.codes.push(&member.embedding);
            }
        }
        self.publish(sample);
    }

    fn publish(&self, sample: &Sample) {
        let mut distances: Vec<f32> = sample.members.iter().filter_map(|m| mean_distance(&m.near)).collect();
        distances.sort_unstable_by(f32::total_cmp);
        self.distances.store(Arc::new(distances));
    }

    /// The representatives' embeddings, `[n, dim]`, at most `max` of them.
    fn landmarks(&self, max: usize) -> Vec<f32> {
        let sample = self.sample.lock();
        let mut embeddings = Vec::with_capacity(max.min(sample.members.len()) * self.dim);
        for member in sample.members.iter().take(max) {
            embeddings.extend_from_slice(&member.embedding);
        }
        embeddings
    }
}

impl Sample {
    /// Has every member meet what was added, but for what is known from its code to be too far.
    fn meet(&mut self, added: &[(SampleId, &[f32])]) {
        let mut rows = RowCodes::default();
        added.iter().for_each(|(_, embedding)| rows.push(embedding));
        let (mut sums, mut bounds) = (Vec::new(), Vec::new());
        for (block, members) in self.members.chunks_mut(QUERIES_AT_ONCE).enumerate() {
            let from = block * QUERIES_AT_ONCE;
            self.codes
                .bounds((from, from + members.len()), &rows, &mut sums, &mut bounds);
            for (member, bounds) in members.iter_mut().zip(bounds.chunks_exact(added.len().max(1))) {
                for ((id, embedding), bound) in added.iter().zip(bounds) {
                    if !member.is_beyond(*bound) {
                        member.meet(*id, embedding);
                    }
                }
            }
        }
    }
}

impl Member {
    /// Whether a row whose score is not above this is farther than all that are remembered.
    fn is_beyond(&self, bound: f32) -> bool {
        self.near.len() >= NEIGHBOURS && self.near.last().is_some_and(|last| bound < last.score)
    }

    fn of(id: SampleId, embedding: &[f32], now: &Snapshot) -> Self {
        Self {
            id,
            embedding: embedding.to_vec(),
            near: others(id, now.nearest(embedding, NEIGHBOURS_KEPT + 1).swap_remove(0)),
        }
    }

    /// Takes a new row in if it is among the nearest. A row farther than all that are remembered is not, even when
    /// fewer than [`NEIGHBOURS_KEPT`] are: one that was not remembered may be closer.
    fn meet(&mut self, id: SampleId, embedding: &[f32]) {
        let hit = Hit {
            id,
            score: dot(&self.embedding, embedding),
        };
        let at = self.near.partition_point(|near| near.score >= hit.score);
        if at < self.near.len() || self.near.len() < NEIGHBOURS {
            self.near.insert(at, hit);
            self.near.truncate(NEIGHBOURS_KEPT);
        }
    }
}

/// A sample's neighbours without itself.
fn others(id: SampleId, mut hits: Vec<Hit>) -> Vec<Hit> {
    hits.retain(|hit| hit.id != id);
    hits
}

/// The `n` held samples that lie farthest from their neighbours with that mean distance, farthest first.
///
/// Exact up to [`ALL_PAIRS_MAX`] rows. Above, every row is compared with [`LANDMARKS`] of the others, and the
/// `4 n + 64` that are farthest from those are compared with all.
pub fn most_novel(index: &Index, n: usize) -> Vec<(SampleId, f32)> {
    let now = index.snapshot();
    most_novel_of(index, &now, |_| true, n)
}

/// As [`most_novel`], of those samples of a state of the index that are `asked` about.
pub fn most_novel_of(
    index: &Index,
    now: &Snapshot,
    asked: impl Fn(SampleId) -> bool,
    n: usize,
) -> Vec<(SampleId, f32)> {
    let is_asked = |place: &Place| asked(now.row(*place).0);
    let mut candidates: Vec<Place> = now.places().into_iter().filter(is_asked).collect();
    if now.len() > ALL_PAIRS_MAX {
        let landmarks = index.typical().landmarks(LANDMARKS);
        let mut coarse: Vec<(f32, Place)> = Vec::with_capacity(now.len());
        now.bounds(&landmarks, |place, scores| {
            let (near, _, _) = scores.select_nth_unstable_by(NEIGHBOURS, |a, b| b.total_cmp(a));
            coarse.push((near.iter().sum(), place));
        });
        coarse.retain(|(_, place)| is_asked(place));
        coarse.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        candidates = coarse.into_iter().map(|(_, place)| place).collect();
        candidates.truncate(4 * n + 64);
    }
    let mut found: Vec<(SampleId, f32)> = Vec::with_capacity(candidates.len());
    for places in candidates.chunks(64) {
        let queries: Vec<f32> = places.iter().flat_map(|place| now.row(*place).1).copied().collect();
        for (place, hits) in places.iter().zip(now.nearest(&queries, NEIGHBOURS + 1)) {
            let id = now.row(*place).0;
            found.extend(mean_distance(&others(id, hits)).map(|distance| (id, distance)));
        }
    }
    found.sort_unstable_by(|a, b| match b.1.total_cmp(&a.1) {
        Ordering::Equal => a.0.cmp(&b.0),
        order => order,
    });
    found.truncate(n);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::{test_embeddings, test_samples};

    /// Every held sample's mean distance to its nearest others, ascending.
    fn all_distances(index: &Index) -> Vec<f32> {
        let mut all: Vec<f32> = most_novel(index, usize::MAX / 8).into_iter().map(|(_, d)| d).collect();
        all.sort_unstable_by(f32::total_cmp);
        all
    }

    #[test]
    fn the_representatives_stay_exact_while_rows_come_and_go() {
        let (dim, n) = (16, 900);
        let embeddings = test_embeddings(n, dim, 3);
        let index = Index::new(dim, 0, usize::MAX);
        for (batch, rows) in embeddings.chunks(50 * dim).enumerate() {
            let first = batch as u64 * 50;
            index.add(&test_samples(first..first + (rows.len() / dim) as u64), rows);
            index.remove(&[SampleId(batch as u64 * 50), SampleId(batch as u64 * 25 + 7)]);
        }
        let kept = index.typical().distances.load_full();
        for (kept, exact) in kept.iter().zip(all_distances(&index)) {
            assert!((kept - exact).abs() < 1e-6, "{kept} is kept, {exact} is true");
        }
        assert_eq!(kept.len(), index.len());
    }

    #[test]
    fn a_quantile_over_many_rows_is_close_to_the_one_over_all() {
        let (dim, n) = (8, 4_000);
        let index = Index::new(dim, 0, usize::MAX);
        for (ids, rows) in test_samples(0..n as u64)
            .chunks(64)
            .zip(test_embeddings(n, dim, 4).chunks(64 * dim))
        {
            index.add(ids, rows);
        }
        let all = all_distances(&index);
        for share in [0.1, 0.5, 0.9, 0.99] {
            let quantile = index.typical().quantile(all[(share * n as f32) as usize]);
            assert!((quantile - share).abs() < 0.05, "{quantile} is given for {share}");
        }
    }

    #[test]
    fn the_stranger_among_many_alike_is_the_most_novel() {
        let dim = 4;
        for n in [50u64, 5_000] {
            let index = Index::new(dim, 0, usize::MAX);
            let alike: Vec<f32> = test_embeddings(n as usize, dim, 5)
                .chunks(dim)
                .flat_map(|row| [1.0, 0.05 * row[1], 0.05 * row[2], 0.0])
                .collect();
            index.add(&test_samples(0..n), &unit(alike, dim));
            index.add(&test_samples([n]), &[0.0, 0.0, 0.0, 1.0]);
            let found = most_novel(&index, 3);
            assert_eq!((found.len(), found[0].0), (3, SampleId(n)));
            assert!(index.typical().quantile(0.9) > 0.97);
            assert!(index.typical().quantile(0.0) < 0.5);
        }
    }

    #[test]
    fn one_row_has_no_neighbours_and_no_novelty() {
        let index = Index::new(2, 0, usize::MAX);
        index.add(&test_samples([1]), &[1.0, 0.0]);
        assert!(most_novel(&index, 5).is_empty());
        assert_eq!(mean_distance(&[]), None);
    }

    fn unit(mut rows: Vec<f32>, dim: usize) -> Vec<f32> {
        for row in rows.chunks_mut(dim) {
            let norm = dot(row, row).sqrt();
            row.iter_mut().for_each(|value| *value /= norm);
        }
        rows
    }
}
