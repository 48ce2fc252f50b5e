//! Searching one state of an index.
//! Invariants: what is found is what comparing with every row finds, score for score, where it is not said to be approximate;
//! threads beside the asking one are taken only as far as no other search has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::best::{Best, Hit};
use super::codes::QueryCodes;
use super::dot;
use super::product::QUERIES_AT_ONCE;
use super::rows::{Chunk, Found, LOOSE, Origin, Place, View};
use crate::ids::SampleId;
use crate::limits::SEARCH_HELPERS_MAX;
use crate::rng::{self, Rng};

/// Hits up to which a search may be approximate: as many were looked at when it was measured what cells find.
pub const APPROXIMATE_HITS_MAX: usize = 64;

/// Multiplications that are worth a thread: about half a millisecond, where starting one takes a twentieth of it.
const WORK_OF_A_THREAD: usize = 12 << 20;

/// About what finding a row by its sample takes: the sample and the place, in a table that is half to seven eighths full.
const BYTES_OF_A_PLACE: usize = (size_of::<SampleId>() + size_of::<Place>()) * 3 / 2;

/// Chunks that a thread takes at a time.
const CHUNKS_AT_ONCE: usize = 4;

/// Which rows may be found.
pub type Allow<'a> = &'a (dyn Fn(SampleId, &Origin) -> bool + Sync);

/// One state of an index, for as long as it is held.
#[derive(Clone)]
pub struct Snapshot {
    pub(super) dim: usize,
    pub(super) view: Arc<View>,
    /// Rows up to which a search compares with every row.
    pub(super) exact_rows_max: usize,
    /// Which state of the index this is; grows with every change.
    pub version: u64,
}

impl Snapshot {
    /// Rows held.
    pub fn len(&self) -> usize {
        self.view.rows
    }

    /// Whether no row is held.
    pub fn is_empty(&self) -> bool {
        self.view.rows == 0
    }

    /// Bytes that the rows take, and finding them by their samples; names of files apart, which samples may share.
    pub fn bytes(&self) -> usize {
        let chunks: usize = self.view.chunks.iter().map(|chunk| chunk.bytes()).sum();
        chunks + self.view.rows * BYTES_OF_A_PLACE
    }

    /// The row at a place of this state.
    pub fn row(&self, place: Place) -> (SampleId, &[f32]) {
        self.view.row(place, self.dim)
    }

    /// The places of all rows, in no order.
    pub fn places(&self) -> Vec<Place> {
        self.view.places().collect()
    }

    /// The `nth` of all rows, 0 to `len() - 1`, in no order.
    pub fn nth(&self, nth: usize) -> Option<(SampleId, &[f32])> {
        self.view.place(nth).map(|place| self.row(place))
    }

    /// The places of `most` rows drawn at random, or of all where there are no more.
    pub(super) fn sample(&self, most: usize, rng: &mut Rng) -> Vec<Place> {
        let mut places = self.places();
        let most = most.min(places.len());
        for at in 0..most {
            let other = at + rng::below(rng, places.len() - at);
            places.swap(at, other);
        }
        places.truncate(most);
        places
    }

    /// Of each row what its score with each of the queries (`[n, dim]`) is not above, a hundredth or so too high.
    pub(in crate::serve) fn bounds(&self, queries: &[f32], mut take: impl FnMut(Place, &mut [f32])) {
        let codes = QueryCodes::of(queries, self.dim);
        let (mut sums, mut bounds, mut of_row) = (Vec::new(), Vec::new(), Vec::new());
        let mut places = self.view.places();
        for chunk in self.chunks() {
            codes.bounds((0, codes.len()), &chunk.codes, &mut sums, &mut bounds);
            let rows = chunk.ids.len();
            for (row, place) in (0..rows).zip(&mut places) {
                of_row.clear();
                of_row.extend(bounds[row..].iter().step_by(rows));
                take(place, &mut of_row);
            }
        }
    }

    /// The `k` rows nearest to each of the queries (`[n, dim]`, unit length), best first; of two rows with one score
    /// the smaller id comes first.
    pub fn nearest(&self, queries: &[f32], k: usize) -> Vec<Vec<Hit>> {
        self.among(&self.chunks(), queries, k, None)
            .into_iter()
            .map(Best::into_hits)
            .collect()
    }

    /// The `k` rows nearest to one query among those that are allowed.
    pub fn nearest_allowed(&self, query: &[f32], k: usize, allow: Allow<'_>) -> Vec<Hit> {
        let found = self.among(&self.chunks(), query, k, Some(allow)).pop();
        found.map_or_else(Vec::new, Best::into_hits)
    }

    /// The `k` rows nearest to one query, or nearly so: where there are many rows, and it was measured that a few cells hold
    /// enough of the nearest, only those are looked into.
    pub fn near(&self, query: &[f32], k: usize) -> Vec<Hit> {
        let few = self.probed(query, k);
        let found = few.and_then(|few| self.among(&few, query, k, None).pop().filter(Best::is_full));
        match found {
            Some(found) => found.into_hits(),
            None => self.nearest(query, k).pop().unwrap_or_default(),
        }
    }

    /// What the cells are known to find, where a search may be approximate.
    pub fn approximate(&self) -> Option<Found> {
        self.view.found.filter(|_| self.len() > self.exact_rows_max)
    }

    /// The chunks that an approximate search looks into; `None` where it must be exact.
    fn probed(&self, query: &[f32], k: usize) -> Option<Vec<&Chunk>> {
        let found = self.approximate().filter(|_| k <= APPROXIMATE_HITS_MAX)?;
        let cells = self.view.cells.as_ref()?;
        let lists = cells.by_nearness(query).into_iter().take(found.probes);
        let lists = lists.map(|cell| LOOSE + 1 + cell).chain([LOOSE]);
        let chunks = lists.flat_map(|list| &self.view.lists[list]);
        Some(chunks.map(|&at| &*self.view.chunks[at]).collect())
    }

    fn chunks(&self) -> Vec<&Chunk> {
        let chunks = self.view.chunks.iter().map(|chunk| &**chunk);
        chunks.filter(|chunk| !chunk.ids.is_empty()).collect()
    }

    fn among(&self, chunks: &[&Chunk], queries: &[f32], k: usize, allow: Option<Allow<'_>>) -> Vec<Best> {
        let scan = Scan {
            dim: self.dim,
            queries,
            codes: QueryCodes::of(queries, self.dim),
            chunks,
            next: AtomicUsize::new(0),
            k,
            allow,
        };
        let rows: usize = chunks.iter().map(|chunk| chunk.ids.len()).sum();
        let wanted = (rows * queries.len() / WORK_OF_A_THREAD).min(chunks.len() / CHUNKS_AT_ONCE);
        let helpers = Helpers::take(wanted.saturating_sub(1));
        std::thread::scope(|scope| {
            let others: Vec<_> = (0..helpers.0)
                .filter_map(|_| {
                    let name = "search".to_owned();
                    // Where no thread can be had the asking one does it all.
                    std::thread::Builder::new()
                        .name(name)
                        .spawn_scoped(scope, || scan.run())
                        .ok()
                })
                .collect();
            let mut best = scan.run();
            for other in others {
                let found = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                for (best, found) in best.iter_mut().zip(found) {
                    found.into_hits().into_iter().for_each(|hit| best.offer(hit));
                }
            }
            best
        })
    }
}

/// One search: what its threads share.
struct Scan<'a> {
    dim: usize,
    queries: &'a [f32],
    codes: QueryCodes,
    chunks: &'a [&'a Chunk],
    /// The first chunk that no thread has taken.
    next: AtomicUsize,
    k: usize,
    allow: Option<Allow<'a>>,
}

impl Scan<'_> {
    /// Compares with chunks until none is left.
    fn run(&self) -> Vec<Best> {
        let mut best: Vec<Best> = (0..self.codes.len()).map(|_| Best::of(self.k)).collect();
        let (mut sums, mut bounds) = (Vec::new(), Vec::new());
        loop {
            let from = self.next.fetch_add(CHUNKS_AT_ONCE, Ordering::Relaxed);
            let Some(chunks) = self.chunks.get(from..(from + CHUNKS_AT_ONCE).min(self.chunks.len())) else {
                return best;
            };
            if chunks.is_empty() {
                return best;
            }
            for chunk in chunks {
                for first in (0..self.codes.len()).step_by(QUERIES_AT_ONCE) {
                    let last = (first + QUERIES_AT_ONCE).min(self.codes.len());
                    self.codes.bounds((first, last), &chunk.codes, &mut sums, &mut bounds);
                    for (at, bounds) in (first..last).zip(bounds.chunks_exact(chunk.ids.len())) {
                        let query = &self.queries[at * self.dim..][..self.dim];
                        self.compare(query, chunk, bounds, &mut best[at]);
                    }
                }
            }
        }
    }

    /// Computes the true scores of the rows whose codes do not tell that they are too far.
    fn compare(&self, query: &[f32], chunk: &Chunk, bounds: &[f32], best: &mut Best) {
        for (block, bounds) in bounds.chunks(16).enumerate() {
            let floor = best.floor();
            // Not `>=`: what is no number is compared, as nothing is known of it.
            let is_far = |bound: &f32| *bound < floor;
            if bounds.iter().map(|bound| u32::from(is_far(bound))).sum::<u32>() == bounds.len() as u32 {
                continue;
            }
            for (row, bound) in (block * 16..).zip(bounds) {
                if *bound < best.floor()
                    || self
                        .allow
                        .is_some_and(|allow| !allow(chunk.ids[row], &chunk.origins[row]))
                {
                    continue;
                }
                best.offer(Hit {
                    id: chunk.ids[row],
                    score: dot(query, chunk.row(row, self.dim)),
                });
            }
        }
    }
}

/// Threads of all searches beside those that ask.
static HELPING: AtomicUsize = AtomicUsize::new(0);

/// A share of them, given back when dropped.
struct Helpers(usize);

impl Helpers {
    /// Up to `wanted`, as far as they are there: one for each core but one, [`SEARCH_HELPERS_MAX`] at most.
    fn take(wanted: usize) -> Self {
        if wanted == 0 {
            return Self(0);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let all = (cores - 1).min(SEARCH_HELPERS_MAX);
        let mut taken = 0;
        // The closure always gives a number, so that the update always succeeds.
        let _ = HELPING.fetch_update(Ordering::AcqRel, Ordering::Acquire, |helping| {
            taken = wanted.min(all.saturating_sub(helping));
            Some(helping + taken)
        });
        Self(taken)
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        HELPING.fetch_sub(self.0, Ordering::AcqRel);
    }
}
