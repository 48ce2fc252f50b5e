//! The exam: which samples, which views of them, and what a network answers.
//! Always true: the samples were never trained on; a sample's views are a function of its source alone, so that every
//! network, whenever it is examined, sees the same ones.

use std::collections::{HashMap, HashSet};

use tch::Tensor;

use super::{ExamTask, GateError, actions, probes, views};
use crate::ids::{SampleId, SourceHash};
use crate::model::Embedder;
use crate::replay::ReplayBuffer;
use crate::sample::{Action, Content};

/// Samples below which an exam proves nothing.
pub const EXAM_SAMPLES_MIN: usize = 32;

/// Pairs of augmented views of each sample.
pub const PAIRS: usize = 8;

/// Samples on which finiteness, determinism, spread and rank are measured at least, as far as the buffer has them.
pub const CANARIES: usize = 64;

/// Augmented views of a sample: pair after pair.
pub(super) const VIEWS: usize = 2 * PAIRS;

/// What is shown of a sample beside its views: itself, and itself spoilt.
pub(super) const CLEAN_VIEWS: usize = 2;

/// Samples read and embedded at once, with all their views.
pub(super) const CHUNK: usize = 8;

/// A sample to examine on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) id: SampleId,
    pub(super) source: SourceHash,
}

/// The samples of one judgement.
#[derive(Debug)]
pub(super) struct Exam {
    /// Held-out samples, in the order of their sources' hashes, which depends on nothing a network could know.
    pub(super) samples: Vec<Sample>,
    /// Samples of the buffer that fill the exam's up to [`CANARIES`]; only looked at clean.
    pub(super) fill: Vec<Sample>,
    /// What is asked of the networks.
    pub(super) task: ExamTask,
    /// What was done in the samples, where that is what is asked.
    done: HashMap<SampleId, Action>,
}

impl Exam {
    /// The exam that the buffer offers now.
    pub(super) fn collect(replay: &ReplayBuffer, samples_max: usize, task: ExamTask) -> Self {
        let with_source = |id: SampleId| {
            replay.info(id).map(|info| Sample {
                id,
                source: info.source,
            })
        };
        let samples: Vec<_> = replay.exam(samples_max).into_iter().filter_map(with_source).collect();
        let taken: HashSet<_> = samples.iter().map(|sample| sample.id).collect();
        let fill = replay
            .ids_after(None, CANARIES + samples.len())
            .into_iter()
            .filter(|id| !taken.contains(id))
            .filter_map(with_source)
            .take(CANARIES.saturating_sub(samples.len()))
            .collect();
        Self {
            samples,
            fill,
            task,
            done: HashMap::new(),
        }
    }

    /// Every sample that is looked at clean.
    pub(super) fn clean(&self) -> Vec<Sample> {
        self.samples.iter().chain(&self.fill).copied().collect()
    }

    /// Names the set of held-out samples.
    pub(super) fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for sample in &self.samples {
            hasher.update(&sample.source.0);
            hasher.update(&sample.id.0.to_be_bytes());
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }

    /// Notes what was done in samples that were shown.
    pub(super) fn note(&mut self, shown: &[Shown]) {
        let done = shown.iter().filter_map(|(sample, views)| match views.first() {
            Some(Content::Transition(transition)) => Some((sample.id, transition.action.clone())),
            _ => None,
        });
        self.done.extend(done);
    }

    /// Leaves out samples that the buffer evicted since the exam was collected.
    pub(super) fn retain(&mut self, is_there: impl Fn(&Sample) -> bool) {
        self.samples.retain(&is_there);
        self.fill.retain(&is_there);
    }
}

/// Reads samples and makes of each the views to show. One that the buffer no longer has is left out.
pub(super) fn read(
    replay: &ReplayBuffer,
    samples: &[Sample],
    views: impl Fn(&Sample, Content) -> Vec<Content>,
) -> Result<Vec<Shown>, GateError> {
    let ids: Vec<_> = samples.iter().map(|sample| sample.id).collect();
    let contents = replay.read_many(&ids)?;
    let there = samples
        .iter()
        .zip(contents)
        .filter_map(|(sample, bytes)| Some((sample, bytes?)));
    there
        .map(|(sample, bytes)| Ok((*sample, views(sample, Content::decode(&bytes)?))))
        .collect()
}

/// Who is examined.
pub(super) enum Taker {
    /// A network.
    Network(Box<Embedder>),
    /// Nobody: the views as they are.
    Raw,
}

impl Taker {
    /// One unit row per view.
    fn embed(&self, shown: &[&Content]) -> Result<Vec<f32>, GateError> {
        match self {
            Self::Network(embedder) => Ok(embedder.embed(shown)?),
            Self::Raw => Ok(shown.iter().flat_map(|view| views::raw(view)).collect()),
        }
    }
}

/// What a taker answered: unit vectors, as many to each sample as it was shown views of it.
#[derive(Debug, Default)]
pub(super) struct Answers(HashMap<SampleId, Vec<f32>>);

/// A sample and the views of it that are shown.
pub(super) type Shown = (Sample, Vec<Content>);

impl Answers {
    /// Lets a taker answer the samples that it has not answered.
    pub(super) fn ask<'a>(&mut self, taker: &Taker, shown: impl Iterator<Item = &'a Shown>) -> Result<(), GateError> {
        let new: Vec<&Shown> = shown.filter(|(sample, _)| !self.has(sample)).collect();
        let views: Vec<&Content> = new.iter().flat_map(|(_, views)| views).collect();
        let vectors = taker.embed(&views)?;
        let dim = vectors.len() / views.len().max(1);
        let mut rest = vectors.as_slice();
        for (sample, views) in new {
            let (own, others) = rest.split_at(views.len() * dim);
            self.0.insert(sample.id, own.to_vec());
            rest = others;
        }
        Ok(())
    }

    /// Whether this sample was answered.
    pub(super) fn has(&self, sample: &Sample) -> bool {
        self.0.contains_key(&sample.id)
    }

    /// Forgets every sample but these.
    pub(super) fn keep_only(&mut self, samples: &[Sample]) {
        let kept: HashSet<_> = samples.iter().map(|sample| sample.id).collect();
        self.0.retain(|id, _| kept.contains(id));
    }

    /// Whether there are vectors, and all their numbers are finite.
    pub(super) fn finite(&self) -> bool {
        !self.0.is_empty() && self.0.values().flatten().all(|number| number.is_finite())
    }

    /// Whether every number is within `tolerance` of the other's.
    pub(super) fn agrees(&self, other: &Self, tolerance: f32) -> bool {
        self.0.iter().all(|(id, vectors)| {
            other.0.get(id).is_some_and(|others| {
                vectors.len() == others.len() && vectors.iter().zip(others).all(|(a, b)| (a - b).abs() <= tolerance)
            })
        })
    }

    /// The vectors of one of the views shown of these samples, which were all answered: [N, D].
    pub(super) fn matrix(&self, samples: &[Sample], view: usize, views: usize) -> Tensor {
        let answered: Vec<_> = samples.iter().filter_map(|sample| self.0.get(&sample.id)).collect();
        let dim = answered.first().map_or(0, |vectors| vectors.len() / views);
        let rows: Vec<f32> = answered
            .iter()
            .flat_map(|vectors| &vectors[view * dim..(view + 1) * dim])
            .copied()
            .collect();
        Tensor::from_slice(&rows).reshape([answered.len() as i64, dim as i64])
    }

    /// The exam's scores: a number of 0 to 1 for each sample, all of which were answered.
    pub(super) fn scores(&self, exam: &Exam) -> Vec<f64> {
        match exam.task {
            ExamTask::Views => self.retrieval(&exam.samples),
            ExamTask::Actions => {
                let done = exam.samples.iter().filter_map(|sample| exam.done.get(&sample.id));
                actions::told(&self.matrix(&exam.samples, 0, 1), &done.collect::<Vec<_>>())
            }
        }
    }

    /// The same of answers to samples as they are and spoilt: whether each spoilt one is found among all as they are.
    pub(super) fn scores_spoilt(&self, exam: &Exam) -> Vec<f64> {
        let [clean, spoilt] = [0, 1].map(|view| self.matrix(&exam.samples, view, CLEAN_VIEWS));
        match exam.task {
            ExamTask::Views => probes::found(&spoilt, &clean),
            ExamTask::Actions => {
                let done = exam.samples.iter().filter_map(|sample| exam.done.get(&sample.id));
                actions::told(&spoilt, &done.collect::<Vec<_>>())
            }
        }
    }

    /// For each sample, the mean of its view retrieval over the pairs.
    fn retrieval(&self, samples: &[Sample]) -> Vec<f64> {
        let mut scores = vec![0.0; samples.len()];
        for pair in 0..PAIRS {
            let a = self.matrix(samples, 2 * pair, VIEWS);
            let b = self.matrix(samples, 2 * pair + 1, VIEWS);
            for (score, found) in scores.iter_mut().zip(probes::view_retrieval(&a, &b)) {
                *score += found / PAIRS as f64;
            }
        }
        scores
    }
}
