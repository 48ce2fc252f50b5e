//! Inner products of many coded rows with many coded queries: where a search spends its time.
//! Invariant: the sums are exact, whatever instructions make them, while none is above [`SUM_MAX`].

/// Codes of a row and of a query are padded with zeros to a multiple of this.
pub(super) const LANES: usize = 32;

/// Queries that are compared with a chunk together: their codes stay in the first-level cache.
pub(in crate::serve) const QUERIES_AT_ONCE: usize = 32;

/// The largest sum that can be made.
pub(super) const SUM_MAX: usize = i32::MAX as usize;

/// Of each query with each row: `queries` is `[q, stride]`, `rows` is `[r, stride]`, `sums` becomes `[q, r]`.
pub(super) fn products(queries: &[i16], rows: &[i8], stride: usize, sums: &mut [i32]) {
    assert!(stride.is_multiple_of(LANES), "codes are padded");
    let (q, r) = (queries.len() / stride, rows.len() / stride);
    assert_eq!(sums.len(), q * r, "one sum for each query and row");
    let one_by_one = OneByOne {
        queries,
        rows,
        stride,
        sums,
    };
    #[cfg(target_arch = "x86_64")]
    if q >= tiled::QUERIES
        && let Some(simd) = pulp::x86::V3::try_new()
    {
        return simd.vectorize(tiled::Tiled { simd, each: one_by_one });
    }
    pulp::Arch::new().dispatch(one_by_one);
}

/// Each query with each row: as fast as rows come from memory, for few queries.
struct OneByOne<'a> {
    queries: &'a [i16],
    rows: &'a [i8],
    stride: usize,
    sums: &'a mut [i32],
}

impl pulp::WithSimd for OneByOne<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let rows = self.rows.len() / self.stride;
        for (at, row) in self.rows.chunks_exact(self.stride).enumerate() {
            for (query, sums) in self
                .queries
                .chunks_exact(self.stride)
                .zip(self.sums.chunks_exact_mut(rows))
            {
                sums[at] = product(query, row);
            }
        }
    }
}

/// Inlined into a function that pulp compiles for wide vectors, so that it is made of them, too.
#[inline(always)]
fn product(query: &[i16], row: &[i8]) -> i32 {
    query.iter().zip(row).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}

/// A few queries with a few rows at a time: what is loaded is used several times, which makes a batch several times as fast.
/// The compiler does not find the instruction that multiplies and adds pairs in this shape, so it is named.
#[cfg(target_arch = "x86_64")]
mod tiled {
    use std::arch::x86_64::__m256i;
    use std::array::from_fn;

    use pulp::x86::V3;

    use super::OneByOne;

    /// With [`ROWS`] as many sums as there are registers for.
    pub(super) const QUERIES: usize = 4;
    const ROWS: usize = 2;

    type Wide = [i16; 16];

    pub(super) struct Tiled<'a> {
        pub(super) simd: V3,
        pub(super) each: OneByOne<'a>,
    }

    impl pulp::NullaryFnOnce for Tiled<'_> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            let OneByOne {
                queries,
                rows,
                stride,
                sums,
            } = self.each;
            let count = rows.len() / stride;
            let mut wide = vec![0i16; ROWS * stride];
            for (block, rows) in rows.chunks(ROWS * stride).enumerate() {
                for (wide, code) in wide.iter_mut().zip(rows) {
                    *wide = i16::from(*code);
                }
                let (first, held) = (block * ROWS, rows.len() / stride);
                let mut put = |query: usize, found: [i32; ROWS]| {
                    sums[query * count + first..][..held].copy_from_slice(&found[..held]);
                };
                let mut tiles = queries.chunks_exact(QUERIES * stride);
                for (at, queries) in tiles.by_ref().enumerate() {
                    for (of, found) in tile::<QUERIES>(self.simd, queries, &wide, stride)
                        .into_iter()
                        .enumerate()
                    {
                        put(at * QUERIES + of, found);
                    }
                }
                let done = queries.len() / stride / QUERIES * QUERIES;
                for (at, query) in tiles.remainder().chunks_exact(stride).enumerate() {
                    let [found] = tile::<1>(self.simd, query, &wide, stride);
                    put(done + at, found);
                }
            }
        }
    }

    #[inline(always)]
    fn tile<const Q: usize>(simd: V3, queries: &[i16], rows: &[i16], stride: usize) -> [[i32; ROWS]; Q] {
        let blocks = stride / 16;
        let queries: [&[Wide]; Q] = from_fn(|at| &queries[at * stride..][..stride].as_chunks().0[..blocks]);
        let rows: [&[Wide]; ROWS] = from_fn(|at| &rows[at * stride..][..stride].as_chunks().0[..blocks]);
        let mut sums = [[simd.avx._mm256_setzero_si256(); ROWS]; Q];
        for block in 0..blocks {
            let rows: [__m256i; ROWS] = from_fn(|at| pulp::cast(rows[at][block]));
            for (query, sums) in queries.iter().zip(&mut sums) {
                let query: __m256i = pulp::cast(query[block]);
                for (row, sum) in rows.iter().zip(sums) {
                    *sum = simd
                        .avx2
                        ._mm256_add_epi32(*sum, simd.avx2._mm256_madd_epi16(query, *row));
                }
            }
        }
        sums.map(|sums| sums.map(|sum| pulp::cast::<_, [i32; 8]>(sum).into_iter().sum()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn every_shape_gives_the_sums_that_adding_up_gives_and_none_overflows() {
        let mut rng = rng::for_step(1, 0, 0);
        for stride in [32, 96, 512] {
            for (q, r) in [(1, 1), (3, 5), (4, 2), (6, 7), (32, 256), (33, 3)] {
                let queries: Vec<i16> = (0..q * stride)
                    .map(|at| match at % 3 {
                        0 => 32_767,
                        _ => (rng::below(&mut rng, 65_535) as i32 - 32_767) as i16,
                    })
                    .collect();
                let rows: Vec<i8> = (0..r * stride)
                    .map(|at| match at % 3 {
                        0 => 127,
                        _ => (rng::below(&mut rng, 255) as i16 - 127) as i8,
                    })
                    .collect();
                let mut sums = vec![0; q * r];
                products(&queries, &rows, stride, &mut sums);
                for (at, sum) in sums.iter().enumerate() {
                    let (query, row) = (
                        &queries[at / r * stride..][..stride],
                        &rows[at % r * stride..][..stride],
                    );
                    let exact: i64 = query.iter().zip(row).map(|(a, b)| i64::from(*a) * i64::from(*b)).sum();
                    assert_eq!(i64::from(*sum), exact, "query {} of {q}, row {} of {r}", at / r, at % r);
                }
            }
        }
    }
}
