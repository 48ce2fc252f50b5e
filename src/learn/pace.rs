//! How fast and how busy: steps and working time of the last minute.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What "now" means in rates.
const WINDOW: Duration = Duration::from_secs(60);

/// The steps of the last minute.
#[derive(Debug)]
pub(super) struct Pace {
    started: Instant,
    /// When each ended and how long it took, oldest first.
    steps: VecDeque<(Instant, Duration)>,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            started: now,
            steps: VecDeque::new(),
        }
    }

    /// A step that took so long ended now.
    pub(super) fn step(&mut self, now: Instant, took: Duration) {
        self.steps.push_back((now, took));
        self.forget(now);
    }

    /// Steps a second, and the share of the time that was spent on them, 0 to 1.
    pub(super) fn read(&mut self, now: Instant) -> (f64, f64) {
        self.forget(now);
        let observed = now.duration_since(self.started).min(WINDOW).as_secs_f64().max(1e-3);
        let busy: Duration = self.steps.iter().map(|(_, took)| *took).sum();
        (
            self.steps.len() as f64 / observed,
            (busy.as_secs_f64() / observed).min(1.0),
        )
    }

    fn forget(&mut self, now: Instant) {
        while self
            .steps
            .front()
            .is_some_and(|(end, _)| now.duration_since(*end) > WINDOW)
        {
            self.steps.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minute_counts_and_the_one_before_does_not() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let at = |s: u64| start + Duration::from_secs(s);
        (1..=10).for_each(|s| pace.step(at(s), Duration::from_millis(500)));
        let (rate, busy) = pace.read(at(10));
        assert!((rate - 1.0).abs() < 1e-9 && (busy - 0.5).abs() < 1e-9);
        assert_eq!(pace.read(at(100)), (0.0, 0.0));
    }
}
