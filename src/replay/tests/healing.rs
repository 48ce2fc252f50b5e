//! What is made good again: lost parts of the log at the next open, a failed catalogue while the buffer is open.

use super::damage::{closed_in_many_segments, len};
use super::*;

/// After damage: the numbers of the sources that are still known are exactly those that are still there, what is left
/// is whole, keeps its visits and its ids, is not repaired twice, and what was lost can be taken again.
fn assert_healed(dir: &Path, config: &ReplayConfig, whole: &BTreeMap<SampleId, Vec<u8>>, drawn: &[SampleId]) {
    assert!(!ReplayBuffer::verify(dir).unwrap().ok, "the damage is seen");
    let (buffer, report) = ReplayBuffer::open(dir, config, 7).unwrap();
    assert!(report.rebuilt.is_some());
    let left = everything(&buffer);
    assert!(
        !left.is_empty() && left.len() < whole.len(),
        "{} of {}",
        left.len(),
        whole.len()
    );
    assert!(left.iter().all(|(id, content)| whole[id] == *content));
    let visits = |id: &SampleId| buffer.info(*id).map_or(0, |info| info.visits);
    let drawn: Vec<_> = drawn.iter().filter(|id| left.contains_key(id)).collect();
    assert!(
        !drawn.is_empty() && drawn.into_iter().all(|id| visits(id) > 0),
        "visits outlast a rebuild"
    );
    drop(buffer);

    let (buffer, report) = ReplayBuffer::open(dir, config, 7).unwrap();
    assert_eq!(
        (report.rebuilt, report.quarantined_records),
        (None, 0),
        "repaired once, and for good"
    );
    let again = buffer.insert(sources(0..200, 8_000)).unwrap();
    let newest = *whole.keys().next_back().unwrap();
    let taken: Vec<_> = again
        .iter()
        .filter_map(|inserted| match inserted {
            Inserted::Accepted { ids } if ids.iter().all(|id| *id > newest) => Some(ids.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(
        taken.len() + left.len(),
        whole.len(),
        "what was lost is taken again, under new ids"
    );
    buffer.close().unwrap();
    let report = ReplayBuffer::verify(dir).unwrap();
    assert!(report.ok, "{report:?}");
}

#[test]
fn a_lost_segment_costs_its_samples_once_and_their_files_are_taken_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(4 << 20);
    let whole = closed_in_many_segments(dir.path(), &config);
    let drawn = drawn(dir.path(), &config);
    std::fs::remove_file(dir.path().join("segments").join(segment::file_name(2))).unwrap();
    assert_healed(dir.path(), &config, &whole, &drawn);
}

#[test]
fn segments_cut_in_half_cost_their_samples_once_and_their_files_are_taken_again() {
    for newest in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let config = config(4 << 20);
        let whole = closed_in_many_segments(dir.path(), &config);
        let drawn = drawn(dir.path(), &config);
        let path = if newest {
            newest_segment(dir.path())
        } else {
            dir.path().join("segments").join(segment::file_name(3))
        };
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(len(&path) / 2).unwrap();
        assert_healed(dir.path(), &config, &whole, &drawn);
    }
}

fn report(buffer: &ReplayBuffer, ids: &[SampleId]) {
    let evidence: Vec<_> = ids.iter().map(|id| Evidence { id: *id, error: 0.5 }).collect();
    buffer.report(&evidence, judge).unwrap();
}

/// Samples of a closed buffer that were drawn.
fn drawn(dir: &Path, config: &ReplayConfig) -> Vec<SampleId> {
    let buffer = open(dir, config);
    let drawn = buffer.draw(64, &mut for_step(3, 4, 0)).unwrap();
    let ids: Vec<_> = drawn.samples.iter().map(|sample| sample.id).collect();
    report(&buffer, &ids);
    buffer.close().unwrap();
    ids
}

#[test]
fn a_catalogue_that_a_full_disk_stopped_goes_on_when_there_is_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"])
        .arg(dir.path())
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: only root can mount a small disk");
        return;
    }
    let outcome = std::panic::catch_unwind(|| fill_and_free(dir.path()));
    let unmounted = std::process::Command::new("umount").arg(dir.path()).status().unwrap();
    assert!(unmounted.success());
    outcome.unwrap();
}

fn fill_and_free(dir: &Path) {
    let store = dir.join("replay");
    let config = config(4 << 20);
    let buffer = open(&store, &config);
    buffer.insert(sources(0..100, 8_000)).unwrap();
    buffer.checkpoint().unwrap();
    let whole = everything(&buffer);
    let filler = dir.join("filler");
    let fill = |bytes: usize| {
        use std::io::Write;
        let mut file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(&filler)
            .unwrap();
        while file.write_all(&vec![1; bytes]).is_ok() {}
    };
    // Signals alone need no room in the segments but for one small record.
    let mut failed = false;
    for step in 0..400 {
        if step % 4 == 0 {
            fill(4_096);
        }
        report(&buffer, &whole.keys().copied().collect::<Vec<_>>());
        failed = failed || (buffer.checkpoint().is_err() && buffer.store.catalogue_failed());
        if failed {
            break;
        }
    }
    assert!(failed, "the catalogue met the full disk");
    assert!(buffer.failure().is_some());
    assert_eq!(everything(&buffer), whole, "samples are served without it");
    std::fs::remove_file(&filler).unwrap();
    let started = std::time::Instant::now();
    while buffer.store.catalogue_failed() && started.elapsed() < std::time::Duration::from_secs(60) {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(buffer.failure(), None);
    buffer.insert(sources(100..150, 8_000)).unwrap();
    assert_eq!(everything(&buffer).len(), 150);
    buffer.close().unwrap();
    let report = ReplayBuffer::verify(&store).unwrap();
    assert!(report.ok, "{report:?}");
    let (_, report) = ReplayBuffer::open(&store, &config, 7).unwrap();
    assert_eq!(report.rebuilt, None);
}
