//! Is what arrives news? The prediction error of samples that are seen for the first time, over that of all.

use serde::{Deserialize, Serialize};

/// How much of the mean one batch replaces.
const BATCH_RATE: f64 = 0.02;

/// How much of the mean of first errors one new sample replaces: about the last fifty count.
const SAMPLE_RATE: f64 = 0.02;

/// Running means of prediction errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Surprise {
    /// Of all samples.
    all: Option<f64>,
    /// Of samples that were seen for the first time.
    first: Option<f64>,
}

impl Surprise {
    /// Takes over a batch's errors, each with whether its sample was seen for the first time. Errors that are no numbers
    /// say nothing.
    pub(super) fn observe(&mut self, errors: impl Iterator<Item = (f32, bool)>) {
        let (mut sum, mut count) = (0.0, 0.0);
        for (error, first) in errors.filter(|(error, _)| error.is_finite()) {
            sum += f64::from(error);
            count += 1.0;
            if first {
                blend(&mut self.first, f64::from(error), SAMPLE_RATE);
            }
        }
        if count > 0.0 {
            blend(&mut self.all, sum / count, BATCH_RATE);
        }
    }

    /// Mean first error over mean error: 1 when what arrives is as well predicted as what is known, more when it is not.
    pub(super) fn value(&self) -> Option<f64> {
        Some(self.first? / self.all.filter(|all| *all > 0.0)?)
    }
}

fn blend(mean: &mut Option<f64>, value: f64, rate: f64) {
    *mean = Some(mean.map_or(value, |mean| mean + rate * (value - mean)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_harder_than_what_is_known_is_a_surprise_and_passes() {
        let mut surprise = Surprise::default();
        assert_eq!(surprise.value(), None);
        (0..200).for_each(|_| surprise.observe([(0.1, false); 8].into_iter()));
        surprise.observe([(0.1, true); 8].into_iter());
        assert!((surprise.value().unwrap() - 1.0).abs() < 0.01);
        (0..10).for_each(|_| surprise.observe([(0.5, true), (0.1, false), (0.1, false), (f32::NAN, true)].into_iter()));
        assert!(surprise.value().unwrap() > 1.3, "{surprise:?}");
        (0..300).for_each(|_| surprise.observe([(0.1, true), (0.1, false)].into_iter()));
        assert!((surprise.value().unwrap() - 1.0).abs() < 0.1, "{surprise:?}");
    }
}
