//! Scores: what the teacher says of samples that arrived or were drawn, looked at through views that are the same for ever.
//! Invariant: scoring changes nothing that a step depends on but the priorities, and takes one shape of batch only, for
//! oneDNN keeps a primitive for each; a sample's views are a function of its id and its picture.

use tch::{Device, Kind, Tensor};

use super::augment::VIEWS;
use super::objective::Numerics;
use super::pairs::{deviation, of_pictures, unit};
use super::show::{Hidden, Shown};
use super::{LearnError, icm, masked, mlm};
use crate::curiosity::{Look, Scored};
use crate::ids::SampleId;
use crate::model::bert::mean_pooled;
use crate::model::{EncoderSpec, Filler, Input, Network};
use crate::replay::{Drawn, EMBEDDING_DIM, Embedding, Score, Sighted};
use crate::rng;

/// A score is asked for again when the teacher has taken a quarter as many steps as it had then, for then it is another
/// network; a young one soon, an old one after the most of these.
const STALE_STEPS: std::ops::RangeInclusive<u64> = 50..=500;

/// The least samples of a pass.
const COUNT_MIN: usize = 8;

/// A pass is over so many times fewer samples than a batch: with three views of each it costs a twentieth of a step.
const ONE_IN: usize = 8;

/// Passes over arrivals in one step, at most: of more arrivals than that the oldest leave the newest without a score, and
/// wait for one until they are drawn.
pub(super) const PASSES_MAX: usize = 4;

/// Visits up to which a sample without a score has just arrived.
const FRESH_VISITS: u32 = 3;

/// Seed of the projection into 64 dimensions. With another, embeddings that are kept would mean nothing.
const PROJECTION_SEED: u64 = 0x7465_6163_6865_7221;

/// Views of each sample: two random ones, whose difference is the error, and the clean one.
const SCORE_VIEWS: usize = VIEWS + 1;

/// How many samples the teacher is asked about at once, where it is asked.
pub(super) fn count(batch: usize) -> usize {
    COUNT_MIN.max(batch / ONE_IN)
}

/// How many arrivals a step asks about, at most.
pub(super) fn arrivals_max(batch: usize) -> usize {
    PASSES_MAX * count(batch)
}

/// A sample that the teacher is asked about.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The sample.
    pub id: SampleId,
    /// Its content, `Content::encode`d.
    pub content: Vec<u8>,
    /// Whether it has just arrived.
    pub fresh: bool,
}

/// What a step asks the teacher about, `count` samples at once: what has arrived and was never scored, then of the samples
/// that were drawn those that have no score, then those whose score is the oldest, as far as they fill one pass.
pub(super) fn asked(arrived: &[Sighted], drawn: &[Drawn], step: u64, count: usize) -> Vec<Vec<Asked>> {
    let arrivals = arrived.iter().map(|sighted| Asked {
        id: sighted.id,
        content: sighted.content.clone(),
        fresh: is_fresh(sighted.visits),
    });
    let mut asked: Vec<Asked> = arrivals.collect();
    let mut due: Vec<(u64, &Drawn)> = drawn
        .iter()
        .filter(|sample| arrived.iter().all(|sighted| sighted.id != sample.id))
        .filter_map(|sample| {
            // A score of a step that is yet to come is of before a restart from an older checkpoint: it is asked for again.
            let asked = match sample.scored_at {
                None => 0,
                Some(at) if at > step || step - at > stale_after(at) => at.saturating_add(1),
                Some(_) => return None,
            };
            Some((asked, sample))
        })
        .collect();
    due.sort_by_key(|(asked, sample)| (*asked, sample.id));
    // The same sample may be drawn twice.
    due.dedup_by_key(|(_, sample)| sample.id);
    // One pass of them where the arrivals fill theirs.
    let room = (asked.len() + 1).next_multiple_of(count) - asked.len();
    asked.extend(due.into_iter().take(room).map(|(_, sample)| Asked {
        id: sample.id,
        content: sample.content.clone(),
        fresh: sample.scored_at.is_none() && is_fresh(sample.visits),
    }));
    asked.chunks(count).map(<[Asked]>::to_vec).collect()
}

/// The steps after which a score of this step is stale.
fn stale_after(at: u64) -> u64 {
    (at / 4).clamp(*STALE_STEPS.start(), *STALE_STEPS.end())
}

/// Whether a sample without a score has just arrived. One with more visits has lost its score in a restart.
fn is_fresh(visits: u32) -> bool {
    visits <= FRESH_VISITS
}

/// Samples on their way to the teacher.
pub struct ToScore {
    /// The samples, each once, with whether it has just arrived; the first of those that are rendered.
    pub ids: Vec<(SampleId, bool)>,
    /// What else is looked at of the same samples.
    pub looks: Vec<Look>,
    /// Samples that are shown: always as many, some of them again where fewer are asked about.
    pub count: usize,
    /// The views: the first view of every sample, then the second, then the clean one.
    pub shown: Shown,
}

/// The teacher as one that scores.
pub(super) struct Scorer {
    teacher: Network,
    /// What says what is hidden, where the teacher has learnt to.
    filler: Option<Filler>,
    /// [D, 64], D as an embedding has.
    projection: Tensor,
    numerics: Numerics,
}

impl Scorer {
    /// On the teacher's networks, whose variables their owner goes on changing.
    pub(super) fn new(
        spec: &EncoderSpec,
        teacher: Network,
        filler: Option<Filler>,
        numerics: Numerics,
    ) -> Result<Self, LearnError> {
        Ok(Self {
            projection: projection(spec.dim() as usize, numerics.device)?,
            teacher,
            filler,
            numerics,
        })
    }

    /// The teacher's network.
    pub(super) fn teacher(&self) -> &Network {
        &self.teacher
    }

    /// The scores of these samples by the teacher of this step.
    pub(super) fn score(&self, to_score: ToScore, step: u64) -> Result<Vec<Scored>, LearnError> {
        let _no_grad = tch::no_grad_guard();
        let count = to_score.count as i64;
        let (input, hidden) = to_score.shown.input(self.numerics.device)?;
        let (errors, clean) = match (&self.teacher, &self.filler, &input, &hidden) {
            (Network::Texts(bert), Some(Filler::Words(head)), Input::Tokens(tokens), Some(Hidden::Words(hidden))) => {
                let _autocast = self.numerics.autocast()?;
                let states = bert.hidden(tokens); //                                    [3n, T, D]
                let nll = mlm::row_nll(
                    &mlm::guesses(bert, head, &states, hidden),
                    hidden,
                    SCORE_VIEWS as i64 * count,
                );
                let chance = (bert.words().size()[0] as f64).ln();
                let errors = of_pictures(&nll.narrow(0, 0, VIEWS as i64 * count)) / chance; // [n]
                let features = mean_pooled(&states, tokens.mask.as_ref());
                (errors, features.narrow(0, VIEWS as i64 * count, count))
            }
            (
                Network::Series(network),
                Some(Filler::Patches(head)),
                Input::Patches(patches),
                Some(Hidden::Patches(hidden)),
            ) => {
                let _autocast = self.numerics.autocast()?;
                masked::scored(network, head, patches, hidden, count)
            }
            (
                Network::States(network),
                Some(Filler::Dynamics(dynamics)),
                Input::States(states),
                Some(Hidden::Actions(actions)),
            ) => {
                let _autocast = self.numerics.autocast()?;
                icm::scored(network, dynamics, states, actions)
            }
            _ => {
                let features = {
                    let _autocast = self.numerics.autocast()?;
                    self.teacher.forward(&input)? //                                    [3n, D]
                };
                let features = unit(&features.to_kind(Kind::Float));
                let errors = deviation(&features.narrow(0, 0, VIEWS as i64 * count));
                (errors, features.narrow(0, VIEWS as i64 * count, count))
            }
        };
        let clean = unit(&clean.to_kind(Kind::Float)); //                               [n, D]
        let places = unit(&clean.f_matmul(&self.projection)?) * 127.0; //               [n, 64]
        let errors = Vec::<f32>::try_from(errors.to_device(Device::Cpu).contiguous())?;
        let places = Vec::<f32>::try_from(places.to_device(Device::Cpu).contiguous().view(-1))?;
        let (places, _) = places.as_chunks::<EMBEDDING_DIM>();
        let asked = to_score.ids.into_iter().zip(to_score.looks);
        let scored = asked.zip(errors).zip(places);
        Ok(scored
            .map(|((((id, fresh), look), error), place)| Scored {
                id,
                score: Score {
                    error,
                    // What is no number becomes 0, and the error says so.
                    embedding: Embedding(place.map(|value| value.round() as i8)),
                    step,
                },
                fresh,
                look,
            })
            .collect())
    }
}

/// The fixed random matrix [D, 64] that keeps angles up to a tenth or so (Johnson and Lindenstrauss 1984): independent
/// normal numbers, a function of D alone.
fn projection(dim: usize, device: Device) -> Result<Tensor, LearnError> {
    let mut rng = rng::for_step(PROJECTION_SEED, dim as u64, 0);
    let numbers: Vec<f32> = (0..dim * EMBEDDING_DIM).map(|_| rng::normal(&mut rng) as f32).collect();
    Ok(Tensor::from_slice(&numbers)
        .f_view([dim as i64, EMBEDDING_DIM as i64])?
        .f_to_device(device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(id: u64, scored_at: Option<u64>) -> Drawn {
        Drawn {
            id: SampleId(id),
            content: Vec::new(),
            probability: 0.1,
            visits: id as u32,
            scored_at,
        }
    }

    fn sighted(id: u64) -> Sighted {
        Sighted {
            id: SampleId(id),
            content: Vec::new(),
            visits: 0,
        }
    }

    #[test]
    fn those_never_scored_come_first_then_the_oldest_scores_and_young_ones_wait() {
        let samples = [
            drawn(1, Some(900)),
            drawn(2, Some(100)),
            drawn(3, None),
            drawn(4, Some(50)),
            drawn(3, None),
            drawn(5, None),
            drawn(6, Some(2_000)),
        ];
        let ids = |passes: &[Vec<Asked>]| -> Vec<Vec<u64>> {
            let of = |pass: &Vec<Asked>| pass.iter().map(|asked| asked.id.0).collect();
            passes.iter().map(of).collect()
        };
        assert_eq!(ids(&asked(&[], &samples, 1_000, 3)), [[3, 5, 4]]);
        let all = asked(&[], &samples, 1_000, 8);
        assert_eq!(ids(&all), [[3, 5, 4, 2, 6]]);
        assert!(all[0][0].fresh, "few visits and no score: it has just arrived");
        assert!(!all[0][1].fresh, "many visits and no score: it lost it");
        assert!(asked(&[], &samples[..1], 1_000, 8).is_empty());
        // What has arrived comes before what was drawn, which fills the last pass.
        let arrived = [7, 8, 3].map(sighted);
        assert_eq!(ids(&asked(&arrived, &samples, 1_000, 2)), [vec![7, 8], vec![3, 5]]);
        assert_eq!(ids(&asked(&arrived[..2], &samples, 1_000, 2)), [[7, 8], [3, 5]]);
        assert_eq!((count(8), count(256)), (8, 32));
    }

    #[test]
    fn the_projection_keeps_who_is_near_whom() {
        let project = |x: &Tensor| unit(&unit(x).matmul(&projection(512, Device::Cpu).unwrap()));
        tch::manual_seed(3);
        let a = Tensor::randn([1, 512], (Kind::Float, Device::Cpu));
        let b = Tensor::randn([1, 512], (Kind::Float, Device::Cpu));
        let near = &a + 0.3 * &b;
        let cosine = |x: &Tensor, y: &Tensor| (project(x) * project(y)).sum(Kind::Float).double_value(&[]);
        assert!(cosine(&a, &near) > 0.9 && cosine(&a, &b).abs() < 0.4);
    }
}
