//! Search in the index, against the same searches by numpy, faiss and usearch on the same rows in turns.
//!
//!   CURIOD_TEST_PYTHON=.../python cargo bench --bench search [-- ROWS DIM scattered|grouped]
//!
//! The rows are drawn: `scattered` evenly in all directions, which no index but an exact one finds its way in; `grouped` around
//! 2,000 middles of uneven weight, in 16 directions of each, as the rows of a trained network lie.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that can not go on stops where it is"
)]

#[allow(dead_code, reason = "the pictures are for the benches of training")]
mod turns;

use std::sync::Arc;
use std::time::{Duration, Instant};

use curiod::rng;
use curiod::serve::index::{Index, Snapshot};
use curiod::serve::novelty::most_novel;
use curiod::serve::{test_embeddings, test_samples};
use serde_json::json;
use turns::{Rounds, Side, peers};

/// Hits of a search.
const K: usize = 10;
/// Rows up to which a search is exact: the daemon's default.
const EXACT_ROWS_MAX: usize = 200_000;
/// Queries that are drawn, none of which is a row.
const QUERIES: usize = 512;
const BATCH: usize = 32;
const TURN_S: f64 = 1.0;
const ROUNDS: usize = 9;

fn main() {
    if let Some(arguments) = turns::side_arguments() {
        return side(&arguments);
    }
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let number = |at: usize, otherwise| asked.get(at).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (rows, dim) = (number(0, 100_000), number(1, 384));
    let kind = asked.get(2).map_or("scattered", String::as_str);
    println!("{rows} {kind} rows x {dim}, k {K}");
    {
        let (held, queries) = drawn(kind, rows, dim);
        alone(&held, &queries, dim);
    }

    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let python = peers::python();
    for together in [1, BATCH] {
        println!("{together} at a time; median of {ROUNDS} turns (least to most)");
        let arguments = [rows.to_string(), dim.to_string(), kind.to_owned(), together.to_string()];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut sides = vec![Side::ours("curiod, exact", &[&arguments[..], &["exact"]].concat())];
        if rows > EXACT_ROWS_MAX && together == 1 {
            sides.push(Side::ours("curiod, cells", &[&arguments[..], &["cells"]].concat()));
        }
        if let Some(python) = &python {
            let path = folder.path().join("rows");
            if !path.exists() {
                let (held, queries) = drawn(kind, rows, dim);
                let bytes = queries.iter().chain(&held).flat_map(|value| value.to_le_bytes());
                std::fs::write(&path, bytes.collect::<Vec<u8>>()).expect("a temporary file can be written");
            }
            for peer in ["numpy", "faiss-flat", "faiss-hnsw", "usearch"] {
                let is_graph = peer == "faiss-hnsw" || peer == "usearch";
                // Building a graph of more rows than this takes longer than a benchmark may.
                if is_graph && (together > 1 || rows > 300_000) {
                    continue;
                }
                let arguments = [
                    ("--rows", path.to_string_lossy().into_owned()),
                    ("--dim", dim.to_string()),
                    ("--queries", QUERIES.to_string()),
                    ("--together", together.to_string()),
                    ("--by", peer.to_owned()),
                ];
                let arguments: Vec<String> = arguments
                    .into_iter()
                    .flat_map(|(flag, value)| [flag.to_owned(), value])
                    .collect();
                sides.push(peers::peer(peer, python, "search.py", &arguments));
            }
        }
        sides.retain(|side| side.ready["absent"].is_null());
        for side in &sides {
            println!("  {} is {}", side.name, side.ready);
        }
        let rounds = Rounds::take(&mut sides, TURN_S, ROUNDS);
        rounds.print("queries/s", together as f64);
        for peer in 1..sides.len() {
            rounds.print_ratio(0, peer, None);
        }
    }
}

/// What is measured without a peer: adding, removing, the most novel, the spread of one query's time, sorting into cells.
fn alone(held: &[f32], queries: &[f32], dim: usize) {
    let rows = held.len() / dim;
    let index = Arc::new(Index::new(dim, 0, EXACT_ROWS_MAX));
    let (samples, started) = (test_samples(0..rows as u64), Instant::now());
    for (samples, rows) in samples.chunks(64).zip(held.chunks(64 * dim)) {
        index.add(samples, rows);
    }
    println!("add: {:.1} us a row", micros(started.elapsed()) / rows as f64);
    times("one query, exact", &index, queries, dim, |now, query| {
        std::hint::black_box(now.nearest(query, K));
    });
    if rows > EXACT_ROWS_MAX {
        let started = Instant::now();
        wait_for_cells(&index);
        println!(
            "sorting into cells and measuring: {:.1} s",
            started.elapsed().as_secs_f64()
        );
        match index.snapshot().approximate() {
            Some(found) => println!(
                "{found:?}; on queries that are no rows {:.4}",
                recall(&index.snapshot(), queries, dim)
            ),
            None => println!("cells do not find enough: a search stays exact"),
        }
        times(
            "one query, as a search of the daemon",
            &index,
            queries,
            dim,
            |now, query| {
                std::hint::black_box(now.near(query, K));
            },
        );
    } else {
        let started = Instant::now();
        std::hint::black_box(most_novel(&index, 24));
        println!("24 most novel: {:.0} ms", micros(started.elapsed()) / 1e3);
    }
    let removed: Vec<_> = samples[..1_000].iter().map(|(id, _)| *id).collect();
    let started = Instant::now();
    index.remove(&removed);
    println!("remove: {:.1} us a row", micros(started.elapsed()) / 1e3);
}

fn times(what: &str, index: &Index, queries: &[f32], dim: usize, search: impl Fn(&Snapshot, &[f32])) {
    let mut times: Vec<Duration> = queries
        .chunks(dim)
        .take(200)
        .map(|query| {
            let started = Instant::now();
            search(&index.snapshot(), query);
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    let [half, most] = [times[100], times[198]].map(|time| micros(time) / 1e3);
    println!("{what}: p50 {half:.2} ms, p99 {most:.2} ms");
}

/// The share of the true neighbours of queries that a search finds.
fn recall(now: &Snapshot, queries: &[f32], dim: usize) -> f64 {
    let mut right = 0;
    for (query, exact) in queries.chunks(dim).zip(now.nearest(queries, K)) {
        let near = now.near(query, K);
        right += exact
            .iter()
            .filter(|hit| near.iter().any(|near| near.id == hit.id))
            .count();
    }
    right as f64 / (queries.len() / dim * K) as f64
}

fn wait_for_cells(index: &Arc<Index>) {
    index.tend();
    while index.is_being_tended() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn side(arguments: &[String]) {
    let [rows, dim, together] = [0, 1, 3].map(|at| arguments[at].parse::<usize>().expect("a number"));
    let by_cells = arguments[4] == "cells";
    let (held, queries) = drawn(&arguments[2], rows, dim);
    let index = Arc::new(Index::new(dim, 0, EXACT_ROWS_MAX));
    for (samples, rows) in test_samples(0..rows as u64).chunks(64).zip(held.chunks(64 * dim)) {
        index.add(samples, rows);
    }
    drop(held);
    if by_cells {
        wait_for_cells(&index);
    }
    let now = index.snapshot();
    let found = by_cells.then(|| json!({ "recall": recall(&now, &queries, dim) }));
    let mut groups = queries.chunks(together * dim).cycle();
    turns::answer(found.unwrap_or(json!({})), |units| {
        for group in groups.by_ref().take(units as usize) {
            if by_cells {
                std::hint::black_box(now.near(group, K));
            } else {
                std::hint::black_box(now.nearest(group, K));
            }
        }
    });
}

/// Rows and [`QUERIES`] queries of one kind.
fn drawn(kind: &str, rows: usize, dim: usize) -> (Vec<f32>, Vec<f32>) {
    let mut all = match kind {
        "scattered" => test_embeddings(rows + QUERIES, dim, 1),
        "grouped" => grouped(rows + QUERIES, dim),
        other => panic!("rows are `scattered` or `grouped`, not `{other}`"),
    };
    let queries = all.split_off(rows * dim);
    (all, queries)
}

fn grouped(rows: usize, dim: usize) -> Vec<f32> {
    const GROUPS: usize = 2_000;
    const DIRECTIONS: usize = 16;
    let middles = test_embeddings(GROUPS, dim, 2);
    let directions = test_embeddings(GROUPS * DIRECTIONS, dim, 3);
    let mut rng = rng::for_step(4, 0, 0);
    let mut all = Vec::with_capacity(rows * dim);
    for _ in 0..rows {
        // The square makes some groups many times as heavy as others.
        let group = (rng::unit(&mut rng).powi(2) * GROUPS as f64) as usize;
        let mut row = middles[group * dim..][..dim].to_vec();
        for direction in directions[group * DIRECTIONS * dim..][..DIRECTIONS * dim].chunks(dim) {
            let far = 0.2 * rng::normal(&mut rng) as f32;
            row.iter_mut()
                .zip(direction)
                .for_each(|(value, direction)| *value += far * direction);
        }
        row.iter_mut()
            .for_each(|value| *value += 0.3 * (rng::unit(&mut rng) as f32 - 0.5) / (dim as f32).sqrt());
        let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        all.extend(row.iter().map(|value| value / length));
    }
    all
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
