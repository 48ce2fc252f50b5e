//! Errors as every route answers them: `application/problem+json` (RFC 9457), saying what, where and what next.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A request that could not be answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Which kind of problem: `urn:curiod:problem:` and a name that programs may rely on.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened to this request.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The item of the request that is wrong, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<usize>,
    /// Why a picture was refused, in the words of the quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds after which the same request may succeed; the header `Retry-After` says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

/// Every kind of problem: its name, its status and its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 400: not the JSON, or the parameters, that the route takes.
    MalformedRequest,
    /// 401: without a key, or with one that is not known.
    Unauthorized,
    /// 403: with a key that lacks the scope.
    MissingScope,
    /// 403: sent by a page of another site.
    ForeignOrigin,
    /// 404: no such route.
    UnknownRoute,
    /// 404: no such stream, generation or sample.
    NotFound,
    /// 405: the route has other methods.
    MethodNotAllowed,
    /// 409: the generation was learnt without what this asks of it.
    NoDecoder,
    /// 409: no classifier was fitted for this set of labels.
    NoHead,
    /// 409: the vector is of another space than the generation that would answer.
    OtherSpace,
    /// 410: was here, is no more.
    Gone,
    /// 413: the body has too many bytes or items.
    TooLarge,
    /// 415: a body of a type the route does not take.
    UnsupportedType,
    /// 416: bytes that the file does not have.
    UnsatisfiableRange,
    /// 421: a `Host` that is not this daemon's.
    MisdirectedRequest,
    /// 422: well-formed, but can not be done.
    Unprocessable,
    /// 429: the encoder's queue is full.
    QueueFull,
    /// 500: a bug.
    Internal,
    /// 503: all that the daemon handles at once is in use.
    Overloaded,
    /// 503: no generation yet, or its index is still being built.
    NotReady,
    /// 503: the encoder failed and is being restarted.
    EncoderFailed,
    /// 504: no answer in time.
    Timeout,
}

impl Kind {
    /// Every kind, for the API's description.
    pub const ALL: [Self; 22] = [
        Self::MalformedRequest,
        Self::Unauthorized,
        Self::MissingScope,
        Self::ForeignOrigin,
        Self::UnknownRoute,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NoDecoder,
        Self::NoHead,
        Self::OtherSpace,
        Self::Gone,
        Self::TooLarge,
        Self::UnsupportedType,
        Self::UnsatisfiableRange,
        Self::MisdirectedRequest,
        Self::Unprocessable,
        Self::QueueFull,
        Self::Internal,
        Self::Overloaded,
        Self::NotReady,
        Self::EncoderFailed,
        Self::Timeout,
    ];

    /// Name, status and title.
    pub fn describe(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::MalformedRequest => ("malformed-request", 400, "The request is malformed"),
            Self::Unauthorized => ("unauthorized", 401, "A key is needed"),
            Self::MissingScope => ("missing-scope", 403, "This may not be asked so"),
            Self::ForeignOrigin => ("foreign-origin", 403, "Pages of other sites may not ask"),
            Self::UnknownRoute => ("unknown-route", 404, "There is no such route"),
            Self::NotFound => ("not-found", 404, "There is no such thing"),
            Self::MethodNotAllowed => ("method-not-allowed", 405, "The route has no such method"),
            Self::NoDecoder => ("no-decoder", 409, "The model fills nothing in"),
            Self::NoHead => ("no-head", 409, "There is no such classifier yet"),
            Self::OtherSpace => ("other-space", 409, "The vector is of another space"),
            Self::Gone => ("gone", 410, "It is here no more"),
            Self::TooLarge => ("too-large", 413, "The request is too large"),
            Self::UnsupportedType => ("unsupported-type", 415, "The route does not take this type of body"),
            Self::UnsatisfiableRange => ("unsatisfiable-range", 416, "The file has no such bytes"),
            Self::MisdirectedRequest => ("misdirected-request", 421, "The request is for another host"),
            Self::Unprocessable => ("unprocessable", 422, "The request can not be done"),
            Self::QueueFull => ("queue-full", 429, "Too many requests are waiting"),
            Self::Internal => ("internal", 500, "The daemon failed"),
            Self::Overloaded => ("overloaded", 503, "The daemon is at its limit"),
            Self::NotReady => ("not-ready", 503, "There is nothing to answer with yet"),
            Self::EncoderFailed => ("encoder-failed", 503, "The encoder is being restarted"),
            Self::Timeout => ("timeout", 504, "The answer took too long"),
        }
    }
}

impl Problem {
    /// A problem of this kind; `detail` says what happened to this request.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (name, status, title) = kind.describe();
        Self {
            kind: format!("urn:curiod:problem:{name}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            hint: None,
            item: None,
            reason: None,
            retry_after_s: None,
        }
    }

    /// With what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// About one item of the request.
    pub fn item(mut self, item: usize) -> Self {
        self.item = Some(item);
        self
    }

    /// Its kind; None where a program of another version named it.
    pub fn known_kind(&self) -> Option<Kind> {
        let name = self.kind.strip_prefix("urn:curiod:problem:")?;
        Kind::ALL.into_iter().find(|kind| kind.describe().0 == name)
    }

    /// May succeed after this many seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // For whoever says it in the words of another protocol.
        response.extensions_mut().insert(self);
        response
    }
}
