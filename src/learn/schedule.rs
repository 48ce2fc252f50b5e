//! How fast is learnt at which step: warm up, cool down, then constant for ever; never warmed again.

use std::f64::consts::PI;

use crate::config::LearningConfig;

/// The batch that the configured rate is meant for.
const REFERENCE_BATCH: f64 = 256.0;

/// The share of the peak at which the rate stays.
const FLOOR: f64 = 0.3;

/// The learning rate of a step (from 0): linear warm-up, half a cosine down to [`FLOOR`] of the peak, constant. The peak is
/// scaled by the root of the batch, as adaptive optimisers want (Malladi et al. 2022).
pub fn learning_rate(step: u64, config: &LearningConfig, batch: usize) -> f64 {
    let peak = config.learning_rate * (batch as f64 / REFERENCE_BATCH).sqrt();
    if step < config.warmup_steps {
        return peak * (step + 1) as f64 / config.warmup_steps as f64;
    }
    let cooled = (step - config.warmup_steps) as f64 / config.cooldown_steps.max(1) as f64;
    peak * (FLOOR + (1.0 - FLOOR) * 0.5 * (1.0 + (PI * cooled.min(1.0)).cos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_falls_and_then_stays_for_ever() {
        let config = LearningConfig {
            learning_rate: 1.0,
            warmup_steps: 10,
            cooldown_steps: 100,
            ..LearningConfig::default()
        };
        let rate = |step| learning_rate(step, &config, 256);
        assert!((rate(0) - 0.1).abs() < 1e-12 && (rate(9) - 1.0).abs() < 1e-12 && (rate(10) - 1.0).abs() < 1e-12);
        assert!((0..9).all(|step| rate(step) < rate(step + 1)));
        assert!((10..110).all(|step| rate(step) > rate(step + 1)));
        assert!((rate(110) - 0.3).abs() < 1e-12 && (rate(10_000_000) - 0.3).abs() < 1e-12);
        assert!(
            (learning_rate(10, &config, 64) - 0.5).abs() < 1e-12,
            "a quarter of the batch, half of the rate"
        );
    }

    #[test]
    fn without_a_warm_up_the_first_step_is_at_the_peak() {
        let config = LearningConfig {
            learning_rate: 1.0,
            warmup_steps: 0,
            ..LearningConfig::default()
        };
        assert_eq!(learning_rate(0, &config, 256), 1.0);
    }
}
