//! Files that can not be taken: named, kept, and taken again when asked.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::world::{World, files_below, picture};
use crate::config::After;
use crate::ingest::Done;

/// Has these read again, all of which are there.
fn retry(world: &World, paths: &[&str]) {
    let quarantine = world.ingest.as_ref().unwrap().quarantine();
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    let handled = quarantine.retry(quarantine.find(&paths).unwrap());
    assert_eq!(handled.len(), paths.len());
    assert!(
        handled.iter().all(|handled| handled.done == Done::Retried),
        "{handled:?}"
    );
}

#[test]
fn every_bad_picture_is_named_while_the_good_ones_beside_it_are_learned() {
    let Some(data) = std::env::var_os("CURIOD_TEST_DATA").map(PathBuf::from) else {
        eprintln!("skipped: CURIOD_TEST_DATA does not name the folder of test data");
        return;
    };
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(data.join("bad/expected.json")).unwrap()).unwrap();
    let cases: Vec<&serde_json::Value> = expected["files"].as_array().unwrap().iter().collect();
    let world = World::new();
    for case in &cases {
        let file = case["file"].as_str().unwrap();
        let name = file.rsplit('/').next().unwrap();
        world.drop_file(name, &std::fs::read(data.join("bad").join(file)).unwrap());
    }
    for n in 0..20 {
        world.drop_file(format!("good_{n}.png"), &picture(n));
    }
    world.wait("every file has a verdict", |world| {
        let (accepted, duplicate, quarantined) = world.verdicts();
        accepted + duplicate + quarantined == cases.len() as u64 + 20
    });
    let quarantined = world.quarantined();
    for case in cases {
        let name = case["file"].as_str().unwrap().rsplit('/').next().unwrap();
        let entry = quarantined.iter().find(|entry| entry.path == name);
        let has = |key: &str, value: &str| case[key].as_array().into_iter().flatten().any(|v| v == value);
        let is_picture = ["jpg", "png", "gif", "webp", "tif", "bmp", "svg", "heic"]
            .iter()
            .any(|e| name.ends_with(e));
        match entry {
            // Of the other modalities' files this stream only says that they are no pictures.
            Some(entry) if !is_picture => {
                assert!(
                    ["unsupported_type", "unsafe_type", "empty_file"].contains(&&*entry.reason),
                    "{entry:?}"
                );
            }
            Some(entry) => {
                assert!(case["expect"] == "quarantine" || has("also", "quarantine"), "{entry:?}");
                let fits = case["reason"] == entry.reason || has("also_reason", &entry.reason);
                assert!(fits, "{entry:?} is not {}", case["reason"]);
            }
            None => assert!(is_picture && case["expect"] == "accept", "{name} was accepted"),
        }
    }
}

#[test]
fn a_file_over_the_limit_is_refused_by_its_size_alone() {
    let world = World::new();
    let sparse = std::fs::File::create(world.inbox().join("sparse.png")).unwrap();
    sparse.set_len(8 << 30).unwrap();
    drop(sparse);
    world.wait_for(0, 0, 1);
    let entry = &world.quarantined()[0];
    assert_eq!(
        (entry.reason.as_str(), entry.bytes, entry.source),
        ("limits", 8 << 30, None)
    );
    assert!(entry.detail.contains("ingest.file_bytes_max"), "{}", entry.detail);
}

#[test]
fn a_retried_file_is_taken_once_the_limit_allows_it() {
    let mut world = World::with(|config| config.image_side_px_max = 4);
    world.drop_file("a.png", &picture(1));
    world.wait_for(0, 0, 1);
    world.stop();
    world.config.image_side_px_max = 100;
    world.start();
    world.let_scans_pass();
    assert_eq!(world.verdicts(), (0, 0, 1));
    let quarantine = world.ingest.as_ref().unwrap().quarantine();
    assert_eq!(quarantine.find(&["other.png".to_owned()]), Err("other.png".to_owned()));
    retry(&world, &["a.png"]);
    world.wait_for(1, 0, 0);
}

#[test]
fn a_retried_file_that_is_still_bad_is_in_quarantine_again() {
    let world = World::new();
    world.drop_file("a.png", b"rubbish");
    world.wait_for(0, 0, 1);
    retry(&world, &["a.png"]);
    world.wait("it is judged again", |world| {
        world.times_told() == 2 && world.verdicts() == (0, 0, 1)
    });
}

#[test]
fn a_retried_file_comes_back_from_the_quarantine_folder() {
    let mut world = World::with(|config| {
        config.after = After::Move;
        config.image_side_px_max = 4;
    });
    world.drop_file("sub/a.png", &picture(1));
    world.wait("it is moved", |world| {
        files_below(&world.path("state/quarantine")) == ["sub/a.png"]
    });
    world.wait_for(0, 0, 1);
    world.stop();
    world.config.image_side_px_max = 100;
    world.start();
    retry(&world, &["sub/a.png"]);
    world.wait_for(1, 0, 0);
    world.wait("it is done", |world| {
        files_below(&world.path("state/done")) == ["sub/a.png"]
    });
    assert!(files_below(&world.path("state/quarantine")).is_empty());
}

#[test]
fn a_bad_file_replaced_by_a_good_one_leaves_quarantine() {
    let world = World::new();
    world.drop_file("a.png", b"rubbish");
    world.wait_for(0, 0, 1);
    world.drop_file("a.png", &picture(1));
    world.wait_for(1, 0, 0);
}

#[test]
fn a_file_that_may_not_be_read_is_said_once_and_taken_when_it_may() {
    let world = World::new();
    std::fs::write(world.path("a.png"), picture(1)).unwrap();
    let set_mode = |path: PathBuf, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    set_mode(world.path("a.png"), 0o000);
    std::fs::rename(world.path("a.png"), world.inbox().join("a.png")).unwrap();
    if rustix::process::geteuid().is_root() {
        // Modes do not hold root back.
        return world.wait_for(1, 0, 0);
    }
    world.wait_for(0, 0, 1);
    world.let_scans_pass();
    assert_eq!(
        (world.times_told(), world.quarantined()[0].reason.as_str()),
        (1, "permission")
    );
    set_mode(world.inbox().join("a.png"), 0o600);
    world.wait_for(1, 0, 0);
}
