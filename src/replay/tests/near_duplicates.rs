//! Pictures that show the same: kept while there is room, drawn as one, and the first to go.

use super::*;
use crate::config::{NearDuplicates, RemoverKind, SamplerKind};
use crate::sample::{Content, ImageTile};

fn config_of(samples_max: usize) -> ReplayConfig {
    ReplayConfig {
        samples_max,
        recent_samples: 8,
        recent_share: 0.0,
        ..config(1 << 30)
    }
}

/// A picture of fields that no other number has; `variant` changes its brightness and some of its noise.
fn picture(number: u64, variant: u64) -> NewSource {
    let mut fields = for_step(number, 2, 0);
    let fields: Vec<f64> = (0..256).map(|_| 40.0 + 160.0 * crate::rng::unit(&mut fields)).collect();
    let mut noise = for_step(number, 3, variant);
    let side = 32u16;
    let level = |x: u16, y: u16| fields[usize::from(y / 2) * 16 + usize::from(x / 2)];
    let places = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
    let rgb = places.flat_map(|(x, y)| {
        let own = if variant == 0 {
            0.0
        } else {
            3.0 * crate::rng::unit(&mut noise) + variant as f64 % 5.0
        };
        [(level(x, y) + own).clamp(0.0, 255.0) as u8; 3]
    });
    let tile = ImageTile {
        width: side,
        height: side,
        rgb: rgb.collect(),
    };
    let unique = number * 100_000 + variant;
    NewSource {
        samples: vec![Content::Image(tile).encode()],
        ..source(unique, 0)
    }
}

/// How often each picture is drawn, by its number, of `copies[number]` copies inserted in this order.
fn shares(config: &ReplayConfig, copies: &[u64]) -> Vec<f64> {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), config);
    let mut number_of = BTreeMap::new();
    let mut next = 1;
    for (number, copies) in copies.iter().enumerate() {
        buffer
            .insert((0..*copies).map(|variant| picture(number as u64, variant)).collect())
            .unwrap();
        for _ in 0..*copies {
            number_of.insert(SampleId(next), number);
            next += 1;
        }
    }
    let draw = buffer.draw(20_000, &mut for_step(1, 0, 0)).unwrap();
    let mut shares = vec![0.0; copies.len()];
    let mut told = BTreeMap::new();
    for drawn in &draw.samples {
        shares[number_of[&drawn.id]] += 1.0 / 20_000.0;
        told.insert(drawn.id, drawn.probability);
    }
    let total: f64 = told.values().sum();
    assert!((total - 1.0).abs() < 1e-9, "the probabilities add up to {total}");
    shares
}

#[test]
fn copies_of_a_picture_are_drawn_as_one() {
    for sampler in [SamplerKind::Uniform, SamplerKind::Prioritized] {
        let collapsed = ReplayConfig {
            sampler,
            ..config_of(0)
        };
        let copies = [1, 16, 1, 4, 1, 1, 1, 1];
        let of_each = shares(&collapsed, &copies);
        assert!(
            of_each.iter().all(|share| (0.105..0.145).contains(share)),
            "{of_each:?}"
        );
        let kept = ReplayConfig {
            near_duplicates: NearDuplicates::Keep,
            ..collapsed
        };
        let of_each = shares(&kept, &copies);
        assert!((of_each[1] - 16.0 / 26.0).abs() < 0.03, "{of_each:?}");
    }
}

#[test]
fn when_room_is_needed_the_copies_go_and_what_they_show_stays() {
    for remover in [RemoverKind::Reservoir, RemoverKind::MinRedundancy, RemoverKind::Fifo] {
        let dir = tempfile::tempdir().unwrap();
        let config = ReplayConfig {
            remover,
            ..config_of(100)
        };
        let buffer = open(dir.path(), &config);
        for number in 0..60u64 {
            buffer
                .insert((0..10).map(|variant| picture(number, variant)).collect())
                .unwrap();
            assert!(buffer.counts().samples <= 100);
        }
        let firsts = (0..60u64)
            .filter(|number| buffer.is_live(SampleId(number * 10 + 1)))
            .count();
        assert_eq!(firsts, 60, "{remover:?}: of each picture the first is there");
        let fate = buffer.fate(SampleId(5)).map(|fate| fate.cause);
        assert_eq!(fate, Some(FateCause::NearDuplicate { original: SampleId(1) }));
    }
}

#[test]
fn a_reopened_buffer_has_the_groups_of_the_one_that_was_closed_or_killed() {
    let (closed, never) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = config_of(150);
    let mut reopened = open(closed.path(), &config);
    let kept = open(never.path(), &config);
    for round in 0..12u64 {
        let batch = || {
            (0..30)
                .map(|at| picture((round * 7 + at) % 40, round * 30 + at))
                .collect()
        };
        for buffer in [&reopened, &kept] {
            buffer.insert(batch()).unwrap();
        }
        let near_duplicates = |buffer: &ReplayBuffer| buffer.counts().near_duplicates;
        assert_eq!(near_duplicates(&reopened), near_duplicates(&kept), "round {round}");
        assert!(round == 0 || near_duplicates(&kept) > 5);
        let step = &mut for_step(1, round, 0);
        let ids = |draw: Draw| -> Vec<_> { draw.samples.iter().map(|it| (it.id, it.probability)).collect() };
        let drawn = ids(reopened.draw(64, step).unwrap());
        assert_eq!(
            drawn,
            ids(kept.draw(64, &mut for_step(1, round, 0)).unwrap()),
            "round {round}"
        );
        match round % 3 {
            0 => reopened.close().unwrap(),
            1 => {
                // As a kill leaves it: what came after the last checkpoint is looked at again.
                let killed = tempfile::tempdir().unwrap();
                let turn = reopened.store.checkpointing.lock();
                let cleaner = reopened.store.cleaner.lock();
                copy(closed.path(), killed.path());
                drop((turn, cleaner));
                drop(reopened);
                std::fs::remove_dir_all(closed.path()).unwrap();
                copy(killed.path(), closed.path());
            }
            _ => continue,
        }
        reopened = reopen(closed.path(), &config);
    }
}

#[test]
fn what_was_never_looked_at_is_looked_at_when_near_duplicates_are_to_be_collapsed() {
    let dir = tempfile::tempdir().unwrap();
    let keep = ReplayConfig {
        near_duplicates: NearDuplicates::Keep,
        ..config_of(0)
    };
    let buffer = open(dir.path(), &keep);
    buffer
        .insert((0..20).map(|variant| picture(variant % 2, variant)).collect())
        .unwrap();
    buffer.close().unwrap();
    let buffer = reopen(dir.path(), &config_of(0));
    assert_eq!(buffer.counts().near_duplicates, 18);
    drop(buffer);
    std::fs::remove_dir_all(dir.path().join("catalogue")).unwrap();
    let buffer = open(dir.path(), &config_of(0));
    assert_eq!(buffer.counts().near_duplicates, 18);
}
