//! What a masked language model is shown: rows of tokens, some of them hidden (BERT, Devlin et al. 2019, section 3.1).
//! Invariant: what is hidden of a row is a function of its tokens, the recipe and the generator passed in, and putting
//! `hidden` back gives the row as it was.
//!
//! Words are hidden whole, as in the authors' later release ("Whole Word Masking", May 2019). Where we differ: a word that
//! would pass the share is taken with the probability that keeps the share on average, where they leave it out, for in a
//! text of ten words long ones would never be hidden; random tokens are no special ones.

mod batch;
mod next_sentence;
mod segments;

use crate::model::text::tokens::{Encoded, Tokenizer};
use crate::rng::{self, Rng};

pub use batch::{Padded, pad};
pub use next_sentence::{Next, next_sentence};
pub use segments::{split, window};

/// One row of a batch: `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, not padded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The tokens, as shown.
    pub ids: Vec<u32>,
    /// The segment of each token: 0 for a and what is around it, 1 for b and its `[SEP]`.
    pub types: Vec<u8>,
    /// What is to be told, in the order of the row.
    pub hidden: Vec<Hidden>,
}

/// A token that the model is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Its position in the row.
    pub at: u32,
    /// The token that was there.
    pub was: u32,
}

/// How much is hidden, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// Share of a row's tokens that are hidden, special ones not counted.
    pub share: f64,
    /// Share of the hidden tokens that are shown as `[MASK]`.
    pub masked: f64,
    /// Share of the hidden tokens that are shown as a random one; the rest is shown as it is.
    pub random: f64,
}

impl Recipe {
    /// The paper's 80/10/10 for this share of tokens: 0.15 in the paper, while up to 0.4 does as well or better (Wettig et
    /// al. 2023).
    pub fn bert(share: f64) -> Self {
        Self {
            share,
            masked: 0.8,
            random: 0.1,
        }
    }

    /// What is shown where this token is hidden.
    fn shown(&self, tokenizer: &Tokenizer, was: u32, rng: &mut Rng) -> u32 {
        let draw = rng::unit(rng);
        if draw < self.masked {
            tokenizer.mask()
        } else if draw < self.masked + self.random {
            let tokens = tokenizer.ordinary();
            tokens[rng::below(rng, tokens.len())]
        } else {
            was
        }
    }
}

/// The row of one or two segments with whole words hidden, drawn until the share is reached: at least one word where there
/// is any, never a special token.
pub fn row(tokenizer: &Tokenizer, a: &Encoded, b: Option<&Encoded>, recipe: &Recipe, rng: &mut Rng) -> Row {
    let mut row = clean(tokenizer, a, b);
    let mut words = words(a, 1);
    if let Some(b) = b {
        words.extend(self::words(b, a.ids.len() + 2));
    }
    let tokens: usize = words.iter().map(|word| word.len()).sum();
    let mut left = recipe.share * tokens as f64;
    let mut chosen = Vec::new();
    for drawn in 0..words.len() {
        let other = drawn + rng::below(rng, words.len() - drawn);
        words.swap(drawn, other);
        let word = &words[drawn];
        let length = word.len() as f64;
        let fits = length <= left || rng::unit(rng) < left / length;
        if fits || drawn == 0 {
            chosen.extend(word.iter().copied());
        }
        left -= length;
        if left <= 0.0 {
            break;
        }
    }
    chosen.sort_unstable();
    for at in chosen {
        let was = row.ids[at];
        row.ids[at] = recipe.shown(tokenizer, was, rng);
        row.hidden.push(Hidden { at: at as u32, was });
    }
    row
}

/// The row of one or two segments with nothing hidden.
pub fn clean(tokenizer: &Tokenizer, a: &Encoded, b: Option<&Encoded>) -> Row {
    let mut ids = vec![tokenizer.cls()];
    ids.extend(&a.ids);
    ids.push(tokenizer.sep());
    let mut types = vec![0; ids.len()];
    if let Some(b) = b {
        ids.extend(&b.ids);
        ids.push(tokenizer.sep());
        types.resize(ids.len(), 1);
    }
    Row {
        ids,
        types,
        hidden: Vec::new(),
    }
}

/// Cuts segments so that their row has at most `max` tokens, the special ones counted. The longer one loses its end first,
/// as in the authors' code, which also cuts beginnings.
pub fn fit(a: &mut Encoded, b: Option<&mut Encoded>, max: usize) {
    let Some(b) = b else {
        a.truncate(max.saturating_sub(2));
        return;
    };
    let room = max.saturating_sub(3);
    let half = room / 2;
    let (long_a, long_b) = (a.ids.len() > half, b.ids.len() > room - half);
    if a.ids.len() + b.ids.len() > room {
        match (long_a, long_b) {
            (true, true) => {
                a.truncate(half);
                b.truncate(room - half);
            }
            (true, false) => a.truncate(room - b.ids.len()),
            _ => b.truncate(room - a.ids.len()),
        }
    }
}

/// The positions in the row of each word of a segment that starts at `start`; tokens of no word are not among them.
fn words(segment: &Encoded, start: usize) -> Vec<Vec<usize>> {
    let mut words: Vec<Vec<usize>> = Vec::new();
    let mut before = None;
    for (at, word) in segment.words.iter().enumerate() {
        if word.is_some() {
            match words.last_mut().filter(|_| *word == before) {
                Some(positions) => positions.push(start + at),
                None => words.push(vec![start + at]),
            }
        }
        before = *word;
    }
    words
}

#[cfg(test)]
mod tests;
