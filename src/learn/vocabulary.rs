//! The vocabulary of a new stream of texts: trained on its first texts, then frozen, for a network learns the tokens that it
//! began with.
//! Invariant: it is a function of the texts that were held, the oldest first, and of the settings.

use std::time::{Duration, Instant};

use tracing::info;

use super::LearnError;
use super::run::IDLE;
use super::thread::{LearnSetup, Shared};
use crate::config::LearningConfig;
use crate::ids::SampleId;
use crate::model::ModelError;
use crate::model::text::Tokenizer;
use crate::replay::ReplayBuffer;
use crate::sample::Content;
use std::sync::atomic::Ordering;

/// How long nothing may have arrived until what there is is enough.
const RESTED: Duration = Duration::from_secs(10);

/// Samples that are read at once.
const CHUNK: usize = 1_024;

/// Waits until the buffer holds as much text as the settings ask for, or has enough samples and rests; the vocabulary of what it
/// holds then. None when the learner is stopped before that.
pub(super) fn of_stream(
    replay: &ReplayBuffer,
    setup: &LearnSetup,
    shared: &Shared,
) -> Result<Option<Tokenizer>, LearnError> {
    let (mut seen, mut since) = (replay.changes(), Instant::now());
    while !shared.stop.load(Ordering::Relaxed) {
        shared.state.lock().alive_at = Some(Instant::now());
        let counts = replay.counts();
        let changes = replay.changes();
        if changes != seen {
            (seen, since) = (changes, Instant::now());
        }
        let has_some = (counts.samples - counts.exam_samples) as usize >= setup.config.samples_min;
        let has_all = counts.bytes >= setup.config.vocab_bytes as u64;
        if has_some && (has_all || since.elapsed() >= RESTED) {
            let tokenizer = train(&setup.config, held(replay))?;
            info!(stream = %setup.stream, tokens = tokenizer.vocab_size(), "trained a vocabulary on the first texts");
            return Ok(Some(tokenizer));
        }
        replay.wait_for_change(changes, IDLE);
    }
    Ok(None)
}

/// The vocabulary of these texts, of which so many are read as the settings say.
pub fn train(config: &LearningConfig, texts: impl Iterator<Item = String>) -> Result<Tokenizer, LearnError> {
    let mut bytes = 0;
    let texts = texts.take_while(|text| {
        let fits = bytes < config.vocab_bytes;
        bytes += text.len();
        fits
    });
    Ok(Tokenizer::train(texts, config.vocab_size as usize, true).map_err(ModelError::from)?)
}

/// The texts that a buffer holds, the oldest first. One that can not be read is named by the buffer and passed over.
fn held(replay: &ReplayBuffer) -> impl Iterator<Item = String> {
    let mut after: Option<SampleId> = None;
    let chunks = std::iter::from_fn(move || {
        let ids = replay.ids_after(after, CHUNK);
        after = Some(*ids.last()?);
        Some(replay.read_many(&ids).unwrap_or_default())
    });
    chunks.flatten().filter_map(|content| match Content::decode(&content?) {
        Ok(Content::Text(passage)) => Some(passage.text),
        _ => None,
    })
}
