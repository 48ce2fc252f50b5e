//! What to label next: three ways to choose from a pool of rows.
//! Invariant: nothing is chosen twice; the same pool and seed give the same choice.

use super::cluster::{ROUNDS, k_means};
use super::head::Head;
use crate::rng;

/// Rows that are chosen from, at most. Who has more takes so many by lot.
pub const POOL_MAX: usize = 20_000;

/// Pairs of rows that one choice compares, about: a few seconds at 256 numbers a row.
pub const PAIRS_MAX: usize = 40_000_000;

/// Clusters of `typical`, at most (as its authors').
const CLUSTERS_MAX: usize = 500;

/// Nearest rows that typicality is the inverse mean distance to.
const TYPICAL_NEAREST: usize = 20;

/// Rows of a cluster that are compared with each other; of a larger one so many by lot.
const TYPICAL_ROWS_MAX: usize = 2_000;

/// A cluster of fewer is chosen from after the others: what is in it is rather strange than typical (as its authors').
const TYPICAL_CLUSTER_MIN: usize = 5;

/// What is chosen from.
pub struct Pool<'a> {
    /// Rows without a label, unit length.
    pub candidates: Vec<&'a [f32]>,
    /// Those that have one.
    pub labelled: Vec<&'a [f32]>,
}

impl Pool<'_> {
    /// How many candidates a choice of `n` by [`typical`] or [`diverse`] may have within [`PAIRS_MAX`]; `labelled`: rows that have
    /// a label.
    pub fn room(labelled: usize, n: usize) -> usize {
        let compared = (labelled + n).clamp(1, CLUSTERS_MAX) * (ROUNDS + 1);
        (PAIRS_MAX / compared).min(POOL_MAX)
    }
}

/// `n` typical rows, each from another cluster as long as there are clusters without a label, and its typicality (TypiClust,
/// Hacohen et al. 2022): k-means into `labelled + n` clusters, then of the largest that has no label the row with the smallest
/// mean distance to its 20 nearest. As in the authors' program, the nearest are those of its own cluster, there are 500 clusters
/// at most, and small clusters come last; when every cluster has a label, those with the fewest come first.
pub fn typical(pool: &Pool<'_>, n: usize, seed: u64) -> Vec<(usize, f64)> {
    let mut rng = rng::for_step(seed, 0, 0);
    let unlabelled = pool.candidates.len();
    let n = n.min(unlabelled);
    if n == 0 {
        return Vec::new();
    }
    let rows: Vec<&[f32]> = pool.candidates.iter().chain(&pool.labelled).copied().collect();
    let k = (pool.labelled.len() + n).min(CLUSTERS_MAX).min(rows.len());
    let clusters = k_means(&rows, k, &mut rng);
    let mut found: Vec<Cluster> = (0..k).map(|_| Cluster::default()).collect();
    for (row, cluster) in clusters.into_iter().enumerate() {
        let cluster = &mut found[cluster];
        cluster.size += 1;
        match row < unlabelled {
            true => cluster.rows.push(row),
            false => cluster.labels += 1,
        }
    }
    let mut chosen = Vec::with_capacity(n);
    while chosen.len() < n {
        let rank = |cluster: &&mut Cluster| {
            (
                cluster.labels,
                cluster.size < TYPICAL_CLUSTER_MIN,
                usize::MAX - cluster.size,
            )
        };
        let Some(cluster) = found
            .iter_mut()
            .filter(|cluster| !cluster.rows.is_empty())
            .min_by_key(rank)
        else {
            break;
        };
        if cluster.typicality.is_none() {
            cluster.typicality = Some(typicality(&pool.candidates, &mut cluster.rows, &mut rng));
        }
        cluster.labels += 1;
        let most = cluster.typicality.as_mut().and_then(Vec::pop);
        match most {
            Some((row, typicality)) => {
                cluster.rows.retain(|other| *other != row);
                chosen.push((row, typicality));
            }
            None => cluster.rows.clear(),
        }
    }
    chosen
}

#[derive(Default)]
struct Cluster {
    size: usize,
    labels: usize,
    /// The candidates in it.
    rows: Vec<usize>,
    /// Of those, or of some by lot: how typical each is, the most typical last.
    typicality: Option<Vec<(usize, f64)>>,
}

fn typicality(candidates: &[&[f32]], rows: &mut Vec<usize>, rng: &mut rng::Rng) -> Vec<(usize, f64)> {
    if rows.len() > TYPICAL_ROWS_MAX {
        for at in 0..TYPICAL_ROWS_MAX {
            let other = at + rng::below(rng, rows.len() - at);
            rows.swap(at, other);
        }
        rows.truncate(TYPICAL_ROWS_MAX);
        rows.sort_unstable();
    }
    let of = |row: usize| {
        let others = rows.iter().filter(|other| **other != row);
        let mut distances: Vec<f32> = others
            .map(|other| squared_distance(candidates[row], candidates[*other]).sqrt())
            .collect();
        let near = TYPICAL_NEAREST.min(distances.len());
        if near == 0 {
            return 0.0;
        }
        distances.select_nth_unstable_by(near - 1, f32::total_cmp);
        let mean = distances[..near]
            .iter()
            .map(|distance| f64::from(*distance))
            .sum::<f64>()
            / near as f64;
        1.0 / mean.max(1e-9)
    };
    let mut typical: Vec<(usize, f64)> = rows.iter().map(|row| (*row, of(*row))).collect();
    typical.sort_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
    typical
}

/// `n` rows that cover the pool, each the farthest from those that have a label or were chosen, and that distance (k-center
/// greedy; Sener and Savarese 2018). Where nothing has a label the first is the one nearest to the mean; its distance is 0.
pub fn diverse(pool: &Pool<'_>, n: usize) -> Vec<(usize, f64)> {
    let mut chosen = Vec::with_capacity(n.min(pool.candidates.len()));
    let mut distances = vec![f32::INFINITY; pool.candidates.len()];
    let cover = |distances: &mut [f32], by: &[f32]| {
        for (distance, row) in distances.iter_mut().zip(&pool.candidates) {
            *distance = distance.min(squared_distance(row, by));
        }
    };
    for row in &pool.labelled {
        cover(&mut distances, row);
    }
    if pool.labelled.is_empty()
        && n > 0
        && let Some(first) = nearest_to_mean(&pool.candidates)
    {
        chosen.push((first, 0.0));
        cover(&mut distances, pool.candidates[first]);
        distances[first] = f32::NEG_INFINITY;
    }
    while chosen.len() < n.min(pool.candidates.len()) {
        let mut farthest = 0;
        for (row, distance) in distances.iter().enumerate() {
            if *distance > distances[farthest] {
                farthest = row;
            }
        }
        chosen.push((farthest, f64::from(distances[farthest].max(0.0)).sqrt()));
        cover(&mut distances, pool.candidates[farthest]);
        distances[farthest] = f32::NEG_INFINITY;
    }
    chosen
}

fn nearest_to_mean(rows: &[&[f32]]) -> Option<usize> {
    let mut mean = vec![0f64; rows.first()?.len()];
    for row in rows {
        mean.iter_mut()
            .zip(*row)
            .for_each(|(mean, value)| *mean += f64::from(*value));
    }
    let mean: Vec<f32> = mean.iter().map(|sum| (sum / rows.len() as f64) as f32).collect();
    let distances: Vec<f32> = rows.iter().map(|row| squared_distance(row, &mean)).collect();
    (0..rows.len()).min_by(|a, b| distances[*a].total_cmp(&distances[*b]))
}

/// The `n` rows that a classifier wavers about most, and by how much its first answer is ahead of its second, the least first
/// (margin sampling; Scheffer et al. 2001).
pub fn uncertain(pool: &Pool<'_>, head: &Head, n: usize) -> Vec<(usize, f64)> {
    let margin = |row: &[f32]| {
        let (mut first, mut second) = (0.0, 0.0);
        for probability in head.probabilities(row) {
            if probability > first {
                (first, second) = (probability, first);
            } else if probability > second {
                second = probability;
            }
        }
        first - second
    };
    let mut margins: Vec<(usize, f64)> = pool.candidates.iter().map(|row| margin(row)).enumerate().collect();
    margins.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    margins.truncate(n);
    margins
}

/// The square of the distance, in eight partial sums that the compiler turns into vector instructions.
pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0f32; 8];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..8 {
            let apart = a[lane] - b[lane];
            sums[lane] += apart * apart;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum();
    sums.iter().sum::<f32>() + rest
}
