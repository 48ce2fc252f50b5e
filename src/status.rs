//! The daemon at a glance: what `GET /api/v1/status` answers, `curiod status --json` prints and `/metrics` is made of.
//! Invariant: a name that has been here stays; programs read it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Generation, Space, StreamName};
use crate::sample::Modality;

/// The daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Seconds since it started.
    pub uptime_s: f64,
    /// Its streams, by name.
    pub streams: Vec<StreamStatus>,
}

/// A stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamStatus {
    /// Its name.
    pub name: StreamName,
    /// The kind of its data.
    pub modality: Modality,
    /// What it is doing: `learning`, `waiting` (for samples), `bored` (all of them replayed often enough), `paused`,
    /// or `failed: ` and why.
    pub state: String,
    /// Sources taken, for life.
    pub sources_accepted: u64,
    /// Sources whose content was known already, for life.
    pub sources_duplicate: u64,
    /// Sources in quarantine.
    pub sources_quarantined: u64,
    /// Sources waiting to be decoded or made durable.
    pub sources_queued: u64,
    /// Why no more sources are taken, when none are.
    pub ingest_paused: Option<String>,
    /// Who wants that: `disk` (too little is free), `buffer` (it can not store what it is given) or `request`.
    #[serde(default)]
    pub ingest_paused_by: Option<String>,
    /// Why no more sources are taken until the daemon is restarted, when that is so.
    #[serde(default)]
    pub ingest_failure: Option<String>,
    /// Its inboxes.
    #[serde(default)]
    pub inboxes: Vec<InboxStatus>,
    /// Samples in the replay buffer, the exam's included.
    pub samples: u64,
    /// Samples held out for the exam.
    pub exam_samples: u64,
    /// The newest sample; 0 before the first. Samples are numbered from 1 in the order that they came.
    #[serde(default)]
    pub newest_sample: u64,
    /// Samples that show what an older one shows, and are replayed with it as one.
    #[serde(default)]
    pub near_duplicates: u64,
    /// Bytes of the samples in the replay buffer.
    pub replay_bytes: u64,
    /// Records of the buffer whose checksum was wrong since the start: named in the log, never used.
    #[serde(default)]
    pub records_quarantined: u64,
    /// Bytes of its files.
    pub replay_disk_bytes: u64,
    /// Samples replayed, for life.
    pub samples_drawn: u64,
    /// Steps of learning, for life.
    pub step: u64,
    /// Steps a second, over the last minute.
    pub steps_per_s: f64,
    /// Share of the last minute that the learner was busy, 0 to 1.
    pub duty_cycle: f64,
    /// Steps since the start whose loss or gradient was no number: skipped.
    #[serde(default)]
    pub failed_steps: u64,
    /// Checkpoints of the learner that could not be written since the start.
    #[serde(default)]
    pub checkpoint_failures: u64,
    /// Why the newest checkpoint could not be written, when it could not. Learning goes on.
    #[serde(default)]
    pub checkpoint_failure: Option<String>,
    /// Why no checkpoints are written for now, when none are: too little of the disk is free. Learning goes on.
    #[serde(default)]
    pub checkpoints_paused: Option<String>,
    /// Why nothing is learnt until the daemon is restarted, when that is so.
    #[serde(default)]
    pub learner_failure: Option<String>,
    /// Why the replay buffer takes nothing for now, when that is so. It is tried again by itself.
    pub replay_failure: Option<String>,
    /// The objective's loss, a running mean. None before the first step.
    pub loss: Option<f64>,
    /// Effective rank of the embeddings (RankMe, Garrido et al. 2023).
    pub rank: Option<f64>,
    /// Error of the newest samples over the running mean: above 1 they are harder than what is known.
    pub surprise: Option<f64>,
    /// How much lower the errors of fixed views are lately than before, as a share: above 0 the learner makes progress.
    #[serde(default)]
    pub progress: Option<f64>,
    /// How much there is to learn, 0 to 1: the share of the most draws that an arrival is granted.
    #[serde(default)]
    pub effort: f64,
    /// By how much the oldest pictures of the exam are answered worse than they once were, nats; 0 and below: not at all.
    #[serde(default)]
    pub forgotten: Option<f64>,
    /// The weight of the alignment with the teacher in the loss; above 0 only while something is being forgotten.
    #[serde(default)]
    pub alignment: f64,
    /// Share of the features' dimensions that hardly answer to anything.
    #[serde(default)]
    pub dormant: Option<f64>,
    /// Collapses of the network that were undone since the start.
    #[serde(default)]
    pub collapses: u64,
    /// Times since the start that its weights were shrunk towards fresh ones, for too many units had stopped to answer.
    #[serde(default)]
    pub shrinks: u64,
    /// Samples that the teacher was asked about, for life.
    #[serde(default)]
    pub scores: u64,
    /// Changes of what arrives that were told, for life.
    #[serde(default)]
    pub drift_alerts: u64,
    /// The newest of them since the start, in a sentence.
    #[serde(default)]
    pub drift: Option<String>,
    /// Samples that were like nothing else held and hardly understood when they arrived, for life.
    #[serde(default)]
    pub outliers: u64,
    /// Candidates that the gate accepted since the start.
    pub candidates_accepted: u64,
    /// Candidates that the gate rejected since the start.
    pub candidates_rejected: u64,
    /// The gate's newest verdict, in a sentence.
    pub verdict: Option<String>,
    /// Steps at which the first candidate is judged.
    pub first_candidate_steps: u64,
    /// The generation that answers queries. None before the first.
    #[schemars(with = "Option<u64>")]
    pub generation: Option<Generation>,
    /// Its space.
    #[schemars(with = "Option<String>")]
    pub space: Option<Space>,
    /// Samples in the index of that space.
    pub index_covered: u64,
    /// Samples that it should hold.
    pub index_total: u64,
    /// Bytes that it takes, names of files apart.
    #[serde(default)]
    pub index_bytes: u64,
    /// What share of the ten nearest a search was measured to find where it is approximate. None where it is exact.
    #[serde(default)]
    pub index_recall: Option<f32>,
    /// Requests waiting for the encoder.
    pub encode_queue: u64,
    /// Why queries fail, when they do.
    pub serving_failure: Option<String>,
}

impl StreamStatus {
    /// What works no more, and why: `ingest`, `learner`, `replay`, `serving`.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("ingest", &self.ingest_failure),
            ("learner", &self.learner_failure),
            ("replay", &self.replay_failure),
            ("serving", &self.serving_failure),
        ]
        .into_iter()
        .filter_map(|(part, failure)| Some((part, failure.as_deref()?)))
    }
}

/// An inbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InboxStatus {
    /// The folder.
    pub path: String,
    /// Whether it is there. One that is not (deleted, not mounted) is waited for.
    pub present: bool,
}

#[cfg(test)]
pub(crate) fn example(name: &str) -> StreamStatus {
    StreamStatus {
        name: name.parse().unwrap(),
        modality: Modality::Image,
        state: "learning".to_owned(),
        sources_accepted: 12,
        sources_duplicate: 1,
        sources_quarantined: 2,
        sources_queued: 0,
        ingest_paused: None,
        ingest_paused_by: None,
        ingest_failure: None,
        inboxes: vec![InboxStatus {
            path: "/in".to_owned(),
            present: true,
        }],
        samples: 12,
        exam_samples: 1,
        newest_sample: 12,
        near_duplicates: 2,
        replay_bytes: 4_096,
        records_quarantined: 0,
        replay_disk_bytes: 8_192,
        samples_drawn: 640,
        step: 10,
        steps_per_s: 2.5,
        duty_cycle: 0.5,
        failed_steps: 3,
        checkpoint_failures: 2,
        checkpoint_failure: None,
        checkpoints_paused: None,
        learner_failure: None,
        replay_failure: None,
        loss: Some(3.25),
        rank: Some(17.5),
        surprise: Some(1.1),
        progress: Some(0.125),
        effort: 0.4,
        forgotten: Some(0.05),
        alignment: 0.25,
        dormant: Some(0.1),
        collapses: 1,
        shrinks: 2,
        scores: 160,
        drift_alerts: 1,
        drift: Some("what arrives is harder than it was".to_owned()),
        outliers: 2,
        candidates_accepted: 1,
        candidates_rejected: 0,
        verdict: Some("accepted".to_owned()),
        first_candidate_steps: 50,
        generation: Some(Generation(1)),
        space: Some(Space::of_weights(b"weights")),
        index_covered: 11,
        index_total: 12,
        index_bytes: 17_600,
        index_recall: None,
        encode_queue: 0,
        serving_failure: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_every_name_that_programs_were_promised() {
        let status = Status {
            version: "1".to_owned(),
            uptime_s: 1.5,
            streams: vec![example("pictures")],
        };
        let json = serde_json::to_value(&status).unwrap();
        for name in ["version", "uptime_s", "streams"] {
            assert!(!json[name].is_null(), "{name} is missing");
        }
        for name in
            "name modality sources_accepted sources_duplicate sources_quarantined inboxes samples replay_bytes step \
                     steps_per_s duty_cycle generation space index_covered index_total"
                .split_whitespace()
        {
            assert!(!json["streams"][0][name].is_null(), "{name} is missing");
        }
        assert_eq!(serde_json::from_value::<Status>(json).unwrap(), status);
    }
}
