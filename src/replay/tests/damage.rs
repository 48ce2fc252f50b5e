//! What a crash, a flipped bit or a lost file costs.

use super::*;
use segment::HEADER_LEN;

fn flip(path: &Path, at: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at as usize] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

pub(super) fn len(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

/// A closed buffer of one segment whose only batches are these.
fn closed(dir: &Path, batches: &[std::ops::Range<u64>]) -> BTreeMap<SampleId, Vec<u8>> {
    let buffer = open(dir, &config(1 << 30));
    for numbers in batches {
        buffer.insert(sources(numbers.clone(), 300)).unwrap();
    }
    let everything = everything(&buffer);
    buffer.close().unwrap();
    everything
}

/// A closed buffer of several sealed segments.
pub(super) fn closed_in_many_segments(dir: &Path, config: &ReplayConfig) -> BTreeMap<SampleId, Vec<u8>> {
    let buffer = open(dir, config);
    for round in 0..20u64 {
        buffer.insert(sources(round * 10..round * 10 + 10, 8_000)).unwrap();
    }
    buffer.record_quarantine(quarantined("bad.png")).unwrap();
    let everything = everything(&buffer);
    buffer.close().unwrap();
    assert!(segment::list(&dir.join("segments")).unwrap().len() > 4);
    everything
}

#[test]
fn a_batch_that_was_not_acknowledged_is_cut_off_whole_wherever_it_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config(1 << 30));
    buffer.insert(sources(0..2, 50)).unwrap();
    buffer.checkpoint().unwrap();
    buffer.insert(sources(2..4, 50)).unwrap();
    let acknowledged = everything(&buffer);
    let before = len(&newest_segment(dir.path()));
    buffer.insert(sources(4..7, 40)).unwrap();
    let after = len(&newest_segment(dir.path()));
    let killed = tempfile::tempdir().unwrap();
    copy(dir.path(), killed.path());
    let bytes = std::fs::read(newest_segment(killed.path())).unwrap();
    let salt = buffer.store.segments.identity.salt();
    for end in before..after {
        let scan = segment::scan(&bytes[..end as usize], HEADER_LEN, 1, salt, 0);
        assert_eq!((scan.end, scan.bad), (before, Vec::new()), "cut at {end}");
        // The whole way takes some ten milliseconds; every byte was looked at above.
        if end % 9 != 0 {
            continue;
        }
        let torn = tempfile::tempdir().unwrap();
        copy(killed.path(), torn.path());
        let segment = std::fs::File::options()
            .write(true)
            .open(newest_segment(torn.path()))
            .unwrap();
        segment.set_len(end).unwrap();
        let (buffer, report) = ReplayBuffer::open(torn.path(), &config(1 << 30), 7).unwrap();
        assert_eq!(report.torn_bytes, end - before);
        assert_eq!((report.quarantined_records, report.rebuilt), (0, None));
        assert_eq!(everything(&buffer), acknowledged, "cut at {end}");
        assert!(!buffer.knows(&source(4, 0).hash));
        buffer.insert(sources(4..7, 40)).unwrap();
        let whole = everything(&buffer);
        drop(buffer);
        assert_eq!(everything(&open(torn.path(), &config(1 << 30))), whole);
    }
}

#[test]
fn a_batch_of_which_only_some_pages_reached_the_disk_is_cut_off_whole() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config(1 << 30));
    buffer.insert(sources(0..2, 5_000)).unwrap();
    buffer.checkpoint().unwrap();
    let acknowledged = everything(&buffer);
    let before = len(&newest_segment(dir.path()));
    buffer.insert(sources(2..6, 5_000)).unwrap();
    let killed = tempfile::tempdir().unwrap();
    copy(dir.path(), killed.path());
    let whole = std::fs::read(newest_segment(killed.path())).unwrap();
    for page in before / 4_096..=whole.len() as u64 / 4_096 {
        let mut bytes = whole.clone();
        let start = (page * 4_096).max(before) as usize;
        let end = ((page + 1) * 4_096).min(whole.len() as u64) as usize;
        bytes[start..end].fill(0);
        let torn = tempfile::tempdir().unwrap();
        copy(killed.path(), torn.path());
        std::fs::write(newest_segment(torn.path()), bytes).unwrap();
        assert_eq!(
            everything(&open(torn.path(), &config(1 << 30))),
            acknowledged,
            "without page {page}"
        );
    }
}

#[test]
fn a_flipped_bit_costs_one_record_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let whole = closed(dir.path(), &[0..5, 5..10, 10..15]);
    let end = len(&newest_segment(dir.path()));
    for at in (0..end).step_by(83) {
        for lose_catalogue in [false, true] {
            let damaged = tempfile::tempdir().unwrap();
            copy(dir.path(), damaged.path());
            flip(&newest_segment(damaged.path()), at);
            if lose_catalogue {
                std::fs::remove_dir_all(damaged.path().join("catalogue")).unwrap();
            }
            let (buffer, report) = ReplayBuffer::open(damaged.path(), &config(1 << 30), 7).unwrap();
            let left = everything(&buffer);
            assert!(
                left.len() + 1 >= whole.len(),
                "a bit at {at} cost {} records",
                whole.len() - left.len()
            );
            assert!(
                left.iter().all(|(id, content)| whole[id] == *content),
                "a damaged record was served"
            );
            // A damaged last batch that no catalogue vouches for is taken for a torn one.
            if at >= HEADER_LEN && report.torn_bytes == 0 {
                assert_eq!(report.quarantined_records, 1, "the bit at {at} was not noticed");
                assert_eq!(buffer.counts().quarantined_records, 1);
            }
        }
    }
}

#[test]
fn a_damaged_record_of_a_sealed_segment_is_found_when_it_is_read_and_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(2 << 20);
    let whole = closed_in_many_segments(dir.path(), &config);
    let first = dir.path().join("segments").join(segment::file_name(1));
    flip(&first, 1_000);
    let report = ReplayBuffer::verify(dir.path()).unwrap();
    assert!(!report.ok);
    assert_eq!(report.bad_records.len(), 1);
    assert_eq!(
        (report.bad_records[0].path.clone(), report.bad_records[0].sample),
        (first, Some(1))
    );

    let buffer = open(dir.path(), &config);
    for step in 0..20 {
        for drawn in buffer.draw(64, &mut for_step(1, step, 0)).unwrap().samples {
            assert_eq!(whole[&drawn.id], drawn.content);
        }
    }
    assert_eq!(buffer.read(SampleId(1)).unwrap(), None);
    assert_eq!(everything(&buffer).len(), whole.len() - 1);
    assert_eq!(buffer.counts().quarantined_records, 1);
    buffer.close().unwrap();
    let buffer = open(dir.path(), &config);
    assert!(!buffer.is_live(SampleId(1)), "it came back");
}

#[test]
fn a_lost_catalogue_is_rebuilt_from_the_segments() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(1 << 20);
    let whole = closed_in_many_segments(dir.path(), &config);
    let kept = tempfile::tempdir().unwrap();
    copy(dir.path(), kept.path());
    std::fs::remove_dir_all(dir.path().join("catalogue")).unwrap();
    let (rebuilt, report) = ReplayBuffer::open(dir.path(), &config, 7).unwrap();
    assert!(report.rebuilt.is_some());
    assert!(whole.len() < 200, "some were evicted");
    assert_eq!(everything(&rebuilt), whole);
    let kept = open(kept.path(), &config);
    let counts = |buffer: &ReplayBuffer| Counts {
        disk_bytes: 0,
        ..buffer.counts()
    };
    assert_eq!(counts(&rebuilt), counts(&kept));
    assert_eq!(rebuilt.quarantined(), kept.quarantined());
    for buffer in [&rebuilt, &kept] {
        buffer.insert(sources(500..600, 8_000)).unwrap();
    }
    assert_eq!(everything(&rebuilt), everything(&kept), "they evict the same");
    let draw = |buffer: &ReplayBuffer| buffer.draw(32, &mut for_step(3, 4, 0)).unwrap();
    assert_eq!(draw(&rebuilt), draw(&kept));
    rebuilt.close().unwrap();
    let (_, report) = ReplayBuffer::open(dir.path(), &config, 7).unwrap();
    assert_eq!(report.rebuilt, None);
}

#[test]
fn a_damaged_catalogue_costs_time_and_no_data() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(4 << 20);
    let whole = closed_in_many_segments(dir.path(), &config);
    let db = len(&dir.path().join("catalogue/db"));
    let mut rebuilt = 0;
    for turn in 0..24u64 {
        let damaged = tempfile::tempdir().unwrap();
        copy(dir.path(), damaged.path());
        let path = damaged.path().join("catalogue/db");
        for hit in 0..8 {
            flip(
                &path,
                crate::rng::below(&mut for_step(turn, hit, 0), db as usize) as u64,
            );
        }
        let (buffer, report) = ReplayBuffer::open(damaged.path(), &config, 7).unwrap();
        rebuilt += u32::from(report.rebuilt.is_some());
        assert_eq!(everything(&buffer), whole, "turn {turn}");
        assert!((0..200).all(|n| buffer.knows(&source(n, 0).hash)), "turn {turn}");
        buffer.insert(sources(900..901, 100)).unwrap();
        buffer.close().unwrap();
    }
    assert!(rebuilt > 0, "the damage hit nothing");
}

#[test]
fn a_catalogue_of_another_time_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(1 << 20);
    closed_in_many_segments(dir.path(), &config);
    let old = tempfile::tempdir().unwrap();
    copy(&dir.path().join("catalogue"), old.path());
    let buffer = open(dir.path(), &config);
    for round in 20..40u64 {
        buffer.insert(sources(round * 10..round * 10 + 10, 8_000)).unwrap();
    }
    let newest = everything(&buffer);
    buffer.close().unwrap();
    std::fs::remove_dir_all(dir.path().join("catalogue")).unwrap();
    copy(old.path(), &dir.path().join("catalogue"));
    assert_eq!(everything(&open(dir.path(), &config)), newest);
}

#[test]
fn a_kill_during_an_open_does_not_brick_the_catalogue() {
    let dir = tempfile::tempdir().unwrap();
    let whole = closed(dir.path(), &[0..5]);
    std::fs::write(dir.path().join("catalogue/snap.FFFFFFFFFFFFFFF0.generating"), b"").unwrap();
    let (buffer, report) = ReplayBuffer::open(dir.path(), &config(1 << 30), 7).unwrap();
    assert_eq!((everything(&buffer), report.rebuilt), (whole, None));
}

#[test]
fn a_kill_while_a_segment_is_created_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let whole = closed(dir.path(), &[0..5]);
    std::fs::write(dir.path().join("segments").join(segment::file_name(2)), [0; 17]).unwrap();
    assert_eq!(everything(&open(dir.path(), &config(1 << 30))), whole);
}

#[test]
fn a_damaged_footer_or_header_costs_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(4 << 20);
    let whole = closed_in_many_segments(dir.path(), &config);
    for number in [1, 3] {
        let path = dir.path().join("segments").join(segment::file_name(number));
        flip(&path, len(&path) - 40);
        flip(&path, 9);
        flip(&path, 64 + 9);
    }
    std::fs::remove_dir_all(dir.path().join("catalogue")).unwrap();
    assert_eq!(everything(&open(dir.path(), &config)), whole);
}

#[test]
fn bytes_inside_a_payload_can_not_pass_for_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    closed(other.path(), &[0..3]);
    let hostile = std::fs::read(newest_segment(other.path())).unwrap();
    let buffer = open(dir.path(), &config(1 << 30));
    let samples = vec![hostile[HEADER_LEN as usize..].to_vec()];
    buffer
        .insert(vec![NewSource {
            samples,
            ..source(7, 0)
        }])
        .unwrap();
    buffer.insert(sources(8..9, 10)).unwrap();
    buffer.close().unwrap();
    // With its head damaged, the search for the next record goes through the hostile payload.
    flip(&newest_segment(dir.path()), HEADER_LEN + 5);
    let buffer = open(dir.path(), &config(1 << 30));
    let paths: Vec<_> = buffer
        .ids_after(None, 99)
        .iter()
        .map(|id| buffer.info(*id).unwrap().path)
        .collect();
    assert_eq!(paths, ["8.png"]);
}

#[test]
fn segments_of_another_buffer_or_another_version_are_refused_by_name() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    closed(dir.path(), &[0..3]);
    closed(other.path(), &[3..6]);
    let foreign = dir.path().join("segments").join(segment::file_name(9));
    std::fs::copy(newest_segment(other.path()), &foreign).unwrap();
    let error = ReplayBuffer::open(dir.path(), &config(1 << 30), 7)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("seg-00000009.dat") && error.contains("another replay buffer"),
        "{error}"
    );
    std::fs::remove_file(&foreign).unwrap();
    std::fs::copy(newest_segment(dir.path()), &foreign).unwrap();
    let error = ReplayBuffer::open(dir.path(), &config(1 << 30), 7)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("seg-00000009.dat") && error.contains("another number"),
        "{error}"
    );

    let path = newest_segment(other.path());
    let mut bytes = std::fs::read(&path).unwrap();
    for copy in [0, 64] {
        bytes[copy + 8] = 99;
        let crc = crc32c::crc32c(&bytes[copy..copy + 32]);
        bytes[copy + 32..copy + 36].copy_from_slice(&crc.to_le_bytes());
    }
    std::fs::write(&path, bytes).unwrap();
    let error = ReplayBuffer::open(other.path(), &config(1 << 30), 7)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("version 99"), "{error}");
}

#[test]
fn verifying_finds_a_whole_buffer_whole_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let whole = closed_in_many_segments(dir.path(), &config(1 << 20));
    let listing = |dir: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
        let files = ["segments", "catalogue"].map(|folder| std::fs::read_dir(dir.join(folder)).unwrap());
        let paths = files.into_iter().flatten().map(|item| item.unwrap().path());
        paths
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect()
    };
    let before = listing(dir.path());
    let report = ReplayBuffer::verify(dir.path()).unwrap();
    assert!(report.ok, "{report:?}");
    assert_eq!(
        (report.samples, report.sources, report.quarantined),
        (whole.len() as u64, 200, 1)
    );
    assert_eq!(listing(dir.path()), before);
}
