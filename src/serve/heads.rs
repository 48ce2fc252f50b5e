//! Heads: classifiers of a generation, fitted from the stream's labels on the index of its space.
//! Invariant: a head is held by the generation whose vectors it was fitted on, so that an answer is never of a head and a
//! vector of two spaces; for a new generation every head is fitted before it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::index::{Index, Snapshot};
use super::labels::kept_failed;
use super::problem::{Kind, Problem};
use super::stream::{Served, ServingSetup};
use super::tuning::{TunedCopy, Tuning};
use crate::clock::Timestamp;
use crate::ids::{SampleId, SourceHash};
use crate::labels::{
    ClassName, FitError, Head, HeadKind, LabelError, LabelSet, LabelStore, ROWS_MAX, SetName, Training, balanced,
};
use crate::limits::TUNED_SETS_MAX;
use crate::replay::{ReplayBuffer, ReplayError};
use crate::rng;

/// Rows that tell what is typical of a space.
const TYPICAL_ROWS: usize = 4_096;

/// The heads of a generation by the name of their set; of one that could not be fitted, why.
pub(super) type Heads = BTreeMap<SetName, Result<Arc<Fitted>, String>>;

/// What came of training copies for sets of labels.
pub(super) type Tuned = BTreeMap<SetName, Tuning>;

/// A head, and what it was fitted from.
#[derive(Clone)]
pub(super) struct Fitted {
    pub(super) head: Head,
    /// The state of the set that it was fitted from.
    pub(super) revision: u64,
    /// Labels of that state whose samples are not held.
    pub(super) unheld: usize,
    pub(super) at: Timestamp,
    pub(super) took: Duration,
    /// What came of training a copy of the network; None where none was asked for.
    pub(super) tuning: Option<Tuning>,
}

impl Fitted {
    /// The copy that answers, where one was found better.
    pub(super) fn copy(&self) -> Option<&TunedCopy> {
        match &self.tuning {
            Some(Tuning::Compared(compared)) => compared.copy.as_ref(),
            _ => None,
        }
    }
}

/// Why no head was fitted.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeadError {
    /// The labels make none.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// As many sets as may have copies of the network trained on them have.
    #[error("{TUNED_SETS_MAX} sets of labels have copies of the network trained on them, as many as may")]
    TooManyCopies,
    /// The samples that they are of could not be looked up.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// It could not be remembered.
    #[error(transparent)]
    Labels(#[from] LabelError),
}

impl From<HeadError> for Problem {
    fn from(error: HeadError) -> Self {
        let detail = error.to_string();
        match error {
            HeadError::Fit(FitError::Stopped) => Self::new(Kind::NotReady, detail).retry_after(5),
            HeadError::Fit(FitError::Panicked) | HeadError::Replay(_) => Self::new(Kind::Internal, detail),
            HeadError::Fit(FitError::NoLabels | FitError::OneClass(_)) => Self::new(Kind::Unprocessable, detail)
                .hint("give labels first: curiod labels add, or POST /api/v1/labels"),
            HeadError::Fit(FitError::TooManyClasses { .. }) => {
                Self::new(Kind::Unprocessable, detail).hint("put the classes into several sets of labels")
            }
            HeadError::TooManyCopies => Self::new(Kind::Unprocessable, detail)
                .hint("fit one of them without a copy first: curiod heads fit --set SET"),
            HeadError::Labels(error) => kept_failed(&error),
        }
    }
}

/// A held sample that has a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Labelled {
    pub(super) id: SampleId,
    /// Its class, as a place in the set's classes.
    pub(super) class: u32,
    /// Samples that belong together share a number.
    group: u64,
}

/// The samples of an index that have a label of a set, and how many labels none of them has.
pub(super) fn held(
    labels: &LabelSet,
    replay: &ReplayBuffer,
    index: &Index,
) -> Result<(Vec<Labelled>, usize), ReplayError> {
    let places: BTreeMap<&ClassName, u32> = labels.classes().keys().zip(0..).collect();
    let (mut found, mut unheld) = (Vec::new(), 0);
    let mut rest = labels.labels().iter().peekable();
    while let Some((first, class)) = rest.next() {
        let source = first.source;
        let whole = first.part.is_none().then_some(class);
        let mut parts: BTreeMap<u32, &ClassName> = first.part.map(|part| (part, class)).into_iter().collect();
        while let Some((key, class)) = rest.next_if(|(key, _)| key.source == source) {
            parts.extend(key.part.map(|part| (part, class)));
        }
        let ids = replay.taken(&source)?.map_or(0..0, |taken| taken.ids);
        let before = found.len();
        if let Some(class) = whole {
            let others = replay.live_in(ids.clone(), usize::MAX).into_iter().filter(|id| {
                let part = u32::try_from(id.0 - ids.start);
                part.is_ok_and(|part| !parts.contains_key(&part)) && index.holds(*id)
            });
            found.extend(others.map(|id| Labelled {
                id,
                class: places[class],
                group: source.prefix(),
            }));
            unheld += usize::from(found.len() == before);
        }
        for (part, class) in parts {
            let id = SampleId(ids.start.saturating_add(u64::from(part)));
            if ids.contains(&id.0) && index.holds(id) {
                found.push(Labelled {
                    id,
                    class: places[class],
                    group: group_of(&source, part),
                });
            } else {
                unheld += 1;
            }
        }
    }
    Ok((found, unheld))
}

/// The group of a sample that has a label of its own.
fn group_of(source: &SourceHash, part: u32) -> u64 {
    let mut named = [0; 36];
    named[..32].copy_from_slice(&source.0);
    named[32..].copy_from_slice(&part.to_be_bytes());
    SourceHash::of(&named).prefix()
}

/// Fits the head of a set on a generation's index.
pub(super) fn fit(
    setup: &ServingSetup,
    served: &Served,
    set: &SetName,
    stop: &AtomicBool,
) -> Result<Fitted, HeadError> {
    let started = Instant::now();
    let labels = setup.labels.set(set);
    let (held, unheld) = held(&labels, &setup.replay, &served.index)?;
    let seed = served.published.generation.0;
    let (training, _) = training(&labels, &held, &served.index, ROWS_MAX, seed);
    let head = crate::labels::fit(&training, seed, stop)?;
    let fitted = Fitted {
        head,
        revision: labels.revision(),
        unheld,
        at: setup.clock.now(),
        took: started.elapsed(),
        tuning: None,
    };
    info!(stream = %setup.stream, generation = %served.published.generation, %set, labels = fitted.head.report().rows,
        took_ms = fitted.took.as_millis() as u64, "fitted a classifier");
    Ok(fitted)
}

/// Fits every head that was asked for. `tuned`: what came of training copies; those that are asked for and not in it are still to
/// be trained.
pub(super) fn fit_all(setup: &ServingSetup, served: &Served, mut tuned: Tuned, stop: &AtomicBool) -> Heads {
    let mut fit_one = |set: &SetName, kind: HeadKind| {
        let fitted = catch_unwind(AssertUnwindSafe(|| fit(setup, served, set, stop)));
        let fitted = fitted.unwrap_or_else(|_| {
            error!(stream = %setup.stream, %set,
                hint = "please report it with this log; all else goes on",
                "fitting a classifier panicked");
            Err(FitError::Panicked.into())
        });
        let with_copy = |fitted: Fitted| {
            let tuning = || tuned.remove(set).unwrap_or(Tuning::Training);
            Arc::new(Fitted {
                tuning: (kind == HeadKind::Finetuned).then(tuning),
                ..fitted
            })
        };
        fitted.map(with_copy).map_err(|error| {
            // One that is stopping has said so.
            if !matches!(error, HeadError::Fit(FitError::Stopped)) {
                warn!(stream = %setup.stream, generation = %served.published.generation, %set, %error,
                    hint = "give labels of samples that are held, then: curiod heads fit",
                    "could not fit a classifier for a new generation");
            }
            error.to_string()
        })
    };
    let sets = setup.labels.heads().into_iter();
    sets.map(|(set, kind)| (set.clone(), fit_one(&set, kind))).collect()
}

/// The heads of a generation for which none could be fitted.
pub(super) fn none_fitted(labels: &LabelStore) -> Heads {
    let why = || Err("no thread could be started to fit it".to_owned());
    labels.heads().into_keys().map(|set| (set, why())).collect()
}

/// What a head is fitted from: at most so many labelled samples, of each class about as many as of any other that has enough; and
/// their ids.
pub(super) fn training(
    labels: &LabelSet,
    held: &[Labelled],
    index: &Index,
    rows_max: usize,
    seed: u64,
) -> (Training, Vec<SampleId>) {
    let all: Vec<u32> = held.iter().map(|labelled| labelled.class).collect();
    let chosen = balanced(&all, labels.classes().len(), rows_max, &mut rng::for_step(seed, 1, 0));
    let (mean, spread) = typical(&index.snapshot(), index.dim());
    let mut training = Training {
        rows: Vec::with_capacity(chosen.len() * index.dim()),
        dim: index.dim(),
        labels: Vec::new(),
        groups: Vec::new(),
        classes: Vec::new(),
        mean,
        spread,
    };
    let mut present: BTreeSet<u32> = BTreeSet::new();
    let (mut known, mut ids) = (Vec::new(), Vec::new());
    for labelled in chosen.into_iter().map(|at| held[at]) {
        // One that was evicted a moment ago is left out.
        if let Some(row) = index.embedding(labelled.id) {
            training.rows.extend(row);
            training.groups.push(labelled.group);
            present.insert(labelled.class);
            known.push(labelled.class);
            ids.push(labelled.id);
        }
    }
    // Classes of which nothing is held are none that could be answered.
    let places: BTreeMap<u32, u32> = present.into_iter().zip(0..).collect();
    let names = (0..).zip(labels.classes().keys());
    training.classes = names
        .filter(|(class, _)| places.contains_key(class))
        .map(|(_, name)| name.clone())
        .collect();
    training.labels = known.iter().map(|class| places[class]).collect();
    (training, ids)
}

/// The mean of an index's rows, and the root of their mean squared distance from it; of some, evenly spaced, where it is large.
fn typical(now: &Snapshot, dim: usize) -> (Vec<f64>, f64) {
    let step = now.len().div_ceil(TYPICAL_ROWS).max(1);
    let rows = || (0..now.len()).step_by(step).filter_map(|nth| Some(now.nth(nth)?.1));
    let count = rows().count().max(1) as f64;
    let mut mean = vec![0.0; dim];
    for row in rows() {
        mean.iter_mut()
            .zip(row)
            .for_each(|(mean, value)| *mean += f64::from(*value) / count);
    }
    let squares = rows().flat_map(|row| {
        row.iter()
            .zip(&mean)
            .map(|(value, mean)| (f64::from(*value) - mean).powi(2))
    });
    let spread = (squares.sum::<f64>() / count).sqrt();
    (mean, spread)
}

/// The head of a set that a generation has, or why it has none.
pub(super) fn of(served: &Served, set: &SetName) -> Result<Arc<Fitted>, Problem> {
    let Some(heads) = served.heads.load_full() else {
        return Err(Problem::new(Kind::NotReady, "the classifiers are being fitted").retry_after(2));
    };
    match heads.get(set) {
        Some(Ok(fitted)) => Ok(Arc::clone(fitted)),
        Some(Err(why)) => Err(Problem::new(
            Kind::NoHead,
            format!("the classifier of `{set}` could not be fitted: {why}"),
        )
        .hint("give labels of samples that are held, then: curiod heads fit, or POST /api/v1/heads")),
        None => Err(
            Problem::new(Kind::NoHead, format!("no classifier of the labels `{set}` was fitted"))
                .hint("curiod heads fit, or POST /api/v1/heads"),
        ),
    }
}
