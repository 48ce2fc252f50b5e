//! How fast texts are answered over HTTP, and what learning and answering cost each other.
//!
//!   cargo bench --bench serving                                      `bert_tiny`, learning and idle
//!   CURIOD_TEST_MINILM=DIR cargo bench --bench serving [-- fp32|bf16]   the weights in DIR (a BERT as Hugging Face saves it), idle
//!
//! One text a request on kept connections: texts of 10 tokens and of 190, each another one, so that no answer can be kept. A light
//! load is a client that asks every 200 ms. Clients and daemon share the machine.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a bench that can not go on stops where it is"
)]

mod service;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use service::{Connection, Daemon, document};

const TEXTS: usize = 400;

/// Between two questions of a light load.
const PAUSE: Duration = Duration::from_millis(200);

/// How long each load lasts.
const SHORT: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(60);

fn main() {
    match std::env::var("CURIOD_TEST_MINILM") {
        Ok(weights) => {
            let named = std::env::args().find(|argument| ["fp32", "bf16"].contains(&argument.as_str()));
            for precision in ["fp32", "bf16"] {
                if named.as_deref().is_none_or(|named| named == precision) {
                    throughput(&weights, precision);
                }
            }
        }
        Err(_) => learning_and_answering(),
    }
}

/// Texts a second at 1, 8 and 32 clients.
fn throughput(weights: &str, precision: &str) {
    let daemon = idle(&format!(
        "[server]\nprecision = \"{precision}\"\n[learning]\ninit = \"{weights}\"\nbatch = 16\n"
    ));
    for (tokens, words) in [(10, 8), (190, 188)] {
        for clients in [1, 8, 32] {
            let mut times = load(&daemon, clients, SHORT, words, Duration::ZERO);
            println!(
                "{precision}, {tokens} tokens, {clients} clients: {:.0} texts/s, p50 {:.1} ms, p99 {:.1} ms",
                times.len() as f64 / SHORT.as_secs_f64(),
                quantile(&mut times, 0.5),
                quantile(&mut times, 0.99)
            );
        }
    }
}

/// A light load on an idle daemon and on one that learns, which learns without a load too.
fn learning_and_answering() {
    let daemon = idle("");
    let mut alone = load(&daemon, 1, LONG, 12, PAUSE);
    drop(daemon);
    let daemon = Daemon::start(
        "[replay]\ndraws_per_sample = 0.0\n[publication]\nfirst_candidate_steps = 5\ncandidate_steps = 1000000\n",
        TEXTS,
    );
    daemon.wait("a generation", |stream| stream["generation"].as_u64().is_some());
    let steps = |daemon: &Daemon| daemon.stream().unwrap()["step"].as_u64().unwrap() as f64;
    // In turns, since the machine's own speed swings.
    let (mut quiet, mut busy, mut beside) = (0.0, 0.0, Vec::new());
    for _ in 0..3 {
        let before = steps(&daemon);
        std::thread::sleep(LONG);
        let between = steps(&daemon);
        beside.extend(load(&daemon, 1, LONG, 12, PAUSE));
        quiet += between - before;
        busy += steps(&daemon) - between;
    }
    let (idle, learning) = (quantile(&mut alone, 0.5), quantile(&mut beside, 0.5));
    println!(
        "embed one text, light load, idle: p50 {idle:.2} ms, p99 {:.2} ms",
        quantile(&mut alone, 0.99)
    );
    println!(
        "the same while it learns: p50 {learning:.2} ms ({:.2} times), p99 {:.2} ms",
        learning / idle,
        quantile(&mut beside, 0.99)
    );
    println!(
        "steps in 3 minutes without a load {quiet:.0}, under a light load {busy:.0}: {:.1} % less",
        100.0 * (1.0 - busy / quiet)
    );
}

/// A daemon that has published a generation and has nothing left to learn.
fn idle(config: &str) -> Daemon {
    let rest =
        "[replay]\ndraws_per_sample = 0.5\ndraws_per_sample_min = 0.5\n[publication]\nfirst_candidate_steps = 2\n";
    let daemon = Daemon::start(&format!("{config}{rest}"), TEXTS);
    daemon.wait("a generation, and nothing left to learn", |stream| {
        stream["generation"].as_u64().is_some() && stream["state"] == "bored"
    });
    daemon
}

/// Milliseconds of each answer to this many clients, which ask again `pause` after each answer.
fn load(daemon: &Daemon, clients: usize, time: Duration, words: usize, pause: Duration) -> Vec<f64> {
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let asking = || {
            let mut connection = Connection::open(daemon.port);
            let mut times = Vec::new();
            while started.elapsed() < time {
                let text = document(next.fetch_add(1, Ordering::Relaxed), words);
                let body = json!({ "texts": [text] }).to_string();
                let asked = Instant::now();
                let (status, answer) = connection.bytes("POST", "/api/v1/embed", &body).unwrap();
                times.push(asked.elapsed().as_secs_f64() * 1e3);
                assert!(status == 200, "{}", String::from_utf8_lossy(&answer));
                std::thread::sleep(pause);
            }
            times
        };
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(asking)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn quantile(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * share) as usize]
}
