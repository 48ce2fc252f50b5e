//! Texts as a network reads them: tokens, rows of them, and what of them is hidden. No tensors.

pub mod masking;
pub mod tokens;

use unicode_segmentation::UnicodeSegmentation;

use crate::ids::SourceHash;

pub use masking::{Next, Padded, Recipe as MaskRecipe, Row, clean, fit, next_sentence, pad, row, split, window};
pub use tokens::{Encoded, Tokenizer, TokenizerError};

/// Special tokens of a row of one segment.
pub const SPECIALS_OF_ONE: usize = 2;

/// The words of a text in lower case, without what is between them.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    text.unicode_words().map(str::to_lowercase)
}

/// A text without a network: how often its words occur, each counted in one of `dim` numbers (Weinberger et al. 2009),
/// `ln(1 + n)`. Not of unit length.
pub fn bag_of_words(text: &str, dim: usize) -> Vec<f32> {
    let mut counts = vec![0f32; dim];
    for word in words(text) {
        counts[SourceHash::of(word.as_bytes()).prefix() as usize % dim] += 1.0;
    }
    counts.iter().map(|count| (1.0 + count).ln()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_wherever_they_stand_and_however_they_are_written() {
        let bag = |text| bag_of_words(text, 64);
        assert_eq!(bag("The cat, the mat."), bag("mat the THE cat"));
        assert_ne!(bag("the cat"), bag("the mat"));
        assert!(bag("... --").iter().all(|count| *count == 0.0));
    }
}
