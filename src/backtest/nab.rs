//! The score of the Numenta Anomaly Benchmark (Lavin and Ahmad 2015) for what a detector said of each row of some
//! files: early alarms inside a labelled window are rewarded, alarms outside cost by how far behind a window they are. Pure.
//! Always true: a row is an alarm where its number is at least the threshold, and one threshold holds for all files; rows of a
//! file's probation count for nothing.
//!
//! The rule is that of the benchmark's own code, which its published scores come from: positions are counted in rows, a hit
//! is scaled so that one on a window's first row is worth the full weight, and the weight of true negatives has no effect.
//! Different from it: a window that ends within the probation is left out of the perfect detector's score too (its own data
//! has none), and behind a window of one row distances are counted in rows, where it divides by zero.

mod labels;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::BacktestError;

pub use labels::{spans, windows};

/// The share of a file's rows that a detector may learn from first.
const PROBATION_SHARE: f64 = 0.15;

/// Rows of which the probation is a share, at most.
const PROBATION_OF_ROWS_MAX: f64 = 5_000.0;

/// Widths behind a window from which on a false alarm costs the full weight.
const FAR: f64 = 3.0;

/// What a hit, a false alarm and a miss are worth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// The benchmark's name for it.
    pub name: &'static str,
    /// Of an alarm on a window's first row.
    pub tp_weight: f64,
    /// What an alarm far from any window costs.
    pub fp_weight: f64,
    /// What a window without an alarm costs.
    pub fn_weight: f64,
}

impl Profile {
    /// The benchmark's standard.
    pub const STANDARD: Self = Self::new("standard", 0.11, 1.0);
    /// False alarms cost twice as much.
    pub const LOW_FP: Self = Self::new("reward_low_FP_rate", 0.22, 1.0);
    /// Misses cost twice as much.
    pub const LOW_FN: Self = Self::new("reward_low_FN_rate", 0.11, 2.0);
    /// All three.
    pub const ALL: [Self; 3] = [Self::STANDARD, Self::LOW_FP, Self::LOW_FN];

    const fn new(name: &'static str, fp_weight: f64, fn_weight: f64) -> Self {
        Self {
            name,
            tp_weight: 1.0,
            fp_weight,
            fn_weight,
        }
    }
}

/// What a detector said of a file, and where its anomalies are.
#[derive(Clone, Debug)]
pub struct Labelled {
    name: String,
    scores: Vec<f64>,
    windows: Vec<(usize, usize)>,
}

impl Labelled {
    /// `scores` has a number for each row, the larger the more unusual; `windows` are the first and the last row of each
    /// anomaly, in order, apart from each other.
    pub fn new(name: String, scores: Vec<f64>, windows: Vec<(usize, usize)>) -> Result<Self, BacktestError> {
        if let Some(row) = scores.iter().position(|score| !score.is_finite()) {
            return Err(BacktestError::new(
                format!("{name}: the score of row {row} is no number"),
                "give a finite score for each row, 0 where nothing is known",
            ));
        }
        let is_apart = windows.windows(2).all(|pair| pair[0].1 < pair[1].0);
        let is_inside = windows.iter().all(|&(start, end)| start <= end && end < scores.len());
        if !is_apart || !is_inside {
            return Err(BacktestError::new(
                format!(
                    "{name}: {windows:?} are no windows in order and apart within {} rows",
                    scores.len()
                ),
                "labels belong to the file they were made for, with all of its rows",
            ));
        }
        Ok(Self { name, scores, windows })
    }

    /// Rows at its beginning that count for nothing.
    fn probation(&self) -> usize {
        let rows = self.scores.len() as f64;
        (PROBATION_SHARE * rows)
            .floor()
            .min(PROBATION_SHARE * PROBATION_OF_ROWS_MAX) as usize
    }

    /// Windows that end within the probation, where no alarm can find them.
    fn windows_lost(&self) -> usize {
        let probation = self.probation();
        self.windows.partition_point(|&(_, end)| end < probation)
    }

    /// Windows that an alarm can find.
    fn windows_open(&self) -> usize {
        self.windows.len() - self.windows_lost()
    }

    /// The rows that count; their windows are numbered from `first` on.
    fn rows(&self, profile: &Profile, first: usize) -> impl Iterator<Item = Row> {
        let lost = self.windows_lost();
        (self.probation()..self.scores.len()).map(move |row| {
            let passed = self.windows.partition_point(|&(_, end)| end < row);
            let within = self.windows.get(passed).filter(|(start, _)| *start <= row);
            let before = self.windows[..passed].last();
            Row {
                score: self.scores[row],
                worth: match (within, before) {
                    (Some(window), _) => profile.tp_weight * hit(row, *window),
                    (None, Some(window)) => profile.fp_weight * false_alarm(row, *window),
                    (None, None) => -profile.fp_weight,
                },
                window: within.map(|_| first + passed - lost),
            }
        })
    }
}

/// What a threshold is worth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scored {
    /// From which number on a row is an alarm; infinite (null in JSON) where none is.
    pub threshold: f64,
    /// The sum over all files.
    pub raw: f64,
    /// 0 for a detector that never gives an alarm, 100 for one that gives exactly one on the first row of each window; NaN
    /// where there is no window to find.
    pub normalised: f64,
    /// Of all files.
    pub counts: Counts,
    /// Each file's, in their order.
    pub files: Vec<FileScored>,
}

/// What a threshold is worth in one file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileScored {
    /// The file's name.
    pub name: String,
    /// Its part of the sum.
    pub raw: f64,
    /// What was found and missed in it.
    pub counts: Counts,
}

/// What was found and missed, behind the probation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Windows that could be found.
    pub windows: usize,
    /// Windows with an alarm.
    pub windows_found: usize,
    /// Alarms inside of windows.
    pub true_positives: usize,
    /// Alarms outside.
    pub false_positives: usize,
    /// Quiet rows outside.
    pub true_negatives: usize,
    /// Quiet rows inside.
    pub false_negatives: usize,
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self {
            windows: self.windows + other.windows,
            windows_found: self.windows_found + other.windows_found,
            true_positives: self.true_positives + other.true_positives,
            false_positives: self.false_positives + other.false_positives,
            true_negatives: self.true_negatives + other.true_negatives,
            false_negatives: self.false_negatives + other.false_negatives,
        }
    }
}

/// The score at the one threshold, for all files, that gives the most; of equal ones the highest. The benchmark's published
/// scores are such scores: the threshold is chosen with the labels in sight.
pub fn best(files: &[Labelled], profile: &Profile) -> Scored {
    let (mut rows, mut windows) = (Vec::new(), 0);
    for file in files {
        rows.extend(file.rows(profile, windows));
        windows += file.windows_open();
    }
    let (mut threshold, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    sweep(rows, windows, profile.fn_weight, |score, raw| {
        if raw > most {
            (threshold, most) = (score, raw);
        }
    });
    at(files, profile, threshold)
}

/// The score at a threshold that was chosen elsewhere.
pub fn at(files: &[Labelled], profile: &Profile, threshold: f64) -> Scored {
    let files: Vec<FileScored> = files.iter().map(|file| file_at(file, profile, threshold)).collect();
    let raw = files.iter().map(|file| file.raw).sum();
    let counts = files.iter().fold(Counts::default(), |sum, file| sum.plus(file.counts));
    let windows = counts.windows as f64;
    let (null, perfect) = (-profile.fn_weight * windows, profile.tp_weight * windows);
    Scored {
        threshold,
        raw,
        normalised: 100.0 * (raw - null) / (perfect - null),
        counts,
        files,
    }
}

fn file_at(file: &Labelled, profile: &Profile, threshold: f64) -> FileScored {
    let mut counts = Counts {
        windows: file.windows_open(),
        ..Counts::default()
    };
    let mut found: Vec<Option<f64>> = vec![None; counts.windows];
    let mut outside = 0.0;
    for row in file.rows(profile, 0) {
        match (row.window, row.score >= threshold) {
            (Some(window), true) => {
                counts.true_positives += 1;
                // Rows come in order: the first alarm in a window is the earliest.
                found[window].get_or_insert(row.worth);
            }
            (Some(_), false) => counts.false_negatives += 1,
            (None, true) => {
                counts.false_positives += 1;
                outside += row.worth;
            }
            (None, false) => counts.true_negatives += 1,
        }
    }
    counts.windows_found = found.iter().flatten().count();
    let inside: f64 = found.iter().map(|worth| worth.unwrap_or(-profile.fn_weight)).sum();
    FileScored {
        name: file.name.clone(),
        raw: outside + inside,
        counts,
    }
}

/// A row that counts.
#[derive(Clone, Debug)]
struct Row {
    score: f64,
    /// What an alarm is worth here.
    worth: f64,
    /// The number of its window among all.
    window: Option<usize>,
}

/// The sum at every threshold that makes a difference, from the highest on: first where no row is an alarm, then at each
/// score. Each row is looked at once.
fn sweep(mut rows: Vec<Row>, windows: usize, fn_weight: f64, mut seen: impl FnMut(f64, f64)) {
    rows.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut found = vec![-fn_weight; windows];
    let mut raw = found.iter().sum();
    seen(f64::INFINITY, raw);
    for same in rows.chunk_by(|a, b| a.score == b.score) {
        for row in same {
            match row.window {
                None => raw += row.worth,
                // Earlier in its window is worth more, so that the most is the first alarm's.
                Some(window) if row.worth > found[window] => {
                    raw += row.worth - found[window];
                    found[window] = row.worth;
                }
                Some(_) => {}
            }
        }
        seen(same[0].score, raw);
    }
}

/// An alarm inside a window, before its weight: 1 on its first row, near 0 on its last.
fn hit(row: usize, (start, end): (usize, usize)) -> f64 {
    let width = (end - start + 1) as f64;
    fading(-((end - row + 1) as f64) / width) / fading(-1.0)
}

/// An alarm behind a window, before its weight: near 0 right behind it, -1 far away.
fn false_alarm(row: usize, (start, end): (usize, usize)) -> f64 {
    let distance = (row - end) as f64 / (end - start).max(1) as f64;
    if distance > FAR { -1.0 } else { fading(distance) }
}

/// The sigmoid of equation 1 without its weights: 1 well before a window's end, 0 on it, -1 well behind.
fn fading(place: f64) -> f64 {
    2.0 / (1.0 + (5.0 * place).exp()) - 1.0
}
