//! Our side of masked language modelling, and what Hugging Face's needs to do the same.
//! Always true: both sides have the same network, vocabulary and rows; a unit of work is a step, and its tokens are counted, padding
//! not.

use std::path::Path;

use curiod::config::LearningConfig;
use curiod::learn::train_vocabulary;
use curiod::model::text::Tokenizer;
use curiod::model::{EncoderSpec, TextSpec};
use curiod::sample::text::{self, TextLimits};
use curiod::sample::{Content, Modality};
use curiod::torch::Device;
use serde_json::json;

use super::{THREADS, config};

/// Passages of a step; each is shown as two rows.
pub(crate) const PASSAGES: usize = 32;

/// Tokens of a row, at most.
const ROW: usize = 128;

/// The share of tokens that `mlm` hides.
const SHARE: f64 = 0.3;

/// What is read: the passages of a file of texts, and their vocabulary.
pub(crate) struct Words {
    passages: Vec<Content>,
    tokenizer: Tokenizer,
    spec: TextSpec,
}

fn learning(precision: &str) -> LearningConfig {
    LearningConfig {
        batch: PASSAGES,
        ..config(precision)
    }
}

impl Words {
    pub(crate) fn read(file: &Path) -> Self {
        let bytes = std::fs::read(file).expect("a file of texts");
        let cut = text::cut(file, &bytes, None, &TextLimits::default()).expect("texts");
        let config = learning("fp32");
        let texts = cut.passages.iter().map(|passage| passage.text.clone());
        let tokenizer = train_vocabulary(&config, texts).expect("a vocabulary");
        let spec = EncoderSpec::resolve(Modality::Text, &config, Device::Cpu);
        let Ok(EncoderSpec::Text(spec)) = spec else {
            panic!("texts have a network of texts")
        };
        Self {
            passages: cut.passages.into_iter().map(Content::Text).collect(),
            tokenizer,
            spec,
        }
    }

    /// Tokens of a step of ours, on average.
    fn tokens_of_step(&self) -> f64 {
        let of_passage = |content: &Content| {
            let Content::Text(passage) = content else { return 0 };
            let tokens = self
                .tokenizer
                .encode(&passage.text, usize::MAX)
                .expect("tokens")
                .ids
                .len();
            // Two rows, each with its first and its last token; what is too short to be cut is shown twice.
            let shown = if tokens < 32 { 2 * tokens } else { tokens };
            (shown + 4).min(2 * ROW)
        };
        let all: usize = self.passages.iter().map(of_passage).sum();
        PASSAGES as f64 * all as f64 / self.passages.len() as f64
    }

    /// The arguments of the peer, whose network, vocabulary and blocks of tokens are written into this folder.
    pub(crate) fn peer_arguments(&self, folder: &Path, precision: &str) -> Vec<String> {
        let mut all: Vec<u32> = Vec::new();
        for content in &self.passages {
            if let Content::Text(passage) = content {
                all.extend(self.tokenizer.encode(&passage.text, usize::MAX).expect("tokens").ids);
            }
        }
        let inner = ROW - 2;
        let block = |ids: &[u32]| [&[self.tokenizer.cls()], ids, &[self.tokenizer.sep()]].concat();
        let blocks: Vec<u8> = all
            .chunks_exact(inner)
            .flat_map(block)
            .flat_map(u32::to_le_bytes)
            .collect();
        let spec = EncoderSpec::Text(self.spec);
        let files: [(&str, Vec<u8>); 4] = [
            ("blocks", blocks),
            ("tokenizer.json", self.tokenizer.json().to_vec()),
            (
                "special_tokens_map.json",
                self.tokenizer.special_tokens_map().to_string().into(),
            ),
            (
                "config.json",
                spec.config_json(Some(&self.tokenizer)).to_string().into(),
            ),
        ];
        for (name, bytes) in files {
            std::fs::write(folder.join(name), bytes).expect("a temporary file can be written");
        }
        let config = learning(precision);
        let rate = curiod::learn::learning_rate(0, &config, PASSAGES);
        [
            ("--start", folder.to_string_lossy().into_owned()),
            ("--precision", precision.to_owned()),
            ("--rows", (2 * PASSAGES).to_string()),
            ("--tokens", ROW.to_string()),
            ("--rate", rate.to_string()),
            ("--decay", config.weight_decay.to_string()),
            ("--share", SHARE.to_string()),
            ("--threads", THREADS.to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }
}

/// The daemon's learner thread on a replay buffer of these texts.
pub(super) fn run(precision: &str, file: &Path, device: Device) {
    let words = Words::read(file);
    let ready = json!({ "worth": words.tokens_of_step() });
    let spec = EncoderSpec::Text(words.spec);
    super::learn(
        learning(precision),
        spec,
        Some(words.tokenizer),
        &words.passages,
        device,
        ready,
    );
}
