//! Curiosity as a whole, on simulated streams; and what the tests beside it are made of.

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
        let look = thumbnail(at as u64).into();
        let told = self.curiosity.observe(&[Scored { id, score, fresh, look }]);
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
    let look = thumbnail(1).into();
    assert_eq!(
        curiosity.observe(&[Scored {
            id,
            score,
            fresh: true,
            look
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
