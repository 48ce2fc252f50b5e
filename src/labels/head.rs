//! A classifier of a set of labels: logistic regression on frozen embeddings, its penalty chosen and its probabilities
//! calibrated by cross-validation.
//! Invariant: a head is a function of its labels, the embeddings and the seed; it answers for vectors of one space alone.

mod tuned;

use std::sync::atomic::AtomicBool;

use super::calibration::{HeldOut, answer, best, expected_calibration_error, nll, temperature, wilson};
use super::folds::stratified;
use super::names::ClassName;
use super::regression::{Data, Stopped, scores, softmax};
use super::{CLASSES_MAX, regression};
use crate::rng::{self, Rng};

pub use tuned::{Answer, fit_untested};

/// Classes times numbers of an embedding. More is refused.
pub(super) const PARAMETERS_MAX: usize = 100_000;

/// Rows times classes times numbers of an embedding: of the labels that a head is fitted from, and of those that choose its
/// penalty. Where there are more, as many are taken of each class by lot. About 0.2 s and 0.03 s a step, so that the whole takes
/// some 20 s at most.
const WORK_MAX: usize = 100_000_000;
const TESTED_WORK_MAX: usize = 15_000_000;

/// Rows of a head, however few its classes.
pub const ROWS_MAX: usize = 20_000;

/// Penalties that are tried, the strongest first, so that each fit begins where the one before ended.
const PENALTIES: [f64; 4] = [1e-1, 1e-2, 1e-3, 1e-4];

/// Answers about what was held out from which on the penalty is chosen by them. Fewer choose by chance, and often a penalty so
/// strong that the commonest class is the answer to everything: with twenty labels of CIFAR-10 that cost 4 points of 20, of short
/// queries 4 of 27.
const CHOSEN_MIN: usize = 200;

/// The penalty below that. It was within a point of the best for 10 to 1,000 labels of either.
const PENALTY: f64 = 1e-3;

/// The gradient at which a fit ends: of a head, and of what is only compared.
const TOLERANCE: f64 = 1e-6;
const TESTED_TOLERANCE: f64 = 1e-4;

/// Folds of the cross-validation.
const FOLDS: usize = 5;

/// A spread below which all embeddings are one: dividing by it would make rounding errors of single precision look like classes.
const SPREAD_MIN: f64 = 1e-5;

/// Answers about what was held out from which on a temperature is fitted.
const CALIBRATED_MIN: usize = 20;

/// Labelled rows, and what is typical of the space.
#[derive(Clone, Debug)]
pub struct Training {
    /// `[N, D]`.
    pub rows: Vec<f32>,
    /// Numbers of an embedding, D.
    pub dim: usize,
    /// The class of each row, as its place in `classes`.
    pub labels: Vec<u32>,
    /// Rows that belong together share a number.
    pub groups: Vec<u64>,
    /// The classes' names.
    pub classes: Vec<ClassName>,
    /// The mean of what is held, labelled or not, `[D]`: what all embeddings have in common tells no class from another.
    pub mean: Vec<f64>,
    /// The root of the mean squared distance from it.
    pub spread: f64,
}

/// Why no head could be fitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// No labelled sample is held.
    #[error("none of the labelled samples is in the index")]
    NoLabels,
    /// There is nothing to tell apart.
    #[error("all labels that are held are of the class `{0}`: a classifier needs two classes")]
    OneClass(ClassName),
    /// More classes than a head can tell apart.
    #[error("{classes} classes are more than the {most} that a classifier tells apart at {dim} numbers a vector")]
    TooManyClasses {
        /// The classes.
        classes: usize,
        /// How many there may be.
        most: usize,
        /// Numbers of an embedding.
        dim: usize,
    },
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopped,
    /// It panicked.
    #[error("it panicked; the log says more")]
    Panicked,
}

impl From<Stopped> for FitError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// A classifier.
#[derive(Clone, Debug)]
pub struct Head {
    classes: Vec<ClassName>,
    mean: Vec<f64>,
    spread: f64,
    /// `[C, D + 1]`.
    weights: Vec<f64>,
    report: HeadReport,
}

/// What is known of a head.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadReport {
    /// Labelled rows that it was fitted from.
    pub rows: usize,
    /// Rows of each class, in their order.
    pub counts: Vec<usize>,
    /// Its penalty.
    pub penalty: f64,
    /// What its scores are divided by: 1 where there were too few answers to fit it.
    pub temperature: f64,
    /// The largest part of the gradient that was left: how near the optimum it is.
    pub gradient_max: f64,
    /// What cross-validation says; None where no class has two labels of different sources, or there are so many classes that
    /// it would take too long.
    pub tested: Option<Tested>,
}

/// What cross-validation says: each labelled sample is answered by a classifier that was fitted without its fold.
#[derive(Clone, Debug, PartialEq)]
pub struct Tested {
    /// Answers.
    pub asked: usize,
    /// Right ones.
    pub right: usize,
    /// Their share.
    pub accuracy: f64,
    /// Wilson's interval of it, 95 %.
    pub interval: (f64, f64),
    /// Classes that were not asked about, for want of a second label.
    pub untested: usize,
    /// Expected calibration error without a temperature.
    pub calibration_error: f64,
    /// And with one, that of each fold fitted on the others. None where there are too few answers.
    pub calibration_error_after: Option<f64>,
}

impl Head {
    /// The classes, in the order of [`Head::probabilities`].
    pub fn classes(&self) -> &[ClassName] {
        &self.classes
    }

    /// What is known of it.
    pub fn report(&self) -> &HeadReport {
        &self.report
    }

    /// The probability of each class for an embedding, `[D]` -> `[C]`.
    pub fn probabilities(&self, row: &[f32]) -> Vec<f64> {
        let mut out = self.scores(row);
        softmax(&mut out, self.report.temperature);
        out
    }
}

/// The most classes that a head tells apart, at so many numbers an embedding.
fn classes_max(dim: usize) -> usize {
    (PARAMETERS_MAX / dim.max(1)).clamp(2, CLASSES_MAX)
}

/// At most so many rows, ascending, of each class about as many as of any other that has enough; chosen by lot.
pub fn balanced(labels: &[u32], classes: usize, rows_max: usize, rng: &mut Rng) -> Vec<usize> {
    if labels.len() <= rows_max {
        return (0..labels.len()).collect();
    }
    let mut by_class = vec![Vec::new(); classes];
    for (row, label) in labels.iter().enumerate() {
        by_class[*label as usize].push(row);
    }
    for rows in &mut by_class {
        shuffle(rows, rng);
    }
    let rounds = by_class.iter().map(Vec::len).max().unwrap_or(0);
    let dealt = (0..rounds).flat_map(|round| by_class.iter().filter_map(move |rows| rows.get(round)));
    let mut chosen: Vec<usize> = dealt.take(rows_max).copied().collect();
    chosen.sort_unstable();
    chosen
}

/// Fits a head. `seed` chooses the labels where there are more than it can be fitted from; `stop` ends it early.
pub fn fit(training: &Training, seed: u64, stop: &AtomicBool) -> Result<Head, FitError> {
    let (dim, classes) = (training.dim, training.classes.len());
    match training.classes.as_slice() {
        [] => return Err(FitError::NoLabels),
        [only] => return Err(FitError::OneClass(only.clone())),
        _ => {}
    }
    let most = classes_max(dim);
    if classes > most {
        return Err(FitError::TooManyClasses { classes, most, dim });
    }
    let mut rng = rng::for_step(seed, 0, 0);
    let all = Sample::of(training, (WORK_MAX / (classes * dim)).min(ROWS_MAX), &mut rng);
    let tested = Sample::of(training, TESTED_WORK_MAX / (classes * dim), &mut rng);
    let validated = validate(&tested, classes, stop)?;
    let penalty = validated.as_ref().map_or(PENALTY, |validated| validated.penalty);
    let fitted = regression::fit(&all.data(classes), penalty, None, TOLERANCE, stop)?;
    let mut counts = vec![0; classes];
    all.labels.iter().for_each(|label| counts[*label as usize] += 1);
    let report = HeadReport {
        rows: all.labels.len(),
        counts,
        penalty,
        temperature: validated.as_ref().map_or(1.0, |validated| validated.temperature),
        gradient_max: fitted.gradient_max,
        tested: validated.map(|validated| validated.tested),
    };
    Ok(Head {
        classes: training.classes.clone(),
        mean: training.mean.clone(),
        spread: training.spread,
        weights: fitted.weights,
        report,
    })
}

/// Labelled rows about the mean, in double precision.
struct Sample {
    rows: Vec<f64>,
    dim: usize,
    labels: Vec<u32>,
    groups: Vec<u64>,
}

impl Sample {
    /// At most so many rows, of each class about as many as of any other that has enough.
    fn of(training: &Training, rows_max: usize, rng: &mut Rng) -> Self {
        let chosen = balanced(&training.labels, training.classes.len(), rows_max, rng);
        let row = |row: &usize| &training.rows[row * training.dim..][..training.dim];
        Self {
            rows: chosen
                .iter()
                .flat_map(|at| shifted(row(at), &training.mean, training.spread))
                .collect(),
            dim: training.dim,
            labels: chosen.iter().map(|row| training.labels[*row]).collect(),
            groups: chosen.iter().map(|row| training.groups[*row]).collect(),
        }
    }

    fn data(&self, classes: usize) -> Data<'_> {
        Data {
            rows: &self.rows,
            dim: self.dim,
            labels: &self.labels,
            classes,
        }
    }

    /// The rows of which this is so.
    fn only(&self, is_so: impl Fn(usize) -> bool) -> Self {
        let chosen: Vec<usize> = (0..self.labels.len()).filter(|row| is_so(*row)).collect();
        Self {
            rows: chosen
                .iter()
                .flat_map(|row| &self.rows[row * self.dim..][..self.dim])
                .copied()
                .collect(),
            dim: self.dim,
            labels: chosen.iter().map(|row| self.labels[*row]).collect(),
            groups: chosen.iter().map(|row| self.groups[*row]).collect(),
        }
    }
}

/// What cross-validation chose and measured.
struct Validated {
    penalty: f64,
    temperature: f64,
    tested: Tested,
}

/// Chooses the penalty under which what was held out is likeliest, where there are enough answers, and the temperature of those
/// answers. None where nothing can be held out.
fn validate(sample: &Sample, classes: usize, stop: &AtomicBool) -> Result<Option<Validated>, FitError> {
    let folds = stratified(&sample.labels, &sample.groups, FOLDS);
    let penalties = match folds.iter().flatten().count() {
        asked if asked < CHOSEN_MIN => &[PENALTY],
        _ => PENALTIES.as_slice(),
    };
    let mut answers: Vec<Vec<(usize, HeldOut)>> = vec![Vec::new(); penalties.len()];
    for fold in 0..FOLDS {
        let (known, asked) = (
            sample.only(|row| folds[row] != Some(fold)),
            sample.only(|row| folds[row] == Some(fold)),
        );
        if asked.labels.is_empty() || known.labels.is_empty() {
            continue;
        }
        let mut start = None;
        for (penalty, answers) in penalties.iter().zip(&mut answers) {
            let fitted = regression::fit(&known.data(classes), *penalty, start, TESTED_TOLERANCE, stop)?;
            for (row, label) in asked.rows.chunks_exact(sample.dim).zip(&asked.labels) {
                let mut out = vec![0.0; classes];
                scores(&fitted.weights, row, &mut out);
                answers.push((fold, (out, *label)));
            }
            start = Some(fitted.weights);
        }
    }
    if answers[0].is_empty() {
        return Ok(None);
    }
    let cost = |answers: &[(usize, HeldOut)]| answers.iter().map(|(_, held_out)| nll(held_out, 1.0)).sum::<f64>();
    let costs: Vec<f64> = answers.iter().map(|answers| -cost(answers)).collect();
    let chosen = best(&costs);
    let mut asked_classes = vec![false; classes];
    answers[chosen]
        .iter()
        .for_each(|(_, (_, label))| asked_classes[*label as usize] = true);
    let untested = asked_classes.iter().filter(|asked| !**asked).count();
    Ok(Some(measured(&answers[chosen], penalties[chosen], untested)))
}

fn measured(answers: &[(usize, HeldOut)], penalty: f64, untested: usize) -> Validated {
    let before: Vec<(f64, bool)> = answers.iter().map(|(_, held_out)| answer(held_out, 1.0)).collect();
    let right = before.iter().filter(|(_, right)| *right).count();
    let is_enough = answers.len() >= CALIBRATED_MIN;
    let fitted_on = |of: &dyn Fn(usize) -> bool| {
        let chosen: Vec<&HeldOut> = answers.iter().filter(|(fold, _)| of(*fold)).map(|(_, it)| it).collect();
        temperature(&chosen)
    };
    let after = is_enough.then(|| {
        let temperatures: Vec<f64> = (0..FOLDS).map(|own| fitted_on(&|fold| fold != own)).collect();
        let after = answers
            .iter()
            .map(|(fold, held_out)| answer(held_out, temperatures[*fold]));
        expected_calibration_error(&after.collect::<Vec<_>>())
    });
    Validated {
        penalty,
        temperature: if is_enough { fitted_on(&|_| true) } else { 1.0 },
        tested: Tested {
            asked: answers.len(),
            right,
            accuracy: right as f64 / answers.len() as f64,
            interval: wilson(right, answers.len()),
            untested,
            calibration_error: expected_calibration_error(&before),
            calibration_error_after: after,
        },
    }
}

/// A row about the mean, in units of the spread.
fn shifted(row: &[f32], mean: &[f64], spread: f64) -> Vec<f64> {
    let scale = 1.0 / spread.max(SPREAD_MIN);
    row.iter()
        .zip(mean)
        .map(|(value, mean)| (f64::from(*value) - mean) * scale)
        .collect()
}

fn shuffle(rows: &mut [usize], rng: &mut Rng) {
    for at in 0..rows.len() {
        let other = at + rng::below(rng, rows.len() - at);
        rows.swap(at, other);
    }
}
