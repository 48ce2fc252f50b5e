//! Whether answers change hands cleanly: clients ask all the time while the generation that answers is changed again and again. Every
//! answer must succeed, and its vectors must be those of the one generation that it names.
//!
//!   cargo bench --bench flips                          32 clients, 10 flips a minute, 5 minutes with flips, 1 without
//!   cargo bench --bench flips -- --minutes 1 --clients 8
//!
//! The daemon learns from made-up texts until it has published two generations; a pin on one and the other makes the flips, over
//! the daemon's own API. The daemon goes on learning.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a bench that can not go on stops where it is"
)]

mod service;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use service::{Connection, Daemon, document};

const TEXTS: usize = 24;
const DOCUMENTS: usize = 400;

/// Largest difference of a number to the reference of its generation: answers are embedded in batches of other sizes.
const TOLERANCE: f64 = 1e-4;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number_of = |flag: &str, default: f64| {
        let at = arguments.iter().position(|argument| argument == flag);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let (minutes, clients) = (number_of("--minutes", 5.0), number_of("--clients", 32.0) as usize);
    let daemon = daemon();
    let references = Arc::new(references(&daemon));
    println!("{clients} clients, each asking for the vector of one text and for its neighbours, in turns");
    let still = load(&daemon, clients, Duration::from_secs(60), None, &references);
    still.tell("without flips");
    let pause = Duration::from_secs_f64(60.0 / number_of("--a-minute", 10.0));
    let flipped = load(
        &daemon,
        clients,
        Duration::from_secs_f64(60.0 * minutes),
        Some(pause),
        &references,
    );
    flipped.tell("with flips");
    println!(
        "p99 with flips is {:.2} times that without",
        flipped.quantile(0.99) / still.quantile(0.99)
    );
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    milliseconds: Vec<f64>,
    failed: Vec<String>,
    mixed: Vec<String>,
    flips: usize,
    by_generation: HashMap<u64, usize>,
}

impl Seen {
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.milliseconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[((sorted.len() - 1) as f64 * share) as usize]
    }

    fn tell(&self, what: &str) {
        println!(
            "{what}: {} answers by generation {:?}, {} flips, {} failed, {} mixed; p50 {:.1} ms, p99 {:.1} ms",
            self.milliseconds.len(),
            self.by_generation,
            self.flips,
            self.failed.len(),
            self.mixed.len(),
            self.quantile(0.5),
            self.quantile(0.99)
        );
        for odd in self.failed.iter().chain(&self.mixed).take(3) {
            println!("  {odd}");
        }
    }
}

fn load(
    daemon: &Daemon,
    clients: usize,
    time: Duration,
    flip_every: Option<Duration>,
    references: &Arc<References>,
) -> Seen {
    let (seen, over) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
    let threads: Vec<_> = (0..clients)
        .map(|client| {
            let (seen, over, references, port) = (
                Arc::clone(&seen),
                Arc::clone(&over),
                Arc::clone(references),
                daemon.port,
            );
            std::thread::spawn(move || {
                let mut connection = Connection::open(port);
                let mut own = Seen::default();
                for turn in client.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    ask(&mut connection, turn, &references, &mut own);
                }
                let mut seen = seen.lock().unwrap();
                seen.milliseconds.extend(own.milliseconds);
                seen.failed.extend(own.failed);
                seen.mixed.extend(own.mixed);
                for (generation, count) in own.by_generation {
                    *seen.by_generation.entry(generation).or_default() += count;
                }
            })
        })
        .collect();
    let (started, mut flips) = (Instant::now(), 0);
    while started.elapsed() < time {
        std::thread::sleep(flip_every.unwrap_or(time).min(time));
        if flip_every.is_some() {
            flips += 1;
            pin(daemon, references.generations[flips % 2]);
        }
    }
    over.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.flips = flips;
    seen
}

/// One question; what is wrong with its answer is noted.
fn ask(connection: &mut Connection, turn: usize, references: &References, seen: &mut Seen) {
    let text = &references.texts[turn / 2 % TEXTS];
    let (path, body) = match turn % 2 {
        0 => ("/api/v1/embed", json!({ "texts": [text] })),
        _ => ("/api/v1/search", json!({ "text": text, "k": 5 })),
    };
    let asked = Instant::now();
    let (status, answer) = match connection.exchange("POST", path, &body.to_string()) {
        Ok(answer) => answer,
        Err(error) => {
            seen.failed.push(format!("{path}: {error}"));
            return;
        }
    };
    seen.milliseconds.push(asked.elapsed().as_secs_f64() * 1e3);
    let generation = answer["generation"].as_u64().unwrap_or(0);
    let Some(reference) = references.of.get(&generation).filter(|_| status == 200) else {
        seen.failed.push(format!("{path}: status {status}: {answer}"));
        return;
    };
    *seen.by_generation.entry(generation).or_default() += 1;
    let right = answer["space"] == reference.space.as_str()
        && match turn % 2 {
            0 => {
                let vector = numbers(&answer["embeddings"][0]);
                let own = &reference.vectors[turn / 2 % TEXTS];
                vector.len() == own.len() && vector.iter().zip(own).all(|(a, b)| (a - b).abs() < TOLERANCE)
            }
            // The texts are all held, so that each is its own nearest, at a cosine of 1 in its own space alone.
            _ => answer["hits"][0]["score"].as_f64().is_some_and(|score| score > 0.999),
        };
    if !right {
        seen.mixed.push(format!("{path}: {answer}"));
    }
}

fn numbers(vector: &Value) -> Vec<f64> {
    let vector = vector.get("embedding").unwrap_or(vector);
    vector
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
        .collect()
}

/// What each of two generations says of each text.
struct References {
    texts: Vec<String>,
    generations: [u64; 2],
    of: HashMap<u64, Reference>,
}

struct Reference {
    space: String,
    vectors: Vec<Vec<f64>>,
}

/// A daemon of texts that has published two generations and keeps them.
fn daemon() -> Daemon {
    let config = "[replay]\ndraws_per_sample = 64.0\ndraws_per_sample_min = 64.0\n[learning]\nbatch = 16\nwarmup_steps = 10\n\
                  [publication]\nfirst_candidate_steps = 5\ncandidate_steps = 20\ngenerations_kept = 100\n";
    let daemon = Daemon::start(config, DOCUMENTS);
    daemon.wait("two generations", |stream| stream["generation"].as_u64() >= Some(2));
    daemon
}

/// Pins a generation: over the socket, which alone takes it where there are no keys.
fn pin(daemon: &Daemon, generation: u64) {
    let mut socket = UnixStream::connect(daemon.folder.join("state/curiod.sock")).expect("the admin socket is there");
    let body = json!({ "generation": generation }).to_string();
    let head = format!(
        "POST /api/v1/models/texts/pin HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
        body.len()
    );
    socket.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Pins each of the two newest generations, and asks it about every text.
fn references(daemon: &Daemon) -> References {
    let (_, models) = daemon.get("/api/v1/models/texts").unwrap();
    let models = models["models"].as_array().unwrap();
    let newest: Vec<u64> = models
        .iter()
        .rev()
        .take(2)
        .filter_map(|model| model["generation"].as_u64())
        .collect();
    let texts: Vec<String> = (0..TEXTS).map(text).collect();
    let mut of = HashMap::new();
    for &generation in &newest {
        pin(daemon, generation);
        daemon.wait("the pinned generation to answer", |stream| {
            stream["generation"] == generation
        });
        let mut connection = Connection::open(daemon.port);
        let asked = json!({ "texts": texts }).to_string();
        let (status, answer) = connection.exchange("POST", "/api/v1/embed", &asked).unwrap();
        assert!(status == 200 && answer["generation"] == generation, "{answer}");
        let reference = Reference {
            space: answer["space"].as_str().unwrap().to_owned(),
            vectors: answer["embeddings"].as_array().unwrap().iter().map(numbers).collect(),
        };
        of.insert(generation, reference);
    }
    References {
        texts,
        generations: [newest[0], newest[1]],
        of,
    }
}

fn text(number: usize) -> String {
    document(number, 14)
}
