//! Curiosity: what a sample's prediction error says about how soon it should be replayed. Pure: signals in, a priority out.
//! Invariant: a priority is finite and above zero, so that no live sample can become undrawable.

use std::collections::VecDeque;

/// How much a sample wants to be replayed. Finite, above zero, below [`Priority::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Priority(f64);

/// What every sample has, whatever its signals.
const FLOOR: f64 = 0.01;

/// Each visit leaves this share of the wish to visit again (Curious Replay, Kauvar et al. 2023).
const VISIT_DECAY: f64 = 0.7;

/// Steps of the integer weights that sum trees add: sums of integers do not depend on the order of adding, so that
/// a draw is the same whatever the history of the tree.
const WEIGHT_STEPS: f64 = (1u32 << 20) as f64;

/// Errors that the ranks are taken among.
const ERRORS_MAX: usize = 512;

impl Priority {
    /// No priority is above it.
    pub const MAX: f64 = 16.0;

    /// The priority of a sample that was replayed `visits` times and whose newest error has the rank `rank`, 0 to 1.
    ///
    /// `floor + 0.7^visits + rank`: the count term of Curious Replay (Kauvar et al. 2023, eq. 1), and the error's rank
    /// in place of its power, so that errors of any scale compare. The terms of progress and age join it with their signals.
    pub fn new(visits: u32, rank: f64) -> Self {
        let fresh = VISIT_DECAY.powi(i32::try_from(visits).unwrap_or(i32::MAX));
        Self((FLOOR + fresh + rank.clamp(0.0, 1.0)).min(Self::MAX))
    }

    /// The priority as a number.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The priority as the integer weight of a sum tree, at least 1.
    pub fn weight(self) -> u32 {
        ((self.0 * WEIGHT_STEPS) as u32).max(1)
    }

    /// The priority whose weight this is.
    pub fn from_weight(weight: u32) -> Self {
        Self((f64::from(weight.max(1)) / WEIGHT_STEPS).min(Self::MAX))
    }
}

/// The rank of an error among the newest errors: a running quantile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorRanks {
    newest: VecDeque<f32>,
    sorted: Vec<f32>,
}

impl ErrorRanks {
    /// The rank of a sample that has no error yet, or that is the first to have one.
    pub const UNKNOWN: f64 = 0.5;

    /// The rank of `error` among the newest errors, 0 to 1; then it is one of them. `error` must not be NaN.
    pub fn observe(&mut self, error: f32) -> f64 {
        let below = self.sorted.partition_point(|other| *other < error);
        let not_above = self.sorted.partition_point(|other| *other <= error);
        let rank = match self.sorted.len() {
            0 => Self::UNKNOWN,
            count => (below + not_above) as f64 / (2 * count) as f64,
        };
        self.sorted.insert(not_above, error);
        self.newest.push_back(error);
        if self.newest.len() > ERRORS_MAX
            && let Some(oldest) = self.newest.pop_front()
        {
            let at = self.sorted.partition_point(|other| *other < oldest);
            self.sorted.remove(at);
        }
        rank
    }

    /// The newest errors, oldest first: all there is to keep.
    pub fn errors(&self) -> impl Iterator<Item = f32> + '_ {
        self.newest.iter().copied()
    }

    /// The ranks after these errors. What is not finite is left out.
    pub fn from_errors(errors: impl IntoIterator<Item = f32>) -> Self {
        let mut ranks = Self::default();
        for error in errors.into_iter().filter(|error| error.is_finite()) {
            ranks.observe(error);
        }
        ranks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_wants_less_with_each_visit_and_never_nothing() {
        let of = |visits| Priority::new(visits, 0.0).get();
        assert!(of(0) > of(1) && of(1) > of(8));
        assert!(of(u32::MAX) >= FLOOR);
        assert!(Priority::new(u32::MAX, f64::MAX).get() <= Priority::MAX);
    }

    #[test]
    fn a_larger_error_wants_more() {
        assert!(Priority::new(3, 0.9).get() > Priority::new(3, 0.1).get());
    }

    #[test]
    fn a_priority_survives_its_weight() {
        let priority = Priority::new(2, 0.3);
        assert_eq!(Priority::from_weight(priority.weight()).weight(), priority.weight());
        assert_eq!(Priority::from_weight(0).weight(), 1);
    }

    #[test]
    fn an_error_ranks_among_the_newest_errors_only() {
        let mut ranks = ErrorRanks::default();
        assert_eq!(ranks.observe(5.0), ErrorRanks::UNKNOWN);
        for n in 0..ERRORS_MAX {
            ranks.observe(n as f32);
        }
        assert_eq!(ranks.errors().count(), ERRORS_MAX);
        assert_eq!(ranks.observe(1e9), 1.0);
        assert_eq!(ranks.observe(-1.0), 0.0);
    }

    #[test]
    fn ranks_read_back_as_they_were_kept() {
        let mut ranks = ErrorRanks::default();
        for n in 0..1_000u32 {
            ranks.observe((n.wrapping_mul(2_654_435_761) >> 8) as f32);
        }
        assert_eq!(ErrorRanks::from_errors(ranks.errors()), ranks);
    }
}
