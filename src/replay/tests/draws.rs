//! What is drawn, how often, and what is not.

use super::*;
use crate::config::SamplerKind;

fn prioritized() -> ReplayConfig {
    ReplayConfig {
        sampler: SamplerKind::Prioritized,
        recent_share: 0.0,
        ..config(1 << 30)
    }
}

fn drawn_ids(buffer: &ReplayBuffer, n: usize, step: u64) -> Vec<SampleId> {
    let draw = buffer.draw(n, &mut for_step(1, step, 0)).unwrap();
    draw.samples.into_iter().map(|drawn| drawn.id).collect()
}

#[test]
fn an_empty_buffer_gives_an_empty_draw() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config(1 << 30));
    assert!(drawn_ids(&buffer, 8, 0).is_empty());
    assert_eq!(buffer.drawable(), 0);
}

#[test]
fn a_draw_never_holds_a_sample_of_the_exam() {
    let dir = tempfile::tempdir().unwrap();
    for config in [config(1 << 30), prioritized()] {
        let buffer = open(dir.path(), &config);
        buffer
            .insert((0..40).flat_map(|n| [source(n, 50), exam_source(n, 50)]).collect())
            .unwrap();
        let exam = buffer.exam(usize::MAX);
        assert_eq!(exam.len(), 40);
        assert!(buffer.info(exam[0]).unwrap().exam);
        assert!((0..20).all(|step| drawn_ids(&buffer, 64, step).iter().all(|id| !exam.contains(id))));
        let hashes: Vec<_> = exam.iter().map(|id| buffer.info(*id).unwrap().source).collect();
        assert!(hashes.is_sorted(), "the exam is in the order of its sources");
    }
}

#[test]
fn a_probability_is_told_of_the_newest_that_are_drawn_from_however_small_the_buffer() {
    let dir = tempfile::tempdir().unwrap();
    let small = ReplayConfig {
        samples_max: 100,
        recent_samples: 64,
        recent_share: 0.5,
        ..config(1 << 30)
    };
    let buffer = open(dir.path(), &small);
    buffer.insert(sources(0..60, 50)).unwrap();
    // A fifth of the bound is the newest: 20.
    let probability = |id: u64| buffer.info(SampleId(id)).unwrap().probability;
    assert!((probability(60) - (0.5 / 20.0 + 0.5 / 60.0)).abs() < 1e-9);
    assert!((probability(40) - 0.5 / 60.0).abs() < 1e-9);
    let all: f64 = (1..=60).map(probability).sum();
    assert!((all - 1.0).abs() < 1e-9, "{all}");
}

#[test]
fn each_arrival_is_sighted_once_while_the_remover_can_not_choose_it() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(
        dir.path(),
        &ReplayConfig {
            recent_samples: 8,
            ..config(1 << 30)
        },
    );
    buffer.insert(sources(0..20, 50)).unwrap();
    buffer.insert(vec![exam_source(90, 50)]).unwrap();
    let ids = |sighted: &[Sighted]| sighted.iter().map(|it| it.id.0).collect::<Vec<_>>();
    let first = buffer.sight(None, 9, 5).unwrap();
    assert_eq!(
        ids(&first),
        [13, 14, 15, 16, 17],
        "those before are no longer among the eight newest"
    );
    assert_eq!(first[0].content, content(12, 50));
    let rest = buffer.sight(Some(first[4].id), 9, 5).unwrap();
    assert_eq!(ids(&rest), [18, 19, 20], "and nothing of the exam");
    assert!(buffer.sight(Some(rest[2].id), 9, 5).unwrap().is_empty());
    // What has a score need not be asked about.
    let score = Score {
        error: 0.5,
        embedding: Embedding([1; EMBEDDING_DIM]),
        step: 3,
    };
    buffer.score(&[(SampleId(14), score)]);
    assert_eq!(ids(&buffer.sight(None, 9, 3).unwrap()), [13, 15, 16]);
    // Sighted by a learner whose buffer was begun anew: there is no such sample yet.
    assert_eq!(ids(&buffer.sight(Some(SampleId(10_000)), 9, 2).unwrap()), [13, 15]);
}

#[test]
fn draws_after_reopening_are_those_of_a_buffer_that_was_never_closed() {
    let small = |sampler| ReplayConfig {
        sampler,
        recent_samples: 16,
        ..config(100_000)
    };
    for config in [small(SamplerKind::Uniform), small(SamplerKind::Prioritized)] {
        let (closed, never) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut reopened = open(closed.path(), &config);
        let kept = open(never.path(), &config);
        for step in 0..10u64 {
            for buffer in [&reopened, &kept] {
                buffer.insert(sources(step * 30..step * 30 + 30, 900)).unwrap();
            }
            let draw = reopened.draw(32, &mut for_step(1, step, 0)).unwrap();
            let other = kept.draw(32, &mut for_step(1, step, 0)).unwrap();
            let chosen = |draw: &Draw| -> Vec<_> {
                let each = draw.samples.iter();
                each.map(|drawn| (drawn.id, drawn.probability, drawn.visits)).collect()
            };
            assert_eq!(chosen(&draw), chosen(&other), "step {step}");
            assert!(draw == other, "step {step}: the same samples with other contents");
            let ids = draw.samples.iter().map(|drawn| drawn.id);
            let error = |id: SampleId| (id.0.wrapping_mul(2_654_435_761) % 1_000) as f32;
            let evidence: Vec<_> = ids.map(|id| Evidence { id, error: error(id) }).collect();
            reopened.report(&evidence, judge).unwrap();
            kept.report(&evidence, judge).unwrap();
            reopened.close().unwrap();
            reopened = reopen(closed.path(), &config);
        }
        assert_eq!(everything(&reopened), everything(&kept));
    }
}

#[test]
fn a_quarter_of_a_batch_is_of_the_newest_samples() {
    let dir = tempfile::tempdir().unwrap();
    let config = ReplayConfig {
        recent_samples: 10,
        recent_share: 0.25,
        ..config(1 << 30)
    };
    let buffer = open(dir.path(), &config);
    buffer.insert(sources(0..1_000, 20)).unwrap();
    let draw = buffer.draw(4_000, &mut for_step(1, 0, 0)).unwrap();
    let recent = draw.samples.iter().filter(|drawn| drawn.id.0 > 990);
    let count = recent.clone().count();
    // 1,000 of the newest, and a hundredth of the other 3,000.
    assert!((1_000..1_080).contains(&count), "{count} of 4,000");
    for drawn in &draw.samples {
        let expected = if drawn.id.0 > 990 {
            0.25 / 10.0 + 0.75 / 1_000.0
        } else {
            0.75 / 1_000.0
        };
        assert!((drawn.probability - expected).abs() < 1e-12);
    }
}

#[test]
fn what_is_visited_and_easy_is_drawn_less() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &prioritized());
    buffer.insert(sources(0..100, 20)).unwrap();
    for _ in 0..20 {
        let easy = (1..=50).map(|id| Evidence {
            id: SampleId(id),
            error: 0.0,
        });
        let hard = (51..=60).map(|id| Evidence {
            id: SampleId(id),
            error: 1.0,
        });
        buffer.report(&easy.chain(hard).collect::<Vec<_>>(), judge).unwrap();
    }
    let draw = buffer.draw(20_000, &mut for_step(1, 0, 0)).unwrap();
    let mut share = BTreeMap::<u64, (f64, f64)>::new();
    for drawn in &draw.samples {
        let entry = share.entry(drawn.id.0).or_default();
        *entry = (entry.0 + 1.0 / 20_000.0, drawn.probability);
    }
    let total: f64 = share.values().map(|(_, probability)| probability).sum();
    assert!((total - 1.0).abs() < 1e-9, "the probabilities add up to {total}");
    assert!(share.values().all(|(seen, told)| (seen - told).abs() < 0.006));
    assert!(share[&1].1 < share[&55].1 && share[&55].1 < share[&99].1);
    assert!(share[&1].1 >= 0.5 / 100.0, "no probability is below half of uniform");
    let info = buffer.info(SampleId(55)).unwrap();
    assert_eq!((info.visits, info.error), (20, Some(1.0)));
}

#[test]
fn an_error_that_is_no_number_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &prioritized());
    buffer.insert(sources(0..10, 20)).unwrap();
    let evidence = [f32::NAN, f32::INFINITY].map(|error| Evidence { id: SampleId(1), error });
    buffer.report(&evidence, judge).unwrap();
    buffer
        .report(
            &[Evidence {
                id: SampleId(999),
                error: 1.0,
            }],
            judge,
        )
        .unwrap();
    assert_eq!(drawn_ids(&buffer, 100, 0).len(), 100);
    let info = buffer.info(SampleId(1)).unwrap();
    assert_eq!((info.visits, info.error), (2, None));
}

#[test]
fn a_restart_forgets_neither_what_arrived_nor_what_was_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let config = ReplayConfig {
        draws_per_sample: 4.0,
        ..config(1 << 30)
    };
    let mut buffer = open(dir.path(), &config);
    buffer.insert(sources(0..10, 20)).unwrap();
    buffer.insert(vec![exam_source(1, 20)]).unwrap();
    for step in 0..4 {
        assert_eq!((buffer.arrived(), buffer.draws()), (10, (4.0, 4.0)), "step {step}");
        assert_eq!(drawn_ids(&buffer, 10, step).len(), 10);
        buffer.close().unwrap();
        buffer = open(dir.path(), &config);
    }
    assert_eq!(buffer.counts().drawn, 40);
    std::fs::remove_dir_all(dir.path().join("catalogue")).unwrap();
    drop(buffer);
    std::fs::remove_dir_all(dir.path().join("catalogue")).unwrap_or_default();
    let buffer = open(dir.path(), &config);
    assert_eq!(buffer.counts().drawn, 40, "a rebuilt catalogue forgot what was drawn");
    assert_eq!(buffer.arrived(), 10, "a rebuilt catalogue forgot what arrived");
    buffer.insert(sources(10..11, 20)).unwrap();
    assert_eq!(buffer.arrived(), 11);
}
