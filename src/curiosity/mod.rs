//! Curiosity: what the teacher says of samples -> how soon each should be replayed, what is new, what has changed.
//! Invariant: pure state machines, without tensors and without a disk: the same scores and visits in the same order give
//! the same priorities. Everything in it is bounded.
//!
//! One value of [`Curiosity`] is the learner's; its checkpoints keep it. What it made of a sample, a [`Judgement`], is
//! beside the sample in the replay buffer, which knows none of the words here; a reopened buffer has none until the
//! sample is drawn and scored again, which takes as many steps as first scoring it did.

mod drift;
mod junk;
mod novelty;
mod packed;
mod priority;
mod progress;
mod quantile;
mod random_network;

use serde::{Deserialize, Serialize};

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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The sample.
    pub id: SampleId,
    /// What the teacher said.
    pub score: Score,
    /// Whether it has just arrived: never scored before, and hardly replayed.
    pub fresh: bool,
    /// A small grey picture of it.
    pub thumbnail: Thumbnail,
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

/// Which signal changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// The quantile of the error of what is seen for the first time.
    Error,
    /// The quantile of its novelty.
    Novelty,
}

impl Signal {
    /// Its name in alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Novelty => "novelty",
        }
    }
}

/// Something that somebody should look at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Alert {
    /// What arrives is not what it was.
    Drift {
        /// The signal that shows it.
        signal: Signal,
        /// Its mean before and since, as quantiles of the stream.
        change: Change,
        /// The sample that made it certain.
        sample: SampleId,
    },
    /// A sample is like nothing else and badly understood.
    Outlier {
        /// The sample.
        sample: SampleId,
        /// The quantile of its error.
        rank: f64,
        /// The quantile of its novelty.
        novelty: f64,
    },
}

impl std::fmt::Display for Alert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Drift { signal, change, .. } => {
                let kind = match (signal, change.since > change.before) {
                    (Signal::Error, true) => "harder",
                    (Signal::Error, false) => "easier",
                    (Signal::Novelty, true) => "newer",
                    (Signal::Novelty, false) => "more familiar",
                };
                let Change { before, since } = change;
                let signal = signal.as_str();
                write!(
                    f,
                    "what arrives is {kind} than it was (mean quantile of its {signal} {since:.2}, before {before:.2})"
                )
            }
            Self::Outlier { sample, rank, novelty } => write!(
                f,
                "sample {sample} is like nothing else held (quantile of its novelty {novelty:.4}) and hardly understood \
                 (of its error {rank:.4})"
            ),
        }
    }
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
            let Scored {
                id,
                score,
                fresh,
                thumbnail,
            } = scored;
            self.counts.scores += 1;
            let rank = self.errors.observe(score.error);
            let novelty = match &mut self.network {
                Some(network) => Some(network.observe(thumbnail)),
                None => self.neighbours.observe(*id, &score.embedding, score.step),
            };
            self.progress.observe(&score.embedding, score.error);
            self.newest.push((*id, novelty));
            if *fresh {
                alerts.extend(self.drift(*id, rank, novelty));
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
        // Without a score nobody knows whether there is progress.
        let junk = cluster.is_some() && is_junk(known.visits, rank, progress);
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::replay::{EMBEDDING_DIM, Embedding};
    use crate::rng;

    /// -1 to 1, even, a function of the number.
    pub(crate) fn noise(number: u64) -> f64 {
        2.0 * rng::unit(&mut rng::for_step(11, number, 0)) - 1.0
    }

    /// A place around the direction of a group, `spread` away from it.
    pub(crate) fn embedding(group: u64, spread: f64, number: u64) -> Embedding {
        let of = |lane: u64, number: u64| -> Vec<f64> {
            let mut rng = rng::for_step(lane, number, 1);
            let sums = (0..EMBEDDING_DIM).map(|_| (0..6).map(|_| rng::unit(&mut rng) - 0.5).sum::<f64>());
            unit(sums.collect())
        };
        let (centre, away) = (of(1, group), of(2, number));
        let sum = centre.iter().zip(&away).map(|(a, b)| a + spread * b).collect();
        let mut values = [0; EMBEDDING_DIM];
        for (value, number) in values.iter_mut().zip(unit(sum)) {
            *value = (number * 127.0).round() as i8;
        }
        Embedding(values)
    }

    fn thumbnail(number: u64) -> Thumbnail {
        std::array::from_fn(|at| 0.5 + 0.3 * noise(number << 8 | at as u64) as f32)
    }

    fn unit(values: Vec<f64>) -> Vec<f64> {
        let length = values.iter().map(|value| value * value).sum::<f64>().sqrt();
        values.into_iter().map(|value| value / length).collect()
    }

    /// A stream of samples, each scored once and then again every so often, and judged at each of these visits.
    #[derive(Default)]
    struct World {
        curiosity: Curiosity,
        samples: Vec<(Embedding, u32, Option<Score>, Option<Judgement>)>,
        alerts: Vec<(usize, Alert)>,
        step: u64,
    }

    impl World {
        /// A visit of the sample, at which it is scored.
        fn visit(&mut self, at: usize, error: f64) -> Judgement {
            self.step += 1;
            let (embedding, visits, known, before) = self.samples[at];
            let (id, step) = (SampleId(at as u64), self.step);
            let score = Score {
                error: error as f32,
                embedding,
                step,
            };
            let fresh = known.is_none();
            let thumbnail = thumbnail(at as u64);
            let told = self.curiosity.observe(&[Scored {
                id,
                score,
                fresh,
                thumbnail,
            }]);
            self.alerts.extend(told.into_iter().map(|alert| (at, alert)));
            let judgement = self.curiosity.judge(&Known {
                id,
                visits: visits + 1,
                error: Some(error as f32),
                score: Some(score),
                before,
                age: 0.0,
            });
            self.samples[at] = (embedding, visits + 1, Some(score), Some(judgement));
            judgement
        }

        fn arrive(&mut self, embedding: Embedding, error: f64) -> Judgement {
            self.samples.push((embedding, 0, None, None));
            self.visit(self.samples.len() - 1, error)
        }
    }

    #[test]
    fn noise_never_earns_what_is_learnt_earns_and_ends_as_junk() {
        let mut world = World::default();
        // 30 groups that were learnt long ago, one that is being learnt, one that is noise of the largest errors.
        for sample in 0..320u64 {
            let error = [0.6 + 0.2 * noise(sample), 0.5].get(sample as usize % 32).copied();
            world.arrive(embedding(sample % 32, 0.1, sample), error.unwrap_or(0.1));
        }
        let (mut learnt, mut noisy, mut junk) = (Vec::new(), Vec::new(), 0);
        for round in 0..30u64 {
            for at in 0..320usize {
                let time = round * 320 + at as u64;
                let error = match at % 32 {
                    0 => 0.6 + 0.2 * noise(time),
                    1 => 0.5 * (-(round as f64) / 20.0).exp(),
                    _ => 0.1 + 0.01 * noise(time),
                };
                let judgement = world.visit(at, error);
                let earned = judgement.priority.get() - 0.7f64.powi(world.samples[at].1 as i32);
                match at % 32 {
                    0 => noisy.push(earned),
                    1 => learnt.push(earned),
                    _ => {}
                }
                junk += usize::from(judgement.junk && at % 32 == 0);
                assert!(!judgement.junk || at % 32 == 0, "{judgement:?}");
            }
        }
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
        assert!(mean(&learnt) > mean(&noisy) + 0.2, "{} {}", mean(&learnt), mean(&noisy));
        assert!(mean(&noisy) < 0.55, "{}", mean(&noisy));
        assert!(junk > 5, "{junk}");
    }

    #[test]
    fn a_stream_at_rest_is_quiet_and_a_change_is_told_within_two_hundred_arrivals() {
        let mut world = World::default();
        let at_rest = |number: u64| (embedding(number % 20, 0.3, number), 0.2 + 0.1 * noise(number));
        for number in 0..12_000 {
            let (place, error) = at_rest(number);
            world.arrive(place, error);
        }
        let drifts = |world: &World| -> Vec<usize> {
            let drifts = world
                .alerts
                .iter()
                .filter(|(_, alert)| matches!(alert, Alert::Drift { .. }));
            drifts.map(|(at, _)| *at).collect()
        };
        assert!(drifts(&world).len() <= 1, "{:?}", world.alerts);
        let before = drifts(&world).len();
        for number in 12_000..12_200 {
            world.arrive(embedding(500 + number % 20, 0.3, number), 0.35 + 0.1 * noise(number));
            // Three of four draws are of what was there before.
            for draw in 0..3 {
                let at = (number * 7_919 + draw) % 12_000;
                let (_, error) = at_rest(at);
                world.visit(at as usize, error);
            }
        }
        let told = drifts(&world).split_off(before);
        assert!(
            !told.is_empty() && told.iter().all(|at| (12_000..12_200).contains(at)),
            "{told:?}"
        );
        let signals: std::collections::BTreeSet<&str> = world
            .alerts
            .iter()
            .filter_map(|(_, alert)| match alert {
                Alert::Drift { signal, .. } => Some(signal.as_str()),
                Alert::Outlier { .. } => None,
            })
            .collect();
        assert!(signals.contains("error") && signals.contains("novelty"), "{signals:?}");
    }

    #[test]
    fn an_outlier_is_told_and_a_flood_of_them_is_counted() {
        let mut world = World::default();
        for number in 0..3_000 {
            world.arrive(embedding(number % 20, 0.3, number), 0.2 + 0.1 * noise(number));
        }
        let before = world.curiosity.counts();
        let judgement = world.arrive(embedding(900, 0.0, 0), 0.9);
        assert!(
            judgement.rank > 0.999 && judgement.novelty.unwrap() > 0.99,
            "{judgement:?}"
        );
        let outliers = |world: &World| {
            let of = |(_, alert): &&(usize, Alert)| matches!(alert, Alert::Outlier { .. });
            world.alerts.iter().filter(of).count()
        };
        assert_eq!(
            (outliers(&world), world.curiosity.counts().outliers),
            (1, before.outliers + 1)
        );
        for number in 0..20 {
            world.arrive(embedding(1_000 + number, 0.0, 0), 0.95 + number as f64 / 1e3);
        }
        let told = (outliers(&world), world.curiosity.counts().outliers - before.outliers);
        assert!(told.0 == 1 && told.1 > 5, "{told:?}");
    }

    #[test]
    fn novelty_is_what_was_chosen() {
        let mut world = World::default();
        world.curiosity.measure_novelty(NoveltyKind::RandomNetwork);
        for number in 0..100 {
            world.arrive(embedding(number % 20, 0.3, number), 0.2);
        }
        assert_eq!(world.curiosity.neighbours, Neighbours::default());
        assert_eq!(world.curiosity.network.as_ref().map(RandomNetwork::ranked), Some(100));
        assert!(world.samples[99].3.unwrap().novelty.is_some());
        world.curiosity.measure_novelty(NoveltyKind::RandomNetwork);
        assert_eq!(
            world.curiosity.network.as_ref().map(RandomNetwork::ranked),
            Some(100),
            "the same goes on"
        );
        world.curiosity.measure_novelty(NoveltyKind::Neighbours);
        assert_eq!(
            world.arrive(embedding(1, 0.3, 1), 0.2).novelty,
            None,
            "no neighbour is known yet"
        );
    }

    #[test]
    fn what_is_no_number_changes_nothing_but_the_visit() {
        let mut curiosity = Curiosity::default();
        let score = Score {
            error: f32::NAN,
            embedding: embedding(0, 0.0, 0),
            step: 1,
        };
        let id = SampleId(1);
        let thumbnail = thumbnail(1);
        assert_eq!(
            curiosity.observe(&[Scored {
                id,
                score,
                fresh: true,
                thumbnail
            }]),
            []
        );
        assert_eq!(curiosity, Curiosity::default());
        let known = Known {
            id,
            visits: 1,
            error: Some(f32::INFINITY),
            score: None,
            before: None,
            age: f64::NAN,
        };
        let judgement = curiosity.judge(&known);
        assert!(judgement.priority.get().is_finite() && judgement.cluster.is_none());
    }

    #[test]
    fn curiosity_reads_back_as_it_was_kept_and_goes_on_the_same() {
        let mut world = World::default();
        for number in 0..500 {
            world.arrive(embedding(number % 20, 0.3, number), 0.2 + 0.1 * noise(number));
        }
        let text = serde_json::to_string(&world.curiosity).unwrap();
        let kept: Curiosity = serde_json::from_str(&text).unwrap();
        world.curiosity.newest.clear();
        assert_eq!(kept, world.curiosity);
        let mut other = World {
            curiosity: kept,
            samples: world.samples.clone(),
            step: world.step,
            ..World::default()
        };
        for number in 500..600 {
            let (place, error) = (embedding(number % 20, 0.3, number), 0.2 + 0.1 * noise(number));
            assert_eq!(world.arrive(place, error), other.arrive(place, error));
        }
    }
}
