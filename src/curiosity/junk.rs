//! Junk: what was replayed often, is still among the hardest and where nothing is learnt. Its error earns it nothing, and it
//! goes first when the buffer needs room; until then the verdict may change.

/// Visits before a sample can be called junk.
const VISITS_MIN: u32 = 8;

/// Quantile of the error above which a sample can be called junk.
const RANK_MIN: f64 = 0.99;

/// Whether a sample is junk now: `progress` is that of its cluster, in the unit of errors.
pub fn is_junk(visits: u32, rank: f64, progress: f64) -> bool {
    visits >= VISITS_MIN && rank > RANK_MIN && progress <= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junk_is_hard_and_old_and_without_progress_all_at_once() {
        assert!(is_junk(8, 0.995, 0.0));
        assert!(!is_junk(7, 0.995, 0.0) && !is_junk(8, 0.99, 0.0) && !is_junk(8, 0.995, 1e-6));
        assert!(!is_junk(100, f64::NAN, 0.0) && !is_junk(100, 1.0, f64::NAN));
    }
}
