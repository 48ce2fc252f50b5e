//! What few labels are worth: a network learns without them from CIFAR-10, or from short queries; then 10, 20 and 50 of what it
//! learnt from get labels, once those that `label-queue` finds typical and once as many by lot, and a classifier of them is
//! asked about what was never seen. Last 1 % of the labels, by lot.
//!
//!   CURIOD_TEST_DATA=... cargo bench --bench labels -- [pictures|texts] [--steps N] [--draws 10] [--threads 1] [--out DIR]
//!       [--set KEY=VALUE]
//!
//! A few minutes on one thread, nearly all of them for learning. `--set learning.init=DIR --steps 0` begins with a published
//! folder instead. Prints the curve, and writes it to DIR as NAME.svg.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that can not go on stops where it is"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use clap::Parser;
use curiod::backtest::{Archive, ArchiveSetup, Cut, Item};
use curiod::clock::Timestamp;
use curiod::config::{self, LearningConfig, ReplayConfig, StreamConfig};
use curiod::labels::{Pool, Training, fit, typical};
use curiod::learn::{DrivenLearner, LearnSetup, train_vocabulary};
use curiod::model::text::Tokenizer;
use curiod::model::{Embedder, EncoderSpec, Pretrained};
use curiod::plot::{Axis, Line, Panel, Unit, lines};
use curiod::replay::{NewSource, ReplayBuffer};
use curiod::rng;
use curiod::sample::{Content, Modality};

/// Labels that are given.
const BUDGETS: [usize; 3] = [10, 20, 50];

#[derive(Parser)]
struct Flags {
    /// `pictures`, `texts`, or both where nothing is named
    parts: Vec<String>,
    /// Steps of learning without labels
    #[arg(long)]
    steps: Option<u64>,
    /// Times that labels are chosen, by lot and with another seed of the clusters
    #[arg(long, default_value_t = 10)]
    draws: u64,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(long)]
    set: Vec<String>,
    /// A folder for NAME.svg
    #[arg(long)]
    out: Option<PathBuf>,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is learnt, and asked.
struct Part {
    name: &'static str,
    modality: Modality,
    settings: &'static [&'static str],
    steps: u64,
    data: &'static str,
    manifest: &'static str,
    labels: &'static str,
}

const PARTS: [Part; 2] = [
    Part {
        name: "pictures",
        modality: Modality::Image,
        settings: &["learning.image_px=32", "learning.batch=128"],
        steps: 600,
        data: "images/cifar10/cifar10.tar",
        manifest: "images/cifar10/manifest.csv",
        labels: "class",
    },
    Part {
        name: "texts",
        modality: Modality::Text,
        settings: &[
            "learning.batch=64",
            "learning.tokens_max=32",
            "learning.vocab_size=2000",
        ],
        steps: 500,
        data: "text/intents/intents.jsonl",
        manifest: "text/intents/intents.jsonl",
        labels: "domain",
    },
];

fn main() {
    let flags = Flags::parse();
    let Some(data) = std::env::var_os("CURIOD_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: labels are of real pictures and texts; set CURIOD_TEST_DATA");
        return;
    };
    for part in PARTS {
        if flags.parts.is_empty() || flags.parts.iter().any(|name| name == part.name) {
            measure(&part, &flags, &data);
        }
    }
}

fn measure(part: &Part, flags: &Flags, data: &Path) {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let settings = settings(part, flags, scratch.path());
    let spec = EncoderSpec::resolve(part.modality, &settings.learning, tch::Device::Cpu).expect("an encoder");
    let archive = Archive::open(&ArchiveSetup {
        data: data.join(part.data),
        manifest: data.join(part.manifest),
        labels: part.labels.to_owned(),
        experiences: Cut::Parts(1),
        only: Vec::new(),
        cutting: settings.cutting(spec.image_px()),
    });
    let archive = archive.expect("the test data");
    let steps = flags.steps.unwrap_or(part.steps);
    let started = Instant::now();
    let network = learnt(&archive, &settings, &spec, steps, flags.threads, scratch.path());
    let (known, asked) = (
        Embedded::of(&network, &archive.stream),
        Embedded::of(&network, &archive.asks),
    );
    println!(
        "\n{}: {} learnt from without labels, {steps} steps, {:.0} s; {} asked, {} classes; accuracy in %, mean ± standard deviation of {}",
        part.name,
        archive.stream.len(),
        started.elapsed().as_secs_f64(),
        archive.asks.len(),
        archive.labels.len(),
        flags.draws
    );
    println!(
        "{:>7} {:>16} {:>16} {:>22}",
        "labels", "typical", "by lot", "classes had, typical"
    );
    let (mut of_typical, mut of_lot) = (Vec::new(), Vec::new());
    for budget in BUDGETS {
        let chosen: Vec<Vec<usize>> = (0..flags.draws).map(|seed| known.typical(budget, seed)).collect();
        let by_lot: Vec<Vec<usize>> = (0..flags.draws).map(|seed| known.by_lot(budget, seed)).collect();
        let classes: usize = chosen.iter().map(|rows| known.classes(rows)).sum();
        let (typical, lot) = (Spread::of(&known, &asked, &chosen), Spread::of(&known, &asked, &by_lot));
        println!(
            "{budget:>7} {typical:>16} {lot:>16} {:>22.1}",
            classes as f64 / flags.draws as f64
        );
        of_typical.push((budget as f64, typical.mean));
        of_lot.push((budget as f64, lot.mean));
    }
    let one_percent = known.labels.len() / 100;
    let draws: Vec<Vec<usize>> = (0..flags.draws).map(|seed| known.by_lot(one_percent, seed)).collect();
    let spread = Spread::of(&known, &asked, &draws);
    println!("{one_percent:>7} {:>16} {spread:>16} (1 %)", "");
    of_lot.push((one_percent as f64, spread.mean));
    if let Some(folder) = &flags.out {
        let panel = Panel {
            y: Axis {
                label: "accuracy",
                unit: Unit::Share,
            },
            lines: vec![
                Line {
                    name: "typical",
                    points: of_typical,
                },
                Line {
                    name: "by lot",
                    points: of_lot,
                },
            ],
            marks: None,
        };
        let x = Axis {
            label: "labels",
            unit: Unit::Number,
        };
        let title = format!("What few labels are worth: {}", part.name);
        let svg = lines(&title, x, &[panel]).expect("a plot");
        std::fs::create_dir_all(folder).expect("the folder");
        std::fs::write(folder.join(format!("{}.svg", part.name)), svg).expect("the plot's file");
    }
}

/// The daemon's own settings, with the part's.
fn settings(part: &Part, flags: &Flags, scratch: &Path) -> StreamConfig {
    let file = scratch.join("curiod.toml");
    let text = format!(
        "state_dir = {:?}\n[[stream]]\nname = \"s\"\nmodality = \"{}\"\ninbox = [{:?}]\n",
        scratch.join("state"),
        part.modality,
        scratch.join("inbox")
    );
    std::fs::write(&file, text).expect("a configuration");
    let mut config = config::compose(&file, config::environment()).expect("a bare configuration");
    curiod::torch::prepare(&config.device).expect("a device");
    curiod::torch::set_threads(flags.threads);
    let all = part
        .settings
        .iter()
        .copied()
        .chain(flags.set.iter().map(String::as_str));
    all.fold(config.streams.remove(0), |settings, setting| {
        settings
            .with(setting)
            .unwrap_or_else(|error| panic!("{setting}: {}", error.what))
    })
}

/// A network that learnt from all of the archive's stream, through the daemon's buffer and loop.
fn learnt(
    archive: &Archive,
    settings: &StreamConfig,
    spec: &EncoderSpec,
    steps: u64,
    threads: usize,
    scratch: &Path,
) -> Embedder {
    let tokenizer = tokenizer(archive, settings, spec);
    let draws = (steps as usize * spec.batch(&settings.learning)) as f64 / archive.stream.len() as f64;
    let replay = ReplayConfig {
        bytes_max: 1 << 40,
        samples_max: 0,
        draws_per_sample: 2.0 * draws + 1.0,
        draws_per_sample_min: 2.0 * draws + 1.0,
        ..settings.replay.clone()
    };
    let (buffer, _) = ReplayBuffer::open(&scratch.join("replay"), &replay, 0).expect("a buffer");
    let buffer = Arc::new(buffer);
    let source = |(number, item): (usize, &Item)| NewSource {
        hash: item.hash,
        path: item.path.clone().into_bytes(),
        bytes: item.bytes,
        taken_at: Timestamp(number as i64),
        samples: vec![item.content.encode()],
    };
    buffer
        .insert(archive.stream.iter().enumerate().map(source).collect())
        .expect("an insert");
    let setup = LearnSetup {
        stream: settings.name.clone(),
        curiosity: settings.curiosity.clone(),
        sampler: replay.sampler,
        publication: settings.publication.clone(),
        spec: *spec,
        tokenizer: tokenizer.clone(),
        scales: None,
        device: tch::Device::Cpu,
        learn_threads: threads,
        augment_threads: 1,
        disk_reserve_bytes: 0,
        checkpoints: scratch.join("checkpoints"),
        published_step: 0,
        config: LearningConfig {
            checkpoint_s: u64::MAX,
            ..settings.learning.clone()
        },
    };
    let mut learner = DrivenLearner::new(setup, buffer).expect("a learner");
    learner.learn_until(steps).expect("steps");
    let (_, teacher) = learner.weights().expect("weights");
    Embedder::open(spec, tokenizer.as_ref(), &teacher, tch::Device::Cpu).expect("the network")
}

fn tokenizer(archive: &Archive, settings: &StreamConfig, spec: &EncoderSpec) -> Option<Tokenizer> {
    if spec.modality() != Modality::Text {
        return None;
    }
    if let Some(dir) = &settings.learning.init {
        return Pretrained::read(dir, spec)
            .expect("a published folder")
            .tokenizer()
            .cloned();
    }
    let texts = archive.stream.iter().filter_map(|item| match &item.content {
        Content::Text(passage) => Some(passage.text.clone()),
        _ => None,
    });
    Some(train_vocabulary(&settings.learning, texts).expect("a vocabulary"))
}

/// Vectors of samples that have a label.
struct Embedded {
    rows: Vec<f32>,
    dim: usize,
    labels: Vec<u32>,
}

impl Embedded {
    fn of(network: &Embedder, items: &[Item]) -> Self {
        let known: Vec<&Item> = items.iter().filter(|item| item.label.is_some()).collect();
        let contents: Vec<&Content> = known.iter().map(|item| &item.content).collect();
        let _no_grad = tch::no_grad_guard();
        let rows = contents
            .chunks(256)
            .flat_map(|chunk| network.embed(chunk).expect("vectors"));
        Self {
            rows: rows.collect(),
            dim: network.dim(),
            labels: known.iter().filter_map(|item| Some(item.label? as u32)).collect(),
        }
    }

    fn row(&self, at: usize) -> &[f32] {
        &self.rows[at * self.dim..][..self.dim]
    }

    /// As many typical rows, of as many as the daemon would choose from, by lot.
    fn typical(&self, count: usize, seed: u64) -> Vec<usize> {
        let pool = self.by_lot(Pool::room(0, count), seed + 1_000);
        let candidates = pool.iter().map(|row| self.row(*row)).collect();
        let chosen = typical(
            &Pool {
                candidates,
                labelled: Vec::new(),
            },
            count,
            seed,
        );
        chosen.into_iter().map(|(at, _)| pool[at]).collect()
    }

    fn by_lot(&self, count: usize, seed: u64) -> Vec<usize> {
        let mut rng = rng::for_step(seed, 0, 0);
        let mut rows: Vec<usize> = (0..self.labels.len()).collect();
        for at in 0..count.min(rows.len()) {
            let other = at + rng::below(&mut rng, rows.len() - at);
            rows.swap(at, other);
        }
        rows.truncate(count);
        rows
    }

    fn classes(&self, rows: &[usize]) -> usize {
        rows.iter()
            .map(|row| self.labels[*row])
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    }

    /// The share of `asked` that a classifier of these rows answers rightly.
    fn accuracy(&self, rows: &[usize], asked: &Self) -> f64 {
        let present: Vec<u32> = rows
            .iter()
            .map(|row| self.labels[*row])
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        let count = self.labels.len() as f64;
        let mut mean = vec![0.0; self.dim];
        for row in self.rows.chunks_exact(self.dim) {
            mean.iter_mut()
                .zip(row)
                .for_each(|(mean, value)| *mean += f64::from(*value) / count);
        }
        let squares = self.rows.chunks_exact(self.dim).flat_map(|row| row.iter().zip(&mean));
        let squares: f64 = squares.map(|(value, mean)| (f64::from(*value) - mean).powi(2)).sum();
        let place = |label: u32| present.iter().position(|known| *known == label).unwrap_or(0) as u32;
        let training = Training {
            rows: rows.iter().flat_map(|row| self.row(*row)).copied().collect(),
            dim: self.dim,
            labels: rows.iter().map(|row| place(self.labels[*row])).collect(),
            groups: (0..rows.len() as u64).collect(),
            classes: present
                .iter()
                .map(|label| format!("class {label}").parse().unwrap())
                .collect(),
            mean,
            spread: (squares / count).sqrt(),
        };
        let head = fit(&training, 0, &AtomicBool::new(false)).expect("two classes");
        let answer = |row: usize| {
            let said = head.probabilities(asked.row(row));
            let best = (0..said.len()).max_by(|a, b| said[*a].total_cmp(&said[*b])).unwrap();
            present[best]
        };
        let right = (0..asked.labels.len())
            .filter(|row| answer(*row) == asked.labels[*row])
            .count();
        right as f64 / asked.labels.len() as f64
    }
}

/// Accuracies of several choices.
struct Spread {
    mean: f64,
    deviation: f64,
}

impl Spread {
    fn of(known: &Embedded, asked: &Embedded, choices: &[Vec<usize>]) -> Self {
        let all: Vec<f64> = choices.iter().map(|rows| known.accuracy(rows, asked)).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let squares: f64 = all.iter().map(|one| (one - mean).powi(2)).sum();
        Self {
            mean,
            deviation: (squares / (all.len() as f64 - 1.0).max(1.0)).sqrt(),
        }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:.1} ± {:.1}", 100.0 * self.mean, 100.0 * self.deviation))
    }
}
