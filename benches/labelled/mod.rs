//! What the benches of labels share: networks that learnt without any, and what a classifier of their vectors answers.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use curiod::backtest::{Archive, ArchiveSetup, Cut, Item};
use curiod::clock::Timestamp;
use curiod::config::{self, LearningConfig, ReplayConfig, StreamConfig};
use curiod::labels::{Head, Training, fit};
use curiod::learn::{DrivenLearner, LearnSetup, train_vocabulary};
use curiod::model::text::Tokenizer;
use curiod::model::{Embedder, EncoderSpec, Pretrained};
use curiod::replay::{NewSource, ReplayBuffer};
use curiod::rng;
use curiod::sample::{Content, Modality};

/// What is learnt, and asked.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    modality: Modality,
    settings: &'static [&'static str],
    steps: u64,
    data: &'static str,
    manifest: &'static str,
    labels: &'static str,
    /// A column of the manifest and its value, where only a part of it is meant.
    only: Option<(&'static str, &'static str)>,
}

pub(crate) const PARTS: [Part; 3] = [
    Part {
        name: "pictures",
        modality: Modality::Image,
        settings: &["learning.image_px=32", "learning.batch=128"],
        steps: 600,
        data: "images/cifar10/cifar10.tar",
        manifest: "images/cifar10/manifest.csv",
        labels: "class",
        only: None,
    },
    Part {
        name: "photos",
        modality: Modality::Image,
        settings: &["learning.image_px=64", "learning.batch=64"],
        steps: 600,
        data: "images/photos",
        manifest: "images/photos/manifest.csv",
        labels: "class",
        only: Some(("set", "trash")),
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
        only: None,
    },
];

/// A network that learnt without labels, and what it learnt from.
#[derive(Clone)]
pub(crate) struct Learnt {
    pub(crate) archive: Arc<Archive>,
    pub(crate) spec: EncoderSpec,
    pub(crate) tokenizer: Option<Tokenizer>,
    /// A `model.safetensors`.
    pub(crate) weights: Vec<u8>,
    pub(crate) steps: u64,
    pub(crate) took: Duration,
}

impl Part {
    /// The parts of these names; all where none is named.
    pub(crate) fn named(names: &[String]) -> impl Iterator<Item = Self> {
        let is_meant = move |part: &Self| names.is_empty() || names.iter().any(|name| name == part.name);
        PARTS.into_iter().filter(is_meant)
    }

    /// Learns from the part's data, under the daemon's settings, the part's and these.
    pub(crate) fn learn(&self, data: &Path, set: &[String], steps: Option<u64>, threads: usize) -> Learnt {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let settings = settings(self, set, threads, scratch.path());
        let spec = EncoderSpec::resolve(self.modality, &settings.learning, tch::Device::Cpu).expect("an encoder");
        let archive = Archive::open(&ArchiveSetup {
            data: data.join(self.data),
            manifest: data.join(self.manifest),
            labels: self.labels.to_owned(),
            experiences: Cut::Parts(1),
            only: self
                .only
                .map(|(column, value)| (column.to_owned(), value.to_owned()))
                .into_iter()
                .collect(),
            cutting: settings.cutting(spec.image_px()),
        });
        let archive = archive.expect("the test data");
        let steps = steps.unwrap_or(self.steps);
        let started = Instant::now();
        let tokenizer = tokenizer(&archive, &settings, &spec);
        let weights = learnt(
            &archive,
            &settings,
            &spec,
            tokenizer.clone(),
            (steps, threads),
            scratch.path(),
        );
        Learnt {
            archive: Arc::new(archive),
            spec,
            tokenizer,
            weights,
            steps,
            took: started.elapsed(),
        }
    }
}

impl Learnt {
    pub(crate) fn network(&self) -> Embedder {
        Embedder::open(&self.spec, self.tokenizer.as_ref(), &self.weights, tch::Device::Cpu).expect("the network")
    }
}

/// The daemon's own settings, with the part's.
fn settings(part: &Part, set: &[String], threads: usize, scratch: &Path) -> StreamConfig {
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
    curiod::torch::set_threads(threads);
    let all = part.settings.iter().copied().chain(set.iter().map(String::as_str));
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
    tokenizer: Option<Tokenizer>,
    (steps, threads): (u64, usize),
    scratch: &Path,
) -> Vec<u8> {
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
        tokenizer,
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
    learner.weights().expect("weights").1
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
pub(crate) struct Embedded {
    pub(crate) rows: Vec<f32>,
    pub(crate) dim: usize,
    pub(crate) labels: Vec<u32>,
}

impl Embedded {
    pub(crate) fn of(network: &Embedder, items: &[Item]) -> Self {
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

    pub(crate) fn row(&self, at: usize) -> &[f32] {
        &self.rows[at * self.dim..][..self.dim]
    }

    /// So many rows by lot.
    pub(crate) fn by_lot(&self, count: usize, seed: u64) -> Vec<usize> {
        let mut rng = rng::for_step(seed, 0, 0);
        let mut rows: Vec<usize> = (0..self.labels.len()).collect();
        for at in 0..count.min(rows.len()) {
            let other = at + rng::below(&mut rng, rows.len() - at);
            rows.swap(at, other);
        }
        rows.truncate(count);
        rows
    }

    /// These rows as a classifier is fitted from them, and the label of each of its classes.
    pub(crate) fn training(&self, rows: &[usize]) -> (Training, Vec<u32>) {
        let present: BTreeSet<u32> = rows.iter().map(|row| self.labels[*row]).collect();
        let present: Vec<u32> = present.into_iter().collect();
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
        (training, present)
    }

    /// The share of its rows that a classifier of these classes answers rightly.
    pub(crate) fn right(&self, head: &Head, classes: &[u32]) -> f64 {
        let answer = |row: usize| {
            let said = head.probabilities(self.row(row));
            let best = (0..said.len()).max_by(|a, b| said[*a].total_cmp(&said[*b])).unwrap();
            classes[best]
        };
        let right = (0..self.labels.len())
            .filter(|row| answer(*row) == self.labels[*row])
            .count();
        right as f64 / self.labels.len() as f64
    }

    /// The share of `asked` that a classifier of these rows answers rightly.
    pub(crate) fn accuracy(&self, rows: &[usize], asked: &Self) -> f64 {
        let (training, classes) = self.training(rows);
        let head = fit(&training, 0, &AtomicBool::new(false)).expect("two classes");
        asked.right(&head, &classes)
    }
}

/// Accuracies of several choices.
pub(crate) struct Spread {
    pub(crate) mean: f64,
    pub(crate) deviation: f64,
}

impl Spread {
    /// Mean and standard deviation.
    pub(crate) fn of(all: &[f64]) -> Self {
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
