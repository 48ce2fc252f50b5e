//! From what was played to a table, a JSON document and plots.
//! Always true: what is compared is compared seed by seed; an interval is one of 95 % over the seeds.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::archive::{Archive, Item};
use super::exam::{Measured, Scores};
use super::metrics::{self, Spread};
use super::play::Played;
use super::{BacktestError, BacktestSetup, plot};

/// The share of i.i.d. training's accuracy that arms race to.
const RACE_TO: f64 = 0.9;

/// Everything that a backtest found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Pictures that arrived, that asked, and experiences.
    pub stream: StreamSummary,
    /// The arms by name.
    pub arms: BTreeMap<String, ArmReport>,
    /// The arms in the order they were named.
    #[serde(skip)]
    pub order: Vec<String>,
}

/// What was played.
#[derive(Clone, Debug, Serialize)]
pub struct StreamSummary {
    /// Pictures that arrived.
    pub pictures: usize,
    /// Pictures that were asked.
    pub asked: usize,
    /// Labels.
    pub labels: usize,
    /// Experiences.
    pub experiences: usize,
    /// Seeds.
    pub seeds: u64,
    /// Files that could not be used.
    pub passed_over: usize,
}

/// What an arm came to, each number over the seeds. Accuracies are shares, 0 to 1.
#[derive(Clone, Debug, Serialize)]
pub struct ArmReport {
    /// Accuracy of the nearest neighbours' vote at the end.
    pub knn_final: Spread,
    /// Accuracy of the linear probe at the end.
    pub linear_final: Spread,
    /// Mean over the experiences' ends of the neighbours' accuracy.
    pub knn_average: Spread,
    /// Forgetting, best less last.
    pub forgetting_max_last: Spread,
    /// Forgetting, first less last.
    pub forgetting_first_last: Spread,
    /// How much is told of what is hidden of a sample at the end, 0 to 1: see [`Embedder::told`](crate::model::Embedder::told).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told_final: Option<Spread>,
    /// Of texts: the perplexity of hidden tokens after each experience (rows) on what each brought (columns), geometric mean over
    /// the texts and the seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<Vec<Vec<f64>>>,
    /// What was known before it was taught, beyond a random encoder.
    pub forward_transfer: Spread,
    /// Steps taken.
    pub steps: Spread,
    /// Seconds that arrivals and steps took.
    pub seconds: Spread,
    /// Share of i.i.d. training's gain over a random encoder, by the neighbours' accuracy. Absent without those arms.
    #[serde(rename = "R", skip_serializing_if = "Option::is_none")]
    pub retained: Option<Spread>,
    /// The same by the linear probe.
    #[serde(rename = "R_linear", skip_serializing_if = "Option::is_none")]
    pub retained_linear: Option<Spread>,
    /// Final accuracy of the neighbours less i.i.d. training's, seed by seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knn_less_iid: Option<Spread>,
    /// Largest fall of the neighbours' accuracy along the stream.
    pub worst_drop: Spread,
    /// Steps to nine tenths of i.i.d. training's final accuracy; null for a seed that did not reach it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps_to_90_percent: Option<Vec<Option<f64>>>,
    /// Seconds to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_to_90_percent: Option<Vec<Option<f64>>>,
    /// Share of the buffer at the end that came in each experience, mean over seeds.
    pub buffer_share: Vec<f64>,
    /// Share of what the remover kept, at the end, whose pictures have no label. The newest samples, which it does not
    /// choose from, do not count.
    pub unlabelled_share: Spread,
    /// The neighbours' accuracy along the stream, mean over seeds.
    pub curve: Vec<CurvePoint>,
}

/// A point of a curve.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CurvePoint {
    /// Pictures that had arrived.
    pub arrived: usize,
    /// Steps taken, mean.
    pub steps: f64,
    /// The share of the most draws that an arrival was granted then, mean.
    pub effort: f64,
    /// The neighbours' accuracy, mean.
    pub knn: f64,
    /// The probe's accuracy, mean.
    pub linear: f64,
}

impl Report {
    /// The report of what was played: for each arm of the setup, each seed's.
    pub fn new(archive: &Archive, setup: &BacktestSetup, played: &[Vec<Played>]) -> Self {
        let named = |name: &str| {
            let at = setup.arms.iter().position(|arm| arm.name == name)?;
            Some(played[at].as_slice())
        };
        let beside = Beside {
            stream: &archive.stream,
            ends: &archive.ends,
            random: named("random"),
            iid: named("iid"),
        };
        Self {
            stream: StreamSummary {
                pictures: archive.stream.len(),
                asked: archive.asks.len(),
                labels: archive.labels.len(),
                experiences: archive.ends.len(),
                seeds: setup.seeds,
                passed_over: archive.passed_over.len(),
            },
            arms: setup
                .arms
                .iter()
                .zip(played)
                .map(|(arm, played)| (arm.name.clone(), beside.report(played)))
                .collect(),
            order: setup.arms.iter().map(|arm| arm.name.clone()).collect(),
        }
    }

    /// The arms with their reports, in the order they were named.
    pub fn in_order(&self) -> impl Iterator<Item = (&str, &ArmReport)> {
        self.order
            .iter()
            .filter_map(|name| Some((name.as_str(), self.arms.get(name)?)))
    }

    /// Writes `accuracy.svg` and `buffer.svg` into a folder.
    pub fn plot(&self, folder: &Path) -> Result<(), BacktestError> {
        std::fs::create_dir_all(folder).map_err(|source| BacktestError::File {
            action: "create",
            path: folder.to_owned(),
            source,
        })?;
        plot::accuracy(self, &folder.join("accuracy.svg"))?;
        plot::buffer(self, &folder.join("buffer.svg"))
    }
}

/// The arms that others are compared with, where they were played.
struct Beside<'a> {
    stream: &'a [Item],
    /// After how many arrivals each experience ends.
    ends: &'a [usize],
    random: Option<&'a [Played]>,
    iid: Option<&'a [Played]>,
}

impl Beside<'_> {
    /// By experience: the share of what was kept that came in it, mean over the seeds; empty where nothing learns.
    fn buffer_share(&self, played: &[Played]) -> Vec<f64> {
        if played.iter().all(|one| one.kept.is_empty()) {
            return Vec::new();
        }
        let mut shares = vec![0.0; self.ends.len()];
        for one in played {
            for position in &one.kept {
                let experience = self.ends.partition_point(|end| end <= position);
                shares[experience] += 1.0 / (one.kept.len() * played.len()) as f64;
            }
        }
        shares
    }

    fn report(&self, played: &[Played]) -> ArmReport {
        let over = |number: &dyn Fn(usize, &Played) -> f64| {
            Spread::of(played.iter().enumerate().map(|(seed, one)| number(seed, one)).collect())
        };
        let finals = |of: fn(&Measured) -> &Scores| move |one: &Played| of(&last(one).measured).all;
        let retained = |of: fn(&Measured) -> &Scores| {
            let (random, iid, own) = (self.random?, self.iid?, finals(of));
            Some(over(&|seed, one| {
                metrics::retained(own(one), own(&random[seed]), own(&iid[seed]))
            }))
        };
        let knn: fn(&Measured) -> &Scores = |measured| &measured.knn;
        let linear: fn(&Measured) -> &Scores = |measured| &measured.linear;
        let knn_final = over(&|_, one| finals(knn)(one));
        let reached = |axis: fn(&super::Moment) -> f64| {
            let iid = self.iid?;
            let to = |(seed, one): (usize, &Played)| {
                let curve: Vec<_> = one.moments.iter().map(|m| (axis(m), m.measured.knn.all)).collect();
                metrics::reaches(&curve, RACE_TO * finals(knn)(&iid[seed]))
            };
            Some(played.iter().enumerate().map(to).collect())
        };
        ArmReport {
            linear_final: over(&|_, one| finals(linear)(one)),
            knn_average: over(&|_, one| average(one)),
            told_final: told(played).map(|of| Spread::of(of.iter().map(|told| told.all).collect())),
            perplexity: perplexity(played),
            forgetting_max_last: over(&|_, one| metrics::forgetting_max_last(&matrix(one))),
            forgetting_first_last: over(&|_, one| metrics::forgetting_first_last(&matrix(one))),
            forward_transfer: over(&|seed, one| match self.random {
                Some(random) => {
                    metrics::forward_transfer(&matrix(one), &last(&random[seed]).measured.knn.by_experience)
                }
                None => f64::NAN,
            }),
            steps: over(&|_, one| last(one).step as f64),
            seconds: over(&|_, one| last(one).spent.as_secs_f64()),
            retained: retained(knn),
            retained_linear: retained(linear),
            knn_less_iid: self.iid.map(|iid| {
                let iid = Spread::of(iid.iter().map(finals(knn)).collect());
                metrics::paired(&knn_final, &iid)
            }),
            worst_drop: over(&|_, one| {
                let curve: Vec<f64> = one.moments.iter().map(|moment| moment.measured.knn.all).collect();
                metrics::worst_drop(&curve)
            }),
            steps_to_90_percent: reached(|moment| moment.step as f64),
            seconds_to_90_percent: reached(|moment| moment.spent.as_secs_f64()),
            buffer_share: self.buffer_share(played),
            unlabelled_share: over(&|_, one| {
                let long_term = &one.kept[..one.kept.len().saturating_sub(one.newest)];
                let without = long_term
                    .iter()
                    .filter(|&&position| self.stream[position].label.is_none());
                without.count() as f64 / long_term.len().max(1) as f64
            }),
            curve: curve(played),
            knn_final,
        }
    }
}

fn last(played: &Played) -> &super::Moment {
    &played.moments[played.moments.len() - 1]
}

/// The neighbours' accuracy after each experience (rows) on what each brought (columns).
fn matrix(played: &Played) -> Vec<Vec<f64>> {
    let ends = played.moments.iter().filter(|moment| moment.ends.is_some());
    ends.map(|moment| moment.measured.knn.by_experience.clone()).collect()
}

/// How much each seed told at the end.
fn told(played: &[Played]) -> Option<Vec<&Scores>> {
    played.iter().map(|one| last(one).measured.told.as_ref()).collect()
}

/// See [`ArmReport::perplexity`].
fn perplexity(played: &[Played]) -> Option<Vec<Vec<f64>>> {
    let of_seed = |one: &Played| -> Option<Vec<Vec<f64>>> {
        let guess = one.guess_nats?;
        let ends = one.moments.iter().filter(|moment| moment.ends.is_some());
        let nats = |moment: &super::Moment| {
            let told = &moment.measured.told.as_ref()?.by_experience;
            Some(told.iter().map(|told| (1.0 - told) * guess).collect())
        };
        ends.map(nats).collect()
    };
    let seeds: Vec<Vec<Vec<f64>>> = played.iter().map(of_seed).collect::<Option<_>>()?;
    let first = seeds.first()?;
    let mean = |after: usize, of: usize| seeds.iter().map(|seed| seed[after][of]).sum::<f64>() / seeds.len() as f64;
    let row = |after: usize| (0..first[after].len()).map(|of| mean(after, of).exp()).collect();
    Some((0..first.len()).map(row).collect())
}

fn average(played: &Played) -> f64 {
    let at_ends: Vec<f64> = played
        .moments
        .iter()
        .filter(|moment| moment.ends.is_some())
        .map(|moment| moment.measured.knn.all)
        .collect();
    match at_ends.len() {
        0 => last(played).measured.knn.all,
        count => at_ends.iter().sum::<f64>() / count as f64,
    }
}

fn curve(played: &[Played]) -> Vec<CurvePoint> {
    let moments = played.first().map_or(0, |one| one.moments.len());
    let point = |at: usize| {
        let mean = |of: &dyn Fn(&super::Moment) -> f64| {
            played.iter().map(|one| of(&one.moments[at])).sum::<f64>() / played.len() as f64
        };
        CurvePoint {
            arrived: played[0].moments[at].arrived,
            steps: mean(&|moment| moment.step as f64),
            effort: mean(&|moment| moment.effort),
            knn: mean(&|moment| moment.measured.knn.all),
            linear: mean(&|moment| moment.measured.linear.all),
        }
    };
    (0..moments).map(point).collect()
}
