//! The index of one embedding space: every sample's embedding, searched by cosine.
//! Invariant: every row has unit length and belongs to one sample; a row is either whole or absent.
//!
//! A search sees one state of the index from its first row to its last and never makes the encoder thread wait. It compares the
//! codes of rows first, and computes the score of those that may be among the nearest ([`codes`]): what it finds is exact. Of a
//! large index it looks into a few cells, where it was measured that they hold the nearest ([`tending`]).

mod best;
mod cells;
mod codes;
mod product;
mod rows;
mod search;
mod tending;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use parking_lot::RwLock;

use super::novelty::Typical;
use crate::ids::SampleId;

pub use best::Hit;
pub use rows::{Found, Origin, Place};
pub use search::{APPROXIMATE_HITS_MAX, Allow, Snapshot};
pub use tending::RECALL_MIN;

pub(super) use codes::{QueryCodes, RowCodes};
pub(super) use product::QUERIES_AT_ONCE;
use rows::{LOOSE, Rows};
use tending::Tending;

/// Embeddings of one space by sample. Written by one thread, read by any.
pub struct Index {
    dim: usize,
    seed: u64,
    exact_rows_max: usize,
    rows: RwLock<Rows>,
    typical: Typical,
    tending: Tending,
}

impl Index {
    /// An empty index of embeddings of `dim` numbers. `seed` chooses the rows that stand for the typical ones. Up to
    /// `exact_rows_max` rows a search compares with all; above, [`Index::tend`] may find a faster way.
    pub fn new(dim: usize, seed: u64, exact_rows_max: usize) -> Self {
        Self {
            dim,
            seed,
            exact_rows_max,
            rows: RwLock::new(Rows::new(dim)),
            typical: Typical::new(dim, seed),
            tending: Tending::default(),
        }
    }

    /// Numbers of an embedding.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Rows held.
    pub fn len(&self) -> usize {
        self.rows.read().view.rows
    }

    /// Whether no row is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every sample that has a row, in no order.
    pub fn ids(&self) -> Vec<SampleId> {
        self.rows.read().places.keys().copied().collect()
    }

    /// Whether a sample has a row.
    pub fn holds(&self, id: SampleId) -> bool {
        self.rows.read().places.contains_key(&id)
    }

    /// The embedding of a sample.
    pub fn embedding(&self, id: SampleId) -> Option<Vec<f32>> {
        let rows = self.rows.read();
        let place = *rows.places.get(&id)?;
        Some(rows.view.row(place, self.dim).1.to_vec())
    }

    /// Adds samples with their unit-length embeddings, `[samples.len(), dim]`. A sample that has a row keeps it.
    pub fn add(&self, samples: &[(SampleId, Origin)], embeddings: &[f32]) {
        assert_eq!(
            samples.len() * self.dim,
            embeddings.len(),
            "one embedding for each sample"
        );
        let mut added = Vec::with_capacity(samples.len());
        // Taken first: centres may be found anew in between, and what is not of them is sorted as the rest is.
        let cells = self.snapshot().view.cells.clone();
        let lists = cells.as_ref().map(|cells| cells.of_embeddings(embeddings));
        {
            let mut rows = self.rows.write();
            let is_of_now = |cells: &Arc<_>| rows.view.cells.as_ref().is_some_and(|now| Arc::ptr_eq(now, cells));
            let lists = lists.filter(|_| cells.as_ref().is_some_and(is_of_now));
            for (at, ((id, origin), embedding)) in samples.iter().zip(embeddings.chunks_exact(self.dim)).enumerate() {
                let list = lists.as_ref().map_or(LOOSE, |cells| LOOSE + 1 + cells[at]);
                if rows.push(*id, origin.clone(), embedding, list) {
                    added.push((*id, embedding));
                }
            }
            rows.changed();
        }
        self.typical.follow_added(&added, &self.snapshot());
    }

    /// Takes samples out of the index.
    pub fn remove(&self, ids: &[SampleId]) {
        {
            let mut rows = self.rows.write();
            for &id in ids {
                rows.remove(id);
            }
            rows.changed();
        }
        self.typical.follow_removed(ids, &self.snapshot());
    }

    /// The index as it is now.
    pub fn snapshot(&self) -> Snapshot {
        let view = Arc::clone(&self.rows.read().view);
        Snapshot {
            dim: self.dim,
            version: view.version,
            exact_rows_max: self.exact_rows_max,
            view,
        }
    }

    /// How the held samples' own novelties are spread.
    pub fn typical(&self) -> &Typical {
        &self.typical
    }
}

/// The inner product of two vectors of one length. 32 partial sums: enough independent chains to keep the adders busy,
/// in a shape the compiler turns into vector instructions.
#[inline]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    let mut sums = [0f32; 32];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..32 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
