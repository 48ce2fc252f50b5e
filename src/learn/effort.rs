//! Compute follows progress: how many draws each arrival is granted. Surprised, learn hard; bored, sleep. Pure.
//! Always true: the effort is within 0 and 1; nobody is granted less than the least or more than the most draws for a
//! sample; what was granted is never taken back.
//!
//! Progress is read off the loss: two running means of it, a fast and a slow one; while the loss falls the fast one is
//! below the slow one, by more than chance makes of a loss that only scatters. Surprise is read off what is seen for the first time: its error over everything's. A drift that is
//! noticed counts as full surprise. Whatever is larger sets the effort; it falls slowly and rises at once.

use serde::{Deserialize, Serialize};

/// How much of the fast mean one step replaces: about the last fifty count.
const FAST: f64 = 0.02;

/// How much of the slow mean one step replaces: about the last four hundred count.
const SLOW: f64 = 0.0025;

/// The relative gap between the means from which the effort is full: the loss falls by a hundredth in some 350 steps.
const FULL_PROGRESS: f64 = 0.01;

/// The gap below which nothing is learnt any more, even where the loss does not scatter.
const NO_PROGRESS: f64 = 0.001;

/// The standard deviation of the difference of the means over that of the loss, where the loss only scatters:
/// `sqrt(f / (2 - f) + s / (2 - s) - 2 f s / (f + s - f s))`.
const SCATTER: f64 = 0.083;

/// First errors over all errors from which the effort is full, and below which arrivals are no news.
const FULL_SURPRISE: f64 = 1.3;
const NO_SURPRISE: f64 = 1.1;

/// What of the effort is left after one more arrival, where nothing asks for it: a half after 350.
const LINGERS: f64 = 0.998;

/// Steps before the means say anything.
const STEPS_MIN: u64 = 400;

/// Effort, and what it granted so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Effort {
    fast: f64,
    slow: f64,
    /// Of the loss around the fast mean.
    #[serde(default)]
    variance: f64,
    steps: u64,
    share: f64,
    /// Arrivals that were accounted for.
    arrived: u64,
    /// Draws that were granted for them.
    granted: f64,
    /// Drifts that were noticed by then.
    drifts: u64,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            fast: 0.0,
            slow: 0.0,
            variance: 0.0,
            steps: 0,
            share: 1.0,
            arrived: 0,
            granted: 0.0,
            drifts: 0,
        }
    }
}

impl Effort {
    /// The share of the most draws that an arrival is granted now, 0 to 1.
    pub(super) fn share(&self) -> f64 {
        self.share
    }

    /// Draws granted so far.
    #[cfg(test)]
    fn granted(&self) -> f64 {
        self.granted
    }

    /// Whether so many draws in all are within what was granted, given the least and the most for each arrival.
    pub(super) fn allows(&self, drawn: u64, (_, most): (f64, f64)) -> bool {
        // Half a draw for what adding up thousands of shares loses.
        most == 0.0 || drawn as f64 <= self.granted + 0.5
    }

    /// A step was taken at this loss.
    pub(super) fn step(&mut self, loss: f64) {
        if !loss.is_finite() {
            return;
        }
        // The plain mean at first, so that the first losses do not linger.
        let rate = |rate: f64| rate.max(1.0 / (self.steps + 1) as f64);
        let off = loss - self.fast;
        self.fast += rate(FAST) * off;
        if self.steps > 0 {
            self.variance += rate(FAST) * (off * off - self.variance);
        }
        self.slow += rate(SLOW) * (loss - self.slow);
        self.steps += 1;
    }

    /// So many samples have arrived by now, for life; each since the last time is granted between `least` and `most`
    /// draws. `surprise`: the error of what is seen for the first time over that of everything; `drifts`: how
    /// often a drift of the stream was noticed, for life.
    pub(super) fn arrive(&mut self, arrived: u64, (least, most): (f64, f64), surprise: Option<f64>, drifts: u64) {
        let new = arrived.saturating_sub(self.arrived);
        self.arrived = arrived;
        let has_drifted = drifts > self.drifts;
        self.drifts = drifts;
        let wanted = if has_drifted {
            1.0
        } else {
            self.progress().max(surprise.map_or(0.0, news))
        };
        for _ in 0..new {
            self.share = wanted.max(self.share * LINGERS);
            self.granted += least + self.share * (most - least);
        }
        if wanted > self.share {
            self.share = wanted;
        }
    }

    /// How fast the loss falls, 0 (not) to 1 (full).
    fn progress(&self) -> f64 {
        if self.steps < STEPS_MIN {
            return 1.0;
        }
        let loss = self.slow.abs().max(f64::MIN_POSITIVE);
        let chance = SCATTER * self.variance.max(0.0).sqrt() / loss;
        let gap = (self.slow - self.fast) / loss - chance.max(NO_PROGRESS);
        (gap / (FULL_PROGRESS - NO_PROGRESS)).clamp(0.0, 1.0)
    }
}

/// How new what arrives is, 0 (not) to 1 (all of it).
fn news(surprise: f64) -> f64 {
    ((surprise - NO_SURPRISE) / (FULL_SURPRISE - NO_SURPRISE)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: (f64, f64) = (2.0, 20.0);

    /// An effort after many steps of a loss that no longer falls, and of arrivals that are no news.
    fn bored() -> Effort {
        let mut effort = Effort::default();
        (0..4_000).for_each(|step| effort.step(3.0 + 0.05 * f64::from(step % 7 - 3)));
        effort.arrive(5_000, BOUNDS, Some(1.0), 0);
        effort
    }

    #[test]
    fn while_the_loss_falls_each_arrival_is_granted_the_most() {
        let mut effort = Effort::default();
        for step in 0..2_000u64 {
            effort.step(5.0 - step as f64 * 0.001);
            effort.arrive(step, BOUNDS, Some(1.0), 0);
        }
        assert!((effort.granted() - 1_999.0 * 20.0).abs() < 1e-6, "{effort:?}");
    }

    #[test]
    fn a_bored_learner_is_granted_less_than_half_and_never_less_than_the_least() {
        let mut effort = bored();
        assert!(effort.share() < 0.1, "{effort:?}");
        let before = effort.granted();
        effort.arrive(6_000, BOUNDS, None, 0);
        let each = (effort.granted() - before) / 1_000.0;
        assert!((2.0..5.0).contains(&each), "{each}");
    }

    #[test]
    fn a_loss_that_only_scatters_is_no_progress_however_much_it_does() {
        let mut rng = crate::rng::for_step(9, 0, 0);
        let mut effort = Effort::default();
        let (mut shares, mut asked) = (0.0, 0.0);
        for step in 0..20_000u64 {
            effort.step(2.0 + crate::rng::unit(&mut rng) - 0.5);
            effort.arrive(step, BOUNDS, Some(1.0), 0);
            if step > 4_000 {
                (shares, asked) = (shares + effort.progress(), asked + 1.0);
            }
        }
        assert!(shares / asked < 0.15, "{}", shares / asked);
    }

    #[test]
    fn news_or_a_drift_bring_the_full_effort_back_at_once() {
        for (surprise, drifts) in [(Some(1.5), 0), (None, 1)] {
            let mut effort = bored();
            effort.arrive(5_001, BOUNDS, surprise, drifts);
            assert_eq!(effort.share(), 1.0);
        }
    }

    #[test]
    fn what_was_granted_is_not_taken_back_and_nobody_is_paid_twice() {
        let mut effort = bored();
        let before = effort.granted();
        effort.arrive(5_000, BOUNDS, None, 1);
        effort.arrive(4_000, BOUNDS, None, 1);
        assert_eq!(effort.granted(), before);
    }

    #[test]
    fn draws_are_allowed_up_to_what_was_granted_and_without_a_bound_always() {
        let mut effort = Effort::default();
        effort.arrive(10, (2.0, 2.0), None, 0);
        assert!(effort.allows(20, (2.0, 2.0)) && !effort.allows(21, (2.0, 2.0)));
        assert!(effort.allows(u64::MAX, (0.0, 0.0)));
    }

    #[test]
    fn a_loss_that_is_no_number_says_nothing() {
        let mut effort = bored();
        let before = effort;
        effort.step(f64::NAN);
        assert_eq!(effort, before);
    }
}
