//! The index of one embedding space: every sample's embedding, searched exactly by cosine.
//! Invariant: every row has unit length and belongs to one sample; a row is either whole or absent.
//!
//! Rows lie in chunks that a search shares and a change copies when somebody is still reading it, so a search sees
//! one state of the index from its first row to its last and never makes the encoder thread wait.

use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;

use super::novelty::Typical;
use crate::ids::SampleId;

/// Rows of a chunk: at 256 dimensions 1 MiB, which a second query of the same request finds in the cache.
const CHUNK_ROWS: usize = 1_024;

/// A neighbour: a sample and its cosine to the query, -1 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The sample.
    pub id: SampleId,
    /// Cosine similarity.
    pub score: f32,
}

/// Embeddings of one space by sample. Written by one thread, read by any.
pub struct Index {
    dim: usize,
    rows: RwLock<Rows>,
    typical: Typical,
}

#[derive(Default)]
struct Rows {
    chunks: Vec<Arc<Chunk>>,
    /// Chunk and row of every sample.
    places: HashMap<SampleId, (u32, u32)>,
    /// Grows with every change.
    version: u64,
}

#[derive(Clone)]
struct Chunk {
    ids: Vec<SampleId>,
    /// `ids.len() * dim` numbers.
    values: Vec<f32>,
}

/// One state of an index, for as long as it is held.
#[derive(Clone)]
pub struct Snapshot {
    dim: usize,
    chunks: Vec<Arc<Chunk>>,
    /// Which state of the index this is; grows with every change.
    pub version: u64,
}

impl Index {
    /// An empty index of embeddings of `dim` numbers. `seed` chooses the rows that stand for the typical ones.
    pub fn new(dim: usize, seed: u64) -> Self {
        Self {
            dim,
            rows: RwLock::default(),
            typical: Typical::new(dim, seed),
        }
    }

    /// Numbers of an embedding.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Rows held.
    pub fn len(&self) -> usize {
        self.rows.read().places.len()
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
        let (chunk, row) = *rows.places.get(&id)?;
        Some(rows.chunks[chunk as usize].row(row as usize, self.dim).to_vec())
    }

    /// Adds samples with their unit-length embeddings, `[ids.len(), dim]`. A sample that has a row keeps it.
    pub fn add(&self, ids: &[SampleId], embeddings: &[f32]) {
        assert_eq!(ids.len() * self.dim, embeddings.len(), "one embedding for each sample");
        let mut added = Vec::with_capacity(ids.len());
        {
            let mut rows = self.rows.write();
            for (&id, embedding) in ids.iter().zip(embeddings.chunks_exact(self.dim)) {
                if rows.push(id, embedding, self.dim) {
                    added.push((id, embedding));
                }
            }
            rows.version += 1;
        }
        self.typical.follow_added(&added, &self.snapshot());
    }

    /// Takes samples out of the index.
    pub fn remove(&self, ids: &[SampleId]) {
        {
            let mut rows = self.rows.write();
            for &id in ids {
                rows.remove(id, self.dim);
            }
            rows.version += 1;
        }
        self.typical.follow_removed(ids, &self.snapshot());
    }

    /// The index as it is now.
    pub fn snapshot(&self) -> Snapshot {
        let rows = self.rows.read();
        Snapshot {
            dim: self.dim,
            chunks: rows.chunks.clone(),
            version: rows.version,
        }
    }

    /// How the held samples' own novelties are spread.
    pub fn typical(&self) -> &Typical {
        &self.typical
    }
}

impl Rows {
    fn push(&mut self, id: SampleId, embedding: &[f32], dim: usize) -> bool {
        if self.places.contains_key(&id) {
            return false;
        }
        if self.chunks.last().is_none_or(|last| last.ids.len() == CHUNK_ROWS) {
            self.chunks.push(Arc::new(Chunk {
                ids: Vec::with_capacity(CHUNK_ROWS),
                values: Vec::with_capacity(CHUNK_ROWS * dim),
            }));
        }
        let at = self.chunks.len() - 1;
        let chunk = Arc::make_mut(&mut self.chunks[at]);
        self.places.insert(id, (at as u32, chunk.ids.len() as u32));
        chunk.ids.push(id);
        chunk.values.extend_from_slice(embedding);
        true
    }

    /// The last row takes the place of the removed one, so that chunks stay dense.
    fn remove(&mut self, id: SampleId, dim: usize) {
        let Some((chunk, row)) = self.places.remove(&id) else {
            return;
        };
        let end = self.chunks.len() - 1;
        let tail = Arc::make_mut(&mut self.chunks[end]);
        let Some(moved) = tail.ids.pop() else {
            return;
        };
        let embedding = tail.values.split_off(tail.ids.len() * dim);
        if tail.ids.is_empty() {
            self.chunks.pop();
        }
        if moved != id {
            let hole = Arc::make_mut(&mut self.chunks[chunk as usize]);
            hole.ids[row as usize] = moved;
            hole.values[row as usize * dim..][..dim].copy_from_slice(&embedding);
            self.places.insert(moved, (chunk, row));
        }
    }
}

impl Chunk {
    fn row(&self, row: usize, dim: usize) -> &[f32] {
        &self.values[row * dim..][..dim]
    }
}

impl Snapshot {
    /// Rows held.
    pub fn len(&self) -> usize {
        self.chunks
            .last()
            .map_or(0, |last| (self.chunks.len() - 1) * CHUNK_ROWS + last.ids.len())
    }

    /// Whether no row is held.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The row at a place, 0 to `len() - 1`.
    pub fn row(&self, place: usize) -> (SampleId, &[f32]) {
        let chunk = &self.chunks[place / CHUNK_ROWS];
        (chunk.ids[place % CHUNK_ROWS], chunk.row(place % CHUNK_ROWS, self.dim))
    }

    /// The `k` rows nearest to each of the queries (`[n, dim]`, unit length), best first; of two rows with one score
    /// the smaller id comes first.
    pub fn nearest(&self, queries: &[f32], k: usize) -> Vec<Vec<Hit>> {
        let queries: Vec<&[f32]> = queries.chunks_exact(self.dim).collect();
        let mut best: Vec<Best> = queries.iter().map(|_| Best::of(k)).collect();
        for chunk in &self.chunks {
            for (query, best) in queries.iter().zip(&mut best) {
                for (row, &id) in chunk.values.chunks_exact(self.dim).zip(&chunk.ids) {
                    best.offer(Hit {
                        id,
                        score: dot(query, row),
                    });
                }
            }
        }
        best.into_iter().map(Best::into_hits).collect()
    }
}

/// The best `k` hits so far; the worst of them on top.
struct Best {
    k: usize,
    /// Score that a hit must beat once `k` are held.
    floor: f32,
    heap: BinaryHeap<Worst>,
}

/// A hit, ordered so that the worst is the greatest.
#[derive(PartialEq)]
struct Worst(Hit);

impl Eq for Worst {}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Worst {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.0.score.total_cmp(&self.0.score).then(self.0.id.cmp(&other.0.id))
    }
}

impl Best {
    fn of(k: usize) -> Self {
        Self {
            k,
            floor: f32::NEG_INFINITY,
            heap: BinaryHeap::with_capacity(k.min(CHUNK_ROWS) + 1),
        }
    }

    #[inline]
    fn offer(&mut self, hit: Hit) {
        if hit.score >= self.floor && self.k > 0 {
            self.take(hit);
        }
    }

    fn take(&mut self, hit: Hit) {
        self.heap.push(Worst(hit));
        if self.heap.len() > self.k {
            self.heap.pop();
        }
        if self.heap.len() == self.k {
            self.floor = self.heap.peek().map_or(f32::NEG_INFINITY, |worst| worst.0.score);
        }
    }

    fn into_hits(self) -> Vec<Hit> {
        self.heap.into_sorted_vec().into_iter().map(|worst| worst.0).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::test_embeddings;

    fn ids(range: std::ops::Range<u64>) -> Vec<SampleId> {
        range.map(SampleId).collect()
    }

    fn naive(held: &[(SampleId, &[f32])], query: &[f32], k: usize) -> Vec<SampleId> {
        let mut all: Vec<_> = held
            .iter()
            .map(|(id, row)| {
                (
                    row.iter()
                        .zip(query)
                        .map(|(a, b)| f64::from(*a) * f64::from(*b))
                        .sum::<f64>(),
                    *id,
                )
            })
            .collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        all.into_iter().take(k).map(|(_, id)| id).collect()
    }

    #[test]
    fn a_search_finds_what_comparing_with_every_row_finds_while_rows_come_and_go() {
        let dim = 37;
        let embeddings = test_embeddings(3_000, dim, 1);
        let index = Index::new(dim, 0);
        index.add(&ids(0..2_500), &embeddings[..2_500 * dim]);
        index.remove(&(0..2_500).step_by(3).map(SampleId).collect::<Vec<_>>());
        index.add(&ids(2_500..3_000), &embeddings[2_500 * dim..]);
        let held: Vec<(SampleId, &[f32])> = (0..3_000u64)
            .filter(|id| *id >= 2_500 || id % 3 != 0)
            .map(|id| (SampleId(id), &embeddings[id as usize * dim..][..dim]))
            .collect();
        assert_eq!(index.len(), held.len());
        assert_eq!(index.snapshot().len(), held.len());
        let queries = test_embeddings(5, dim, 2);
        for (hits, query) in index.snapshot().nearest(&queries, 12).iter().zip(queries.chunks(dim)) {
            assert_eq!(
                hits.iter().map(|hit| hit.id).collect::<Vec<_>>(),
                naive(&held, query, 12)
            );
        }
        for (id, row) in &held {
            assert_eq!(index.embedding(*id).as_deref(), Some(*row));
        }
        assert_eq!(index.embedding(SampleId(0)), None);
    }

    #[test]
    fn equal_scores_come_in_the_order_of_their_ids() {
        let index = Index::new(2, 0);
        for id in [7, 3, 9, 1, 5] {
            index.add(&[SampleId(id)], &[1.0, 0.0]);
        }
        let hits = &index.snapshot().nearest(&[1.0, 0.0], 3)[0];
        assert_eq!(hits.iter().map(|hit| hit.id.0).collect::<Vec<_>>(), [1, 3, 5]);
    }

    #[test]
    fn asking_for_more_than_there_is_gives_what_there_is_and_for_nothing_nothing() {
        let index = Index::new(2, 0);
        assert!(index.snapshot().nearest(&[1.0, 0.0], 3)[0].is_empty());
        index.add(&[SampleId(1)], &[0.0, 1.0]);
        assert_eq!(index.snapshot().nearest(&[1.0, 0.0], 3)[0].len(), 1);
        assert!(index.snapshot().nearest(&[1.0, 0.0], 0)[0].is_empty());
    }

    #[test]
    fn a_search_sees_one_state_while_the_index_changes() {
        let index = Index::new(2, 0);
        index.add(&ids(0..10), &[1.0, 0.0].repeat(10));
        let before = index.snapshot();
        index.remove(&ids(0..10));
        index.add(&ids(10..12), &[0.0, 1.0].repeat(2));
        assert_eq!(before.nearest(&[1.0, 0.0], 20)[0].len(), 10);
        assert_eq!(index.snapshot().nearest(&[1.0, 0.0], 20)[0].len(), 2);
    }
}
