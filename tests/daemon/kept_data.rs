//! What is kept, moved and repaired by command: archives of the replay buffer, and the quarantine.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::harness::{Site, curiod, files_below, picture, test_data};

fn replay(site: &Site, command: &str, archive: &Path, more: &[&str]) -> Output {
    curiod()
        .args(["replay", command])
        .arg(archive)
        .arg("--config")
        .arg(site.path("curiod.toml"))
        .args(more)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

fn succeeded(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// A stopped daemon that has taken real pictures where there are some, and made ones.
fn a_stopped_daemon(test: &str) -> Site {
    let mut site = Site::new();
    site.drop_pictures(0..30);
    site.drop_file("again/00003.png", &picture(3));
    let mut sources = 30;
    if let Some(data) = test_data(test) {
        let pictures = files_below(&data.join("images/photos"));
        for name in pictures.iter().filter(|name| name.ends_with(".jpg")).take(10) {
            site.drop_file(name, &fs::read(data.join("images/photos").join(name)).unwrap());
            sources += 1;
        }
    }
    site.start();
    site.wait_until("sources_accepted", sources);
    site.wait_until("sources_duplicate", 1);
    assert_eq!(site.stop(), Some(0));
    site
}

#[test]
fn an_archive_of_one_daemon_is_another_daemons_memory() {
    let site = a_stopped_daemon("an_archive_of_one_daemon_is_another_daemons_memory");
    let archive = site.path("a.tar");
    let report = succeeded(&replay(&site, "export", &archive, &["--json"]));
    let sources = report["sources"].as_u64().unwrap();
    assert_eq!(
        (report["samples"].as_u64(), report["duplicates"].as_u64()),
        (Some(sources), Some(1))
    );

    // Through a pipe it is the same, and tar reads it.
    let piped = replay(&site, "export", Path::new("-"), &[]);
    assert!(piped.status.success(), "{}", said(&piped));
    assert!(piped.stdout == fs::read(&archive).unwrap());
    let listed = std::process::Command::new("tar")
        .arg("-tf")
        .arg(&archive)
        .output()
        .unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.status.success());
    assert_eq!(names.lines().count() as u64, sources + 3, "{names}");
    assert!(names.starts_with("curiod-replay.json\nmanifest/000001.jsonl\nsamples/") && names.ends_with("end.json\n"));

    let mut other = Site::new();
    let mut child = curiod()
        .args(["replay", "import", "-", "--json", "--config"])
        .arg(other.path("curiod.toml"))
        .stdin(Stdio::from(fs::File::open(&archive).unwrap()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
    let back = other.path("b.tar");
    succeeded(&replay(&other, "export", &back, &["--json"]));
    assert!(
        fs::read(&back).unwrap() == fs::read(&archive).unwrap(),
        "the second archive differs"
    );

    // The files come along: every one is known, and what is in the buffer can be learnt from.
    for name in files_below(&site.path("in")) {
        let path = other.path("in").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(site.path("in").join(path.strip_prefix(other.path("in")).unwrap()), path).unwrap();
    }
    other.start();
    other.wait_until("generation", 1);
    let stream = other.wait_until("index_covered", sources);
    assert_eq!(
        (stream["sources_accepted"].as_u64(), stream["samples"].as_u64()),
        (Some(sources), Some(sources))
    );
    assert_eq!(stream["sources_duplicate"], 1);
    let refused = replay(&other, "export", &back, &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("in use by another curiod"),
        "{}",
        said(&refused)
    );
}

#[test]
fn an_export_or_import_that_is_killed_can_be_run_again() {
    let site = a_stopped_daemon("an_export_or_import_that_is_killed_can_be_run_again");
    let archive = site.path("a.tar");
    let killed = |order: &str, site: &Site, command: &str, archive: &Path| {
        let done = curiod()
            .args(["replay", command])
            .arg(archive)
            .arg("--config")
            .arg(site.path("curiod.toml"))
            .env("CURIOD_FAULT", order)
            .output()
            .unwrap();
        assert!(!done.status.success(), "{order}: {}", said(&done));
    };
    for order in [
        "durable.write:1:torn",
        "durable.sync:1:kill",
        "durable.rename:1:kill",
        "durable.write:1:enospc",
    ] {
        killed(order, &site, "export", &archive);
        assert!(!archive.exists(), "{order}");
    }
    succeeded(&replay(&site, "export", &archive, &["--json"]));
    let whole = fs::read(&archive).unwrap();
    for order in [
        "replay.append.write:1:torn",
        "replay.append.sync:1:kill",
        "replay.append.write:2:kill",
        "catalogue.samples:1:kill",
    ] {
        let other = Site::new();
        killed(order, &other, "import", &archive);
        succeeded(&replay(&other, "import", &archive, &["--json"]));
        let back = other.path("b.tar");
        succeeded(&replay(&other, "export", &back, &["--json"]));
        assert!(fs::read(&back).unwrap() == whole, "{order}");
    }
}

#[test]
fn a_damaged_archive_is_refused_by_name_and_says_what_is_kept() {
    let site = a_stopped_daemon("a_damaged_archive_is_refused_by_name_and_says_what_is_kept");
    let archive = site.path("a.tar");
    succeeded(&replay(&site, "export", &archive, &["--json"]));
    let whole = fs::read(&archive).unwrap();
    let other = Site::new();
    let bad = other.path("bad.tar");
    for (bytes, words) in [
        (whole[..whole.len() / 2].to_vec(), "cut short"),
        (whole[..whole.len() - 2_000].to_vec(), "cut short"),
        (b"GIF89a".repeat(1_000), "no archive of a replay buffer"),
        ([&whole[..20_000], b"?", &whole[20_001..]].concat(), "damaged after"),
    ] {
        fs::write(&bad, bytes).unwrap();
        let refused = replay(&other, "import", &bad, &[]);
        assert_eq!(refused.status.code(), Some(1));
        let said = said(&refused);
        for word in ["bad.tar", words, "is kept", "hint: "] {
            assert!(said.contains(word), "{said:?} does not say {word:?}");
        }
    }
    // A state without a configuration takes it, too, under a name.
    let state = other.path("fresh");
    let imported = curiod()
        .args(["replay", "import"])
        .arg(&archive)
        .args(["--stream", "pictures", "--state"])
        .arg(&state)
        .output()
        .unwrap();
    assert!(imported.status.success(), "{}", said(&imported));
    let verified = curiod()
        .args(["replay", "verify", "--state"])
        .arg(&state)
        .output()
        .unwrap();
    assert!(
        verified.status.success() && said(&verified).contains("good"),
        "{}",
        said(&verified)
    );
}

#[test]
fn rejected_files_are_listed_read_again_and_dropped_by_command() {
    let mut site = Site::with("[stream.ingest]\nafter = \"move\"\nimage_side_px_max = 20\n");
    site.drop_file("sub/large.png", &picture(1));
    site.drop_file("broken.png", b"rubbish");
    site.start();
    let listed = |site: &Site, count: usize| {
        site.wait_for("the list", |site| {
            let list = site.json(&["quarantine"])?;
            (list.as_array()?.len() == count).then_some(list)
        })
    };
    let list = listed(&site, 2);
    assert_eq!(site.json(&["quarantine", "list"]), Some(list.clone()));
    let folder = site.path("state/streams/pictures/quarantine");
    site.wait_for("the move", |_| (files_below(&folder).len() == 2).then_some(()));

    let unknown = site.admin(&["quarantine", "retry", "nothing.png"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        said(&unknown).contains("`nothing.png` is not in quarantine"),
        "{}",
        said(&unknown)
    );
    assert_eq!(site.admin(&["quarantine", "drop"]).status.code(), Some(2));

    let dropped = site.admin(&["quarantine", "drop", "broken.png"]);
    assert!(dropped.status.success());
    assert!(
        said(&dropped).contains("quarantine/broken.png, and is yours to delete"),
        "{}",
        said(&dropped)
    );
    assert_eq!(files_below(&folder), ["broken.png", "sub/large.png"]);
    listed(&site, 1);

    site.configure("[stream.ingest]\nafter = \"move\"\n");
    assert_eq!(site.stop(), Some(0));
    site.start();
    let retried = site.admin(&["quarantine", "retry", "--all"]);
    assert!(retried.status.success(), "{}", said(&retried));
    let stream = site.wait_until("sources_accepted", 1);
    assert_eq!(stream["sources_quarantined"], 0);
    site.wait_for("the file to be done", |site| {
        (files_below(&site.path("state/streams/pictures/done")) == ["sub/large.png"]).then_some(())
    });
}
