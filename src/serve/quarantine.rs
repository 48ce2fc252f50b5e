//! Quarantine over HTTP: the list, and having files read again or forgotten.
//! Invariant: a request that names a file that is not in the list changes nothing.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use schemars::JsonSchema;
use serde::Deserialize;

use super::answers::{HandledAnswer, HandledFile, Quarantined};
use super::body::{self, Asked, PictureFile, params};
use super::choice;
use super::problem::{Kind, Problem};
use super::{AppState, blocking};
use crate::ingest::{Handled, Quarantine};
use crate::replay::QuarantineEntry;

type App = State<Arc<AppState>>;

/// Which files.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QuarantineRequest {
    /// The stream; may be left out where there is one.
    stream: Option<String>,
    /// Each by its path, by the hash of its content, or by the hash's first eight digits or more.
    #[serde(default)]
    files: Vec<String>,
    /// Or all of them.
    #[serde(default)]
    all: bool,
}

impl Asked for QuarantineRequest {
    fn take_pictures(&mut self, _: Vec<PictureFile>) -> Result<(), Problem> {
        let detail = "which files are meant is told in JSON (`Content-Type: application/json`)";
        Err(Problem::new(Kind::UnsupportedType, detail))
    }
}

/// `GET /api/v1/quarantine`.
pub(super) async fn list(State(state): App, request: Request) -> Result<Json<Vec<Quarantined>>, Problem> {
    let params = params(request.uri(), &["stream"])?;
    let streams = match params.get("stream") {
        Some(name) => vec![choice::stream(&state, Some(name))?],
        None => state
            .streams
            .load()
            .iter()
            .map(|(name, handle)| (name.clone(), Arc::clone(handle)))
            .collect(),
    };
    let entries = blocking(move || {
        let all = streams.into_iter().flat_map(|(stream, handle)| {
            let entries = handle.replay.quarantined().into_iter();
            entries.map(move |entry| Quarantined::of(stream.clone(), entry))
        });
        all.collect()
    });
    Ok(Json(entries.await?))
}

/// `POST /api/v1/quarantine/retry`.
pub(super) async fn retry(State(state): App, request: Request) -> Result<Json<HandledAnswer>, Problem> {
    handle(state, request, Quarantine::retry).await
}

/// `POST /api/v1/quarantine/drop`.
pub(super) async fn forget(State(state): App, request: Request) -> Result<Json<HandledAnswer>, Problem> {
    handle(state, request, Quarantine::drop_entries).await
}

async fn handle(
    state: Arc<AppState>,
    request: Request,
    work: fn(&Quarantine, Vec<QuarantineEntry>) -> Vec<Handled>,
) -> Result<Json<HandledAnswer>, Problem> {
    let (QuarantineRequest { stream, files, all }, _held) = body::read(&state, request).await?;
    if all != files.is_empty() {
        let detail = "either `files` names some, or `all` is true";
        return Err(Problem::new(Kind::Unprocessable, detail));
    }
    let (stream, handle) = choice::stream(&state, stream.as_deref())?;
    let handled = blocking(move || {
        let entries = match all {
            true => handle.quarantine.all(),
            false => handle.quarantine.find(&files).map_err(|unknown| {
                Problem::new(
                    Kind::NotFound,
                    format!("`{unknown}` is not in quarantine; nothing was changed"),
                )
                .hint("GET /api/v1/quarantine lists what is, with paths and hashes")
            })?,
        };
        Ok::<_, Problem>(work(&handle.quarantine, entries))
    });
    let files = handled.await??.into_iter().map(HandledFile::of).collect();
    Ok(Json(HandledAnswer { stream, files }))
}
