//! The Numenta Anomaly Benchmark, online and causal.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use curiod::backtest::nab::{self, Labelled, Profile};
use curiod::curiosity::{Anomalies, Anomaly};
use curiod::sample::series::{self, SeriesLimits};
use curiod::sample::{Content, Modality, Window};

use super::Online;
use crate::Flags;

/// Rows that are forecast at a time; rows between two looks at the network; rows from one window that is kept to the next.
const HORIZON: usize = 8;
const LOOK: usize = 64;
const STRIDE: usize = 32;

pub(crate) fn run(flags: &Flags, data: &Path) {
    let folder = data.join("timeseries/nab");
    let json = std::fs::read(folder.join("anomaly_windows.json")).expect("the labels");
    let spans = nab::spans(&json).expect("spans of time");
    let mut files: Vec<(String, PathBuf)> = spans.keys().map(|name| (name.clone(), folder.join(name))).collect();
    files.retain(|(_, path)| path.exists());
    files.sort();
    for seed in 0..flags.seeds {
        let start = std::time::Instant::now();
        let fresh = || {
            let settings = [
                "learning.batch=32",
                "learning.warmup_steps=50",
                "replay.draws_per_sample=64",
                "replay.draws_per_sample_min=64",
            ];
            Online::new(Modality::Series, &settings, &[], seed, flags)
        };
        let mut online = fresh();
        let (mut alarms, mut evidence) = (Vec::new(), Vec::new());
        let mut rows = 0;
        for (name, path) in &files {
            if flags.one_by_one {
                online = fresh();
            }
            let bytes = std::fs::read(path).expect("a file");
            let series = series::whole(path, &bytes, &SeriesLimits::default()).expect("a series");
            let windows = nab::windows(&times(&bytes), &spans[name]).expect("windows of rows");
            let scores = scored(&mut online, &series, flags.window, &times(&bytes));
            rows += scores.len();
            for (labelled, of) in [
                (&mut alarms, (|said| said.alarm) as fn(&Anomaly) -> f64),
                (&mut evidence, |said| said.evidence),
            ] {
                let numbers = scores.iter().map(of).collect();
                labelled.push(Labelled::new(name.clone(), numbers, windows.clone()).expect("scores"));
            }
        }
        println!(
            "seed {seed}: {} files, {rows} rows, {} steps, {:.0} s",
            files.len(),
            online.learner.steps(),
            start.elapsed().as_secs_f64()
        );
        for (what, labelled) in [("alarm", &alarms), ("evidence", &evidence)] {
            for profile in &Profile::ALL {
                let scored = nab::best(labelled, profile);
                println!(
                    "   {what}: {} {:.1} (threshold {:.2}; {:?})",
                    profile.name, scored.normalised, scored.threshold, scored.counts
                );
            }
        }
    }
}

/// What is said of each row, found by its time: a series has steps that gaps were filled with, and of a repeated time only the first.
fn scored(online: &mut Online, series: &[(Window, Vec<i64>)], window_steps: usize, rows: &[i64]) -> Vec<Anomaly> {
    let mut anomalies = Anomalies::default();
    let mut by_time = HashMap::with_capacity(rows.len());
    for (window, times) in series {
        let steps = window.steps();
        for look in (0..steps).step_by(LOOK) {
            let until = (look + LOOK).min(steps);
            let network = online.network();
            let ends: Vec<usize> = (look..until)
                .step_by(HORIZON)
                .map(|at| (at + HORIZON).min(until))
                .collect();
            let views: Vec<Option<Window>> = ends
                .iter()
                .map(|end| window.crop(end.saturating_sub(window_steps)..*end))
                .collect();
            let given: Vec<&Window> = views.iter().flatten().collect();
            let forecasts = network.forecast(&given, HORIZON).expect("forecasts").expect("a head");
            let mut forecasts = forecasts.into_iter();
            let mut from = look;
            for (end, view) in ends.iter().zip(&views) {
                let forecast = view.as_ref().and_then(|_| forecasts.next().flatten());
                for (at, time) in (from..*end).zip(&times[from..*end]) {
                    let expected = forecast
                        .as_ref()
                        .and_then(|forecast| forecast.expected.get(HORIZON - (end - at)).copied());
                    let step = (window.values[at], expected.unwrap_or(f64::NAN));
                    by_time.insert(*time, anomalies.observe(std::iter::once(step)));
                }
                from = *end;
            }
            for end in (look + STRIDE..=until).step_by(STRIDE) {
                if let Some(window) = window.crop(end.saturating_sub(window_steps)..end) {
                    online.arrive(&[Content::Series(window)]);
                }
            }
        }
    }
    rows.iter()
        .map(|time| by_time.remove(time).unwrap_or_default())
        .collect()
}

/// The times of the rows, milliseconds since 1970, in the file's order.
fn times(bytes: &[u8]) -> Vec<i64> {
    let text = std::str::from_utf8(bytes).expect("text");
    let rows = text.lines().skip(1).filter(|line| !line.trim().is_empty());
    let time = |line: &str| {
        let time = line.split(',').next().unwrap_or_default();
        let time: jiff::civil::DateTime = time.parse().expect("a time");
        let zoned = time.to_zoned(jiff::tz::TimeZone::UTC).expect("a moment");
        zoned.timestamp().as_millisecond()
    };
    rows.map(time).collect()
}
