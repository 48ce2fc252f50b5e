//! Texts as a BERT takes them: token ids in a rectangle.
//! Invariant: ids, types and mask of a batch have one shape.

use tch::{TchError, Tensor};

/// Rows of packed tokens are filled up to a multiple of this at least, so that few shapes of products come up: oneDNN keeps each.
const PACKED_STEP: usize = 16;

/// Beyond eight such steps they are filled up by an eighth at most.
const PACKED_STEPS: usize = 8;

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
    /// Where the tokens stand once the padding is left out. None: products are taken over the padding as well, as in training.
    pub packing: Option<Packing>,
}

/// A batch's tokens one after the other, without padding.
#[derive(Debug)]
pub struct Packing {
    /// The place of each packed row among the B * T, `[M]`, int64; those that only fill up are the first token's.
    pub(super) places: Tensor,
    /// The packed row of each place, [B * T], int64; of padding the first.
    pub(super) rows: Tensor,
}

impl Packing {
    /// Of the places at which there is a token, in order.
    fn of(mask: &[bool]) -> Self {
        let mut places: Vec<i64> = (0i64..)
            .zip(mask)
            .filter_map(|(place, is_token)| is_token.then_some(place))
            .collect();
        let mut next = 0;
        let row = |is_token: &bool| {
            let row = if *is_token { next } else { 0 };
            next += i64::from(*is_token);
            row
        };
        let rows: Vec<i64> = mask.iter().map(row).collect();
        let first = places.first().copied().unwrap_or(0);
        places.resize(packed_rows(places.len()), first);
        Self {
            places: Tensor::from_slice(&places),
            rows: Tensor::from_slice(&rows),
        }
    }
}

/// Rows for so many tokens.
fn packed_rows(tokens: usize) -> usize {
    let step = tokens.next_power_of_two() / 2 / PACKED_STEPS;
    tokens.max(1).next_multiple_of(step.max(PACKED_STEP))
}

impl Tokens {
    /// The same batch, packed; `mask`: where there is a token, of all places.
    pub fn packed(self, mask: &[bool]) -> Result<Self, TchError> {
        let packing = Packing::of(mask);
        let device = self.ids.device();
        Ok(Self {
            packing: Some(Packing {
                places: packing.places.f_to_device(device)?,
                rows: packing.rows.f_to_device(device)?,
            }),
            ..self
        })
    }

    /// Texts, and places of each.
    pub fn size(&self) -> (i64, i64) {
        let size = self.ids.size();
        (size[0], size[1])
    }
}

#[cfg(test)]
mod tests {
    use super::packed_rows;

    #[test]
    fn rows_come_in_few_numbers_and_are_filled_up_by_an_eighth_at_most() {
        let mut all: Vec<usize> = (0..=4_096).map(packed_rows).collect();
        assert_eq!(
            (all[0], all[1], all[16], all[17], all[128], all[129]),
            (16, 16, 16, 32, 128, 144)
        );
        for (tokens, rows) in all.iter().enumerate().skip(128) {
            assert!((tokens..=tokens * 9 / 8 + 1).contains(rows), "{tokens}: {rows}");
        }
        all.dedup();
        assert_eq!(all.len(), 8 + 5 * 8);
    }
}
