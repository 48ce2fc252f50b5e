//! The questions: `embed`, `search`, `novelty`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::body::{self, Asked, PictureFile};
use super::choice::{self, Answering};
use super::contents;
use super::filter::Filter;
use super::given::{Given, GivenSeries, GivenTransition};
use super::novelty::{NEIGHBOURS, mean_distance, most_novel};
use super::problem::{Kind, Problem};
use super::stream::Served;
use super::{AppState, StreamHandle, blocking, vector};
use crate::ids::{Generation, SampleId, Space};
use crate::limits::SEARCH_HITS_MAX;
use crate::model::Curiosity;
use crate::registry::Published;
use crate::sample::Modality;

/// Hits searched beyond those asked for, to stand in for samples evicted a moment ago.
const SPARE_HITS: usize = 16;

/// The most novel samples are found again when the index has changed, but not before this many times the time that
/// finding them took has passed: whoever asks often gets the answer of before, not the daemon's cores.
const NOVEL_REST: u32 = 10;

/// The keys of lists of things that are asked about.
pub(super) const LISTS: [&str; 4] = ["images", "texts", "series", "transitions"];

/// What `embed` is asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EmbedRequest {
    /// `stream`, `stream@stable` or `stream@42`; may be left out where there is one stream.
    model: Option<String>,
    /// Files of pictures, each in base64.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    images: Vec<PictureFile>,
    /// Texts, of a stream of texts; the network sees the first tokens of each.
    #[serde(default)]
    texts: Vec<String>,
    /// Series, of a stream of series.
    #[serde(default)]
    series: Vec<GivenSeries>,
    /// Transitions, of a stream of transitions.
    #[serde(default)]
    transitions: Vec<GivenTransition>,
}

/// What `search` is asked: the neighbours of a picture, a text, a series, a transition, a sample or a vector.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchRequest {
    /// `stream`, `stream@stable` or `stream@42`; may be left out where there is one stream.
    model: Option<String>,
    /// A picture's file in base64.
    #[schemars(with = "Option<String>")]
    image: Option<PictureFile>,
    /// Or a text.
    text: Option<String>,
    /// Or a series.
    series: Option<GivenSeries>,
    /// Or a transition.
    transition: Option<GivenTransition>,
    /// Or a sample; it is not among its own neighbours.
    #[schemars(with = "Option<u64>")]
    id: Option<SampleId>,
    /// Or a vector that `embed` gave, with its space.
    vector: Option<Vec<f32>>,
    /// The space of the vector. One that is not the answering generation's is refused: name the generation that gave the vector, or
    /// embed again. May be given with anything else too.
    #[schemars(with = "Option<String>")]
    space: Option<Space>,
    /// How many neighbours, 1 to 1,000.
    #[serde(default = "default_k")]
    k: usize,
    /// Only samples that arrived then or later: a time in RFC 3339.
    after: Option<String>,
    /// Only samples that arrived earlier: a time in RFC 3339.
    before: Option<String>,
    /// Only samples of files whose path below the inbox begins with this; or, where it has `*` (any characters, `/` too) or
    /// `?` (one character), whose whole path is this. 1 to 256 bytes.
    source: Option<String>,
    /// None of these samples, at most 10,000. In a JSON body only.
    #[serde(default)]
    #[schemars(with = "Vec<u64>")]
    exclude: Vec<SampleId>,
}

/// What `novelty` is asked: how new things are, or which samples are the newest.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NoveltyRequest {
    /// `stream`, `stream@stable` or `stream@42`; may be left out where there is one stream.
    model: Option<String>,
    /// Files of pictures, each in base64.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    images: Vec<PictureFile>,
    /// Or texts.
    #[serde(default)]
    texts: Vec<String>,
    /// Or series.
    #[serde(default)]
    series: Vec<GivenSeries>,
    /// Or transitions, each of which gets an intrinsic reward.
    #[serde(default)]
    transitions: Vec<GivenTransition>,
    /// Or how many of the most novel samples, 1 to 1,000.
    top: Option<usize>,
}

fn default_k() -> usize {
    10
}

impl Asked for EmbedRequest {
    const LISTS: &'static [&'static str] = &LISTS;

    fn take_pictures(&mut self, pictures: Vec<PictureFile>) -> Result<(), Problem> {
        self.images = pictures;
        Ok(())
    }
}

impl Asked for SearchRequest {
    fn take_pictures(&mut self, mut pictures: Vec<PictureFile>) -> Result<(), Problem> {
        self.image = pictures.pop();
        if pictures.is_empty() {
            return Ok(());
        }
        Err(Problem::new(Kind::Unprocessable, "a search is for one picture"))
    }
}

impl Asked for NoveltyRequest {
    const LISTS: &'static [&'static str] = &LISTS;

    fn take_pictures(&mut self, pictures: Vec<PictureFile>) -> Result<(), Problem> {
        self.images = pictures;
        Ok(())
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Embeddings {
    /// The generation that answered.
    #[schemars(with = "u64")]
    generation: Generation,
    /// Its space; vectors of two spaces are never to be compared.
    #[schemars(with = "String")]
    space: Space,
    /// Numbers of a vector.
    dim: usize,
    /// A vector of unit length for each picture, text, series and transition, in their order.
    embeddings: Vec<Vec<f32>>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Hits {
    /// The generation that answered.
    #[schemars(with = "u64")]
    generation: Generation,
    /// Its space; vectors of two spaces are never to be compared.
    #[schemars(with = "String")]
    space: Space,
    /// The nearest samples, nearest first.
    hits: Vec<NamedHit>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct NamedHit {
    /// The sample.
    #[schemars(with = "u64")]
    id: SampleId,
    /// Cosine similarity, -1 to 1.
    score: f32,
    /// The file it was cut from, relative to its inbox.
    path: String,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Novelties {
    /// The generation that answered.
    #[schemars(with = "u64")]
    generation: Generation,
    /// Its space; vectors of two spaces are never to be compared.
    #[schemars(with = "String")]
    space: Space,
    /// One for each thing that was brought in their order; or the most novel samples, the farthest first.
    results: Vec<Novelty>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Novelty {
    /// The sample, where samples were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u64>")]
    id: Option<SampleId>,
    /// The file it was cut from.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// Share of the held samples that are less unusual.
    novelty: f32,
    /// Mean distance (1 - cosine) to the nearest held samples.
    distance: f32,
    /// Of a transition the intrinsic reward: how far the networks that forecast the next state disagree, over the variance of
    /// features. It goes to 0 where all that can be learnt is learnt, noise included (Pathak et al. 2019).
    #[serde(skip_serializing_if = "Option::is_none")]
    reward: Option<f32>,
    /// Of a transition how wrong they are, in the same unit: 0 where all was expected, about 1 where nothing was; it stays high in noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<f32>,
}

/// The most novel samples of an index, as they were found.
pub(super) struct Found {
    version: u64,
    asked: usize,
    at: Instant,
    took: Duration,
    samples: Vec<(SampleId, f32)>,
}

/// `POST /api/v1/embed`.
pub(super) async fn embed(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, Problem> {
    let (asked, _permit) = body::read::<EmbedRequest>(&state, request).await?;
    let given = Given {
        files: asked.images,
        texts: asked.texts,
        series: asked.series,
        transitions: asked.transitions,
    };
    if given.is_empty() {
        return Err(Problem::new(Kind::Unprocessable, "the request brings nothing to embed").hint(
            "`images` is a list of base64, `texts` one of texts, `series` one of lists of numbers, `transitions` one of objects",
        ));
    }
    let (handle, model) = choice::model(&state, asked.model.as_deref()).await?;
    let inputs = contents::read(&state, &handle, &model, given).await?;
    let rows = model.embed(inputs).await?;
    let dim = model.dim();
    let answer = Embeddings {
        generation: model.published().generation,
        space: model.published().space.clone(),
        dim,
        embeddings: rows.chunks_exact(dim).map(<[f32]>::to_vec).collect(),
    };
    Ok(signed(&model, Json(answer)))
}

/// `POST /api/v1/search`.
pub(super) async fn search(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, Problem> {
    let (asked, _permit) = body::read::<SearchRequest>(&state, request).await?;
    if !(1..=SEARCH_HITS_MAX).contains(&asked.k) {
        return Err(Problem::new(
            Kind::Unprocessable,
            format!("`k` is {}, and may be 1 to {SEARCH_HITS_MAX}", asked.k),
        ));
    }
    let filter = Filter::of(
        asked.after.as_deref(),
        asked.before.as_deref(),
        asked.source,
        asked.exclude,
    )?;
    let (handle, model) = choice::model(&state, asked.model.as_deref()).await?;
    let served = Arc::clone(model.searchable()?);
    let given = Given {
        files: asked.image.into_iter().collect(),
        texts: asked.text.into_iter().collect(),
        series: asked.series.into_iter().collect(),
        transitions: asked.transition.into_iter().collect(),
    };
    if let Some(space) = &asked.space {
        vector::must_be_of(space, model.published())?;
    }
    let query = match (given.len(), asked.id, asked.vector) {
        (1, None, None) => {
            let inputs = contents::read(&state, &handle, &model, given).await?;
            model.embed(inputs).await?
        }
        (0, Some(id), None) => served
            .index
            .embedding(id)
            .ok_or_else(|| Problem::new(Kind::NotFound, format!("there is no sample {id} in the index")))?,
        (0, None, Some(vector)) if asked.space.is_some() => vector::unit(vector, model.dim())?,
        (0, None, Some(_)) => {
            let detail = "a vector comes with its `space`: of another one it would find anything";
            return Err(Problem::new(Kind::Unprocessable, detail).hint("`embed` names it beside the vectors"));
        }
        _ => {
            let detail = "a search is for one picture (`image`), text (`text`), series (`series`), transition (`transition`), \
                          sample (`id`) or vector (`vector`, `space`)";
            return Err(Problem::new(Kind::Unprocessable, detail));
        }
    };
    let (k, own) = (asked.k, asked.id);
    let hits = blocking(move || neighbours(&handle, &served, &query, k, own, &filter)).await?;
    let answer = Hits {
        generation: model.published().generation,
        space: model.published().space.clone(),
        hits,
    };
    Ok(signed(&model, Json(answer)))
}

/// `POST /api/v1/novelty`.
pub(super) async fn novelty(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, Problem> {
    let (asked, _permit) = body::read::<NoveltyRequest>(&state, request).await?;
    let (handle, model) = choice::model(&state, asked.model.as_deref()).await?;
    let served = Arc::clone(model.searchable()?);
    let given = Given {
        files: asked.images,
        texts: asked.texts,
        series: asked.series,
        transitions: asked.transitions,
    };
    let brings_none = given.is_empty();
    let results = match asked.top {
        None if !brings_none => {
            let inputs = contents::read(&state, &handle, &model, given).await?;
            let (queries, curiosity) = match handle.modality {
                Modality::Transition => model.curiosity(inputs).await?,
                _ => (model.embed(inputs).await?, Vec::new()),
            };
            blocking(move || novelty_of(&served, &queries, &curiosity)).await?
        }
        Some(top) if brings_none && (1..=SEARCH_HITS_MAX).contains(&top) => {
            most_novel_named(handle, served, top).await?
        }
        Some(_) if brings_none => {
            return Err(Problem::new(
                Kind::Unprocessable,
                format!("`top` may be 1 to {SEARCH_HITS_MAX}"),
            ));
        }
        _ => {
            let detail = "novelty is asked of pictures (`images`), texts (`texts`), series (`series`), transitions \
                          (`transitions`) or of the samples held (`top`)";
            return Err(Problem::new(Kind::Unprocessable, detail));
        }
    };
    let answer = Novelties {
        generation: model.published().generation,
        space: model.published().space.clone(),
        results,
    };
    Ok(signed(&model, Json(answer)))
}

/// A filtered search compares with every row: what was measured of cells holds for the nearest of all.
fn neighbours(
    handle: &StreamHandle,
    served: &Served,
    query: &[f32],
    k: usize,
    own: Option<SampleId>,
    filter: &Filter,
) -> Vec<NamedHit> {
    let (now, wanted) = (served.index.snapshot(), k + SPARE_HITS);
    let hits = if filter.is_open() {
        now.near(query, wanted)
    } else {
        now.nearest_allowed(query, wanted, &|id, origin| filter.passes(id, origin))
    };
    hits.into_iter()
        .filter(|hit| Some(hit.id) != own)
        .filter_map(|hit| {
            let path = handle.replay.info(hit.id)?.path;
            Some(NamedHit {
                id: hit.id,
                score: hit.score.clamp(-1.0, 1.0),
                path,
            })
        })
        .take(k)
        .collect()
}

fn novelty_of(served: &Served, queries: &[f32], curiosity: &[Curiosity]) -> Vec<Novelty> {
    let typical = served.index.typical();
    let found = served.index.snapshot().nearest(queries, NEIGHBOURS);
    found
        .iter()
        .enumerate()
        .map(|(at, hits)| {
            // Of nothing everything is as far as can be.
            let distance = mean_distance(hits).unwrap_or(2.0);
            Novelty {
                id: None,
                path: None,
                novelty: typical.quantile(distance),
                distance,
                reward: curiosity.get(at).map(|curiosity| curiosity.reward),
                error: curiosity.get(at).map(|curiosity| curiosity.error),
            }
        })
        .collect()
}

async fn most_novel_named(handle: Arc<StreamHandle>, served: Arc<Served>, top: usize) -> Result<Vec<Novelty>, Problem> {
    // A task of its own: it goes on when the client hangs up, and the next one who asks finds what it found.
    let search = tokio::spawn({
        let served = Arc::clone(&served);
        async move { most_novel_ids(&served, top).await }
    });
    let samples = search
        .await
        .map_err(|error| Problem::new(Kind::Internal, error.to_string()))??;
    blocking(move || {
        let typical = served.index.typical();
        let named = samples.into_iter().filter_map(|(id, distance)| {
            Some(Novelty {
                id: Some(id),
                path: Some(handle.replay.info(id)?.path),
                novelty: typical.quantile(distance),
                distance,
                reward: None,
                error: None,
            })
        });
        named.collect()
    })
    .await
}

/// The most novel samples, found anew when the index has changed since. One search at a time.
async fn most_novel_ids(served: &Served, top: usize) -> Result<Vec<(SampleId, f32)>, Problem> {
    let mut found = served.most_novel.lock().await;
    let is_fresh = found.as_ref().is_some_and(|found| {
        let resting = found.at.elapsed() < found.took * NOVEL_REST;
        found.asked >= top && (resting || found.version == served.index.snapshot().version)
    });
    if !is_fresh {
        let index = Arc::clone(&served.index);
        *found = Some(blocking(move || find_most_novel(&index, top)).await?);
    }
    let samples = found.iter().flat_map(|found| &found.samples);
    Ok(samples.take(top).copied().collect())
}

fn find_most_novel(index: &super::index::Index, asked: usize) -> Found {
    let (version, at) = (index.snapshot().version, Instant::now());
    let samples = most_novel(index, asked);
    Found {
        version,
        asked,
        at: Instant::now(),
        took: at.elapsed(),
        samples,
    }
}

/// Says in headers which model answered.
pub(super) fn signed(model: &Answering, answer: impl IntoResponse) -> Response {
    signed_by(model.published(), answer)
}

/// Says in headers which generation an answer is of.
pub(super) fn signed_by(published: &Published, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    let headers = response.headers_mut();
    headers.insert(
        HeaderName::from_static("curiod-generation"),
        HeaderValue::from(published.generation.0),
    );
    if let Ok(space) = HeaderValue::from_str(published.space.as_str()) {
        headers.insert(HeaderName::from_static("curiod-space"), space);
    }
    response
}
