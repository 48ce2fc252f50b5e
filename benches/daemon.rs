//! The daemon as its users see it: how soon a dropped file is searchable, how long a burst takes, what a query costs, and
//! what the process holds, all while it trains.
//!
//!   cargo bench --bench daemon                   latency, burst, queries
//!   cargo bench --bench daemon -- --soak 30      and then 30 minutes of arrivals, with memory every minute
//!   cargo bench --bench daemon -- --recovery 100000   instead: that many samples, then kills, and how soon it is ready again

#![allow(clippy::expect_used, reason = "a bench that can not go on stops where it is")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const WARM_FILES: u32 = 2_000;
const SINGLE_FILES: u32 = 200;
const BURST_FILES: u32 = 10_000;
const QUERIES: u32 = 300;
const KILLS: u32 = 10;

struct Daemon {
    child: Option<Child>,
    port: u16,
    folder: PathBuf,
    dropped: u32,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number_of = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)?.parse::<u32>().ok()
    };
    let soak = number_of("--soak");
    let folder = std::env::temp_dir().join(format!("curiod-bench-{}", std::process::id()));
    fs::create_dir_all(folder.join("in")).expect("a temporary folder can be made");
    let mut daemon = Daemon::start(folder);
    if let Some(samples) = number_of("--recovery") {
        return recovery(&mut daemon, samples);
    }

    daemon.drop_files(WARM_FILES);
    daemon.wait("a published generation and a whole index", |stream, dropped| {
        stream["generation"].as_u64().unwrap_or(0) >= 1 && stream["index_covered"] == dropped
    });
    let learning = daemon.stream();
    println!(
        "training meanwhile: {} steps/s, duty cycle {}, state {}",
        learning["steps_per_s"], learning["duty_cycle"], learning["state"]
    );
    println!("memory at {} samples: {}", daemon.dropped, daemon.memory());

    let mut latencies: Vec<f64> = (0..SINGLE_FILES).map(|_| daemon.time_one_file()).collect();
    report("file dropped -> searchable", "s", &mut latencies);

    let start = Instant::now();
    daemon.drop_files(BURST_FILES);
    let written = start.elapsed().as_secs_f64();
    daemon.wait("the burst to be searchable", |stream, dropped| {
        stream["index_covered"] == dropped
    });
    println!(
        "{BURST_FILES} files dropped at once: all searchable after {:.1} s (written in {written:.1} s)",
        start.elapsed().as_secs_f64()
    );
    println!("memory at {} samples: {}", daemon.dropped, daemon.memory());

    let picture = picture(1);
    for (what, path) in [("embed", "/api/v1/embed"), ("search", "/api/v1/search?k=10")] {
        let mut times: Vec<f64> = (0..QUERIES)
            .map(|_| {
                let start = Instant::now();
                let answer = daemon.request("POST", path, "image/png", &picture);
                assert!(
                    answer.is_some_and(|answer| answer["space"].is_string()),
                    "{path} did not answer"
                );
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        report(
            &format!("{what} of one picture over HTTP, one client"),
            "ms",
            &mut times,
        );
    }

    for minute in 0..soak.unwrap_or(0) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            daemon.drop_files(20);
            std::thread::sleep(Duration::from_secs(2));
        }
        let stream = daemon.stream();
        println!(
            "soak minute {:>3}: step {}, samples {}, generation {}, memory {}",
            minute + 1,
            stream["step"],
            stream["samples"],
            stream["generation"],
            daemon.memory()
        );
    }
}

/// Kills the daemon while files arrive, and starts it again.
fn recovery(daemon: &mut Daemon, samples: u32) {
    daemon.drop_files(samples);
    daemon.wait("every file and a generation", |stream, dropped| {
        stream["sources_accepted"] == dropped && stream["generation"].as_u64().unwrap_or(0) >= 1
    });
    let (mut ready, mut searchable) = (Vec::new(), Vec::new());
    for kill in 0..KILLS {
        daemon.drop_files(200);
        std::thread::sleep(Duration::from_millis(u64::from(kill) * 97));
        daemon.kill();
        let start = Instant::now();
        daemon.launch();
        while daemon
            .request("GET", "/readyz", "", &[])
            .is_none_or(|answer| answer["status"] != "ready")
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        ready.push(start.elapsed().as_secs_f64());
        daemon.wait("every sample to be searchable", |stream, dropped| {
            stream["index_covered"] == dropped
        });
        searchable.push(start.elapsed().as_secs_f64());
    }
    println!(
        "{} samples, killed {KILLS} times while files arrived: {} found again",
        samples,
        daemon.stream()["samples"]
    );
    report("start after a kill -> ready", "s", &mut ready);
    report("start after a kill -> every sample searchable", "s", &mut searchable);
}

impl Daemon {
    fn start(folder: PathBuf) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a port is free")
            .port();
        let mut daemon = Self {
            child: None,
            port,
            folder,
            dropped: 0,
        };
        daemon.launch();
        while daemon.request("GET", "/livez", "", &[]).is_none() {
            std::thread::sleep(Duration::from_millis(50));
        }
        daemon
    }

    fn launch(&mut self) {
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(self.folder.join("log"));
        let child = Command::new(env!("CARGO_BIN_EXE_curiod"))
            .args(["run", "--modality", "image", "--bind"])
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("--inbox")
            .arg(self.folder.join("in"))
            .arg("--state")
            .arg(self.folder.join("state"))
            .stdout(Stdio::null())
            .stderr(log.expect("the log can be made"))
            .spawn()
            .expect("the daemon starts");
        self.child = Some(child);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn drop_files(&mut self, count: u32) {
        for number in self.dropped..self.dropped + count {
            let path = self.folder.join("in").join(format!("{number:06}.png"));
            let part = path.with_extension("part");
            fs::write(&part, picture(number))
                .and_then(|()| fs::rename(part, path))
                .expect("the inbox can be written");
        }
        self.dropped += count;
    }

    fn time_one_file(&mut self) -> f64 {
        let start = Instant::now();
        self.drop_files(1);
        while self.stream()["index_covered"].as_u64().unwrap_or(0) < u64::from(self.dropped) {
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "the file never became searchable"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        start.elapsed().as_secs_f64()
    }

    fn wait(&self, what: &str, done: impl Fn(&Value, u32) -> bool) {
        let start = Instant::now();
        while !done(&self.stream(), self.dropped) {
            assert!(
                start.elapsed() < Duration::from_secs(600),
                "waited in vain for {what}: {}",
                self.stream()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn stream(&self) -> Value {
        self.request("GET", "/api/v1/status", "", &[])
            .map_or(Value::Null, |status| status["streams"][0].clone())
    }

    /// One HTTP/1.1 request on its own connection. None when nobody answers.
    fn request(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Option<Value> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        socket.write_all(head.as_bytes()).ok()?;
        socket.write_all(body).ok()?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        Some(serde_json::from_slice(&answer[end + 4..]).unwrap_or(Value::Bool(true)))
    }

    fn memory(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.as_ref().map_or(0, Child::id)))
            .unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim()
                .strip_suffix(" kB")?
                .trim()
                .parse::<u64>()
                .ok()
                .map(|kib| kib / 1024)
        };
        format!(
            "{} MiB (peak {} MiB)",
            field("VmRSS:").unwrap_or(0),
            field("VmHWM:").unwrap_or(0)
        )
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        remove(&self.folder);
    }
}

fn remove(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
}

fn report(what: &str, unit: &str, times: &mut [f64]) {
    times.sort_by(f64::total_cmp);
    let at = |quantile: f64| times[((times.len() - 1) as f64 * quantile).round() as usize];
    println!(
        "{what}: p50 {:.2} {unit}, p90 {:.2}, p99 {:.2}, max {:.2} (n = {})",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        times.len()
    );
}

/// A PNG picture of 64 x 64 pixels of its number.
fn picture(number: u32) -> Vec<u8> {
    let hash = |salt: u32| {
        number
            .wrapping_mul(2_654_435_761)
            .wrapping_add(salt.wrapping_mul(40_503))
            .rotate_left(salt % 31)
            >> 7
    };
    let picture = image::RgbImage::from_fn(64, 64, |x, y| {
        let wave = |salt: u32| {
            let phase = (x * (hash(salt) % 13) + y * (hash(salt + 1) % 11) + hash(salt + 2) % 97) % 96;
            (if phase < 48 { phase * 5 } else { (95 - phase) * 5 }) as u8
        };
        image::Rgb([wave(1), wave(5), wave(9)])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("a picture can be encoded");
    bytes.into_inner()
}
