//! Files that can not be stored in a repository: links, pipes, odd names, slow writers, holes. Each is made here from the
//! list in the test data, with a picture for its content, and ends where the list says.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Site, files_below, picture, test_data};

const DONE: &str = "state/streams/pictures/done";
const QUARANTINE: &str = "state/streams/pictures/quarantine";

/// A picture of nobody's inbox that a link leads to.
const SECRET: u32 = 4_000;

#[test]
fn odd_files_are_taken_once_or_passed_over_and_nothing_outside_the_inbox_is_read() {
    let Some(data) = test_data("odd_files_are_taken_once_or_passed_over") else {
        return;
    };
    let expected: Value = serde_json::from_slice(&fs::read(data.join("bad/expected.json")).unwrap()).unwrap();
    let cases = expected["make_at_test_time"].as_array().unwrap();
    // Settled for longer than the slow writer pauses.
    let mut site = Site::with("[stream.ingest]\nafter = \"move\"\nsettle_ms = 1000\n");
    fs::create_dir(site.path("outside")).unwrap();
    fs::write(site.path("outside/secret.txt"), picture(SECRET)).unwrap();
    site.start();
    let mut taken = 0;
    let mut duplicates = 0;
    for (number, case) in (5_000..).step_by(10).zip(cases) {
        (taken, duplicates) = {
            let (more, copies) = make(&site, case, number);
            (taken + more, duplicates + copies)
        };
    }
    site.wait_until("sources_accepted", taken);
    let stream = site.wait_until("sources_duplicate", duplicates);
    site.wait_for("the slow, the large and the deep file to be gone", |site| {
        let left = files_below(&site.path("in"));
        let passed_over = ["link_to_outside.txt", "dangling.jpg", "loop", "pipe.txt", ".hidden.txt"];
        (left.len() == passed_over.len() && passed_over.iter().all(|name| left.iter().any(|file| file == name)))
            .then_some(())
    });
    assert_eq!(stream["sources_duplicate"], duplicates, "{stream}");
    assert!(
        stream["sources_accepted"] == taken || stream["sources_accepted"] == taken + 1,
        "{stream}"
    );
    let rejected = site.quarantined();
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    assert_eq!(rejected["sparse_8gib.csv"]["reason"], "limits");
    assert_eq!(files_below(&site.path(QUARANTINE)), ["sparse_8gib.csv"]);
    let secret = blake3::hash(&picture(SECRET));
    for file in files_below(&site.path(DONE)) {
        let bytes = fs::read(site.path(DONE).join(&file)).unwrap_or_default();
        assert_ne!(blake3::hash(&bytes), secret, "{file} is what the link led to");
    }
    assert_eq!(fs::read(site.path("outside/secret.txt")).unwrap(), picture(SECRET));
    // A line end in a name does not make two lines of one.
    let log = site.log();
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(site.stop(), Some(0));
}

/// Makes a case's files and looks where they go; returns how many sources and how many duplicates they are.
fn make(site: &Site, case: &Value, number: u32) -> (u64, u64) {
    let inbox = site.path("in");
    let named = |name: &OsStr, number: u32| {
        let made = site.path("made");
        fs::write(&made, picture(number)).unwrap();
        fs::rename(made, inbox.join(name)).unwrap();
    };
    let text = |key: &str| case[key].as_str().unwrap();
    match text("kind") {
        "symlink" => {
            std::os::unix::fs::symlink(text("target"), inbox.join(text("name"))).unwrap();
            (0, 0)
        }
        "fifo" => {
            assert!(
                Command::new("mkfifo")
                    .arg(inbox.join(text("name")))
                    .status()
                    .unwrap()
                    .success()
            );
            (0, 0)
        }
        "mode" => {
            // That modes hold the daemon back is another test's matter: root is not held back.
            let mode = u32::from_str_radix(text("mode"), 8).unwrap() | 0o400;
            let made = site.path("made");
            fs::write(&made, picture(number)).unwrap();
            fs::set_permissions(&made, PermissionsExt::from_mode(mode)).unwrap();
            fs::rename(made, inbox.join(text("name"))).unwrap();
            (1, 0)
        }
        "name" | "rename_in" => {
            named(OsStr::new(text("name")), number);
            (u64::from(case["expect"] == "accept"), 0)
        }
        "name_bytes" => {
            let hex = text("name_hex").as_bytes().chunks(2);
            let bytes = hex.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
            let name = OsString::from_vec(bytes.collect());
            named(&name, number);
            site.wait_for("the file without a UTF-8 name", |site| {
                let done = fs::read_dir(site.path(DONE)).into_iter().flatten().flatten();
                done.map(|entry| entry.file_name()).find(|found| *found == name)
            });
            (1, 0)
        }
        "slow_write" => {
            write_slowly(&inbox.join(text("name")), case, &picture(number));
            (1, 0)
        }
        "delete_early" => {
            fs::write(inbox.join(text("name")), picture(number)).unwrap();
            std::thread::sleep(Duration::from_millis(10));
            let was_early = fs::remove_file(inbox.join(text("name"))).is_ok();
            // Too late is another case: it was taken.
            (u64::from(!was_early), 0)
        }
        "rewrite" => {
            for version in 0..2 {
                named(OsStr::new(text("name")), number + version);
                site.wait_for("the version to be taken", |_| {
                    (!inbox.join(text("name")).exists()).then_some(())
                });
            }
            (2, 0)
        }
        "copies" => {
            let count = case["count"].as_u64().unwrap();
            for copy in 0..count {
                let name = text("name_pattern").replace("%02d", &format!("{copy:02}"));
                named(OsStr::new(&name), number);
            }
            (1, count - 1)
        }
        "sparse" => {
            let file = fs::File::create(inbox.join(text("name"))).unwrap();
            file.set_len(case["size"].as_u64().unwrap()).unwrap();
            (0, 0)
        }
        // The crowds have tests of their own.
        "many" => (0, 0),
        "many_folders" => {
            let folder = inbox.join("d/".repeat(case["depth"].as_u64().unwrap() as usize));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(text("leaf")), picture(number)).unwrap();
            (1, 0)
        }
        kind => panic!("nobody knows how to make {kind}"),
    }
}

/// Writes a file in so many pieces with pauses between.
fn write_slowly(path: &Path, case: &Value, bytes: &[u8]) {
    use std::io::Write;
    let chunks = case["chunks"].as_u64().unwrap() as usize;
    let pause = Duration::from_secs_f64(case["seconds_between"].as_f64().unwrap());
    let mut file = fs::File::create(path).unwrap();
    for chunk in bytes.chunks(bytes.len().div_ceil(chunks)) {
        file.write_all(chunk).unwrap();
        std::thread::sleep(pause);
    }
}
