//! OpenAI's clients.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::site::{Answer, Site, base64, picture};
use super::world::{Stream, TEXTS, TOKENS_MAX, assert_same, assert_signed, native, vectors};
use crate::sample::Modality;

/// The refusal, checked to be a whole one.
fn refusal(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    let error = answer.json()["error"].clone();
    assert!(error["message"].is_string() && error["type"].is_string(), "{answer:?}");
    assert!(
        error.get("param").is_some() && error.get("code").is_some(),
        "{answer:?}"
    );
    error
}

#[test]
fn openai_embeddings_of_texts_are_the_native_vectors() {
    let site = Site::new();
    let texts = Stream::of_texts(&site, "texts");
    let expected = native(&site, "texts", Modality::Text, json!(TEXTS));
    let ask = |body: Value| site.post("/v1/embeddings", &body);

    let answer = ask(json!({ "model": "texts", "input": TEXTS, "user": "somebody" }));
    assert_signed(&answer, "1");
    let json = answer.json();
    let rows = json["data"].as_array().unwrap();
    assert_same(&vectors(rows.iter().map(|row| &row["embedding"])), &expected);
    let indices: Vec<_> = rows.iter().map(|row| row["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [0, 1, 2]);
    assert!(rows.iter().all(|row| row["object"] == "embedding"));
    assert_eq!((&json["object"], &json["model"]), (&json!("list"), &json!("texts@1")));

    // What the model saw: no more of a text than it sees of any.
    let tokenizer = texts.tokenizer.as_ref().unwrap();
    let seen = |text: &&str| (tokenizer.encode(text, 1_000).unwrap().ids.len() + 2).min(TOKENS_MAX as usize);
    let tokens: usize = TEXTS.iter().map(seen).sum();
    assert_eq!(
        json["usage"],
        json!({ "prompt_tokens": tokens, "total_tokens": tokens })
    );

    let packed =
        ask(json!({ "model": "texts@1", "input": TEXTS, "encoding_format": "base64", "dimensions": 128 })).json();
    let unpacked = packed["data"].as_array().unwrap().iter().map(|row| {
        let bytes = STANDARD.decode(row["embedding"].as_str().unwrap()).unwrap();
        let numbers = bytes
            .chunks_exact(4)
            .map(|number| f32::from_le_bytes(number.try_into().unwrap()));
        numbers.collect()
    });
    assert_same(&unpacked.collect::<Vec<Vec<f32>>>(), &expected);

    let alone = ask(json!({ "model": "texts@stable", "input": TEXTS[0] })).json();
    assert_same(&vectors([&alone["data"][0]["embedding"]]), &expected[..1]);
    assert_eq!(alone["data"].as_array().unwrap().len(), 1);
}

#[test]
fn openai_embeddings_of_pictures_are_asked_by_data_urls() {
    let site = Site::new();
    site.insert(0..3);
    site.wait_for(site.publish(1), 3);
    let url = format!("data:image/png;base64,{}", base64(&picture(1)));
    let answer = site.post("/v1/embeddings", &json!({ "input": [url], "model": "pictures" }));
    let expected = native(&site, "pictures", Modality::Image, json!([base64(&picture(1))]));
    assert_signed(&answer, "1");
    let json = answer.json();
    assert_same(&vectors([&json["data"][0]["embedding"]]), &expected);
    assert_eq!(json["usage"]["prompt_tokens"], 0);
    let words = site.post("/v1/embeddings", &json!({ "input": "a cat", "model": "pictures" }));
    let error = refusal(&words);
    assert_eq!((words.status, &error["param"]), (400, &json!("input")));
    assert!(
        error["message"].as_str().unwrap().contains("data:image/png;base64,"),
        "{error}"
    );
    // A picture that can not be read is refused as everywhere.
    let torn = format!("data:image/png;base64,{}", base64(&picture(1)[..60]));
    assert_eq!(site.post("/v1/embeddings", &json!({ "input": torn })).status, 400);
}

#[test]
fn openai_refusals_are_in_openais_shape() {
    let site = Site::new();
    let _texts = Stream::of_texts(&site, "texts");
    let _series = Stream::of_series(&site, "series");
    for (body, status, param, code, says) in [
        (json!({ "model": "texts" }), 400, Value::Null, Value::Null, "input"),
        (
            json!({ "input": "a", "modle": "texts" }),
            400,
            Value::Null,
            Value::Null,
            "modle",
        ),
        (
            json!({ "input": [], "model": "texts" }),
            400,
            json!("input"),
            Value::Null,
            "empty list",
        ),
        (
            json!({ "input": ["a", " "], "model": "texts" }),
            400,
            json!("input"),
            Value::Null,
            "item 1",
        ),
        (
            json!({ "input": [1, 2], "model": "texts" }),
            400,
            Value::Null,
            Value::Null,
            "token ids",
        ),
        (
            json!({ "input": [[1], [2]], "model": "texts" }),
            400,
            Value::Null,
            Value::Null,
            "token ids",
        ),
        (
            json!({ "input": vec![7; 1_000], "model": "texts" }),
            400,
            Value::Null,
            Value::Null,
            "token ids",
        ),
        (
            json!({ "input": "a" }),
            400,
            Value::Null,
            Value::Null,
            "pictures, series, texts",
        ),
        (
            json!({ "input": "a", "model": "series" }),
            400,
            Value::Null,
            Value::Null,
            "no string",
        ),
        (
            json!({ "input": "a", "model": "nobody" }),
            404,
            json!("model"),
            json!("model_not_found"),
            "nobody",
        ),
        (
            json!({ "input": "a", "model": "texts@9" }),
            404,
            json!("model"),
            json!("model_not_found"),
            "9",
        ),
        (
            json!({ "input": "a", "model": "texts", "dimensions": 64 }),
            400,
            json!("dimensions"),
            Value::Null,
            "128",
        ),
        (
            json!({ "input": "a", "model": "texts", "encoding_format": "hex" }),
            400,
            Value::Null,
            Value::Null,
            "hex",
        ),
        (
            json!({ "input": "a", "model": "pictures" }),
            503,
            Value::Null,
            Value::Null,
            "published no model yet",
        ),
    ] {
        let answer = site.post("/v1/embeddings", &body);
        let error = refusal(&answer);
        assert_eq!(
            (answer.status, &error["param"], &error["code"]),
            (status, &param, &code),
            "{body}: {error}"
        );
        assert!(error["message"].as_str().unwrap().contains(says), "{body}: {error}");
        let kind = if status < 500 {
            "invalid_request_error"
        } else {
            "server_error"
        };
        assert_eq!(error["type"], kind);
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
    }
    let unknown = site.post("/v1/chat/completions", &json!({}));
    assert_eq!(
        (unknown.status, &refusal(&unknown)["code"]),
        (404, &json!("unknown_url"))
    );
    let wrong = site.get("/v1/embeddings");
    assert_eq!(
        (wrong.status, &refusal(&wrong)["code"]),
        (405, &json!("method_not_supported"))
    );
    assert!(wrong.header("allow").unwrap().contains("POST"));
    let form = site.post_bytes("/v1/embeddings", "application/x-www-form-urlencoded", b"input=a");
    assert_eq!(
        (form.status, &refusal(&form)["code"]),
        (415, &json!("unsupported_content_type"))
    );
    let broken = site.post_bytes("/v1/embeddings", "application/json", b"{\"input\": ");
    assert_eq!((broken.status, &refusal(&broken)["code"]), (400, &Value::Null));
}

#[test]
fn openai_models_are_every_name_that_a_request_may_use() {
    let site = Site::new();
    let texts = Stream::of_texts(&site, "texts");
    texts.publish(2);
    let listed = site.get("/v1/models").json();
    let ids: Vec<_> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(listed["object"], "list");
    // The stream of pictures has published nothing.
    assert_eq!(ids, ["texts", "texts@stable", "texts@previous", "texts@1", "texts@2"]);
    for id in ids {
        let asked = site.post("/v1/embeddings", &json!({ "input": "a cat", "model": id }));
        let one = site.get(&format!("/v1/models/{}", id.replace('@', "%40")));
        assert_signed(&one, asked.header("curiod-generation").unwrap());
        let model = one.json();
        assert_eq!(
            (&model["id"], &model["object"], &model["owned_by"]),
            (&json!(id), &json!("model"), &json!("curiod"))
        );
        assert!(model["created"].as_i64().unwrap() > 1_700_000_000, "{model}");
    }
    let missing = site.get("/v1/models/texts@7");
    assert_eq!(
        (missing.status, &refusal(&missing)["code"]),
        (404, &json!("model_not_found"))
    );
    // Two are kept.
    texts.publish(3);
    let retired = site.get("/v1/models/texts@1");
    assert_eq!(
        (retired.status, &refusal(&retired)["code"]),
        (404, &json!("model_not_found"))
    );
    assert!(refusal(&retired)["message"].as_str().unwrap().contains("kept no more"));
}
