//! OpenAI's protocol: `POST /v1/embeddings`, `GET /v1/models`. A model's name is `stream`, `stream@stable` or `stream@42`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::strings::Strings;
use crate::registry::Published;
use crate::registry::layout::Alias;
use crate::serve::choice::{self, Answering, Version};
use crate::serve::problem::{Kind, Problem};
use crate::serve::query::{signed, signed_by};
use crate::serve::{AppState, StreamHandle, blocking, contents};

/// What OpenAI's embeddings are asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenAiEmbeddingsRequest {
    /// A text, or a list of them; for a stream of pictures each is a data URL, `data:image/png;base64,...`. Token ids are refused.
    input: Strings,
    /// `stream`, `stream@stable` or `stream@42`; may be left out where there is one stream.
    model: Option<String>,
    /// How a vector's numbers are written: `float` as JSON (so it is where nothing is said), `base64` as little-endian float32.
    #[serde(default)]
    encoding_format: Encoding,
    /// Numbers of a vector. No other number than the model's own is taken.
    dimensions: Option<usize>,
    /// Taken and not looked at.
    #[serde(default, rename = "user")]
    #[schemars(with = "Option<String>")]
    _user: Option<IgnoredAny>,
}

/// How a vector's numbers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    /// As JSON's numbers.
    #[default]
    Float,
    /// As little-endian float32, in base64.
    Base64,
}

/// The vectors.
#[derive(Serialize, JsonSchema)]
pub(super) struct OpenAiEmbeddings {
    /// `list`.
    object: &'static str,
    /// A vector for each input, in their order.
    data: Vec<OpenAiEmbedding>,
    /// The model that answered, as `stream@generation`.
    model: String,
    /// What was read.
    usage: Usage,
}

/// A vector.
#[derive(Serialize, JsonSchema)]
struct OpenAiEmbedding {
    /// `embedding`.
    object: &'static str,
    /// Which input it is of, from 0.
    index: usize,
    /// Its numbers; it is of unit length.
    embedding: Numbers,
}

/// A vector's numbers.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Numbers {
    /// As numbers.
    Float(Vec<f32>),
    /// As little-endian float32, in base64.
    Base64(String),
}

/// What was read.
#[derive(Serialize, JsonSchema)]
struct Usage {
    /// Tokens that the model saw of all texts, the special ones counted; 0 of pictures, which have none.
    prompt_tokens: usize,
    /// The same: nothing is written.
    total_tokens: usize,
}

/// A model.
#[derive(Serialize, JsonSchema)]
pub(super) struct OpenAiModel {
    /// What to call it in a request.
    id: String,
    /// `model`.
    object: &'static str,
    /// When its generation was published, in seconds since 1970.
    created: i64,
    /// `curiod`.
    owned_by: &'static str,
}

/// The models.
#[derive(Serialize, JsonSchema)]
pub(super) struct OpenAiModels {
    /// `list`.
    object: &'static str,
    /// Each stream that has published, its aliases, and its generations by number.
    data: Vec<OpenAiModel>,
}

/// `POST /v1/embeddings`.
pub(super) async fn embeddings(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, Problem> {
    let (asked, _room) = super::read_json::<OpenAiEmbeddingsRequest>(&state, request, &["input"]).await?;
    let (handle, model) = choice::model(&state, asked.model.as_deref()).await?;
    let stream = &model.published().manifest.provenance.stream;
    must_be_own(&model, asked.dimensions)?;
    let given = asked.input.given(stream, handle.modality, "input")?;
    let inputs = contents::read(&state, &handle, &model, given).await?;
    let (tokens, inputs) = super::tokens(&model, inputs).await?;
    let rows = model.embed(inputs).await?;
    let seen = super::tokens_max(&model).unwrap_or(0);
    let tokens = tokens.into_iter().map(|tokens| tokens.min(seen)).sum();
    let rows = rows.chunks_exact(model.dim()).enumerate();
    let answer = OpenAiEmbeddings {
        object: "list",
        data: rows
            .map(|(index, row)| written(index, row, asked.encoding_format))
            .collect(),
        model: format!("{stream}@{}", model.published().generation),
        usage: Usage {
            prompt_tokens: tokens,
            total_tokens: tokens,
        },
    };
    Ok(signed(&model, Json(answer)))
}

/// Refuses to make vectors shorter than they are: no part of one is itself a vector that was learnt.
pub(super) fn must_be_own(model: &Answering, dimensions: Option<usize>) -> Result<(), Problem> {
    match dimensions {
        Some(asked) if asked != model.dim() => {
            let detail = format!(
                "`dimensions` is {asked}, and the model's vectors have {} numbers: they were not learnt to be cut",
                model.dim()
            );
            Err(Problem::new(Kind::Unprocessable, detail).hint("leave `dimensions` out"))
        }
        _ => Ok(()),
    }
}

fn written(index: usize, row: &[f32], encoding: Encoding) -> OpenAiEmbedding {
    OpenAiEmbedding {
        object: "embedding",
        index,
        embedding: match encoding {
            Encoding::Float => Numbers::Float(row.to_vec()),
            Encoding::Base64 => {
                let bytes: Vec<u8> = row.iter().flat_map(|number| number.to_le_bytes()).collect();
                Numbers::Base64(STANDARD.encode(bytes))
            }
        },
    }
}

/// `GET /v1/models`.
pub(super) async fn models(State(state): State<Arc<AppState>>) -> Result<Json<OpenAiModels>, Problem> {
    let data = blocking(move || {
        let streams = state.streams.load();
        streams.values().flat_map(|handle| named(handle)).collect()
    });
    Ok(Json(OpenAiModels {
        object: "list",
        data: data.await?,
    }))
}

/// `GET /v1/models/{model}`.
pub(super) async fn model(State(state): State<Arc<AppState>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let (stream, version) = choice::parts(&id)?;
    let (_, handle) = choice::stream(&state, Some(stream))?;
    let published = blocking(move || choice::published(&handle, version)).await??;
    let answer = describe(id, &published);
    Ok(signed_by(&published, Json(answer)))
}

/// A stream's models under every name that they have.
fn named(handle: &StreamHandle) -> Vec<OpenAiModel> {
    let Ok(served) = choice::published(handle, Version::Serving) else {
        return Vec::new();
    };
    let stream = served.manifest.provenance.stream.clone();
    let aliases = [Alias::Stable, Alias::Previous].into_iter().filter_map(|alias| {
        let published = handle.registry.find(alias)?;
        Some(describe(format!("{stream}@{}", alias.as_str()), &published))
    });
    let generations = handle.registry.list().into_iter();
    let generations = generations.map(|published| describe(format!("{stream}@{}", published.generation), &published));
    let serving = std::iter::once(describe(stream.to_string(), &served));
    serving.chain(aliases).chain(generations).collect()
}

fn describe(id: String, published: &Published) -> OpenAiModel {
    let created = published.manifest.created_at.parse::<jiff::Timestamp>();
    OpenAiModel {
        id,
        object: "model",
        // It was written by this program; nobody's answer is to fail by it.
        created: created.map_or(0, |at| at.as_second()),
        owned_by: "curiod",
    }
}
