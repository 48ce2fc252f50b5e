//! How a vocabulary is trained: byte-level BPE over a bounded part of the texts.
//! Invariant: the bytes of the result are a function of the texts, their order and the settings.

use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::normalizers::{Lowercase, NFC, NormalizerWrapper, Sequence};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::tokenizer::Trainer as _;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer as _, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _,
};

use super::{ROLES, TokenizerError, boundary_below};

/// Bytes of text that a vocabulary is trained on: two million words. Full: later texts are not read.
pub const TRAIN_BYTES_MAX: usize = 16 << 20;

/// The special tokens and the bytes.
pub const VOCABULARY_MIN: usize = ROLES.len() + 256;

/// Most tokens of a vocabulary of ours; beyond it the table of embeddings outgrows the networks we train.
pub const VOCABULARY_MAX: usize = 65_536;

/// A text is read in pieces, for the tokenizer keeps 50 bytes of notes on each byte it works on.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// A word is counted in parts of this many bytes: the trainer's work on a word grows with the square of its length, and a
/// megabyte of base64 is one word.
const WORD_BYTES_MAX: usize = 256;

/// A pair of tokens seen once says nothing.
const MIN_FREQUENCY: u64 = 2;

pub(super) fn train(
    texts: impl Iterator<Item = impl AsRef<str>>,
    vocab_size: usize,
    lowercase: bool,
) -> Result<Vec<u8>, TokenizerError> {
    if !(VOCABULARY_MIN..=VOCABULARY_MAX).contains(&vocab_size) {
        return Err(TokenizerError::VocabularySize { asked: vocab_size });
    }
    bpe(&pieces(texts), vocab_size, lowercase).map_err(TokenizerError::Train)
}

/// As much of the texts as is trained on. A piece ends before white space where it can, so that a word keeps the space
/// before it.
fn pieces(texts: impl Iterator<Item = impl AsRef<str>>) -> Vec<String> {
    let mut room = TRAIN_BYTES_MAX;
    let mut pieces = Vec::new();
    for text in texts {
        let text = text.as_ref();
        let mut rest = &text[..boundary_below(text, room)];
        room -= rest.len();
        while !rest.is_empty() {
            let most = &rest[..boundary_below(rest, PIECE_BYTES_MAX)];
            let space = most.rfind(char::is_whitespace).filter(|at| *at > 0);
            let end = if most.len() == rest.len() {
                rest.len()
            } else {
                space.unwrap_or(most.len())
            };
            let (piece, after) = rest.split_at(end);
            pieces.push(piece.to_owned());
            rest = after;
        }
        if room < 4 {
            break;
        }
    }
    pieces
}

fn bpe(pieces: &[String], vocab_size: usize, lowercase: bool) -> tokenizers::Result<Vec<u8>> {
    let normalizer: NormalizerWrapper = if lowercase {
        Sequence::new(vec![NFC.into(), Lowercase.into()]).into()
    } else {
        NFC.into()
    };
    // No space is put before the first word, so that decoding gives back the text.
    let bytes = ByteLevel::new(false, true, true);
    let special: Vec<_> = ROLES.iter().map(|role| AddedToken::from(role.names[0], true)).collect();
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(vocab_size)
        .min_frequency(MIN_FREQUENCY)
        .special_tokens(special)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    trainer.feed(pieces.iter(), |piece| words(piece, &normalizer, bytes))?;
    let mut model = BPE::default();
    let special = trainer.train(&mut model)?;

    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer.with_normalizer(Some(normalizer))?;
    tokenizer.with_pre_tokenizer(Some(bytes));
    tokenizer.with_decoder(Some(bytes));
    tokenizer.add_special_tokens(special)?;
    tokenizer.with_post_processor(Some(template()?));
    Ok(tokenizer.to_string(false)?.into_bytes())
}

/// The words of a piece, a character for each byte.
fn words(piece: &str, normalizer: &NormalizerWrapper, bytes: ByteLevel) -> tokenizers::Result<Vec<String>> {
    let mut normalized = NormalizedString::from(piece);
    normalizer.normalize(&mut normalized)?;
    let mut words = PreTokenizedString::from(normalized);
    bytes.pre_tokenize(&mut words)?;
    let mut parts = Vec::new();
    for (word, _, _) in words.get_splits(OffsetReferential::Original, OffsetType::Byte) {
        let mut letters = word.chars().peekable();
        while letters.peek().is_some() {
            parts.push(letters.by_ref().take(WORD_BYTES_MAX).collect());
        }
    }
    Ok(parts)
}

/// What Python puts around texts.
fn template() -> tokenizers::Result<TemplateProcessing> {
    // The ids that `ROLES` gives them.
    let special = [("[CLS]", 2), ("[SEP]", 3)];
    Ok(TemplateProcessing::builder()
        .try_single("[CLS] $A [SEP]")?
        .try_pair("[CLS] $A [SEP] $B:1 [SEP]:1")?
        .special_tokens(special.to_vec())
        .build()?)
}
