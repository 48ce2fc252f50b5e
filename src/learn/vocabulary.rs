//! The vocabulary of a new stream of texts: trained on its first texts, then frozen, for a network learns the tokens that it
//! began with.
//! Invariant: it is a function of the texts that were held, the oldest first, and of the settings.

use tracing::info;

use super::LearnError;
use super::firsts;
use super::thread::{LearnSetup, Shared};
use crate::config::LearningConfig;
use crate::model::ModelError;
use crate::model::text::Tokenizer;
use crate::replay::ReplayBuffer;
use crate::sample::Content;

/// Waits until the buffer holds as much text as the settings ask for, or has enough samples and rests; the vocabulary of what it
/// holds then. None when the learner is stopped before that.
pub(super) fn of_stream(
    replay: &ReplayBuffer,
    setup: &LearnSetup,
    shared: &Shared,
) -> Result<Option<Tokenizer>, LearnError> {
    if !firsts::wait(replay, setup, shared, |counts| {
        counts.bytes >= setup.config.vocab_bytes as u64
    }) {
        return Ok(None);
    }
    let texts = firsts::held(replay).filter_map(|content| match content {
        Content::Text(passage) => Some(passage.text),
        _ => None,
    });
    let tokenizer = train(&setup.config, texts)?;
    info!(stream = %setup.stream, tokens = tokenizer.vocab_size(), "trained a vocabulary on the first texts");
    Ok(Some(tokenizer))
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
