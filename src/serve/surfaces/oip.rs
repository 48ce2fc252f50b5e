//! The Open Inference Protocol (KServe's V2), as Triton's clients speak it: `/v2`, with tensors in JSON or as bytes after it.
//! A model's version is its generation's number.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::Body;
use super::oip_binary::{InferRequest, input_of};
use super::tei::must_answer;
use crate::sample::Modality;
use crate::serve::choice::{self, Answering};
use crate::serve::given::Given;
use crate::serve::problem::{Kind, Problem};
use crate::serve::query::{signed, signed_by};
use crate::serve::{AppState, StreamHandle, blocking, body, contents};

/// The header that says how many of a body's bytes are JSON, where others follow.
const JSON_BYTES: HeaderName = HeaderName::from_static("inference-header-content-length");

/// The one tensor that is answered.
const OUTPUT: &str = "embedding";

type App = State<Arc<AppState>>;

/// The server.
#[derive(Serialize, JsonSchema)]
pub(super) struct OipServer {
    /// `curiod`.
    name: &'static str,
    /// Its version.
    version: &'static str,
    /// `binary_tensor_data`.
    extensions: [&'static str; 1],
}

/// That the server lives.
#[derive(Serialize, JsonSchema)]
pub(super) struct OipLive {
    live: bool,
}

/// That the server, or a model, answers; what does not is refused.
#[derive(Serialize, JsonSchema)]
pub(super) struct OipReady {
    /// The model, where one was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    ready: bool,
}

/// A model.
#[derive(Serialize, JsonSchema)]
pub(super) struct OipModel {
    /// Its stream.
    name: String,
    /// The numbers of its generations, oldest first; of one version alone its own.
    versions: Vec<String>,
    /// `curiod`.
    platform: &'static str,
    /// What it takes; nothing where the protocol has no tensor for it.
    inputs: Vec<OipTensor>,
    /// What it answers.
    outputs: [OipTensor; 1],
}

/// A tensor that a model takes or answers.
#[derive(Serialize, JsonSchema)]
struct OipTensor {
    name: &'static str,
    datatype: &'static str,
    /// -1 where a side may be of any length.
    shape: Vec<i64>,
}

/// The vectors.
#[derive(Serialize, JsonSchema)]
pub(super) struct InferAnswer {
    /// The model, as it was asked for.
    model_name: String,
    /// The number of the generation that answered.
    model_version: String,
    /// As it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// `embedding`.
    outputs: [InferOutputAnswer; 1],
}

/// The vectors as a tensor.
#[derive(Serialize, JsonSchema)]
struct InferOutputAnswer {
    /// `embedding`.
    name: &'static str,
    /// `FP32`.
    datatype: &'static str,
    /// How many vectors, and how many numbers each has.
    shape: [usize; 2],
    /// `binary_data_size`, where the numbers follow the JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<InferOutputParameters>,
    /// One vector after the other, each of unit length.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Vec<f32>>,
}

/// Where the vectors are.
#[derive(Serialize, JsonSchema)]
struct InferOutputParameters {
    /// So many bytes after the JSON.
    binary_data_size: usize,
}

/// `GET /v2`.
pub(super) async fn server() -> Json<OipServer> {
    Json(OipServer {
        name: "curiod",
        version: env!("CARGO_PKG_VERSION"),
        extensions: ["binary_tensor_data"],
    })
}

/// `GET /v2/health/live`.
pub(super) async fn live() -> Json<OipLive> {
    Json(OipLive { live: true })
}

/// `GET /v2/health/ready`: as `/readyz`.
pub(super) async fn ready(State(state): App) -> Result<Json<OipReady>, Problem> {
    must_answer(&state).await?;
    Ok(Json(OipReady {
        name: None,
        ready: true,
    }))
}

/// `GET /v2/models/{model}`.
pub(super) async fn model(State(state): App, Path(name): Path<String>) -> Result<Response, Problem> {
    described(&state, name, None).await
}

/// `GET /v2/models/{model}/versions/{version}`.
pub(super) async fn version(
    State(state): App,
    Path((name, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    described(&state, name, Some(version)).await
}

/// `GET /v2/models/{model}/ready`.
pub(super) async fn model_ready(State(state): App, Path(name): Path<String>) -> Result<Response, Problem> {
    is_ready(&state, name, None).await
}

/// `GET /v2/models/{model}/versions/{version}/ready`.
pub(super) async fn version_ready(
    State(state): App,
    Path((name, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    is_ready(&state, name, Some(version)).await
}

/// `POST /v2/models/{model}/infer`.
pub(super) async fn infer(State(state): App, Path(name): Path<String>, request: Request) -> Result<Response, Problem> {
    answered(&state, name, None, request).await
}

/// `POST /v2/models/{model}/versions/{version}/infer`.
pub(super) async fn infer_version(
    State(state): App,
    Path((name, version)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    answered(&state, name, Some(version), request).await
}

/// A model's name with the version that its path has beside it.
fn full_name(name: &str, version: Option<&str>) -> Result<String, Problem> {
    match version {
        None => Ok(name.to_owned()),
        Some(version) if !name.contains('@') => Ok(format!("{name}@{version}")),
        Some(version) => {
            let detail = format!("`{name}` names a version, and the path names {version}");
            Err(Problem::new(Kind::NotFound, detail).hint("name the version once"))
        }
    }
}

async fn described(state: &AppState, name: String, version: Option<String>) -> Result<Response, Problem> {
    let full = full_name(&name, version.as_deref())?;
    let (stream, asked) = choice::parts(&full)?;
    let (_, handle) = choice::stream(state, Some(stream))?;
    let (published, versions, handle) = blocking(move || {
        let published = choice::published(&handle, asked);
        let versions: Vec<_> = handle.registry.list().iter().map(|kept| kept.generation).collect();
        published.map(|published| (published, versions, handle))
    })
    .await??;
    let is_of_all = full == stream;
    let versions = versions.into_iter();
    let answer = OipModel {
        versions: versions
            .filter(|generation| is_of_all || *generation == published.generation)
            .map(|generation| generation.to_string())
            .collect(),
        name,
        platform: "curiod",
        inputs: taken(handle.modality),
        outputs: [OipTensor {
            name: OUTPUT,
            datatype: "FP32",
            shape: vec![-1, published.manifest.provenance.encoder.dim()],
        }],
    };
    Ok(signed_by(&published, Json(answer)))
}

fn taken(modality: Modality) -> Vec<OipTensor> {
    let tensor = input_of(modality).map(|(name, datatype, shape)| OipTensor {
        name,
        datatype,
        shape: shape.to_vec(),
    });
    tensor.into_iter().collect()
}

/// A model is ready when its generation is kept, and the stream's encoder works.
async fn is_ready(state: &AppState, name: String, version: Option<String>) -> Result<Response, Problem> {
    let full = full_name(&name, version.as_deref())?;
    let (stream, asked) = choice::parts(&full)?;
    let (stream, handle) = choice::stream(state, Some(stream))?;
    let (published, failure) =
        blocking(move || (choice::published(&handle, asked), handle.serving.state().failure)).await?;
    let not_yet = |why: String| Problem::new(Kind::NotReady, format!("the stream {stream} {why}")).retry_after(1);
    if let Some(failure) = failure {
        return Err(not_yet(format!("does not answer: {failure}")));
    }
    let published = published?;
    let answer = OipReady {
        name: Some(name),
        ready: true,
    };
    Ok(signed_by(&published, Json(answer)))
}

async fn answered(
    state: &Arc<AppState>,
    name: String,
    version: Option<String>,
    request: Request,
) -> Result<Response, Problem> {
    let json_bytes = json_bytes(request.headers());
    let body = Body::read(state, request).await?;
    let (items_max, json_bytes) = (state.config.items_max, json_bytes?);
    let (mut asked, _room) = body
        .made(move |bytes| InferRequest::read(bytes, json_bytes, items_max))
        .await?;
    let is_binary = is_binary(&asked)?;
    let id = asked.id.take();
    let full = full_name(&name, version.as_deref())?;
    let (handle, model) = choice::model(state, Some(&full)).await?;
    let inputs = {
        // What comes as bytes is there twice while it is sorted.
        let _copy = body::room(state, asked.raw_bytes())?;
        let given = sorted(&handle, &model, asked, items_max).await?;
        contents::read(state, &handle, &model, given).await?
    };
    let rows = model.embed(inputs).await?;
    Ok(signed(&model, said(&model, name, id, rows, is_binary)))
}

/// What the request brings, sorted on a thread that may take its time.
async fn sorted(
    handle: &Arc<StreamHandle>,
    model: &Answering,
    asked: InferRequest,
    items_max: usize,
) -> Result<Given, Problem> {
    let stream = model.published().manifest.provenance.stream.clone();
    let modality = handle.modality;
    blocking(move || asked.given(&stream, modality, items_max)).await?
}

/// How many bytes of the body are JSON, where the request says so.
fn json_bytes(headers: &HeaderMap) -> Result<Option<usize>, Problem> {
    let Some(told) = headers.get(JSON_BYTES) else {
        return Ok(None);
    };
    let number = told.to_str().ok().and_then(|told| told.parse().ok());
    number.map(Some).ok_or_else(|| {
        let detail = format!("`Inference-Header-Content-Length` is {told:?}, which is no number of bytes");
        Problem::new(Kind::MalformedRequest, detail)
    })
}

/// Whether the vectors are to come as bytes.
fn is_binary(asked: &InferRequest) -> Result<bool, Problem> {
    let of_all = asked.parameters.as_ref().is_some_and(|said| said.binary_data_output);
    match asked.outputs.0.as_slice() {
        [] => Ok(of_all),
        [output, ..] if output.name == OUTPUT => {
            let own = output.parameters.as_ref().and_then(|said| said.binary_data);
            Ok(own.unwrap_or(of_all))
        }
        [other, ..] => {
            let detail = format!("models have no output `{}`", other.name);
            Err(Problem::new(Kind::Unprocessable, detail).hint(format!("ask for `{OUTPUT}`, or for none")))
        }
    }
}

fn said(model: &Answering, name: String, id: Option<String>, rows: Vec<f32>, is_binary: bool) -> Response {
    let dim = model.dim();
    let shape = [rows.len() / dim.max(1), dim];
    let answer = |parameters, data| InferAnswer {
        model_name: name,
        model_version: model.published().generation.to_string(),
        id,
        outputs: [InferOutputAnswer {
            name: OUTPUT,
            datatype: "FP32",
            shape,
            parameters,
            data,
        }],
    };
    if !is_binary {
        return Json(answer(None, Some(rows))).into_response();
    }
    let binary_data_size = rows.len() * size_of::<f32>();
    let head = answer(Some(InferOutputParameters { binary_data_size }), None);
    let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
    let json_bytes = bytes.len();
    bytes.extend(rows.iter().flat_map(|number| number.to_le_bytes()));
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        ),
        (JSON_BYTES, HeaderValue::from(json_bytes)),
    ];
    (headers, bytes).into_response()
}
