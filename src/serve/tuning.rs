//! Copies of a generation's network that are trained on labels: how one is made, and how it answers in the place of the network's own
//! embeddings.
//! Invariant: a copy belongs to one generation and one set of labels; what it is asked it answers with its own classifier, and its
//! vectors leave it for nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::encoder::{Encoder, EncoderSetup, WorkError};
use super::heads::{self, HeadError};
use super::stream::{Served, ServingSetup};
use crate::labels::{FitError, Head, SetName, Tested};
use crate::model::Embedder;
use crate::sample::Content;
use crate::torch;
use crate::tune::{self, Origin, Outcome, Stop, TuneError};

/// How much lower than the others' the priority of a training is: as the learner's.
const NICENESS: i32 = 10;

/// What came of training a copy.
#[derive(Clone)]
pub(super) enum Tuning {
    /// It is being trained, or waits for its turn.
    Training,
    /// It was trained, and compared with the classifier of the generation's own embeddings.
    Compared(Arc<Compared>),
    /// Why there is none.
    Failed(String),
}

/// What cross-validation said of copies, and the one that answers where they are better.
pub(super) struct Compared {
    /// What it said of copies.
    pub(super) tested: Tested,
    /// Of the same samples, those that the classifier of the network's own embeddings told rightly.
    pub(super) frozen_right: usize,
    /// Those that only the copies told rightly.
    pub(super) gained: usize,
    /// Those that only it told rightly.
    pub(super) lost: usize,
    pub(super) copy: Option<TunedCopy>,
    pub(super) took: Duration,
}

/// A copy that answers.
pub(super) struct TunedCopy {
    pub(super) encoder: Encoder,
    pub(super) head: Head,
}

/// Why no copy was made.
#[derive(Debug, thiserror::Error)]
pub(super) enum TuningError {
    /// The labels could not be looked up.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The training failed.
    #[error(transparent)]
    Tune(#[from] TuneError),
    /// What it begins with can not be read.
    #[error(transparent)]
    Registry(#[from] crate::registry::RegistryError),
    /// A thread could not be started.
    #[error("no thread could be started for it: {0}")]
    Thread(#[from] std::io::Error),
}

impl TuningError {
    /// Whether nobody wants the copy any more.
    fn is_given_up(&self) -> bool {
        matches!(self, Self::Tune(TuneError::Fit(FitError::Stopped)))
    }
}

/// Trains and compares, on a thread of lower priority, and starts the encoder of the copy, if there is one. None where it was
/// given up.
pub(super) fn tune(
    setup: &ServingSetup,
    served: &Served,
    set: &SetName,
    stop: Stop<'_>,
) -> Option<(Tuning, Vec<std::thread::JoinHandle<()>>)> {
    let started = Instant::now();
    let trained = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(format!("tune-{}", setup.stream));
        let train = || {
            crate::niceness::lower(NICENESS, "fine-tuning");
            torch::set_threads(setup.threads * setup.lanes);
            catch_unwind(AssertUnwindSafe(|| train(setup, served, set, stop)))
        };
        let handle = thread.spawn_scoped(scope, train)?;
        // Panics are caught where they happen.
        Ok(handle.join().and_then(|caught| caught))
    });
    let outcome = match trained {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => {
            error!(stream = %setup.stream, %set,
                hint = "please report it with this log; all else goes on, and the classifier of the network's own embeddings answers",
                "training a copy panicked");
            return Some((Tuning::Failed("it panicked; the log says more".to_owned()), Vec::new()));
        }
        Err(error) => Err(TuningError::Thread(error)),
    };
    let answering = outcome.and_then(|outcome| with_encoder(setup, served, set, outcome, started.elapsed()));
    match answering {
        Ok((compared, threads)) => {
            info!(stream = %setup.stream, generation = %served.published.generation, %set,
                accuracy = compared.tested.accuracy, frozen_right = compared.frozen_right, asked = compared.tested.asked,
                answers = compared.copy.is_some(), took_s = compared.took.as_secs(), "trained a copy on labels");
            Some((Tuning::Compared(Arc::new(compared)), threads))
        }
        Err(error) if error.is_given_up() => None,
        Err(error) => {
            warn!(stream = %setup.stream, generation = %served.published.generation, %set, %error,
                hint = "give more labels, then: curiod heads fit --finetune; until then the classifier of the network's own \
                        embeddings answers",
                "could not train a copy on labels");
            Some((Tuning::Failed(error.to_string()), Vec::new()))
        }
    }
}

fn train(setup: &ServingSetup, served: &Served, set: &SetName, stop: Stop<'_>) -> Result<Outcome, TuningError> {
    let labels = setup.labels.set(set);
    let (held, _) = heads::held(&labels, &setup.replay, &served.index).map_err(HeadError::from)?;
    let seed = served.published.generation.0;
    let (training, ids) = heads::training(&labels, &held, &served.index, tune::ROWS_MAX, seed);
    let frozen = crate::labels::fit(&training, seed, stop.stopping).map_err(TuneError::Fit)?;
    let tokenizer = served.published.tokenizer()?;
    let weights = served.published.weights()?;
    let origin = Origin {
        spec: &served.published.manifest.provenance.encoder,
        tokenizer: tokenizer.as_ref(),
        weights: &weights,
        device: setup.device,
        bf16: setup.bf16,
    };
    let read = |rows: &[usize]| -> Result<Vec<Option<Content>>, String> {
        let wanted: Vec<_> = rows.iter().map(|row| ids[*row]).collect();
        let found = setup.replay.read_many(&wanted).map_err(|error| error.to_string())?;
        // One that can not be read was named by the buffer, and by the index.
        let content = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| Content::decode(&bytes).ok());
        Ok(found.into_iter().map(content).collect())
    };
    Ok(tune::tune(
        &origin,
        &training,
        &read,
        frozen.report().penalty,
        seed,
        stop,
    )?)
}

fn with_encoder(
    setup: &ServingSetup,
    served: &Served,
    set: &SetName,
    outcome: Outcome,
    took: Duration,
) -> Result<(Compared, Vec<std::thread::JoinHandle<()>>), TuningError> {
    let mut threads = Vec::new();
    let answering = |copy: tune::Copy| -> Result<TunedCopy, TuningError> {
        let spec = served.published.manifest.provenance.encoder;
        let (tokenizer, device, bf16) = (served.published.tokenizer()?, setup.device, setup.bf16);
        let open = move || -> Result<Embedder, WorkError> {
            let embedder = Embedder::open(&spec, tokenizer.as_ref(), &copy.weights, device)?;
            Ok(if bf16 { embedder.in_bf16() } else { embedder })
        };
        let (encoder, started) = Encoder::start(EncoderSetup {
            name: format!("tuned-{}-{set}", setup.stream),
            open: Arc::new(open),
            lanes: 1,
            input_len: spec.input_len(),
            threads: setup.threads,
            follower: None,
            on_covered: Box::new(|| {}),
        })?;
        threads = started;
        Ok(TunedCopy {
            encoder,
            head: copy.head,
        })
    };
    let compared = Compared {
        tested: outcome.tested,
        frozen_right: outcome.frozen_right,
        gained: outcome.gained,
        lost: outcome.lost,
        copy: outcome.copy.map(answering).transpose()?,
        took,
    };
    Ok((compared, threads))
}
