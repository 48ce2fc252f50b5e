//! Classifiers over HTTP: fitted when they are asked for, and what is known of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::body::{self, Asked, PictureFile, params};
use super::heads::Fitted;
use super::labels::set_name;
use super::problem::{Kind, Problem};
use super::query::signed_by;
use super::tuning::Tuning;
use super::{AppState, StreamHandle, blocking, choice};
use crate::ids::{Generation, Space, StreamName};
use crate::labels::{HeadKind, HeadReport, LabelStore, SetName, Tested};

/// Which classifier to fit.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HeadRequest {
    /// The stream; may be left out where there is one.
    stream: Option<String>,
    /// The set of labels [default: `default`].
    set: Option<String>,
    /// Also train a copy of the network on the labels, together with a classifier, for this generation and each that follows. It
    /// takes minutes after the answer, and a new generation answers once its copy is trained. `finetune` of the classifier says
    /// what came of it.
    #[serde(default)]
    finetune: bool,
}

impl Asked for HeadRequest {
    fn take_pictures(&mut self, _: Vec<PictureFile>) -> Result<(), Problem> {
        let detail = "which classifier is meant is told in JSON (`Content-Type: application/json`)";
        Err(Problem::new(Kind::UnsupportedType, detail))
    }
}

/// A stream's classifiers.
#[derive(Serialize, JsonSchema)]
pub(super) struct HeadsAnswer {
    stream: StreamName,
    /// The generation that answers; null before the first.
    #[schemars(with = "Option<u64>")]
    generation: Option<Generation>,
    /// Whether they are being fitted for it.
    fitting: bool,
    /// The classifiers.
    heads: Vec<HeadAnswer>,
}

/// A classifier.
#[derive(Serialize, JsonSchema)]
pub(super) struct HeadAnswer {
    /// The set of labels that it was fitted from.
    #[schemars(with = "String")]
    set: SetName,
    /// The generation whose vectors it was fitted on.
    #[schemars(with = "u64")]
    generation: Generation,
    /// Its space.
    #[schemars(with = "String")]
    space: Space,
    /// Why there is none, where it could not be fitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// What is known of it, where it could.
    #[serde(flatten)]
    fitted: Option<FittedAnswer>,
}

/// What is known of a classifier.
#[derive(Serialize, JsonSchema)]
struct FittedAnswer {
    /// The classes and how many labelled samples of each it was fitted from.
    classes: BTreeMap<String, usize>,
    /// Labelled samples that it was fitted from.
    samples: usize,
    /// Labels that did not count, for no sample of theirs is in the index.
    labels_unheld: usize,
    /// Whether labels were given or taken back since.
    stale: bool,
    /// The penalty on its weights, chosen by cross-validation from 200 answers on.
    penalty: f64,
    /// What its scores are divided by so that its probabilities are right; 1 where there were too few labels to fit it.
    temperature: f64,
    /// What five-fold cross-validation says of the classifier of the network's own embeddings; null where no class has two labels, or there are very many classes.
    tested: Option<TestedAnswer>,
    /// What came of training a copy of the network; null where none was asked for.
    finetune: Option<FinetuneAnswer>,
    /// When it was fitted: RFC 3339, UTC.
    fitted_at: String,
    /// How long that took.
    seconds: f64,
}

/// What came of training a copy of the network on the labels.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
enum FinetuneAnswer {
    /// It is being trained, or waits for its turn: the classifier of the network's own embeddings answers.
    Training,
    /// Copies are right more often: one answers `classify`.
    Answers(ComparedAnswer),
    /// They are not, by more than chance: the classifier of the network's own embeddings answers.
    NoBetter(ComparedAnswer),
    /// None was trained: the classifier of the network's own embeddings answers.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Copies against the classifier of the network's own embeddings, in the same three-fold cross-validation.
#[derive(Serialize, JsonSchema)]
struct ComparedAnswer {
    /// What it says of copies.
    #[serde(flatten)]
    tested: TestedAnswer,
    /// Of the same samples, the share that the classifier of the network's own embeddings told rightly.
    frozen_accuracy: f64,
    /// Samples that only copies told rightly.
    gained: usize,
    /// Samples that only the classifier of the network's own embeddings told rightly.
    lost: usize,
    /// How long all trainings took.
    seconds: f64,
}

/// What cross-validation says of a classifier.
#[derive(Serialize, JsonSchema)]
struct TestedAnswer {
    /// Labelled samples that were answered by a classifier fitted without them.
    samples: usize,
    /// The share of right answers.
    accuracy: f64,
    /// Wilson's interval of it, 95 %, which takes the samples as independent.
    accuracy_low: f64,
    accuracy_high: f64,
    /// Classes that could not be asked about, for want of a second label.
    classes_untested: usize,
    /// Expected calibration error in 15 bins, before the temperature.
    calibration_error: f64,
    /// And after, with that of each fold fitted on the others; null below 20 answers.
    calibration_error_after: Option<f64>,
}

impl FittedAnswer {
    fn of(fitted: &Fitted, labels: &LabelStore, set: &SetName) -> Self {
        let HeadReport {
            rows,
            counts,
            penalty,
            temperature,
            tested,
            ..
        } = fitted.head.report();
        let names = fitted.head.classes().iter().map(ToString::to_string);
        Self {
            classes: names.zip(counts.iter().copied()).collect(),
            samples: *rows,
            labels_unheld: fitted.unheld,
            stale: labels.set(set).revision() != fitted.revision,
            penalty: *penalty,
            temperature: *temperature,
            tested: tested.as_ref().map(TestedAnswer::of),
            finetune: fitted.tuning.as_ref().map(FinetuneAnswer::of),
            fitted_at: fitted.at.to_rfc3339(),
            seconds: fitted.took.as_secs_f64(),
        }
    }
}

impl TestedAnswer {
    fn of(tested: &Tested) -> Self {
        Self {
            samples: tested.asked,
            accuracy: tested.accuracy,
            accuracy_low: tested.interval.0,
            accuracy_high: tested.interval.1,
            classes_untested: tested.untested,
            calibration_error: tested.calibration_error,
            calibration_error_after: tested.calibration_error_after,
        }
    }
}

impl FinetuneAnswer {
    fn of(tuning: &Tuning) -> Self {
        let compared = match tuning {
            Tuning::Training => return Self::Training,
            Tuning::Failed(reason) => return Self::Failed { reason: reason.clone() },
            Tuning::Compared(compared) => compared,
        };
        let answer = ComparedAnswer {
            tested: TestedAnswer::of(&compared.tested),
            frozen_accuracy: compared.frozen_right as f64 / compared.tested.asked.max(1) as f64,
            gained: compared.gained,
            lost: compared.lost,
            seconds: compared.took.as_secs_f64(),
        };
        match compared.copy {
            Some(_) => Self::Answers(answer),
            None => Self::NoBetter(answer),
        }
    }
}

/// `GET /api/v1/heads`.
pub(super) async fn list(State(state): State<Arc<AppState>>, request: Request) -> Result<Json<HeadsAnswer>, Problem> {
    let params = params(request.uri(), &["stream"])?;
    let (stream, handle) = choice::stream(&state, params.get("stream").map(String::as_str))?;
    // Whether labels have changed since is asked of their store, which may be writing.
    Ok(Json(blocking(move || listed(stream, &handle)).await?))
}

fn listed(stream: StreamName, handle: &StreamHandle) -> HeadsAnswer {
    let served = handle.serving.current();
    let heads = served
        .as_ref()
        .and_then(|served| Some((served, served.heads.load_full()?)));
    let heads = heads.map(|(served, heads)| {
        let answer = |(set, fitted): (&SetName, &Result<Arc<Fitted>, String>)| HeadAnswer {
            set: set.clone(),
            generation: served.published.generation,
            space: served.published.space.clone(),
            failure: fitted.as_ref().err().cloned(),
            fitted: fitted
                .as_ref()
                .ok()
                .map(|fitted| FittedAnswer::of(fitted, &handle.labels, set)),
        };
        heads.iter().map(answer).collect()
    });
    HeadsAnswer {
        stream,
        generation: served.as_ref().map(|served| served.published.generation),
        fitting: served.is_some() && heads.is_none(),
        heads: heads.unwrap_or_default(),
    }
}

/// `POST /api/v1/heads`: fits a classifier for the generation that answers, and for each that follows; a copy, where one is asked
/// for, is trained after the answer.
pub(super) async fn fit(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, Problem> {
    let (HeadRequest { stream, set, finetune }, _held) = body::read(&state, request).await?;
    let (_, handle) = choice::stream(&state, stream.as_deref())?;
    let set = set_name(set.as_deref())?;
    let kind = match finetune {
        true => HeadKind::Finetuned,
        false => HeadKind::Frozen,
    };
    // The permit goes with the work, which goes on when the client hangs up.
    let permit = Arc::clone(&state.comparing).acquire_owned().await;
    let (published, answer) = blocking(move || {
        let _permit = permit;
        let fitted = handle.serving.fit_head(&set, kind)?.ok_or_else(|| {
            let detail = "no generation is searchable with its classifiers yet";
            Problem::new(Kind::NotReady, detail).retry_after(2)
        })?;
        let (published, fitted) = fitted;
        let answer = HeadAnswer {
            generation: published.generation,
            space: published.space.clone(),
            failure: None,
            fitted: Some(FittedAnswer::of(&fitted, &handle.labels, &set)),
            set,
        };
        Ok::<_, Problem>((published, answer))
    })
    .await??;
    Ok(signed_by(&published, Json(answer)))
}
