//! Quantiles: where a number stands among the newest of its kind, so that signals of any scale compare.
//! Invariant: of at most [`NEWEST_MAX`] numbers, all of them finite, the ranks are exact.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::packed;

/// Numbers that a rank is taken among. The oldest goes when one comes: what a rank means follows the stream.
pub(super) const NEWEST_MAX: usize = 4_096;

/// The newest numbers of a stream of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Newest", into = "Newest")]
pub struct Quantiles {
    newest: VecDeque<f32>,
    sorted: Vec<f32>,
}

impl Quantiles {
    /// The rank where there is nothing to compare with.
    pub const UNKNOWN: f64 = 0.5;

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The rank of a number among the newest ones, 0 to 1; of its equals it is in the middle.
    pub fn rank(&self, value: f32) -> f64 {
        if self.sorted.is_empty() || value.is_nan() {
            return Self::UNKNOWN;
        }
        let below = self.sorted.partition_point(|other| *other < value);
        let not_above = self.sorted.partition_point(|other| *other <= value);
        (below + not_above) as f64 / (2 * self.sorted.len()) as f64
    }

    /// The rank of a number among those before it; then it is one of them. What is not finite is none.
    pub fn observe(&mut self, value: f32) -> f64 {
        let rank = self.rank(value);
        if !value.is_finite() {
            return rank;
        }
        let at = self.sorted.partition_point(|other| *other <= value);
        self.sorted.insert(at, value);
        self.newest.push_back(value);
        if self.newest.len() > NEWEST_MAX
            && let Some(oldest) = self.newest.pop_front()
        {
            let at = self.sorted.partition_point(|other| *other < oldest);
            self.sorted.remove(at);
        }
        rank
    }
}

/// What is kept of quantiles: the numbers, oldest first.
#[derive(Serialize, Deserialize)]
struct Newest(#[serde(with = "packed")] Vec<f32>);

impl From<Quantiles> for Newest {
    fn from(quantiles: Quantiles) -> Self {
        Self(quantiles.newest.into())
    }
}

impl From<Newest> for Quantiles {
    fn from(Newest(numbers): Newest) -> Self {
        let mut newest: VecDeque<f32> = numbers.into_iter().filter(|number| number.is_finite()).collect();
        newest.drain(..newest.len().saturating_sub(NEWEST_MAX));
        let mut sorted: Vec<f32> = newest.iter().copied().collect();
        sorted.sort_by(f32::total_cmp);
        Self { newest, sorted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_ranks_among_the_newest_only() {
        let mut quantiles = Quantiles::default();
        assert_eq!(quantiles.observe(5.0), Quantiles::UNKNOWN);
        for n in 0..NEWEST_MAX {
            quantiles.observe(n as f32);
        }
        assert_eq!(quantiles.len(), NEWEST_MAX);
        assert_eq!((quantiles.rank(1e9), quantiles.rank(-1.0)), (1.0, 0.0));
        assert!((quantiles.rank(NEWEST_MAX as f32 / 4.0) - 0.25).abs() < 0.001);
    }

    #[test]
    fn equals_share_the_middle_of_their_place_and_what_is_no_number_changes_nothing() {
        let mut quantiles = Quantiles::default();
        for _ in 0..100 {
            quantiles.observe(0.3);
        }
        assert_eq!(quantiles.observe(0.3), 0.5);
        let before = quantiles.clone();
        assert_eq!(quantiles.observe(f32::NAN), Quantiles::UNKNOWN);
        assert_eq!(quantiles.observe(f32::INFINITY), 1.0);
        assert_eq!(quantiles, before);
    }

    #[test]
    fn quantiles_read_back_as_they_were_kept() {
        let mut quantiles = Quantiles::default();
        for n in 0..6_000u32 {
            quantiles.observe((n.wrapping_mul(2_654_435_761) >> 8) as f32 * 1.1e-7);
        }
        let text = serde_json::to_string(&quantiles).unwrap();
        assert_eq!(serde_json::from_str::<Quantiles>(&text).unwrap(), quantiles);
    }
}
