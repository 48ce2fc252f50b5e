//! How far two spaces agree about the same samples, by who is near whom in each.
//! Always true: 1 where both are one space turned or mirrored; nothing is compared across spaces but neighbours and cosines.

use super::index::dot;

/// Rows of one space: a sample each, of unit length.
pub(super) struct Rows {
    /// Numbers of a row.
    pub(super) dim: usize,
    /// The rows, one after the other.
    pub(super) values: Vec<f32>,
}

/// What two spaces say of the same samples.
#[derive(Debug, PartialEq)]
pub(super) struct Agreement {
    /// How many neighbours of each sample were looked at: fewer than asked for where there are too few samples.
    pub(super) neighbours: usize,
    /// Of each sample the share of its nearest neighbours in the one space that are so in the other, 0 to 1.
    pub(super) overlaps: Vec<f32>,
    /// How the cosines of pairs go together in both, -1 to 1 (Kriegeskorte et al. 2008, Pearson's in place of Spearman's
    /// correlation). None where a space says the same of all pairs.
    pub(super) structure: Option<f64>,
}

/// Compares two spaces by as many rows of each, those of the same samples. `k`: neighbours of each.
pub(super) fn agreement(one: &Rows, other: &Rows, k: usize) -> Agreement {
    let count = one.len().min(other.len());
    let neighbours = k.min(count.saturating_sub(1));
    let mut overlaps = Vec::with_capacity(count);
    let mut pairs = Pairs::default();
    for at in 0..count {
        let (near, other_near) = (one.cosines(at, count), other.cosines(at, count));
        for to in 0..at {
            pairs.take(near[to].into(), other_near[to].into());
        }
        let (near, other_near) = (nearest(&near, at, neighbours), nearest(&other_near, at, neighbours));
        let shared = near.iter().filter(|neighbour| other_near.contains(neighbour)).count();
        overlaps.push(shared as f32 / neighbours.max(1) as f32);
    }
    Agreement {
        neighbours,
        overlaps,
        structure: pairs.correlation(),
    }
}

impl Rows {
    fn len(&self) -> usize {
        self.values.len() / self.dim.max(1)
    }

    fn row(&self, at: usize) -> &[f32] {
        &self.values[at * self.dim..][..self.dim]
    }

    /// Of a row to the first `count`.
    fn cosines(&self, at: usize, count: usize) -> Vec<f32> {
        (0..count).map(|to| dot(self.row(at), self.row(to))).collect()
    }
}

/// The rows with the largest cosines, but the row itself; of two with one cosine the first.
fn nearest(cosines: &[f32], own: usize, count: usize) -> Vec<usize> {
    let mut others: Vec<usize> = (0..cosines.len()).filter(|at| *at != own).collect();
    let order = |a: &usize, b: &usize| cosines[*b].total_cmp(&cosines[*a]).then(a.cmp(b));
    if count < others.len() {
        others.select_nth_unstable_by(count, order);
    }
    others.truncate(count);
    others
}

/// Running moments of pairs of numbers (Welford 1962).
#[derive(Default)]
struct Pairs {
    count: f64,
    means: [f64; 2],
    squares: [f64; 2],
    product: f64,
}

impl Pairs {
    fn take(&mut self, x: f64, y: f64) {
        self.count += 1.0;
        let off = [x - self.means[0], y - self.means[1]];
        self.means[0] += off[0] / self.count;
        self.means[1] += off[1] / self.count;
        self.squares[0] += off[0] * (x - self.means[0]);
        self.squares[1] += off[1] * (y - self.means[1]);
        self.product += off[0] * (y - self.means[1]);
    }

    fn correlation(&self) -> Option<f64> {
        // Less than rounding makes of cosines that are all alike.
        let varies = |square: f64| square > 1e-12 * self.count;
        let both = self.squares.iter().all(|square| varies(*square));
        both.then(|| (self.product / (self.squares[0] * self.squares[1]).sqrt()).clamp(-1.0, 1.0))
    }
}

/// The number below which this share of them lies, between neighbours by their distance; NaN of none.
pub(super) fn quantile(sorted: &[f32], share: f64) -> f32 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f32::NAN;
    };
    let place = share * last as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    let part = (place - place.floor()) as f32;
    sorted[below] + part * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::test_embeddings;

    fn rows(count: usize, dim: usize, seed: u64) -> Rows {
        Rows {
            dim,
            values: test_embeddings(count, dim, seed),
        }
    }

    fn mean(overlaps: &[f32]) -> f32 {
        overlaps.iter().sum::<f32>() / overlaps.len() as f32
    }

    #[test]
    fn a_space_agrees_with_itself_mirrored_and_with_its_numbers_in_another_order() {
        let one = rows(200, 24, 1);
        let turned = Rows {
            dim: 24,
            values: one
                .values
                .chunks(24)
                .flat_map(|row| row.iter().rev().map(|value| -value))
                .collect(),
        };
        let agreement = agreement(&one, &turned, 10);
        assert_eq!((agreement.neighbours, agreement.overlaps.len()), (10, 200));
        assert!(mean(&agreement.overlaps) > 0.999, "{}", mean(&agreement.overlaps));
        assert!(agreement.structure.unwrap() > 0.999_99);
    }

    #[test]
    fn spaces_that_know_nothing_of_each_other_share_neighbours_by_chance() {
        let agreement = agreement(&rows(400, 24, 1), &rows(400, 48, 2), 10);
        let mean = mean(&agreement.overlaps);
        assert!((mean - 10.0 / 399.0).abs() < 0.01, "{mean}");
        assert!(agreement.structure.unwrap().abs() < 0.05, "{:?}", agreement.structure);
    }

    #[test]
    fn the_sample_that_moved_shares_the_fewest_neighbours() {
        let one = rows(300, 24, 1);
        let mut other = Rows {
            dim: 24,
            values: one.values.clone(),
        };
        let away: Vec<f32> = other.values[7 * 24..8 * 24].iter().map(|value| -value).collect();
        other.values[7 * 24..8 * 24].copy_from_slice(&away);
        let agreement = agreement(&one, &other, 10);
        let least = (0..300).min_by(|a, b| agreement.overlaps[*a].total_cmp(&agreement.overlaps[*b]));
        assert_eq!(least, Some(7));
        assert_eq!(agreement.overlaps[7], 0.0);
        assert!(mean(&agreement.overlaps) > 0.95);
        assert!(agreement.structure.unwrap() > 0.9);
    }

    #[test]
    fn of_few_samples_fewer_neighbours_are_looked_at_and_of_none_nothing_is_said() {
        let few = agreement(&rows(4, 8, 1), &rows(4, 8, 1), 10);
        assert_eq!((few.neighbours, few.overlaps.as_slice()), (3, [1.0; 4].as_slice()));
        for count in [0, 1] {
            let none = agreement(&rows(count, 8, 1), &rows(count, 8, 1), 10);
            assert_eq!((none.neighbours, none.structure), (0, None));
        }
        let same = Rows {
            dim: 2,
            values: [1.0, 0.0].repeat(20),
        };
        assert_eq!(agreement(&same, &rows(20, 2, 1), 5).structure, None);
    }

    #[test]
    fn quantiles_lie_between_what_is_there() {
        let sorted = [0.0, 0.25, 0.5, 1.0];
        let shares = [0.0, 0.5, 1.0].map(|share| quantile(&sorted, share));
        assert_eq!(shares, [0.0, 0.375, 1.0]);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
