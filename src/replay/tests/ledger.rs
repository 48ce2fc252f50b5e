//! Sources, duplicates, quarantine and files that were seen.

use super::*;

#[test]
fn what_was_inserted_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config(1 << 30));
    let inserted = buffer.insert(sources(0..10, 1_000)).unwrap();
    let ids: Vec<_> = (1..=10).map(SampleId).collect();
    let accepted = |id: &SampleId| Inserted::Accepted { ids: vec![*id] };
    assert_eq!(inserted, ids.iter().map(accepted).collect::<Vec<_>>());
    let before = everything(&buffer);
    assert_eq!(before[&SampleId(4)], content(3, 1_000));
    let counts = buffer.counts();
    buffer.close().unwrap();

    let buffer = open(dir.path(), &config(1 << 30));
    assert_eq!(everything(&buffer), before);
    assert_eq!(
        Counts {
            disk_bytes: 0,
            ..buffer.counts()
        },
        Counts {
            disk_bytes: 0,
            ..counts
        }
    );
    let info = buffer.info(SampleId(5)).unwrap();
    assert_eq!((info.path.as_str(), info.source), ("4.png", source(4, 0).hash));
    assert_eq!(
        (info.taken_at, info.bytes, info.exam, info.visits),
        (Timestamp(4), 1_000, false, 0)
    );
    assert_eq!(info.error, None);
}

#[test]
fn a_source_of_many_samples_is_one_source() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config(1 << 30));
    let many = NewSource {
        samples: (0..5).map(|n| content(n, 10)).collect(),
        ..source(1, 0)
    };
    buffer.insert(vec![many]).unwrap();
    let counts = buffer.counts();
    assert_eq!(
        (
            counts.sources_accepted,
            counts.samples,
            counts.inserted_samples,
            counts.bytes
        ),
        (1, 5, 5, 50)
    );
    let sources: std::collections::BTreeSet<_> = (1..=5).map(|id| buffer.info(SampleId(id)).unwrap().source).collect();
    assert_eq!(sources.len(), 1);
}

#[test]
fn the_same_content_under_another_path_is_a_duplicate_and_counted_once_for_each_path() {
    let dir = tempfile::tempdir().unwrap();
    let under = |path: &str| NewSource {
        path: path.into(),
        ..source(1, 100)
    };
    let buffer = open(dir.path(), &config(1 << 30));
    let first = buffer.insert(vec![under("a"), under("b")]).unwrap();
    assert_eq!(first[1], Inserted::Duplicate);
    assert_eq!(
        buffer.insert(vec![under("b"), under("c")]).unwrap(),
        [Inserted::Duplicate, Inserted::Duplicate]
    );
    let again = buffer.insert(vec![under("a")]).unwrap();
    assert_eq!(
        again[0], first[0],
        "a file whose acknowledgement was lost is the same source"
    );
    buffer.close().unwrap();
    let buffer = open(dir.path(), &config(1 << 30));
    assert_eq!(buffer.insert(vec![under("c")]).unwrap(), [Inserted::Duplicate]);
    let counts = buffer.counts();
    assert_eq!(
        (counts.sources_accepted, counts.sources_duplicate, counts.samples),
        (1, 2, 1)
    );
}

#[test]
fn a_file_in_quarantine_is_listed_until_it_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config(1 << 30));
    buffer
        .record_quarantines(vec![quarantined("b"), quarantined("a")])
        .unwrap();
    buffer.record_quarantine(quarantined("c")).unwrap();
    buffer
        .record_quarantine(QuarantineEntry {
            bytes: 7,
            ..quarantined("a")
        })
        .unwrap();
    assert!(buffer.drop_quarantine("b").unwrap());
    assert!(!buffer.drop_quarantine("b").unwrap());
    let expected = [
        QuarantineEntry {
            bytes: 7,
            ..quarantined("a")
        },
        quarantined("c"),
    ];
    assert_eq!(buffer.quarantined(), expected);
    buffer.close().unwrap();
    let buffer = open(dir.path(), &config(1 << 30));
    assert_eq!(buffer.quarantined(), expected);
    assert_eq!(buffer.counts().sources_quarantined, 2);
}

#[test]
fn a_quarantine_entry_is_written_as_the_command_line_promises() {
    let json = serde_json::to_value(quarantined("a.png")).unwrap();
    assert_eq!(json["at"], "2023-11-14T22:13:20.123Z");
    let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["at", "bytes", "detail", "path", "reason", "source"]);
    assert_eq!(
        serde_json::from_value::<QuarantineEntry>(json).unwrap(),
        quarantined("a.png")
    );
}

#[test]
fn a_file_that_was_seen_is_remembered_until_it_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let file = SeenFile {
        dev: 1,
        inode: 2,
        size: 3,
        mtime_ns: -4,
    };
    let buffer = open(dir.path(), &config(1 << 30));
    let path = b"not \xff utf-8".to_vec();
    buffer
        .record_seen(&[
            (path.clone(), file, FileVerdict::Duplicate),
            (b"b".to_vec(), file, FileVerdict::Quarantined),
        ])
        .unwrap();
    buffer.forget_seen(b"b").unwrap();
    buffer.close().unwrap();
    let buffer = open(dir.path(), &config(1 << 30));
    assert_eq!(buffer.seen(&path), Some((file, FileVerdict::Duplicate)));
    assert_eq!(buffer.seen(b"b"), None);
}

#[test]
fn who_waits_for_a_change_is_told_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = Arc::new(open(dir.path(), &config(10_000)));
    let before = buffer.changes();
    let waiting = Arc::clone(&buffer);
    let waiter = std::thread::spawn(move || waiting.wait_for_change(before, Duration::from_secs(60)));
    buffer.insert(sources(0..30, 1_000)).unwrap();
    assert_ne!(waiter.join().unwrap(), before);
    let evicted = buffer.evicted_since(before.1).unwrap();
    let live = buffer.ids_after(None, usize::MAX);
    assert_eq!(evicted.len() + live.len(), 30);
    assert!(
        evicted
            .iter()
            .all(|id| !buffer.is_live(*id) && buffer.info(*id).is_none())
    );
    assert_eq!(buffer.read(evicted[0]).unwrap(), None);
}

#[test]
fn the_newest_id_is_that_of_the_newest_sample_however_many_were_inserted() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config(1 << 20));
    assert_eq!(buffer.newest(), SampleId(0));
    let mut empty = source(0, 10);
    empty.samples.clear();
    buffer.insert(vec![empty]).unwrap();
    buffer.insert(sources(1..4, 10)).unwrap();
    let newest = *buffer.ids_after(None, 10).last().unwrap();
    assert_eq!((buffer.newest(), buffer.counts().inserted_samples), (newest, 3));
    drop(buffer);
    assert_eq!(reopen(dir.path(), &config(1 << 20)).newest(), newest);
}
