//! What an administrator sees of what goes wrong around the daemon, and that it goes on by itself when that is over.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::harness::{Site, curiod, picture};

/// A command that starts the daemon under another one, such as `setpriv`.
fn curiod_under(program: &str, arguments: &[&str]) -> Command {
    let inner = curiod();
    let mut command = Command::new(program);
    command.args(arguments).arg(inner.get_program());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Whether this machine lets a command be run, as one that needs privileges.
fn works(program: &str, arguments: &[&str]) -> bool {
    let run = Command::new(program)
        .args(arguments)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .status();
    run.is_ok_and(|status| status.success())
}

/// A small disk, mounted until it is dropped.
struct Mounted<'a>(&'a str);

impl<'a> Mounted<'a> {
    /// None where this user may not mount.
    fn at(folder: &'a str, mib: u32) -> Option<Self> {
        let size = format!("size={mib}m");
        works("mount", &["-t", "tmpfs", "-o", &size, "curiod-test", folder]).then_some(Self(folder))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Lazily, as a drive that is pulled out: the daemon may have it open.
        assert!(works("umount", &["-l", self.0]));
    }
}

/// The log's first line that holds this.
fn logged(site: &Site, what: &str) -> Option<String> {
    site.log().lines().find(|line| line.contains(what)).map(str::to_owned)
}

/// The value of a line of `/metrics`.
fn metric(site: &Site, name: &str) -> Option<f64> {
    let text = site.get("/metrics")?;
    let line = text.as_str()?.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn accepted(site: &Site) -> Option<u64> {
    site.stream()?["sources_accepted"].as_u64()
}

fn is_present(site: &Site, present: bool) -> Option<()> {
    (site.stream()?["inboxes"][0]["present"] == present).then_some(())
}

#[test]
fn an_inbox_that_vanishes_is_told_everywhere_and_taken_from_when_it_is_back() {
    let mut site = Site::new();
    site.drop_pictures(0..1);
    site.start();
    site.wait_until("sources_accepted", 1);
    assert_eq!(metric(&site, "curiod_inbox_present{"), Some(1.0));
    let mut follower = Command::new("curl")
        .args(["-sN", "--max-time", "200", "-o"])
        .arg(site.path("events"))
        .arg(format!("{}/api/v1/events", site.url()))
        .spawn()
        .unwrap();

    fs::rename(site.path("in"), site.path("elsewhere")).unwrap();
    site.wait_for("the loss to be told", |site| is_present(site, false));
    assert_eq!(metric(&site, "curiod_inbox_present{"), Some(0.0));
    let line = site.wait_for("the loss to be logged", |site| logged(site, "the inbox is gone"));
    assert!(
        line.contains("WARN") && line.contains("hint") && line.contains("mount or make it again"),
        "{line}"
    );
    let shown = String::from_utf8(site.client(&["status"]).stdout).unwrap();
    assert!(shown.contains("/in is gone"), "{shown}");

    fs::rename(site.path("elsewhere"), site.path("in")).unwrap();
    site.drop_pictures(1..3);
    site.wait_until("sources_accepted", 3);
    assert_eq!(is_present(&site, true), Some(()));
    assert_eq!(metric(&site, "curiod_inbox_present{"), Some(1.0));
    site.wait_for("both events", |site| {
        let events = fs::read_to_string(site.path("events")).unwrap_or_default();
        (events.contains("inbox_gone") && events.contains("inbox_back")).then_some(())
    });
    assert_eq!(site.stop(), Some(0));
    let _ = follower.kill();
    follower.wait().unwrap();
}

#[test]
fn an_inbox_that_is_unmounted_is_gone_until_it_is_mounted_again() {
    let mut site = Site::new();
    let inbox = site.path("in");
    let inbox = inbox.to_str().unwrap();
    let Some(mounted) = Mounted::at(inbox, 1) else {
        eprintln!("skipped: this user may not mount");
        return;
    };
    site.drop_pictures(0..1);
    site.start();
    site.wait_until("sources_accepted", 1);
    drop(mounted);
    site.wait_for("the loss to be told", |site| is_present(site, false));
    let line = site.wait_for("the loss to be logged", |site| logged(site, "the inbox is gone"));
    assert!(
        line.contains("another folder has its name") || line.contains("not mounted"),
        "{line}"
    );
    let _mounted = Mounted::at(inbox, 1).unwrap();
    site.drop_pictures(1..2);
    site.wait_until("sources_accepted", 2);
    assert_eq!(site.stop(), Some(0));
}

#[test]
fn a_folder_that_can_not_be_read_is_named_and_taken_when_it_can_and_the_rest_stays_watched() {
    // So few scans that what is taken soon was told by an event.
    let mut site = Site::with("[stream.ingest]\nrescan_s = 3600\n");
    let closed = site.path("in/closed");
    for folder in ["in/closed", "in/open"] {
        fs::create_dir(site.path(folder)).unwrap();
    }
    site.drop_file("closed/a.png", &picture(1));
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads every folder, but for these capabilities.
    let bounds = ["--bounding-set=-dac_override,-dac_read_search"];
    if fs::read_dir(&closed).is_err() {
        site.spawn();
    } else if works("setpriv", &[bounds[0], "true"]) {
        site.spawn_as(curiod_under("setpriv", &bounds));
    } else {
        eprintln!("skipped: this user can read every folder, and setpriv does not help");
        return;
    }
    let line = site.wait_for("the folder to be named", |site| {
        logged(site, "a folder can not be read")
    });
    for word in ["WARN", closed.to_str().unwrap(), "hint", "chmod"] {
        assert!(line.contains(word), "{line}");
    }
    site.drop_file("open/b.png", &picture(2));
    site.wait_until("sources_accepted", 1);
    fs::create_dir(site.path("in/open/new")).unwrap();
    site.drop_file("open/new/c.png", &picture(3));
    site.wait_until("sources_accepted", 2);

    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    site.wait_until("sources_accepted", 3);
    site.drop_file("closed/d.png", &picture(4));
    site.wait_until("sources_accepted", 4);
    let log = site.log();
    assert!(
        log.contains("a folder can be read again") && !log.contains("sysctl"),
        "{log}"
    );
    assert_eq!(site.stop(), Some(0));
}

#[test]
fn too_few_watches_are_told_with_the_limit_to_raise_and_asked_for_again() {
    let mut site = Site::new();
    let limited = "echo 3 > /proc/sys/user/max_inotify_watches && exec \"$@\"";
    let unshare = ["--user", "--map-root-user", "bash", "-c", limited, "-"];
    if !works("unshare", &[&unshare[..], &["true"]].concat()) {
        eprintln!("skipped: this user may not have a namespace with limits of its own");
        return;
    }
    for folder in 0..6 {
        site.drop_file(&format!("{folder}/a.png"), &picture(folder));
    }
    site.spawn_as(curiod_under("unshare", &unshare));
    let what = "the system does not tell what changes";
    let line = site.wait_for("the limit to be named", |site| logged(site, what));
    assert!(
        line.contains("WARN") && line.contains("sysctl fs.inotify.max_user_watches"),
        "{line}"
    );
    site.wait_until("sources_accepted", 6);
    // Found by a scan: not every folder is watched.
    for folder in 0..6 {
        site.drop_file(&format!("{folder}/b.png"), &picture(10 + folder));
    }
    site.wait_until("sources_accepted", 12);
    assert_eq!(site.log().matches(what).count(), 1);

    let pid = site.pid().to_string();
    let raise = "echo 1000 > /proc/sys/user/max_inotify_watches";
    assert!(works(
        "nsenter",
        &["--user", "--preserve-credentials", "-t", &pid, "sh", "-c", raise]
    ));
    site.wait_for("changes to be told again", |site| {
        logged(site, "changes are told by the system again")
    });
    assert_eq!(site.stop(), Some(0));
}

#[test]
fn a_learner_that_failed_leaves_the_daemon_ready_and_says_that_it_is_degraded() {
    let mut site = Site::new();
    // A checkpoint that can not be read, which is not the same as one that is damaged.
    fs::create_dir_all(site.path("state/streams/pictures/checkpoints/step-000000000009/learner.json")).unwrap();
    site.drop_pictures(0..2);
    site.start();
    site.wait_for("files to be taken", |site| {
        let status = site.get("/api/v1/status")?;
        (status["streams"][0]["sources_accepted"] == 2).then_some(())
    });
    site.wait_for("the failure to be told", |site| {
        metric(site, "curiod_stream_failed{").filter(|failed| *failed == 1.0)
    });
    assert_eq!(
        metric(&site, "curiod_part_failed{stream=\"pictures\",part=\"learner\"}"),
        Some(1.0)
    );
    assert_eq!(
        metric(&site, "curiod_part_failed{stream=\"pictures\",part=\"ingest\"}"),
        Some(0.0)
    );
    let code = Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-w", "%{http_code}"])
        .arg(format!("{}/readyz", site.url()))
        .output()
        .unwrap();
    assert_eq!(code.stdout, b"200");
    let ready = site.get("/readyz").unwrap();
    assert_eq!(ready["status"], "degraded");
    assert!(
        ready["streams"]["pictures"]["learner_failure"]
            .as_str()
            .unwrap()
            .contains("learner.json"),
        "{ready}"
    );
    let shown = site.client(&["status"]);
    assert_eq!(shown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&shown.stdout).contains("learner.json"));
    assert!(String::from_utf8_lossy(&shown.stderr).contains("degraded: learner of stream `pictures` failed"));
    assert_eq!(accepted(&site), None, "a failed part is told by the exit code");
    assert_eq!(site.stop(), Some(0));
}

#[test]
fn a_disk_that_fills_pauses_the_ingest_then_the_checkpoints_and_both_go_on_when_it_has_room() {
    let mut site = Site::with("[stream.ingest]\ndisk_reserve_bytes = 134217728\n");
    let state = site.path("state");
    fs::create_dir(&state).unwrap();
    let state = state.to_str().unwrap();
    let Some(_mounted) = Mounted::at(state, 400) else {
        eprintln!("skipped: this user may not mount a small disk");
        return;
    };
    site.drop_pictures(0..40);
    site.start();
    site.wait_until("step", 5);
    let filler = site.path("state/filler");
    let free = || {
        let disk = rustix::fs::statvfs(state).unwrap();
        disk.f_bavail * disk.f_frsize
    };
    let fill = |left: u64| {
        let file = fs::OpenOptions::new().append(true).create(true).open(&filler).unwrap();
        let len = file.metadata().unwrap().len();
        let more = free().saturating_sub(left).max(1);
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), len, more).unwrap();
    };
    let paused = |site: &Site| {
        let stream = site.stream().unwrap();
        (
            stream["ingest_paused_by"].as_str().map(str::to_owned),
            stream["checkpoints_paused"].is_string(),
        )
    };

    fill(110 << 20);
    site.wait_for("the ingest to pause", |site| {
        (paused(site).0.as_deref() == Some("disk")).then_some(())
    });
    assert!(!paused(&site).1);
    fill(40 << 20);
    site.wait_for("the checkpoints to pause", |site| paused(site).1.then_some(()));
    assert_eq!(metric(&site, "curiod_checkpoints_paused{"), Some(1.0));
    let line = logged(&site, "paused the checkpoints").unwrap();
    assert!(line.contains("WARN") && line.contains("hint"), "{line}");
    assert_eq!(site.get("/readyz").unwrap()["status"], "ready");

    fs::remove_file(&filler).unwrap();
    site.wait_for("both to go on", |site| (paused(site) == (None, false)).then_some(()));
    site.drop_pictures(40..60);
    site.wait_until("sources_accepted", 60);
    let resumed = logged(&site, "resumed the checkpoints");
    assert!(resumed.is_some_and(|line| line.contains("INFO")));
    assert_eq!(site.stop(), Some(0));
    let log = site.log();
    assert!(
        log.rfind("wrote a checkpoint") > log.find("resumed the checkpoints"),
        "{log}"
    );
}

#[test]
fn leftovers_are_cleaned_at_the_start_but_for_the_newest_and_removed_streams_are_only_told_of() {
    let mut site = Site::with("[stream.ingest]\nafter = \"move\"\ndone_dir = \"done\"\n");
    let checkpoints = site.path("state/streams/pictures/checkpoints");
    for name in [
        "torn-000000000001-1",
        "torn-000000000009-1",
        "torn-000000000002-1",
        "other-000000000005-1",
    ] {
        fs::create_dir_all(checkpoints.join(name)).unwrap();
    }
    // Named last, in another tick of the filesystem's clock: the newest, whatever its step.
    std::thread::sleep(std::time::Duration::from_millis(50));
    fs::rename(
        checkpoints.join("torn-000000000002-1"),
        checkpoints.join("torn-000000000003-1"),
    )
    .unwrap();
    let copy = site.path(&format!("done/deep/.curiod-{}.part", "0123456789abcdef".repeat(2)));
    let someones = site.path("done/deep/.curiod-notes.part");
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::write(&copy, "half a picture").unwrap();
    fs::write(&someones, "no copy of ours").unwrap();
    for folder in ["state/streams/old/replay", "state/registry/old/000001"] {
        fs::create_dir_all(site.path(folder)).unwrap();
        fs::write(site.path(folder).join("file"), vec![1; 10_000]).unwrap();
    }
    let temporary = site.path("temporary");
    for (name, days) in [
        ("curiod-verify-00000000000000aa", 3),
        ("curiod-verify-00000000000000bb", 0),
    ] {
        let folder = temporary.join(name);
        fs::create_dir_all(&folder).unwrap();
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 86_400);
        fs::File::open(&folder).unwrap().set_modified(then).unwrap();
    }
    let mut command = curiod();
    command.env("TMPDIR", &temporary);
    site.spawn_as(command);
    site.wait_for("the old stream to be told of", |site| {
        (site.log().matches("kept the folder of a stream").count() == 2).then_some(())
    });
    site.wait_for("the checkpoints to be cleaned", |_| {
        let mut names: Vec<_> = fs::read_dir(&checkpoints)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        (names == ["other-000000000005-1", "torn-000000000003-1"]).then_some(())
    });
    site.wait_for("the copy to be deleted", |_| (!copy.exists()).then_some(()));
    assert!(someones.exists() && site.path("state/streams/old/replay/file").exists());
    assert!(!temporary.join("curiod-verify-00000000000000aa").exists());
    assert!(temporary.join("curiod-verify-00000000000000bb").exists());
    let line = logged(&site, "kept the folder of a stream").unwrap();
    for word in ["INFO", "/state/streams/old", "\"bytes\":", "rm -r '"] {
        assert!(line.contains(word), "{line}");
    }
    assert_eq!(site.stop(), Some(0));
}
