//! Other clients' own protocols, beside the native one: OpenAI's, that of text-embeddings-inference (TEI), and the Open
//! Inference Protocol.
//! Invariant: they translate and no more: vectors, bounds and refusals are the native ones in the client's words.

mod describe;
mod oip;
pub(super) mod oip_binary;
mod oip_json;
mod openai;
mod refusal;
mod strings;
mod tei;
mod unpack;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use super::choice::Answering;
use super::encoder::Inputs;
use super::problem::{Kind, Problem};
use super::{AppState, Route, blocking, body, skim};
use crate::model::EncoderSpec;
use crate::model::text::SPECIALS_OF_ONE;
use crate::sample::Content;

pub(super) use describe::paths;
pub(super) use tei::embed as tei_embed;

/// A protocol that is not the native one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    /// OpenAI's, below `/v1`.
    OpenAi,
    /// TEI's: `/embed`, `/info`, `/health`, and what is sent to `/`.
    Tei,
    /// The Open Inference Protocol, below `/v2`.
    OpenInference,
}

impl Surface {
    /// The protocol that a request is in, by its path: that of a path without a route too, which must be refused in it.
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        match path.split('/').nth(1)? {
            "v1" => Some(Self::OpenAi),
            "v2" => Some(Self::OpenInference),
            "embed" | "info" | "health" => Some(Self::Tei),
            "" if method == Method::POST => Some(Self::Tei),
            _ => None,
        }
    }
}

/// The routes of all of them, as [`super::routes`] lists them; but `POST /`, which is beside the dashboard.
pub(super) fn routes() -> Vec<Route> {
    vec![
        ("/v1/embeddings", &["post"], post(openai::embeddings)),
        ("/v1/models", &["get"], get(openai::models)),
        ("/v1/models/{model}", &["get"], get(openai::model)),
        ("/embed", &["post"], post(tei::embed)),
        ("/info", &["get"], get(tei::info)),
        ("/health", &["get"], get(tei::health)),
        ("/v2", &["get"], get(oip::server)),
        ("/v2/health/live", &["get"], get(oip::live)),
        ("/v2/health/ready", &["get"], get(oip::ready)),
        ("/v2/models/{model}", &["get"], get(oip::model)),
        ("/v2/models/{model}/ready", &["get"], get(oip::model_ready)),
        ("/v2/models/{model}/infer", &["post"], post(oip::infer)),
        ("/v2/models/{model}/versions/{version}", &["get"], get(oip::version)),
        (
            "/v2/models/{model}/versions/{version}/ready",
            &["get"],
            get(oip::version_ready),
        ),
        (
            "/v2/models/{model}/versions/{version}/infer",
            &["post"],
            post(oip::infer_version),
        ),
    ]
}

/// A request's body and the room that it was granted, to be held as long as what is made of it.
struct Body {
    bytes: Bytes,
    room: Vec<OwnedSemaphorePermit>,
}

impl Body {
    /// The body, unpacked where it is packed, within the bounds of one request and of all of them. What else is wrong with a
    /// request is said after this: who is still sending would see a broken connection, and no refusal.
    async fn read(state: &AppState, request: Request) -> Result<Self, Problem> {
        let packing = unpack::Packing::of(request.headers());
        let (bytes, permit, _) = body::bounded(state, request).await?;
        let packing = packing?;
        let mut body = Self {
            bytes,
            room: vec![permit],
        };
        if let Some(packing) = packing {
            let (bytes, permit) = unpack::unpack(state, packing, body.bytes).await?;
            body.bytes = bytes;
            body.room.push(permit);
        }
        Ok(body)
    }

    /// What is made of its bytes, on a thread that may take its time. The room goes with the bytes: who hangs up does not make
    /// room before they are gone.
    async fn made<T: Send + 'static>(
        self,
        make: impl FnOnce(&Bytes) -> Result<T, Problem> + Send + 'static,
    ) -> Result<(T, Vec<OwnedSemaphorePermit>), Problem> {
        let Self { bytes, room } = self;
        let (made, room) = blocking(move || (make(&bytes), room)).await?;
        Ok((made?, room))
    }
}

/// A request whose body is JSON; the texts below this path are counted before any is kept.
async fn read_json<T: DeserializeOwned + Send + 'static>(
    state: &Arc<AppState>,
    request: Request,
    path: &'static [&'static str],
) -> Result<(T, Vec<OwnedSemaphorePermit>), Problem> {
    let is_json = must_be_json(request.headers());
    let items_max = state.config.items_max;
    let body = Body::read(state, request).await?;
    is_json?;
    body.made(move |bytes| {
        body::too_many(items_max, skim::texts(bytes, path))?;
        body::json(bytes)
    })
    .await
}

fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = match essence {
        "" => "the body's type is not given".to_owned(),
        other => format!("the body's type is `{other}`"),
    };
    Err(Problem::new(Kind::UnsupportedType, detail).hint("send JSON, and `Content-Type: application/json`"))
}

/// How many tokens a model that reads texts makes of each, the special ones counted: one more than it sees where the text is
/// longer. Nothing where it reads none.
async fn tokens(model: &Answering, inputs: Inputs) -> Result<(Vec<usize>, Inputs), Problem> {
    let (EncoderSpec::Text(spec), Some(tokenizer)) =
        (model.published().manifest.provenance.encoder, model.tokenizer().await?)
    else {
        return Ok((Vec::new(), inputs));
    };
    let most = spec.tokens_max as usize + 1 - SPECIALS_OF_ONE;
    blocking(move || {
        let count = |content: &Content| match content {
            Content::Text(passage) => tokenizer
                .encode(&passage.text, most)
                .map(|tokens| tokens.ids.len() + SPECIALS_OF_ONE),
            _ => Ok(0),
        };
        let counts = inputs.contents.iter().map(count).collect::<Result<_, _>>();
        let counts = counts.map_err(|error| Problem::new(Kind::EncoderFailed, error.to_string()))?;
        Ok((counts, inputs))
    })
    .await?
}

/// Tokens that the model sees of a text; None where it reads none.
fn tokens_max(model: &Answering) -> Option<usize> {
    match model.published().manifest.provenance.encoder {
        EncoderSpec::Text(spec) => Some(spec.tokens_max as usize),
        _ => None,
    }
}
