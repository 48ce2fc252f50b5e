//! Refusals in the words of each protocol: the problem is the native one, its status and its body are what the protocol's
//! clients know.
//! Invariant: a refusal of a path below a protocol, whoever made it, is in that protocol's shape.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use schemars::JsonSchema;
use schemars::generate::SchemaGenerator;
use serde::Serialize;
use serde_json::Value;

use super::Surface;
use crate::serve::problem::{Kind, Problem};

/// Names of the parameters of OpenAI's request, one of which a refusal may be about.
const OPENAI_PARAMS: [&str; 5] = ["model", "input", "encoding_format", "dimensions", "user"];

/// How OpenAI's API refuses.
#[derive(Serialize, JsonSchema)]
pub(super) struct OpenAiRefusal {
    error: OpenAiError,
}

/// What went wrong.
#[derive(Serialize, JsonSchema)]
struct OpenAiError {
    /// What happened, and what to do about it.
    message: String,
    /// `invalid_request_error`, `requests` (too many) or `server_error`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The parameter that is wrong, where it is one.
    param: Option<&'static str>,
    /// A name that programs may rely on, where OpenAI has one.
    code: Option<&'static str>,
}

/// How text-embeddings-inference refuses.
#[derive(Serialize, JsonSchema)]
pub(super) struct TeiRefusal {
    /// What happened, and what to do about it.
    error: String,
    /// `Validation`, `Overloaded`, `Backend` or `Unhealthy`.
    error_type: &'static str,
}

/// How the Open Inference Protocol refuses.
#[derive(Serialize, JsonSchema)]
pub(super) struct OipRefusal {
    /// What happened, and what to do about it.
    error: String,
}

impl Surface {
    /// Says the problem that an answer bears, if it bears one, in this protocol's words.
    pub(in crate::serve) fn say(self, response: &mut Response) {
        let Some(problem) = response.extensions_mut().remove::<Problem>() else {
            return;
        };
        let kind = problem.known_kind().unwrap_or(Kind::Internal);
        let message = match &problem.hint {
            Some(hint) => format!("{}; {hint}", problem.detail),
            None => problem.detail.clone(),
        };
        let body = match self {
            Self::OpenAi => serde_json::to_vec(&OpenAiRefusal::of(kind, &problem, message)),
            Self::Tei => serde_json::to_vec(&TeiRefusal {
                error: message,
                error_type: tei_type(kind),
            }),
            Self::OpenInference => serde_json::to_vec(&OipRefusal { error: message }),
        };
        *response.status_mut() = StatusCode::from_u16(self.status(kind)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Other headers stay: when to ask again, which methods there are.
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *response.body_mut() = Body::from(body.unwrap_or_default());
    }

    /// The status of a refusal of this kind.
    pub(super) fn status(self, kind: Kind) -> u16 {
        match (self, kind) {
            // What is asked wrongly is 400 to OpenAI's clients, and a model that is not there, or no more, 404.
            (Self::OpenAi, Kind::Unprocessable) => 400,
            (Self::OpenAi, Kind::Gone) => 404,
            (Self::Tei, Kind::MalformedRequest) => 422,
            (Self::Tei, Kind::Overloaded) => 429,
            (Self::Tei, Kind::EncoderFailed) => 424,
            (Self::OpenInference, Kind::Unprocessable) => 400,
            _ => kind.describe().1,
        }
    }

    /// The shape of its refusals.
    pub(super) fn refusal(self, types: &mut SchemaGenerator) -> Value {
        match self {
            Self::OpenAi => types.subschema_for::<OpenAiRefusal>(),
            Self::Tei => types.subschema_for::<TeiRefusal>(),
            Self::OpenInference => types.subschema_for::<OipRefusal>(),
        }
        .to_value()
    }
}

impl OpenAiRefusal {
    fn of(kind: Kind, problem: &Problem, message: String) -> Self {
        let begins_with = |param: &&str| problem.detail.starts_with(&format!("`{param}`"));
        let (of_kind, code) = match kind {
            Kind::NotFound | Kind::Gone => ("invalid_request_error", Some("model_not_found")),
            Kind::UnknownRoute => ("invalid_request_error", Some("unknown_url")),
            Kind::MethodNotAllowed => ("invalid_request_error", Some("method_not_supported")),
            Kind::UnsupportedType => ("invalid_request_error", Some("unsupported_content_type")),
            Kind::Unauthorized => ("invalid_request_error", Some("invalid_api_key")),
            Kind::MissingScope => ("invalid_request_error", Some("missing_scope")),
            Kind::QueueFull => ("requests", Some("rate_limit_exceeded")),
            kind if kind.describe().1 >= 500 => ("server_error", None),
            _ => ("invalid_request_error", None),
        };
        let param = match kind {
            Kind::NotFound | Kind::Gone => Some("model"),
            _ if problem.item.is_some() => Some("input"),
            _ => OPENAI_PARAMS.into_iter().find(begins_with),
        };
        Self {
            error: OpenAiError {
                message,
                kind: of_kind,
                param,
                code,
            },
        }
    }
}

fn tei_type(kind: Kind) -> &'static str {
    match kind {
        Kind::QueueFull | Kind::Overloaded => "Overloaded",
        Kind::EncoderFailed | Kind::Internal | Kind::Timeout => "Backend",
        Kind::NotReady => "Unhealthy",
        _ => "Validation",
    }
}
