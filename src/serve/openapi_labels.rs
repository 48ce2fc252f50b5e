//! The part of the API's description that is about labels: what is given, fitted, classified and queued.

use schemars::JsonSchema;
use schemars::generate::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::classify::{Classified, ClassifyRequest};
use super::head_answers::{HeadAnswer, HeadRequest, HeadsAnswer};
use super::label_queue::{Queue, QueueRequest};
use super::labels::{LabelsAnswer, LabelsKept, LabelsRequest};
use super::openapi::{ASKED, asked_for, content, operation_id, parameter, responses};
use super::problem::Kind;

/// Problems of a route that is asked in JSON.
const ASKED_IN_JSON: [Kind; 4] = [
    Kind::NotFound,
    Kind::TooLarge,
    Kind::UnsupportedType,
    Kind::Unprocessable,
];

/// The routes and their operations.
pub(super) fn paths(types: &mut SchemaGenerator) -> Map<String, Value> {
    let of_stream = parameter(
        "query",
        "stream",
        "The stream; may be left out where there is one.",
        json!({ "type": "string" }),
    );
    let text = |name: &str, description: &str| parameter("query", name, description, json!({ "type": "string" }));
    let listed = vec![
        of_stream.clone(),
        text("set", "The set of labels; `default` where it is left out."),
        text("after", "What `next` of the answer before said."),
        parameter(
            "query",
            "max",
            "How many labels, 1 to 10,000.",
            json!({ "type": "integer" }),
        ),
    ];
    let not_ready = [&ASKED_IN_JSON[..], &[Kind::NotReady]].concat();
    let queue_problems = [&ASKED_IN_JSON[..], &[Kind::NotReady, Kind::NoHead, Kind::Gone]].concat();
    let classify_problems = [&ASKED[..], &[Kind::NoHead]].concat();
    let answer = content::<Classified>(types);
    let summary = "The classes of pictures, texts, series, transitions or samples, by a classifier fitted from labels.";
    Map::from_iter([
        (
            "/api/v1/labels".to_owned(),
            json!({
                "get": read::<LabelsAnswer>(types, "/api/v1/labels", "Labels as they are kept.", listed),
                "post": asked::<LabelsRequest, LabelsKept>(
                    types, "/api/v1/labels", "Give labels, or take them back (null).", &ASKED_IN_JSON,
                ),
            }),
        ),
        (
            "/api/v1/heads".to_owned(),
            json!({
                "get": read::<HeadsAnswer>(types, "/api/v1/heads", "The classifiers of the generation that answers.", vec![of_stream]),
                "post": asked::<HeadRequest, HeadAnswer>(
                    types,
                    "/api/v1/heads",
                    "Fit a classifier from a set of labels, for the generation that answers and for each that follows.",
                    &not_ready,
                ),
            }),
        ),
        (
            "/api/v1/classify".to_owned(),
            asked_for::<ClassifyRequest>(types, "classify", summary, answer, &classify_problems),
        ),
        (
            "/api/v1/label-queue".to_owned(),
            json!({ "post": asked::<QueueRequest, Queue>(
                types, "/api/v1/label-queue", "Which samples to label next.", &queue_problems,
            ) }),
        ),
    ])
}

fn read<Answer: JsonSchema>(types: &mut SchemaGenerator, path: &str, summary: &str, parameters: Vec<Value>) -> Value {
    let answer = content::<Answer>(types);
    let problems = [Kind::NotFound, Kind::Unprocessable];
    json!({
        "operationId": operation_id("get", path),
        "summary": summary,
        "parameters": parameters,
        "responses": responses(types, answer, &problems),
    })
}

fn asked<Request: JsonSchema, Answer: JsonSchema>(
    types: &mut SchemaGenerator,
    path: &str,
    summary: &str,
    problems: &[Kind],
) -> Value {
    let request = types.subschema_for::<Request>();
    let answer = content::<Answer>(types);
    json!({
        "operationId": operation_id("post", path),
        "summary": summary,
        "requestBody": { "required": true, "content": { "application/json": { "schema": request } } },
        "responses": responses(types, answer, problems),
    })
}
