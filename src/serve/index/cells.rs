//! Cells: rows that lie near one centre are kept together, so that a search need not look at all.
//! Invariant: there is a centre for each cell.
//!
//! An inverted file (Sivic and Zisserman 2003) whose centres are found by spherical k-means (Dhillon and Modha 2001) on a sample.
//! A graph of neighbours looks at fewer rows, but forgets none without being built anew; here a row comes and goes as any does.

use super::codes::{QueryCodes, RowCodes};
use super::rows::{CHUNK_ROWS, Place};
use super::{Snapshot, dot};
use crate::rng::{self, Rng};

/// Rows of the sample for each centre.
const SAMPLE_PER_CELL: usize = 40;

/// Rounds of k-means: further ones move few rows.
const ROUNDS: usize = 8;

/// The most cells.
const CELLS_MAX: usize = 4_096;

/// The centres of cells.
pub(super) struct Cells {
    dim: usize,
    /// `[cells, dim]`, each of unit length.
    centres: Vec<f32>,
    /// The same, to be compared with the codes of rows.
    codes: QueryCodes,
}

impl Cells {
    /// Finds centres for the rows of a snapshot, the root of their number. `None` when there are no rows, or `go_on` says no.
    pub(super) fn of(rows: &Snapshot, rng: &mut Rng, go_on: &dyn Fn() -> bool) -> Option<Self> {
        let count = rows.len().isqrt().min(CELLS_MAX);
        let sample = rows.sample(count * SAMPLE_PER_CELL, rng);
        if count == 0 {
            return None;
        }
        let first = sample[..count].iter().flat_map(|place| rows.row(*place).1).copied();
        let mut cells = Self::at(first.collect(), rows.dim);
        for _ in 0..ROUNDS {
            if !go_on() {
                return None;
            }
            cells = cells.moved(rows, &sample, rng);
        }
        Some(cells)
    }

    fn at(centres: Vec<f32>, dim: usize) -> Self {
        let codes = QueryCodes::of(&centres, dim);
        Self { dim, centres, codes }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.codes.len()
    }

    /// The cell of each row: that whose centre is the nearest, as far as codes tell.
    pub(super) fn of_rows(&self, rows: &RowCodes) -> Vec<usize> {
        self.codes.best_of(rows)
    }

    /// As [`Cells::of_rows`], of embeddings `[n, dim]`.
    pub(super) fn of_embeddings(&self, embeddings: &[f32]) -> Vec<usize> {
        let mut codes = RowCodes::default();
        embeddings.chunks_exact(self.dim).for_each(|row| codes.push(row));
        self.of_rows(&codes)
    }

    /// The cells, the one whose centre is nearest to a query first.
    pub(super) fn by_nearness(&self, query: &[f32]) -> Vec<usize> {
        let scores: Vec<f32> = self
            .centres
            .chunks_exact(self.dim)
            .map(|centre| dot(centre, query))
            .collect();
        let mut cells: Vec<usize> = (0..scores.len()).collect();
        cells.sort_unstable_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        cells
    }

    /// Each centre in the middle of those rows of the sample that are nearest to it; one that has none goes to a row drawn at
    /// random.
    fn moved(&self, rows: &Snapshot, sample: &[Place], rng: &mut Rng) -> Self {
        let mut centres = vec![0f32; self.centres.len()];
        for places in sample.chunks(CHUNK_ROWS) {
            let mut codes = RowCodes::default();
            places.iter().for_each(|place| codes.push(rows.row(*place).1));
            for (place, cell) in places.iter().zip(self.of_rows(&codes)) {
                let centre = &mut centres[cell * self.dim..][..self.dim];
                centre
                    .iter_mut()
                    .zip(rows.row(*place).1)
                    .for_each(|(sum, value)| *sum += value);
            }
        }
        for centre in centres.chunks_exact_mut(self.dim) {
            let length = dot(centre, centre).sqrt();
            if length > 0.0 && length.is_finite() {
                centre.iter_mut().for_each(|value| *value /= length);
            } else {
                centre.copy_from_slice(rows.row(sample[rng::below(rng, sample.len())]).1);
            }
        }
        Self::at(centres, self.dim)
    }
}
