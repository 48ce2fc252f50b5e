//! `GET /api/v1/events`: what happens, as it happens (server-sent events).

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::wrappers::{BroadcastStream, WatchStream};

use super::AppState;
use super::problem::{Kind, Problem};
use crate::curiosity::Signal;
use crate::ids::{Generation, SampleId, Space, StreamName};

/// Something that happened. Its `type` is also the name of the server-sent event.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A source was taken.
    Accepted {
        /// The stream.
        stream: StreamName,
        /// The file, relative to its inbox.
        path: String,
        /// Its samples.
        #[schemars(with = "Vec<u64>")]
        samples: Vec<SampleId>,
    },
    /// A source's content was known already.
    Duplicate {
        /// The stream.
        stream: StreamName,
        /// The file, relative to its inbox.
        path: String,
    },
    /// A source was rejected.
    Quarantined {
        /// The stream.
        stream: StreamName,
        /// The file, relative to its inbox.
        path: String,
        /// The kind of its fault.
        reason: String,
        /// The fault, for people.
        detail: String,
    },
    /// No more sources are taken for now.
    IngestPaused {
        /// The stream.
        stream: StreamName,
        /// Why.
        reason: String,
    },
    /// Sources are taken again.
    IngestResumed {
        /// The stream.
        stream: StreamName,
    },
    /// An inbox is not there any more: deleted, or not mounted.
    InboxGone {
        /// The stream.
        stream: StreamName,
        /// The folder.
        inbox: String,
    },
    /// An inbox that was gone is there.
    InboxBack {
        /// The stream.
        stream: StreamName,
        /// The folder.
        inbox: String,
    },
    /// The gate judged a candidate.
    Verdict {
        /// The stream.
        stream: StreamName,
        /// Whether it was accepted.
        accepted: bool,
        /// Its step.
        step: u64,
        /// The verdict in a sentence.
        verdict: String,
    },
    /// A generation began to answer queries.
    Serving {
        /// The stream.
        stream: StreamName,
        /// The generation.
        #[schemars(with = "u64")]
        generation: Generation,
        /// Its space.
        #[schemars(with = "String")]
        space: Space,
    },
    /// What arrives is not what it was.
    Drift {
        /// The stream.
        stream: StreamName,
        /// The signal that shows it.
        signal: Signal,
        /// The mean of its quantile before, 0 to 1.
        before: f64,
        /// The mean of its quantile since.
        since: f64,
        /// The sample that made it certain.
        #[schemars(with = "u64")]
        sample: SampleId,
        /// The file of that sample, relative to its inbox; null when it is gone already.
        path: Option<String>,
        /// The change in a sentence.
        detail: String,
    },
    /// A sample arrived that is like nothing else held and hardly understood. Told of a source once, and not of each of many.
    Outlier {
        /// The stream.
        stream: StreamName,
        /// The sample.
        #[schemars(with = "u64")]
        sample: SampleId,
        /// The quantile of its error, 0 to 1.
        rank: f64,
        /// The quantile of its novelty, 0 to 1.
        novelty: f64,
        /// Its file, relative to its inbox; null when it is gone already.
        path: Option<String>,
    },
    /// A part of a stream failed.
    Failed {
        /// The stream.
        stream: StreamName,
        /// What, and why.
        detail: String,
    },
    /// This client was too slow and has missed events; `GET /api/v1/status` says how things are.
    Missed {
        /// How many.
        events: u64,
    },
}

impl Event {
    fn to_sse(&self) -> sse::Event {
        let json = serde_json::to_value(self).unwrap_or_default();
        let name = json["type"].as_str().unwrap_or("event").to_owned();
        sse::Event::default().event(name).data(json.to_string())
    }
}

/// `GET /api/v1/events`.
pub(super) async fn follow(State(state): State<Arc<AppState>>) -> Result<Response, Problem> {
    let permit = Arc::clone(&state.event_clients)
        .try_acquire_owned()
        .map_err(|_| Problem::new(Kind::Overloaded, "as many clients follow the events as may").retry_after(10))?;
    let events = BroadcastStream::new(state.events.subscribe()).map(|received| {
        Some(received.unwrap_or_else(|BroadcastStreamRecvError::Lagged(events)| Event::Missed { events }))
    });
    let stop = WatchStream::new(state.stop.clone()).filter_map(|stop| stop.then_some(None));
    let rekeyed = WatchStream::from_changes(state.keys_changed.subscribe()).map(|()| None);
    let told = events
        .merge(stop)
        .merge(rekeyed)
        .map_while(|event| event)
        .map(move |event| {
            let _held_as_long_as_the_stream = &permit;
            Ok::<_, Infallible>(event.to_sse())
        });
    Ok(Sse::new(told).keep_alive(KeepAlive::default()).into_response())
}
