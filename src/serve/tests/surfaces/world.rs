//! Streams of texts and of series beside a site's pictures, and what the native API says of them.

use std::sync::Arc;

use serde_json::{Value, json};
use tch::Device;
use tch::nn::VarStore;

use super::super::site::{Answer, Site, wait_until};
use crate::clock::SystemClock;
use crate::config::ReplayConfig;
use crate::gate::{Accepted, Network};
use crate::ids::{SampleId, StreamName};
use crate::labels::LabelStore;
use crate::model::bert::TINY;
use crate::model::text::Tokenizer;
use crate::model::{EncoderSpec, SeriesSpec, TextSpec, initialise, weights};
use crate::registry::{Provenance, Registry, Weights};
use crate::replay::ReplayBuffer;
use crate::sample::{Cutting, Modality};
use crate::serve::{ServingSetup, StreamHandle, StreamServing};

/// Tokens that a network of texts sees.
pub(super) const TOKENS_MAX: u32 = 12;

/// Texts of several lengths, one of them longer than the network sees.
pub(super) const TEXTS: [&str; 3] = [
    "The cat sat.",
    "The heron went to the river before the rain came down on the market and the barn and the dog.",
    "ünïcode \u{1f600} \"quoted\"\n",
];

/// A stream that was added to a site.
pub(super) struct Stream {
    name: StreamName,
    spec: EncoderSpec,
    pub(super) tokenizer: Option<Tokenizer>,
    registry: Arc<Registry>,
    serving: Arc<StreamServing>,
}

impl Stream {
    /// A stream of texts of this name, that has published.
    pub(super) fn of_texts(site: &Site, name: &str) -> Self {
        let tokenizer = Tokenizer::train(TEXTS.iter(), 400, true).unwrap();
        let spec = EncoderSpec::Text(TextSpec {
            bert: TINY.with_vocab(tokenizer.vocab_size() as i64),
            tokens_max: TOKENS_MAX,
        });
        let cutting = Cutting::Texts {
            limits: Default::default(),
            field: None,
        };
        let stream = Self::add(site, name, spec, Some(tokenizer), cutting);
        stream.publish(1);
        stream
    }

    /// A stream of series of this name, that has published.
    pub(super) fn of_series(site: &Site, name: &str) -> Self {
        let spec = EncoderSpec::Series(SeriesSpec {
            patch_steps: 4,
            channels_max: 4,
            hidden: 32,
            layers: 1,
            heads: 2,
        });
        let stream = Self::add(site, name, spec, None, Cutting::Series(Default::default()));
        stream.publish(1);
        stream
    }

    fn add(site: &Site, name: &str, spec: EncoderSpec, tokenizer: Option<Tokenizer>, cutting: Cutting) -> Self {
        let folder = site.folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let (replay, _) = ReplayBuffer::open(&folder.join("replay"), &ReplayConfig::default(), 0).unwrap();
        let registry = Registry::open(&folder.join("registry"), 2, Arc::new(SystemClock)).unwrap();
        let (replay, registry) = (Arc::new(replay), Arc::new(registry));
        let name: StreamName = name.parse().unwrap();
        let labels = Arc::new(LabelStore::open(&folder.join("labels")).unwrap());
        let serving = Arc::new(StreamServing::start(ServingSetup {
            stream: name.clone(),
            replay: Arc::clone(&replay),
            registry: Arc::clone(&registry),
            labels: Arc::clone(&labels),
            clock: Arc::new(SystemClock),
            device: Device::Cpu,
            threads: 1,
            lanes: 2,
            bf16: false,
            exact_rows_max: 200_000,
            on_serving: Box::new(|_| {}),
        }));
        let mut streams = (*site.state.streams.load_full()).clone();
        let quarantine = streams.values().next().unwrap().quarantine.clone();
        let handle = StreamHandle {
            failures: Box::new(Default::default),
            labels,
            modality: spec.modality(),
            replay,
            registry: Arc::clone(&registry),
            serving: Arc::clone(&serving),
            quarantine,
            cutting,
        };
        streams.insert(name.clone(), Arc::new(handle));
        site.state.streams.store(Arc::new(streams));
        Self {
            name,
            spec,
            tokenizer,
            registry,
            serving,
        }
    }

    /// Publishes a network with the weights of a seed, and waits until it answers; its generation.
    pub(super) fn publish(&self, seed: u64) -> u64 {
        let variables = VarStore::new(Device::Cpu);
        let _network = self.spec.build(&variables.root());
        initialise(&variables, seed).unwrap();
        let bytes = weights::export(&variables).unwrap();
        let provenance = Provenance {
            stream: self.name.clone(),
            step: 50,
            watermark: SampleId(0),
            loss: None,
            encoder: self.spec,
        };
        let staged = self
            .registry
            .stage(
                provenance,
                &Weights {
                    student: bytes.clone(),
                    teacher: bytes.clone(),
                    decoders: None,
                    tokenizer: self.tokenizer.clone(),
                },
            )
            .unwrap();
        let accepted = Accepted::for_tests(Network::Student, &bytes, true);
        let published = self.registry.publish(staged, accepted).unwrap();
        let generation = published.generation;
        self.serving.follow_registry();
        wait_until(&format!("generation {generation} of {}", self.name), || {
            self.serving.state().generation == Some(generation)
        });
        generation.0
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.serving.stop();
    }
}

/// The native vectors of what a request brings.
pub(super) fn native(site: &Site, model: &str, modality: Modality, items: Value) -> Vec<Vec<f32>> {
    let key = match modality {
        Modality::Image => "images",
        Modality::Text => "texts",
        Modality::Series => "series",
        Modality::Transition => "transitions",
    };
    let answer = site.post("/api/v1/embed", &json!({ "model": model, key: items }));
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_value(answer.json()["embeddings"].clone()).unwrap()
}

/// Vectors as JSON says them.
pub(super) fn vectors<'a>(rows: impl IntoIterator<Item = &'a Value>) -> Vec<Vec<f32>> {
    rows.into_iter()
        .map(|row| serde_json::from_value(row.clone()).unwrap())
        .collect()
}

/// Fails unless these are the same vectors.
pub(super) fn assert_same(one: &[Vec<f32>], other: &[Vec<f32>]) {
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(other) {
        assert_eq!(one.len(), other.len());
        let apart = one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-6, "they are {apart} apart");
    }
}

/// Fails unless an answer is of this generation, and says its space.
pub(super) fn assert_signed(answer: &Answer, generation: &str) {
    assert_eq!(
        (answer.status, answer.header("curiod-generation")),
        (200, Some(generation)),
        "{answer:?}"
    );
    assert!(
        answer.header("curiod-space").is_some_and(|space| space.len() == 16),
        "{answer:?}"
    );
}
