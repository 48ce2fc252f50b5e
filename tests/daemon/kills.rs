//! Killed at any moment, the daemon loses nothing it acknowledged and shows nothing half-made.

use std::fs;
use std::time::Duration;

use curiod::disk::POINTS;

use crate::harness::{Site, files_below};
use crate::world::{Random, World, newest_checkpoint, newest_generation, registry_is_whole, verify};

const KILLS: u32 = 20;
const PICTURES_A_ROUND: u32 = 12;

#[test]
fn a_daemon_killed_at_twenty_random_moments_keeps_every_acknowledged_file_exactly_once() {
    let mut random = Random::new();
    let mut site = Site::with("[stream.ingest]\nafter = \"move\"\n");
    site.drop_pictures(0..40);
    let (mut step, mut generation) = (0, 0);
    for round in 0..KILLS {
        site.spawn();
        let first = 1_000 * (round + 1);
        site.drop_pictures(first..first + PICTURES_A_ROUND);
        // Half of the kills fall into the start, where the store is opened; the others into ingest, training and publishing.
        std::thread::sleep(Duration::from_millis(if random.below(2) == 0 {
            random.below(700)
        } else {
            500 + random.below(3_500)
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

/// Points that only an earlier failure leads to, or a label, which nobody gives here: the tests of the labels die at those.
const NOT_HERE: [&str; 4] = ["replay.cut", "labels.write", "labels.sync", "labels.cut"];

#[test]
fn a_daemon_killed_at_every_durable_step_keeps_every_acknowledged_file_exactly_once() {
    let mut world = World::new();
    for (round, point) in POINTS.into_iter().enumerate() {
        if NOT_HERE.contains(&point) {
            continue;
        }
        // Half of them lose the power, and with it what was not synced.
        let action = if round % 2 == 0 { "cut" } else { "kill" };
        world.dies_at(&format!("{point}:2:{action}"));
    }
    world.finds_everything();
}

#[test]
fn a_daemon_whose_power_fails_in_the_middle_of_writing_keeps_every_acknowledged_file_exactly_once() {
    let mut world = World::new();
    for order in [
        "replay.append.write:4:torn",
        "replay.append.sync:5:cut",
        "replay.segment.sync:2:cut",
        "durable.write:6:torn",
        "durable.sync:7:cut",
        "durable.sync_dir:2:cut",
    ] {
        world.dies_at(order);
    }
    world.finds_everything();
}

mod soak {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    #[ignore = "takes half an hour; make soak runs it"]
    fn a_daemon_killed_five_hundred_times_keeps_every_acknowledged_file_exactly_once() {
        dies("kill", 500);
    }

    #[test]
    #[ignore = "takes minutes; make soak runs it"]
    fn a_daemon_whose_power_fails_a_hundred_times_keeps_every_acknowledged_file_exactly_once() {
        dies("cut", 100);
    }

    #[test]
    #[ignore = "takes minutes; make soak runs it"]
    fn a_daemon_whose_power_fails_a_hundred_times_in_a_write_keeps_every_acknowledged_file_exactly_once() {
        dies("torn", 100);
    }

    /// Deaths in one world. A learner that has seen more of them publishes hardly ever.
    const DEATHS_A_WORLD: u32 = 25;

    /// Worlds beside each other.
    const WORLDS_MAX: u32 = 4;

    /// The longest that a step by chance is waited for. Then the daemon is killed at that moment.
    const PATIENCE: Duration = Duration::from_secs(15);

    /// Dies so often, at steps by chance; of the kills half come at a random moment.
    fn dies(action: &str, deaths: u32) {
        let worlds = deaths.div_ceil(DEATHS_A_WORLD);
        let next = AtomicU32::new(0);
        let counts: BTreeMap<String, u32> = std::thread::scope(|scope| {
            let live = || {
                let mut counts = BTreeMap::new();
                loop {
                    let world = next.fetch_add(1, Ordering::Relaxed);
                    if world >= worlds {
                        return counts;
                    }
                    lives(action, world, &mut counts);
                    println!("world {world} of {worlds}: everything is there");
                }
            };
            let threads: Vec<_> = (0..WORLDS_MAX).map(|_| scope.spawn(live)).collect();
            let mut all = BTreeMap::new();
            for (place, count) in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
                *all.entry(place).or_default() += count;
            }
            all
        });
        println!("deaths by {action}: {counts:?}");
    }

    /// The deaths of one world, and of how many of each kind it died.
    fn lives(action: &str, number: u32, counts: &mut BTreeMap<String, u32>) {
        let mut random = Random::of(number);
        let mut world = World::new();
        let points = POINTS
            .into_iter()
            .filter(|point| !NOT_HERE.contains(point) && (action != "torn" || point.ends_with(".write")));
        let points: Vec<&str> = points.collect();
        let mut died = 0;
        while died < DEATHS_A_WORLD {
            let mut place = "a random moment";
            if action == "kill" && random.below(2) == 0 {
                world.dies_after(Duration::from_millis(random.below(4_000)));
            } else {
                let point = points[random.below(points.len() as u64) as usize];
                let nth = 1 + random.below(if point.starts_with("durable.") { 12 } else { 3 });
                if world.dies_within(&format!("{point}:{nth}:{action}"), PATIENCE) {
                    place = point;
                } else if action != "kill" {
                    continue;
                }
            }
            died += 1;
            *counts.entry(place.to_owned()).or_default() += 1;
        }
        world.finds_everything();
    }
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
    assert!(
        site.log().contains("moved a catalogue aside that could not be used"),
        "{}",
        site.log()
    );
    site.wait_until("generation", 1);
    site.wait_until("index_covered", 30);
}
