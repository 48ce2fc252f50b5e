//! The rate limiter: how often samples may be drawn for each that arrived (Reverb's sample-to-insert ratio, Cassirer et
//! al. 2021).
//! Invariant: both counters are those of the store's life, so that a restart neither grants a burst nor asks for one.

/// Bounds the draws by the arrivals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimiter {
    draws_per_sample: f64,
}

impl RateLimiter {
    /// A limiter that allows this many draws for each arrival; 0 allows any number.
    pub fn new(draws_per_sample: f64) -> Self {
        Self { draws_per_sample }
    }

    /// Whether `more` samples may be drawn, after `drawn` of them and `inserted` arrivals.
    pub fn allows(&self, more: usize, drawn: u64, inserted: u64) -> bool {
        self.draws_per_sample == 0.0
            || drawn.saturating_add(more as u64) as f64 <= self.draws_per_sample * inserted as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_arrivals() {
        let limiter = RateLimiter::new(2.0);
        assert!(!limiter.allows(1, 0, 0));
        assert!(limiter.allows(20, 0, 10));
        assert!(!limiter.allows(21, 0, 10));
        assert!(!limiter.allows(1, 20, 10));
        assert!(limiter.allows(1, 20, 11));
    }

    #[test]
    fn zero_is_no_limit() {
        assert!(RateLimiter::new(0.0).allows(usize::MAX, u64::MAX, 0));
    }
}
