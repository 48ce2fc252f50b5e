//! What the server promises about any request; compiled for fuzzers and tests alone.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{Request, header};
use base64::Engine;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use super::body::PictureFile;
use super::choice::Version;
use super::problem::{Kind, Problem};
use super::surfaces::Surface;
use super::surfaces::oip_binary::InferRequest;
use super::{AppState, router};
use crate::config::ServerConfig;
use crate::sample::Modality;
use crate::status::Status;

/// Bytes of a request's body; small, so that a fuzzer meets the bound.
const BODY_BYTES_MAX: usize = 4_096;

/// Bytes of an answer: the description of the API is the longest.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A server without streams, and what runs it.
struct Server {
    state: Arc<AppState>,
    runtime: Runtime,
}

impl Server {
    fn new() -> Self {
        let Ok(runtime) = Builder::new_current_thread().enable_time().build() else {
            panic!("no runtime can be started");
        };
        let config = ServerConfig {
            body_bytes_max: BODY_BYTES_MAX,
            ..ServerConfig::default()
        };
        let status = || Status {
            version: String::new(),
            uptime_s: 0.0,
            streams: Vec::new(),
        };
        let (events, (_, stopped)) = (tokio::sync::broadcast::channel(1).0, tokio::sync::watch::channel(false));
        let bound = SocketAddr::from(([127, 0, 0, 1], 8642));
        Self {
            state: Arc::new(AppState::new(config, bound, Box::new(status), events, stopped)),
            runtime,
        }
    }
}

/// A request: a line with method and URL, lines of headers, an empty line, the body. A line that is no header is passed
/// over, `Host` is added where it is missing.
pub fn request(bytes: &[u8]) {
    thread_local!(static SERVER: OnceCell<Server> = const { OnceCell::new() });
    let Some(request) = parse(bytes) else { return };
    // Ends only with its client.
    if request.uri().path() == "/api/v1/events" {
        return;
    }
    SERVER.with(|server| {
        let Server { state, runtime } = server.get_or_init(Server::new);
        let room = (state.held.available_permits(), state.requests.available_permits());
        runtime.block_on(answered(state, request));
        let left = (state.held.available_permits(), state.requests.available_permits());
        assert_eq!(room, left, "an answered request still takes room");
    });
}

fn parse(bytes: &[u8]) -> Option<Request<Body>> {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(bytes.len());
    let (head, body) = (
        std::str::from_utf8(&bytes[..end]).ok()?,
        bytes.get(end + 2..).unwrap_or_default(),
    );
    let mut lines = head.lines();
    let (method, uri) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(uri);
    let mut has_host = false;
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        has_host |= name.eq_ignore_ascii_case("host");
        request = request.header(name, value);
    }
    if !has_host {
        request = request.header(header::HOST, "localhost");
    }
    request.body(Body::from(Bytes::copy_from_slice(body))).ok()
}

/// Asks, and looks whether the answer is one of curiod's.
async fn answered(state: &Arc<AppState>, request: Request<Body>) {
    let asked = format!("{request:?}");
    let surface = Surface::of(request.method(), request.uri().path());
    let Ok(answer) = router(Arc::clone(state)).oneshot(request).await;
    let (head, body) = answer.into_parts();
    let Ok(body) = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await else {
        panic!("the answer to {asked} breaks off");
    };
    for name in [header::CONTENT_SECURITY_POLICY, header::X_CONTENT_TYPE_OPTIONS] {
        assert!(head.headers.contains_key(&name), "the answer to {asked} has no {name}");
    }
    if head.status.as_u16() < 400 || body.is_empty() || body.starts_with(br#"{"status":"#) {
        return;
    }
    assert!(head.status != 500, "{asked} is answered 500 and {body:?}");
    if let Some(surface) = surface {
        assert!(
            is_refusal(surface, &body),
            "{asked} is answered {} and {body:?}",
            head.status
        );
        let kind = head.headers.get(header::CONTENT_TYPE);
        assert!(kind.is_some_and(|kind| kind == "application/json"));
        return;
    }
    let Ok(problem) = serde_json::from_slice::<Problem>(&body) else {
        panic!("{asked} is answered {} and {body:?}", head.status);
    };
    let kind = Kind::ALL
        .map(Kind::describe)
        .into_iter()
        .find(|(name, ..)| problem.kind.ends_with(name));
    let Some((_, status, title)) = kind else {
        panic!("{asked} is answered {problem:?}");
    };
    assert!(head.status == status && problem.status == status && problem.title == title);
    assert!(!problem.detail.is_empty(), "{asked} is answered {problem:?}");
    let kind = head.headers.get(header::CONTENT_TYPE);
    assert!(kind.is_some_and(|kind| kind == "application/problem+json"));
}

/// Whether these bytes are a refusal as the protocol's clients know it.
fn is_refusal(surface: Surface, body: &[u8]) -> bool {
    let Ok(json) = serde_json::from_slice::<Value>(body) else {
        return false;
    };
    let says = |text: &Value| text.as_str().is_some_and(|text| !text.is_empty());
    match surface {
        Surface::OpenAi => says(&json["error"]["message"]) && says(&json["error"]["type"]),
        Surface::Tei => says(&json["error"]) && says(&json["error_type"]),
        Surface::OpenInference => says(&json["error"]),
    }
}

/// A request of the Open Inference Protocol after two bytes that say how long its JSON is; all ones: it is all JSON.
pub fn infer(bytes: &[u8]) {
    const ITEMS_MAX: usize = 16;
    let Some((told, body)) = bytes.split_first_chunk() else {
        return;
    };
    let json_bytes = Some(usize::from(u16::from_be_bytes(*told))).filter(|told| *told != usize::from(u16::MAX));
    let body = Bytes::copy_from_slice(body);
    let Ok(request) = InferRequest::read(&body, json_bytes, ITEMS_MAX) else {
        return;
    };
    let Ok(stream) = "stream".parse() else {
        panic!("it is a stream's name");
    };
    for modality in [Modality::Text, Modality::Image, Modality::Series, Modality::Transition] {
        let Ok(given) = request.clone().given(&stream, modality, ITEMS_MAX) else {
            continue;
        };
        assert!((1..=ITEMS_MAX).contains(&given.len()), "{given:?}");
        let files: usize = given.files.iter().map(|file| file.0.len()).sum();
        // A number takes eight bytes, and has at least two in JSON and four in binary.
        assert!(
            files + given.bytes() <= 4 * body.len(),
            "{given:?} of {} bytes",
            body.len()
        );
    }
}

/// A picture's file comes out of JSON as it went in, with and without the head of a data URL.
pub fn picture_file(bytes: &[u8]) {
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    for text in [format!("data:image/png;base64,{text}"), text] {
        let read = serde_json::from_value::<PictureFile>(text.into());
        assert!(read.is_ok_and(|PictureFile(file)| file == bytes));
    }
    // Any text is either refused or a file that is no longer than it.
    if let Ok(PictureFile(file)) = serde_json::from_slice::<PictureFile>(bytes) {
        assert!(file.len() < bytes.len());
    }
}

/// The version of a model that a request names.
pub fn version(text: &str) {
    if let Ok(Version::Generation(generation)) = Version::parse(text) {
        let digits = text.strip_prefix('+').unwrap_or(text).trim_start_matches('0');
        assert!(generation.to_string() == digits || generation.0 == 0);
    }
}
