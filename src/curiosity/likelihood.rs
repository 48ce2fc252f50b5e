//! How unusual an error is among those that came before it: causal, with nothing to set for a kind of data.
//! Invariant: what is said of a step depends on it and on earlier ones alone; every number is finite.
//!
//! After Ahmad et al. 2017 ("Unsupervised real-time anomaly detection for streaming data", section 3.2): the mean of the last
//! few errors against the distribution of many, by the tail of a normal one. Where we differ: of squared errors the roots are
//! compared, which are less skewed; and mean and deviation are those of all errors that are remembered, at each step.

use std::collections::VecDeque;

/// Errors that are remembered.
const HISTORY: usize = 8_640;

/// Errors whose mean is compared with them.
const RECENT: usize = 10;

/// Errors before which nothing is said.
const HISTORY_MIN: usize = 100;

/// The least deviation, as a share of the mean: of errors that are all alike the first other one is unusual, not infinitely so.
const DEVIATION_MIN: f64 = 0.02;

/// What is said of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Unusual {
    /// Deviations that the mean of the last few errors lies above that of all before them; 0 while too few are known.
    pub deviations: f64,
    /// The chance that it would not lie so high by accident, 0 to 1.
    pub likelihood: f64,
}

/// The errors of a series, step after step.
#[derive(Clone, Debug, Default)]
pub struct Likelihood {
    history: VecDeque<f64>,
    recent: VecDeque<f64>,
    sum: f64,
    squares: f64,
}

impl Likelihood {
    /// Takes the next step's squared error, 0 or more, and says how unusual the last few are.
    pub fn observe(&mut self, squared: f64) -> Unusual {
        let error = if squared.is_finite() {
            squared.max(0.0).sqrt().min(1e6)
        } else {
            1e6
        };
        self.recent.push_back(error);
        if self.recent.len() > RECENT {
            // What leaves the last few joins what they are compared with.
            self.remember();
        }
        let count = self.history.len() as f64;
        if self.history.len() < HISTORY_MIN {
            return Unusual::default();
        }
        let mean = self.sum / count;
        let deviation = (self.squares / count - mean * mean).max(0.0).sqrt();
        let deviation = deviation.max(DEVIATION_MIN * mean).max(1e-9);
        let now = self.recent.iter().sum::<f64>() / self.recent.len() as f64;
        let deviations = (now - mean) / deviation;
        Unusual {
            deviations,
            likelihood: 1.0 - tail(deviations),
        }
    }

    fn remember(&mut self) {
        if let Some(error) = self.recent.pop_front() {
            self.history.push_back(error);
            self.sum += error;
            self.squares += error * error;
        }
        if self.history.len() > HISTORY
            && let Some(error) = self.history.pop_front()
        {
            self.sum -= error;
            self.squares -= error * error;
        }
    }
}

/// The chance that a number of the standard normal distribution is above `z` (Abramowitz and Stegun 1964, 7.1.26: right to
/// 1.5e-7).
fn tail(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = [
        1.061_405_429,
        -1.453_152_027,
        1.421_413_741,
        -0.284_496_736,
        0.254_829_592,
    ];
    let sum = series.iter().fold(0.0, |sum, factor| (sum + factor) * t);
    let above = 0.5 * sum * (-x * x).exp();
    if z >= 0.0 { above } else { 1.0 - above }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_normal_distributions() {
        for (z, above) in [(0.0, 0.5), (1.0, 0.158_655), (-1.0, 0.841_345), (3.0, 0.001_35)] {
            assert!((tail(z) - above).abs() < 1e-5, "{z}");
        }
        assert!(tail(40.0) >= 0.0);
    }

    #[test]
    fn steady_errors_are_usual_a_rise_is_not_and_what_lasts_becomes_usual() {
        let mut likelihood = Likelihood::default();
        let mut rng = crate::rng::for_step(1, 0, 0);
        let mut said: Vec<Unusual> = (0..2_000)
            .map(|_| likelihood.observe(0.2 * crate::rng::unit(&mut rng)))
            .collect();
        assert!(said[..HISTORY_MIN].iter().all(|unusual| *unusual == Unusual::default()));
        let highest = said.iter().map(|unusual| unusual.deviations).fold(0.0, f64::max);
        said = (0..20_000)
            .map(|_| likelihood.observe(1.0 + 0.2 * crate::rng::unit(&mut rng)))
            .collect();
        assert!(said[9].deviations > 2.0 * highest && said[9].likelihood > 0.999);
        assert!(said[19_999].likelihood < 0.999);
    }

    #[test]
    fn errors_that_are_all_alike_or_no_numbers_are_survived() {
        let mut likelihood = Likelihood::default();
        for error in std::iter::repeat_n(0.0, 500).chain([f64::NAN, f64::INFINITY, -1.0, 1e300, 0.0]) {
            let Unusual { deviations, likelihood } = likelihood.observe(error);
            assert!(deviations.is_finite() && (0.0..=1.0).contains(&likelihood));
        }
    }
}
