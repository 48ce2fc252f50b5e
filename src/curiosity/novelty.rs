//! Novelty: how far a sample lies from its nearest neighbours in teacher space, as a quantile.
//! Invariant: at most [`SUBSET_MAX`] embeddings are held, a random subset of those that were scored, the newest the
//! likeliest; which of them is a function of what was scored and in which order.

use serde::{Deserialize, Serialize};

use super::packed;
use super::quantile::{NEWEST_MAX, Quantiles};
use crate::ids::SampleId;
use crate::replay::{EMBEDDING_DIM, Embedding};
use crate::rng;

/// Embeddings that neighbours are looked for among. Full: one in four newcomers takes the place of a random one, so that
/// embeddings of a teacher long gone do not stay. 128 KiB, and 0.1 ms a sample.
pub(super) const SUBSET_MAX: usize = 2_048;

/// Neighbours whose mean distance counts, of a full subset. Of a smaller one as many fewer, at least one: the distance to
/// the same share of all does not shrink only because more of them are held.
const NEIGHBOURS: usize = 10;

/// Others without which nothing is said.
const OTHERS_MIN: usize = 10;

/// Scores that a full subset has to see until its distances are a measure of drift: as many as they are ranked among.
const SETTLED: u64 = NEWEST_MAX as u64;

/// The share of newcomers that a full subset takes.
const NEWCOMERS: f64 = 0.25;

/// Seed of that choice.
const SEED: u64 = 0x6e6f_7665_6c74_7921;

/// Squared length of a rounded embedding.
const UNIT: f64 = 127.0 * 127.0;

/// The subset, and how far samples were from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Kept", into = "Kept")]
pub struct Neighbours {
    ids: Vec<SampleId>,
    embeddings: Vec<Embedding>,
    distances: Quantiles,
    /// Scores since it is full.
    full_for: u64,
}

impl Neighbours {
    /// The quantile of a sample's mean distance to its nearest neighbours, 0 to 1; then its embedding may be one of the
    /// subset. None while there are fewer neighbours than count.
    pub fn observe(&mut self, id: SampleId, embedding: &Embedding, step: u64) -> Option<f64> {
        let distance = self.distance(id, embedding);
        self.keep(id, embedding, step);
        self.full_for += u64::from(self.ids.len() == SUBSET_MAX);
        distance.map(|distance| self.distances.observe(distance))
    }

    /// How many distances ranks are taken among.
    pub fn ranked(&self) -> usize {
        self.distances.len()
    }

    /// Whether its distances have been of a full subset for long enough to mean the same as before.
    pub fn is_settled(&self) -> bool {
        self.full_for > SETTLED
    }

    /// Mean distance to the nearest of the subset, the sample itself left out, 0 to 2.
    fn distance(&self, id: SampleId, embedding: &Embedding) -> Option<f32> {
        let others = self.ids.iter().zip(&self.embeddings).filter(|(other, _)| **other != id);
        let mut dots: Vec<i32> = others.map(|(_, other)| dot(embedding, other)).collect();
        if dots.len() < OTHERS_MIN {
            return None;
        }
        let count = (NEIGHBOURS * dots.len()).div_ceil(SUBSET_MAX);
        dots.select_nth_unstable_by(count - 1, |a, b| b.cmp(a));
        // The selection leaves them in an order of its own; the sum of roots is taken in this one.
        let nearest = &mut dots[..count];
        nearest.sort_unstable();
        let distances = nearest
            .iter()
            .map(|dot| (2.0 - 2.0 * f64::from(*dot) / UNIT).max(0.0).sqrt());
        Some((distances.sum::<f64>() / count as f64) as f32)
    }

    fn keep(&mut self, id: SampleId, embedding: &Embedding, step: u64) {
        if let Some(at) = self.ids.iter().position(|other| *other == id) {
            self.embeddings[at] = *embedding;
        } else if self.ids.len() < SUBSET_MAX {
            self.ids.push(id);
            self.embeddings.push(*embedding);
        } else {
            let mut rng = rng::for_step(SEED, step, id.0);
            if rng::unit(&mut rng) < NEWCOMERS {
                let at = rng::below(&mut rng, SUBSET_MAX);
                (self.ids[at], self.embeddings[at]) = (id, *embedding);
            }
        }
    }
}

fn dot(a: &Embedding, b: &Embedding) -> i32 {
    a.0.iter().zip(&b.0).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}

/// What is kept of the neighbours.
#[derive(Serialize, Deserialize)]
struct Kept {
    ids: Vec<u64>,
    #[serde(with = "packed::bytes")]
    embeddings: Vec<i8>,
    distances: Quantiles,
    full_for: u64,
}

impl From<Neighbours> for Kept {
    fn from(neighbours: Neighbours) -> Self {
        Self {
            ids: neighbours.ids.iter().map(|id| id.0).collect(),
            embeddings: neighbours.embeddings.iter().flat_map(|embedding| embedding.0).collect(),
            distances: neighbours.distances,
            full_for: neighbours.full_for,
        }
    }
}

impl TryFrom<Kept> for Neighbours {
    type Error = &'static str;

    fn try_from(kept: Kept) -> Result<Self, Self::Error> {
        let (embeddings, rest) = kept.embeddings.as_chunks::<EMBEDDING_DIM>();
        if !rest.is_empty() || embeddings.len() != kept.ids.len() || kept.ids.len() > SUBSET_MAX {
            return Err("not one embedding for each neighbour");
        }
        Ok(Self {
            ids: kept.ids.into_iter().map(SampleId).collect(),
            embeddings: embeddings.iter().map(|numbers| Embedding(*numbers)).collect(),
            distances: kept.distances,
            full_for: kept.full_for,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curiosity::tests::embedding;

    fn observed(count: u64) -> Neighbours {
        let mut neighbours = Neighbours::default();
        for id in 0..count {
            neighbours.observe(SampleId(id), &embedding(0, 0.3, id), id / 16);
        }
        neighbours
    }

    #[test]
    fn an_outlier_is_novel_and_a_duplicate_is_not() {
        let mut neighbours = observed(3_000);
        let outlier = embedding(1, 0.3, 77);
        let novelty = neighbours.observe(SampleId(9_000), &outlier, 200).unwrap();
        assert!(novelty > 0.999, "{novelty}");
        for id in 9_001..9_020 {
            neighbours.observe(SampleId(id), &outlier, 200);
        }
        let again = neighbours.observe(SampleId(9_100), &outlier, 200);
        // A full subset takes one in four: whether ten of the twenty are in it is chance.
        assert!(again.is_some());
        let twin = *neighbours.embeddings.first().unwrap();
        for slot in 1..=NEIGHBOURS {
            neighbours.embeddings[slot] = twin;
        }
        let known = neighbours.observe(SampleId(9_200), &twin, 200).unwrap();
        assert!(known < 0.01, "{known}");
    }

    #[test]
    fn nothing_is_said_before_there_are_neighbours_and_nobody_is_his_own() {
        let mut neighbours = observed(OTHERS_MIN as u64);
        assert_eq!(neighbours.ranked(), 0);
        assert_eq!(neighbours.observe(SampleId(0), &embedding(0, 0.3, 0), 1), None);
        assert!(neighbours.observe(SampleId(99), &embedding(0, 0.3, 99), 1).is_some());
    }

    #[test]
    fn the_subset_is_bounded_and_follows_the_stream() {
        let neighbours = observed(20_000);
        assert_eq!(neighbours.ids.len(), SUBSET_MAX);
        assert!(neighbours.is_settled() && !observed(2_100).is_settled());
        let newer = neighbours.ids.iter().filter(|id| id.0 >= 10_000).count();
        assert!(
            (SUBSET_MAX / 2..SUBSET_MAX).contains(&newer),
            "{newer} of the second half"
        );
    }

    #[test]
    fn neighbours_read_back_as_they_were_kept_and_odd_ones_are_refused() {
        let neighbours = observed(100);
        let text = serde_json::to_string(&neighbours).unwrap();
        assert_eq!(serde_json::from_str::<Neighbours>(&text).unwrap(), neighbours);
        let short = text.replacen("\"ids\":[0,", "\"ids\":[", 1);
        assert!(serde_json::from_str::<Neighbours>(&short).is_err());
    }
}
