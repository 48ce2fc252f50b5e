//! How fast files become durable samples: against bare decoding on the same threads, from a burst, and one by one.
//!
//! `CURIOD_TEST_DATA=DIR cargo bench --bench ingest` prints, for pictures of 32 x 32 and of 384 x 512 to 640 x 480:
//! pictures a second that two threads only decode; files a second from an inbox of as many files to durable samples,
//! two decode threads; and their ratio. Then the time from a burst of 10,000 files to the last one's durability, and
//! the time from the close of a single file to its durability on an idle machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that can not go on stops where it is"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use curiod::clock::SystemClock;
use curiod::config::{After, IngestConfig, ReplayConfig};
use curiod::ingest::{Ingest, IngestEvent, IngestSetup};
use curiod::replay::ReplayBuffer;
use curiod::sample::Cutting;
use curiod::sample::image::{ImageLimits, decode};

const THREADS: usize = 2;
const PX: u32 = 64;
const BURST: usize = 10_000;
const SINGLES: usize = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(data) = std::env::var_os("CURIOD_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: CURIOD_TEST_DATA does not name the folder of test data");
        return Ok(());
    };
    let small = members(&std::fs::read(data.join("images/cifar10/cifar10.tar"))?);
    let mut photos = Vec::new();
    for dir in [
        "microscope",
        "trash/cardboard",
        "trash/glass",
        "trash/metal",
        "trash/paper",
    ] {
        for entry in std::fs::read_dir(data.join("images/photos").join(dir))? {
            photos.push(std::fs::read(entry?.path())?);
        }
    }
    println!("                          decode/s   ingest/s   ratio");
    for (name, pictures) in [("32 x 32", &small[..]), ("384 x 512, 640 x 480", &photos[..])] {
        let (bare, whole) = (decode_all(pictures), ingest_all(pictures)?);
        println!("{name:24} {bare:9.0} {whole:10.0} {:7.2}", whole / bare);
    }
    for after in [After::Leave, After::Move] {
        let seconds = burst(&small[..BURST.min(small.len())], after)?;
        println!(
            "burst of {BURST}, after = {after:?}: {seconds:.2} s from the first file to the last one's durability"
        );
    }
    let mut latencies = singles(&small[..SINGLES])?;
    latencies.sort();
    println!(
        "one by one: close to durable, p50 {:.1} ms, p99 {:.1} ms",
        latencies[SINGLES / 2].as_secs_f64() * 1e3,
        latencies[SINGLES * 99 / 100].as_secs_f64() * 1e3
    );
    Ok(())
}

/// The files of a tar.
fn members(tar: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(header) = tar.get(at..at + 512) {
        let octal = std::str::from_utf8(&header[124..135]).unwrap_or_default();
        let size = usize::from_str_radix(octal.trim(), 8).unwrap_or(0);
        if header[156] == b'0' && size > 0 {
            found.push(tar[at + 512..at + 512 + size].to_vec());
        }
        at += 512 + size.div_ceil(512) * 512;
    }
    found
}

/// Pictures a second on all threads.
fn decode_all(pictures: &[Vec<u8>]) -> f64 {
    let limits = ImageLimits {
        pixels_max: 100_000_000,
        side_px_max: 32_768,
    };
    let (begun, next) = (Instant::now(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(bytes) = pictures.get(next.fetch_add(1, Ordering::Relaxed)) {
                    std::hint::black_box(decode(bytes, &limits, PX)).unwrap_or_else(|why| panic!("{why}"));
                }
            });
        }
    });
    pictures.len() as f64 / begun.elapsed().as_secs_f64()
}

/// A running ingest, and the moments at which files became durable.
struct Running {
    dir: tempfile::TempDir,
    ingest: Ingest,
    done: crossbeam_channel::Receiver<Instant>,
}

impl Running {
    fn inbox(&self) -> PathBuf {
        self.dir.path().join("in")
    }

    /// Waits for the verdicts on so many files; when the last one fell.
    fn wait(&self, files: usize) -> Result<Instant, crossbeam_channel::RecvTimeoutError> {
        let mut last = Instant::now();
        for _ in 0..files {
            last = self.done.recv_timeout(Duration::from_secs(120))?;
        }
        Ok(last)
    }
}

fn start(dir: tempfile::TempDir, after: After) -> Result<Running, Box<dyn std::error::Error>> {
    let state = dir.path().join("state");
    std::fs::create_dir_all(&state)?;
    std::fs::create_dir_all(dir.path().join("in"))?;
    let (replay, _) = ReplayBuffer::open(&state.join("replay"), &ReplayConfig::default(), 0)?;
    let setup = IngestSetup {
        stream: "bench".parse()?,
        inboxes: vec![dir.path().join("in")],
        state_dir: state,
        config: IngestConfig {
            after,
            ..IngestConfig::default()
        },
        cutting: Cutting::Pictures {
            limits: ImageLimits {
                pixels_max: 1 << 26,
                side_px_max: 1 << 15,
            },
            image_px: PX,
        },
        decode_threads: THREADS,
    };
    let (told, done) = crossbeam_channel::unbounded();
    let on_event = Arc::new(move |event| {
        if matches!(event, IngestEvent::Accepted { .. } | IngestEvent::Duplicate { .. }) {
            // The receiver goes first when the measurement is over.
            let _ = told.send(Instant::now());
        }
    });
    let ingest = Ingest::start(setup, Arc::new(replay), Arc::new(SystemClock), on_event)?;
    Ok(Running { dir, ingest, done })
}

fn write_all(folder: &Path, pictures: &[Vec<u8>]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (n, bytes) in pictures.iter().enumerate() {
        std::fs::write(folder.join(format!("{n}.jpg")), bytes)?;
    }
    Ok(())
}

/// Files a second from an inbox that is full at the start.
fn ingest_all(pictures: &[Vec<u8>]) -> Result<f64, Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    write_all(&dir.path().join("in"), pictures)?;
    std::thread::sleep(Duration::from_secs(1)); // Until every file has been still for long enough.
    let begun = Instant::now();
    let running = start(dir, After::Leave)?;
    let last = running.wait(pictures.len())?;
    running.ingest.stop();
    Ok(pictures.len() as f64 / (last - begun).as_secs_f64())
}

/// Seconds from the first file of a burst into a watched inbox to the durability of the last.
fn burst(pictures: &[Vec<u8>], after: After) -> Result<f64, Box<dyn std::error::Error>> {
    let running = start(tempfile::tempdir()?, after)?;
    std::thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    write_all(&running.inbox(), pictures)?;
    let last = running.wait(pictures.len())?;
    running.ingest.stop();
    Ok((last - begun).as_secs_f64())
}

/// From the close of each file to its durability, one after another.
fn singles(pictures: &[Vec<u8>]) -> Result<Vec<Duration>, Box<dyn std::error::Error>> {
    let running = start(tempfile::tempdir()?, After::Leave)?;
    std::thread::sleep(Duration::from_millis(500));
    let mut latencies = Vec::new();
    for (n, bytes) in pictures.iter().enumerate() {
        std::fs::write(running.inbox().join(format!("{n}.jpg")), bytes)?;
        let closed = Instant::now();
        latencies.push(running.wait(1)?.saturating_duration_since(closed));
        std::thread::sleep(Duration::from_millis(5));
    }
    running.ingest.stop();
    Ok(latencies)
}
