//! A stream that is learnt from as it arrives, without a daemon around it.

pub(crate) mod ett;
pub(crate) mod nab;
pub(crate) mod transitions;

use std::path::Path;
use std::sync::Arc;

use curiod::clock::Timestamp;
use curiod::config::{self, StreamConfig};
use curiod::ids::SourceHash;
use curiod::learn::{DrivenLearner, LearnSetup, measure_scales};
use curiod::model::{Embedder, EncoderSpec};
use curiod::replay::{NewSource, ReplayBuffer};
use curiod::sample::{Content, Modality, Transition};

use crate::Flags;

/// A buffer and its learner.
pub(crate) struct Online {
    replay: Arc<ReplayBuffer>,
    pub(crate) learner: DrivenLearner,
    spec: EncoderSpec,
    device: tch::Device,
    arrived: u64,
    _scratch: tempfile::TempDir,
}

impl Online {
    /// A stream of this kind, with these settings and those of the flags. `firsts`: its first samples, which the scale of transitions
    /// is measured on.
    pub(crate) fn new(modality: Modality, settings: &[&str], firsts: &[Transition], seed: u64, flags: &Flags) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let config = configuration(modality, scratch.path(), settings, seed, flags);
        let device = curiod::torch::prepare(&Default::default()).expect("a device");
        let spec = EncoderSpec::resolve(modality, &config.learning, device).expect("a network");
        let (replay, _) = ReplayBuffer::open(&scratch.path().join("replay"), &config.replay, seed).expect("a buffer");
        let replay = Arc::new(replay);
        let threads = match flags.threads {
            0 => config::ThreadConfig::default().learn(),
            threads => threads,
        };
        let setup = LearnSetup {
            stream: config.name.clone(),
            curiosity: config.curiosity.clone(),
            sampler: config.replay.sampler,
            publication: config.publication.clone(),
            spec,
            tokenizer: None,
            scales: match &spec {
                EncoderSpec::Transition(spec) => Some(measure_scales(firsts.iter().cloned(), spec)),
                _ => None,
            },
            device,
            learn_threads: threads,
            augment_threads: 1,
            disk_reserve_bytes: 0,
            checkpoints: scratch.path().join("checkpoints"),
            published_step: 0,
            config: config.learning.clone(),
        };
        Self {
            learner: DrivenLearner::new(setup, Arc::clone(&replay)).expect("a learner"),
            replay,
            spec,
            device,
            arrived: 0,
            _scratch: scratch,
        }
    }

    /// A source arrives, and is learnt from as often as the settings say.
    pub(crate) fn arrive(&mut self, samples: &[Content]) {
        self.keep(samples);
        self.learner.learn().expect("steps");
    }

    /// A source arrives.
    pub(crate) fn keep(&mut self, samples: &[Content]) {
        self.arrived += 1;
        let source = NewSource {
            hash: SourceHash::of(&self.arrived.to_le_bytes()),
            path: self.arrived.to_string().into_bytes(),
            bytes: 0,
            taken_at: Timestamp(self.arrived as i64),
            samples: samples.iter().map(Content::encode).collect(),
        };
        self.replay.insert(vec![source]).expect("room");
    }

    /// The teacher as it is now, with what says what is hidden.
    pub(crate) fn network(&self) -> Embedder {
        let (_, teacher) = self.learner.weights().expect("weights");
        let decoders = self
            .learner
            .decoders()
            .expect("heads")
            .expect("an objective with heads");
        Embedder::open(&self.spec, None, &teacher, self.device)
            .and_then(|network| network.with_decoder(&decoders.teacher))
            .expect("the network that was saved")
    }
}

fn configuration(modality: Modality, scratch: &Path, settings: &[&str], seed: u64, flags: &Flags) -> StreamConfig {
    let file = scratch.join("curiod.toml");
    let text = format!(
        "state_dir = {:?}\n[[stream]]\nname = \"s\"\nmodality = \"{modality}\"\ninbox = [{:?}]\n",
        scratch.join("state"),
        scratch.join("inbox")
    );
    std::fs::write(&file, text).expect("a configuration");
    let mut all = config::compose(&file, config::environment()).expect("a bare configuration");
    let base = all.streams.remove(0);
    // Nothing is resumed: a checkpoint would only cost time.
    let own = [
        format!("learning.seed={seed}"),
        "learning.checkpoint_s=86400".to_owned(),
    ];
    let settings = settings.iter().copied().chain(own.iter().map(String::as_str));
    settings
        .chain(flags.set.iter().map(String::as_str))
        .fold(base, |config, setting| {
            config
                .with(setting)
                .unwrap_or_else(|error| panic!("{setting}: {}", error.what))
        })
}

/// The mean of numbers that are there.
pub(crate) fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = numbers.fold((0.0, 0u32), |(sum, count), number| (sum + number, count + 1));
    sum / f64::from(count.max(1))
}
