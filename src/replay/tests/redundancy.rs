//! What the remover `min_redundancy` keeps, and what is told of those that went.

use super::*;
use crate::config::RemoverKind;
use crate::rng::{Rng, below, unit};

fn config_of(samples_max: usize) -> ReplayConfig {
    ReplayConfig {
        samples_max,
        remover: RemoverKind::MinRedundancy,
        recent_samples: samples_max / 8,
        ..config(1 << 30)
    }
}

/// A place near a cluster's centre: `spread` of its length is its own.
fn near(cluster: u64, spread: f64, rng: &mut Rng) -> Embedding {
    let direction = |rng: &mut Rng| -> Vec<f64> { (0..EMBEDDING_DIM).map(|_| unit(rng) - 0.5).collect() };
    let unit_length = |it: Vec<f64>| -> Vec<f64> {
        let norm = it.iter().map(|x| x * x).sum::<f64>().sqrt();
        it.into_iter().map(|x| x / norm).collect()
    };
    let centre = unit_length(direction(&mut for_step(cluster, 1, 1)));
    let own = unit_length(direction(rng));
    let place = unit_length(centre.iter().zip(own).map(|(c, o)| c + spread * o).collect());
    Embedding(std::array::from_fn(|lane| (place[lane] * 127.0).round() as i8))
}

fn scored(number: u64, embedding: Embedding, rng: &mut Rng) -> (SampleId, Score) {
    let score = Score {
        error: unit(rng) as f32,
        embedding,
        step: number,
    };
    (SampleId(number + 1), score)
}

/// Which fifth of a stream of `seen` samples each kept one is of.
fn by_age(buffer: &ReplayBuffer, seen: u64) -> [usize; 5] {
    let mut ages = [0; 5];
    for id in buffer.ids_after(None, usize::MAX) {
        ages[((id.0 - 1) * 5 / seen) as usize] += 1;
    }
    ages
}

/// A stream of 4,000 samples of 20 clusters into a buffer for 500, of which each `scored_every`th gets a score; the
/// older a sample the more often it was replayed.
fn stationary(scored_every: u64) -> [usize; 5] {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config_of(500));
    let mut rng = for_step(3, 0, 0);
    for round in 0..100u64 {
        let numbers = round * 40..round * 40 + 40;
        buffer.insert(sources(numbers.clone(), 40)).unwrap();
        let numbers = numbers.filter(|number| number.is_multiple_of(scored_every));
        let scores: Vec<_> = numbers
            .map(|number| {
                let cluster = below(&mut rng, 20) as u64;
                let place = near(cluster, 0.5, &mut rng);
                scored(number, place, &mut rng)
            })
            .collect();
        buffer.score(&scores);
        let ids = buffer.ids_after(None, usize::MAX).into_iter();
        let visited: Vec<_> = ids.map(|id| Evidence { id, error: 0.5 }).collect();
        buffer.report(&visited, judge).unwrap();
        assert!(buffer.counts().samples <= 500);
    }
    by_age(&buffer, 4_000)
}

#[test]
fn what_is_kept_of_a_stream_that_stays_the_same_is_of_all_its_ages() {
    for scored_every in [1, 3] {
        let ages = stationary(scored_every);
        let total: usize = ages.iter().sum();
        // An eighth is the newest in any case. Even shares would be a fifth; recency bias was more than a half.
        assert!(
            ages[4] * 100 <= total * 45,
            "{ages:?} by fifths of the stream, scored one in {scored_every}"
        );
        assert!(
            ages[0] * 100 >= total * 8,
            "{ages:?} by fifths of the stream, scored one in {scored_every}"
        );
    }
}

#[test]
fn what_is_much_closer_than_usual_goes_first_and_the_rest_by_lot() {
    let dir = tempfile::tempdir().unwrap();
    let distinct = ReplayConfig {
        remover: RemoverKind::Distinct,
        ..config_of(500)
    };
    let buffer = open(dir.path(), &distinct);
    let mut rng = for_step(6, 0, 0);
    // Every fifth is of one place, the others are each of their own.
    let is_noise = |number: u64| number % 5 == 4;
    for part in 0..120u64 {
        let numbers = part * 25..part * 25 + 25;
        buffer.insert(sources(numbers.clone(), 40)).unwrap();
        let scores: Vec<_> = numbers
            .map(|number| {
                let cluster = if is_noise(number) { 1 } else { 1_000 + number };
                let place = near(cluster, 0.1, &mut rng);
                scored(number, place, &mut rng)
            })
            .collect();
        buffer.score(&scores);
    }
    let newest = buffer.newest_len();
    let live = buffer.ids_after(None, usize::MAX);
    let long_term = &live[..live.len() - newest];
    let noise = long_term.iter().filter(|id| is_noise(id.0 - 1)).count();
    assert!(
        noise * 100 <= long_term.len(),
        "{noise} of {} are noise",
        long_term.len()
    );
    let mut ages = [0; 5];
    for id in long_term {
        ages[((id.0 - 1) * 5 / 3_000) as usize] += 1;
    }
    // 437 of 2,937 by lot: 88 of each fifth but the last, which the newest are of; four standard deviations are 34.
    assert!(ages[..4].iter().all(|kept| (54..=125).contains(kept)), "{ages:?}");
}

#[test]
fn a_cluster_of_look_alikes_shrinks_first_and_the_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config_of(800));
    let mut rng = for_step(4, 0, 0);
    // 400 samples far apart, then 400 of one place, then as many again.
    for part in 0..12u64 {
        let numbers = part * 100..part * 100 + 100;
        buffer.insert(sources(numbers.clone(), 40)).unwrap();
        let scores: Vec<_> = numbers
            .map(|number| {
                let place = match number < 400 {
                    true => near(1_000 + number, 0.1, &mut rng),
                    false => near(1, 0.1, &mut rng),
                };
                scored(number, place, &mut rng)
            })
            .collect();
        buffer.score(&scores);
    }
    let live = buffer.ids_after(None, usize::MAX);
    assert_eq!(live.len(), 800);
    let apart = live.iter().filter(|id| id.0 <= 400).count();
    assert!(apart >= 396, "{apart} of the 400 that nothing else says are left");
    let gone = (401..=1_200).map(SampleId).find(|id| !buffer.is_live(*id)).unwrap();
    let fate = buffer.fate(gone).unwrap();
    let FateCause::Redundant { twin, similarity } = fate.cause else {
        panic!("{fate:?}");
    };
    assert!(twin.0 > 400 && similarity > 0.9, "{fate:?}");
    assert_eq!(buffer.fate(live[0]), None);
    assert_eq!(buffer.fate(SampleId(9_999)), None);
}

#[test]
fn without_scores_every_age_is_as_likely_kept() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config_of(1_000));
    (0..100).for_each(|round| drop(buffer.insert(sources(round * 50..round * 50 + 50, 40)).unwrap()));
    let ages = by_age(&buffer, 5_000);
    // 175 of each fifth are expected and 125 more of the newest: four standard deviations are 48.
    assert!(ages[..4].iter().all(|kept| (120..230).contains(kept)), "{ages:?}");
    let gone = (1..=5_000).rev().map(SampleId).find(|id| !buffer.is_live(*id)).unwrap();
    assert_eq!(buffer.fate(gone).unwrap().cause, FateCause::Random);
}

#[test]
fn a_score_outlives_the_buffer_that_was_told_it() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config_of(1_000));
    buffer.insert(sources(0..200, 40)).unwrap();
    let rng = &mut for_step(5, 0, 0);
    let scores: Vec<_> = (0..100).map(|n| scored(n, near(n, 0.3, rng), rng)).collect();
    buffer.score(&scores);
    buffer
        .report(
            &[Evidence {
                id: SampleId(1),
                error: 0.25,
            }],
            judge,
        )
        .unwrap();
    let kept = |buffer: &ReplayBuffer| -> Vec<Option<Score>> {
        let memory = buffer.store.memory.lock();
        memory
            .contents
            .samples
            .values()
            .map(|slot| slot.signals.score)
            .collect()
    };
    let before = kept(&buffer);
    assert_eq!(before.iter().flatten().count(), 100);
    buffer.close().unwrap();
    let buffer = reopen(dir.path(), &config_of(1_000));
    assert_eq!(kept(&buffer), before);
    assert_eq!(buffer.info(SampleId(1)).unwrap().error, Some(0.25));
    buffer.close().unwrap();
    let buffer = reopen(dir.path(), &config_of(100));
    assert_eq!(buffer.counts().samples, 100);
    buffer.close().unwrap();
    let buffer = reopen(dir.path(), &config_of(100));
    assert_eq!(kept(&buffer).len(), 100, "scores of samples that are gone do no harm");
}

#[test]
fn a_bound_on_the_samples_holds_for_every_remover_and_for_each_part() {
    for remover in [RemoverKind::Reservoir, RemoverKind::Fifo, RemoverKind::MinRedundancy] {
        let dir = tempfile::tempdir().unwrap();
        let config = ReplayConfig {
            samples_max: 200,
            remover,
            recent_samples: 1_000,
            recent_share: 1.0,
            ..config(1 << 30)
        };
        let buffer = open(dir.path(), &config);
        for round in 0..20u64 {
            let numbers = round * 50..round * 50 + 50;
            let exam = numbers.clone().step_by(2).map(|number| exam_source(number, 40));
            buffer
                .insert(exam.chain(sources(numbers.clone(), 40)).collect())
                .unwrap();
            let counts = buffer.counts();
            assert!(
                counts.samples <= 200 && counts.exam_samples <= 20,
                "{remover:?}: {counts:?}"
            );
        }
        assert_eq!(buffer.counts().samples, 200, "{remover:?}");
        let ids = buffer.ids_after(None, usize::MAX);
        let training: Vec<_> = ids.into_iter().filter(|id| !buffer.info(*id).unwrap().exam).collect();
        let newest = &training[training.len() - 40..];
        let draw = buffer.draw(500, &mut for_step(1, 0, 0)).unwrap();
        assert!(
            draw.samples.iter().all(|drawn| newest.contains(&drawn.id)),
            "a fifth is recent"
        );
    }
}

#[test]
fn junk_goes_first_when_room_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config_of(40));
    buffer.insert(sources(0..40, 40)).unwrap();
    let is_junk = |id: SampleId| [SampleId(3), SampleId(4), SampleId(39)].contains(&id);
    let ids = buffer.ids_after(None, usize::MAX).into_iter();
    let visited: Vec<_> = ids.map(|id| Evidence { id, error: 0.5 }).collect();
    let judged = |known: &Known| Judgement {
        junk: is_junk(known.id),
        ..judge(known)
    };
    buffer.report(&visited, judged).unwrap();
    assert!(buffer.is_live(SampleId(3)), "there is room");
    buffer.insert(sources(40..42, 40)).unwrap();
    for id in [3, 4] {
        assert_eq!(buffer.fate(SampleId(id)).unwrap().cause, FateCause::Junk);
    }
    assert!(buffer.is_live(SampleId(39)), "the newest are kept whatever they are");
    // What could be learnt after all is junk no more.
    buffer.report(&visited, judge).unwrap();
    buffer.insert(sources(42..60, 40)).unwrap();
    let causes: Vec<_> = (0..60)
        .filter_map(|id| buffer.fate(SampleId(id)))
        .map(|fate| fate.cause)
        .collect();
    assert_eq!(
        causes.iter().filter(|cause| **cause == FateCause::Junk).count(),
        2,
        "{causes:?}"
    );
}

#[test]
fn the_memory_is_never_locked_for_long() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config_of(3_000));
    let rng = &mut for_step(6, 0, 0);
    buffer.insert(sources(0..3_000, 40)).unwrap();
    let scores: Vec<_> = (0..3_000).map(|n| scored(n, near(n % 50, 0.5, rng), rng)).collect();
    buffer.score(&scores);
    let longest = std::thread::scope(|scope| {
        let inserting = scope.spawn(|| buffer.insert(sources(3_000..3_400, 40)).unwrap().len());
        let mut longest = Duration::ZERO;
        while !inserting.is_finished() {
            let asked = Instant::now();
            buffer.counts();
            longest = longest.max(asked.elapsed());
        }
        longest
    });
    // 20 ms on an idle machine; a busy one may take the thread's turn away for longer than that.
    assert!(longest < Duration::from_millis(400), "waited {longest:?}");
    println!("the longest wait for the memory was {longest:?}");
}
