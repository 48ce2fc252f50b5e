//! Fine-tuning: a copy of a published network is trained together with a classifier on a set of labels.
//! Always true: the published network stays as it is; a copy is offered only where cross-validation found it right more often than
//! the classifier on the published network's embeddings, on the same held-out samples.

mod copy;
mod shown;

pub use copy::{Plan, train};

use std::sync::atomic::{AtomicBool, Ordering};

use tch::{Device, TchError};

use crate::labels::{Answer, FitError, Head, Tested, Training, fit_untested};
use crate::model::text::{Tokenizer, TokenizerError};
use crate::model::{Embedder, EncoderSpec, ModelError};
use crate::sample::{Content, ContentError};
use crate::torch::TorchError;

/// Labelled samples that a copy is trained on, at most.
pub const ROWS_MAX: usize = 4_000;

/// Folds of the cross-validation: each is a training.
const FOLDS: usize = 3;

/// Samples that are embedded together.
const PASS: usize = 64;

/// A published network.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    /// What it is.
    pub spec: &'a EncoderSpec,
    /// What its texts are read with.
    pub tokenizer: Option<&'a Tokenizer>,
    /// Its weights: a `model.safetensors`.
    pub weights: &'a [u8],
    /// Where the copy computes.
    pub device: Device,
    /// Whether its costly operations run in bfloat16.
    pub bf16: bool,
}

impl Origin<'_> {
    /// The network with other weights, to embed with.
    fn with(&self, weights: &[u8]) -> Result<Embedder, ModelError> {
        let embedder = Embedder::open(self.spec, self.tokenizer, weights, self.device)?;
        Ok(if self.bf16 { embedder.in_bf16() } else { embedder })
    }
}

/// Reads labelled samples by their places in the training; None of one that is gone.
pub type Read<'a> = dyn Fn(&[usize]) -> Result<Vec<Option<Content>>, String> + 'a;

/// When to end early.
#[derive(Clone, Copy)]
pub struct Stop<'a> {
    /// The daemon is stopping.
    pub stopping: &'a AtomicBool,
    /// Nobody wants the copy any more.
    pub is_given_up: &'a (dyn Fn() -> bool + Sync),
}

impl Stop<'_> {
    fn check(&self) -> Result<(), TuneError> {
        match self.stopping.load(Ordering::Relaxed) || (self.is_given_up)() {
            true => Err(TuneError::Fit(FitError::Stopped)),
            false => Ok(()),
        }
    }
}

/// Why no copy was trained.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// Its classifier could not be fitted.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// Nothing can be held out.
    #[error("no class has labels of two sources, so that nothing can be held out: give more labels")]
    Untested,
    /// The loss, or a weight, is no number any more.
    #[error("the loss or a weight is no number at step {0}")]
    Diverged(u64),
    /// Samples could not be read.
    #[error("the labelled samples could not be read: {0}")]
    Unread(String),
    /// The network.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A text.
    #[error(transparent)]
    Text(#[from] TokenizerError),
    /// A sample.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// libtorch.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl From<TchError> for TuneError {
    fn from(error: TchError) -> Self {
        Self::Torch(error.into())
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What cross-validation says of copies.
    pub tested: Tested,
    /// Of the same samples, those that the classifier on the published network's embeddings told rightly.
    pub frozen_right: usize,
    /// Those that only the copies told rightly.
    pub gained: usize,
    /// Those that only it told rightly.
    pub lost: usize,
    /// A copy that was trained on all labels, where copies are better.
    pub copy: Option<Copy>,
}

/// A copy of a network that was trained on labels.
#[derive(Clone, Debug)]
pub struct Copy {
    /// Its weights: a `model.safetensors`.
    pub weights: Vec<u8>,
    /// The classifier of its vectors.
    pub head: Head,
}

/// Whether copies are better: more is gained than lost, by more than the difference's standard error.
fn is_better(gained: usize, lost: usize) -> bool {
    gained as f64 - lost as f64 > ((gained + lost) as f64).sqrt()
}

/// Trains copies in cross-validation, and where they are right more often than the classifier on the network's own embeddings, one
/// on all labels. `training`: those embeddings and their labels, [`ROWS_MAX`] at most; `penalty`: of a classifier of them.
///
/// # Errors
/// Too few labels to test anything; samples that can not be read; a failure of libtorch; being stopped.
pub fn tune(
    origin: &Origin<'_>,
    training: &Training,
    read: &Read<'_>,
    penalty: f64,
    seed: u64,
    stop: Stop<'_>,
) -> Result<Outcome, TuneError> {
    let (folds, plan) = (training.folds(FOLDS), Plan::of(origin.spec));
    if folds.iter().all(Option::is_none) {
        return Err(TuneError::Untested);
    }
    let (mut answers, mut frozen_right, mut gained, mut lost) = (Vec::new(), 0, 0, 0);
    for fold in 0..FOLDS {
        let (asked, known): (Vec<usize>, Vec<usize>) = (0..folds.len()).partition(|row| folds[*row] == Some(fold));
        if asked.is_empty() || known.is_empty() {
            continue;
        }
        let frozen = fit_untested(&training.only(|row| folds[row] != Some(fold)), penalty, stop.stopping)?;
        let copy = copy::train((origin, &plan), &frozen, training, &known, read, seed, stop)?;
        let network = origin.with(&copy.weights)?;
        for pass in asked.chunks(PASS) {
            stop.check()?;
            let contents = read(pass).map_err(TuneError::Unread)?;
            let (rows, contents): (Vec<usize>, Vec<Content>) = pass
                .iter()
                .zip(contents)
                .filter_map(|(row, content)| Some((*row, content?)))
                .unzip();
            let vectors = network.embed(&contents.iter().collect::<Vec<_>>())?;
            for (row, vector) in rows.into_iter().zip(vectors.chunks_exact(training.dim)) {
                let label = training.labels[row];
                let answer = |scores| Answer { fold, scores, label };
                let tuned = answer(copy.head.scores(vector));
                let own = answer(frozen.scores(&training.rows[row * training.dim..][..training.dim]));
                let (is_right, was_right) = (tuned.is_right(), own.is_right());
                frozen_right += usize::from(was_right);
                gained += usize::from(is_right && !was_right);
                lost += usize::from(was_right && !is_right);
                answers.push(tuned);
            }
        }
    }
    let frozen = fit_untested(training, penalty, stop.stopping)?;
    let Some(tested) = frozen.clone().tested_by(&answers).report().tested.clone() else {
        return Err(TuneError::Unread("all of them are gone".to_owned()));
    };
    let copy = match is_better(gained, lost) {
        true => {
            let all: Vec<usize> = (0..training.labels.len()).collect();
            let copy = copy::train((origin, &plan), &frozen, training, &all, read, seed, stop)?;
            Some(Copy {
                head: copy.head.tested_by(&answers),
                ..copy
            })
        }
        false => None,
    };
    Ok(Outcome {
        tested,
        frozen_right,
        gained,
        lost,
        copy,
    })
}

#[cfg(test)]
mod tests;
