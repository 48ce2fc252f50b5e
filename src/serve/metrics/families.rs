//! The numbers of a stream, as families of `/metrics`.
//! Always true: a family that has been here stays; alerts read it.

use std::borrow::Cow;

use crate::status::{InboxStatus, StreamStatus};

/// The value of the family's label, and the number.
type Sample = (Cow<'static, str>, f64);

/// A family with a sample, or one for each value of a label, of each stream.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) help: &'static str,
    pub(super) label: Option<&'static str>,
    pub(super) samples: fn(&StreamStatus) -> Vec<Sample>,
}

const fn family(
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    label: Option<&'static str>,
    samples: fn(&StreamStatus) -> Vec<Sample>,
) -> Family {
    Family {
        name,
        kind,
        help,
        label,
        samples,
    }
}

/// Every family of a stream's numbers.
pub(super) const FAMILIES: &[Family] = &[
    // A source that is taken out of quarantine is counted no more, which Prometheus reads as a restart.
    family(
        "curiod_sources_total",
        "counter",
        "Sources by what became of them, for life.",
        Some("verdict"),
        |s| {
            vec![
                ("accepted".into(), s.sources_accepted as f64),
                ("duplicate".into(), s.sources_duplicate as f64),
                ("quarantined".into(), s.sources_quarantined as f64),
            ]
        },
    ),
    family(
        "curiod_ingest_paused",
        "gauge",
        "1 while no more sources are taken.",
        None,
        |s| vec![("".into(), is(s.ingest_paused.is_some()))],
    ),
    family(
        "curiod_ingest_paused_by",
        "gauge",
        "1 for what keeps sources from being taken: too little free disk, a buffer that can not store, a request.",
        Some("reason"),
        |s| {
            ["disk", "buffer", "request"]
                .map(|reason| (reason.into(), is(s.ingest_paused_by.as_deref() == Some(reason))))
                .to_vec()
        },
    ),
    family(
        "curiod_inbox_present",
        "gauge",
        "1 while the inbox is there; 0 while it is deleted or not mounted.",
        Some("inbox"),
        |s| {
            let sample = |inbox: &InboxStatus| (inbox.path.clone().into(), is(inbox.present));
            s.inboxes.iter().map(sample).collect()
        },
    ),
    family(
        "curiod_queue_depth",
        "gauge",
        "What waits in a queue.",
        Some("queue"),
        |s| {
            vec![
                ("ingest".into(), s.sources_queued as f64),
                ("encode".into(), s.encode_queue as f64),
            ]
        },
    ),
    family(
        "curiod_replay_samples",
        "gauge",
        "Samples in the replay buffer.",
        Some("part"),
        |s| {
            vec![
                ("training".into(), s.samples.saturating_sub(s.exam_samples) as f64),
                ("exam".into(), s.exam_samples as f64),
            ]
        },
    ),
    family(
        "curiod_near_duplicates",
        "gauge",
        "Samples in the replay buffer that show what an older one shows.",
        None,
        |s| vec![("".into(), s.near_duplicates as f64)],
    ),
    family(
        "curiod_replay_bytes",
        "gauge",
        "Bytes of the samples in the replay buffer.",
        None,
        |s| vec![("".into(), s.replay_bytes as f64)],
    ),
    family(
        "curiod_replay_disk_bytes",
        "gauge",
        "Bytes of the replay buffer's files.",
        None,
        |s| vec![("".into(), s.replay_disk_bytes as f64)],
    ),
    family(
        "curiod_quarantined_records_total",
        "counter",
        "Records of the replay buffer whose checksum was wrong, since the start.",
        None,
        |s| vec![("".into(), s.records_quarantined as f64)],
    ),
    family(
        "curiod_samples_drawn_total",
        "counter",
        "Samples replayed, for life.",
        None,
        |s| vec![("".into(), s.samples_drawn as f64)],
    ),
    family(
        "curiod_steps_total",
        "counter",
        "Steps of learning, for life.",
        None,
        |s| vec![("".into(), s.step as f64)],
    ),
    family(
        "curiod_failed_steps_total",
        "counter",
        "Steps skipped because loss or gradient was no number, since the start.",
        None,
        |s| vec![("".into(), s.failed_steps as f64)],
    ),
    family(
        "curiod_checkpoint_failures_total",
        "counter",
        "Checkpoints of the learner that could not be written, since the start.",
        None,
        |s| vec![("".into(), s.checkpoint_failures as f64)],
    ),
    family(
        "curiod_checkpoints_paused",
        "gauge",
        "1 while the learner writes no checkpoints because too little of the disk is free.",
        None,
        |s| vec![("".into(), is(s.checkpoints_paused.is_some()))],
    ),
    family(
        "curiod_duty_cycle_ratio",
        "gauge",
        "Share of the last minute the learner was busy.",
        None,
        |s| vec![("".into(), s.duty_cycle)],
    ),
    family(
        "curiod_loss",
        "gauge",
        "The objective's loss, a running mean.",
        None,
        |s| optional(s.loss),
    ),
    family(
        "curiod_rank",
        "gauge",
        "Effective rank of the embeddings (RankMe).",
        None,
        |s| optional(s.rank),
    ),
    family(
        "curiod_surprise_ratio",
        "gauge",
        "Error of the newest samples over the running mean.",
        None,
        |s| optional(s.surprise),
    ),
    family(
        "curiod_progress_ratio",
        "gauge",
        "How much lower the errors of fixed views are lately than before, as a share; below 0 they grow.",
        None,
        |s| optional(s.progress),
    ),
    family(
        "curiod_effort_ratio",
        "gauge",
        "Share of the most draws that an arrival is granted: how much there is to learn.",
        None,
        |s| vec![("".into(), s.effort)],
    ),
    family(
        "curiod_forgotten_nats",
        "gauge",
        "By how much the oldest pictures of the exam are answered worse than they once were.",
        None,
        |s| optional(s.forgotten),
    ),
    family(
        "curiod_alignment_weight",
        "gauge",
        "Weight of the alignment with the teacher in the loss.",
        None,
        |s| vec![("".into(), s.alignment)],
    ),
    family(
        "curiod_dormant_ratio",
        "gauge",
        "Share of the features' dimensions that hardly answer to anything.",
        None,
        |s| optional(s.dormant),
    ),
    family(
        "curiod_mended_total",
        "counter",
        "Remedies for a declining network since the start.",
        Some("remedy"),
        |s| {
            vec![
                ("restored".into(), s.collapses as f64),
                ("shrunk".into(), s.shrinks as f64),
            ]
        },
    ),
    family(
        "curiod_scores_total",
        "counter",
        "Samples that the teacher was asked about, for life.",
        None,
        |s| vec![("".into(), s.scores as f64)],
    ),
    family(
        "curiod_drift_alerts_total",
        "counter",
        "Changes of what arrives, for life.",
        None,
        |s| vec![("".into(), s.drift_alerts as f64)],
    ),
    family(
        "curiod_outliers_total",
        "counter",
        "Samples that were like nothing else held and hardly understood when they arrived, for life.",
        None,
        |s| vec![("".into(), s.outliers as f64)],
    ),
    family(
        "curiod_verdicts_total",
        "counter",
        "Verdicts of the gate since the start.",
        Some("verdict"),
        |s| {
            vec![
                ("accepted".into(), s.candidates_accepted as f64),
                ("rejected".into(), s.candidates_rejected as f64),
            ]
        },
    ),
    family(
        "curiod_generation",
        "gauge",
        "The generation that answers queries; 0 before the first.",
        None,
        |s| vec![("".into(), s.generation.map_or(0.0, |generation| generation.0 as f64))],
    ),
    family(
        "curiod_index_samples",
        "gauge",
        "Samples that are searchable, and that should be.",
        Some("state"),
        |s| {
            vec![
                ("covered".into(), s.index_covered as f64),
                ("total".into(), s.index_total as f64),
            ]
        },
    ),
    family(
        "curiod_stream_failed",
        "gauge",
        "1 while the ingest, the learner or the encoder of a stream has failed.",
        None,
        |s| vec![("".into(), is(s.failures().next().is_some()))],
    ),
    family(
        "curiod_part_failed",
        "gauge",
        "1 while this part of a stream has failed; ingest and learner stay so until a restart.",
        Some("part"),
        |s| {
            ["ingest", "learner", "replay", "serving"]
                .map(|part| (part.into(), is(s.failures().any(|(failed, _)| failed == part))))
                .to_vec()
        },
    ),
];

fn is(so: bool) -> f64 {
    f64::from(u8::from(so))
}

fn optional(value: Option<f64>) -> Vec<Sample> {
    value.map(|value| ("".into(), value)).into_iter().collect()
}
