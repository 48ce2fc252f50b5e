//! What can be read: status, streams, models, samples; and what operators probe.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ::image::codecs::png::PngEncoder;
use ::image::{ExtendedColorType, ImageEncoder};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::answers::{Alive, Model, Models, Ready, Sample, StreamModels, StreamsAnswer};
use super::body::params;
use super::choice::{self, Version};
use super::problem::{Kind, Problem};
use super::sample_content::SampleContent;
use super::{AppState, StreamHandle, blocking, metrics as text};
use crate::disk;
use crate::ids::{SampleId, StreamName};
use crate::registry::Published;
use crate::registry::layout::Alias;
use crate::replay::{Fate, FateCause, ReplayBuffer};
use crate::sample::{Content, ImageTile};
use crate::status::Status;

type App = State<Arc<AppState>>;

/// `GET /livez`: the process answers.
pub(super) async fn livez() -> Json<Alive> {
    disk::stall("serve.alive");
    Json(Alive { status: "alive" })
}

/// `GET /readyz`: the daemon has started, is not stopping, and no encoder has failed. What else has failed is in the body.
pub(super) async fn readyz(State(state): App) -> Result<Response, Problem> {
    let is_ready = state.ready.load(Ordering::Acquire);
    let streams = state.streams.load_full();
    let ready = blocking(move || Ready::of(is_ready, &streams)).await?;
    let status = if ready.answers() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Ok((status, Json(ready)).into_response())
}

/// `GET /metrics`.
pub(super) async fn metrics(State(state): App) -> Result<Response, Problem> {
    let text = blocking(move || text::text(&(state.status)(), &state.http_metrics)).await?;
    Ok(([(header::CONTENT_TYPE, text::CONTENT_TYPE)], text).into_response())
}

/// `GET /api/v1/status`.
pub(super) async fn status(State(state): App) -> Result<Json<Status>, Problem> {
    Ok(Json(blocking(move || (state.status)()).await?))
}

/// `GET /api/v1/streams`.
pub(super) async fn streams(State(state): App) -> Result<Json<StreamsAnswer>, Problem> {
    let Status { streams, .. } = blocking(move || (state.status)()).await?;
    Ok(Json(StreamsAnswer { streams }))
}

pub(super) fn list(name: &StreamName, handle: &StreamHandle) -> Vec<Model> {
    let serving = handle.serving.current().map(|served| served.published.generation);
    let aliases = Alias::ALL.map(|alias| (alias, handle.registry.find(alias).map(|found| found.generation)));
    let pinned = handle.registry.pinned();
    let describe = |published: Published| Model {
        neighbours_kept: published.manifest.neighbours_kept(),
        major: published.manifest.is_major(),
        withdrawn: handle.registry.is_withdrawn(published.generation),
        pinned: pinned == Some(published.generation),
        stream: name.clone(),
        generation: published.generation,
        space: published.space,
        dim: published.manifest.provenance.encoder.dim() as usize,
        step: published.manifest.provenance.step,
        created_at: published.manifest.created_at.clone(),
        verdict: published.manifest.verdict.clone(),
        retrieval: published.manifest.exam.of(published.manifest.network).retrieval,
        aliases: aliases
            .iter()
            .filter(|(_, named)| *named == Some(published.generation))
            .map(|(alias, _)| alias.as_str())
            .collect(),
        serving: serving == Some(published.generation),
    };
    handle.registry.list().into_iter().map(describe).collect()
}

/// `GET /api/v1/models`.
pub(super) async fn models(State(state): App) -> Result<Json<Models>, Problem> {
    let models = blocking(move || {
        let streams = state.streams.load();
        streams.iter().flat_map(|(name, handle)| list(name, handle)).collect()
    });
    Ok(Json(Models { models: models.await? }))
}

/// `GET /api/v1/models/{stream}`.
pub(super) async fn models_of(State(state): App, Path(stream): Path<String>) -> Result<Json<StreamModels>, Problem> {
    let (stream, handle) = choice::stream(&state, Some(&stream))?;
    let answer = blocking(move || StreamModels {
        models: list(&stream, &handle),
        verdicts: handle.registry.verdicts(),
        stream,
    });
    Ok(Json(answer.await?))
}

/// `GET /api/v1/models/{stream}/{generation}`.
pub(super) async fn model(
    State(state): App,
    Path((stream, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (_, handle) = choice::stream(&state, Some(&stream))?;
    let version = Version::parse(&version)?;
    let published = blocking(move || choice::published(&handle, version)).await??;
    Ok(Json(&*published.manifest).into_response())
}

/// The sample that a request names.
fn named_sample(state: &AppState, id: &str, uri: &Uri) -> Result<(StreamName, Arc<StreamHandle>, SampleId), Problem> {
    let params = params(uri, &["stream"])?;
    let (name, handle) = choice::stream(state, params.get("stream").map(String::as_str))?;
    match id.parse() {
        Ok(number) => Ok((name, handle, SampleId(number))),
        Err(_) => Err(Problem::new(Kind::NotFound, format!("`{id}` is no sample's number"))),
    }
}

/// Why there is no such sample: what became of it, as far as that is remembered.
fn no_sample(replay: &ReplayBuffer, id: SampleId) -> Problem {
    match replay.fate(id) {
        Some(Fate { at, cause, .. }) => {
            let problem = Problem::new(
                Kind::Gone,
                format!("sample {id} was evicted at {}: {cause}", at.to_rfc3339()),
            );
            match cause {
                FateCause::Redundant { twin: other, .. } | FateCause::NearDuplicate { original: other } => {
                    problem.hint(format!("look at sample {other}"))
                }
                _ => problem,
            }
        }
        None => Problem::new(
            Kind::NotFound,
            format!("there is no sample {id}; it may have been evicted"),
        ),
    }
}

/// `GET /api/v1/samples/{id}`.
pub(super) async fn sample(State(state): App, Path(id): Path<String>, uri: Uri) -> Result<Response, Problem> {
    let (name, handle, id) = named_sample(&state, &id, &uri)?;
    let info = blocking(move || handle.replay.info(id).ok_or_else(|| no_sample(&handle.replay, id))).await??;
    let answer = Sample::of(name, info);
    Ok(Json(answer).into_response())
}

/// A sample's content, as it is kept.
fn content(replay: &ReplayBuffer, id: SampleId) -> Result<Content, Problem> {
    let failed =
        |error: &dyn std::fmt::Display| Problem::new(Kind::Internal, format!("failed to read sample {id}: {error}"));
    let bytes = replay.read(id).map_err(|error| failed(&error))?;
    Content::decode(&bytes.ok_or_else(|| no_sample(replay, id))?).map_err(|error| failed(&error))
}

/// `GET /api/v1/samples/{id}/picture`: as it is kept, as PNG.
pub(super) async fn picture(State(state): App, Path(id): Path<String>, uri: Uri) -> Result<Response, Problem> {
    let (_, handle, id) = named_sample(&state, &id, &uri)?;
    let png = blocking(move || match content(&handle.replay, id)? {
        Content::Image(tile) => {
            png(&tile).map_err(|error| Problem::new(Kind::Internal, format!("failed to write sample {id}: {error}")))
        }
        _ => Err(Problem::new(Kind::NotFound, format!("sample {id} is no picture")).hint("ask for its /content")),
    });
    let headers = [
        (header::CONTENT_TYPE, "image/png"),
        (header::CACHE_CONTROL, "private, max-age=300"),
    ];
    Ok((headers, png.await??).into_response())
}

/// `GET /api/v1/samples/{id}/text`: the passage, as it is kept.
pub(super) async fn text(State(state): App, Path(id): Path<String>, uri: Uri) -> Result<Response, Problem> {
    let (_, handle, id) = named_sample(&state, &id, &uri)?;
    let said = blocking(move || match content(&handle.replay, id)? {
        Content::Text(passage) => Ok(passage.text),
        _ => Err(Problem::new(Kind::NotFound, format!("sample {id} is no text")).hint("ask for its /picture")),
    });
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        // Whatever it says, nobody's browser shall run it.
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "private, max-age=300"),
    ];
    Ok((headers, said.await??).into_response())
}

/// `GET /api/v1/samples/{id}/content`: what the sample is, but a picture, as JSON.
pub(super) async fn content_of(State(state): App, Path(id): Path<String>, uri: Uri) -> Result<Response, Problem> {
    let (_, handle, id) = named_sample(&state, &id, &uri)?;
    let answer = blocking(move || match SampleContent::of(content(&handle.replay, id)?) {
        Some(answer) => Ok(answer),
        None => Err(Problem::new(Kind::NotFound, format!("sample {id} is a picture")).hint("ask for its /picture")),
    });
    let headers = [(header::CACHE_CONTROL, "private, max-age=300")];
    Ok((headers, Json(answer.await??)).into_response())
}

/// The picture as a PNG.
pub(super) fn png(tile: &ImageTile) -> Result<Vec<u8>, ::image::ImageError> {
    let mut png = Cursor::new(Vec::new());
    let (width, height) = (tile.width.into(), tile.height.into());
    PngEncoder::new(&mut png).write_image(&tile.rgb, width, height, ExtendedColorType::Rgb8)?;
    Ok(png.into_inner())
}
