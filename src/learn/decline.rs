//! Is the network declining? Collapse (all pictures look alike) and lost plasticity (units that no longer answer) are seen
//! in its health before the exam shows them. Pure.
//! Always true: one odd measurement changes nothing; only several in a row call for a remedy.

use serde::{Deserialize, Serialize};

use super::Health;

/// Measurements before there is a trend: contrastive training takes the rank down at first, and up again.
const TREND_MIN: u32 = 10;

/// How much of the trend one sound measurement replaces.
const TREND_RATE: f64 = 0.05;

/// Below this share of the trend the spread, or the rank, is that of a collapse.
const SPREAD_SHARE: f64 = 0.1;
const RANK_SHARE: f64 = 0.5;

/// Share of dormant units from which too much plasticity is lost.
const DORMANT_SHARE: f64 = 0.5;

/// Measurements in a row that call for a remedy.
const IN_A_ROW: u32 = 3;

/// Measurements after one shrinking before the next.
const SHRUNK_PAUSE: u32 = 100;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing.
    None,
    /// Student, teacher and optimiser go back to a checkpoint from before the collapse.
    Restore,
    /// The student's weights are shrunk towards fresh ones (Ash and Adams 2020).
    ShrinkAndPerturb,
}

/// What a network's health was, and for how long it has been declining.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Decline {
    measured: u32,
    spread: f64,
    rank: f64,
    collapsing: u32,
    stiffening: u32,
    since_shrunk: u32,
}

impl Decline {
    /// Whether the newest measurement was that of a collapse: what is kept now is not to be gone back to.
    pub(super) fn is_suspect(&self) -> bool {
        self.collapsing > 0
    }

    /// Takes over a measurement.
    pub(super) fn observe(&mut self, health: &Health) -> Remedy {
        self.since_shrunk = self.since_shrunk.saturating_add(1);
        let has_trend = self.measured >= TREND_MIN;
        let low = |own: f64, trend: f64, share: f64| !own.is_finite() || own < share * trend;
        let collapsed =
            has_trend && (low(health.spread, self.spread, SPREAD_SHARE) || low(health.rank, self.rank, RANK_SHARE));
        if collapsed {
            self.collapsing += 1;
            if self.collapsing >= IN_A_ROW {
                self.collapsing = 0;
                return Remedy::Restore;
            }
            return Remedy::None;
        }
        self.collapsing = 0;
        let rate = TREND_RATE.max(1.0 / f64::from(self.measured.saturating_add(1)));
        self.spread += rate * (health.spread - self.spread);
        self.rank += rate * (health.rank - self.rank);
        self.measured = self.measured.saturating_add(1);
        self.stiffening = if health.dormant > DORMANT_SHARE {
            self.stiffening + 1
        } else {
            0
        };
        if self.stiffening >= IN_A_ROW && (self.since_shrunk > SHRUNK_PAUSE || self.measured == self.since_shrunk) {
            (self.stiffening, self.since_shrunk) = (0, 0);
            return Remedy::ShrinkAndPerturb;
        }
        Remedy::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(spread: f64, rank: f64, dormant: f64) -> Health {
        Health {
            rank,
            spread,
            weight_norm: 10.0,
            dormant,
        }
    }

    fn sound() -> Decline {
        let mut decline = Decline::default();
        for _ in 0..20 {
            assert_eq!(decline.observe(&health(0.8, 40.0, 0.1)), Remedy::None);
        }
        decline
    }

    #[test]
    fn three_collapsed_measurements_in_a_row_call_for_a_checkpoint_from_before() {
        for bad in [
            health(0.05, 40.0, 0.1),
            health(0.8, 10.0, 0.1),
            health(0.8, f64::NAN, 0.1),
        ] {
            let mut decline = sound();
            assert_eq!(decline.observe(&bad), Remedy::None);
            assert!(decline.is_suspect());
            assert_eq!(decline.observe(&bad), Remedy::None);
            assert_eq!(decline.observe(&health(0.8, 40.0, 0.1)), Remedy::None);
            assert!(!decline.is_suspect());
            assert_eq!(
                (decline.observe(&bad), decline.observe(&bad)),
                (Remedy::None, Remedy::None)
            );
            assert_eq!(decline.observe(&bad), Remedy::Restore);
        }
    }

    #[test]
    fn the_fall_of_the_rank_in_the_first_steps_is_no_collapse() {
        let mut decline = Decline::default();
        for rank in [22.0, 15.0, 7.0, 6.6, 6.8, 8.0, 12.0, 20.0, 30.0, 35.0, 40.0] {
            assert_eq!(decline.observe(&health(0.5, rank, 0.1)), Remedy::None, "at {rank}");
        }
    }

    #[test]
    fn dormant_units_call_for_shrinking_once_and_not_again_at_once() {
        let mut decline = sound();
        let calls = (0..90).filter(|_| decline.observe(&health(0.8, 40.0, 0.7)) == Remedy::ShrinkAndPerturb);
        assert_eq!(calls.count(), 1);
    }

    #[test]
    fn a_slow_decline_moves_the_trend() {
        let mut decline = sound();
        for step in 0..200 {
            assert_eq!(
                decline.observe(&health(0.8, 40.0 - 0.1 * f64::from(step), 0.1)),
                Remedy::None
            );
        }
    }
}
