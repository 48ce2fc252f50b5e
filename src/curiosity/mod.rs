//! Curiosity: what the teacher says of samples -> how soon each should be replayed, what is new, what has changed.
//! Invariant: pure state machines, without tensors and without a disk: the same scores and visits in the same order give
//! the same priorities. Everything in it is bounded.
//!
//! One value of [`Curiosity`] is the learner's; its checkpoints keep it. What it made of a sample, a [`Judgement`], is
//! beside the sample in the replay buffer, which knows none of the words here; a reopened buffer has none until the
//! sample is drawn and scored again, which takes as many steps as first scoring it did.

mod alert;
mod anomaly;
mod drift;
mod junk;
mod law;
mod novelty;
mod packed;
mod priority;
mod progress;
mod quantile;
mod random_network;
mod tail;
#[cfg(test)]
pub(crate) mod tests;

use serde::{Deserialize, Serialize};

pub use alert::{Alert, Signal};
pub use anomaly::{Anomalies, Anomaly};
pub use drift::{Change, PageHinkley};
pub use junk::is_junk;
pub use novelty::Neighbours;
pub use priority::{Priority, Wish};
pub use progress::{CLUSTERS_MAX, Progress};
pub use quantile::Quantiles;
pub use random_network::{RandomNetwork, THUMBNAIL_PX, Thumbnail};

use crate::config::NoveltyKind;
use crate::ids::SampleId;
use crate::replay::Score;
use crate::sample::Transition;
use law::Law;

/// Numbers that a quantile must be taken among before an outlier is believed: with fewer, the first of a kind is one.
const RANKED_MIN: usize = 1_024;

/// An outlier's error is above this quantile, and its novelty above the other.
const OUTLIER_RANK: f64 = 0.999;
const OUTLIER_NOVELTY: f64 = 0.99;

/// Scores between two alerts of outliers: about one in sixteen steps at most, whatever arrives. Those between are counted.
const OUTLIER_EVERY: u64 = 256;

/// How much of the mean priority one judgement replaces.
const MEAN_RATE: f64 = 1.0 / 1_024.0;

/// A sample that was scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The sample.
    pub id: SampleId,
    /// What the teacher said.
    pub score: Score,
    /// Whether it has just arrived: never scored before, and hardly replayed.
    pub fresh: bool,
    /// What else is looked at.
    pub look: Look,
}

/// What is looked at of a sample beside what the teacher says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// A small grey picture of it.
    pub thumbnail: Thumbnail,
    /// Itself, where it is a transition.
    pub transition: Option<Transition>,
}

impl From<Thumbnail> for Look {
    fn from(thumbnail: Thumbnail) -> Self {
        Self {
            thumbnail,
            transition: None,
        }
    }
}

/// What the replay buffer knows of a sample when it asks for its priority.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// The sample.
    pub id: SampleId,
    /// How often it was replayed, this visit included.
    pub visits: u32,
    /// Its error in that step, under random views.
    pub error: Option<f32>,
    /// Its newest score.
    pub score: Option<Score>,
    /// What was made of it last.
    pub before: Option<Judgement>,
    /// Samples that arrived after it, over the samples held.
    pub age: f64,
}

/// What curiosity makes of a sample: its priority, and every signal that it is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// The quantile of its error within the stream, 0 to 1.
    pub rank: f32,
    /// The quantile of its distance to its nearest neighbours when it was last scored, 0 to 1.
    pub novelty: Option<f32>,
    /// The cluster of teacher space that it is in.
    pub cluster: Option<u16>,
    /// Learning progress there, in the unit of errors: above 0 they fall.
    pub progress: f32,
    /// How far that lets the error count, 0 to 1.
    pub guard: f32,
    /// Whether it is junk: hard for ever. Then its error does not count at all.
    pub junk: bool,
    /// How much it wants to be replayed.
    pub priority: Priority,
}

/// How much there was to look at, in the learner's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Scores taken in.
    pub scores: u64,
    /// Changes of the stream.
    pub drifts: u64,
    /// Outliers, those without an alert of their own included.
    pub outliers: u64,
}

/// The curiosity of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Curiosity {
    /// Errors of steps: of other views every time, by a network that changes. For samples that have no score.
    steps: Quantiles,
    /// Errors of scores.
    errors: Quantiles,
    neighbours: Neighbours,
    /// In place of the neighbours, where novelty is that of a random network.
    network: Option<RandomNetwork>,
    progress: Progress,
    error_drift: PageHinkley,
    novelty_drift: PageHinkley,
    /// Of transitions. It begins anew with each start: it is of the newest arrivals, and large.
    #[serde(skip)]
    law: Law,
    mean_priority: Option<f64>,
    counts: Counts,
    /// Scores before which no further outlier is told.
    quiet_until: u64,
    /// The novelty of what was scored in this step.
    #[serde(skip)]
    newest: Vec<(SampleId, Option<f64>)>,
}

impl Curiosity {
    /// Says what novelty is from now on. What was known by another kind of it is forgotten.
    pub fn measure_novelty(&mut self, kind: NoveltyKind) {
        match kind {
            NoveltyKind::Neighbours => self.network = None,
            NoveltyKind::RandomNetwork => {
                self.network.get_or_insert_default();
                self.neighbours = Neighbours::default();
            }
        }
    }

    /// Takes the scores of a step in, of different samples; what somebody should look at. A score that is no number is
    /// passed over.
    pub fn observe(&mut self, scored: &[Scored]) -> Vec<Alert> {
        self.newest.clear();
        let mut alerts = Vec::new();
        for scored in scored.iter().filter(|scored| scored.score.error.is_finite()) {
            let Scored { id, score, fresh, look } = scored;
            self.counts.scores += 1;
            let rank = self.errors.observe(score.error);
            let novelty = match &mut self.network {
                Some(network) => Some(network.observe(&look.thumbnail)),
                None => self.neighbours.observe(*id, &score.embedding, score.step),
            };
            self.progress.observe(&score.embedding, score.error);
            self.newest.push((*id, novelty));
            if *fresh {
                alerts.extend(match &look.transition {
                    Some(transition) => self.law_changed(*id, transition),
                    None => self.drift(*id, rank, novelty),
                });
                alerts.extend(self.outlier(*id, rank, novelty));
            }
        }
        alerts
    }

    /// The priority of a sample after a visit, with its reasons.
    pub fn judge(&mut self, known: &Known) -> Judgement {
        let of_step = known.error.map(|error| self.steps.observe(error));
        let rank = match known.score {
            Some(score) => self.errors.rank(score.error),
            None => of_step.unwrap_or(Quantiles::UNKNOWN),
        };
        let novelty = match self.newest.iter().find(|(id, _)| *id == known.id) {
            Some((_, novelty)) => novelty.map(|novelty| novelty as f32),
            None => known.before.and_then(|before| before.novelty),
        };
        let cluster = known.score.and_then(|score| self.progress.cluster(&score.embedding));
        let progress = cluster.map_or(0.0, |cluster| self.progress.value(cluster));
        let guard = cluster.map_or(0.5, |cluster| self.progress.guard(cluster));
        // Without a score, or in a cluster that is hardly known, nobody knows whether there is progress.
        let is_known = cluster.is_some_and(|cluster| self.progress.is_known(cluster));
        let junk = is_known && is_junk(known.visits, rank, progress);
        let wish = Wish {
            visits: known.visits,
            guard: if junk { 0.0 } else { guard },
            rank,
            age: known.age,
        };
        let priority = Priority::of(&wish, self.mean_priority);
        let mean = self.mean_priority.get_or_insert(priority.get());
        *mean += MEAN_RATE * (priority.get() - *mean);
        Judgement {
            rank: rank as f32,
            novelty,
            cluster,
            progress: progress as f32,
            guard: guard as f32,
            junk,
            priority,
        }
    }

    /// The whole stream's progress: see [`Progress::of_stream`].
    pub fn progress(&self) -> Option<f64> {
        self.progress.of_stream()
    }

    /// How much there was to look at.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn drift(&mut self, sample: SampleId, rank: f64, novelty: Option<f64>) -> Vec<Alert> {
        let of_error = self.error_drift.observe(rank);
        // While its measure grows up, novelty falls and then does not any more: neither is news, nor is a later fall.
        let is_settled = self
            .network
            .as_ref()
            .map_or(self.neighbours.is_settled(), RandomNetwork::is_settled);
        let novelty = novelty.filter(|_| is_settled);
        let of_novelty = novelty.and_then(|novelty| self.novelty_drift.observe(novelty));
        let of_novelty = of_novelty.filter(|change| change.since > change.before);
        let changes = [(Signal::Error, of_error), (Signal::Novelty, of_novelty)];
        let told = changes.into_iter().filter_map(|(signal, change)| {
            let change = change?;
            Some(Alert::Drift { signal, change, sample })
        });
        let alerts: Vec<Alert> = told.collect();
        self.counts.drifts += alerts.len() as u64;
        alerts
    }

    /// Errors and novelty of transitions follow an agent's way through its world, which is no drift.
    fn law_changed(&mut self, sample: SampleId, transition: &Transition) -> Vec<Alert> {
        let change = self.law.observe(transition);
        self.counts.drifts += u64::from(change.is_some());
        let told = change.map(|change| Alert::Drift {
            signal: Signal::Law,
            change,
            sample,
        });
        told.into_iter().collect()
    }

    fn outlier(&mut self, sample: SampleId, rank: f64, novelty: Option<f64>) -> Option<Alert> {
        let novelty = novelty?;
        let by_novelty = self
            .network
            .as_ref()
            .map_or(self.neighbours.ranked(), RandomNetwork::ranked);
        let known = self.errors.len().min(by_novelty);
        if known < RANKED_MIN || rank <= OUTLIER_RANK || novelty <= OUTLIER_NOVELTY {
            return None;
        }
        self.counts.outliers += 1;
        if self.counts.scores < self.quiet_until {
            return None;
        }
        self.quiet_until = self.counts.scores + OUTLIER_EVERY;
        Some(Alert::Outlier { sample, rank, novelty })
    }
}
