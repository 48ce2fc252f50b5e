//! How files arrive, and what becomes of them.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::world::{World, files_below, picture};
use crate::config::After;
use crate::ingest::{Ingest, IngestError, IngestEvent};

#[test]
fn a_dropped_picture_is_accepted_once_and_can_be_read_back() {
    let world = World::new();
    world.drop_file("a.png", &picture(7));
    world.wait_for(1, 0, 0);
    world.let_scans_pass();
    assert_eq!(world.verdicts(), (1, 0, 0));
    assert_eq!(world.shades(), [7]);
    let events = world.events();
    assert!(
        matches!(&events[..], [IngestEvent::Accepted { path, samples, .. }] if path == "a.png" && samples.len() == 1)
    );
}

#[test]
fn a_picture_that_was_there_before_the_start_is_found_by_the_scan() {
    let mut world = World::new();
    world.stop();
    world.drop_file("sub/deep/a.png", &picture(1));
    world.start();
    world.wait_for(1, 0, 0);
}

#[test]
fn twenty_copies_are_learned_once_and_counted() {
    let world = World::new();
    for n in 0..20 {
        world.drop_file(format!("copy_{n:02}.png"), &picture(3));
    }
    world.wait_for(1, 19, 0);
    assert_eq!(world.replay().counts().samples, 1);
}

#[test]
fn a_picture_renamed_into_place_is_taken() {
    let world = World::new();
    world.drop_file("a.png.part", &picture(1));
    std::fs::write(world.path("elsewhere"), picture(2)).unwrap();
    std::fs::rename(world.path("elsewhere"), world.inbox().join("b.png")).unwrap();
    world.wait_for(1, 0, 0);
    assert_eq!(world.shades(), [2]);
    std::fs::rename(world.inbox().join("a.png.part"), world.inbox().join("a.png")).unwrap();
    world.wait_for(2, 0, 0);
}

#[test]
fn a_slow_writer_is_waited_for_even_if_it_closes_between_its_writes() {
    let world = World::new();
    let bytes = picture(9);
    for chunk in bytes.chunks(bytes.len() / 8) {
        let path = world.inbox().join("slow.png");
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        file.write_all(chunk).unwrap();
        drop(file);
        std::thread::sleep(Duration::from_millis(20));
    }
    world.wait_for(1, 0, 0);
    assert!(
        world
            .events()
            .iter()
            .all(|event| !matches!(event, IngestEvent::Quarantined(_)))
    );
}

#[test]
fn a_file_whose_writer_never_closes_it_is_taken_when_it_is_still() {
    let world = World::new();
    let mut file = std::fs::File::create(world.inbox().join("open.png")).unwrap();
    file.write_all(&picture(4)).unwrap();
    world.wait_for(1, 0, 0);
    drop(file);
    world.let_scans_pass();
    assert_eq!(world.verdicts(), (1, 0, 0));
}

#[test]
fn a_folder_copied_into_the_inbox_is_taken_whole() {
    let world = World::new();
    let deep = format!("a/{}b", "d/".repeat(60));
    for n in 0..30 {
        let folder = if n % 2 == 0 { "a/b/c" } else { &deep };
        world.drop_file(format!("{folder}/{n}.png"), &picture(n));
    }
    world.wait_for(30, 0, 0);
    std::fs::create_dir(world.path("tree")).unwrap();
    std::fs::write(world.path("tree/x.png"), picture(100)).unwrap();
    std::fs::rename(world.path("tree"), world.inbox().join("tree")).unwrap();
    world.wait_for(31, 0, 0);
}

#[test]
fn a_file_replaced_by_other_content_is_taken_again() {
    let world = World::new();
    world.drop_file("a.png", &picture(1));
    world.wait_for(1, 0, 0);
    world.drop_file("a.png", &picture(2));
    world.wait_for(2, 0, 0);
    assert_eq!(world.shades(), [1, 2]);
}

#[test]
fn odd_names_are_names_like_others() {
    let world = World::new();
    let longest = "n".repeat(251) + ".png";
    let names: Vec<&[u8]> = vec![
        b"two words & more.png",
        b"-rf.png",
        b"new\nline.png",
        "caf\u{e9}.png".as_bytes(),
        "cafe\u{301}.png".as_bytes(),
        "\u{6587}\u{4ef6} \u{1f331}.png".as_bytes(),
        b"bad_\xff\xfe.png",
        longest.as_bytes(),
    ];
    for (n, name) in names.iter().enumerate() {
        world.drop_file(OsStr::from_bytes(name), &picture(n as u32));
    }
    world.wait_for(names.len() as u64, 0, 0);
    world.let_scans_pass();
    assert_eq!(world.verdicts(), (names.len() as u64, 0, 0));
}

#[test]
fn what_is_no_regular_file_is_passed_over_and_what_it_points_to_is_not_read() {
    let world = World::new();
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, world.inbox().join(name)).unwrap();
    std::fs::write(world.path("secret.png"), picture(66)).unwrap();
    std::fs::create_dir(world.path("outside")).unwrap();
    std::fs::write(world.path("outside/secret.png"), picture(67)).unwrap();
    link("../secret.png", "link.png");
    link("no_such_file.png", "dangling.png");
    link(".", "loop");
    link("../outside", "folder");
    let pipe = world.inbox().join("pipe.png");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    world.drop_file("a.png", &picture(1));
    world.wait("five are passed over", |world| world.counters().skipped == 5);
    world.let_scans_pass();
    assert_eq!((world.verdicts(), world.counters().skipped), ((1, 0, 0), 5));
    assert_eq!(world.shades(), [1]);
}

#[test]
fn unfinished_names_and_hidden_folders_are_ignored() {
    let world = World::new();
    for name in [".hidden.png", "a.part", "a.tmp", "a.crdownload", "a.png~", ".git/a.png"] {
        world.drop_file(name, &picture(1));
    }
    world.drop_file("a.png", &picture(2));
    world.wait_for(1, 0, 0);
    world.let_scans_pass();
    assert_eq!(world.verdicts(), (1, 0, 0));
    assert!(world.counters().ignored >= 6);
}

#[test]
fn a_file_deleted_at_once_leaves_nothing_behind() {
    let world = World::new();
    for n in 0..20 {
        world.drop_file("gone.png", &picture(n));
        std::fs::remove_file(world.inbox().join("gone.png")).unwrap();
    }
    world.let_scans_pass();
    let counters = world.counters();
    assert_eq!((counters.queued, counters.quarantined, counters.failed), (0, 0, None));
}

#[test]
fn after_a_restart_nothing_is_read_or_counted_again() {
    let mut world = World::new();
    world.drop_file("a.png", &picture(1));
    world.drop_file("b.png", &picture(1));
    world.drop_file("c.png", b"no picture");
    world.wait_for(1, 1, 1);
    world.stop();
    // Another content under the same size, time and inode: only a reader would notice.
    let path = world.inbox().join("a.png");
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    (&file).write_all(&picture(2)[..picture(1).len()]).unwrap();
    file.set_modified(modified).unwrap();
    drop(file);
    world.start();
    world.let_scans_pass();
    assert_eq!(world.verdicts(), (1, 1, 1));
    assert_eq!(world.shades(), [1]);
}

#[test]
fn a_stop_in_the_middle_of_a_burst_loses_nothing_and_doubles_nothing() {
    let mut world = World::new();
    for n in 0..600 {
        world.drop_file(format!("{n}.png"), &picture(n));
        if n % 200 == 150 {
            world.stop();
            world.start();
        }
    }
    world.wait_for(600, 0, 0);
    world.let_scans_pass();
    assert_eq!((world.verdicts(), world.replay().counts().samples), ((600, 0, 0), 600));
}

#[test]
fn a_burst_beyond_every_queue_is_taken_whole() {
    let world = World::new();
    for n in 0..3_000 {
        world.drop_file(format!("s{n:05}.png"), &picture(n));
    }
    world.wait_for(3_000, 0, 0);
}

#[test]
fn moved_files_keep_their_folders_and_overwrite_nothing() {
    let world = World::with(|config| config.after = After::Move);
    world.drop_file("sub/a.png", &picture(1));
    world.wait_for(1, 0, 0);
    world.drop_file("sub/a.png", &picture(2));
    world.wait_for(2, 0, 0);
    world.drop_file("bad/b.png", b"rubbish");
    world.wait_for(2, 0, 1);
    world.wait("the inbox is empty", |world| files_below(&world.inbox()).is_empty());
    let done = files_below(&world.path("state/done"));
    assert_eq!(done.len(), 2, "{done:?}");
    assert!(done.contains(&"sub/a.png".to_owned()) && done.iter().all(|path| path.starts_with("sub/a")));
    assert_eq!(files_below(&world.path("state/quarantine")), ["bad/b.png"]);
}

#[test]
fn files_are_moved_to_another_filesystem_too() {
    let elsewhere = match tempfile::tempdir_in("/dev/shm") {
        Ok(dir) => dir,
        Err(error) => return eprintln!("skipped: no second filesystem in /dev/shm ({error})"),
    };
    let world = World::with(|config| {
        config.after = After::Move;
        config.done_dir = Some(elsewhere.path().join("done"));
    });
    for n in [1, 2] {
        world.drop_file("sub/a.png", &picture(n));
        world.wait_for(n.into(), 0, 0);
    }
    world.wait("the inbox is empty", |world| files_below(&world.inbox()).is_empty());
    let done = files_below(&elsewhere.path().join("done"));
    let mut contents: Vec<Vec<u8>> = done
        .iter()
        .map(|path| std::fs::read(elsewhere.path().join("done").join(path)).unwrap())
        .collect();
    contents.sort();
    let mut wanted = [picture(1), picture(2)];
    wanted.sort();
    assert_eq!(contents, wanted, "{done:?}");
}

#[test]
fn files_are_deleted_when_asked_but_rejected_ones_are_kept() {
    let world = World::with(|config| config.after = After::Delete);
    world.drop_file("a.png", &picture(1));
    world.drop_file("b.png", &picture(1));
    world.drop_file("c.png", b"rubbish");
    world.wait_for(1, 1, 1);
    world.wait("the inbox is empty", |world| files_below(&world.inbox()).is_empty());
    assert_eq!(files_below(&world.path("state/quarantine")), ["c.png"]);
    assert_eq!(world.shades(), [1]);
}

#[test]
fn files_are_left_as_they_are_by_default() {
    let world = World::new();
    world.drop_file("a.png", &picture(1));
    world.drop_file("b.png", b"rubbish");
    world.wait_for(1, 0, 1);
    assert_eq!(std::fs::read(world.inbox().join("a.png")).unwrap(), picture(1));
    assert_eq!(std::fs::read(world.inbox().join("b.png")).unwrap(), b"rubbish");
}

#[test]
fn a_done_folder_below_the_inbox_is_not_taken_again() {
    let mut world = World::new();
    world.stop();
    world.config.after = After::Move;
    world.config.done_dir = Some(world.inbox().join("done"));
    world.start();
    world.drop_file("a.png", &picture(1));
    world.wait("the file is moved", |world| {
        files_below(&world.inbox()) == ["done/a.png"]
    });
    world.let_scans_pass();
    assert_eq!(world.verdicts(), (1, 0, 0));
    assert_eq!(files_below(&world.inbox()), ["done/a.png"]);
}

#[test]
fn without_events_the_scan_finds_everything() {
    let world = World::with(|config| config.poll = true);
    world.drop_file("a.png", &picture(1));
    world.wait_for(1, 0, 0);
}

#[test]
fn a_paused_ingest_takes_nothing_and_then_everything() {
    let world = World::new();
    world.ingest.as_ref().unwrap().pause(true);
    world.wait("it is paused", |world| {
        matches!(world.events().last(), Some(IngestEvent::Paused { .. }))
    });
    world.drop_file("a.png", &picture(1));
    std::thread::sleep(Duration::from_millis(world.config.settle_ms * 3));
    assert_eq!((world.verdicts(), world.counters().paused.is_some()), ((0, 0, 0), true));
    world.ingest.as_ref().unwrap().pause(false);
    world.wait_for(1, 0, 0);
    assert!(world.events().contains(&IngestEvent::Resumed));
}

#[test]
fn a_full_disk_pauses_the_ingest_and_says_what_to_do() {
    let world = World::with(|config| config.disk_reserve_bytes = u64::MAX / 2);
    world.drop_file("a.png", &picture(1));
    world.wait("it is paused", |world| {
        world
            .counters()
            .paused
            .is_some_and(|pause| pause.why.contains("disk_reserve_bytes"))
    });
    std::thread::sleep(Duration::from_millis(world.config.settle_ms * 3));
    assert_eq!(world.verdicts(), (0, 0, 0));
}

#[test]
fn an_inbox_that_goes_and_comes_back_is_watched_again() {
    let world = World::new();
    world.drop_file("a.png", &picture(1));
    world.wait_for(1, 0, 0);
    std::fs::rename(world.inbox(), world.path("away")).unwrap();
    world.wait("it is gone", |world| {
        matches!(world.events().last(), Some(IngestEvent::InboxGone { .. }))
    });
    std::fs::create_dir(world.inbox()).unwrap();
    world.wait("it is back", |world| {
        matches!(world.events().last(), Some(IngestEvent::InboxBack { .. }))
    });
    world.drop_file("b.png", &picture(2));
    world.wait_for(2, 0, 0);
}

#[test]
fn an_inbox_that_is_not_there_is_an_error_that_names_it() {
    let mut world = World::new();
    world.stop();
    std::fs::remove_dir_all(world.inbox()).unwrap();
    let setup = crate::ingest::IngestSetup {
        stream: "test".parse().unwrap(),
        inboxes: vec![world.inbox()],
        state_dir: world.path("state"),
        config: world.config.clone(),
        cutting: crate::sample::Cutting::small_pictures(32),
        decode_threads: 1,
    };
    let (replay, _) = crate::replay::ReplayBuffer::open(&world.path("state/replay"), &Default::default(), 0).unwrap();
    let clock = std::sync::Arc::new(crate::clock::SystemClock);
    let error = Ingest::start(setup, replay.into(), clock, std::sync::Arc::new(|_| {})).unwrap_err();
    assert!(matches!(&error, IngestError::Inbox { inbox, .. } if *inbox == world.inbox()));
    assert!(error.to_string().contains("No such file"), "{error}");
}
