//! `GET /api/v1/models/{stream}/diff`: what another generation changed, by who is near whom among the same samples.
//! Always true: it is bounded by a number of samples and by a time, one is made at a time, and between its passes queries are
//! answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use schemars::JsonSchema;
use serde::Serialize;

use super::body::{self, params};
use super::choice::{self, Answering};
use super::encoder::Inputs;
use super::overlap::{Rows, agreement, quantile};
use super::problem::{Kind, Problem};
use super::{AppState, StreamHandle, blocking};
use crate::ids::{Generation, SampleId, Space, StreamName};
use crate::replay::ReplayBuffer;
use crate::rng;
use crate::sample::Content;

/// Samples that are compared: unless another number is asked for, and at most. Comparing takes the square of them.
const SAMPLES: usize = 1_000;
const SAMPLES_MAX: usize = 2_000;

/// Fewer say nothing.
const SAMPLES_MIN: usize = 3;

/// Neighbours of each.
const NEIGHBOURS: usize = 10;

/// Samples that are told to have moved: unless another number is asked for, and at most.
const MOVED: usize = 10;
const MOVED_MAX: usize = 100;

/// Samples that are read, and embedded by each generation, at a time.
const PASS: usize = 16;

/// Share of a request's time after which no further samples are embedded: the rest is for comparing them.
const EMBEDDING_SHARE: f64 = 0.6;

/// What another generation changed.
#[derive(Serialize, JsonSchema)]
pub(super) struct Diff {
    /// The stream.
    stream: StreamName,
    /// The generation that is compared with,
    from: Side,
    /// and the one that is.
    to: Side,
    /// Samples that were compared, drawn from all that are held.
    samples: usize,
    /// How many were to be: fewer were compared where fewer are held, or where the time was over.
    samples_asked: usize,
    /// What they were drawn by.
    seed: u64,
    /// Neighbours of each sample that were looked at.
    neighbours: usize,
    /// Of each sample's nearest neighbours in the one space the share that are so in the other.
    overlap: Overlap,
    /// How the similarities of all pairs go together in both, -1 to 1: their correlation. 1: nothing changed. Null where one
    /// generation says the same of all pairs.
    structure: Option<f64>,
    /// What of that is lost: 1 less `structure`.
    structure_drop: Option<f64>,
    /// The samples that kept the fewest neighbours, those first.
    moved: Vec<Moved>,
}

/// A generation that is compared.
#[derive(Serialize, JsonSchema)]
struct Side {
    /// Its number.
    #[schemars(with = "u64")]
    generation: Generation,
    /// Its space.
    #[schemars(with = "String")]
    space: Space,
    /// Steps of learning behind it.
    step: u64,
}

/// How shares are spread over samples, 0 to 1 each.
#[derive(Serialize, JsonSchema)]
struct Overlap {
    mean: f32,
    /// The least.
    min: f32,
    p10: f32,
    /// The median.
    p50: f32,
    p90: f32,
    /// The most.
    max: f32,
}

/// A sample whose neighbours are others now.
#[derive(Serialize, JsonSchema)]
struct Moved {
    /// The sample.
    #[schemars(with = "u64")]
    id: SampleId,
    /// The file it was cut from, relative to its inbox; null where the sample is gone meanwhile.
    path: Option<String>,
    /// The share of its neighbours that it kept.
    overlap: f32,
}

/// What is asked, after `from` and `to`.
struct Asked {
    samples: usize,
    moved: usize,
    seed: u64,
}

impl Asked {
    fn of(params: &BTreeMap<String, String>) -> Result<Self, Problem> {
        let number = |name: &str, own: u64| match params.get(name) {
            None => Ok(own),
            Some(text) => text.parse().map_err(|_| {
                Problem::new(
                    Kind::MalformedRequest,
                    format!("`{name}` is `{text}`, which is no whole number"),
                )
            }),
        };
        let within = |name: &str, own: usize, least: usize, most: usize| {
            let asked = number(name, own as u64)?;
            match usize::try_from(asked)
                .ok()
                .filter(|asked| (least..=most).contains(asked))
            {
                Some(asked) => Ok(asked),
                None => {
                    let detail = format!("`{name}` is {asked}, and may be {least} to {most}");
                    Err(Problem::new(Kind::Unprocessable, detail))
                }
            }
        };
        Ok(Self {
            samples: within("samples", SAMPLES, SAMPLES_MIN, SAMPLES_MAX)?,
            moved: within("moved", MOVED, 0, MOVED_MAX)?,
            seed: number("seed", 0)?,
        })
    }
}

/// `GET /api/v1/models/{stream}/diff`.
pub(super) async fn diff(
    State(state): State<Arc<AppState>>,
    Path(stream): Path<String>,
    uri: Uri,
) -> Result<Json<Diff>, Problem> {
    let started = Instant::now();
    let params = params(&uri, &["from", "to", "samples", "moved", "seed"])?;
    let asked = Asked::of(&params)?;
    let (stream, _) = choice::stream(&state, Some(&stream))?;
    let named = |side: &str, own: &str| format!("{stream}@{}", params.get(side).map_or(own, String::as_str));
    let (handle, from) = choice::model(&state, Some(&named("from", "previous"))).await?;
    let (_, to) = choice::model(&state, Some(&named("to", "latest"))).await?;
    let permit = Arc::clone(&state.diffs).try_acquire_owned().map_err(|_| {
        Problem::new(
            Kind::Overloaded,
            "other generations are being compared; one pair is at a time",
        )
        .retry_after(5)
    })?;
    let patience = Duration::from_secs(state.config.request_timeout_s).mul_f64(EMBEDDING_SHARE);
    let embedded = embed_both(&state, &handle, [&from, &to], &asked, started + patience).await?;
    if embedded.ids.len() < SAMPLES_MIN {
        let detail = format!("{} samples could be compared, and that is too few", embedded.ids.len());
        return Err(Problem::new(Kind::NotReady, detail).retry_after(5));
    }
    let sides = [&from, &to].map(|model| Side {
        generation: model.published().generation,
        space: model.published().space.clone(),
        step: model.published().manifest.provenance.step,
    });
    let answer = blocking(move || {
        let _permit = permit;
        told(stream, sides, &handle.replay, &embedded, &asked)
    });
    Ok(Json(answer.await?))
}

/// The same samples in both spaces.
struct Embedded {
    ids: Vec<SampleId>,
    rows: [Rows; 2],
}

/// Embeds as many of the drawn samples by both as there is time for.
async fn embed_both(
    state: &Arc<AppState>,
    handle: &Arc<StreamHandle>,
    models: [&Answering; 2],
    asked: &Asked,
    until: Instant,
) -> Result<Embedded, Problem> {
    let (replay, count, seed) = (Arc::clone(&handle.replay), asked.samples, asked.seed);
    let drawn = blocking(move || drawn(&replay, count, seed)).await?;
    let mut embedded = Embedded {
        ids: Vec::with_capacity(drawn.len()),
        rows: models.map(|model| Rows {
            dim: model.dim(),
            values: Vec::with_capacity(drawn.len() * model.dim()),
        }),
    };
    for pass in drawn.chunks(PASS) {
        if Instant::now() > until {
            break;
        }
        let (replay, pass) = (Arc::clone(&handle.replay), pass.to_vec());
        let (ids, contents, bytes) = blocking(move || read(&replay, &pass)).await??;
        for (model, rows) in models.into_iter().zip(&mut embedded.rows) {
            let inputs = Inputs {
                contents: contents.clone(),
                room: Some(body::room(state, bytes)?),
            };
            rows.values.extend(model.embed(inputs).await?);
        }
        embedded.ids.extend(ids);
    }
    Ok(embedded)
}

/// So many of the held samples, each as likely as any other, in an order that is random too: any first part of them is such a draw.
fn drawn(replay: &ReplayBuffer, count: usize, seed: u64) -> Vec<SampleId> {
    let mut ids = replay.ids_after(None, usize::MAX);
    let mut rng = rng::for_step(seed, 0, 0);
    let count = count.min(ids.len());
    for at in 0..count {
        let other = at + rng::below(&mut rng, ids.len() - at);
        ids.swap(at, other);
    }
    ids.truncate(count);
    ids
}

/// The contents of those that are still there, and their bytes.
fn read(replay: &ReplayBuffer, ids: &[SampleId]) -> Result<(Vec<SampleId>, Vec<Content>, usize), Problem> {
    let found = replay.read_many(ids).map_err(|error| {
        Problem::new(Kind::Internal, format!("failed to read samples: {error}")).hint("look at the disk")
    })?;
    let bytes = found.iter().flatten().map(Vec::len).sum();
    let whole = ids
        .iter()
        .zip(found)
        .filter_map(|(id, bytes)| Some((*id, Content::decode(&bytes?).ok()?)));
    let (ids, contents) = whole.unzip();
    Ok((ids, contents, bytes))
}

fn told(stream: StreamName, [from, to]: [Side; 2], replay: &ReplayBuffer, embedded: &Embedded, asked: &Asked) -> Diff {
    let [one, other] = &embedded.rows;
    let agreement = agreement(one, other, NEIGHBOURS);
    let mut order: Vec<usize> = (0..embedded.ids.len()).collect();
    let key = |at: usize| (agreement.overlaps[at], embedded.ids[at]);
    order.sort_by(|a, b| key(*a).0.total_cmp(&key(*b).0).then(key(*a).1.cmp(&key(*b).1)));
    let moved = order.iter().take(asked.moved).map(|at| Moved {
        id: embedded.ids[*at],
        path: replay.info(embedded.ids[*at]).map(|info| info.path),
        overlap: agreement.overlaps[*at],
    });
    let sorted: Vec<f32> = order.iter().map(|at| agreement.overlaps[*at]).collect();
    let [min, p10, p50, p90, max] = [0.0, 0.1, 0.5, 0.9, 1.0].map(|share| quantile(&sorted, share));
    Diff {
        stream,
        from,
        to,
        samples: embedded.ids.len(),
        samples_asked: asked.samples,
        seed: asked.seed,
        neighbours: agreement.neighbours,
        overlap: Overlap {
            mean: sorted.iter().sum::<f32>() / sorted.len() as f32,
            min,
            p10,
            p50,
            p90,
            max,
        },
        structure: agreement.structure,
        structure_drop: agreement.structure.map(|structure| 1.0 - structure),
        moved: moved.collect(),
    }
}
