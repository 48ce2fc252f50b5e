//! Bounds: bytes of samples, bytes on the disk, and who goes when they are reached.

use super::*;
use crate::config::RemoverKind;

const CAPACITY: u64 = 2 << 20;

fn small(remover: RemoverKind) -> ReplayConfig {
    ReplayConfig {
        remover,
        recent_samples: 32,
        ..config(CAPACITY)
    }
}

/// The disk's bytes after the background work is done.
fn settled_segment_bytes(buffer: &ReplayBuffer) -> u64 {
    loop {
        buffer.checkpoint().unwrap();
        if !buffer.store.compact().unwrap() {
            buffer.checkpoint().unwrap();
            return buffer.store.segments.bytes();
        }
    }
}

#[test]
fn the_capacity_is_never_exceeded() {
    for remover in [RemoverKind::Reservoir, RemoverKind::Fifo] {
        let dir = tempfile::tempdir().unwrap();
        let buffer = open(dir.path(), &small(remover));
        for round in 0..60u64 {
            let numbers = round * 40..round * 40 + 40;
            let bytes = |n: u64| 200 + (n.wrapping_mul(7_919) % 6_000) as usize;
            let exam = numbers.clone().step_by(5).map(|n| exam_source(n, bytes(n)));
            let batch = numbers.map(|n| source(n, bytes(n))).chain(exam).collect();
            buffer.insert(batch).unwrap();
            let counts = buffer.counts();
            let live = everything(&buffer);
            assert_eq!(live.len() as u64, counts.samples);
            assert_eq!(
                live.values().map(|content| content.len() as u64).sum::<u64>(),
                counts.bytes
            );
            assert!(counts.bytes <= CAPACITY, "{} bytes", counts.bytes);
            let exam = buffer.read_many(&buffer.exam(usize::MAX)).unwrap();
            let exam_bytes: usize = exam.iter().flatten().map(Vec::len).sum();
            assert!(exam_bytes as u64 <= CAPACITY / 10, "{exam_bytes} bytes of exam");
        }
    }
}

#[test]
fn a_sample_larger_than_the_buffer_leaves_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config(10_000));
    buffer.insert(sources(0..5, 1_000)).unwrap();
    buffer.insert(vec![source(9, 20_000)]).unwrap();
    assert!(buffer.counts().bytes <= 10_000);
    assert!(buffer.knows(&source(9, 0).hash));
}

#[test]
fn a_smaller_capacity_evicts_at_the_next_open() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config(CAPACITY));
    buffer.insert(sources(0..100, 10_000)).unwrap();
    buffer.close().unwrap();
    let buffer = open(dir.path(), &config(CAPACITY / 8));
    assert!(buffer.counts().bytes <= CAPACITY / 8);
    assert!(buffer.counts().samples > 10);
}

#[test]
fn fifo_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &small(RemoverKind::Fifo));
    (0..10).for_each(|round| drop(buffer.insert(sources(round * 100..round * 100 + 100, 4_096)).unwrap()));
    let live = buffer.ids_after(None, usize::MAX);
    let newest: Vec<_> = (1_001 - live.len() as u64..=1_000).map(SampleId).collect();
    assert_eq!(live, newest);
    assert_eq!(live.len() as u64, CAPACITY / 4_096);
}

#[test]
fn the_reservoir_keeps_the_newest_samples_until_they_are_no_longer_new() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &small(RemoverKind::Reservoir));
    for round in 0..40u64 {
        buffer.insert(sources(round * 100..round * 100 + 100, 4_096)).unwrap();
        let newest = (round * 100 + 69..=round * 100 + 100).map(SampleId);
        assert!(newest.clone().all(|id| buffer.is_live(id)));
        assert_eq!(newest.count(), 32);
    }
}

/// Chi-squared of the kept samples over ten equal parts of the stream, for a reservoir that saw `seen` of them.
fn unevenness(bytes: impl Fn(u64) -> usize) -> (f64, usize) {
    let (mut by_age, mut kept) = ([0f64; 10], 0);
    for seed in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let config = ReplayConfig {
            recent_samples: 1,
            ..config(100_000)
        };
        let (buffer, _) = ReplayBuffer::open(dir.path(), &config, seed).unwrap();
        for round in 0..20u64 {
            let batch = (round * 200..round * 200 + 200).map(|n| source(n, bytes(n)));
            buffer.insert(batch.collect()).unwrap();
        }
        for id in buffer.ids_after(None, usize::MAX) {
            by_age[((id.0 - 1) / 400) as usize] += 1.0;
            kept += 1;
        }
    }
    let expected = kept as f64 / 10.0;
    (
        by_age.iter().map(|seen| (seen - expected).powi(2) / expected).sum(),
        kept,
    )
}

#[test]
fn the_reservoir_keeps_every_sample_ever_seen_with_the_same_probability() {
    // The 99.9th percentile of chi-squared with 9 degrees of freedom is 27.9; the seeds are fixed.
    let (same_size, kept) = unevenness(|_| 200);
    assert!(same_size < 27.9, "chi-squared {same_size} of {kept} kept");
    assert!(kept > 5_000, "{kept} kept");
    let (any_size, kept) = unevenness(|n| 50 + (n.wrapping_mul(2_654_435_761) >> 7) as usize % 800);
    assert!(any_size < 27.9, "chi-squared {any_size} of {kept} kept");
}

#[test]
fn the_reservoir_keeps_large_samples_as_often_as_small_ones() {
    let dir = tempfile::tempdir().unwrap();
    let config = ReplayConfig {
        recent_samples: 1,
        ..config(1_000_000)
    };
    let buffer = open(dir.path(), &config);
    for round in 0..40u64 {
        let bytes = |n: u64| if n.is_multiple_of(2) { 100 } else { 900 };
        let batch = (round * 200..round * 200 + 200).map(|n| source(n, bytes(n)));
        buffer.insert(batch.collect()).unwrap();
    }
    let live = buffer.ids_after(None, usize::MAX);
    let large = live.iter().filter(|id| buffer.info(**id).unwrap().bytes == 900).count();
    let share = large as f64 / live.len() as f64;
    // About 2,000 are kept: three standard deviations are 0.034.
    assert!((share - 0.5).abs() < 0.04, "{share} of {} kept are large", live.len());
}

#[test]
fn space_stays_bounded_and_the_ledger_whole_under_twice_the_capacity_of_churn() {
    let dir = tempfile::tempdir().unwrap();
    let config = ReplayConfig {
        recent_samples: 32,
        ..config(8 << 20)
    };
    let mut buffer = open(dir.path(), &config);
    buffer.record_quarantine(quarantined("bad.png")).unwrap();
    buffer.record_quarantine(quarantined("dropped.png")).unwrap();
    buffer.drop_quarantine("dropped.png").unwrap();
    let same = |n| NewSource {
        path: b"same as 0".to_vec(),
        ..source(n, 8_192)
    };
    buffer.insert(sources(0..1, 8_192)).unwrap();
    buffer.insert(vec![same(0)]).unwrap();
    for round in 0..32u64 {
        buffer.insert(sources(round * 100..round * 100 + 100, 8_192)).unwrap();
    }
    let bytes = settled_segment_bytes(&buffer);
    let live = buffer.counts().bytes;
    assert!(bytes as f64 <= 1.45 * live as f64, "{bytes} bytes for {live} live");
    let first = segment::list(&dir.path().join("segments")).unwrap().into_keys().next();
    assert!(first > Some(1), "the first segment was deleted");

    let before = everything(&buffer);
    let counts = Counts {
        disk_bytes: 0,
        ..buffer.counts()
    };
    for rebuild in [false, true] {
        buffer.close().unwrap();
        assert!(ReplayBuffer::verify(dir.path()).unwrap().ok);
        if rebuild {
            std::fs::remove_dir_all(dir.path().join("catalogue")).unwrap();
        }
        buffer = open(dir.path(), &config);
        assert_eq!(everything(&buffer), before);
        assert_eq!(
            Counts {
                disk_bytes: 0,
                ..buffer.counts()
            },
            counts
        );
        assert!(
            (0..3_200).all(|n| buffer.knows(&source(n, 0).hash)),
            "a source was forgotten"
        );
        assert_eq!(buffer.insert(vec![same(0)]).unwrap(), [Inserted::Duplicate]);
        assert_eq!(
            Counts {
                disk_bytes: 0,
                ..buffer.counts()
            },
            counts,
            "a duplicate was counted twice"
        );
        assert_eq!(buffer.quarantined(), [quarantined("bad.png")]);
    }
}
