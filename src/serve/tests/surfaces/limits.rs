//! The native bounds, met through the other protocols.

use std::io::Write;

use axum::response::IntoResponse;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::super::site::{Site, wait_until};
use super::world::Stream;
use crate::config::{ReplayConfig, ServerConfig};
use crate::serve::problem::{Kind, Problem};
use crate::serve::surfaces::Surface;

fn small() -> Site {
    let config = ServerConfig {
        body_bytes_max: 20_000,
        items_max: 3,
        concurrency_max: 1,
        ..ServerConfig::default()
    };
    Site::with(config, ReplayConfig::default())
}

/// The three questions, each about so many texts.
fn questions(texts: usize) -> [(&'static str, Value); 3] {
    let texts = vec!["a"; texts];
    let tensor = json!({ "name": "texts", "datatype": "BYTES", "shape": [texts.len()], "data": texts });
    [
        ("/v1/embeddings", json!({ "model": "texts", "input": texts })),
        ("/embed", json!({ "inputs": texts })),
        ("/v2/models/texts/infer", json!({ "inputs": [tensor] })),
    ]
}

#[test]
fn no_protocol_takes_more_items_or_bytes_than_the_native_one() {
    let site = small();
    let _texts = Stream::of_texts(&site, "texts");
    for (path, body) in questions(3) {
        assert_eq!(site.post(path, &body).status, 200, "{path}");
    }
    for (path, body) in questions(4) {
        let answer = site.post(path, &body);
        assert_eq!(answer.status, 413, "{path}");
        let said = String::from_utf8(answer.body).unwrap();
        assert!(said.contains("more than 3 items"), "{said}");
    }
    for (path, _) in questions(0) {
        let answer = site.post_bytes(path, "application/json", &vec![b' '; 1 << 20]);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (413, Some("application/json")),
            "{path}"
        );
    }
    // Counted before they are read: what would not fit is not even looked at.
    let tokens = json!({ "model": "texts", "input": ["a", "b", "c", "d", 1] });
    assert_eq!(site.post("/v1/embeddings", &tokens).status, 413);
    // Of a tensor in bytes its shape is enough.
    let json = json!({ "inputs": [{ "name": "texts", "datatype": "BYTES", "shape": [4], "parameters": { "binary_data_size": 0 } }] });
    let json = json.to_string();
    let length = json.len();
    let head = format!(
        "POST /v2/models/texts/infer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nInference-Header-Content-Length: {length}\r\nContent-Length: {length}\r\n\r\n"
    );
    assert_eq!(site.send(&head, json.as_bytes()).status, 413);
}

#[test]
fn at_its_limit_the_daemon_says_so_in_each_protocol_and_answers_their_probes() {
    let site = small();
    let mut slow = site.connect();
    let head = "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n";
    slow.write_all(format!("{head}{{").as_bytes()).unwrap();
    wait_until("the limit to be reached", || {
        site.state.requests.available_permits() == 0
    });
    for (path, status, words) in [
        ("/v1/models", 503, "message"),
        ("/info", 429, "Overloaded"),
        ("/v2", 503, "error"),
    ] {
        let refused = site.get(path);
        assert_eq!(
            (refused.status, refused.header("retry-after")),
            (status, Some("1")),
            "{path}"
        );
        let said = String::from_utf8(refused.body).unwrap();
        assert!(
            said.contains(words) && said.contains("server.concurrency_max"),
            "{said}"
        );
    }
    for probe in ["/health", "/v2/health/live", "/v2/health/ready"] {
        assert_eq!(site.get(probe).status, 200, "{probe}");
    }
}

#[test]
fn a_path_tells_the_protocol_whether_or_not_it_has_a_route() {
    let of = |method: &str, path: &str| Surface::of(&method.parse().unwrap(), path);
    for (path, surface) in [
        ("/v1/chat/completions", Surface::OpenAi),
        ("/v1", Surface::OpenAi),
        ("/embed", Surface::Tei),
        ("/health", Surface::Tei),
        ("/v2/", Surface::OpenInference),
    ] {
        assert_eq!(of("GET", path), Some(surface), "{path}");
    }
    for path in ["/", "/api/v1/embed", "/v10", "/livez", "*", "/embeddings"] {
        assert_eq!(of("GET", path), None, "{path}");
    }
    assert_eq!(of("POST", "/"), Some(Surface::Tei));
}

#[test]
fn pages_of_other_sites_are_refused_in_each_protocol() {
    let site = Site::new();
    for (path, _) in questions(0) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = site.send(&head, b"");
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (403, Some("application/json")),
            "{path}"
        );
        assert!(answer.json()["error"].is_object() || answer.json()["error"].is_string());
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    assert_eq!(site.get("/v2/models/%ff").json()["error"], "the path can not be read");
}

#[test]
fn every_kind_of_problem_is_said_in_each_protocol_with_when_to_ask_again() {
    let runtime = Runtime::new().unwrap();
    for kind in Kind::ALL {
        for surface in [Surface::OpenAi, Surface::Tei, Surface::OpenInference] {
            let problem = Problem::new(kind, "it happened").hint("do that").retry_after(3);
            let mut response = problem.into_response();
            surface.say(&mut response);
            let (head, body) = response.into_parts();
            let body = runtime.block_on(axum::body::to_bytes(body, 10_000)).unwrap();
            let json: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(head.headers["retry-after"], "3");
            assert_eq!(head.headers["content-type"], "application/json");
            let said = if surface == Surface::OpenAi {
                &json["error"]["message"]
            } else {
                &json["error"]
            };
            assert_eq!(said, "it happened; do that");
            let native = kind.describe().1;
            // A client that would ask again does so here too.
            let again = |status: u16| status == 429 || status >= 500;
            let status = head.status.as_u16();
            assert!(again(status) == again(native) || status == 424, "{kind:?}: {status}");
            assert!(status < 500 || json["error_type"] != "Validation");
        }
    }
    // A full queue is 429 everywhere.
    for (surface, says) in [
        (Surface::OpenAi, "rate_limit_exceeded"),
        (Surface::Tei, "Overloaded"),
        (Surface::OpenInference, "it"),
    ] {
        let mut response = Problem::new(Kind::QueueFull, "it is full").into_response();
        surface.say(&mut response);
        assert_eq!(response.status(), 429);
        let body = runtime
            .block_on(axum::body::to_bytes(response.into_body(), 10_000))
            .unwrap();
        assert!(String::from_utf8(body.to_vec()).unwrap().contains(says));
    }
}
