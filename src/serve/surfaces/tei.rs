//! The protocol of Hugging Face's text-embeddings-inference: `POST /embed`, `GET /info`, `GET /health`.
//! Invariant: its requests name no model in their body, so that the only stream of texts answers, or the one that the header
//! `Curiod-Model` or the parameter `model` names.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::strings::{Strings, nothing_for};
use crate::ids::Space;
use crate::sample::Modality;
use crate::serve::answers::Ready;
use crate::serve::choice::{self, Answering};
use crate::serve::problem::{Kind, Problem};
use crate::serve::query::signed;
use crate::serve::{AppState, StreamHandle, blocking, body, contents};

/// The header that names a model.
const MODEL: &str = "curiod-model";

/// What TEI's embeddings are asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TeiEmbedRequest {
    /// A text, or a list of them; for a stream of pictures each is a data URL, `data:image/png;base64,...`. Token ids are refused.
    inputs: Strings,
    /// Whether a text that is longer than the model sees is cut; so it is where nothing is said. `false`: it is refused.
    truncate: Option<bool>,
    /// Where it is cut: `right`, and no other.
    truncation_direction: Option<Direction>,
    /// Refused: no model has prompts.
    #[schemars(with = "Option<String>")]
    prompt_name: Option<IgnoredAny>,
    /// Whether vectors are of unit length, which they are; `false` is refused.
    normalize: Option<bool>,
    /// Numbers of a vector. No other number than the model's own is taken.
    dimensions: Option<usize>,
}

/// An end of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
enum Direction {
    /// Its begin.
    #[serde(alias = "left")]
    Left,
    /// Its end.
    #[serde(alias = "right")]
    Right,
}

/// A vector of unit length for each input, in their order.
#[derive(Serialize, JsonSchema)]
pub(super) struct TeiEmbeddings(Vec<Vec<f32>>);

/// What a client may want to know before it asks.
#[derive(Serialize, JsonSchema)]
pub(super) struct TeiInfo {
    /// The stream and its generation: `stream@42`.
    model_id: String,
    /// The space of its vectors, which its weights make.
    #[schemars(with = "String")]
    model_sha: Space,
    /// What its costly operations are in: `float32` or `bfloat16` (`server.precision`). Vectors are float32.
    model_dtype: &'static str,
    /// That it embeds, and how.
    model_type: TeiModelType,
    /// Requests that are handled at once.
    max_concurrent_requests: usize,
    /// Tokens that the model sees of one text; null of pictures.
    max_input_length: Option<usize>,
    /// Tokens of all texts of one request; null of pictures.
    max_batch_tokens: Option<usize>,
    /// No bound but the others.
    max_batch_requests: Option<usize>,
    /// Inputs of one request.
    max_client_batch_size: usize,
    /// True: a text that is longer is cut, unless the request says `"truncate": false`.
    auto_truncate: bool,
    /// The encoder's own thread.
    tokenization_workers: usize,
    /// The daemon's version.
    version: &'static str,
}

/// That a model embeds.
#[derive(Serialize, JsonSchema)]
struct TeiModelType {
    embedding: Pooling,
}

/// How the features of a text's tokens, or of a picture's places, become its vector.
#[derive(Serialize, JsonSchema)]
struct Pooling {
    /// `mean`.
    pooling: &'static str,
}

/// `POST /embed`, and `POST /`, to which some clients send the same.
pub(in crate::serve) async fn embed(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, Problem> {
    let name = named(request.uri(), request.headers());
    let (asked, _room) = super::read_json::<TeiEmbedRequest>(&state, request, &["inputs"]).await?;
    asked.must_be_possible()?;
    let (handle, model) = chosen(&state, name?).await?;
    super::openai::must_be_own(&model, asked.dimensions)?;
    let stream = &model.published().manifest.provenance.stream;
    let given = asked.inputs.given(stream, handle.modality, "inputs")?;
    let mut inputs = contents::read(&state, &handle, &model, given).await?;
    if asked.truncate == Some(false) {
        let (tokens, counted) = super::tokens(&model, inputs).await?;
        inputs = counted;
        must_fit(&tokens, super::tokens_max(&model))?;
    }
    let rows = model.embed(inputs).await?;
    let answer = TeiEmbeddings(rows.chunks_exact(model.dim()).map(<[f32]>::to_vec).collect());
    Ok(signed(&model, Json(answer)))
}

impl TeiEmbedRequest {
    /// Refuses what would be answered by something else than what was asked.
    fn must_be_possible(&self) -> Result<(), Problem> {
        let refused = |detail: &str, hint: &str| Err(Problem::new(Kind::Unprocessable, detail).hint(hint));
        if self.normalize == Some(false) {
            // Who asks for this wants lengths that say something; ours are all 1, and would be taken for such.
            return refused(
                "`normalize` is false, and only vectors of unit length are served",
                "leave `normalize` out: search, novelty and the index are all in directions",
            );
        }
        if self.prompt_name.is_some() {
            return refused(
                "`prompt_name` names a prompt, and no model has any: texts are learnt and embedded as they are",
                "leave it out, or write the prompt into the text",
            );
        }
        if self.truncation_direction == Some(Direction::Left) && self.truncate != Some(false) {
            return refused(
                "`truncation_direction` is left, and models see the first tokens of a text",
                "leave it out, or send the end of the text alone",
            );
        }
        Ok(())
    }
}

fn must_fit(tokens: &[usize], max: Option<usize>) -> Result<(), Problem> {
    let Some(max) = max else { return Ok(()) };
    match tokens.iter().position(|tokens| *tokens > max) {
        Some(item) => {
            let detail =
                format!("item {item} has more than the {max} tokens that the model sees, and `truncate` is false");
            let problem = Problem::new(Kind::TooLarge, detail).item(item);
            Err(problem.hint("send it in parts, or leave `truncate` out"))
        }
        None => Ok(()),
    }
}

/// `GET /info`.
pub(super) async fn info(State(state): State<Arc<AppState>>, request: Request) -> Result<Response, Problem> {
    let name = named(request.uri(), request.headers())?;
    let (handle, model) = chosen(&state, name).await?;
    let published = model.published();
    let stream = &published.manifest.provenance.stream;
    if !matches!(handle.modality, Modality::Text | Modality::Image) {
        return Err(nothing_for(stream, handle.modality));
    }
    let tokens_max = super::tokens_max(&model);
    let answer = TeiInfo {
        model_id: format!("{stream}@{}", published.generation),
        model_sha: published.space.clone(),
        model_dtype: if handle.serving.is_bf16() {
            "bfloat16"
        } else {
            "float32"
        },
        model_type: TeiModelType {
            embedding: Pooling { pooling: "mean" },
        },
        max_concurrent_requests: state.config.concurrency_max,
        max_input_length: tokens_max,
        max_batch_tokens: tokens_max.map(|tokens| tokens * state.config.items_max),
        max_batch_requests: None,
        max_client_batch_size: state.config.items_max,
        auto_truncate: true,
        tokenization_workers: 1,
        version: env!("CARGO_PKG_VERSION"),
    };
    Ok(signed(&model, Json(answer)))
}

/// `GET /health`: as `/readyz`, without its words.
pub(super) async fn health(State(state): State<Arc<AppState>>) -> Result<StatusCode, Problem> {
    must_answer(&state).await.map(|()| StatusCode::OK)
}

/// Refuses while queries are not answered, and says why.
pub(super) async fn must_answer(state: &AppState) -> Result<(), Problem> {
    let is_ready = state.ready.load(Ordering::Acquire);
    let streams = state.streams.load_full();
    let ready = blocking(move || Ready::of(is_ready, &streams)).await?;
    if ready.answers() {
        return Ok(());
    }
    let detail = format!("the daemon is {}", ready.status);
    Err(Problem::new(Kind::NotReady, detail)
        .hint("GET /readyz says more")
        .retry_after(1))
}

/// The model that a request names outside of its body.
fn named(uri: &Uri, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut params = body::params(uri, &["model"])?;
    let header = headers
        .get(MODEL)
        .map(|name| name.to_str().unwrap_or_default().to_owned());
    match (params.remove("model"), header) {
        (Some(one), Some(other)) if one != other => {
            let detail = format!("the parameter `model` names {one}, the header `Curiod-Model` {other}");
            Err(Problem::new(Kind::MalformedRequest, detail).hint("name one model"))
        }
        (one, other) => Ok(one.or(other)),
    }
}

/// The model of this name; where there is none, that of the only stream of texts, or of the only stream.
async fn chosen(state: &Arc<AppState>, name: Option<String>) -> Result<(Arc<StreamHandle>, Answering), Problem> {
    let name = match name {
        Some(name) => Some(name),
        None => only_texts(state),
    };
    choice::model(state, name.as_deref())
        .await
        .map_err(|problem| match problem.known_kind() {
            // There are several, and none is named.
            Some(Kind::Unprocessable) => problem.hint("name one in the header `Curiod-Model`, or as `?model=`"),
            _ => problem,
        })
}

fn only_texts(state: &AppState) -> Option<String> {
    let streams = state.streams.load();
    let mut of_texts = streams.iter().filter(|(_, handle)| handle.modality == Modality::Text);
    match (of_texts.next(), of_texts.next()) {
        (Some((name, _)), None) => Some(name.to_string()),
        _ => None,
    }
}
