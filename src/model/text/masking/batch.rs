//! Rows of different lengths as one batch.
//! Invariant: `ids`, `types` and `mask` have `rows * columns` numbers, a row after the other.

use super::Row;
use crate::model::text::tokens::Tokenizer;

/// Rows filled to the same length, ready for tensors of [rows, columns].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Padded {
    /// The tokens, then `[PAD]`.
    pub ids: Vec<i64>,
    /// The segment of each token, 0 for `[PAD]`.
    pub types: Vec<i64>,
    /// Where there is a token.
    pub mask: Vec<bool>,
    /// How many rows there are.
    pub rows: usize,
    /// How long each is.
    pub columns: usize,
}

/// Fills rows to the length of the longest, rounded up to a multiple of `multiple`, at most `max`: few lengths, so that few
/// shapes of kernels and of memory are needed. No row may be longer than `max`; see [`super::fit`].
pub fn pad(tokenizer: &Tokenizer, rows: &[Row], multiple: usize, max: usize) -> Padded {
    let longest = rows.iter().map(|row| row.ids.len()).max().unwrap_or(0);
    assert!(longest <= max, "a row of {longest} tokens was not fitted to {max}");
    let columns = longest.next_multiple_of(multiple.max(1)).min(max);
    let mut padded = Padded {
        ids: vec![tokenizer.pad().into(); rows.len() * columns],
        types: vec![0; rows.len() * columns],
        mask: vec![false; rows.len() * columns],
        rows: rows.len(),
        columns,
    };
    for (number, row) in rows.iter().enumerate() {
        let start = number * columns;
        for (at, (id, segment)) in (start..).zip(row.ids.iter().zip(&row.types)) {
            padded.ids[at] = (*id).into();
            padded.types[at] = (*segment).into();
            padded.mask[at] = true;
        }
    }
    padded
}
