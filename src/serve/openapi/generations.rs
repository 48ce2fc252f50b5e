//! The routes of generations as files and beside each other, for the API's description.

use schemars::generate::SchemaGenerator;
use serde_json::{Value, json};

use super::{content, operation_id, parameter, responses};
use crate::serve::diff::Diff;
use crate::serve::files::Files;
use crate::serve::problem::Kind;

/// Each path with its operations.
pub(super) fn paths(types: &mut SchemaGenerator) -> Vec<(String, Value)> {
    let text = || json!({ "type": "string" });
    let stream = parameter("path", "stream", "The stream.", text());
    let named = "A number, or `latest`, `stable`, `previous`.";
    let generation = parameter("path", "generation", named, text());

    let diff = "/api/v1/models/{stream}/diff";
    let number = |name: &str, about: &str, least: u64, most: u64| {
        parameter(
            "query",
            name,
            about,
            json!({ "type": "integer", "minimum": least, "maximum": most }),
        )
    };
    let asked = [
        stream.clone(),
        parameter("query", "from", "A generation; `previous` where none is named.", text()),
        parameter("query", "to", "Another; `latest` where none is named.", text()),
        number(
            "samples",
            "How many samples to compare; 1,000 where it is not said.",
            3,
            2_000,
        ),
        number(
            "moved",
            "How many of those that moved most to name; 10 where it is not said.",
            0,
            100,
        ),
        parameter(
            "query",
            "seed",
            "What the samples are drawn by.",
            json!({ "type": "integer", "minimum": 0 }),
        ),
    ];
    let problems = [
        Kind::NotFound,
        Kind::Gone,
        Kind::Unprocessable,
        Kind::QueueFull,
        Kind::NotReady,
        Kind::EncoderFailed,
    ];
    let answer = content::<Diff>(types);
    let compare = json!({ "get": {
        "operationId": operation_id("get", diff),
        "summary": "What another generation changed, by who is near whom among the same samples.",
        "parameters": asked,
        "responses": responses(types, answer, &problems),
    } });

    let list = "/api/v1/models/{stream}/{generation}/files";
    let answer = content::<Files>(types);
    let listed = json!({ "get": {
        "operationId": operation_id("get", list),
        "summary": "The files of a generation's folder, with their sizes and hashes.",
        "parameters": [&stream, &generation],
        "responses": responses(types, answer, &[Kind::NotFound, Kind::Gone]),
    } });

    let file = "/api/v1/models/{stream}/{generation}/files/{path}";
    let path = parameter("path", "path", "The file's name; it may hold `/`.", text());
    let parameters = [stream, generation, path];
    let downloaded = json!({
        "get": download(types, "get", file, "A file of a generation.", &parameters),
        "head": download(types, "head", file, "What is said of a file of a generation.", &parameters),
    });
    [(diff, compare), (list, listed), (file, downloaded)]
        .map(|(path, item)| (path.to_owned(), item))
        .into()
}

/// A file's bytes, all or some, or what is said of them.
fn download(types: &mut SchemaGenerator, method: &str, path: &str, summary: &str, parameters: &[Value]) -> Value {
    let bytes = || json!({ "application/octet-stream": {} });
    let problems = [Kind::NotFound, Kind::Gone, Kind::UnsatisfiableRange];
    let mut responses = responses(types, bytes(), &problems);
    responses["200"]["headers"] = json!({
        "ETag": { "description": "The file's blake3 hash, in quotes.", "schema": { "type": "string" } },
        "Accept-Ranges": { "description": "`bytes`.", "schema": { "type": "string" } },
    });
    responses["206"] = json!({ "description": "The bytes that `Range` asks for.", "content": bytes() });
    responses["304"] = json!({ "description": "`If-None-Match` names this file." });
    let header = |name: &str, about: &str| parameter("header", name, about, json!({ "type": "string" }));
    let mut parameters = parameters.to_vec();
    parameters.extend([
        header("Range", "One range of bytes."),
        header("If-Range", "The tag on whose condition `Range` is one."),
        header("If-None-Match", "Tags of what is there already."),
    ]);
    json!({
        "operationId": operation_id(method, path),
        "summary": summary,
        "parameters": parameters,
        "responses": responses,
    })
}
