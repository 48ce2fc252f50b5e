//! A disk that fails now and then: the daemon says so, goes on, and loses nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use curiod::disk::POINTS;

use crate::world::World;

/// Kinds of failures, and how the log shows them.
const KINDS: [(&str, &str); 3] = [("enospc", "StorageFull"), ("eio", "Input/output"), ("short", "Short")];

/// Every how many passages of a point each kind comes. What takes many steps must not fail at each of them.
fn intervals(point: &str) -> [u32; 3] {
    match point.split_once('.').map_or(point, |(room, _)| room) {
        "durable" => [31, 37, 41],
        "ingest" => [7, 11, 13],
        "publish" | "index" | "compaction" => [2, 3, 5],
        _ if point.starts_with("replay.append") => [7, 11, 13],
        _ => [4, 5, 7],
    }
}

/// The longest that the failures may let themselves be waited for.
const PATIENCE: Duration = Duration::from_secs(2_400);

/// How old a daemon gets: the catalogue is written and segments are cleaned only now and then.
const LIFE: Duration = Duration::from_secs(240);

#[test]
fn a_daemon_whose_disk_fails_now_and_then_goes_on_and_loses_nothing() {
    // Steps that come with each file; it takes minutes until each of the rarer ones has failed.
    let frequent = |point: &&str| point.starts_with("ingest.") || point.starts_with("replay.");
    let points: Vec<&str> = POINTS.into_iter().filter(frequent).collect();
    every_step_fails(&points, 1, 4);
}

#[test]
#[ignore = "takes minutes; make soak runs it"]
fn a_daemon_whose_disk_fails_a_hundred_times_in_each_way_goes_on_and_loses_nothing() {
    every_step_fails(&POINTS, 2, 100);
}

/// Lets every point fail in every way, until each of `points` has failed so often, and each kind has come so often.
fn every_step_fails(points: &[&str], times_a_point: u32, times_a_kind: u32) {
    let start = Instant::now();
    let mut told = String::new();
    loop {
        let missing = |log: &str| missing(&format!("{told}{log}"), points, times_a_point, times_a_kind);
        let (log, still_missing) = lives_with_faults(missing);
        if still_missing.is_empty() {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "did not fail enough: {still_missing:?}");
        told += &log;
    }
}

/// A daemon's life on such a disk, until nothing is missing or it is old: a learner that has seen more publishes hardly ever.
/// Its log, and what is missing.
fn lives_with_faults(missing: impl Fn(&str) -> Vec<String>) -> (String, Vec<String>) {
    let mut world = World::new();
    let orders = POINTS.into_iter().flat_map(|point| {
        let kinds = KINDS.into_iter().zip(intervals(point));
        let fitting = kinds.filter(|((kind, _), _)| *kind != "short" || point.ends_with(".write"));
        // The rarest first: of several orders for one passage the first counts.
        fitting
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .map(move |((kind, _), every)| format!("{point}:{every}%:{kind}"))
    });
    let orders: Vec<String> = orders.collect();
    // A disk that fails while the daemon starts ends it with a sentence; here it is to fail later.
    world.drop_some();
    world.site.start();
    world.site.wait_until("generation", 1);
    assert_eq!(world.site.stop(), Some(0));
    world.site.spawn_with_fault(&orders.join(","));
    let start = Instant::now();
    let (log, still_missing) = loop {
        world.drop_some();
        std::thread::sleep(Duration::from_millis(300));
        let log = world.site.log();
        if let Some(status) = world.site.ended() {
            panic!("the daemon ended with {status}; log:\n{log}");
        }
        let missing = missing(&log);
        if missing.is_empty() || start.elapsed() > LIFE {
            break (log, missing);
        }
    };
    let stream = world.site.stream().unwrap();
    assert_ne!(stream["state"], "failed", "{stream}");
    world.site.kill();
    world.nothing_went_back("after the failures");
    world.finds_everything();
    (log, still_missing)
}

/// What has not yet failed often enough.
fn missing(log: &str, points: &[&str], times_a_point: u32, times_a_kind: u32) -> Vec<String> {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains("as ordered")) {
        let names = POINTS
            .into_iter()
            .filter(|point| line.contains(&format!("\"{point}\"")));
        let kinds = KINDS.into_iter().filter(|(_, shown)| line.contains(shown));
        for name in names.chain(kinds.map(|(kind, _)| kind)) {
            *seen.entry(name.to_owned()).or_default() += 1;
        }
    }
    let points = points.iter().map(|point| (*point, times_a_point));
    let kinds = KINDS.into_iter().map(|(kind, _)| (kind, times_a_kind));
    let rare = points
        .chain(kinds)
        .filter(|(name, times)| seen.get(*name).unwrap_or(&0) < times);
    rare.map(|(name, _)| format!("{name}: {}", seen.get(name).unwrap_or(&0)))
        .collect()
}
