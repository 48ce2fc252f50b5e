//! The exam in parts, so that a gain on the whole does not hide a loss on a part of it.
//! Always true: which samples are in a part is known before any network of a candidate is looked at.

use std::fmt;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::exam::Sample;
use super::probes;

/// Samples below which a quarter of the exam is not looked at alone.
const SAMPLES_MIN: usize = 16;

/// A part of the exam.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slice {
    /// The quarter that arrived first.
    Anchor,
    /// The quarter that arrived last.
    Recent,
    /// The quarter that is least like its neighbours, by the published model.
    Rare,
    /// All of it, spoilt: noise, blur and cover, misspelt and missing words, gaps. Is each still found among all as they are; of
    /// transitions: is what was done still told?
    Corrupted,
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anchor => "the oldest samples",
            Self::Recent => "the newest samples",
            Self::Rare => "the rarest samples",
            Self::Corrupted => "spoilt samples",
        })
    }
}

/// The places, in `samples`, of what is in each quarter; none where they are too few. `published`: what the published model says
/// of the samples as they are, [N, D], if there is one.
pub(super) fn quarters(samples: &[Sample], published: Option<&Tensor>) -> Vec<(Slice, Vec<usize>)> {
    let quarter = samples.len() / 4;
    if quarter < SAMPLES_MIN {
        return Vec::new();
    }
    let first_by = |key: &dyn Fn(usize) -> f64| {
        let mut places: Vec<usize> = (0..samples.len()).collect();
        places.sort_by(|a, b| key(*a).total_cmp(&key(*b)).then(samples[*a].id.cmp(&samples[*b].id)));
        places.truncate(quarter);
        // In the exam's own order again, which depends on no value: the bounds ask for that.
        places.sort_unstable();
        places
    };
    let arrived = |place: usize| samples[place].id.0 as f64;
    let mut slices = vec![
        (Slice::Anchor, first_by(&arrived)),
        (Slice::Recent, first_by(&|place| -arrived(place))),
    ];
    if let Some(z) = published {
        let likeness = probes::likeness(z);
        slices.push((Slice::Rare, first_by(&|place| likeness[place])));
    }
    slices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{SampleId, SourceHash};
    use tch::{Device, Kind};

    fn samples(n: u64) -> Vec<Sample> {
        // In an order that is not that of their arrival.
        let ids = (0..n).map(|i| SampleId(i * 37 % n));
        ids.map(|id| Sample {
            id,
            source: SourceHash([0; 32]),
        })
        .collect()
    }

    #[test]
    fn the_oldest_and_the_newest_quarter_are_told_by_arrival_and_the_rarest_by_its_neighbours() {
        let samples = samples(80);
        // Seventy rows point one way, ten each another.
        let z = Tensor::zeros([80, 16], (Kind::Float, Device::Cpu));
        for place in 0..80 {
            let axis = if place < 70 { 0 } else { 1 + place - 70 };
            let _ = z.get(place).get(axis).fill_(1.0);
        }
        let slices = quarters(&samples, Some(&z));
        let ids = |slice: Slice| {
            let places = &slices.iter().find(|(of, _)| *of == slice).unwrap().1;
            let mut ids: Vec<u64> = places.iter().map(|place| samples[*place].id.0).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(ids(Slice::Anchor), (0..20).collect::<Vec<_>>());
        assert_eq!(ids(Slice::Recent), (60..80).collect::<Vec<_>>());
        let rare = &slices.iter().find(|(of, _)| *of == Slice::Rare).unwrap().1;
        assert!((70..80).all(|place| rare.contains(&place)), "{rare:?}");
    }

    #[test]
    fn of_few_samples_no_quarter_is_looked_at_and_without_a_published_model_none_is_rare() {
        assert!(quarters(&samples(60), None).is_empty());
        assert_eq!(quarters(&samples(64), None).len(), 2);
    }
}
