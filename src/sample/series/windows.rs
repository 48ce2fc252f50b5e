//! Series of steps -> windows.
//! Always true: no step of a series that is long enough is lost, and of what is cut no window is without any number.

use super::SeriesLimits;
use crate::sample::{Reason, Rejection, Window};

/// Steps of the shortest window; a shorter series says nothing.
const STEPS_MIN: usize = 8;

/// Steps of one or more variables without a gap.
pub(super) struct Series {
    pub(super) channels: usize,
    /// All steps of the first variable, then those of the next; NaN where one is missing.
    pub(super) values: Vec<f64>,
    /// When each step was, in milliseconds since 1970; empty where that is not known.
    pub(super) times: Vec<i64>,
}

impl Series {
    fn steps(&self) -> usize {
        self.values.len() / self.channels.max(1)
    }
}

/// The series of a source, each as one window, with the times of its steps. One without any number is left out.
pub(super) fn whole(series: Vec<Series>) -> Result<Vec<(Window, Vec<i64>)>, Rejection> {
    let (mut windows, mut first) = (Vec::new(), 0);
    for series in series {
        let steps = series.steps();
        if let Some(window) = window(&series, 0..steps, first) {
            windows.push((window, series.times));
        }
        first += steps as u64;
    }
    match windows.is_empty() {
        true => Err(Rejection::new(Reason::EmptyFile, "the series has no number")),
        false => Ok(windows),
    }
}

/// Cuts the series of a source.
pub(super) fn cut(series: &[Series], limits: &SeriesLimits) -> Result<Vec<Window>, Rejection> {
    let steps_min = STEPS_MIN.min(limits.window_steps);
    let (mut windows, mut first, mut numbers, mut longest) = (Vec::new(), 0_u64, 0_usize, 0);
    for series in series {
        let steps = series.steps();
        longest = longest.max(steps);
        if steps >= steps_min {
            let length = steps.min(limits.window_steps);
            for start in starts(steps, length, limits.stride_steps) {
                numbers = numbers.saturating_add(length * series.channels);
                if numbers > limits.values_max {
                    return Err(limits.too_many_values());
                }
                if let Some(window) = window(series, start..start + length, first) {
                    windows.push(window);
                }
                if windows.len() > limits.windows_max {
                    return Err(limits.too_many_windows());
                }
            }
        }
        first += steps as u64;
    }
    if !windows.is_empty() {
        return Ok(windows);
    }
    Err(if longest == 0 {
        Rejection::new(Reason::EmptyFile, "the series has no steps")
    } else if longest < steps_min {
        let detail = format!("the series is too short: {longest} steps, a window has at least {steps_min}");
        Rejection::new(Reason::Limits, detail)
    } else {
        Rejection::new(Reason::EmptyFile, "every value of the series is missing")
    })
}

/// The first steps of the windows: each stride, and the last at the series' end.
fn starts(steps: usize, length: usize, stride: usize) -> impl Iterator<Item = usize> {
    let last = steps - length;
    (0..last).step_by(stride.max(1)).chain(std::iter::once(last))
}

fn window(series: &Series, steps: std::ops::Range<usize>, first: u64) -> Option<Window> {
    let all = series.steps();
    let channels = (0..series.channels).filter_map(|channel| {
        let from = channel * all;
        series.values.get(from + steps.start..from + steps.end)
    });
    let values: Vec<f64> = channels.flatten().copied().collect();
    let time = steps.end.checked_sub(1).and_then(|last| series.times.get(last));
    let window = Window {
        channels: u16::try_from(series.channels).ok()?,
        start: first + steps.start as u64,
        time: time.copied(),
        values,
    };
    window.values.iter().any(|value| !value.is_nan()).then_some(window)
}
