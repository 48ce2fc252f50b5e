//! What the server promises about any request; compiled for fuzzers and tests alone.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{Request, header};
use base64::Engine;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use super::body::PictureFile;
use super::choice::Version;
use super::problem::{Kind, Problem};
use super::{AppState, router};
use crate::config::ServerConfig;
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
    assert!(
        status != 500 && !problem.detail.is_empty(),
        "{asked} is answered {problem:?}"
    );
    let kind = head.headers.get(header::CONTENT_TYPE);
    assert!(kind.is_some_and(|kind| kind == "application/problem+json"));
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
