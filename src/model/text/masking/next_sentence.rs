//! Which second halves a batch shows: the one that follows, or that of another passage (next sentence prediction, Devlin et
//! al. 2019, section 3.1).
//! Invariant: a row with `is_next` false has a second half that differs from its own.

use crate::model::text::tokens::Encoded;
use crate::rng::{self, Rng};

/// The second half of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// The passage whose second half is shown.
    pub passage: usize,
    /// The label: whether it is the row's own passage.
    pub is_next: bool,
}

/// Draws the second half of each of a batch's passages, given as (first half, second half). Half of the rows, rounded down,
/// get that of another passage; a replayed batch may hold a passage twice, so a half equal to the row's own does not count
/// as another's, and a row for which there is no other keeps its own.
pub fn next_sentence(passages: &[(Encoded, Encoded)], rng: &mut Rng) -> Vec<Next> {
    let mut next: Vec<_> = (0..passages.len())
        .map(|passage| Next { passage, is_next: true })
        .collect();
    let mut order: Vec<usize> = (0..passages.len()).collect();
    for drawn in 0..passages.len() / 2 {
        let other = drawn + rng::below(rng, order.len() - drawn);
        order.swap(drawn, other);
        let row = order[drawn];
        let others: Vec<usize> = (0..passages.len())
            .filter(|other| passages[*other].1.ids != passages[row].1.ids)
            .collect();
        if let Some(passage) = others.get(rng::below(rng, others.len())) {
            next[row] = Next {
                passage: *passage,
                is_next: false,
            };
        }
    }
    next
}
