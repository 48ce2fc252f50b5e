//! What the machine gives and takes: folders that go and come, modes, descriptors, watches, the clock. The daemon says
//! what it lacks, goes on with what it has, and loses nothing.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use image::{ImageFormat, Rgb, RgbImage};

use crate::harness::{Site, curiod_by, curiod_held_by_modes, files_below, picture};
use crate::world::newest_checkpoint;

/// A stream that does not learn, so that the daemon rests when it has taken what there is.
const NO_LEARNING: &str = "[stream.learning]\nsamples_min = 1000000\n";

#[test]
fn an_inbox_that_is_removed_and_made_again_is_taken_from() {
    let mut site = Site::with(NO_LEARNING);
    site.drop_pictures(0..5);
    site.start();
    site.wait_until("sources_accepted", 5);
    for round in 1..3 {
        fs::remove_dir_all(site.path("in")).unwrap();
        says(&site, "the inbox is gone", round);
        fs::create_dir(site.path("in")).unwrap();
        site.drop_pictures(100 * round..100 * round + 5);
        site.wait_until("sources_accepted", 10 * u64::from(round));
        says(&site, "the inbox is back", round);
        // Events come from the new folder, too.
        site.drop_pictures(1_000 * round..1_000 * round + 5);
        site.wait_until("sources_accepted", 5 + 10 * u64::from(round));
    }
}

#[test]
fn a_file_that_may_not_be_read_is_named_and_taken_when_it_may() {
    let Some(daemon) = curiod_held_by_modes() else {
        return eprintln!("skipped: runs as root, and setpriv can not take root's power over modes away");
    };
    let mut site = Site::with(NO_LEARNING);
    site.drop_file("b.png", &picture(2));
    site.drop_file("c.png", &picture(3));
    set_mode(&site.path("in/b.png"), 0o000);
    site.spawn_as(daemon);
    site.wait_until("sources_accepted", 1);
    site.wait_until("sources_quarantined", 1);
    assert_eq!(site.quarantined()["b.png"]["reason"], "permission");
    set_mode(&site.path("in/b.png"), 0o644);
    site.wait_until("sources_accepted", 2);
    assert!(site.quarantined().is_empty());
}

#[test]
fn a_state_directory_that_is_read_only_is_refused_by_its_path() {
    let Some(mut daemon) = curiod_held_by_modes() else {
        return eprintln!("skipped: runs as root, and setpriv can not take root's power over modes away");
    };
    let site = Site::new();
    fs::create_dir(site.path("state")).unwrap();
    set_mode(&site.path("state"), 0o555);
    let output = daemon
        .args(["run", "--config"])
        .arg(site.path("curiod.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(site.path("state").to_str().unwrap()) && said.contains("Permission denied"),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_state_that_becomes_read_only_is_named_and_serving_goes_on() {
    let Some(daemon) = curiod_held_by_modes() else {
        return eprintln!("skipped: runs as root, and setpriv can not take root's power over modes away");
    };
    let mut site = Site::new();
    site.drop_pictures(0..40);
    site.spawn_as(daemon);
    site.wait_until("generation", 1);
    site.wait_for("a checkpoint", |site| {
        let checkpoints = files_below(&site.path("state/streams/pictures/checkpoints"));
        checkpoints.iter().any(|file| file.starts_with("step-")).then_some(())
    });
    let set_modes = |mode| {
        let state = site.path("state");
        let folders = files_below(&state);
        let folders = folders.iter().flat_map(|file| Path::new(file).ancestors().skip(1));
        let folders: Vec<PathBuf> = folders.map(|folder| state.join(folder)).collect();
        folders
            .iter()
            .filter(|folder| folder.is_dir())
            .for_each(|folder| set_mode(folder, mode));
    };
    set_modes(0o555);
    let mut next = 100;
    let mut more = || {
        next += 20;
        assert!(next < 10_000, "waited for it long enough");
        site.drop_pictures(next..next + 20);
        std::thread::sleep(Duration::from_millis(200));
    };
    while !site.log().contains("failed to write a checkpoint; learning goes on") {
        more();
        assert_ne!(site.stream().unwrap()["state"], "failed", "{}", site.log());
    }
    let line = site.log();
    let line = line
        .lines()
        .find(|line| line.contains("failed to write a checkpoint"))
        .unwrap();
    assert!(
        line.contains("checkpoints") && line.contains("Permission denied"),
        "{line}"
    );
    site.wait_for("an answer", |site| site.nearest(&picture(7)));
    set_modes(0o755);
    let step = newest_checkpoint(&site);
    while newest_checkpoint(&site) == step {
        more();
    }
    let dropped = u64::from(next - 100 + 40);
    site.wait_until("sources_accepted", dropped);
    let log = site.log();
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(site.stop(), Some(0));
}

#[test]
fn a_daemon_short_of_descriptors_says_so_or_works_and_loses_nothing() {
    let tried = Command::new("prlimit").args(["--nofile=64:64", "true"]).status();
    if !tried.is_ok_and(|status| status.success()) {
        return eprintln!("skipped: prlimit is not there");
    }
    let mut site = Site::with("[stream.ingest]\nafter = \"move\"\n");
    let mut dropped = 0;
    for limit in [12, 16, 20, 24, 28, 32, 40, 64] {
        let before = site.log().len();
        site.drop_pictures(dropped..dropped + 20);
        dropped += 20;
        site.spawn_as(curiod_by("prlimit", &[&format!("--nofile={limit}:{limit}")]));
        let mut ended = None;
        for _ in 0..30 {
            std::thread::sleep(Duration::from_millis(100));
            ended = site.ended();
            if ended.is_some() {
                break;
            }
        }
        let log = site.log()[before..].to_owned();
        println!(
            "{limit} descriptors: {ended:?} {:?}",
            site.stream().map(|s| s["sources_accepted"].clone())
        );
        assert!(!log.contains("panicked"), "{limit}: {log}");
        match ended {
            Some(status) => {
                assert!(status.code().is_some_and(|code| code != 0), "{limit}: {status}; {log}");
                assert!(
                    log.contains("Too many open files") || log.contains("descriptor"),
                    "{limit}: {log}"
                );
            }
            None => site.kill(),
        }
    }
    site.start();
    site.wait_until("sources_accepted", dropped.into());
    site.wait_for("the inbox to be empty", |site| {
        files_below(&site.path("in")).is_empty().then_some(())
    });
    let done = files_below(&site.path("state/streams/pictures/done"));
    assert_eq!(done.len() as u32, dropped);
    assert_eq!(site.stop(), Some(0));
}

#[test]
fn files_of_every_age_are_taken_and_then_the_daemon_rests() {
    let mut site = Site::with(NO_LEARNING);
    let year = 31_557_600i64;
    let moments = [-68 * year, -year, -1, 0, 1, 68 * year, 131 * year, 400 * year];
    for (number, seconds) in moments.into_iter().enumerate() {
        site.drop_file(&format!("{number}.png"), &picture(number as u32));
        let span = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 {
            SystemTime::UNIX_EPOCH - span
        } else {
            SystemTime::UNIX_EPOCH + span
        };
        let file = fs::File::open(site.path("in").join(format!("{number}.png"))).unwrap();
        // A filesystem that can not tell such a time says so, or takes the nearest one.
        let _ = file.set_modified(time);
    }
    site.start();
    site.wait_until("sources_accepted", moments.len() as u64);
    rests(&site);
    assert_eq!(site.stop(), Some(0));
    site.start();
    site.drop_file("late.png", &picture(100));
    let stream = site.wait_until("sources_accepted", moments.len() as u64 + 1);
    assert_eq!(stream["sources_duplicate"], 0, "{stream}");
}

#[test]
fn a_clock_that_jumps_by_years_loses_nothing_and_keeps_the_daemon_at_rest() {
    let places = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
    ];
    let libraries = places.map(|place| PathBuf::from(place).join("faketime/libfaketimeMT.so.1"));
    let Some(library) = libraries.into_iter().find(|library| library.is_file()) else {
        return eprintln!("skipped: libfaketime is not installed");
    };
    let mut site = Site::with(NO_LEARNING);
    let clock = site.path("clock");
    fs::write(&clock, "+0").unwrap();
    let mut daemon = crate::harness::curiod();
    daemon
        .env("LD_PRELOAD", &library)
        .env("FAKETIME_TIMESTAMP_FILE", &clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    site.spawn_as(daemon);
    let mut pictures = 0;
    for jump in ["+0", "-20y", "+80y", "-60y", "+0"] {
        fs::write(&clock, jump).unwrap();
        site.drop_pictures(pictures..pictures + 10);
        pictures += 10;
        // Its rejection is told with the hour.
        site.drop_file(&format!("rubbish{jump}.png"), jump.as_bytes());
        site.wait_until("sources_accepted", pictures.into());
        rests(&site);
    }
    let log = site.log();
    assert!(
        log.contains("\"timestamp\":\"2106") || log.contains("\"timestamp\":\"21"),
        "the clock did not jump: {log}"
    );
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(site.stop(), Some(0));
    site.start();
    site.drop_pictures(pictures..pictures + 1);
    let stream = site.wait_until("sources_accepted", u64::from(pictures) + 1);
    assert_eq!(stream["sources_duplicate"], 0, "{stream}");
}

#[test]
fn a_tree_of_two_hundred_levels_is_taken_and_heard_to_its_last_folder() {
    let mut site = Site::with(NO_LEARNING);
    let folder = |level: u32| (0..level).map(|level| format!("{level}/")).collect::<String>();
    for level in (0..=200).step_by(10) {
        site.drop_file(&format!("{}{level}.png", folder(level)), &picture(level));
    }
    site.start();
    site.wait_until("sources_accepted", 21);
    site.drop_file(&format!("{}late.png", folder(200)), &picture(1_000));
    site.wait_until("sources_accepted", 22);
    assert!(site.quarantined().is_empty());
}

/// What a daemon may hold at most, in MiB, when much comes at once.
const MEMORY_MIB_MAX: u64 = 2_048;

#[test]
fn a_burst_of_photos_of_fifty_megapixels_is_taken_within_two_gibibytes() {
    let mut site = Site::with(NO_LEARNING);
    for number in 0..8u8 {
        let photo = RgbImage::from_fn(8_660, 5_774, |x, y| Rgb([(x / 34) as u8, (y / 23) as u8, number]));
        let mut png = Cursor::new(Vec::new());
        photo.write_to(&mut png, ImageFormat::Png).unwrap();
        site.drop_file(&format!("{number}.png"), &png.into_inner());
    }
    site.start();
    site.wait_until("sources_accepted", 8);
    let peak = site.peak_mib();
    println!("eight photos of 50 megapixels: {peak} MiB at most");
    assert!(peak < MEMORY_MIB_MAX, "{peak} MiB");
}

mod soak {
    use super::*;

    #[test]
    #[ignore = "writes a million files; make soak runs it"]
    fn a_million_files_in_one_folder_are_taken_within_two_gibibytes_and_known_after_a_restart() {
        const FILES: u32 = 1_000_000;
        let mut site = Site::with(
            "[stream.learning]\nsamples_min = 10000000\n[stream.replay]\nbytes_max = 16777216\n[stream.ingest]\nrescan_s = 20\n",
        );
        for number in 0..FILES {
            let tiny = RgbImage::from_fn(8, 8, |x, y| {
                let [a, b, c, _] = (number ^ x << 24 ^ y << 20).to_le_bytes();
                Rgb([a, b, c])
            });
            let mut png = Cursor::new(Vec::new());
            tiny.write_to(&mut png, ImageFormat::Png).unwrap();
            fs::write(site.path("in").join(format!("{number:07}.png")), png.into_inner()).unwrap();
        }
        site.start();
        let mut taken = 0;
        while taken < u64::from(FILES) {
            taken = site.wait_for("more files to be taken", |site| {
                let now = site.stream()?["sources_accepted"].as_u64()?;
                (now > taken).then_some(now)
            });
        }
        let peak = site.peak_mib();
        println!("{FILES} files: {peak} MiB at most");
        assert!(peak < MEMORY_MIB_MAX, "{peak} MiB");
        assert_eq!(site.stop(), Some(0));
        site.start();
        site.drop_file("late.png", &picture(1));
        let stream = site.wait_until("sources_accepted", u64::from(FILES) + 1);
        assert_eq!(stream["sources_duplicate"], 0, "{stream}");
        rests(&site);
        let peak = site.peak_mib();
        println!("after a restart: {peak} MiB at most");
        assert!(peak < MEMORY_MIB_MAX, "{peak} MiB");
    }
}

#[test]
fn queries_go_before_learning_and_learning_before_the_gate() {
    let mut site = Site::new();
    site.drop_pictures(0..60);
    site.start();
    // The encoder of a generation that was published while it runs: what starts it must not lend it its own low priority.
    site.wait_until("generation", 1);
    let niceness = |thread: &str| -> Vec<i32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", site.pid())).unwrap().flatten();
        let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
        let own = stats.filter(|stat| stat.contains(&format!("({thread}")));
        own.map(|stat| {
            stat.rsplit(')')
                .next()
                .unwrap()
                .split_whitespace()
                .nth(16)
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect()
    };
    let (encoders, learner, gate) = (niceness("encoder-"), niceness("learn-"), niceness("gate"));
    assert!(
        !encoders.is_empty() && encoders.iter().all(|nice| *nice == encoders[0]),
        "{encoders:?}"
    );
    assert!(
        encoders[0] < learner[0] && learner[0] < gate[0],
        "{encoders:?}, {learner:?}, {gate:?}"
    );
    assert_eq!(site.stop(), Some(0));
}

/// Waits until the log has said something so many times.
fn says(site: &Site, what: &str, times: u32) {
    site.wait_for(what, |site| {
        (site.log().matches(what).count() as u32 >= times).then_some(())
    });
}

/// Waits for a second of which the daemon uses less than half.
fn rests(site: &Site) {
    let ticks = || -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", site.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    site.wait_for("the daemon to rest", |_| {
        let before = ticks();
        std::thread::sleep(Duration::from_secs(1));
        // A hundred ticks a second, on every Linux that there is.
        (ticks() - before < 50).then_some(())
    });
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
