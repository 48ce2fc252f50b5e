//! k-means on rows: Lloyd's algorithm from k-means++ (Arthur and Vassilvitskii 2007).
//! Invariant: the same rows, count and generator give the same clusters; every row is in one.

use super::queue::squared_distance;
use crate::rng::{self, Rng};

/// Rounds of Lloyd's algorithm. The clusters only have to cover what is held, not to be the best.
pub(super) const ROUNDS: usize = 10;

/// The cluster of each row, below `k`; some of them may be empty.
pub(super) fn k_means(rows: &[&[f32]], k: usize, rng: &mut Rng) -> Vec<usize> {
    let mut centres = first_centres(rows, k, rng);
    let mut clusters = vec![0; rows.len()];
    for _ in 0..ROUNDS {
        let mut moved = false;
        for (row, cluster) in rows.iter().zip(&mut clusters) {
            let nearest = nearest(row, &centres);
            moved |= *cluster != nearest;
            *cluster = nearest;
        }
        if !moved {
            break;
        }
        let mut sums = vec![(vec![0f64; rows[0].len()], 0usize); centres.len()];
        for (row, cluster) in rows.iter().zip(&clusters) {
            let (sum, count) = &mut sums[*cluster];
            sum.iter_mut()
                .zip(*row)
                .for_each(|(sum, value)| *sum += f64::from(*value));
            *count += 1;
        }
        for (centre, (sum, count)) in centres.iter_mut().zip(sums).filter(|(_, (_, count))| *count > 0) {
            *centre = sum.iter().map(|sum| (sum / count as f64) as f32).collect();
        }
    }
    clusters
}

fn nearest(row: &[f32], centres: &[Vec<f32>]) -> usize {
    let mut best = (f32::INFINITY, 0);
    for (at, centre) in centres.iter().enumerate() {
        let distance = squared_distance(row, centre);
        if distance < best.0 {
            best = (distance, at);
        }
    }
    best.1
}

/// Each drawn with the square of its distance to those before. Fewer than `k` where all rows are centres.
fn first_centres(rows: &[&[f32]], k: usize, rng: &mut Rng) -> Vec<Vec<f32>> {
    let mut centres: Vec<Vec<f32>> = Vec::with_capacity(k);
    let mut distances = vec![f32::INFINITY; rows.len()];
    let mut next = Some(rng::below(rng, rows.len()));
    while let Some(row) = next.filter(|row| *row < rows.len() && centres.len() < k) {
        centres.push(rows[row].to_vec());
        for (distance, other) in distances.iter_mut().zip(rows) {
            *distance = distance.min(squared_distance(other, rows[row]));
        }
        let total: f64 = distances.iter().map(|distance| f64::from(*distance)).sum();
        let mut left = rng::unit(rng) * total;
        next = distances.iter().position(|distance| {
            left -= f64::from(*distance);
            left < 0.0 && *distance > 0.0
        });
    }
    centres
}
