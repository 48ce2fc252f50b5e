//! `GET /openapi.json`: the API's description (OpenAPI 3.1), made of the types that the routes answer with.
//! Invariant: it describes exactly the router's routes; a test compares them.

mod generations;

use axum::Json;
use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::answers::{Alive, HandledAnswer, Models, Quarantined, Ready, Sample, StreamModels, StreamsAnswer};
use super::events::Event;
use super::fill::{FillRequest, Filled};
use super::inpaint::InpaintRequest;
use super::over_time::{OverTime, SeriesRequest};
use super::problem::{Kind, Problem};
use super::quarantine::QuarantineRequest;
use super::query::{EmbedRequest, Embeddings, Hits, Novelties, NoveltyRequest, SearchRequest};
use super::sample_content::SampleContent;
use super::standing::StandingRequest;
use super::{openapi_labels, surfaces};
use crate::status::Status;

/// Problems that every route may answer with: they come from what stands before the routes.
pub(super) const ALWAYS: [Kind; 8] = [
    Kind::MalformedRequest,
    Kind::Unauthorized,
    Kind::MissingScope,
    Kind::ForeignOrigin,
    Kind::MisdirectedRequest,
    Kind::Internal,
    Kind::Overloaded,
    Kind::Timeout,
];

/// Problems of the routes that are asked about pictures.
pub(super) const ASKED: [Kind; 8] = [
    Kind::NotFound,
    Kind::Gone,
    Kind::TooLarge,
    Kind::UnsupportedType,
    Kind::Unprocessable,
    Kind::QueueFull,
    Kind::NotReady,
    Kind::EncoderFailed,
];

/// `GET /openapi.json`.
pub(super) async fn document() -> Json<Value> {
    Json(description())
}

/// The whole document.
pub(super) fn description() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut types = settings.into_generator();
    let paths = paths(&mut types);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "curiod",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A lifelong-learning daemon: drop unlabeled data into a folder, query a model that never stops learning from it.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        // A key where the daemon has keys; none else.
        "security": [{ "key": [] }, {}],
        "components": {
            "schemas": types.take_definitions(true),
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn paths(types: &mut SchemaGenerator) -> Value {
    let stream = || parameter("path", "stream", "The stream.", json!({ "type": "string" }));
    let of_stream = || {
        parameter(
            "query",
            "stream",
            "The stream; may be left out where there is one.",
            json!({ "type": "string" }),
        )
    };
    let id = || parameter("path", "id", "The sample.", json!({ "type": "integer", "minimum": 0 }));
    let generation = || {
        parameter(
            "path",
            "generation",
            "A number, or `latest`, `stable`, `previous`.",
            json!({ "type": "string" }),
        )
    };
    let none = Vec::new;
    let mut paths = Map::new();
    let mut get = |path: &str,
                   summary: &str,
                   parameters: Vec<Value>,
                   answer: Value,
                   problems: &[Kind],
                   types: &mut SchemaGenerator| {
        let responses = responses(types, answer, problems);
        let operation = json!({ "operationId": operation_id("get", path), "summary": summary, "parameters": parameters, "responses": responses });
        paths.insert(path.to_owned(), json!({ "get": operation }));
    };
    let text = |kind: &str| json!({ kind: { "schema": { "type": "string" } } });
    let found = [Kind::NotFound, Kind::Unprocessable];

    get("/", "The dashboard.", none(), text("text/html"), &[], types);
    get(
        "/dashboard/{script}",
        "A module of the dashboard's script.",
        vec![parameter("path", "script", "The module.", json!({ "type": "string" }))],
        text("text/javascript"),
        &[Kind::NotFound],
        types,
    );
    get(
        "/dashboard.css",
        "The dashboard's style.",
        none(),
        text("text/css"),
        &[],
        types,
    );
    let answer = content::<Alive>(types);
    get("/livez", "Whether the process answers.", none(), answer, &[], types);
    let answer = content::<Ready>(types);
    get(
        "/readyz",
        "Whether the daemon can answer queries; 503 with the same body when not. `degraded` in the body: it can, but takes or \
         learns nothing.",
        none(),
        answer,
        &[],
        types,
    );
    get(
        "/metrics",
        "The status in Prometheus's text format.",
        none(),
        text("text/plain"),
        &[],
        types,
    );
    let document = json!({ "application/json": { "schema": { "type": "object" } } });
    get("/openapi.json", "This description.", none(), document, &[], types);
    let answer = content::<Status>(types);
    get("/api/v1/status", "How the daemon is doing.", none(), answer, &[], types);
    let answer = content::<StreamsAnswer>(types);
    get("/api/v1/streams", "The streams.", none(), answer, &[], types);
    let answer = content::<Models>(types);
    get(
        "/api/v1/models",
        "Every generation that is kept.",
        none(),
        answer,
        &[],
        types,
    );
    let answer = content::<StreamModels>(types);
    get(
        "/api/v1/models/{stream}",
        "A stream's generations and its gate's last verdicts.",
        vec![stream()],
        answer,
        &found,
        types,
    );
    let manifest = json!({ "application/json": { "schema": {
        "type": "object",
        "description": "`curiod.json`: generation, parent, space, step, exam, verdict, and the blake3 hash of every file.",
    } } });
    let problems = [Kind::NotFound, Kind::Gone];
    get(
        "/api/v1/models/{stream}/{generation}",
        "A generation's manifest.",
        vec![stream(), generation()],
        manifest,
        &problems,
        types,
    );
    let answer = content::<Sample>(types);
    get(
        "/api/v1/samples/{id}",
        "A sample.",
        vec![id(), of_stream()],
        answer,
        &problems,
        types,
    );
    let png = json!({ "image/png": {} });
    get(
        "/api/v1/samples/{id}/picture",
        "A sample as it is kept, as a PNG.",
        vec![id(), of_stream()],
        png,
        &problems,
        types,
    );
    get(
        "/api/v1/samples/{id}/text",
        "A passage of text as it is kept.",
        vec![id(), of_stream()],
        text("text/plain"),
        &problems,
        types,
    );
    let answer = content::<SampleContent>(types);
    get(
        "/api/v1/samples/{id}/content",
        "A passage, a window of a series or a transition as it is kept.",
        vec![id(), of_stream()],
        answer,
        &problems,
        types,
    );
    let answer = content::<Vec<Quarantined>>(types);
    let all_or_one = parameter("query", "stream", "Of this stream alone.", json!({ "type": "string" }));
    get(
        "/api/v1/quarantine",
        "The files that could not be taken, and why.",
        vec![all_or_one],
        answer,
        &[Kind::NotFound],
        types,
    );
    let event = types.subschema_for::<Event>();
    let events = json!({ "text/event-stream": {
        "schema": { "type": "string", "description": "Server-sent events; the data of each is an `Event` in JSON." },
        "x-event": event,
    } });
    get(
        "/api/v1/events",
        "What happens, as it happens.",
        none(),
        events,
        &[],
        types,
    );

    let handled = [
        (
            "retry",
            "Have rejected files read again; those that were moved to quarantine are moved back.",
        ),
        ("drop", "Forget rejected files; their files stay where they are."),
    ];
    let standing = [
        (
            "rollback",
            "Have an older generation answer: this one, or the one before. Newer ones are passed over until one is published that is \
             newer still.",
        ),
        (
            "pin",
            "Have this generation answer whatever is published, or, with null, take the pin away.",
        ),
    ];
    for (name, summary) in standing {
        let request = types.subschema_for::<StandingRequest>();
        let answer = content::<StreamModels>(types);
        let problems = [
            Kind::NotFound,
            Kind::Gone,
            Kind::TooLarge,
            Kind::UnsupportedType,
            Kind::Unprocessable,
        ];
        let path = format!("/api/v1/models/{{stream}}/{name}");
        let operation = json!({ "post": {
            "operationId": operation_id("post", &path),
            "summary": summary,
            "parameters": [stream()],
            "requestBody": { "required": true, "content": { "application/json": { "schema": request } } },
            "responses": responses(types, answer, &problems),
        } });
        paths.insert(path, operation);
    }
    for (name, summary) in handled {
        let request = types.subschema_for::<QuarantineRequest>();
        let answer = content::<HandledAnswer>(types);
        let problems = [
            Kind::NotFound,
            Kind::TooLarge,
            Kind::UnsupportedType,
            Kind::Unprocessable,
        ];
        let path = format!("/api/v1/quarantine/{name}");
        let operation = json!({ "post": {
            "operationId": operation_id("post", &path),
            "summary": summary,
            "requestBody": { "required": true, "content": { "application/json": { "schema": request } } },
            "responses": responses(types, answer, &problems),
        } });
        paths.insert(path, operation);
    }
    paths.insert(
        "/api/v1/embed".to_owned(),
        asked::<EmbedRequest, Embeddings>(types, "embed", "Embeddings of pictures, texts, series or transitions."),
    );
    let summary = "The samples most like a picture, a text, a series, a transition, a sample or a vector; of all, or of those that \
                   arrived in a time or from some files.";
    let answer = content::<Hits>(types);
    let problems = [&ASKED[..], &[Kind::OtherSpace]].concat();
    let mut search = asked_for::<SearchRequest>(types, "search", summary, answer, &problems);
    if let Value::Array(parameters) = &mut search["post"]["parameters"] {
        parameters.extend(["after", "before", "source"].map(|name| {
            let description = "Beside a body that is a file or a form; in JSON it stands in the body.";
            parameter("query", name, description, json!({ "type": "string" }))
        }));
    }
    paths.insert("/api/v1/search".to_owned(), search);
    let summary =
        "How new things are, or which samples are the most novel; of transitions also their intrinsic reward.";
    let answer = content::<Novelties>(types);
    let problems = [&ASKED[..], &[Kind::NoDecoder]].concat();
    paths.insert(
        "/api/v1/novelty".to_owned(),
        asked_for::<NoveltyRequest>(types, "novelty", summary, answer, &problems),
    );
    let summary = "How new each step of a series is, by what the steps before it promised.";
    let answer = content::<OverTime>(types);
    paths.insert(
        "/api/v1/novelty/series".to_owned(),
        asked_for::<SeriesRequest>(types, "novelty_series", summary, answer, &problems),
    );
    let summary = "The picture as the model sees it, its middle hidden and painted from what is around it.";
    let png = json!({ "image/png": {} });
    let problems = [&ASKED[..], &[Kind::NoDecoder]].concat();
    paths.insert(
        "/api/v1/inpaint".to_owned(),
        asked_for::<InpaintRequest>(types, "inpaint", summary, png, &problems),
    );
    let answer = content::<Filled>(types);
    paths.insert(
        "/api/v1/fill".to_owned(),
        asked_for::<FillRequest>(
            types,
            "fill",
            "The words a model expects where a text hides them.",
            answer,
            &problems,
        ),
    );
    paths.extend(generations::paths(types));
    for (path, item) in openapi_labels::paths(types).into_iter().chain(surfaces::paths(types)) {
        match (paths.get_mut(&path), item) {
            // `/` is the dashboard's, and of one of their clients too.
            (Some(Value::Object(known)), Value::Object(item)) => known.extend(item),
            (_, item) => {
                paths.insert(path, item);
            }
        }
    }
    Value::Object(paths)
}

/// A route that takes pictures and answers with JSON.
fn asked<Request: JsonSchema, Answer: JsonSchema>(types: &mut SchemaGenerator, name: &str, summary: &str) -> Value {
    let answer = content::<Answer>(types);
    asked_for::<Request>(types, name, summary, answer, &ASKED)
}

/// A route that takes pictures: as JSON, as a picture's own bytes, or as a form.
pub(super) fn asked_for<Request: JsonSchema>(
    types: &mut SchemaGenerator,
    name: &str,
    summary: &str,
    answer: Value,
    problems: &[Kind],
) -> Value {
    let request = types.subschema_for::<Request>();
    let mut responses = responses(types, answer, problems);
    responses["200"]["headers"] = json!({
        "Curiod-Generation": { "description": "The generation that answered.", "schema": { "type": "integer" } },
        "Curiod-Space": { "description": "Its space.", "schema": { "type": "string" } },
    });
    let of_file =
        |name: &str, description: &str, kind: &str| parameter("query", name, description, json!({ "type": kind }));
    let beside_a_file = "Beside a body that is a file or a form; in JSON it stands in the body.";
    json!({ "post": {
        "operationId": name,
        "summary": summary,
        "parameters": [
            of_file("model", beside_a_file, "string"),
            of_file("k", beside_a_file, "integer"),
        ],
        "requestBody": { "required": true, "content": {
            "application/json": { "schema": request },
            "image/*": {},
            "application/octet-stream": {},
            "multipart/form-data": { "schema": { "type": "object", "additionalProperties": true } },
        } },
        "responses": responses,
    } })
}

pub(super) fn content<T: JsonSchema>(types: &mut SchemaGenerator) -> Value {
    json!({ "application/json": { "schema": types.subschema_for::<T>() } })
}

/// The answer, and the problems by their status.
pub(super) fn responses(types: &mut SchemaGenerator, answer: Value, problems: &[Kind]) -> Value {
    let mut responses = Map::from_iter([(
        "200".to_owned(),
        json!({ "description": "The answer.", "content": answer }),
    )]);
    for kind in problems.iter().chain(&ALWAYS) {
        let (name, status, title) = kind.describe();
        let said = format!("{title} (`urn:curiod:problem:{name}`).");
        match responses.get_mut(&status.to_string()) {
            Some(known) => {
                let both = format!("{} {said}", known["description"].as_str().unwrap_or_default());
                known["description"] = json!(both);
            }
            None => {
                let mut response = json!({
                    "description": said,
                    "content": { "application/problem+json": { "schema": types.subschema_for::<Problem>() } },
                });
                if status == 401 {
                    response["headers"] = json!({ "WWW-Authenticate": { "schema": { "type": "string" } } });
                }
                if matches!(status, 429 | 503 | 504) {
                    response["headers"] = json!({ "Retry-After": { "schema": { "type": "integer" } } });
                }
                responses.insert(status.to_string(), response);
            }
        }
    }
    Value::Object(responses)
}

pub(super) fn parameter(place: &str, name: &str, description: &str, schema: Value) -> Value {
    json!({ "in": place, "name": name, "description": description, "required": place == "path", "schema": schema })
}

pub(super) fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(['/', '{', '}', '.']).filter(|word| !word.is_empty());
    [method].into_iter().chain(words).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_description_has_the_routers_routes_and_no_others() {
        let described: BTreeSet<(String, String)> = description()["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                item.as_object()
                    .unwrap()
                    .keys()
                    .map(move |method| (path.clone(), method.clone()))
            })
            .collect();
        let routed = super::super::routes()
            .into_iter()
            .flat_map(|(path, methods, _)| {
                methods
                    .iter()
                    .map(move |method| (path.replace("{*", "{"), method.to_string()))
            })
            .collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_its_own_name() {
        let description = description();
        let text = description.to_string();
        for reference in text
            .split("\"$ref\":\"#")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
        {
            assert!(description.pointer(reference).is_some(), "{reference} leads nowhere");
        }
        let operations = text.matches("\"operationId\"").count();
        let names: BTreeSet<&str> = text
            .split("\"operationId\":\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        assert_eq!(names.len(), operations);
    }

    #[test]
    fn every_problem_that_a_handler_can_make_is_described() {
        let text = description().to_string();
        for kind in Kind::ALL {
            let (name, ..) = kind.describe();
            // These two answer what no route does.
            let is_of_no_route = matches!(kind, Kind::UnknownRoute | Kind::MethodNotAllowed);
            assert!(
                is_of_no_route || text.contains(&format!("urn:curiod:problem:{name}`")),
                "{name} is not described"
            );
        }
    }
}
