//! Which generation answers, as a person decides it over HTTP: roll back, pin, take the pin away.
//! Invariant: the answer is the registry's, after the decision is on the disk; queries follow when the index is ready.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use schemars::JsonSchema;
use serde::Deserialize;

use super::answers::StreamModels;
use super::body::{self, Asked, PictureFile};
use super::problem::{Kind, Problem};
use super::{AppState, StreamHandle, blocking, choice, read};
use crate::ids::Generation;
use crate::registry::{Registry, RegistryError};

type App = State<Arc<AppState>>;

/// Which generation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StandingRequest {
    /// The generation's number. Roll back: the one to go back to, or null for the one before. Pin: the one to pin, or null to take
    /// the pin away.
    #[schemars(with = "Option<u64>")]
    generation: Option<Generation>,
}

impl Asked for StandingRequest {
    fn take_pictures(&mut self, _: Vec<PictureFile>) -> Result<(), Problem> {
        let detail = "which generation is meant is told in JSON (`Content-Type: application/json`)";
        Err(Problem::new(Kind::UnsupportedType, detail))
    }
}

/// `POST /api/v1/models/{stream}/rollback`.
pub(super) async fn roll_back(
    State(state): App,
    Path(stream): Path<String>,
    request: Request,
) -> Result<Json<StreamModels>, Problem> {
    decide(state, stream, request, |registry, generation| {
        registry.roll_back(generation).map(drop)
    })
    .await
}

/// `POST /api/v1/models/{stream}/pin`.
pub(super) async fn pin(
    State(state): App,
    Path(stream): Path<String>,
    request: Request,
) -> Result<Json<StreamModels>, Problem> {
    decide(state, stream, request, |registry, generation| {
        registry.pin(generation).map(drop)
    })
    .await
}

async fn decide(
    state: Arc<AppState>,
    stream: String,
    request: Request,
    decision: fn(&Registry, Option<Generation>) -> Result<(), RegistryError>,
) -> Result<Json<StreamModels>, Problem> {
    let (name, handle) = choice::stream(&state, Some(&stream))?;
    let (StandingRequest { generation }, _held) = body::read(&state, request).await?;
    let answer = blocking(move || {
        decision(&handle.registry, generation).map_err(|error| refused(&handle, error))?;
        handle.serving.follow_registry();
        Ok(StreamModels {
            models: read::list(&name, &handle),
            verdicts: handle.registry.verdicts(),
            stream: name,
        })
    });
    answer.await?.map(Json)
}

fn refused(handle: &StreamHandle, error: RegistryError) -> Problem {
    let text = error.to_string();
    match error {
        RegistryError::NotKept { generation } => choice::missing(handle, generation),
        RegistryError::NotBefore { .. } | RegistryError::NothingBefore => Problem::new(Kind::Unprocessable, text)
            .hint("GET /api/v1/models lists the generations; pin one to have a newer one answer"),
        _ => {
            tracing::error!(
                error = text,
                hint = "look at the disk (space, owner), and ask again",
                "failed to keep which generation answers"
            );
            Problem::new(Kind::Internal, text).hint("look at the disk (space, owner), and ask again")
        }
    }
}
