//! What is kept: through kills, torn writes and damage.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::ids::SourceHash;
use crate::labels::log::{self, Entry};
use crate::labels::*;
use crate::rng;

const CHILD_DIR: &str = "CURIOD_TEST_LABELS_DIR";

fn key(number: u64) -> LabelKey {
    LabelKey {
        source: SourceHash::of(&number.to_le_bytes()),
        part: number.is_multiple_of(3).then_some(number as u32),
    }
}

fn change(number: u64, class: Option<&str>) -> Change {
    Change {
        key: key(number),
        class: class.map(|class| class.parse().unwrap()),
    }
}

fn name(name: &str) -> SetName {
    name.parse().unwrap()
}

/// Set `animals`: the class of each number below `below` that has one.
fn classes(store: &LabelStore, below: u64) -> Vec<Option<String>> {
    let set = store.set(&name("animals"));
    let class = |number| set.labels().get(&key(number)).map(|class| class.to_string());
    (0..below).map(class).collect()
}

fn log_of(dir: &Path) -> std::path::PathBuf {
    dir.join("labels.log")
}

#[test]
fn a_log_of_the_version_before_is_read_and_written_anew_only_where_it_must() {
    let dir = tempfile::tempdir().unwrap();
    let (set, animal) = (name("animals"), [change(0, Some("cat"))]);
    {
        let store = LabelStore::open(dir.path()).unwrap();
        let _ = store.apply(&set, &animal).unwrap();
        store.keep_head(&set, HeadKind::Frozen).unwrap();
    }
    // Nothing in it is of the version after, so that it differs in its number alone.
    let mut bytes = std::fs::read(log_of(dir.path())).unwrap();
    assert_eq!(bytes[7], 2);
    bytes[7] = 1;
    std::fs::write(log_of(dir.path()), &bytes).unwrap();
    let version = || std::fs::read(log_of(dir.path())).unwrap()[7];
    {
        let store = LabelStore::open(dir.path()).unwrap();
        let _ = store.apply(&set, &[change(1, Some("dog"))]).unwrap();
        assert_eq!(version(), 1, "the version before reads it still");
        store.keep_head(&set, HeadKind::Finetuned).unwrap();
        assert_eq!(version(), 2);
    }
    let store = LabelStore::open(dir.path()).unwrap();
    assert_eq!(classes(&store, 2), [Some("cat".to_owned()), Some("dog".to_owned())]);
    assert!(store.heads().into_iter().eq([(set.clone(), HeadKind::Finetuned)]));
    store.keep_head(&set, HeadKind::Frozen).unwrap();
    drop(store);
    let store = LabelStore::open(dir.path()).unwrap();
    assert!(
        store.heads().into_iter().eq([(set, HeadKind::Frozen)]),
        "the last kind counts"
    );
}

#[test]
fn labels_are_replaced_removed_and_there_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = LabelStore::open(dir.path()).unwrap();
    assert!(!log_of(dir.path()).exists(), "nothing was given yet");
    let set = name("animals");
    let given = [change(0, Some("cat")), change(1, Some("dog")), change(2, Some("cat"))];
    assert_eq!(store.apply(&set, &given).unwrap(), [Ok(Changed::Added); 3]);
    let again = [
        change(0, Some("cat")),
        change(1, Some("cat")),
        change(2, None),
        change(4, None),
    ];
    let done = store.apply(&set, &again).unwrap();
    assert_eq!(
        done,
        [
            Changed::Unchanged,
            Changed::Replaced,
            Changed::Removed,
            Changed::Unchanged
        ]
        .map(Ok)
    );
    store.apply(&name("others"), &[change(0, Some("böse Katze"))]).unwrap();
    store.keep_head(&set, HeadKind::Frozen).unwrap();
    let expected = [Some("cat".to_owned()), Some("cat".to_owned()), None, None];
    for _ in 0..2 {
        drop(LabelStore::open(dir.path()).unwrap());
    }
    let store = LabelStore::open(dir.path()).unwrap();
    assert_eq!(classes(&store, 4), expected);
    assert!(store.heads().into_iter().eq([(set.clone(), HeadKind::Frozen)]));
    assert_eq!(store.sets().len(), 2);
    assert_eq!(store.set(&set).classes().values().copied().collect::<Vec<_>>(), [2]);
    let _ = store.apply(&set, &[change(0, None), change(1, None)]).unwrap();
    assert_eq!(store.sets().len(), 1, "a set without labels is none");
    assert!(store.heads().is_empty(), "nor is a classifier of it fitted any more");
    store.close();
    let late = store.apply(&set, &[change(0, Some("cat"))]);
    assert!(matches!(late, Err(LabelError::Closed)) && store.keep_head(&name("others"), HeadKind::Frozen).is_err());
}

#[test]
fn a_log_of_labels_that_changed_often_is_written_anew_and_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = LabelStore::open(dir.path()).unwrap();
    let (set, long) = (name("animals"), "x".repeat(CLASS_CHARS_MAX));
    for round in 0..40 {
        let class = format!("{}{round:02}", &long[2..]);
        let all: Vec<Change> = (0..300).map(|number| change(number, Some(&class))).collect();
        store.apply(&set, &all).unwrap();
    }
    let bytes = std::fs::metadata(log_of(dir.path())).unwrap().len();
    assert!(bytes < 40 * 300 * 200 / 2, "{bytes} bytes");
    let before = classes(&store, 300);
    assert_eq!(classes(&LabelStore::open(dir.path()).unwrap(), 300), before);
    assert!(before[7].as_ref().unwrap().ends_with("39"));
}

#[test]
fn a_set_takes_ten_thousand_classes_and_refuses_the_next_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = LabelStore::open(dir.path()).unwrap();
    let many: Vec<Change> = (0..CLASSES_MAX as u64 + 1)
        .map(|n| change(n, Some(&format!("class {n}"))))
        .collect();
    let done = store.apply(&name("animals"), &many).unwrap();
    assert!(done[..CLASSES_MAX].iter().all(|done| *done == Ok(Changed::Added)));
    assert_eq!(done[CLASSES_MAX], Err(Refused::TooManyClasses));
    assert_eq!(store.set(&name("animals")).labels().len(), CLASSES_MAX);
}

#[test]
fn names_that_can_not_be_shown_or_told_apart_are_refused() {
    for bad in ["", " cat", "cat ", "a\nb", "a\u{0}", &"x".repeat(201)] {
        assert!(bad.parse::<ClassName>().is_err(), "{bad:?}");
    }
    assert!("ä".repeat(200).parse::<ClassName>().is_ok());
    for bad in ["", "A", "a b", "-a", &"x".repeat(65)] {
        assert!(bad.parse::<SetName>().is_err(), "{bad:?}");
    }
    let key = key(3);
    assert_eq!(key.to_string().parse(), Ok(key));
}

#[test]
fn what_was_kept_before_and_behind_a_damaged_record_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = LabelStore::open(dir.path()).unwrap();
    let set = name("animals");
    let mut ends = Vec::new();
    for number in 0..5 {
        store.apply(&set, &[change(number, Some("cat"))]).unwrap();
        ends.push(std::fs::metadata(log_of(dir.path())).unwrap().len() as usize);
    }
    drop(store);
    let whole = std::fs::read(log_of(dir.path())).unwrap();
    // Each byte of the third record in turn: its mark, its length, its checksum, its payload.
    for at in ends[1]..ends[2] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(log_of(dir.path()), &bytes).unwrap();
        let store = LabelStore::open(dir.path()).unwrap();
        let kept: Vec<bool> = classes(&store, 5).iter().map(Option::is_some).collect();
        assert_eq!(kept, [true, true, false, true, true], "byte {at}");
        assert_eq!(std::fs::read(dir.path().join("labels.damaged")).unwrap(), bytes);
        // What was read is whole again, and can be added to.
        store.apply(&set, &[change(2, Some("dog"))]).unwrap();
        drop(store);
        let store = LabelStore::open(dir.path()).unwrap();
        assert_eq!(classes(&store, 5)[2].as_deref(), Some("dog"));
    }
    std::fs::write(log_of(dir.path()), b"something else").unwrap();
    assert!(LabelStore::open(dir.path()).is_err());
}

#[test]
fn a_batch_that_was_torn_is_absent_and_the_next_takes_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = LabelStore::open(dir.path()).unwrap();
    let set = name("animals");
    store.apply(&set, &[change(0, Some("cat"))]).unwrap();
    let whole = std::fs::read(log_of(dir.path())).unwrap().len();
    store
        .apply(&set, &[change(1, Some("dog")), change(2, Some("dog"))])
        .unwrap();
    drop(store);
    let bytes = std::fs::read(log_of(dir.path())).unwrap();
    for len in whole..bytes.len() {
        std::fs::write(log_of(dir.path()), &bytes[..len]).unwrap();
        let store = LabelStore::open(dir.path()).unwrap();
        assert_eq!(classes(&store, 3), [Some("cat".to_owned()), None, None], "{len} bytes");
        store.apply(&set, &[change(2, Some("hen"))]).unwrap();
        drop(store);
        let again = LabelStore::open(dir.path()).unwrap();
        assert_eq!(classes(&again, 3)[2].as_deref(), Some("hen"), "{len} bytes");
        assert!(!dir.path().join("labels.damaged").exists());
    }
}

#[test]
fn any_bytes_are_read_to_their_end() {
    use rand_core::RngCore;
    let mut rng = rng::for_step(1, 0, 0);
    for len in 0..400 {
        let mut bytes = vec![0; len];
        rng.fill_bytes(&mut bytes);
        for at in (0..len.saturating_sub(12)).step_by(37) {
            bytes[at..at + 4].copy_from_slice(b"LREC");
            bytes[at + 4..at + 8].copy_from_slice(&(len as u32 / 7).to_le_bytes());
        }
        let reading = log::read(&bytes);
        assert_eq!(reading.entries, Vec::<Entry>::new());
    }
}

/// The part of a child: goes on giving labels, and notes what was acknowledged.
#[test]
fn a_child_labels_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let dir = Path::new(&dir);
    let Ok(store) = LabelStore::open(&dir.join("labels")) else {
        return;
    };
    let note = || {
        std::fs::File::options()
            .create(true)
            .append(true)
            .open(dir.join("notes"))
    };
    let mut notes = note().unwrap();
    let first = store.set(&name("animals")).labels().len() as u64 / 4;
    for batch in first..first + 200 {
        let given: Vec<Change> = (4 * batch..4 * batch + 4).map(|n| change(n, Some("cat"))).collect();
        // What fails is not acknowledged, and is given again.
        while store.apply(&name("animals"), &given).is_err() {}
        notes.write_all(format!("{batch}\n").as_bytes()).unwrap();
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_a_death_at_any_step_of_writing() {
    for order in [
        "labels.write:3:kill",
        "labels.write:2:torn",
        "labels.write:5:cut",
        "labels.sync:1:cut",
        "labels.sync:4:cut",
        "labels.write:2:short,labels.sync:4:kill",
        "labels.write:2:enospc,labels.cut:1:eio,labels.sync:6:cut",
        "labels.sync:3:eio,labels.write:7:torn",
        "durable.write:1:torn",
        "durable.rename:1:cut",
        "durable.sync_dir:1:cut",
    ] {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..3 {
            let is_first = !log_of(&dir.path().join("labels")).exists();
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "labels::tests::keeping::a_child_labels_until_it_is_killed"])
                .env(CHILD_DIR, dir.path())
                .env("CURIOD_FAULT", order)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            let store = LabelStore::open(&dir.path().join("labels")).unwrap();
            let labels = store.set(&name("animals")).labels().len() as u64;
            let notes = std::fs::read_to_string(dir.path().join("notes")).unwrap_or_default();
            let acknowledged = notes.lines().count() as u64;
            assert!(
                labels == 4 * acknowledged || labels == 4 * acknowledged + 4,
                "{order}, round {round}: {labels} labels, {acknowledged} batches"
            );
            assert!(
                !dir.path().join("labels/labels.damaged").exists(),
                "{order}, round {round}"
            );
            // A log is written as a whole only where there is none yet.
            let is_reached = is_first || order.starts_with("labels.");
            assert_eq!(child.success(), !is_reached, "{order}, round {round}");
            if labels > 4 * acknowledged {
                // Durable but not acknowledged: as good as given.
                std::fs::write(dir.path().join("notes"), "x\n".repeat(labels as usize / 4)).unwrap();
            }
        }
    }
}
