//! Forecasts of the end of a window, and how much better they are than repeating the last season.
//! Always true: nothing here is of the network; numbers are in the units that they came in, errors in variances of what was
//! visible.

use super::cut::Scale;
use crate::sample::Window;

/// What a network expects of the last steps of a window, and how far it was off.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Steps of each variable.
    pub horizon_steps: usize,
    /// What was expected, in the window's units: all steps of the first variable, then those of the next; of the variables that
    /// the network is shown.
    pub expected: Vec<f64>,
    /// The squared error of each, in variances of what is visible of its variable, 25 at most; NaN where a number is missing, or
    /// where so little is visible that there is no variance to speak of.
    pub errors: Vec<f32>,
    /// What each variable was normalised by.
    scales: Vec<Scale>,
}

/// Steps of the longest season that is looked for.
const SEASON_MAX: usize = 512;

/// Autocorrelation below which nothing is called a season.
const SEASON_MIN: f64 = 0.3;

/// Of two seasons about as clear as each other the shorter one is taken: the longer one may be twice it.
const AS_CLEAR: f64 = 0.05;

impl Forecast {
    /// `guesses`: of each variable its last patches, normalised, all as long as the horizon or longer.
    pub(super) fn new(window: &Window, scales: &[Scale], guesses: &[f32], horizon_steps: usize) -> Self {
        let each = guesses.len() / scales.len().max(1);
        let (mut expected, mut errors) = (Vec::new(), Vec::new());
        for (channel, (scale, guesses)) in scales.iter().zip(guesses.chunks_exact(each.max(1))).enumerate() {
            let was = last(window.channel(channel), horizon_steps);
            for (guess, was) in guesses[each - horizon_steps..].iter().zip(was) {
                let real = scale.real(*guess);
                expected.push(real);
                errors.push(match scale.deviation > 0.0 {
                    true => scale.squared(real, *was).map_or(f32::NAN, |error| error as f32),
                    // What does not vary is foreseen; anything else is as far off as can be.
                    false => scale.normal(*was).powi(2),
                });
            }
        }
        Self {
            horizon_steps,
            expected,
            errors,
            scales: scales.to_vec(),
        }
    }

    /// This forecast of the window's end beside the season before it, repeated; `period_steps` is the season's, where None it is
    /// looked for in what is visible of each variable. None where there is nothing to compare.
    pub fn compared(&self, window: &Window, period_steps: Option<usize>) -> Option<Compared> {
        let (mut model, mut naive, mut count) = (0.0, 0.0, 0u32);
        for (channel, scale) in self.scales.iter().enumerate() {
            let steps = window.channel(channel);
            let (visible, was) = steps.split_at(steps.len() - self.horizon_steps);
            let period = period_steps.or_else(|| season(visible)).unwrap_or(1);
            let own = &self.expected[channel * self.horizon_steps..];
            for ((was, expected), repeated) in was.iter().zip(own).zip(repeated(visible, period)) {
                if let (Some(one), Some(other)) = (scale.squared(*expected, *was), scale.squared(repeated, *was)) {
                    (model, naive, count) = (model + one, naive + other, count + 1);
                }
            }
        }
        let count = (count > 0).then_some(f64::from(count))?;
        Some(Compared {
            model: model / count,
            naive: naive / count,
        })
    }
}

/// Mean squared errors on one window, in variances of what is visible.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// The network's.
    pub model: f64,
    /// Of the last season, repeated.
    pub naive: f64,
}

/// One less the model's errors over those of the last season repeated: 1 is right, 0 as good as repeating, below it worse. None
/// where repeating is right.
pub fn skill(compared: &[Compared]) -> Option<f64> {
    let model: f64 = compared.iter().map(|of| of.model).sum();
    let naive: f64 = compared.iter().map(|of| of.naive).sum();
    (naive > 0.0).then_some(1.0 - model / naive)
}

/// The season of a variable in steps: the lag, up to half of its length, at which its autocorrelation has its highest peak. None
/// where no peak is above [`SEASON_MIN`], as in what does not repeat itself, or is shorter than two seasons.
pub fn season(steps: &[f64]) -> Option<usize> {
    let alone = Window {
        channels: 1,
        values: steps.to_vec(),
        start: 0,
        time: None,
    };
    let normal = alone.normalised(0).values;
    let at = |lag: usize| {
        let pairs = normal.iter().zip(&normal[lag..]);
        let there = pairs.filter(|(one, other)| !one.is_nan() && !other.is_nan());
        let (sum, count) = there.fold((0.0, 0u32), |(sum, count), (one, other)| {
            (sum + f64::from(one * other), count + 1)
        });
        if count == 0 { 0.0 } else { sum / f64::from(count) }
    };
    let by_lag: Vec<f64> = (0..=(steps.len() / 2).min(SEASON_MAX)).map(at).collect();
    let is_peak = |lag: &usize| {
        let next = by_lag.get(lag + 1).copied().unwrap_or(f64::NEG_INFINITY);
        by_lag[*lag] > SEASON_MIN && by_lag[*lag] > by_lag[lag - 1] && by_lag[*lag] >= next
    };
    let peaks: Vec<usize> = (2..by_lag.len()).filter(is_peak).collect();
    let highest = peaks.iter().map(|lag| by_lag[*lag]).fold(0.0, f64::max);
    peaks.into_iter().find(|lag| by_lag[*lag] >= highest - AS_CLEAR)
}

/// What follows where the last season repeats itself, without end; a number that is missing in it is that of the season before,
/// or of the one before that; NaN where there is none.
fn repeated(visible: &[f64], period_steps: usize) -> impl Iterator<Item = f64> {
    let period = period_steps.clamp(1, visible.len().max(1));
    (0..).map(move |step| {
        let mut before = (visible.len() + step % period).checked_sub(period);
        while let Some(at) = before {
            match visible.get(at) {
                Some(value) if !value.is_nan() => return *value,
                _ => before = at.checked_sub(period),
            }
        }
        f64::NAN
    })
}

fn last(steps: &[f64], count: usize) -> &[f64] {
    &steps[steps.len().saturating_sub(count)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(steps: usize, period: f64) -> Vec<f64> {
        (0..steps)
            .map(|at| 5.0 + (std::f64::consts::TAU * at as f64 / period).sin())
            .collect()
    }

    #[test]
    fn the_season_of_a_wave_is_found_and_a_ramp_or_a_line_has_none() {
        assert_eq!(season(&wave(104, 24.0)), Some(24));
        let mut holes = wave(104, 12.0);
        holes.iter_mut().step_by(7).for_each(|value| *value = f64::NAN);
        assert_eq!(season(&holes), Some(12));
        let ramp: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!((season(&ramp), season(&[3.0; 50]), season(&[])), (None, None, None));
    }

    #[test]
    fn a_season_repeats_and_what_is_missing_in_it_is_of_the_one_before() {
        let visible = [1.0, 2.0, 3.0, 4.0, f64::NAN, 6.0];
        let four: Vec<f64> = repeated(&visible, 3).take(4).collect();
        assert_eq!(four, [4.0, 2.0, 6.0, 4.0]);
        assert!(repeated(&[], 3).next().is_some_and(f64::is_nan));
    }

    #[test]
    fn a_right_forecast_has_skill_one_and_a_repetition_none() {
        let period = 8;
        let mut values = wave(64, period as f64);
        let season = values[48..56].to_vec();
        values[56..].iter_mut().for_each(|value| *value += 0.5);
        let window = Window {
            channels: 1,
            values,
            start: 0,
            time: None,
        };
        let visible = window.crop(0..56).unwrap().normalised(0);
        let scale = Scale {
            mean: visible.mean,
            deviation: visible.deviation,
            is_known: true,
        };
        let of = |expected: &[f64]| {
            let normal: Vec<f32> = expected
                .iter()
                .map(|value| ((value - scale.mean) / scale.deviation) as f32)
                .collect();
            let forecast = Forecast::new(&window, &[scale], &normal, period);
            skill(&[forecast.compared(&window, Some(period)).unwrap()]).unwrap()
        };
        assert!((of(&window.values[56..]) - 1.0).abs() < 1e-6);
        assert!(of(&season).abs() < 1e-5);
    }
}
