//! Search in the index: `cargo bench --bench search [-- ROWS DIM]`. Prints one line a figure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that can not go on stops where it is"
)]

use std::time::{Duration, Instant};

use curiod::ids::SampleId;
use curiod::serve::index::Index;
use curiod::serve::novelty::most_novel;
use curiod::serve::test_embeddings;

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let (rows, dim) = match numbers[..] {
        [rows, dim, ..] => (rows, dim),
        _ => (100_000, 256),
    };
    let embeddings = test_embeddings(rows, dim, 1);
    let ids: Vec<SampleId> = (0..rows as u64).map(SampleId).collect();
    let index = Index::new(dim, 0);
    let started = Instant::now();
    for (ids, rows) in ids.chunks(64).zip(embeddings.chunks(64 * dim)) {
        index.add(ids, rows);
    }
    println!(
        "add: {:.1} us a row, {rows} x {dim}",
        micros(started.elapsed()) / rows as f64
    );

    let queries = test_embeddings(200, dim, 2);
    let mut times: Vec<Duration> = Vec::new();
    for query in queries.chunks(dim) {
        let started = Instant::now();
        std::hint::black_box(index.snapshot().nearest(query, 10));
        times.push(started.elapsed());
    }
    times.sort_unstable();
    println!(
        "search k 10, one query: p50 {:.2} ms, p99 {:.2} ms",
        micros(times[100]) / 1e3,
        micros(times[198]) / 1e3
    );

    let started = Instant::now();
    std::hint::black_box(index.snapshot().nearest(&queries[..64 * dim], 10));
    println!(
        "search k 10, 64 queries together: {:.2} ms a query",
        micros(started.elapsed()) / 64e3
    );

    let started = Instant::now();
    std::hint::black_box(most_novel(&index, 24));
    println!("24 most novel: {:.0} ms", micros(started.elapsed()) / 1e3);

    let started = Instant::now();
    index.remove(&ids[..1_000]);
    println!("remove: {:.1} us a row", micros(started.elapsed()) / 1e3);
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
