//! What the gate measured, and the proof that it accepted: every number that a verdict rests on.
//! Always true: only this room makes an [`Accepted`], and it names the very bytes that were judged.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::slices::Slice;
use crate::ids::Generation;
use crate::model::EncoderSpec;

/// Which of a candidate's two networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The one that is trained.
    Student,
    /// Its slow moving average.
    Teacher,
}

impl Network {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Student, Self::Teacher];

    /// The one that this is not.
    pub fn other(self) -> Self {
        match self {
            Self::Student => Self::Teacher,
            Self::Teacher => Self::Student,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Student => "student",
            Self::Teacher => "teacher",
        })
    }
}

/// Every number of one judgement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What the networks were examined on.
    pub exam: ExamSummary,
    /// The candidate's student.
    pub student: Measured,
    /// The candidate's teacher.
    pub teacher: Measured,
    /// Against the published model; none before the first.
    pub published: Option<Comparison>,
    /// Against the best so far.
    pub best: Option<Comparison>,
    /// The published model's scores less those of the best so far, where they are two: what says that it was a mistake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_less_best: Option<Difference>,
    /// What nothing learnt gets on the same views.
    pub baselines: Baselines,
}

impl Report {
    /// What was measured of one of the two networks.
    pub fn of(&self, network: Network) -> &Measured {
        match network {
            Network::Student => &self.student,
            Network::Teacher => &self.teacher,
        }
    }
}

/// What an exam asks of a network, sample by sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExamTask {
    /// Which views are of one sample?
    #[default]
    Views,
    /// What was done between a state and the next?
    Actions,
}

impl ExamTask {
    /// What is asked of this network.
    pub fn of(spec: &EncoderSpec) -> Self {
        match spec {
            EncoderSpec::Transition(_) => Self::Actions,
            EncoderSpec::Image(_) | EncoderSpec::Text(_) | EncoderSpec::Series(_) => Self::Views,
        }
    }
}

/// What the networks were examined on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExamSummary {
    /// What was asked of them. Absent in reports of before there was a choice.
    #[serde(default)]
    pub task: ExamTask,
    /// Held-out samples: the units of every comparison.
    #[serde(alias = "pictures")]
    pub samples: usize,
    /// Samples on which spread and rank were measured: the exam's, filled up from the buffer while there are few.
    #[serde(alias = "clean_pictures")]
    pub clean_samples: usize,
    /// Pairs of augmented views of each sample; 0 where no views are asked about.
    pub pairs: usize,
    /// Names the set of samples: the first 16 hexadecimal digits of a hash over their sources.
    pub digest: String,
    /// Points by which a lower bound may be below 0.
    pub margin_points: f64,
    /// One-sided confidence of a verdict.
    pub confidence: f64,
    /// Which candidate this is since the last publication, from 1: each has less of the risk than the one before
    /// (see [`statistics::spent`](super::statistics::spent)).
    #[serde(default = "first")]
    pub trial: u64,
    /// The candidate's share in the weights that were judged; the rest is the published model's.
    #[serde(default = "whole")]
    pub share: f64,
}

fn first() -> u64 {
    1
}

fn whole() -> f64 {
    1.0
}

fn lowest() -> f64 {
    -1.0
}

/// What was measured of one network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Whether every number of every vector is one.
    pub finite: bool,
    /// Whether the canaries get the same vectors again, in another order and other batches.
    pub deterministic: bool,
    /// Mean standard deviation of a dimension over the samples, times the root of the number of dimensions:
    /// 0 for a constant, 1 for directions spread evenly.
    pub std: Option<f64>,
    /// Effective rank of the vectors (RankMe, Garrido et al. 2023, equation 3).
    pub rank: Option<f64>,
    /// The mean of the exam's scores, 0 to 1: the share of views that find their sample's other view first among those of all
    /// samples (R@1); of transitions how well what was done is told from the embeddings: the share of choices that are right, of
    /// real actions the share of their variance.
    pub retrieval: Option<f64>,
    /// How much of what is hidden in the exam's samples is told, the mean, 0 to 1 (see
    /// [`Embedder::told`](crate::model::Embedder::told)). None where the objective does not learn to tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<f64>,
    /// The mean of the scores on spoilt samples (see [`Slice::Corrupted`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupted: Option<f64>,
    /// The share of users' labels that a sample's labelled neighbours tell; None where there are fewer than 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels_told: Option<f64>,
}

/// A candidate beside a model of before, on the same views.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The model of before.
    pub generation: Generation,
    /// Its steps.
    pub step: u64,
    /// What was measured of it now.
    pub measured: Measured,
    /// The student's scores less its own.
    pub student: Option<Difference>,
    /// The teacher's scores less its own.
    pub teacher: Option<Difference>,
    /// How much more the student tells of what is hidden; None where either tells nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub student_told: Option<Difference>,
    /// How much more the teacher does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher_told: Option<Difference>,
    /// How many more of the users' labels are told by the student's neighbours; None where there are too few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub student_labels: Option<Difference>,
    /// By the teacher's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher_labels: Option<Difference>,
    /// The student's scores less its own in parts of the exam; parts of too few samples are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub student_slices: BTreeMap<Slice, Difference>,
    /// The teacher's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub teacher_slices: BTreeMap<Slice, Difference>,
    /// Share of each sample's 10 nearest that the student keeps.
    pub student_neighbours_kept: Option<f64>,
    /// Share of each sample's 10 nearest that the teacher keeps.
    pub teacher_neighbours_kept: Option<f64>,
}

impl Comparison {
    /// The difference of one of the two networks.
    pub fn difference(&self, network: Network) -> Option<Difference> {
        match network {
            Network::Student => self.student,
            Network::Teacher => self.teacher,
        }
    }

    /// The differences of one of the two networks in parts of the exam.
    pub fn slices(&self, network: Network) -> &BTreeMap<Slice, Difference> {
        match network {
            Network::Student => &self.student_slices,
            Network::Teacher => &self.teacher_slices,
        }
    }

    /// How many more of the users' labels one of the two networks tells.
    pub fn labels(&self, network: Network) -> Option<Difference> {
        match network {
            Network::Student => self.student_labels,
            Network::Teacher => self.teacher_labels,
        }
    }

    /// Share of each sample's 10 nearest that one of the two networks keeps.
    pub fn neighbours_kept(&self, network: Network) -> Option<f64> {
        match network {
            Network::Student => self.student_neighbours_kept,
            Network::Teacher => self.teacher_neighbours_kept,
        }
    }

    /// How much more one of the two networks tells of what is hidden.
    pub fn told(&self, network: Network) -> Option<Difference> {
        match network {
            Network::Student => self.student_told,
            Network::Teacher => self.teacher_told,
        }
    }
}

/// A paired difference of scores, over samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Mean, -1 to 1.
    pub mean: f64,
    /// Its lower bound, at a confidence that allows for all that is looked at until something is published.
    pub lower_bound: f64,
    /// The same at the higher confidence that a claim of being better asks for, since several may be made.
    #[serde(default = "lowest")]
    pub gain_bound: f64,
    /// Its upper bound, at the stated confidence: what is below 0 by more than the margin is worse.
    #[serde(default = "whole")]
    pub upper_bound: f64,
}

/// What nothing learnt gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// The same network with random weights of a fixed seed.
    pub random_encoder: Measured,
    /// Retrieval without a network: by the views' own pixels, at 16 x 16, each view's mean taken off; of texts by how often
    /// words occur; of transitions by the states' own numbers.
    #[serde(alias = "raw_pixels_retrieval")]
    pub raw_retrieval: Option<f64>,
}

/// The gate's word that these weights may be published. Only the gate can make one:
///
/// ```compile_fail,E0451
/// # use curiod::gate::{Accepted, Network, Report};
/// fn forge(report: Report) -> Accepted {
///     Accepted { network: Network::Student, weights_hash: String::new(), best: true, reason: String::new(), report }
/// }
/// ```
///
/// and publishing takes one, so that publishing ungated does not compile:
///
/// ```compile_fail,E0061
/// # use curiod::registry::{Published, Registry, RegistryError, Staged};
/// fn publish(registry: &Registry, staged: Staged) -> Result<Published, RegistryError> {
///     registry.publish(staged)
/// }
/// ```
///
/// while with one it does:
///
/// ```
/// # use curiod::gate::{Accepted, Network, Report};
/// # use curiod::registry::{Published, Registry, RegistryError, Staged};
/// fn publish(registry: &Registry, staged: Staged, accepted: Accepted) -> Result<Published, RegistryError> {
///     registry.publish(staged, accepted)
/// }
/// ```
#[derive(Debug)]
pub struct Accepted {
    pub(super) network: Network,
    pub(super) weights_hash: String,
    pub(super) best: bool,
    pub(super) reason: String,
    pub(super) report: Report,
}

impl Accepted {
    /// Which of the candidate's networks the exam preferred.
    pub fn network(&self) -> Network {
        self.network
    }

    /// blake3 of the weights that were judged, in hexadecimal.
    pub fn weights_hash(&self) -> &str {
        &self.weights_hash
    }

    /// Whether nothing published so far is better on the exam.
    pub fn is_best(&self) -> bool {
        self.best
    }

    /// The verdict in one sentence.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Every number it rests on.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Every number it rests on.
    pub fn into_report(self) -> Report {
        self.report
    }
}

/// The gate's word that a candidate is not published.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    pub(super) reason: String,
    pub(super) is_mixable: bool,
    pub(super) fall_back: Option<Generation>,
    pub(super) report: Report,
}

impl Rejected {
    /// Whether weights between the candidate's and the published ones might pass: it is sane and comparable, and not far worse.
    pub fn is_mixable(&self) -> bool {
        self.is_mixable
    }

    /// The best generation so far, where the published one is worse than it by more than the margin: it should be served again.
    pub fn fall_back(&self) -> Option<Generation> {
        self.fall_back
    }

    /// The verdict in one sentence.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Every number it rests on.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

/// A judgement.
#[derive(Debug)]
pub enum Verdict {
    /// One of the candidate's networks may be published.
    Accepted(Accepted),
    /// Neither may.
    Rejected(Rejected),
}

impl Verdict {
    /// The verdict in one sentence.
    pub fn reason(&self) -> &str {
        match self {
            Self::Accepted(accepted) => accepted.reason(),
            Self::Rejected(rejected) => rejected.reason(),
        }
    }

    /// Every number it rests on.
    pub fn report(&self) -> &Report {
        match self {
            Self::Accepted(accepted) => accepted.report(),
            Self::Rejected(rejected) => rejected.report(),
        }
    }
}

#[cfg(test)]
impl Accepted {
    /// The gate's word, for tests of what comes after the gate.
    pub(crate) fn for_tests(network: Network, weights: &[u8], best: bool) -> Self {
        let exam = ExamSummary {
            task: ExamTask::Views,
            samples: 0,
            clean_samples: 0,
            pairs: 0,
            digest: String::new(),
            margin_points: 0.5,
            confidence: 0.95,
            trial: 1,
            share: 1.0,
        };
        Self {
            network,
            weights_hash: blake3::hash(weights).to_hex().to_string(),
            best,
            reason: "accepted by a test".to_owned(),
            report: Report {
                exam,
                student: Measured::default(),
                teacher: Measured::default(),
                published: None,
                best: None,
                published_less_best: None,
                baselines: Baselines::default(),
            },
        }
    }
}
