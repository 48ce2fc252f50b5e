//! Where a text may be cut: in two halves that follow each other, or to a window.
//! Invariant: the halves of a text are the text; a window is a part of it.

use unicode_segmentation::UnicodeSegmentation;

use crate::rng::{self, Rng};

/// Cuts a text in two at a random bound of sentences (Unicode Annex 29) that leaves at least a quarter of the characters on
/// each side; where there is none, at such a bound of words, the nearest to the middle; where there is none, in the middle.
/// The second half is empty only for a text of one character or none.
pub fn split<'a>(text: &'a str, rng: &mut Rng) -> (&'a str, &'a str) {
    let total = text.chars().count();
    let sentences: Vec<Bound> = bounds(total, text.split_sentence_bound_indices()).collect();
    let sentence = sentences.get(rng::below(rng, sentences.len()));
    let word =
        || bounds(total, text.split_word_bound_indices()).min_by_key(|bound| (2 * bound.characters).abs_diff(total));
    let middle = || {
        text.char_indices()
            .nth(total.div_ceil(2))
            .map_or(text.len(), |(at, _)| at)
    };
    let at = sentence.copied().or_else(word).map_or_else(middle, |bound| bound.bytes);
    text.split_at(at)
}

/// A random contiguous part of a text with about this share of its words, at least one, with the punctuation between and
/// after them; the text itself where it has no words.
pub fn window<'a>(text: &'a str, rng: &mut Rng, share: f64) -> &'a str {
    let words: Vec<(usize, &str)> = text.unicode_word_indices().collect();
    if words.is_empty() {
        return text;
    }
    let length = ((share * words.len() as f64).round() as usize).clamp(1, words.len());
    let first = rng::below(rng, words.len() - length + 1);
    // What stands before the first word, such as a quotation mark, belongs to it.
    let start = if first == 0 { 0 } else { words[first].0 };
    let end = words.get(first + length).map_or(text.len(), |(at, _)| *at);
    text[start..end].trim()
}

/// What comes before a bound.
#[derive(Clone, Copy)]
struct Bound {
    characters: usize,
    bytes: usize,
}

/// The bounds of parts that leave at least a quarter of the text's characters on each side.
fn bounds<'a>(total: usize, parts: impl Iterator<Item = (usize, &'a str)>) -> impl Iterator<Item = Bound> {
    parts
        .scan(0, |characters, (bytes, part)| {
            let bound = Bound {
                characters: *characters,
                bytes,
            };
            *characters += part.chars().count();
            Some(bound)
        })
        .filter(move |bound| {
            bound.characters > 0 && 4 * bound.characters >= total && 4 * (total - bound.characters) >= total
        })
}
