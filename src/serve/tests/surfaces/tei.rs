//! Clients of text-embeddings-inference.

use serde_json::{Value, json};

use super::super::site::{Answer, Site, base64, picture};
use super::world::{Stream, TEXTS, TOKENS_MAX, assert_same, assert_signed, native, vectors};
use crate::sample::Modality;

/// The refusal's words and its type, checked to be a whole one.
fn refusal(answer: &Answer) -> (String, String) {
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    let json = answer.json();
    let of = |key: &str| json[key].as_str().unwrap_or_else(|| panic!("{json}")).to_owned();
    (of("error"), of("error_type"))
}

#[test]
fn tei_embeddings_are_the_native_vectors_of_the_only_stream_of_texts() {
    let site = Site::new();
    let _texts = Stream::of_texts(&site, "texts");
    let expected = native(&site, "texts", Modality::Text, json!(TEXTS));
    for path in ["/embed", "/"] {
        let answer = site.post(path, &json!({ "inputs": TEXTS, "normalize": true, "truncate": true }));
        assert_signed(&answer, "1");
        assert_same(&vectors(answer.json().as_array().unwrap()), &expected);
    }
    // One text is answered by a list of one vector.
    let alone = site
        .post(
            "/embed",
            &json!({ "inputs": TEXTS[1], "truncation_direction": "Right" }),
        )
        .json();
    assert_same(&vectors(alone.as_array().unwrap()), &expected[1..2]);
    assert_eq!(site.get("/").header("content-type"), Some("text/html; charset=utf-8"));
}

#[test]
fn a_tei_request_says_which_model_it_means_where_there_are_several() {
    let site = Site::new();
    let _texts = Stream::of_texts(&site, "texts");
    let others = Stream::of_texts(&site, "others");
    others.publish(5);
    let body = json!({ "inputs": "The cat sat." });
    let refused = site.post("/embed", &body);
    let (error, kind) = refusal(&refused);
    assert_eq!((refused.status, kind.as_str()), (422, "Validation"));
    assert!(
        error.contains("others") && error.contains("texts") && error.contains("Curiod-Model"),
        "{error}"
    );

    let by_name = site.post("/embed?model=others@2", &body);
    assert_signed(&by_name, "2");
    let length = body.to_string().len();
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nCuriod-Model: others\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let by_header = site.send(&head("/embed"), body.to_string().as_bytes());
    assert_eq!(by_header.json(), by_name.json());
    assert_eq!(
        site.send(&head("/embed?model=texts"), body.to_string().as_bytes())
            .status,
        422
    );
    assert_eq!(site.get("/info?model=texts").json()["model_id"], "texts@1");
    assert_eq!(site.post("/embed?modle=texts", &body).status, 422);
    assert_eq!(site.post("/embed?model=nobody", &body).status, 404);
}

#[test]
fn tei_embeddings_of_pictures_are_asked_by_data_urls() {
    let site = Site::new();
    site.insert(0..3);
    site.wait_for(site.publish(1), 3);
    let url = format!("data:image/png;base64,{}", base64(&picture(2)));
    let answer = site.post("/embed", &json!({ "inputs": [url], "truncate": false }));
    assert_signed(&answer, "1");
    let expected = native(&site, "pictures", Modality::Image, json!([base64(&picture(2))]));
    assert_same(&vectors(answer.json().as_array().unwrap()), &expected);
    let info = site.get("/info").json();
    assert_eq!(
        (&info["model_id"], &info["max_input_length"]),
        (&json!("pictures@1"), &Value::Null)
    );
}

#[test]
fn what_tei_can_not_be_asked_here_is_refused_and_not_answered_by_something_else() {
    let site = Site::new();
    let _texts = Stream::of_texts(&site, "texts");
    for (body, status, says) in [
        (json!({ "inputs": "a", "normalize": false }), 422, "unit length"),
        (json!({ "inputs": "a", "prompt_name": "query" }), 422, "prompt"),
        (
            json!({ "inputs": "a", "truncation_direction": "Left" }),
            422,
            "first tokens",
        ),
        (json!({ "inputs": "a", "truncation_direction": "Up" }), 422, "Up"),
        (json!({ "inputs": "a", "dimensions": 7 }), 422, "128"),
        (json!({ "inputs": ["a", TEXTS[1]], "truncate": false }), 413, "item 1"),
        (json!({ "inputs": [[1, 2]] }), 422, "token ids"),
        (json!({ "inputs": [] }), 422, "empty list"),
        (json!({ "inputs": "" }), 422, "empty"),
        (json!({ "input": "a" }), 422, "inputs"),
    ] {
        let answer = site.post("/embed", &body);
        let (error, kind) = refusal(&answer);
        assert_eq!(
            (answer.status, kind.as_str()),
            (status, "Validation"),
            "{body}: {error}"
        );
        assert!(error.contains(says), "{body}: {error}");
    }
    // What fits is answered, whatever may not be cut.
    assert_eq!(
        site.post(
            "/embed",
            &json!({ "inputs": "a", "truncate": false, "truncation_direction": "Left" })
        )
        .status,
        200
    );
    let wrong = site.get("/embed");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    assert_eq!(refusal(&wrong).1, "Validation");
    assert_eq!(site.post_bytes("/embed", "text/plain", b"a").status, 415);
}

#[test]
fn tei_info_says_the_bounds_that_hold() {
    let site = Site::new();
    let _texts = Stream::of_texts(&site, "texts");
    let answer = site.get("/info");
    assert_signed(&answer, "1");
    let info = answer.json();
    let space = answer.header("curiod-space").unwrap();
    for (key, value) in [
        ("model_id", json!("texts@1")),
        ("model_sha", json!(space)),
        ("model_dtype", json!("float32")),
        ("model_type", json!({ "embedding": { "pooling": "mean" } })),
        ("max_input_length", json!(TOKENS_MAX)),
        ("max_client_batch_size", json!(256)),
        ("auto_truncate", json!(true)),
        ("version", json!(env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(info[key], value, "{key}");
    }
    let health = site.get("/health");
    assert_eq!((health.status, health.body.len()), (200, 0));
    site.state.ready.store(false, std::sync::atomic::Ordering::Release);
    let down = site.get("/health");
    assert_eq!((down.status, refusal(&down).1.as_str()), (503, "Unhealthy"));
}
