//! Texts as a BERT takes them: token ids in a rectangle, or in several so that little or nothing is padding.
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
    /// Texts of one part each, filled up with `pad` to the longest of them.
    pub fn of(texts: &[&[i64]], pad: i64) -> Self {
        let len = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let shape = [texts.len() as i64, len as i64];
        let places =
            |text: &[i64]| -> Vec<i64> { text.iter().copied().chain(std::iter::repeat(pad)).take(len).collect() };
        let ids: Vec<i64> = texts.iter().flat_map(|text| places(text)).collect();
        let is_full = texts.iter().all(|text| text.len() == len);
        let mask = (!is_full).then(|| {
            let mask: Vec<bool> = texts
                .iter()
                .flat_map(|text| (0..len).map(|place| place < text.len()))
                .collect();
            Tensor::from_slice(&mask).view(shape)
        });
        let ids = Tensor::from_slice(&ids).view(shape);
        Self {
            types: ids.zeros_like(),
            ids,
            mask,
        }
    }

    /// Texts, and places of each.
    pub fn size(&self) -> (i64, i64) {
        let size = self.ids.size();
        (size[0], size[1])
    }
}

/// Texts of any lengths, sorted into batches of one length each: no place is padding.
#[derive(Debug)]
pub struct Packed {
    batches: Vec<Tokens>,
    /// Where each text went: [B], int64.
    order: Tensor,
}

impl Packed {
    /// Texts of one part each, none empty.
    pub fn of(texts: &[&[i64]]) -> Self {
        let mut sorted: Vec<usize> = (0..texts.len()).collect();
        sorted.sort_by_key(|&text| texts[text].len());
        let mut order = vec![0i64; texts.len()];
        for (place, &text) in sorted.iter().enumerate() {
            order[text] = place as i64;
        }
        let batches = sorted
            .chunk_by(|&a, &b| texts[a].len() == texts[b].len())
            .map(|same| Tokens::of(&same.iter().map(|&text| texts[text]).collect::<Vec<_>>(), 0))
            .collect();
        Self {
            batches,
            order: Tensor::from_slice(&order),
        }
    }

    /// The batches, shortest texts first.
    pub fn batches(&self) -> &[Tokens] {
        &self.batches
    }

    /// For each text, its row among those of all batches: `[B]`, int64.
    pub fn order(&self) -> &Tensor {
        &self.order
    }
}
