//! Scoring: what the features of a network are worth for labels that it never saw.
//! Always true: every arm is asked the same pictures, with the same known ones beside them.

use tch::{Device, Kind, Tensor};

use super::BacktestError;
use super::archive::{Archive, Item};
use super::probes;
use crate::model::Embedder;
use crate::model::raw;
use crate::rng;
use crate::sample::Content;

/// Side of the thumbnails that stand for raw pixels.
const THUMBNAIL_PX: u32 = 32;

/// Rows embedded at a time, so that memory stays small.
const CHUNK: usize = 1_024;

/// Which pictures are known does not depend on an arm's seed.
const KNOWN_SEED: u64 = 0x6b6e_6f77;

/// Accuracies, shares of 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Of all pictures that ask.
    pub all: f64,
    /// Of those whose label first came in each experience; NaN for an experience that brought no label.
    pub by_experience: Vec<f64>,
}

/// What was measured at one moment of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// By the vote of the nearest neighbours.
    pub knn: Scores,
    /// By a linear probe.
    pub linear: Scores,
    /// No accuracy: how much is told of what is hidden, [`Embedder::told`]. None where the network learns no such thing.
    pub told: Option<Scores>,
}

/// The pictures that are asked, and those that are known.
pub struct Exam<'a> {
    archive: &'a Archive,
    known: Vec<&'a Item>,
    known_labels: Tensor,
    asked_labels: Tensor,
    /// The numbers of the pictures that ask, by the experience that brought their label.
    of_experience: Vec<Tensor>,
}

/// Whose features are scored.
pub enum Features<'a> {
    /// A network's.
    Network(&'a Embedder),
    /// None: the samples themselves, as pixels or as counted words.
    Raw,
}

impl<'a> Exam<'a> {
    /// An exam of this archive, with at most `known_max` pictures known, drawn evenly from the whole stream.
    pub fn new(archive: &'a Archive, known_max: usize) -> Self {
        let mut known: Vec<&Item> = archive.stream.iter().filter(|item| item.label.is_some()).collect();
        // By lot, not by stride: a stream may repeat itself.
        let mut rng = rng::for_step(KNOWN_SEED, 0, 0);
        for at in 0..known.len() {
            let other = at + rng::below(&mut rng, known.len() - at);
            known.swap(at, other);
        }
        known.truncate(known_max.max(1));
        let first = archive.first_experience();
        let of = |experience: usize| {
            let numbers: Vec<i64> = (0..)
                .zip(&archive.asks)
                .filter(|(_, item)| item.label.is_some_and(|label| first[label] == Some(experience)))
                .map(|(number, _)| number)
                .collect();
            Tensor::from_slice(&numbers)
        };
        Self {
            archive,
            known_labels: labels(known.iter().copied()),
            asked_labels: labels(&archive.asks),
            of_experience: (0..archive.ends.len()).map(of).collect(),
            known,
        }
    }

    /// Scores these features.
    pub fn score(&self, features: &Features<'_>) -> Result<Measured, BacktestError> {
        let _no_grad = tch::no_grad_guard();
        let known = embed(features, self.known.iter().map(|item| &item.content))?;
        let asked = embed(features, self.archive.asks.iter().map(|item| &item.content))?;
        let classes = self.archive.labels.len() as i64;
        let means = |right: Tensor| {
            let mean = |numbers: &Tensor| right.index_select(0, numbers).mean(Kind::Double).double_value(&[]);
            Scores {
                all: right.mean(Kind::Double).double_value(&[]),
                by_experience: self.of_experience.iter().map(mean).collect(),
            }
        };
        let scores = |answers: Tensor| means(answers.eq_tensor(&self.asked_labels).to_kind(Kind::Double));
        Ok(Measured {
            told: self.told(features)?.map(|told| means(Tensor::from_slice(&told))),
            knn: scores(probes::by_neighbours(&known, &self.known_labels, &asked, classes)),
            linear: scores(probes::by_ridge(&known, &self.known_labels, &asked, classes)),
        })
    }

    /// How much of each of those that ask is told while it is hidden.
    fn told(&self, features: &Features<'_>) -> Result<Option<Vec<f64>>, BacktestError> {
        let Features::Network(embedder) = features else {
            return Ok(None);
        };
        let asks: Vec<&Content> = self.archive.asks.iter().map(|item| &item.content).collect();
        let mut all = Vec::with_capacity(asks.len());
        for chunk in asks.chunks(CHUNK) {
            let Some(told) = embedder.told(chunk)? else {
                return Ok(None);
            };
            all.extend(told);
        }
        Ok(Some(all))
    }
}

fn labels<'a>(items: impl IntoIterator<Item = &'a Item>) -> Tensor {
    let labels: Vec<i64> = items.into_iter().filter_map(|item| Some(item.label? as i64)).collect();
    Tensor::from_slice(&labels)
}

/// [N, D], unit rows.
fn embed<'a>(features: &Features<'_>, samples: impl Iterator<Item = &'a Content>) -> Result<Tensor, BacktestError> {
    let samples: Vec<&Content> = samples.collect();
    let rows = match features {
        Features::Network(embedder) => {
            let mut rows = Vec::with_capacity(samples.len() * embedder.dim());
            for chunk in samples.chunks(CHUNK) {
                rows.extend(embedder.embed(chunk)?);
            }
            rows
        }
        Features::Raw => samples.iter().flat_map(|sample| raw(sample, THUMBNAIL_PX)).collect(),
    };
    let rows = Tensor::from_slice(&rows);
    Ok(rows.to_device(Device::Cpu).view([samples.len() as i64, -1]))
}
