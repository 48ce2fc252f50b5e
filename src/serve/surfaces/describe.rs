//! The other protocols' routes in the API's description.

use schemars::JsonSchema;
use schemars::generate::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::Surface;
use super::oip::{InferAnswer, OipLive, OipModel, OipReady, OipServer};
use super::oip_binary::InferRequest;
use super::openai::{OpenAiEmbeddings, OpenAiEmbeddingsRequest, OpenAiModel, OpenAiModels};
use super::tei::{TeiEmbedRequest, TeiEmbeddings, TeiInfo};
use crate::serve::openapi::{ALWAYS, ASKED, content, operation_id, parameter};
use crate::serve::problem::Kind;

/// Problems of a question about a model that reads nothing of it but what is known of it.
const NAMED: [Kind; 2] = [Kind::NotFound, Kind::Gone];

/// A route in the making.
struct Operation {
    surface: Surface,
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    /// The request's content, where it has a body.
    request: Option<Value>,
    /// The answer's content; nothing where it has none.
    answer: Option<Value>,
    /// Whether the answer says in headers which generation it is of.
    is_signed: bool,
    problems: Vec<Kind>,
}

/// The routes as items of the description, by path.
pub(in crate::serve) fn paths(types: &mut SchemaGenerator) -> Map<String, Value> {
    let operations = [openai(types), tei(types), open_inference(types)];
    operations
        .into_iter()
        .flatten()
        .map(|operation| {
            let (method, path) = (operation.method, operation.path.to_owned());
            (path, json!({ method: operation.described(types) }))
        })
        .collect()
}

fn json_of<T: JsonSchema>(types: &mut SchemaGenerator) -> Option<Value> {
    Some(content::<T>(types))
}

fn model() -> Value {
    let meaning = "`stream`, `stream@stable` or `stream@42`.";
    parameter("path", "model", meaning, json!({ "type": "string" }))
}

fn asked_for() -> Vec<Kind> {
    [&[Kind::MalformedRequest][..], &ASKED].concat()
}

fn openai(types: &mut SchemaGenerator) -> Vec<Operation> {
    let of = |method, path, summary| Operation::new(Surface::OpenAi, method, path, summary);
    vec![
        Operation {
            request: json_of::<OpenAiEmbeddingsRequest>(types),
            answer: json_of::<OpenAiEmbeddings>(types),
            is_signed: true,
            problems: asked_for(),
            ..of("post", "/v1/embeddings", "Embeddings in OpenAI's protocol.")
        },
        Operation {
            answer: json_of::<OpenAiModels>(types),
            ..of("get", "/v1/models", "Every model, in OpenAI's protocol.")
        },
        Operation {
            parameters: vec![model()],
            answer: json_of::<OpenAiModel>(types),
            is_signed: true,
            problems: NAMED.to_vec(),
            ..of("get", "/v1/models/{model}", "A model, in OpenAI's protocol.")
        },
    ]
}

fn tei(types: &mut SchemaGenerator) -> Vec<Operation> {
    let of = |method, path, summary| Operation::new(Surface::Tei, method, path, summary);
    let chosen = || {
        let meaning = "The model; may be left out where there is one stream of texts, or one stream.";
        vec![
            parameter("query", "model", meaning, json!({ "type": "string" })),
            parameter("header", "Curiod-Model", "The same.", json!({ "type": "string" })),
        ]
    };
    let embed = |path, summary, types: &mut SchemaGenerator| Operation {
        parameters: chosen(),
        request: json_of::<TeiEmbedRequest>(types),
        answer: json_of::<TeiEmbeddings>(types),
        is_signed: true,
        problems: asked_for(),
        ..of("post", path, summary)
    };
    vec![
        embed("/embed", "Embeddings in text-embeddings-inference's protocol.", types),
        embed("/", "The same: some clients send it here.", types),
        Operation {
            parameters: chosen(),
            answer: json_of::<TeiInfo>(types),
            is_signed: true,
            problems: [&NAMED[..], &[Kind::Unprocessable, Kind::NotReady]].concat(),
            ..of(
                "get",
                "/info",
                "What text-embeddings-inference's clients want to know of a model.",
            )
        },
        Operation {
            problems: vec![Kind::NotReady],
            ..of("get", "/health", "Whether queries are answered.")
        },
    ]
}

fn open_inference(types: &mut SchemaGenerator) -> Vec<Operation> {
    let of = |method, path, summary| Operation::new(Surface::OpenInference, method, path, summary);
    let version = || {
        let meaning = "A generation's number, or `latest`, `stable`, `previous`.";
        parameter("path", "version", meaning, json!({ "type": "string" }))
    };
    let mut operations = vec![
        Operation {
            answer: json_of::<OipServer>(types),
            ..of("get", "/v2", "The server, in the Open Inference Protocol.")
        },
        Operation {
            answer: json_of::<OipLive>(types),
            ..of("get", "/v2/health/live", "Whether the process answers.")
        },
        Operation {
            answer: json_of::<OipReady>(types),
            problems: vec![Kind::NotReady],
            ..of("get", "/v2/health/ready", "Whether queries are answered.")
        },
    ];
    let of_versions = [
        (
            "/v2/models/{model}",
            "/v2/models/{model}/ready",
            "/v2/models/{model}/infer",
            vec![model()],
        ),
        (
            "/v2/models/{model}/versions/{version}",
            "/v2/models/{model}/versions/{version}/ready",
            "/v2/models/{model}/versions/{version}/infer",
            vec![model(), version()],
        ),
    ];
    for (known, ready, infer, parameters) in of_versions {
        operations.push(Operation {
            parameters: parameters.clone(),
            answer: json_of::<OipModel>(types),
            is_signed: true,
            problems: NAMED.to_vec(),
            ..of("get", known, "A model, in the Open Inference Protocol.")
        });
        operations.push(Operation {
            parameters: parameters.clone(),
            answer: json_of::<OipReady>(types),
            is_signed: true,
            problems: [&NAMED[..], &[Kind::NotReady]].concat(),
            ..of("get", ready, "Whether a model answers.")
        });
        let meaning = "Bytes of the body that are JSON, where tensors' bytes follow.";
        let json_bytes = parameter(
            "header",
            "Inference-Header-Content-Length",
            meaning,
            json!({ "type": "integer" }),
        );
        operations.push(Operation {
            parameters: [parameters, vec![json_bytes]].concat(),
            request: json_of::<InferRequest>(types).map(with_bytes),
            answer: json_of::<InferAnswer>(types).map(with_bytes),
            is_signed: true,
            problems: asked_for(),
            ..of("post", infer, "Embeddings in the Open Inference Protocol.")
        });
    }
    operations
}

/// JSON, or JSON and bytes after it.
fn with_bytes(mut content: Value) -> Value {
    content["application/octet-stream"] = json!({});
    content
}

impl Operation {
    /// A route without a body or an answer.
    fn new(surface: Surface, method: &'static str, path: &'static str, summary: &'static str) -> Self {
        Self {
            surface,
            method,
            path,
            summary,
            parameters: Vec::new(),
            request: None,
            answer: None,
            is_signed: false,
            problems: Vec::new(),
        }
    }

    fn described(self, types: &mut SchemaGenerator) -> Value {
        let refusal = self.surface.refusal(types);
        let mut answer = json!({ "description": "The answer." });
        if let Some(content) = self.answer {
            answer["content"] = content;
        }
        if self.is_signed {
            answer["headers"] = json!({
                "Curiod-Generation": { "description": "The generation that answered.", "schema": { "type": "integer" } },
                "Curiod-Space": { "description": "Its space.", "schema": { "type": "string" } },
            });
        }
        let mut responses = Map::from_iter([("200".to_owned(), answer)]);
        for kind in self.problems.iter().chain(&ALWAYS) {
            let status = self.surface.status(*kind);
            let title = kind.describe().2;
            let response = responses.entry(status.to_string()).or_insert_with(
                || json!({ "description": "", "content": { "application/json": { "schema": refusal } } }),
            );
            let said = response["description"].as_str().unwrap_or_default();
            if !said.contains(title) {
                response["description"] = json!(format!("{said} {title}.").trim_start());
            }
            if matches!(status, 424 | 429 | 503 | 504) {
                response["headers"] = json!({ "Retry-After": { "schema": { "type": "integer" } } });
            }
        }
        let mut operation = json!({
            "operationId": operation_id(self.method, self.path),
            "summary": self.summary,
            "parameters": self.parameters,
            "responses": responses,
        });
        if let Some(content) = self.request {
            operation["requestBody"] = json!({ "required": true, "content": content });
        }
        operation
    }
}
