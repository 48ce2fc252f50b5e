//! What the reading routes answer, as types, from which the API's description is made too.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{StreamHandle, Streams};
use crate::ids::{Generation, SampleId, SourceHash, Space, StreamName};
use crate::ingest::{Done, Handled};
use crate::registry::VerdictRecord;
use crate::replay::{QuarantineEntry, SampleInfo};
use crate::status::StreamStatus;

/// The process answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Alive {
    /// `alive`.
    pub(super) status: &'static str,
}

/// Whether the daemon can answer queries, and whether all of it works.
#[derive(Serialize, JsonSchema)]
pub(super) struct Ready {
    /// `ready`; `degraded`: queries are answered, but a part of a stream has failed; else why not: `failed`, `starting or
    /// stopping`.
    pub(super) status: &'static str,
    /// Each stream's parts.
    streams: BTreeMap<StreamName, StreamReady>,
}

/// A stream's parts.
#[derive(Serialize, JsonSchema)]
struct StreamReady {
    /// The generation that answers queries; null before the first.
    #[schemars(with = "Option<u64>")]
    generation: Option<Generation>,
    /// Why queries fail, when they do.
    failure: Option<String>,
    /// Why no files are taken until a restart, when that is so.
    ingest_failure: Option<String>,
    /// Why nothing is learnt until a restart, when that is so.
    learner_failure: Option<String>,
    /// Why the replay buffer takes nothing for now, when that is so.
    replay_failure: Option<String>,
}

impl StreamReady {
    fn is_degraded(&self) -> bool {
        let parts = [&self.ingest_failure, &self.learner_failure, &self.replay_failure];
        parts.into_iter().any(Option::is_some)
    }
}

impl Ready {
    /// A stream that has published nothing yet is as ready as it can be: it takes data. One that takes or learns nothing
    /// answers from what it has, so that nobody's queries go elsewhere for that.
    pub(super) fn of(is_ready: bool, streams: &Streams) -> Self {
        let of_stream = |handle: &StreamHandle| {
            let (serving, parts) = (handle.serving.state(), (handle.failures)());
            StreamReady {
                generation: serving.generation,
                failure: serving.failure,
                ingest_failure: parts.ingest,
                learner_failure: parts.learner,
                replay_failure: parts.replay,
            }
        };
        let streams: BTreeMap<_, _> = streams
            .iter()
            .map(|(name, handle)| (name.clone(), of_stream(handle)))
            .collect();
        let any = |has: fn(&StreamReady) -> bool| streams.values().any(has);
        let status = if !is_ready {
            "starting or stopping"
        } else if any(|stream| stream.failure.is_some()) {
            "failed"
        } else if any(StreamReady::is_degraded) {
            "degraded"
        } else {
            "ready"
        };
        Self { status, streams }
    }

    /// Whether queries are answered.
    pub(super) fn answers(&self) -> bool {
        matches!(self.status, "ready" | "degraded")
    }
}

/// Every stream.
#[derive(Serialize, JsonSchema)]
pub(super) struct StreamsAnswer {
    /// The streams, by name.
    pub(super) streams: Vec<StreamStatus>,
}

/// A generation in a list.
#[derive(Serialize, JsonSchema)]
pub(super) struct Model {
    /// Its stream.
    pub(super) stream: StreamName,
    /// Its number.
    #[schemars(with = "u64")]
    pub(super) generation: Generation,
    /// The space of its vectors.
    #[schemars(with = "String")]
    pub(super) space: Space,
    /// Numbers of a vector.
    pub(super) dim: usize,
    /// Steps of learning behind it.
    pub(super) step: u64,
    /// When it was published: RFC 3339, UTC.
    pub(super) created_at: String,
    /// Why the gate let it pass.
    pub(super) verdict: String,
    /// Its exam: share of views that find their picture's other view first.
    pub(super) retrieval: Option<f64>,
    /// Share of a sample's 10 nearest under the generation before that are among its nearest under this one; null for the first.
    pub(super) neighbours_kept: Option<f64>,
    /// Whether it is a major change: less than 0.6 of them are. What was learnt of distances and thresholds holds no more.
    pub(super) major: Option<bool>,
    /// The names that it has: `latest`, `stable`, `previous`.
    pub(super) aliases: Vec<&'static str>,
    /// Whether it was rolled back from.
    pub(super) withdrawn: bool,
    /// Whether it is pinned: it answers, whatever is published.
    pub(super) pinned: bool,
    /// Whether it answers queries.
    pub(super) serving: bool,
}

/// Every generation that is kept.
#[derive(Serialize, JsonSchema)]
pub(super) struct Models {
    /// The generations of each stream, oldest first.
    pub(super) models: Vec<Model>,
}

/// A stream's generations, and its gate's last verdicts.
#[derive(Serialize, JsonSchema)]
pub(super) struct StreamModels {
    /// The stream.
    pub(super) stream: StreamName,
    /// Its generations, oldest first.
    pub(super) models: Vec<Model>,
    /// The last verdicts, oldest first: `at`, `step`, `generation` (null when rejected), `reason`, `seconds`, `exam`.
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    pub(super) verdicts: Vec<VerdictRecord>,
}

/// A sample.
#[derive(Serialize, JsonSchema)]
pub(super) struct Sample {
    stream: StreamName,
    #[schemars(with = "u64")]
    id: SampleId,
    /// The blake3 hash of the file it was cut from.
    #[schemars(with = "String")]
    source: SourceHash,
    /// The file, relative to its inbox.
    path: String,
    /// When the file was taken: RFC 3339, UTC.
    taken_at: String,
    /// Bytes that it takes in the replay buffer.
    bytes: u32,
    /// Whether it is held out for the exam.
    exam: bool,
    /// How often a step has used it.
    visits: u32,
    /// Its prediction error at the newest of those: under views that are new every time.
    error: Option<f32>,
    /// Its prediction error when the teacher looked at it last, under views that are the same every time; null before that,
    /// and after a restart of the daemon until it is looked at again.
    fixed_error: Option<f32>,
    /// The step of that look.
    scored_at: Option<u64>,
    /// The quantile of its error among the stream's newest, 0 to 1.
    rank: Option<f32>,
    /// The quantile of its distance to its ten nearest neighbours in teacher space, 0 to 1.
    novelty: Option<f32>,
    /// The cluster of teacher space that it is in.
    cluster: Option<u16>,
    /// Learning progress in that cluster, in the unit of errors: above 0 they fall.
    progress: Option<f32>,
    /// How far that progress lets its error count, 0 to 1.
    guard: Option<f32>,
    /// Whether it is taken for junk: replayed often, among the hardest, without progress. Its error counts nothing then.
    junk: Option<bool>,
    /// How much it wants to be replayed.
    priority: f32,
    /// The probability with which one draw of the next batch gives it.
    probability: f64,
    /// Where to get it as a PNG.
    picture: String,
}

impl Sample {
    pub(super) fn of(stream: StreamName, info: SampleInfo) -> Self {
        Self {
            picture: format!("/api/v1/samples/{}/picture?stream={stream}", info.id),
            stream,
            id: info.id,
            source: info.source,
            path: info.path,
            taken_at: info.taken_at.to_rfc3339(),
            bytes: info.bytes,
            exam: info.exam,
            visits: info.visits,
            error: info.error,
            fixed_error: info.score.map(|score| score.error),
            scored_at: info.score.map(|score| score.step),
            rank: info.judgement.map(|judged| judged.rank),
            novelty: info.judgement.and_then(|judged| judged.novelty),
            cluster: info.judgement.and_then(|judged| judged.cluster),
            progress: info.judgement.map(|judged| judged.progress),
            guard: info.judgement.map(|judged| judged.guard),
            junk: info.judgement.map(|judged| judged.junk),
            priority: info.priority,
            probability: info.probability,
        }
    }
}

/// A file in quarantine.
#[derive(Serialize, JsonSchema)]
pub(super) struct Quarantined {
    stream: StreamName,
    /// The file, relative to its inbox.
    path: String,
    /// The blake3 hash of its content, where that was read.
    #[schemars(with = "Option<String>")]
    source: Option<SourceHash>,
    /// The kind of its fault.
    reason: String,
    /// The fault, for people.
    detail: String,
    /// Its size.
    bytes: u64,
    /// When it was rejected: RFC 3339, UTC.
    at: String,
}

/// What became of files in quarantine.
#[derive(Serialize, JsonSchema)]
pub(super) struct HandledAnswer {
    pub(super) stream: StreamName,
    pub(super) files: Vec<HandledFile>,
}

/// What became of a file in quarantine.
#[derive(Serialize, JsonSchema)]
pub(super) struct HandledFile {
    /// The file, relative to its inbox.
    path: String,
    /// `retried`: it left the list and is read again, its new verdict comes soon; `dropped`: it left the list; `gone`:
    /// it left the list, for its file is gone; `stuck`: it stays in the list, and the daemon's log says why.
    done: &'static str,
    /// Where the file is now; null where it is gone, or can not be told.
    file: Option<String>,
}

impl HandledFile {
    pub(super) fn of(handled: Handled) -> Self {
        Self {
            path: handled.entry.path,
            done: match handled.done {
                Done::Retried => "retried",
                Done::Gone => "gone",
                Done::Stuck => "stuck",
                Done::Dropped => "dropped",
            },
            file: handled.file.map(|file| file.to_string_lossy().into_owned()),
        }
    }
}

impl Quarantined {
    pub(super) fn of(stream: StreamName, entry: QuarantineEntry) -> Self {
        Self {
            stream,
            path: entry.path,
            source: entry.source,
            reason: entry.reason,
            detail: entry.detail,
            bytes: entry.bytes,
            at: entry.at.to_rfc3339(),
        }
    }
}
