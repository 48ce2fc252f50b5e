//! Our sides of the training measurements: each is a process that does steps when asked.
//! Always true: the daemon's own code runs, set up as `main` sets it up, on two threads.

pub(crate) mod texts;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use curiod::clock::Timestamp;
use curiod::config::{
    CuriosityConfig, DeviceConfig, LearningConfig, Precision, PublicationConfig, ReplayConfig, SamplerKind,
};
use curiod::ids::{SampleId, SourceHash};
use curiod::learn::{
    AdamW, Batch, DeviceTurns, LearnSetup, Learner, LearnerSetup, LearnerThread, Pixels, Shown, SimClr,
};
use curiod::model::text::Tokenizer;
use curiod::model::{Architecture, EncoderSpec, ImageSpec, initialise, weights};
use curiod::replay::{NewSource, ReplayBuffer};
use curiod::sample::image::{ImageLimits, decode};
use curiod::sample::{Content, ImageTile};
use curiod::torch::{self, Device, Kind, Tensor};
use serde_json::json;
use tch::nn::VarStore;

use crate::turns;

pub(crate) const PX: u32 = 64;
pub(crate) const BATCH: u32 = 128;
const THREADS: usize = 2;
/// Steps that both sides do from the same start, to show that they do the same.
const SAME_STEPS: usize = 10;
const SPEC: ImageSpec = ImageSpec {
    architecture: Architecture::ResnetTiny,
    image_px: PX,
};

/// Runs the side of these arguments until nobody asks any more.
pub(crate) fn run(arguments: &[&str]) {
    let device = torch::prepare(&DeviceConfig::default()).expect("the CPU is there");
    torch::set_threads(THREADS);
    match *arguments {
        ["step", precision] => step(&config(precision), device),
        ["optimiser"] => optimiser(),
        ["texts", precision, file] => texts::run(precision, Path::new(file), device),
        ["pipeline", precision] => pipeline(config(precision), device, None),
        ["pipeline", precision, pictures] => pipeline(config(precision), device, Some(Path::new(pictures))),
        _ => panic!("no side is called {arguments:?}"),
    }
}

/// At the full rate from the first step, so that a few steps show whether two sides learn the same.
fn config(precision: &str) -> LearningConfig {
    let precision = if precision == "bf16" {
        Precision::Bf16
    } else {
        Precision::Fp32
    };
    LearningConfig {
        precision,
        warmup_steps: 0,
        ..LearningConfig::default()
    }
}

/// Steps on the same views again and again, whose buffers are used again as the daemon does.
fn step(config: &LearningConfig, device: Device) {
    let setup = LearnerSetup {
        config: config.clone(),
        spec: SPEC.into(),
        tokenizer: None,
        batch: BATCH as usize,
        device,
    };
    let mut learner = Learner::new(setup).expect("a learner can be built");
    let (home, buffers) = bounded(1);
    home.send(views()).expect("the buffer's home is open");
    let mut step = || {
        let batch = Batch {
            step: learner.steps(),
            ids: (0..u64::from(BATCH)).map(SampleId).collect(),
            weights: vec![1.0; BATCH as usize],
            replayed: vec![1.0; BATCH as usize],
            shown: Shown::Pictures {
                views: 2 * BATCH as usize,
                px: PX,
                pixels: Pixels::with_home(buffers.recv().expect("the buffer came home"), {
                    let home = home.clone();
                    move |values| drop(home.try_send(values))
                }),
            },
            to_score: Vec::new(),
        };
        learner.step(batch, 0.0).expect("a step can be taken").loss
    };
    let loss = (0..SAME_STEPS).map(|_| step()).last();
    turns::answer(json!({ "loss": loss }), |steps| {
        for _ in 0..steps {
            step();
        }
    });
}

/// AdamW's update and the teacher's, on the learner's variables.
fn optimiser() {
    let (encoder, heads) = (VarStore::new(Device::Cpu), VarStore::new(Device::Cpu));
    let _objective = SimClr::new(SPEC.build(&encoder.root()), &heads.root());
    for store in [&encoder, &heads] {
        initialise(store, 0).expect("variables can be filled");
    }
    let mut adamw = AdamW::new(&[("encoder", &encoder), ("heads", &heads)], 1e-4).expect("an optimiser can be built");
    let length: Tensor = adamw.params().iter().map(|param| param.square().sum(Kind::Float)).sum();
    length.backward();
    let student: Vec<Tensor> = encoder.variables().into_values().collect();
    let teacher: Vec<Tensor> = student.iter().map(|variable| variable.detach().copy()).collect();
    turns::answer(json!({}), |updates| {
        for _ in 0..updates {
            let _length = adamw.update(1e-6).expect("variables can be updated");
            let _no_grad = tch::no_grad_guard();
            torch::lerp(&teacher, &student, 0.001).expect("the teacher can be updated");
        }
    });
}

/// The daemon's learner thread on a replay buffer of these pictures.
fn pipeline(config: LearningConfig, device: Device, pictures: Option<&Path>) {
    let tiles = pictures.map_or_else(formula_tiles, kept_tiles);
    let contents: Vec<Content> = tiles.into_iter().map(Content::Image).collect();
    learn(config, SPEC.into(), None, &contents, device, json!({}));
}

/// The daemon's learner thread on a replay buffer of these samples; says `ready` when it learns.
fn learn(
    config: LearningConfig,
    spec: EncoderSpec,
    tokenizer: Option<Tokenizer>,
    contents: &[Content],
    device: Device,
    ready: serde_json::Value,
) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let replay = ReplayConfig {
        draws_per_sample: 0.0,
        ..ReplayConfig::default()
    };
    let (replay, _) =
        ReplayBuffer::open(&folder.path().join("replay"), &replay, 0).expect("a replay buffer can be made");
    for contents in contents.chunks(256) {
        let sources = contents.iter().map(source).collect();
        replay.insert(sources).expect("the replay buffer takes samples");
    }
    let setup = LearnSetup {
        stream: "bench".parse().expect("a stream's name"),
        config,
        curiosity: CuriosityConfig::default(),
        publication: PublicationConfig::default(),
        sampler: SamplerKind::Uniform,
        spec,
        tokenizer,
        scales: None,
        device,
        published_step: 0,
        learn_threads: THREADS,
        augment_threads: 1,
        disk_reserve_bytes: 0,
        checkpoints: folder.path().join("checkpoints"),
    };
    let learner = LearnerThread::start(setup, Arc::new(replay), Arc::new(DeviceTurns::default()), drop)
        .expect("a learner can be started");
    let wait = |steps: u64| {
        while learner.state().step < steps {
            std::thread::sleep(Duration::from_micros(500));
        }
    };
    wait(3);
    turns::answer(ready, |steps| wait(learner.state().step + u64::from(steps)));
}

fn kept_tiles(folder: &Path) -> Vec<ImageTile> {
    let files = |folder: &Path| -> Vec<PathBuf> {
        let mut paths: Vec<_> = std::fs::read_dir(folder)
            .expect("a folder")
            .flatten()
            .map(|entry| entry.path())
            .collect();
        paths.sort();
        paths
    };
    let limits = ImageLimits {
        pixels_max: 1 << 20,
        side_px_max: 1 << 12,
    };
    let tile = |path: PathBuf| decode(&std::fs::read(path).expect("a picture"), &limits, PX).expect("a good picture");
    files(folder).iter().flat_map(|class| files(class)).map(tile).collect()
}

fn formula_tiles() -> Vec<ImageTile> {
    turns::pictures::pictures(2_000, 32)
}

fn source(content: &Content) -> NewSource {
    let content = content.encode();
    let hash = SourceHash::of(&content);
    NewSource {
        hash,
        path: hash.to_string().into_bytes(),
        bytes: content.len() as u64,
        taken_at: Timestamp(0),
        samples: vec![content],
    }
}

/// Random views, channels last: both sides see the same.
fn views() -> Vec<f32> {
    let mut rng = curiod::rng::for_step(0, 0, 0);
    let count = (2 * BATCH * 3 * PX * PX) as usize;
    (0..count)
        .map(|_| (curiod::rng::unit(&mut rng) * 4.0 - 2.0) as f32)
        .collect()
}

/// What a peer needs to start where we do: the network, its first weights, the views.
pub(crate) struct Start {
    folder: tempfile::TempDir,
}

impl Start {
    /// Writes it to a temporary folder.
    pub(crate) fn write() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).expect("a temporary file can be written")
        };
        let (encoder, heads) = (VarStore::new(Device::Cpu), VarStore::new(Device::Cpu));
        let _objective = SimClr::new(SPEC.build(&encoder.root()), &heads.root());
        for (name, store) in [("encoder.safetensors", &encoder), ("heads.safetensors", &heads)] {
            initialise(store, 0).expect("variables can be filled");
            write(name, &weights::export(store).expect("variables can be saved"));
        }
        write("config.json", SPEC.timm_config().to_string().as_bytes());
        write(
            "views",
            &views()
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect::<Vec<u8>>(),
        );
        Self { folder }
    }

    /// The arguments of every peer that trains. Over the steps of a measurement the rate is constant.
    pub(crate) fn peer_arguments(&self, precision: &str, layout: &str, threads: &str) -> Vec<String> {
        let start = self.folder.path().to_string_lossy().into_owned();
        let config = config(precision);
        let rate = curiod::learn::learning_rate(0, &config, BATCH as usize);
        let numbers = [
            ("--batch", BATCH.to_string()),
            ("--px", PX.to_string()),
            ("--rate", rate.to_string()),
            ("--decay", config.weight_decay.to_string()),
        ];
        let words = [
            ("--start", start),
            ("--precision", precision.into()),
            ("--layout", layout.into()),
            ("--threads", threads.into()),
        ];
        words
            .into_iter()
            .chain(numbers)
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect()
    }
}
