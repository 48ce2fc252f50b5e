//! Serving: queries over HTTP about the published models.
//! Invariants: the model and the index that answer one query are of one space; no handler waits for a tensor or the
//! disk on an async thread; every error is `application/problem+json`
//! (`/readyz` says how far the daemon is, ready or not), or in the shape of the other protocol whose route was asked.

mod admission;
mod answers;
mod body;
mod byte_range;
mod choice;
mod classify;
mod contents;
mod dashboard;
mod diff;
mod encoder;
mod events;
mod files;
mod fill;
mod filter;
mod follow;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod given;
mod guard;
mod head_answers;
mod heads;
mod http;
pub mod index;
mod inpaint;
mod label_queue;
mod labels;
mod metrics;
pub mod novelty;
mod openapi;
mod openapi_labels;
mod over_time;
mod overlap;
pub mod problem;
mod quarantine;
mod query;
mod read;
mod sample_content;
mod skim;
mod standing;
mod stream;
mod surfaces;
#[cfg(test)]
mod tests;
pub mod tls;
mod tuning;
mod unread;
mod vector;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use tokio::sync::{Semaphore, broadcast, watch};
use tower_http::catch_panic::CatchPanicLayer;

pub use events::Event;
pub use http::{Listener, serve};
pub use stream::{ServingSetup, ServingState, StreamServing};

use crate::access::Keys;
use crate::config::ServerConfig;
use crate::ids::StreamName;
use crate::ingest::Quarantine;
use crate::labels::LabelStore;
use crate::limits::{DOWNLOADS_MAX, EVENT_CLIENTS_MAX, QUERY_DECODES_MAX, REQUESTS_BYTES_MAX};
use crate::registry::Registry;
use crate::replay::ReplayBuffer;
use crate::sample::{Cutting, Modality};
use crate::status::Status;
use metrics::HttpMetrics;
use problem::{Kind, Problem};

/// A stream as the server sees it.
pub struct StreamHandle {
    /// The kind of its data.
    pub modality: Modality,
    /// Its samples.
    pub replay: Arc<ReplayBuffer>,
    /// Its generations.
    pub registry: Arc<Registry>,
    /// What answers its queries.
    pub serving: Arc<StreamServing>,
    /// What its users say of its samples.
    pub labels: Arc<LabelStore>,
    /// Its rejected files.
    pub quarantine: Quarantine,
    /// How a file in a query is read: as by its ingest.
    pub cutting: Cutting,
    /// Looks at what works on the stream beside its serving. Waits for nothing, not even for a reload.
    pub failures: Box<dyn Fn() -> PartFailures + Send + Sync>,
}

/// Why parts of a stream work no more, without which queries are answered all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartFailures {
    /// Why nothing is taken.
    pub ingest: Option<String>,
    /// Why nothing is learnt.
    pub learner: Option<String>,
    /// Why the replay buffer takes nothing for now.
    pub replay: Option<String>,
}

/// Streams by name; replaced as a whole when the configuration is read again.
pub type Streams = BTreeMap<StreamName, Arc<StreamHandle>>;

/// What the server knows.
pub struct AppState {
    /// Its settings.
    config: ServerConfig,
    /// Where it listens.
    bound: SocketAddr,
    /// Who may ask; None: whoever reaches it may ask what changes nothing.
    keys: ArcSwapOption<Keys>,
    /// Tells that other keys hold.
    keys_changed: watch::Sender<()>,
    /// The streams.
    pub streams: ArcSwap<Streams>,
    /// Reads the daemon's status.
    status: Box<dyn Fn() -> Status + Send + Sync>,
    /// What happens, for whoever follows.
    pub events: broadcast::Sender<Event>,
    /// Whether the daemon has started and is not stopping.
    pub ready: AtomicBool,
    /// True when the daemon stops.
    stop: watch::Receiver<bool>,
    http_metrics: HttpMetrics,
    requests: Semaphore,
    /// A permit for each KiB of what requests hold: their bodies, and the pictures decoded from them.
    held: Arc<Semaphore>,
    decodes: Arc<Semaphore>,
    event_clients: Arc<Semaphore>,
    /// For what compares much at once: a classifier that is fitted, a queue of what to label. One at a time, the next waits.
    comparing: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    diffs: Arc<Semaphore>,
}

impl AppState {
    /// A server without streams yet, that is not ready. `stop` turning true ends the event streams.
    pub fn new(
        config: ServerConfig,
        bound: SocketAddr,
        status: Box<dyn Fn() -> Status + Send + Sync>,
        events: broadcast::Sender<Event>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            requests: Semaphore::new(config.concurrency_max),
            held: Arc::new(Semaphore::new(REQUESTS_BYTES_MAX.max(config.body_bytes_max) / 1024 + 1)),
            decodes: Arc::new(Semaphore::new(QUERY_DECODES_MAX)),
            event_clients: Arc::new(Semaphore::new(EVENT_CLIENTS_MAX)),
            comparing: Arc::new(Semaphore::new(1)),
            downloads: Arc::new(Semaphore::new(DOWNLOADS_MAX)),
            diffs: Arc::new(Semaphore::new(1)),
            config,
            bound,
            keys: ArcSwapOption::empty(),
            keys_changed: watch::Sender::new(()),
            streams: ArcSwap::default(),
            status,
            events,
            ready: AtomicBool::new(false),
            stop,
            http_metrics: HttpMetrics::default(),
        }
    }

    /// From here on lets in whoever has one of these keys, and over TCP nobody else. Where they are others than before, event
    /// streams end: whoever still has a key follows again.
    pub fn let_in(&self, keys: Keys) {
        let keys = Arc::new(keys);
        let before = self.keys.swap(Some(Arc::clone(&keys)));
        if before.as_ref() != Some(&keys) {
            self.keys_changed.send_replace(());
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.bound
    }
}

/// A path, its methods, and what answers them.
type Route = (&'static str, &'static [&'static str], MethodRouter<Arc<AppState>>);

/// Every route: its path, its methods (for its description), its handlers. The one list that the router and the test of
/// the API's description read.
fn routes() -> Vec<Route> {
    let own: Vec<Route> = vec![
        ("/", &["get", "post"], get(dashboard::page).post(surfaces::tei_embed)),
        ("/dashboard/{script}", &["get"], get(dashboard::script)),
        ("/dashboard.css", &["get"], get(dashboard::style)),
        ("/livez", &["get"], get(read::livez)),
        ("/readyz", &["get"], get(read::readyz)),
        ("/metrics", &["get"], get(read::metrics)),
        ("/openapi.json", &["get"], get(openapi::document)),
        ("/api/v1/status", &["get"], get(read::status)),
        ("/api/v1/streams", &["get"], get(read::streams)),
        ("/api/v1/models", &["get"], get(read::models)),
        ("/api/v1/models/{stream}", &["get"], get(read::models_of)),
        ("/api/v1/models/{stream}/diff", &["get"], get(diff::diff)),
        ("/api/v1/models/{stream}/{generation}", &["get"], get(read::model)),
        ("/api/v1/models/{stream}/rollback", &["post"], post(standing::roll_back)),
        ("/api/v1/models/{stream}/pin", &["post"], post(standing::pin)),
        ("/api/v1/models/{stream}/{generation}/files", &["get"], get(files::list)),
        (
            "/api/v1/models/{stream}/{generation}/files/{*path}",
            &["get", "head"],
            get(files::file),
        ),
        ("/api/v1/samples/{id}", &["get"], get(read::sample)),
        ("/api/v1/samples/{id}/picture", &["get"], get(read::picture)),
        ("/api/v1/samples/{id}/text", &["get"], get(read::text)),
        ("/api/v1/samples/{id}/content", &["get"], get(read::content_of)),
        ("/api/v1/quarantine", &["get"], get(quarantine::list)),
        ("/api/v1/quarantine/retry", &["post"], post(quarantine::retry)),
        ("/api/v1/quarantine/drop", &["post"], post(quarantine::forget)),
        ("/api/v1/events", &["get"], get(events::follow)),
        ("/api/v1/embed", &["post"], post(query::embed)),
        ("/api/v1/search", &["post"], post(query::search)),
        ("/api/v1/novelty", &["post"], post(query::novelty)),
        ("/api/v1/novelty/series", &["post"], post(over_time::novelty)),
        ("/api/v1/inpaint", &["post"], post(inpaint::inpaint)),
        ("/api/v1/fill", &["post"], post(fill::fill)),
        (
            "/api/v1/labels",
            &["get", "post"],
            get(labels::list).post(labels::change),
        ),
        (
            "/api/v1/heads",
            &["get", "post"],
            get(head_answers::list).post(head_answers::fit),
        ),
        ("/api/v1/classify", &["post"], post(classify::classify)),
        ("/api/v1/label-queue", &["post"], post(label_queue::label_queue)),
    ];
    own.into_iter().chain(surfaces::routes()).collect()
}

/// The routes behind their guards.
pub fn router(state: Arc<AppState>) -> Router {
    let unknown = |uri: Uri| async move {
        Problem::new(Kind::UnknownRoute, format!("there is no `{}`", uri.path()))
            .hint("GET /openapi.json lists every route")
    };
    let wrong_method = |uri: Uri| async move {
        Problem::new(
            Kind::MethodNotAllowed,
            format!("`{}` has other methods; `Allow` names them", uri.path()),
        )
    };
    let panicked = |_: Box<dyn std::any::Any + Send>| {
        use axum::response::IntoResponse;
        tracing::error!(
            hint = "please report it with this log; the daemon goes on",
            "a handler panicked"
        );
        Problem::new(Kind::Internal, "the handler panicked; the log says more").into_response()
    };
    routes()
        .into_iter()
        .fold(Router::new(), |router, (path, _, methods)| router.route(path, methods))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        // The body is bounded where it is read, by the configuration.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(Arc::clone(&state), guard::guard))
        .with_state(state)
}

/// The same for the admin socket: whoever comes over it may ask everything.
pub fn admin_router(state: Arc<AppState>) -> Router {
    router(state).layer(Extension(admission::OverSocket))
}

/// Runs what may wait for the disk or a lock on a thread that may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error,
            hint = "please report it with this log; the daemon goes on",
            "the work for a request failed");
        Problem::new(Kind::Internal, "the work for this request panicked; the log says more")
    })
}

/// `n` rows of `dim` numbers, each of unit length, scattered evenly: what tests and benches search in.
#[doc(hidden)]
pub fn test_embeddings(n: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut rng = crate::rng::for_step(seed, 0, 0);
    let mut rows: Vec<f32> = (0..n * dim)
        .map(|_| (0..4).map(|_| crate::rng::unit(&mut rng) - 0.5).sum::<f64>() as f32)
        .collect();
    for row in rows.chunks_mut(dim) {
        let norm = index::dot(row, row).sqrt();
        row.iter_mut().for_each(|value| *value /= norm);
    }
    rows
}

/// Samples with these ids, from nowhere: what tests and benches put into an index.
#[doc(hidden)]
pub fn test_samples(ids: impl IntoIterator<Item = u64>) -> Vec<(crate::ids::SampleId, index::Origin)> {
    ids.into_iter()
        .map(|id| (crate::ids::SampleId(id), index::Origin::default()))
        .collect()
}
