//! Killed at any moment, the daemon loses nothing it acknowledged and shows nothing half-made.

use std::fs;
use std::time::Duration;

use curiod::disk::POINTS;
use serde_json::Value;

use crate::harness::{Site, curiod, files_below};

const KILLS: u32 = 20;
const PICTURES_A_ROUND: u32 = 12;

#[test]
fn a_daemon_killed_at_twenty_random_moments_keeps_every_acknowledged_file_exactly_once() {
    let seed = std::env::var("CURIOD_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(std::process::id);
    println!("CURIOD_TEST_SEED={seed}");
    let mut random = u64::from(seed) | 1;
    let mut below = |bound: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let mut site = Site::with("[stream.ingest]\nafter = \"move\"\n");
    site.drop_pictures(0..40);
    let (mut step, mut generation) = (0, 0);
    for round in 0..KILLS {
        site.spawn();
        let first = 1_000 * (round + 1);
        site.drop_pictures(first..first + PICTURES_A_ROUND);
        // Half of the kills fall into the start, where the store is opened; the others into ingest, training and publishing.
        std::thread::sleep(Duration::from_millis(if below(2) == 0 {
            below(700)
        } else {
            500 + below(3_500)
        }));
        site.kill();
        let (now_step, now_generation) = (newest_checkpoint(&site), newest_generation(&site));
        assert!(now_step >= step, "checkpoints went back from step {step} to {now_step}");
        assert!(
            now_generation >= generation,
            "generations went back from {generation} to {now_generation}"
        );
        (step, generation) = (now_step, now_generation);
        registry_is_whole(&site);
    }

    site.start();
    // The inbox is at rest by now: whoever forgot its checkpoint would say so at once.
    let resumed = site.wait_for("the learner to go on", |site| {
        let stream = site.stream()?;
        matches!(stream["state"].as_str()?, "learning" | "bored").then_some(stream)
    });
    assert!(resumed["step"].as_u64() >= Some(step), "learning began anew: {resumed}");
    let all = u64::from(40 + KILLS * PICTURES_A_ROUND);
    site.wait_until("sources_accepted", all);
    site.wait_for("the inbox to be empty", |site| {
        files_below(&site.path("in")).is_empty().then_some(())
    });
    site.wait_until("step", step + 1);
    site.wait_until("index_covered", all);
    assert_eq!(site.stop(), Some(0));

    // Every file exactly once: moved away, in the ledger, in the buffer.
    assert_eq!(files_below(&site.path("state/streams/pictures/done")).len() as u64, all);
    let verified = verify(&site);
    assert_eq!(verified["sources"], all, "{verified}");
    assert_eq!(verified["samples"], all, "{verified}");
    assert_eq!(verified["ok"], true, "{verified}");
    registry_is_whole(&site);
    assert!(newest_checkpoint(&site) > step);
}

/// Points that only an earlier failure leads to.
const ONLY_AFTER_FAILURE: [&str; 1] = ["replay.cut"];

#[test]
fn a_daemon_killed_at_every_durable_step_keeps_every_acknowledged_file_exactly_once() {
    let mut site = busy();
    let mut dropped = 0;
    for (round, point) in POINTS.into_iter().enumerate() {
        if ONLY_AFTER_FAILURE.contains(&point) {
            continue;
        }
        // Half of them lose the power, and with it what was not synced.
        let action = if round % 2 == 0 { "cut" } else { "kill" };
        dies_at(&mut site, &mut dropped, &format!("{point}:2:{action}"));
    }
    finds_everything(&mut site, dropped);
}

#[test]
fn a_daemon_whose_power_fails_in_the_middle_of_writing_keeps_every_acknowledged_file_exactly_once() {
    let mut site = busy();
    let mut dropped = 0;
    for order in [
        "replay.append.write:4:torn",
        "replay.append.sync:5:cut",
        "replay.segment.sync:2:cut",
        "durable.write:6:torn",
        "durable.sync:7:cut",
        "durable.sync_dir:2:cut",
    ] {
        dies_at(&mut site, &mut dropped, order);
    }
    finds_everything(&mut site, dropped);
}

/// A daemon whose buffer is so small that it evicts, compacts and drops generations all the time.
fn busy() -> Site {
    Site::with("[stream.ingest]\nafter = \"move\"\n[stream.replay]\nbytes_max = 1048576\n")
}

/// Starts the daemon with a fault, and drops pictures until it dies of it.
fn dies_at(site: &mut Site, dropped: &mut u32, order: &str) {
    let (step, generation) = (newest_checkpoint(site), newest_generation(site));
    site.spawn_with_fault(order);
    println!("{order}");
    let died = site.wait_for_death(|site| {
        site.drop_pictures(*dropped..*dropped + 20);
        *dropped += 20;
    });
    assert_eq!(
        died,
        Some(9),
        "{order}: the daemon ended by itself; log:\n{}",
        site.log()
    );
    assert!(newest_checkpoint(site) >= step, "{order}: checkpoints went back");
    assert!(newest_generation(site) >= generation, "{order}: generations went back");
    registry_is_whole(site);
}

/// Starts the daemon without a fault and looks for every dropped file.
fn finds_everything(site: &mut Site, dropped: u32) {
    let step = newest_checkpoint(site);
    site.start();
    site.wait_until("sources_accepted", dropped.into());
    site.wait_for("the inbox to be empty", |site| {
        files_below(&site.path("in")).is_empty().then_some(())
    });
    site.wait_until("step", step + 1);
    assert_eq!(site.stop(), Some(0));
    assert_eq!(
        files_below(&site.path("state/streams/pictures/done")).len() as u32,
        dropped
    );
    let verified = verify(site);
    assert_eq!(verified["sources"], dropped, "{verified}");
    assert_eq!(verified["ok"], true, "{verified}");
    registry_is_whole(site);
}

/// `curiod replay verify` of the stopped daemon's stream.
fn verify(site: &Site) -> Value {
    let output = curiod()
        .args(["replay", "verify", "--json", "--config"])
        .arg(site.path("curiod.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["streams"][0].clone()
}

/// Every generation that has its final name is complete, and the aliases point at generations.
fn registry_is_whole(site: &Site) {
    let registry = site.path("state/registry/pictures");
    for entry in fs::read_dir(&registry).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.chars().all(|c| c.is_ascii_digit()) {
            let manifest: Value = serde_json::from_slice(&fs::read(entry.path().join("curiod.json")).unwrap()).unwrap();
            assert_eq!(manifest["generation"].as_u64(), name.parse().ok());
            for (file, hash) in manifest["files"].as_object().unwrap() {
                let bytes = fs::read(entry.path().join(file)).unwrap();
                assert_eq!(
                    blake3::hash(&bytes).to_hex().as_str(),
                    hash.as_str().unwrap(),
                    "{name}/{file}"
                );
            }
        } else if entry.file_type().unwrap().is_symlink() && !name.starts_with('.') {
            let target = fs::canonicalize(entry.path()).unwrap_or_else(|error| panic!("alias {name}: {error}"));
            assert!(
                target.join("model.safetensors").is_file(),
                "alias {name} leads to {}",
                target.display()
            );
        }
    }
}

fn newest_generation(site: &Site) -> u64 {
    let names = fs::read_dir(site.path("state/registry/pictures"))
        .into_iter()
        .flatten()
        .flatten();
    names
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .max()
        .unwrap_or(0)
}

fn newest_checkpoint(site: &Site) -> u64 {
    let names = fs::read_dir(site.path("state/streams/pictures/checkpoints"))
        .into_iter()
        .flatten()
        .flatten();
    names
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok())
        .max()
        .unwrap_or(0)
}

#[test]
fn a_lost_catalogue_is_built_again_and_said_so() {
    let mut site = Site::new();
    site.drop_pictures(0..30);
    site.start();
    site.wait_until("sources_accepted", 30);
    assert_eq!(site.stop(), Some(0));
    let catalogue = site.path("state/streams/pictures/replay/catalogue");
    for entry in files_below(&catalogue) {
        fs::write(catalogue.join(entry), b"rubbish").unwrap();
    }
    site.start();
    let stream = site.wait_until("samples", 30);
    assert_eq!(stream["sources_accepted"], 30);
    assert!(site.log().contains("rebuilding it from the segments"), "{}", site.log());
    site.wait_until("generation", 1);
    site.wait_until("index_covered", 30);
}
