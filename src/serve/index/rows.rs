//! The rows of an index, in chunks that a search shares and a change copies when somebody is still reading it.
//! Invariant: every row lies in one chunk, every chunk in one list; its place is where `places` says.

use std::collections::HashMap;
use std::sync::Arc;

use super::cells::Cells;
use super::codes::RowCodes;
use crate::clock::Timestamp;
use crate::ids::SampleId;

/// Rows of a chunk: the codes of a chunk fit into the second-level cache, where a second query of the same request finds them.
pub(super) const CHUNK_ROWS: usize = 256;

/// The list of the rows that lie in no cell; the others are those of the cells, in their order.
pub(super) const LOOSE: usize = 0;

/// Where a sample came from: what a search can be narrowed by.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// When its source was taken.
    pub taken_at: Timestamp,
    /// The source's path below its inbox.
    pub path: Arc<str>,
}

/// Where a row lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    chunk: u32,
    row: u32,
}

/// Rows that lie together.
#[derive(Clone, Default)]
pub(super) struct Chunk {
    pub(super) ids: Vec<SampleId>,
    pub(super) origins: Vec<Origin>,
    /// `[ids.len(), dim]`.
    pub(super) values: Vec<f32>,
    pub(super) codes: RowCodes,
}

/// One state of the rows.
#[derive(Clone)]
pub(super) struct View {
    pub(super) chunks: Vec<Arc<Chunk>>,
    /// The list that each belongs to. Not in the chunk, so that all rows can be made loose without copying any.
    list_of: Vec<usize>,
    /// Chunks without rows, for whoever needs one.
    free: Vec<usize>,
    /// The chunks of each list; all but the last of a list are full where nothing was sorted into cells anew.
    pub(super) lists: Vec<Vec<usize>>,
    /// How rows are sorted, where they are.
    pub(super) cells: Option<Arc<Cells>>,
    /// What the cells are known to find, where that is enough.
    pub(super) found: Option<Found>,
    pub(super) rows: usize,
    /// Grows with every change.
    pub(super) version: u64,
    /// Rows ever added and removed.
    pub(super) changed: u64,
}

/// How many cells a search looks into, and what share of the true neighbours that was measured to find.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Cells looked into.
    pub probes: usize,
    /// Share of the ten nearest that are among the ten found, 0 to 1.
    pub recall: f32,
}

/// The rows, as their writer holds them.
pub(super) struct Rows {
    dim: usize,
    pub(super) view: Arc<View>,
    pub(super) places: HashMap<SampleId, Place>,
}

impl Rows {
    pub(super) fn new(dim: usize) -> Self {
        Self {
            dim,
            view: Arc::new(View {
                chunks: Vec::new(),
                list_of: Vec::new(),
                free: Vec::new(),
                lists: vec![Vec::new()],
                cells: None,
                found: None,
                rows: 0,
                version: 0,
                changed: 0,
            }),
            places: HashMap::new(),
        }
    }

    /// Adds a row to a list; `false` where the sample has one.
    pub(super) fn push(&mut self, id: SampleId, origin: Origin, embedding: &[f32], list: usize) -> bool {
        if self.places.contains_key(&id) {
            return false;
        }
        let view = Arc::make_mut(&mut self.view);
        let place = view.push(id, origin, embedding, list);
        view.changed += 1;
        self.places.insert(id, place);
        true
    }

    /// Takes a row out; `false` where there is none.
    pub(super) fn remove(&mut self, id: SampleId) -> bool {
        let Some(place) = self.places.remove(&id) else {
            return false;
        };
        let view = Arc::make_mut(&mut self.view);
        view.take(place, self.dim, &mut self.places);
        view.changed += 1;
        true
    }

    /// Moves a loose row into a list; one that is gone or lies in a list stays so.
    pub(super) fn sort(&mut self, id: SampleId, list: usize) {
        let Some(&place) = self.places.get(&id) else {
            return;
        };
        if self.view.list_of[place.chunk as usize] != LOOSE {
            return;
        }
        let view = Arc::make_mut(&mut self.view);
        let (origin, embedding) = view.take(place, self.dim, &mut self.places);
        let place = view.push(id, origin, &embedding, list);
        self.places.insert(id, place);
    }

    /// Makes every row a loose one, to be sorted into these cells.
    pub(super) fn loosen(&mut self, cells: Arc<Cells>) {
        let view = Arc::make_mut(&mut self.view);
        let all: Vec<usize> = view.lists.drain(..).flatten().collect();
        view.list_of.fill(LOOSE);
        view.lists = vec![Vec::new(); cells.len() + 1];
        view.lists[LOOSE] = all;
        view.cells = Some(cells);
        view.found = None;
    }

    /// What was added and removed is a state of its own.
    pub(super) fn changed(&mut self) {
        Arc::make_mut(&mut self.view).version += 1;
    }

    /// The list that a row lies in.
    pub(super) fn list_of(&self, id: SampleId) -> Option<usize> {
        let place = self.places.get(&id)?;
        Some(self.view.list_of[place.chunk as usize])
    }
}

impl View {
    fn push(&mut self, id: SampleId, origin: Origin, embedding: &[f32], list: usize) -> Place {
        let last = self.lists[list].last().copied();
        let at = match last.filter(|&at| self.chunks[at].ids.len() < CHUNK_ROWS) {
            Some(at) => at,
            None => {
                let at = self.free.pop().unwrap_or_else(|| {
                    self.chunks.push(Arc::default());
                    self.list_of.push(list);
                    self.chunks.len() - 1
                });
                self.list_of[at] = list;
                self.lists[list].push(at);
                at
            }
        };
        let chunk = Arc::make_mut(&mut self.chunks[at]);
        let row = chunk.ids.len() as u32;
        chunk.push(id, origin, embedding);
        self.rows += 1;
        Place { chunk: at as u32, row }
    }

    /// Takes the row at a place out. The last row of its list takes its place, so that chunks stay dense.
    fn take(&mut self, place: Place, dim: usize, places: &mut HashMap<SampleId, Place>) -> (Origin, Vec<f32>) {
        let (at, row) = (place.chunk as usize, place.row as usize);
        let chunk = Arc::make_mut(&mut self.chunks[at]);
        let taken = (
            chunk.origins.swap_remove(row),
            chunk.values[row * dim..][..dim].to_vec(),
        );
        chunk.ids.swap_remove(row);
        let last = chunk.ids.len();
        chunk.values.copy_within(last * dim.., row * dim);
        chunk.values.truncate(last * dim);
        chunk.codes.swap_remove(row, dim);
        if let Some(&moved) = chunk.ids.get(row) {
            places.insert(moved, place);
        }
        self.rows -= 1;
        self.close_gap(at, dim, places);
        taken
    }

    /// Fills a chunk that lacks a row from the end of its list.
    fn close_gap(&mut self, at: usize, dim: usize, places: &mut HashMap<SampleId, Place>) {
        let list = self.list_of[at];
        let Some(&end) = self.lists[list].last() else {
            return;
        };
        if end != at {
            let tail = Arc::make_mut(&mut self.chunks[end]);
            let last = tail.ids.len() - 1;
            let (Some(id), Some(origin)) = (tail.ids.pop(), tail.origins.pop()) else {
                return;
            };
            let embedding = tail.values.split_off(last * dim);
            tail.codes.swap_remove(last, dim);
            let chunk = Arc::make_mut(&mut self.chunks[at]);
            places.insert(
                id,
                Place {
                    chunk: at as u32,
                    row: chunk.ids.len() as u32,
                },
            );
            chunk.push(id, origin, &embedding);
        }
        if self.chunks[end].ids.is_empty() {
            self.chunks[end] = Arc::default();
            self.lists[list].pop();
            self.free.push(end);
        }
    }

    /// The row at a place.
    pub(super) fn row(&self, place: Place, dim: usize) -> (SampleId, &[f32]) {
        let chunk = &self.chunks[place.chunk as usize];
        (chunk.ids[place.row as usize], chunk.row(place.row as usize, dim))
    }

    /// Every place that holds a row.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.chunks.iter().enumerate().flat_map(|(chunk, rows)| {
            (0..rows.ids.len() as u32).map(move |row| Place {
                chunk: chunk as u32,
                row,
            })
        })
    }

    /// The place of one row of all, `nth` of them, 0 to `rows - 1`.
    pub(super) fn place(&self, nth: usize) -> Option<Place> {
        let mut left = nth;
        for (at, chunk) in self.chunks.iter().enumerate() {
            if left < chunk.ids.len() {
                return Some(Place {
                    chunk: at as u32,
                    row: left as u32,
                });
            }
            left -= chunk.ids.len();
        }
        None
    }
}

impl Chunk {
    fn push(&mut self, id: SampleId, origin: Origin, embedding: &[f32]) {
        let rows = self.ids.len();
        // A copy of a chunk has room for what it holds; doubling that would leave a full chunk half empty.
        if self.values.capacity() < (rows + 1) * embedding.len() {
            let more = (rows + 1).next_power_of_two() - rows;
            self.ids.reserve_exact(more);
            self.origins.reserve_exact(more);
            self.values.reserve_exact(more * embedding.len());
            self.codes.reserve_exact(more, embedding.len());
        }
        self.ids.push(id);
        self.origins.push(origin);
        self.values.extend_from_slice(embedding);
        self.codes.push(embedding);
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.ids.capacity() * size_of::<SampleId>()
            + self.origins.capacity() * size_of::<Origin>()
            + self.values.capacity() * size_of::<f32>()
            + self.codes.bytes()
    }

    pub(super) fn row(&self, row: usize, dim: usize) -> &[f32] {
        &self.values[row * dim..][..dim]
    }
}
