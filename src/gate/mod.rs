//! The gate: the only judge of whether a candidate is published.
//! Invariant: an [`Accepted`] names bytes that were read back from the disk, examined on samples that were never
//! trained on, and passed every rule of [`rules`].
//!
//! What is guaranteed: with at least [`EXAM_SAMPLES_MIN`] exam samples, of all candidates that are judged until one is published, the
//! probability that any passes whose expected score (view retrieval; of transitions, how well what was done is told) on samples like
//! the exam's is worse than the published model's, or the best one's, by more than the margin is at most `1 - confidence`, with the
//! gallery taken as given (see [`statistics`]); and the same of how much is told of what is hidden, where the objective learns to
//! tell it ([`Embedder::told`](crate::model::Embedder::told)). A part of the exam on which a candidate is worse is a veto where that is
//! shown, not a promise where it is not. It says nothing of any other task. Where samples of one source are like each other (windows
//! that overlap, steps of one episode, passages of one text) they are evidence of fewer than there are, and the probability is larger
//! than stated. Verdicts of before the last 50 are not counted.

mod actions;
mod corrupt;
mod exam;
mod labelled;
mod probes;
mod report;
mod room;
mod rules;
mod slices;
pub mod statistics;
mod views;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tch::Device;

use crate::config::PublicationConfig;
use crate::ids::{Generation, SampleId};
use crate::model::text::Tokenizer;
use crate::model::{Decoders, EncoderSpec, ModelError};
use crate::replay::{ReplayBuffer, ReplayError};
use crate::sample::ContentError;
pub use exam::{CANARIES, EXAM_SAMPLES_MIN, PAIRS};
use exam::{CHUNK, Exam};
pub use report::{
    Accepted, Baselines, Comparison, Difference, ExamSummary, ExamTask, Measured, Network, Rejected, Report, Verdict,
};
use room::{Memory, Room};
use rules::Decision;
pub use rules::{RANK_SHARE_PUBLISHED, RANK_SHARE_RANDOM, STD_SHARE_RANDOM};
pub use slices::Slice;

/// The shares of a candidate in the weights that are judged, one after the other until one passes; the rest is the published
/// model's. Between weights that lie on one way of learning the loss hardly rises, and their mean often does better than either
/// (Izmailov et al. 2018, Wortsman et al. 2022).
pub const SHARES: [f64; 4] = [1.0, 0.75, 0.5, 0.25];

/// Under which circumstances a candidate is judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Hearing {
    /// Which candidate this is since the last publication, from 1.
    pub trial: u64,
    /// The candidate's share in the weights, of [`SHARES`].
    pub share: f64,
    /// Samples and their classes, as users say: a veto where they are many.
    pub labelled: Vec<(SampleId, u32)>,
}

impl Default for Hearing {
    fn default() -> Self {
        Self {
            trial: 1,
            share: 1.0,
            labelled: Vec::new(),
        }
    }
}

/// A candidate as it lies in staging.
pub struct Submission {
    /// Steps done.
    pub step: u64,
    /// The network.
    pub encoder: EncoderSpec,
    /// What texts are read with.
    pub tokenizer: Option<Tokenizer>,
    /// The student's weights, safetensors.
    pub student: Vec<u8>,
    /// The teacher's weights, safetensors.
    pub teacher: Vec<u8>,
    /// The weights of what says what is hidden, beside either, where the objective has it.
    pub decoders: Option<Decoders>,
}

impl Submission {
    fn weights(&self, network: Network) -> &[u8] {
        match network {
            Network::Student => &self.student,
            Network::Teacher => &self.teacher,
        }
    }
}

/// A model of before that a candidate is compared with.
pub struct Incumbent {
    /// Its number.
    pub generation: Generation,
    /// Its steps.
    pub step: u64,
    /// Its network.
    pub encoder: EncoderSpec,
    /// What it reads texts with.
    pub tokenizer: Option<Tokenizer>,
    /// Its weights, safetensors.
    pub weights: Vec<u8>,
    /// The weights of what says what is hidden, where it has it.
    pub decoder: Option<Vec<u8>>,
}

/// Why no verdict was reached.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// A model could not be loaded or run.
    #[error("a model could not be examined: {0}")]
    Model(#[from] ModelError),
    /// A sample could not be read.
    #[error("the exam could not be read: {0}")]
    Replay(#[from] ReplayError),
    /// A sample is not one.
    #[error("the exam holds what is no sample: {0}")]
    Content(#[from] ContentError),
    /// The daemon is stopping.
    #[error("the exam was broken off because the daemon is stopping")]
    Stopped,
}

/// The judge of one stream. Keeps what the incumbents answered, so that only what is new is embedded.
pub struct Gate {
    config: PublicationConfig,
    device: Device,
    replay: Arc<ReplayBuffer>,
    stop: Arc<AtomicBool>,
    memory: Memory,
}

impl Gate {
    /// A judge of a stream's candidates. `stop` breaks an exam off within one batch.
    pub fn new(config: PublicationConfig, device: Device, replay: Arc<ReplayBuffer>, stop: Arc<AtomicBool>) -> Self {
        Self {
            config,
            device,
            replay,
            stop,
            memory: Memory::default(),
        }
    }

    /// Examines a candidate beside the published model and the best so far, which may be one and the same.
    pub fn judge(
        &mut self,
        candidate: &Submission,
        published: Option<&Incumbent>,
        best: Option<&Incumbent>,
        hearing: &Hearing,
    ) -> Result<Verdict, GateError> {
        let _no_grad = tch::no_grad_guard();
        let spec = &candidate.encoder;
        let mut exam = Exam::collect(&self.replay, self.config.exam_samples_max, ExamTask::of(spec));
        let mut room = Room::open(&mut self.memory, self.device, exam.digest(), candidate, published, best)?;
        for (index, samples) in exam.clean().chunks(CANARIES).enumerate() {
            let shown = exam::read(&self.replay, samples, |sample, content| {
                let spoilt = corrupt::corrupted(sample.source, &content);
                vec![content, spoilt]
            })?;
            room.show_clean(&shown, index == 0, || self.check_stop())?;
        }
        room.measure_clean(&mut exam);
        for samples in exam.samples.clone().chunks(CHUNK) {
            let shown = exam::read(&self.replay, samples, |sample, content| {
                views::views(sample.source, &content, spec)
            })?;
            room.show_views(&shown, || self.check_stop())?;
            exam.note(&shown);
        }
        room.measure_views(&mut exam);
        let labelled = self.labelled(hearing);
        for samples in labelled.chunks(CANARIES) {
            let samples: Vec<_> = samples.iter().map(|(sample, _)| *sample).collect();
            let shown = exam::read(&self.replay, &samples, |_, content| vec![content])?;
            room.show_labelled(&shown, || self.check_stop())?;
        }
        room.measure_labelled(&labelled);

        let report = room.report(&exam, &self.config, hearing);
        let is_published = |network| published.is_some_and(|p| p.weights == candidate.weights(network));
        let decision = rules::decide(&report, candidate.step, is_published);
        let accepted = match &decision {
            Decision::Accept { network, .. } => Some(*network),
            Decision::Reject { .. } => None,
        };
        self.memory = room.close(&exam, &report.baselines, accepted);
        Ok(match decision {
            Decision::Reject { reason } => Verdict::Rejected(Rejected {
                reason,
                is_mixable: rules::is_mixable(&report),
                fall_back: rules::fall_back(&report),
                report,
            }),
            Decision::Accept { network, best, reason } => Verdict::Accepted(Accepted {
                network,
                weights_hash: blake3::hash(candidate.weights(network)).to_hex().to_string(),
                best,
                reason,
                report,
            }),
        })
    }

    /// The samples that users gave classes to, in the order of their sources, where they are enough.
    fn labelled(&self, hearing: &Hearing) -> Vec<(exam::Sample, u32)> {
        if hearing.labelled.len() < labelled::LABELS_MIN {
            return Vec::new();
        }
        let with_source = |(id, class): &(SampleId, u32)| {
            let source = self.replay.info(*id)?.source;
            Some((exam::Sample { id: *id, source }, *class))
        };
        let mut labelled: Vec<_> = hearing.labelled.iter().filter_map(with_source).collect();
        labelled.sort_by_key(|(sample, _)| (sample.source.0, sample.id));
        labelled.truncate(labelled::LABELS_MAX);
        labelled
    }

    /// Forgets what was kept of earlier exams: after a panic, nothing of it is trusted.
    pub fn forget(&mut self) {
        self.memory = Memory::default();
    }

    fn check_stop(&self) -> Result<(), GateError> {
        if self.stop.load(Ordering::Relaxed) {
            Err(GateError::Stopped)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
