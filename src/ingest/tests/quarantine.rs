//! The list of rejected files stays true: whatever becomes of the files.

use super::world::{World, files_below, picture};
use crate::config::After;
use crate::ingest::Done;

fn in_quarantine(world: &World) -> Vec<String> {
    files_below(&world.path("state/quarantine"))
}

#[test]
fn a_moved_file_that_is_repaired_or_removed_leaves_the_list() {
    for after in [After::Move, After::Delete] {
        let world = World::with(|config| config.after = after);
        for name in ["sub/repaired.png", "sub/removed.png", "sub/stays.png"] {
            world.drop_file(name, format!("rubbish {name}").as_bytes());
        }
        world.wait("they are moved", |world| in_quarantine(world).len() == 3);
        world.wait_for(0, 0, 3);
        let folder = world.path("state/quarantine/sub");
        std::fs::remove_file(folder.join("removed.png")).unwrap();
        std::fs::remove_file(folder.join("repaired.png")).unwrap();
        world.drop_file("sub/repaired.png", &picture(1));
        world.wait_for(1, 0, 1);
        assert_eq!(world.quarantined()[0].path, "sub/stays.png");
        // A good file of the same path says nothing about the one that is kept.
        world.drop_file("sub/stays.png", &picture(2));
        world.wait_for(2, 0, 1);
        world.let_scans_pass();
        assert_eq!(world.verdicts(), (2, 0, 1));
    }
}

#[test]
fn a_rejected_file_that_is_deleted_where_it_was_leaves_the_list_and_may_come_back() {
    let world = World::new();
    world.drop_file("a.png", b"rubbish");
    world.drop_file("b.png", b"more rubbish");
    world.wait_for(0, 0, 2);
    std::fs::rename(world.inbox().join("a.png"), world.path("kept.png")).unwrap();
    world.wait_for(0, 0, 1);
    std::fs::rename(world.path("kept.png"), world.inbox().join("a.png")).unwrap();
    world.wait_for(0, 0, 2);
}

#[test]
fn a_rejected_file_that_can_not_be_moved_is_told_once() {
    let mut world = World::with(|config| config.after = After::Move);
    // A file where a folder is needed holds even root back.
    std::fs::create_dir_all(world.path("state/quarantine")).unwrap();
    std::fs::write(world.path("state/quarantine/sub"), "in the way").unwrap();
    world.drop_file("sub/a.png", b"rubbish");
    world.wait_for(0, 0, 1);
    let first = world.quarantined();
    for _ in 0..2 {
        // Longer than from one regular scan to the next.
        std::thread::sleep(std::time::Duration::from_millis(2_500));
        world.let_scans_pass();
        assert_eq!((world.times_told(), world.quarantined()), (1, first.clone()));
        world.stop();
        world.start();
    }
    // Another content is another matter.
    world.drop_file("sub/a.png", b"other rubbish");
    world.wait("it is told", |world| world.times_told() == 2);
    std::fs::remove_file(world.path("state/quarantine/sub")).unwrap();
    world.wait("it is moved", |world| in_quarantine(world) == ["sub/a.png"]);
    assert_eq!((world.times_told(), world.verdicts()), (2, (0, 0, 1)));
}

#[test]
fn a_file_with_a_numbered_name_comes_back_under_its_own() {
    let mut world = World::with(|config| {
        config.after = After::Move;
        config.image_side_px_max = 4;
    });
    // The same file three times: the third is `a-HASH-3.png`.
    for count in 1..=3 {
        world.drop_file("a.png", &picture(1));
        world.wait("it is moved", |world| in_quarantine(world).len() == count);
    }
    let names = in_quarantine(&world);
    for name in names.iter().filter(|name| !name.ends_with("-3.png")) {
        std::fs::remove_file(world.path("state/quarantine").join(name)).unwrap();
    }
    world.stop();
    world.config.image_side_px_max = 100;
    world.start();
    world.let_scans_pass();
    assert_eq!(world.verdicts(), (0, 0, 1));
    let quarantine = world.ingest.as_ref().unwrap().quarantine();
    let handled = quarantine.retry(quarantine.all());
    assert_eq!(handled[0].done, Done::Retried);
    assert_eq!(handled[0].file, Some(world.inbox().join("a.png")));
    world.wait_for(1, 0, 0);
    world.wait("it is done", |world| {
        files_below(&world.path("state/done")) == ["a.png"]
    });
    assert!(in_quarantine(&world).is_empty());
}

#[test]
fn a_file_that_can_not_come_back_stays_in_the_list() {
    let world = World::with(|config| config.after = After::Move);
    world.drop_file("sub/a.png", b"rubbish");
    world.wait("it is moved", |world| in_quarantine(world) == ["sub/a.png"]);
    world.wait_for(0, 0, 1);
    // Nothing is taken, so that what is in the way stays there.
    world.ingest.as_ref().unwrap().pause(true);
    world.wait("the pause", |world| world.counters().paused.is_some());
    std::fs::remove_dir(world.inbox().join("sub")).unwrap();
    std::fs::write(world.inbox().join("sub"), "in the way").unwrap();
    let quarantine = world.ingest.as_ref().unwrap().quarantine();
    let handled = quarantine.retry(quarantine.all());
    assert_eq!(handled[0].done, Done::Stuck);
    assert_eq!(world.quarantined()[0].path, "sub/a.png");
    assert_eq!(in_quarantine(&world), ["sub/a.png"]);
}

#[test]
fn a_dropped_file_stays_and_is_not_read_again() {
    let world = World::new();
    world.drop_file("a.png", b"rubbish");
    world.wait_for(0, 0, 1);
    let quarantine = world.ingest.as_ref().unwrap().quarantine();
    let handled = quarantine.drop_entries(quarantine.all());
    assert_eq!(
        (handled[0].done, handled[0].file.clone()),
        (Done::Dropped, Some(world.inbox().join("a.png")))
    );
    world.let_scans_pass();
    assert_eq!((world.verdicts(), world.times_told()), ((0, 0, 0), 1));
    assert_eq!(std::fs::read(world.inbox().join("a.png")).unwrap(), b"rubbish");
    world.drop_file("a.png", &picture(1));
    world.wait_for(1, 0, 0);
}

#[test]
fn thousands_of_files_are_read_again_or_forgotten_at_once() {
    let world = World::with(|config| config.after = After::Move);
    for number in 0..2_500 {
        world.drop_file(format!("{number}.png"), format!("rubbish {number}").as_bytes());
    }
    world.wait("they are moved", |world| in_quarantine(world).len() == 2_500);
    world.wait_for(0, 0, 2_500);
    let quarantine = world.ingest.as_ref().unwrap().quarantine();
    let handled = quarantine.retry(quarantine.all());
    assert!(handled.iter().all(|handled| handled.done == Done::Retried));
    world.wait("they are moved again", |world| in_quarantine(world).len() == 2_500);
    world.wait_for(0, 0, 2_500);
    let handled = quarantine.drop_entries(quarantine.all());
    assert!(
        handled
            .iter()
            .all(|handled| handled.done == Done::Dropped && handled.file.is_some())
    );
    assert_eq!((world.verdicts(), in_quarantine(&world).len()), ((0, 0, 0), 2_500));
}
