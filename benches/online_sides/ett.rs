//! Forecasts of ETTh1 (Zhou et al. 2021): 7 variables of a transformer, hour by hour for two years.
//! Always true: the last fifth of the hours is foretold and never learnt from.

use std::path::Path;

use curiod::model::forecast::{Compared, skill};
use curiod::sample::series::{self, SeriesLimits};
use curiod::sample::{Content, Modality, Window};

use super::Online;
use crate::Flags;

/// Hours of a window, of what is foretold of it, and of a season.
const WINDOW: usize = 128;
const HORIZON: usize = 24;
const SEASON: usize = 24;

/// Hours from one window to the next: of those that are learnt from, and of those that are foretold.
const STRIDE: usize = 8;
const ASKED_STRIDE: usize = 24;

/// Steps between two looks, and how many looks.
const STEPS: u64 = 400;
const LOOKS: u64 = 4;

pub(crate) fn run(flags: &Flags, data: &Path) {
    let path = data.join("timeseries/ett/ETTh1.csv");
    let bytes = std::fs::read(&path).expect("a file");
    let mut series = series::whole(&path, &bytes, &SeriesLimits::default()).expect("a series");
    let (all, _) = series.swap_remove(0);
    let learnt = all.steps() * 4 / 5;
    let windows = |from: usize, to: usize, stride: usize| -> Vec<Window> {
        let starts = (from..to.saturating_sub(WINDOW)).step_by(stride);
        starts.filter_map(|start| all.crop(start..start + WINDOW)).collect()
    };
    let asked = windows(learnt, all.steps(), ASKED_STRIDE);
    for seed in 0..flags.seeds {
        let settings = [
            "learning.batch=32",
            "learning.warmup_steps=50",
            "learning.learning_rate=0.004",
            "replay.draws_per_sample=1000",
            "replay.draws_per_sample_min=1000",
        ];
        let mut online = Online::new(Modality::Series, &settings, &[], seed, flags);
        for window in windows(0, learnt, STRIDE) {
            online.keep(&[Content::Series(window)]);
        }
        for look in 1..=LOOKS {
            online.learner.learn_until(look * STEPS).expect("steps");
            let given: Vec<&Window> = asked.iter().collect();
            let forecasts = online
                .network()
                .forecast(&given, HORIZON)
                .expect("forecasts")
                .expect("a head");
            let against = |period: usize| -> Vec<Compared> {
                let pairs = forecasts.iter().zip(&asked);
                pairs
                    .filter_map(|(forecast, window)| forecast.as_ref()?.compared(window, Some(period)))
                    .collect()
            };
            let (day, last) = (against(SEASON), against(1));
            let mean = |of: fn(&Compared) -> f64| super::mean(day.iter().map(of));
            println!(
                "seed {seed}, step {}, {} windows: error {:.3} of the visible variance, the last day repeated {:.3}: skill {:.3}; \
                 against the last hour {:.3}",
                online.learner.steps(),
                asked.len(),
                mean(|of| of.model),
                mean(|of| of.naive),
                skill(&day).unwrap_or(f64::NAN),
                skill(&last).unwrap_or(f64::NAN)
            );
        }
    }
}
