//! The vocabulary of a text stream: texts to token ids and back, as Hugging Face's `tokenizers` does it.
//! Invariant: a [`Tokenizer`] knows its `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]` and `[MASK]`, and what it publishes makes
//! Python's `AutoTokenizer` give the ids that it gives.

mod files;
mod train;

use std::error::Error;
use std::sync::Arc;

use tokenizers::AddedToken;

pub use train::{TRAIN_BYTES_MAX, VOCABULARY_MAX, VOCABULARY_MIN};

/// Longest tokenizer.json that is read; the largest that is in use, of 256,000 tokens, has 33 MiB. Longer: an error.
pub const JSON_BYTES_MAX: usize = 64 << 20;

/// Bytes of a text that are read first for each token asked for; tokens of real texts have 1 to 8. Where they give fewer
/// tokens, more is read: a long text costs no more than its part that is used.
const BYTES_PER_TOKEN: usize = 8;

/// Last words of a part of a text that may be others in the whole text: `'r` where the text has `'re`, `[`, `MAS` where it
/// has `[MASK]`.
const UNSURE_WORDS: u32 = 4;

/// A cuneiform letter, in no vocabulary of words.
const UNKNOWN: &str = "\u{12000}";

/// Turns texts to tokens. A clone is another handle on the same vocabulary.
#[derive(Clone)]
pub struct Tokenizer(Arc<Vocabulary>);

/// The tokens of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The tokens.
    pub ids: Vec<u32>,
    /// The word that each token is part of, counted from the start of the text; None for special tokens.
    pub words: Vec<Option<u32>>,
}

impl Encoded {
    /// Keeps the first tokens, at most `max`.
    pub fn truncate(&mut self, max: usize) {
        self.ids.truncate(max);
        self.words.truncate(max);
    }
}

/// Why there is no tokenizer, or no tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A size that no vocabulary of ours has.
    #[error(
        "a vocabulary of {asked} tokens was asked for, it may have {VOCABULARY_MIN} (special tokens and bytes) to {VOCABULARY_MAX}"
    )]
    VocabularySize {
        /// What was asked for.
        asked: usize,
    },
    /// The texts gave no vocabulary.
    #[error("failed to train a vocabulary")]
    Train(#[source] Box<dyn Error + Send + Sync>),
    /// A file that is too long to be read.
    #[error("tokenizer.json has {bytes} bytes, limit is {JSON_BYTES_MAX}")]
    JsonTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A file that is no tokenizer.json.
    #[error("failed to read tokenizer.json")]
    Parse(#[source] Box<dyn Error + Send + Sync>),
    /// A tokenizer that no masked language model can use.
    #[error("tokenizer.json has no {role} token: it has none of {}", names.join(", "))]
    MissingToken {
        /// What it would be for.
        role: &'static str,
        /// What it is called elsewhere.
        names: &'static [&'static str],
    },
    /// A tokenizer of special tokens alone.
    #[error("tokenizer.json has special tokens only, there is nothing to write a text with")]
    NoTokens,
    /// A text that the tokenizer cannot take.
    #[error("failed to encode a text of {bytes} bytes")]
    Encode {
        /// Its length.
        bytes: usize,
        /// What the tokenizer says.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Tokens that the tokenizer's decoder cannot take.
    #[error("failed to decode {tokens} tokens")]
    Decode {
        /// How many they are.
        tokens: usize,
        /// What the tokenizer says.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl Tokenizer {
    /// Trains a byte-level BPE (Sennrich et al. 2016, over bytes as in GPT-2) with tokens for all pairs that are seen at
    /// least twice, until there are `vocab_size` of them; fewer where the texts have fewer. Special tokens come first,
    /// then the 256 bytes, so that every text has tokens. Texts are read in NFC, in lower case where `lowercase` says
    /// so, up to [`TRAIN_BYTES_MAX`] together. The same texts in the same order give the same [`Tokenizer::json`].
    pub fn train(
        texts: impl Iterator<Item = impl AsRef<str>>,
        vocab_size: usize,
        lowercase: bool,
    ) -> Result<Self, TokenizerError> {
        Self::parse(&train::train(texts, vocab_size, lowercase)?)
    }

    /// Reads a tokenizer.json, ours or any other that has the five special tokens under the names of BERT or RoBERTa.
    /// Its settings for padding and truncation are ignored.
    pub fn parse(json: &[u8]) -> Result<Self, TokenizerError> {
        if json.len() > JSON_BYTES_MAX {
            return Err(TokenizerError::JsonTooLong { bytes: json.len() });
        }
        // `tokenizers` panics on parts of a model that are no JSON.
        serde_json::from_slice::<serde_json::Value>(json).map_err(|error| TokenizerError::Parse(error.into()))?;
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(json).map_err(TokenizerError::Parse)?;
        // A model whose token for unknown words is not in its vocabulary fails at the first of them.
        tokenizer.encode(UNKNOWN, false).map_err(TokenizerError::Parse)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(TokenizerError::Parse)?;
        let mut roles = [0; ROLES.len()];
        for (id, role) in roles.iter_mut().zip(&ROLES) {
            *id = role.find(&mut tokenizer)?;
        }
        let mut special: Vec<u32> = roles.to_vec();
        special.extend(
            tokenizer
                .get_added_tokens_decoder()
                .iter()
                .filter_map(|(id, token)| token.special.then_some(*id)),
        );
        special.sort_unstable();
        special.dedup();
        let mut ordinary: Vec<u32> = tokenizer.get_vocab(true).into_values().collect();
        ordinary.sort_unstable();
        ordinary.dedup();
        ordinary.retain(|id| special.binary_search(id).is_err());
        let last = special.iter().max().max(ordinary.last()).copied();
        let (Some(last), false) = (last, ordinary.is_empty()) else {
            return Err(TokenizerError::NoTokens);
        };
        Ok(Self(Arc::new(Vocabulary {
            json: json.to_vec(),
            size: last as usize + 1,
            tokenizer,
            roles,
            special,
            ordinary,
        })))
    }

    /// The tokenizer.json, as it is published.
    pub fn json(&self) -> &[u8] {
        &self.0.json
    }

    /// Every id is below it: the rows of a table of token embeddings.
    pub fn vocab_size(&self) -> usize {
        self.0.size
    }

    /// The token that fills a row of a batch.
    pub fn pad(&self) -> u32 {
        self.0.roles[0]
    }

    /// The token of what has no other token.
    pub fn unk(&self) -> u32 {
        self.0.roles[1]
    }

    /// The token that starts a row.
    pub fn cls(&self) -> u32 {
        self.0.roles[2]
    }

    /// The token that ends a segment.
    pub fn sep(&self) -> u32 {
        self.0.roles[3]
    }

    /// The token that stands for a hidden one.
    pub fn mask(&self) -> u32 {
        self.0.roles[4]
    }

    /// Whether a token is no part of a text.
    pub fn is_special(&self, id: u32) -> bool {
        self.0.special.binary_search(&id).is_ok()
    }

    /// The tokens that texts are made of, in ascending order; never empty.
    pub fn ordinary(&self) -> &[u32] {
        &self.0.ordinary
    }

    /// The first tokens of a text, at most `max`, without `[CLS]` and `[SEP]` around them. Where the text holds the name of
    /// a special token, such as `[MASK]`, it has that token there.
    pub fn encode(&self, text: &str, max: usize) -> Result<Encoded, TokenizerError> {
        let mut bytes = max.saturating_mul(BYTES_PER_TOKEN);
        loop {
            let part = &text[..boundary_below(text, bytes)];
            let mut encoded = self.encode_all(part)?;
            let last = encoded.words.iter().rev().find_map(|word| *word).unwrap_or(0);
            let sure = |word: &Option<u32>| word.is_some_and(|word| word + UNSURE_WORDS <= last);
            if part.len() == text.len() || encoded.words.iter().filter(|word| sure(word)).count() >= max {
                encoded.truncate(max);
                return Ok(encoded);
            }
            bytes = bytes.max(1).saturating_mul(4);
        }
    }

    /// The text of tokens, special ones by their names. Ids that the vocabulary lacks have no text; bytes that are no
    /// UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.0
            .tokenizer
            .decode(ids, false)
            .map_err(|source| TokenizerError::Decode {
                tokens: ids.len(),
                source,
            })
    }

    fn encode_all(&self, text: &str) -> Result<Encoded, TokenizerError> {
        let encoding = self
            .0
            .tokenizer
            .encode(text, false)
            .map_err(|source| TokenizerError::Encode {
                bytes: text.len(),
                source,
            })?;
        let ids = encoding.get_ids().to_vec();
        let words = ids
            .iter()
            .zip(encoding.get_word_ids())
            .map(|(id, word)| word.filter(|_| !self.is_special(*id)))
            .collect();
        Ok(Encoded { ids, words })
    }

    fn token(&self, id: u32) -> String {
        self.0.tokenizer.id_to_token(id).unwrap_or_default()
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .finish_non_exhaustive()
    }
}

/// The last place up to `most` bytes where a text can be cut between two characters.
fn boundary_below(text: &str, most: usize) -> usize {
    (0..=most.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

struct Vocabulary {
    json: Vec<u8>,
    size: usize,
    tokenizer: tokenizers::Tokenizer,
    /// In the order of [`ROLES`].
    roles: [u32; ROLES.len()],
    /// In ascending order.
    special: Vec<u32>,
    /// In ascending order.
    ordinary: Vec<u32>,
}

/// What a special token is for.
struct Role {
    /// Its key in Hugging Face's side files.
    name: &'static str,
    /// What it is called: by BERT and us, then by RoBERTa.
    names: &'static [&'static str],
}

/// Ours have the ids 0 to 4 in this order.
const ROLES: [Role; 5] = [
    Role {
        name: "pad",
        names: &["[PAD]", "<pad>"],
    },
    Role {
        name: "unk",
        names: &["[UNK]", "<unk>"],
    },
    Role {
        name: "cls",
        names: &["[CLS]", "<s>"],
    },
    Role {
        name: "sep",
        names: &["[SEP]", "</s>"],
    },
    Role {
        name: "mask",
        names: &["[MASK]", "<mask>"],
    },
];

impl Role {
    /// The id of its token. One that the model has and the list of added tokens has not joins that list, as Python does
    /// with it: else a text's `[MASK]` would be read as five letters and brackets.
    fn find(&self, tokenizer: &mut tokenizers::Tokenizer) -> Result<u32, TokenizerError> {
        let found = self
            .names
            .iter()
            .find_map(|name| tokenizer.token_to_id(name).map(|id| (*name, id)));
        let (name, id) = found.ok_or(TokenizerError::MissingToken {
            role: self.name,
            names: self.names,
        })?;
        if !tokenizer.get_added_vocabulary().is_special_token(name) {
            tokenizer
                .add_special_tokens([AddedToken::from(name, true)])
                .map_err(TokenizerError::Parse)?;
        }
        Ok(id)
    }
}

#[cfg(test)]
pub(crate) mod tests;
