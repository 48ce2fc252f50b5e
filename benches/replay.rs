//! The replay buffer against plain files and against its targets, in one run: `cargo bench --bench replay`.
//!
//! Samples of 1 to 64 KiB that do not compress, sizes spread evenly over their logarithm. "raw" is one file that is
//! written and fdatasynced batch by batch, in turn with the buffer, and read with `pread`.
//! Options after `--`: `--quick` (a tenth), `--samples N`, `--entries N` (for reopening), `--dir DIR`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that can not go on stops where it is"
)]

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use curiod::clock::Timestamp;
use curiod::config::{ReplayConfig, SamplerKind};
use curiod::curiosity::Curiosity;
use curiod::ids::{SampleId, SourceHash};
use curiod::replay::{Evidence, NewSource, ReplayBuffer};
use curiod::rng::{below, for_step, unit};
use rand_core::RngCore;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Sources made durable together.
const BATCH: usize = 256;

/// Samples of one draw, and of one report.
const DRAW: usize = 256;

struct Options {
    samples: usize,
    entries: usize,
    dir: PathBuf,
}

fn options() -> Outcome<Options> {
    let mut options = Options {
        samples: 100_000,
        entries: 1_000_000,
        dir: std::env::temp_dir(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--quick" => (options.samples, options.entries) = (10_000, 50_000),
            "--samples" => options.samples = value()?.parse()?,
            "--entries" => options.entries = value()?.parse()?,
            "--dir" => options.dir = value()?.into(),
            // What cargo itself passes.
            "--bench" => {}
            other => return Err(format!("no such option: {other}").into()),
        }
    }
    Ok(options)
}

/// A line of the table.
fn row(what: &str, measured: &str, target: &str, held: Option<bool>) {
    let held = held.map_or("", |held| if held { "yes" } else { "NO" });
    println!("| {what:<44} | {measured:>22} | {target:>12} | {held:>4} |");
}

/// Bytes that do not compress, and where each sample takes its own from.
struct Payloads(Vec<u8>);

impl Payloads {
    fn new() -> Self {
        let mut bytes = vec![0; 32 << 20];
        for_step(0, 0, 0).fill_bytes(&mut bytes);
        Self(bytes)
    }

    fn get(&self, number: u64) -> &[u8] {
        let mut rng = for_step(1, number, 0);
        let bytes = (1_024.0 * 64f64.powf(unit(&mut rng))) as usize;
        let at = below(&mut rng, self.0.len() - bytes);
        &self.0[at..at + bytes]
    }

    fn source(&self, number: u64) -> NewSource {
        let content = self.get(number);
        NewSource {
            hash: SourceHash::of(&number.to_le_bytes()),
            path: format!("{:04}/{number:08}.jpg", number / 1_000).into_bytes(),
            bytes: content.len() as u64,
            taken_at: Timestamp(number as i64),
            samples: vec![content.to_vec()],
        }
    }
}

/// The file that the buffer is compared with.
struct Raw {
    file: File,
    places: Vec<(u64, usize)>,
    end: u64,
}

impl Raw {
    fn new(path: &Path) -> Outcome<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Self {
            file,
            places: Vec::new(),
            end: 0,
        })
    }

    fn append(&mut self, batch: &[NewSource]) -> Outcome<()> {
        let mut bytes = Vec::new();
        for sample in batch.iter().flat_map(|source| &source.samples) {
            self.places.push((self.end + bytes.len() as u64, sample.len()));
            bytes.extend_from_slice(sample);
        }
        self.file.write_all_at(&bytes, self.end)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn draw(&self, rng: &mut curiod::rng::Rng) -> Outcome<usize> {
        let mut sum = 0;
        for _ in 0..DRAW {
            let (at, len) = self.places[below(rng, self.places.len())];
            let mut content = vec![0; len];
            self.file.read_exact_at(&mut content, at)?;
            sum += usize::from(content[len - 1]);
        }
        Ok(sum)
    }
}

/// How often `call` ran in about this time, each run counting for `count`; a second.
fn rate(time: Duration, count: usize, mut call: impl FnMut(u64) -> Outcome<()>) -> Outcome<f64> {
    let started = Instant::now();
    let mut runs = 0;
    while started.elapsed() < time {
        call(runs)?;
        runs += 1;
    }
    Ok(runs as f64 * count as f64 / started.elapsed().as_secs_f64())
}

fn number_of(file: &str, key: &str) -> f64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(f64::NAN)
}

fn rss_mb() -> f64 {
    number_of("/proc/self/status", "VmRSS:") / 1_024.0
}

/// Bytes that this process has handed to the disk.
fn disk_writes() -> f64 {
    number_of("/proc/self/io", "write_bytes:")
}

/// Takes a folder's files out of the page cache.
fn forget_pages(path: &Path) -> Outcome<()> {
    if path.is_dir() {
        for item in std::fs::read_dir(path)? {
            forget_pages(&item?.path())?;
        }
        return Ok(());
    }
    let file = File::open(path)?;
    file.sync_all()?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

fn config(bytes_max: u64) -> ReplayConfig {
    ReplayConfig {
        bytes_max,
        samples_max: 0,
        sampler: SamplerKind::Prioritized,
        draws_per_sample: 0.0,
        ..ReplayConfig::default()
    }
}

fn main() -> Outcome<()> {
    let options = options()?;
    let log = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(log)
        .with_writer(std::io::stderr)
        .init();
    let dir = options.dir.join(format!("curiod-bench-replay-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    println!(
        "{} samples of 1 to 64 KiB, batches of {BATCH}, draws of {DRAW}, in {}",
        options.samples,
        dir.display()
    );
    println!(
        "| {:<44} | {:>22} | {:>12} | {:>4} |",
        "what", "measured", "target", "held"
    );
    println!("|{:-<46}|{:->24}|{:->14}|{:->6}|", "", "", "", "");
    let outcome = payloads(&options, &dir).and_then(|()| entries(&options, &dir));
    std::fs::remove_dir_all(&dir)?;
    outcome
}

/// Ingest, sampling, churn and reopening with real payloads.
fn payloads(options: &Options, dir: &Path) -> Outcome<()> {
    let payloads = Payloads::new();
    let total: u64 = (0..options.samples as u64).map(|n| payloads.get(n).len() as u64).sum();
    let config = config(total);
    let replay_dir = dir.join("replay");
    let (buffer, _) = ReplayBuffer::open(&replay_dir, &config, 0)?;
    let raw_path = dir.join("raw");
    let mut raw = Raw::new(&raw_path)?;
    let unsynced_path = dir.join("unsynced");
    let mut unsynced = Raw::new(&unsynced_path)?;

    let (mut ours, mut theirs, mut careless) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for start in (0..options.samples as u64).step_by(BATCH) {
        let end = (start + BATCH as u64).min(options.samples as u64);
        let batch: Vec<_> = (start..end).map(|n| payloads.source(n)).collect();
        let at = Instant::now();
        raw.append(&batch)?;
        raw.file.sync_data()?;
        theirs += at.elapsed();
        let at = Instant::now();
        unsynced.append(&batch)?;
        careless += at.elapsed();
        let at = Instant::now();
        buffer.insert(batch)?;
        ours += at.elapsed();
    }
    let mb_s = |time: Duration| total as f64 / 1e6 / time.as_secs_f64();
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    let measured = format!("{ratio:.2} ({:.0} of {:.0} MB/s)", mb_s(ours), mb_s(theirs));
    row("ingest, x raw", &measured, ">= 0.6", Some(ratio >= 0.6));
    let ratio = careless.as_secs_f64() / ours.as_secs_f64();
    let measured = format!("{ratio:.2} (of {:.0} MB/s)", mb_s(careless));
    row("ingest, x raw without fdatasync", &measured, "", None);
    drop(unsynced);
    std::fs::remove_file(unsynced_path)?;

    let second = Duration::from_secs(3);
    let warm = |n| buffer.draw(DRAW, &mut for_step(2, n, 0)).map(drop).map_err(Into::into);
    let raw_warm = |n| raw.draw(&mut for_step(3, n, 0)).map(drop);
    warm(0)?;
    raw_warm(0)?;
    let (ours, theirs) = (rate(second, DRAW, warm)?, rate(second, DRAW, raw_warm)?);
    let measured = format!("{:.0}k/s", ours / 1e3);
    row("warm sampling", &measured, ">= 50k/s", Some(ours >= 50e3));
    let measured = format!("{:.2} (of {:.0}k/s)", ours / theirs, theirs / 1e3);
    row(
        "warm sampling, x raw pread",
        &measured,
        ">= 0.25",
        Some(ours >= 0.25 * theirs),
    );

    let (mut ours, mut theirs) = (Duration::ZERO, Duration::ZERO);
    for n in 0..8 {
        for path in [&replay_dir, &raw_path] {
            forget_pages(path)?;
        }
        let at = Instant::now();
        raw_warm(1_000 + n)?;
        theirs += at.elapsed();
        let at = Instant::now();
        warm(1_000 + n)?;
        ours += at.elapsed();
    }
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    let measured = format!("{ratio:.2} ({:.1}k/s)", 8.0 * DRAW as f64 / 1e3 / ours.as_secs_f64());
    row("cold sampling, x raw pread", &measured, ">= 0.8", Some(ratio >= 0.8));

    let mut curiosity = Curiosity::default();
    let looped = rate(second, DRAW, |n| {
        let draw = buffer.draw(DRAW, &mut for_step(4, n, 0))?;
        let evidence = |(index, id): (usize, SampleId)| Evidence {
            id,
            error: index as f32,
        };
        let ids = draw.samples.iter().map(|drawn| drawn.id);
        let evidence: Vec<_> = ids.enumerate().map(evidence).collect();
        Ok(buffer.report(&evidence, |known| curiosity.judge(known))?)
    })?;
    let measured = format!("{:.0}k/s", looped / 1e3);
    row("sample and update loop", &measured, ">= 30k/s", Some(looped >= 30e3));

    let ids = buffer.ids_after(None, usize::MAX);
    let mut rng = for_step(5, 0, 0);
    let updates = rate(second, DRAW, |_| {
        let mut evidence = Vec::with_capacity(DRAW);
        for _ in 0..DRAW {
            let id = ids[below(&mut rng, ids.len())];
            let error = unit(&mut rng) as f32;
            evidence.push(Evidence { id, error });
        }
        Ok(buffer.report(&evidence, |known| curiosity.judge(known))?)
    })?;
    let measured = format!("{:.0}k/s", updates / 1e3);
    row("priority updates", &measured, ">= 100k/s", Some(updates >= 100e3));

    buffer.checkpoint()?;
    let written = disk_writes();
    let (mut times, mut inserted, mut space) = (Vec::new(), 0, 0f64);
    for start in (0..2 * options.samples as u64).step_by(BATCH) {
        let numbers = (0..BATCH as u64).map(|n| options.samples as u64 + start + n);
        let batch: Vec<_> = numbers.map(|n| payloads.source(n)).collect();
        inserted += batch.iter().map(|source| source.bytes).sum::<u64>();
        let at = Instant::now();
        buffer.insert(batch)?;
        times.push(at.elapsed());
        let counts = buffer.counts();
        space = space.max(counts.disk_bytes as f64 / counts.bytes as f64);
    }
    buffer.checkpoint()?;
    let amplification = (disk_writes() - written) / inserted as f64;
    times.sort();
    let quantile = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let churned = times.iter().sum::<Duration>();
    let measured = format!("{:.0} MB/s", inserted as f64 / 1e6 / churned.as_secs_f64());
    row("churn of twice the capacity", &measured, "", None);
    let measured = format!("{:.0} / {:.0} / {:.0} ms", quantile(0.5), quantile(0.99), quantile(1.0));
    row("insert of a batch in churn, p50 / p99 / max", &measured, "", None);
    let measured = format!("{amplification:.2}");
    row(
        "write amplification under churn",
        &measured,
        "<= 2.5",
        Some(amplification <= 2.5),
    );
    let counts = buffer.counts();
    let after = counts.disk_bytes as f64 / counts.bytes as f64;
    let measured = format!("{after:.2} (most {space:.2})");
    row(
        "space after churn, x live bytes",
        &measured,
        "<= 1.45",
        Some(after <= 1.45),
    );
    let catalogue: u64 = std::fs::read_dir(replay_dir.join("catalogue"))?
        .map(|item| Ok(item?.metadata()?.len()))
        .sum::<Outcome<u64>>()?;
    let measured = format!("{:.2}", catalogue as f64 / counts.bytes as f64);
    row("  of it the catalogue", &measured, "", None);
    let (rss, rss_max) = (rss_mb(), 500.0 + 200e-6 * counts.samples as f64);
    let measured = format!("{rss:.0} MB");
    row(
        "RSS, this bench's 32 MB included",
        &measured,
        &format!("<= {rss_max:.0} MB"),
        Some(rss <= rss_max),
    );

    buffer.close()?;
    reopen("with payloads", &replay_dir, &config, None)?;
    std::fs::remove_dir_all(replay_dir)?;
    std::fs::remove_file(raw_path)?;
    Ok(())
}

/// Opens a closed buffer, then once more without its catalogue.
fn reopen(what: &str, dir: &Path, config: &ReplayConfig, seconds_max: Option<f64>) -> Outcome<()> {
    let (buffer, report) = ReplayBuffer::open(dir, config, 0)?;
    let seconds = report.elapsed.as_secs_f64();
    let (target, held) = match seconds_max {
        Some(max) => (format!("<= {max} s"), Some(seconds <= max)),
        None => (String::new(), None),
    };
    let name = format!("reopening {} entries, {what}", report.samples);
    row(&name, &format!("{seconds:.2} s"), &target, held);
    row("  RSS then", &format!("{:.0} MB", rss_mb()), "", None);
    buffer.close()?;
    std::fs::remove_dir_all(dir.join("catalogue"))?;
    let (buffer, report) = ReplayBuffer::open(dir, config, 0)?;
    let gb = buffer.counts().disk_bytes as f64 / 1e9;
    let measured = format!("{:.2} s ({gb:.2} GB)", report.elapsed.as_secs_f64());
    row("  rebuilding the catalogue", &measured, "", None);
    buffer.close()?;
    Ok(())
}

/// Reopening with many small samples: what a large buffer's catalogue weighs.
fn entries(options: &Options, dir: &Path) -> Outcome<()> {
    const PER_SOURCE: usize = 64;
    let dir = dir.join("entries");
    let config = config(1 << 40);
    let (buffer, _) = ReplayBuffer::open(&dir, &config, 0)?;
    let mut sources = (0..(options.entries / PER_SOURCE) as u64).map(|number| NewSource {
        hash: SourceHash::of(&number.to_le_bytes()),
        path: format!("{number:08}.jsonl").into_bytes(),
        bytes: 0,
        taken_at: Timestamp(0),
        samples: vec![vec![0; 16]; PER_SOURCE],
    });
    let at = Instant::now();
    loop {
        let batch: Vec<_> = sources.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        buffer.insert(batch)?;
    }
    buffer.close()?;
    let measured = format!("{:.2} s", at.elapsed().as_secs_f64());
    row(
        &format!("inserting {} entries of 16 bytes", options.entries),
        &measured,
        "",
        None,
    );
    reopen("16 bytes each", &dir, &config, Some(10.0))
}
