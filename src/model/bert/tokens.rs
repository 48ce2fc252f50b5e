//! Texts as a BERT takes them: token ids in a rectangle.
//! Invariant: ids, types and mask of a batch have one shape.

use tch::Tensor;

/// A batch of texts, the shorter ones filled up.
#[derive(Debug)]
pub struct Tokens {
    /// [B, T], int64.
    pub ids: Tensor,
    /// Whether a token is the first text's (0) or the second's (1): [B, T], int64.
    pub types: Tensor,
    /// [B, T], bool, true where there is a token. None where every place has one: nothing is then masked, which is
    /// faster.
    pub mask: Option<Tensor>,
}

impl Tokens {
    /// Texts, and places of each.
    pub fn size(&self) -> (i64, i64) {
        let size = self.ids.size();
        (size[0], size[1])
    }
}
