//! What fine-tuning needs of a head: fits of a part of the labels, its weights, and a head whose weights were trained on.
//! Invariant: a head that was trained on differs from the one that it began as in its weights and in what is known of it alone.

use std::sync::atomic::AtomicBool;

use super::super::calibration::HeldOut;
use super::super::folds::stratified;
use super::super::regression::{self, scores};
use super::{FitError, Head, HeadReport, Sample, TOLERANCE, Training, measured, shifted};

/// What a head said of a row that it was not fitted on.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The fold that was held out.
    pub fold: usize,
    /// The score of each class: see [`Head::scores`].
    pub scores: Vec<f64>,
    /// The row's class.
    pub label: u32,
}

impl Answer {
    /// Whether the highest score is that of the row's class.
    pub fn is_right(&self) -> bool {
        super::best(&self.scores) == self.label as usize
    }
}

impl Training {
    /// The rows of which this is so; the classes stay.
    pub fn only(&self, is_so: impl Fn(usize) -> bool) -> Self {
        let chosen: Vec<usize> = (0..self.labels.len()).filter(|row| is_so(*row)).collect();
        let row = |at: &usize| self.rows[at * self.dim..][..self.dim].iter().copied();
        Self {
            rows: chosen.iter().flat_map(row).collect(),
            dim: self.dim,
            labels: chosen.iter().map(|at| self.labels[*at]).collect(),
            groups: chosen.iter().map(|at| self.groups[*at]).collect(),
            classes: self.classes.clone(),
            mean: self.mean.clone(),
            spread: self.spread,
        }
    }

    /// The fold of each row, of so many; None of one that is never held out. Rows of one group are in one fold, and each class
    /// that is held out somewhere is known everywhere.
    pub fn folds(&self, count: usize) -> Vec<Option<usize>> {
        stratified(&self.labels, &self.groups, count)
    }
}

/// A head of all rows, of this penalty; it is not tested.
///
/// # Errors
/// [`FitError::Stopped`] when `stop` is set.
pub fn fit_untested(training: &Training, penalty: f64, stop: &AtomicBool) -> Result<Head, FitError> {
    let classes = training.classes.len();
    let all = Sample {
        rows: training
            .rows
            .chunks_exact(training.dim)
            .flat_map(|row| shifted(row, &training.mean, training.spread))
            .collect(),
        dim: training.dim,
        labels: training.labels.clone(),
        groups: Vec::new(),
    };
    let fitted = regression::fit(&all.data(classes), penalty, None, TOLERANCE, stop)?;
    let mut counts = vec![0; classes];
    all.labels.iter().for_each(|label| counts[*label as usize] += 1);
    Ok(Head {
        classes: training.classes.clone(),
        mean: training.mean.clone(),
        spread: training.spread,
        weights: fitted.weights,
        report: HeadReport {
            rows: all.labels.len(),
            counts,
            penalty,
            temperature: 1.0,
            gradient_max: fitted.gradient_max,
            tested: None,
        },
    })
}

impl Head {
    /// Its weights, `[C, D + 1]`, the bias last: they multiply a row about [`mean`](Self::mean), in units of
    /// [`spread`](Self::spread).
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// What is taken from a row, `[D]`.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// What a row is divided by after that.
    pub fn spread(&self) -> f64 {
        self.spread.max(super::SPREAD_MIN)
    }

    /// The score of each class for an embedding, `[D]` -> `[C]`: the logarithm of its probability, but for the temperature and for
    /// what is the same of all.
    pub fn scores(&self, row: &[f32]) -> Vec<f64> {
        let row = shifted(row, &self.mean, self.spread);
        let mut out = vec![0.0; self.classes.len()];
        scores(&self.weights, &row, &mut out);
        out
    }

    /// The same head with other weights, of which nothing is known.
    pub fn with_weights(&self, weights: Vec<f64>) -> Self {
        let report = HeadReport {
            temperature: 1.0,
            gradient_max: 0.0,
            tested: None,
            ..self.report.clone()
        };
        Self {
            weights,
            report,
            ..self.clone()
        }
    }

    /// The same head with what such answers tell of it: its temperature, and how often it is right.
    pub fn tested_by(self, answers: &[Answer]) -> Self {
        if answers.is_empty() {
            return self;
        }
        let mut is_asked = vec![false; self.classes.len()];
        answers.iter().for_each(|answer| is_asked[answer.label as usize] = true);
        let untested = is_asked.iter().filter(|asked| !**asked).count();
        let held_out: Vec<(usize, HeldOut)> = answers
            .iter()
            .map(|answer| (answer.fold, (answer.scores.clone(), answer.label)))
            .collect();
        let validated = measured(&held_out, self.report.penalty, untested);
        Self {
            report: HeadReport {
                temperature: validated.temperature,
                tested: Some(validated.tested),
                ..self.report
            },
            ..self
        }
    }
}
