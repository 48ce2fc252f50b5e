//! Keeps a large index in cells, on a thread of its own, and measures what they find.
//! Invariant: a search is approximate only after [`RECALL_MIN`] was found to hold on the rows that are there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::cells::Cells;
use super::rows::{Found, LOOSE};
use super::search::APPROXIMATE_HITS_MAX;
use super::{Index, Snapshot};
use crate::ids::SampleId;
use crate::rng::{self, Rng};

/// The share of the nearest that cells must find, with 95 % confidence: else a search compares with every row.
pub const RECALL_MIN: f64 = 0.98;

/// How many nearest are looked for: those that are asked for most, and as many as an approximate search may be asked for.
const RECALL_AT: [usize; 2] = [10, APPROXIMATE_HITS_MAX];

/// Rows whose neighbours are looked for.
const CHECKED_ROWS: usize = 256;

/// Of these are searched together.
const CHECKED_TOGETHER: usize = 32;

/// Cells are worth it while a search looks at no more than one row in this many: below, comparing with all of them in their
/// order is as fast.
const WORTH_ONE_IN: usize = 6;

/// It is measured again when one row in this many has come or gone; centres are found anew when there are twice as many rows.
const CHANGED_ONE_IN: u64 = 8;

/// The share of the standard normal distribution below 1.645 is 95 %.
const CONFIDENCE: f64 = 1.645;

/// What was done last.
#[derive(Default)]
pub(super) struct Tending {
    busy: AtomicBool,
    last: Mutex<Last>,
}

#[derive(Clone, Copy, Default)]
struct Last {
    /// Rows when centres were found; 0 before.
    sorted_rows: usize,
    /// Changes when it was measured.
    checked_at: u64,
}

impl Index {
    /// Starts what is due: sorting into cells, or measuring what they find. At once over where nothing is, or something is
    /// going on. The thread ends when the index is dropped.
    pub fn tend(self: &Arc<Self>) {
        if self.due().is_none() || self.tending.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let index = Arc::downgrade(self);
        let started = std::thread::Builder::new()
            .name("index-cells".to_owned())
            .spawn(move || {
                let done = catch_unwind(AssertUnwindSafe(|| Self::tend_now(&index)));
                if done.is_err() {
                    error!(
                        hint = "please report it with this log; searches compare with every row until it succeeds",
                        "sorting an index into cells panicked"
                    );
                }
                if let Some(index) = index.upgrade() {
                    index.tending.busy.store(false, Ordering::Release);
                }
            });
        if let Err(error) = started {
            warn!(%error, hint = "raise the limit of threads; until then searches compare with every row",
                "failed to start sorting an index into cells");
            self.tending.busy.store(false, Ordering::Release);
        }
    }

    /// Whether something that [`Index::tend`] started goes on.
    pub fn is_being_tended(&self) -> bool {
        self.tending.busy.load(Ordering::Acquire)
    }

    /// Whether centres are to be found (`true`), or what they find is to be measured (`false`).
    fn due(&self) -> Option<bool> {
        let (rows, changed) = {
            let rows = self.rows.read();
            (rows.view.rows, rows.view.changed)
        };
        let last = *self.tending.last.lock();
        if rows <= self.exact_rows_max {
            None
        } else if last.sorted_rows == 0 || rows >= 2 * last.sorted_rows {
            Some(true)
        } else {
            ((changed - last.checked_at) * CHANGED_ONE_IN >= rows as u64).then_some(false)
        }
    }

    /// Does what is due, a part at a time; between two it looks whether the index is still there.
    pub(super) fn tend_now(index: &Weak<Self>) {
        let Some((afresh, snapshot, mut rng)) = index.upgrade().and_then(|index| {
            let snapshot = index.snapshot();
            let rng = rng::for_step(index.seed, snapshot.view.changed, 1);
            Some((index.due()?, snapshot, rng))
        }) else {
            return;
        };
        let go_on = || index.strong_count() > 0;
        if afresh {
            let sorted_rows = snapshot.len();
            let Some(cells) = Cells::of(&snapshot, &mut rng, &go_on) else {
                return;
            };
            drop(snapshot);
            let Some(now) = index.upgrade() else { return };
            now.rows.write().loosen(Arc::new(cells));
            now.tending.last.lock().sorted_rows = sorted_rows;
            drop(now);
            while index.upgrade().is_some_and(|index| index.sort_some()) {}
        }
        let Some(snapshot) = index.upgrade().map(|index| index.snapshot()) else {
            return;
        };
        let Some(found) =
            Measured::of(index, &snapshot, &mut rng).map(|measured| measured.fewest_probes(snapshot.len()))
        else {
            return;
        };
        if let Some(index) = index.upgrade() {
            let changed = snapshot.view.changed;
            index.tending.last.lock().checked_at = changed;
            Arc::make_mut(&mut index.rows.write().view).found = found;
            info!(
                rows = snapshot.len(),
                cells = snapshot.view.cells.as_ref().map_or(0, |cells| cells.len()),
                probes = found.map_or(0, |found| found.probes),
                recall = found.map_or(1.0, |found| f64::from(found.recall)),
                exact = found.is_none(),
                "measured what the cells of an index find"
            );
        }
    }

    /// Sorts the last chunk of loose rows; whether there was one.
    fn sort_some(&self) -> bool {
        let (ids, lists) = {
            let snapshot = self.snapshot();
            let view = &snapshot.view;
            let (Some(cells), Some(&last)) = (&view.cells, view.lists[LOOSE].last()) else {
                return false;
            };
            let chunk = &view.chunks[last];
            (chunk.ids.clone(), cells.of_rows(&chunk.codes))
        };
        let mut rows = self.rows.write();
        for (id, cell) in ids.into_iter().zip(lists) {
            rows.sort(id, cell + 1);
        }
        true
    }

    /// The list that each of some samples lies in.
    fn lists_of(&self, ids: impl Iterator<Item = SampleId>) -> Vec<Option<usize>> {
        let rows = self.rows.read();
        ids.map(|id| rows.list_of(id)).collect()
    }
}

/// Where the true neighbours of some rows were found.
struct Measured {
    /// Of each row: which of its nearest cells each of its true neighbours lies in, the nearest neighbour first; 0 is the nearest
    /// cell.
    ranks: Vec<Vec<usize>>,
    /// Rows in the so many nearest cells, summed over the rows that were looked at.
    looked_at: Vec<usize>,
}

impl Measured {
    /// Looks for the neighbours of rows drawn at random by comparing with every row. `None` without cells, or when the index has
    /// been dropped.
    fn of(index: &Weak<Index>, snapshot: &Snapshot, rng: &mut Rng) -> Option<Self> {
        let cells = snapshot.view.cells.as_ref()?;
        let sizes: Vec<usize> = snapshot.view.lists[LOOSE + 1..]
            .iter()
            .map(|list| list.iter().map(|&at| snapshot.view.chunks[at].ids.len()).sum())
            .collect();
        let mut measured = Self {
            ranks: Vec::new(),
            looked_at: vec![0; sizes.len()],
        };
        for places in snapshot.sample(CHECKED_ROWS, rng).chunks(CHECKED_TOGETHER) {
            let queries: Vec<f32> = places
                .iter()
                .flat_map(|place| snapshot.row(*place).1)
                .copied()
                .collect();
            let found = snapshot.nearest(&queries, APPROXIMATE_HITS_MAX + 1);
            let index = index.upgrade()?;
            for ((place, hits), query) in places.iter().zip(found).zip(queries.chunks_exact(snapshot.dim)) {
                let order = cells.by_nearness(query);
                let mut rank_of = vec![0; order.len()];
                let mut rows = 0;
                for (rank, &cell) in order.iter().enumerate() {
                    rank_of[cell] = rank;
                    rows += sizes[cell];
                    measured.looked_at[rank] += rows;
                }
                let own = snapshot.row(*place).0;
                let others = hits.iter().map(|hit| hit.id).filter(|id| *id != own);
                // One that has gone since can be found no more by any search, one that lies in no cell by each.
                let lists = index.lists_of(others).into_iter().flatten();
                let ranks = lists.map(|list| list.checked_sub(LOOSE + 1).map_or(0, |cell| rank_of[cell]));
                measured.ranks.push(ranks.take(APPROXIMATE_HITS_MAX).collect());
            }
        }
        Some(measured)
    }

    /// The fewest cells that find enough; `None` where those are too many to be worth it.
    fn fewest_probes(&self, rows: usize) -> Option<Found> {
        let worth = rows / WORTH_ONE_IN * self.ranks.len();
        let mut probes = 1;
        while probes <= self.looked_at.len() && self.looked_at[probes - 1] <= worth {
            if RECALL_AT.iter().all(|&at| self.recall(at, probes).1 >= RECALL_MIN) {
                return Some(Found {
                    probes,
                    recall: self.recall(RECALL_AT[0], probes).0 as f32,
                });
            }
            probes += (probes / 8).max(1);
        }
        None
    }

    /// The share of the first `at` neighbours that lie in the first `probes` cells, and what it is not below with 95 %
    /// confidence.
    fn recall(&self, at: usize, probes: usize) -> (f64, f64) {
        let shares: Vec<f64> = self
            .ranks
            .iter()
            .map(|ranks| &ranks[..at.min(ranks.len())])
            .filter(|ranks| !ranks.is_empty())
            .map(|ranks| ranks.iter().filter(|rank| **rank < probes).count() as f64 / ranks.len() as f64)
            .collect();
        let count = shares.len().max(1) as f64;
        let mean = shares.iter().sum::<f64>() / count;
        let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / count;
        (mean, mean - CONFIDENCE * (variance / count).sqrt())
    }
}
