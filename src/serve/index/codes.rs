//! Codes: a row in one byte a number, a query in two, and how far their product can be from the true one.
//! Invariant: no score, as [`dot`](super::dot) computes it, is above the bound that is given for it.
//!
//! A row r is s c + e, with whole numbers c of -127 to 127 and what they leave out, e; a query q is t d + f. Then
//! q.r = t s (d.c) + q.e + f.(s c), and by Cauchy and Schwarz the last two are at most |q| |e| + |f| |s c|. All four lengths are
//! known, so that of most rows it is known from their codes alone that they are not among the nearest.

use super::product::{LANES, QUERIES_AT_ONCE, SUM_MAX, products};

const ROW_CODE_MAX: f32 = 127.0;

/// What the lengths that are kept are raised by, so that their own rounding lowers no bound.
const ROUNDING: f64 = 1.0 + 1e-6;

/// Numbers of a code, padding included.
pub(super) fn stride(dim: usize) -> usize {
    dim.next_multiple_of(LANES)
}

/// The most by which rounding moves a score of vectors of unit length: of 32 partial sums, of adding those up, and of the few
/// operations that make a bound.
fn score_rounding(dim: usize) -> f64 {
    (dim as f64 / 32.0 + 64.0) * f64::from(f32::EPSILON)
}

/// The codes of a chunk's rows.
#[derive(Clone, Default)]
pub(in crate::serve) struct RowCodes {
    /// `[rows, stride]`.
    codes: Vec<i8>,
    scales: Vec<Scale>,
}

/// How a row's code is read.
#[derive(Clone, Copy)]
struct Scale {
    /// s: what one unit of the code is worth.
    unit: f32,
    /// |e|, and what rounding adds.
    left_out: f32,
    /// |s c|.
    length: f32,
}

impl RowCodes {
    /// Codes one more row.
    pub(in crate::serve) fn push(&mut self, row: &[f32]) {
        let largest = row.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let unit = largest / ROW_CODE_MAX;
        let (mut left_out, mut length) = (0f64, 0f64);
        let start = self.codes.len();
        for &value in row {
            let code = if unit > 0.0 { (value / unit).round() } else { 0.0 };
            // No number becomes 0, and leaves out no number: the bound of such a row is never below a score.
            self.codes.push(code as i8);
            let decoded = f64::from(code as i8) * f64::from(unit);
            left_out += (f64::from(value) - decoded).powi(2);
            length += decoded.powi(2);
        }
        self.codes.resize(start + stride(row.len()), 0);
        let (left_out, length) = (left_out.sqrt(), length.sqrt());
        let rounding = score_rounding(row.len()) * (left_out + length);
        self.scales.push(Scale {
            unit,
            left_out: ((left_out + rounding) * ROUNDING) as f32,
            length: (length * ROUNDING) as f32,
        });
    }

    /// Makes room for so many more rows, and no more.
    pub(super) fn reserve_exact(&mut self, rows: usize, dim: usize) {
        self.codes.reserve_exact(rows * stride(dim));
        self.scales.reserve_exact(rows);
    }

    /// Bytes that they take.
    pub(super) fn bytes(&self) -> usize {
        self.codes.capacity() + self.scales.capacity() * size_of::<Scale>()
    }

    /// Takes a row out; the last one takes its place.
    pub(super) fn swap_remove(&mut self, row: usize, dim: usize) {
        let (stride, last) = (stride(dim), self.scales.len() - 1);
        self.codes.copy_within(last * stride.., row * stride);
        self.codes.truncate(last * stride);
        self.scales.swap_remove(row);
    }

    /// Rows held.
    fn len(&self) -> usize {
        self.scales.len()
    }
}

/// The codes of queries.
pub(in crate::serve) struct QueryCodes {
    stride: usize,
    /// `[queries, stride]`.
    codes: Vec<i16>,
    scales: Vec<Scale>,
}

impl QueryCodes {
    /// Of no queries.
    pub(in crate::serve) fn new(dim: usize) -> Self {
        Self {
            stride: stride(dim),
            codes: Vec::new(),
            scales: Vec::new(),
        }
    }

    /// Of queries `[n, dim]`.
    pub(super) fn of(queries: &[f32], dim: usize) -> Self {
        let mut codes = Self::new(dim);
        queries.chunks_exact(dim).for_each(|query| codes.push(query));
        codes
    }

    /// Codes one more query.
    pub(in crate::serve) fn push(&mut self, query: &[f32]) {
        self.codes.resize(self.codes.len() + self.stride, 0);
        self.scales.push(Scale {
            unit: 0.0,
            left_out: 0.0,
            length: 0.0,
        });
        self.set(self.len() - 1, query);
    }

    /// Puts another query in the place of one.
    pub(in crate::serve) fn set(&mut self, at: usize, query: &[f32]) {
        let code_max = (SUM_MAX / (ROW_CODE_MAX as usize * self.stride)).min(i16::MAX as usize) as f32;
        let largest = query.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let unit = largest / code_max;
        let (mut left_out, mut length) = (0f64, 0f64);
        for (code, &value) in self.codes[at * self.stride..].iter_mut().zip(query) {
            let scaled = if unit > 0.0 { (value / unit).round() } else { 0.0 };
            *code = scaled.clamp(-code_max, code_max) as i16;
            left_out += (f64::from(value) - f64::from(*code) * f64::from(unit)).powi(2);
            length += f64::from(value).powi(2);
        }
        self.scales[at] = Scale {
            unit,
            left_out: (left_out.sqrt() * ROUNDING) as f32,
            length: (length.sqrt() * ROUNDING) as f32,
        };
    }

    /// Queries held.
    pub(in crate::serve) fn len(&self) -> usize {
        self.scales.len()
    }

    /// What the scores of queries `from..to` with each row are not above: `bounds` becomes `[to - from, rows]`. `sums` is room.
    pub(in crate::serve) fn bounds(
        &self,
        (from, to): (usize, usize),
        rows: &RowCodes,
        sums: &mut Vec<i32>,
        bounds: &mut Vec<f32>,
    ) {
        let count = rows.len();
        sums.resize((to - from) * count, 0);
        bounds.resize((to - from) * count, 0.0);
        products(
            &self.codes[from * self.stride..to * self.stride],
            &rows.codes,
            self.stride,
            sums,
        );
        if count > 0 {
            pulp::Arch::new().dispatch(Bounds {
                queries: &self.scales[from..to],
                rows: &rows.scales,
                sums,
                bounds,
            });
        }
    }

    /// For each row the query whose product with it is the largest: where queries are the centres of cells, its cell.
    pub(super) fn best_of(&self, rows: &RowCodes) -> Vec<usize> {
        let mut best = vec![(f32::NEG_INFINITY, 0); rows.len()];
        let mut sums = Vec::new();
        for from in (0..self.len()).step_by(QUERIES_AT_ONCE) {
            let to = (from + QUERIES_AT_ONCE).min(self.len());
            sums.resize((to - from) * rows.len(), 0);
            products(
                &self.codes[from * self.stride..to * self.stride],
                &rows.codes,
                self.stride,
                &mut sums,
            );
            for (at, sums) in (from..to).zip(sums.chunks_exact(rows.len().max(1))) {
                let unit = self.scales[at].unit;
                for (best, sum) in best.iter_mut().zip(sums) {
                    let score = *sum as f32 * unit;
                    if score > best.0 {
                        *best = (score, at);
                    }
                }
            }
        }
        best.into_iter().map(|(_, at)| at).collect()
    }
}

struct Bounds<'a> {
    queries: &'a [Scale],
    rows: &'a [Scale],
    sums: &'a [i32],
    bounds: &'a mut [f32],
}

impl pulp::WithSimd for Bounds<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let count = self.rows.len();
        let each = self.sums.chunks_exact(count).zip(self.bounds.chunks_exact_mut(count));
        for (query, (sums, bounds)) in self.queries.iter().zip(each) {
            for ((row, sum), bound) in self.rows.iter().zip(sums).zip(bounds) {
                *bound =
                    *sum as f32 * (query.unit * row.unit) + (query.length * row.left_out + query.left_out * row.length);
            }
        }
    }
}
