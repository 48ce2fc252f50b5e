//! A child process is killed with SIGKILL at random moments; what it acknowledged must be there.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use super::*;

const CHILD_DIR: &str = "CURIOD_TEST_CHILD_DIR";
const CHILD_BYTES_MAX: &str = "CURIOD_TEST_CHILD_BYTES_MAX";
const BATCH: u64 = 4;

fn child_config(bytes_max: u64) -> ReplayConfig {
    ReplayConfig {
        recent_samples: 8,
        ..config(bytes_max)
    }
}

/// The part of a child, where this test was started as one: goes on inserting, and notes what was acknowledged.
#[test]
fn a_child_inserts_until_it_is_killed() {
    let (Ok(dir), Ok(bytes_max)) = (std::env::var(CHILD_DIR), std::env::var(CHILD_BYTES_MAX)) else {
        return;
    };
    let dir = Path::new(&dir);
    std::fs::write(dir.join("started"), "").unwrap();
    let buffer = open(&dir.join("replay"), &child_config(bytes_max.parse().unwrap()));
    let mut acknowledged = std::fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join("acknowledged"))
        .unwrap();
    for batch in buffer.counts().sources_accepted / BATCH.. {
        let verdicts = buffer
            .insert(sources(batch * BATCH..(batch + 1) * BATCH, 3_000))
            .unwrap();
        assert!(
            verdicts
                .iter()
                .all(|verdict| matches!(verdict, Inserted::Accepted { .. }))
        );
        acknowledged.write_all(format!("{batch}\n").as_bytes()).unwrap();
        if batch % 7 == 0 {
            let draw = buffer.draw(16, &mut for_step(1, batch, 0)).unwrap();
            let evidence = draw.samples.iter().map(|drawn| Evidence {
                id: drawn.id,
                error: 1.0,
            });
            buffer.report(&evidence.collect::<Vec<_>>(), judge).unwrap();
        }
        if batch % 11 == 0 {
            buffer.checkpoint().unwrap();
        }
    }
}

fn child(dir: &Path, bytes_max: u64, through: Option<&str>) -> Command {
    let exe = std::env::current_exe().unwrap();
    let mut command = match through {
        None => Command::new(&exe),
        Some(script) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]).arg(&exe);
            shell
        }
    };
    command
        .args(["--exact", "replay::tests::kills::a_child_inserts_until_it_is_killed"])
        .env(CHILD_DIR, dir)
        .env(CHILD_BYTES_MAX, bytes_max.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// The batches that a child noted as acknowledged.
fn acknowledged(dir: &Path) -> BTreeSet<u64> {
    let notes = std::fs::read_to_string(dir.join("acknowledged")).unwrap_or_default();
    notes.lines().map(|line| line.parse().unwrap()).collect()
}

/// The numbers of the live sources; each must be there once, with the content it came with.
fn live_numbers(buffer: &ReplayBuffer) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    for (id, found) in everything(buffer) {
        let path = buffer.info(id).unwrap().path;
        let number = path.strip_suffix(".png").unwrap().parse().unwrap();
        assert_eq!(found, content(number, 3_000), "sample {id} is not what was inserted");
        assert!(numbers.insert(number), "{path} is there twice");
    }
    numbers
}

fn killed(dir: &Path, bytes_max: u64, moment: u64) {
    let mut child = child(dir, bytes_max, None).spawn().unwrap();
    // Until the child has loaded its libraries there is nothing to interrupt.
    while std::fs::remove_file(dir.join("started")).is_err() {
        assert!(child.try_wait().unwrap().is_none(), "the child ended before it began");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(moment));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn nothing_acknowledged_is_lost_in_twenty_four_kills() {
    let dir = tempfile::tempdir().unwrap();
    for turn in 0..24u64 {
        // Some kills come while the buffer is being opened, which takes some ten milliseconds.
        killed(
            dir.path(),
            1 << 30,
            crate::rng::below(&mut for_step(1, turn, 0), 160) as u64,
        );
        if turn % 3 == 2 {
            let report = ReplayBuffer::verify(&dir.path().join("replay")).unwrap();
            assert!(report.ok, "{report:?}");
            let buffer = open(&dir.path().join("replay"), &child_config(1 << 30));
            let live = live_numbers(&buffer);
            let batches = acknowledged(dir.path());
            assert!(
                batches
                    .iter()
                    .all(|batch| (batch * BATCH..(batch + 1) * BATCH).all(|n| live.contains(&n)))
            );
            assert_eq!(live.len() as u64 % BATCH, 0, "a part of a batch is there");
            assert_eq!(buffer.counts().sources_accepted, live.len() as u64);
        }
    }
    assert!(acknowledged(dir.path()).len() > 24, "the children did nothing");
}

#[test]
fn a_buffer_that_evicts_and_compacts_survives_kills() {
    let dir = tempfile::tempdir().unwrap();
    const CAPACITY: u64 = 1 << 20;
    for turn in 0..24u64 {
        killed(
            dir.path(),
            CAPACITY,
            30 + crate::rng::below(&mut for_step(2, turn, 0), 200) as u64,
        );
        if turn % 3 == 2 {
            let buffer = open(&dir.path().join("replay"), &child_config(CAPACITY));
            let live = live_numbers(&buffer);
            assert!(buffer.counts().bytes <= CAPACITY);
            let batches = acknowledged(dir.path());
            for number in batches.iter().flat_map(|batch| batch * BATCH..(batch + 1) * BATCH) {
                assert!(
                    buffer.knows(&source(number, 0).hash),
                    "the source {number} was forgotten"
                );
            }
            let newest = batches.last().map_or(0, |batch| batch * BATCH);
            assert!(live.contains(&newest), "the newest sample is gone");
            buffer.close().unwrap();
            let report = ReplayBuffer::verify(&dir.path().join("replay")).unwrap();
            assert!(report.ok, "{report:?}");
        }
    }
    let segments = segment::list(&dir.path().join("replay/segments")).unwrap();
    assert!(!segments.contains_key(&1), "nothing was compacted");
}

#[test]
fn a_full_disk_refuses_a_batch_and_keeps_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    // Files may grow to some MiB only: the write that would go beyond is cut short and fails, as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 6000; exec \"$0\" \"$@\"";
    let status = child(dir.path(), 1 << 30, Some(script)).status().unwrap();
    assert!(!status.success(), "the child was told that its disk is full");
    let batches = acknowledged(dir.path());
    assert!(batches.len() > 50, "{} batches were taken", batches.len());
    let buffer = open(&dir.path().join("replay"), &child_config(1 << 30));
    let live = live_numbers(&buffer);
    assert_eq!(live, (0..batches.len() as u64 * BATCH).collect());
    buffer.insert(sources(1_000_000..1_000_001, 3_000)).unwrap();
}
