//! Sentences about the index: what a search finds, exactly or in cells, while rows come and go.

use super::*;
use crate::clock::Timestamp;
use crate::rng;
use crate::serve::{test_embeddings, test_samples};

/// The exact answer: what comparing with every row in double precision gives, of one score the smaller id first.
fn naive(held: &[(SampleId, &[f32])], query: &[f32], k: usize) -> Vec<SampleId> {
    let mut all: Vec<_> = held.iter().map(|(id, row)| (dot(row, query), *id)).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    all.into_iter().take(k).map(|(_, id)| id).collect()
}

fn found(hits: &[Hit]) -> Vec<SampleId> {
    hits.iter().map(|hit| hit.id).collect()
}

/// Rows around `centres` of them, in few of their directions: as those of a trained network lie.
fn clustered(n: usize, dim: usize, centres: usize, seed: u64) -> Vec<f32> {
    let middles = test_embeddings(centres, dim, seed);
    let mut rng = rng::for_step(seed, 1, 0);
    let mut rows = test_embeddings(n, dim, seed + 1);
    for row in rows.chunks_exact_mut(dim) {
        let middle = &middles[rng::below(&mut rng, centres) * dim..][..dim];
        row.iter_mut()
            .zip(middle)
            .for_each(|(value, middle)| *value = 0.4 * *value + middle);
        let length = dot(row, row).sqrt();
        row.iter_mut().for_each(|value| *value /= length);
    }
    rows
}

/// An index of these rows that has been sorted into cells, on this thread.
fn sorted(embeddings: &[f32], dim: usize, exact_rows_max: usize) -> Arc<Index> {
    let index = Arc::new(Index::new(dim, 0, exact_rows_max));
    index.add(&test_samples(0..(embeddings.len() / dim) as u64), embeddings);
    Index::tend_now(&Arc::downgrade(&index));
    index
}

#[test]
fn a_search_finds_what_comparing_with_every_row_finds_while_rows_come_and_go() {
    for dim in [37, 64] {
        let embeddings = test_embeddings(3_000, dim, 1);
        let index = Index::new(dim, 0, usize::MAX);
        index.add(&test_samples(0..2_500), &embeddings[..2_500 * dim]);
        index.remove(&(0..2_500).step_by(3).map(SampleId).collect::<Vec<_>>());
        index.add(&test_samples(2_500..3_000), &embeddings[2_500 * dim..]);
        let held: Vec<(SampleId, &[f32])> = (0..3_000u64)
            .filter(|id| *id >= 2_500 || id % 3 != 0)
            .map(|id| (SampleId(id), &embeddings[id as usize * dim..][..dim]))
            .collect();
        assert_eq!((index.len(), index.snapshot().len()), (held.len(), held.len()));
        assert_eq!(index.snapshot().places().len(), held.len());
        let queries = test_embeddings(70, dim, 2);
        for n in [1, 3, 4, 70] {
            let queries = &queries[..n * dim];
            for (hits, query) in index.snapshot().nearest(queries, 12).iter().zip(queries.chunks(dim)) {
                assert_eq!(found(hits), naive(&held, query, 12));
                assert!(
                    hits.iter()
                        .all(|hit| hit.score == dot(query, &embeddings[hit.id.0 as usize * dim..][..dim]))
                );
            }
        }
        for (id, row) in &held {
            assert_eq!(index.embedding(*id).as_deref(), Some(*row));
        }
        assert_eq!(index.embedding(SampleId(0)), None);
        index.remove(&index.ids());
        assert!(index.snapshot().is_empty() && index.snapshot().nearest(&queries, 3)[0].is_empty());
    }
}

#[test]
fn rows_that_differ_by_less_than_their_codes_can_say_are_found_in_their_true_order() {
    let (dim, n) = (64, 5_000);
    let middle = test_embeddings(1, dim, 3);
    let mut rows = test_embeddings(n, dim, 4);
    for row in rows.chunks_exact_mut(dim) {
        row.iter_mut()
            .zip(&middle)
            .for_each(|(value, middle)| *value = 1e-4 * *value + middle);
        let length = dot(row, row).sqrt();
        row.iter_mut().for_each(|value| *value /= length);
    }
    let index = Index::new(dim, 0, usize::MAX);
    index.add(&test_samples(0..n as u64), &rows);
    let held: Vec<_> = (0..n)
        .map(|at| (SampleId(at as u64), &rows[at * dim..][..dim]))
        .collect();
    for query in [&middle[..], &rows[7 * dim..8 * dim]] {
        assert_eq!(found(&index.snapshot().nearest(query, 50)[0]), naive(&held, query, 50));
    }
}

#[test]
fn equal_scores_come_in_the_order_of_their_ids() {
    let index = Index::new(2, 0, usize::MAX);
    for id in [7, 3, 9, 1, 5] {
        index.add(&test_samples([id]), &[1.0, 0.0]);
    }
    let hits = &index.snapshot().nearest(&[1.0, 0.0], 3)[0];
    assert_eq!(hits.iter().map(|hit| hit.id.0).collect::<Vec<_>>(), [1, 3, 5]);
}

#[test]
fn asking_for_more_than_there_is_gives_what_there_is_and_for_nothing_nothing() {
    let index = Index::new(2, 0, usize::MAX);
    assert!(index.snapshot().nearest(&[1.0, 0.0], 3)[0].is_empty());
    index.add(&test_samples([1]), &[0.0, 1.0]);
    assert_eq!(index.snapshot().nearest(&[1.0, 0.0], 3)[0].len(), 1);
    assert!(index.snapshot().nearest(&[1.0, 0.0], 0)[0].is_empty());
}

#[test]
fn what_is_no_number_is_near_nothing_and_nothing_is_equally_near_to_all() {
    let (dim, n) = (3, 600);
    let index = Index::new(dim, 0, usize::MAX);
    index.add(&test_samples(0..n), &test_embeddings(n as usize, dim, 5));
    index.add(&test_samples([n]), &[f32::NAN, 1.0, 0.0]);
    let nearest = |query: [f32; 3]| index.snapshot().nearest(&query, 4).swap_remove(0);
    assert!(nearest([f32::NAN, 0.0, 0.0]).is_empty());
    assert_eq!(found(&nearest([0.0; 3])), [0, 1, 2, 3].map(SampleId));
    assert!(
        nearest([1.0, 0.0, 0.0])
            .iter()
            .all(|hit| hit.id != SampleId(n) && hit.score.is_finite())
    );
}

#[test]
fn a_search_sees_one_state_while_the_index_changes() {
    let index = Index::new(2, 0, usize::MAX);
    index.add(&test_samples(0..10), &[1.0, 0.0].repeat(10));
    let before = index.snapshot();
    index.remove(&(0..10).map(SampleId).collect::<Vec<_>>());
    index.add(&test_samples(10..12), &[0.0, 1.0].repeat(2));
    assert_eq!(before.nearest(&[1.0, 0.0], 20)[0].len(), 10);
    assert_eq!(index.snapshot().nearest(&[1.0, 0.0], 20)[0].len(), 2);
}

#[test]
fn of_what_is_allowed_the_nearest_are_found_however_little_it_is() {
    let (dim, n) = (32, 4_000);
    let embeddings = test_embeddings(n, dim, 6);
    let index = Index::new(dim, 0, usize::MAX);
    let samples: Vec<_> = (0..n as u64)
        .map(|id| {
            let path = format!("camera-{}/{id}.png", id % 7).into();
            let taken_at = Timestamp(id as i64 * 1_000);
            (SampleId(id), Origin { taken_at, path })
        })
        .collect();
    index.add(&samples, &embeddings);
    let query = test_embeddings(1, dim, 7);
    let allowed: [Allow<'_>; 4] = [
        &|_, origin| origin.path.starts_with("camera-3/"),
        &|_, origin| (Timestamp(5_000)..Timestamp(5_003)).contains(&origin.taken_at),
        &|id, _| id.0 % 1_000 == 1,
        &|_, _| false,
    ];
    for allow in allowed {
        let held: Vec<_> = samples
            .iter()
            .filter(|(id, origin)| allow(*id, origin))
            .map(|(id, _)| (*id, &embeddings[id.0 as usize * dim..][..dim]))
            .collect();
        assert_eq!(
            found(&index.snapshot().nearest_allowed(&query, 10, allow)),
            naive(&held, &query, 10)
        );
    }
}

#[test]
fn rows_that_lie_in_groups_are_found_in_a_few_cells_and_rows_that_come_and_go_with_them() {
    let (dim, n) = (32, 6_000);
    let embeddings = clustered(n + 500, dim, 40, 8);
    let index = sorted(&embeddings[..n * dim], dim, 1_000);
    let measured = index.snapshot().approximate().expect("cells find enough");
    assert!(f64::from(measured.recall) >= RECALL_MIN, "{measured:?}");

    index.remove(&(0..n as u64).step_by(2).map(SampleId).collect::<Vec<_>>());
    index.add(&test_samples(n as u64..n as u64 + 500), &embeddings[n * dim..]);
    let held: Vec<_> = (0..n as u64 + 500)
        .filter(|id| *id >= n as u64 || id % 2 == 1)
        .map(|id| (SampleId(id), &embeddings[id as usize * dim..][..dim]))
        .collect();
    let now = index.snapshot();
    let (mut right, mut asked) = (0, 0);
    for (id, query) in held.iter().step_by(17) {
        let (near, exact) = (now.near(query, 10), naive(&held, query, 10));
        assert_eq!((near.len(), near[0].id), (10, *id), "a row is its own nearest");
        assert!(
            near.iter().all(|hit| hit.id.0 >= n as u64 || hit.id.0 % 2 == 1),
            "what is gone is not found"
        );
        right += exact.iter().filter(|id| near.iter().any(|hit| hit.id == **id)).count();
        asked += 10;
        // What is not said to be approximate is not.
        assert_eq!(found(&now.nearest(query, 10)[0]), exact);
    }
    assert!(right as f64 >= 0.96 * f64::from(asked), "{right} of {asked} were found");
}

#[test]
fn where_a_few_cells_do_not_hold_the_nearest_every_row_is_compared() {
    let (dim, n) = (128, 4_000);
    let embeddings = test_embeddings(n, dim, 9);
    let index = sorted(&embeddings, dim, 1_000);
    assert_eq!(index.snapshot().approximate(), None);
    let held: Vec<_> = (0..n)
        .map(|at| (SampleId(at as u64), &embeddings[at * dim..][..dim]))
        .collect();
    for query in test_embeddings(5, dim, 10).chunks(dim) {
        assert_eq!(found(&index.snapshot().near(query, 10)), naive(&held, query, 10));
    }
}

#[test]
fn an_approximate_search_that_asks_for_more_than_was_measured_is_exact() {
    let (dim, n) = (32, 4_000);
    let embeddings = clustered(n, dim, 40, 11);
    let index = sorted(&embeddings, dim, 1_000);
    assert!(index.snapshot().approximate().is_some());
    let held: Vec<_> = (0..n)
        .map(|at| (SampleId(at as u64), &embeddings[at * dim..][..dim]))
        .collect();
    let query = &embeddings[..dim];
    let k = APPROXIMATE_HITS_MAX + 1;
    assert_eq!(found(&index.snapshot().near(query, k)), naive(&held, query, k));
}

#[test]
fn a_growing_index_is_sorted_beside_its_writer_and_loses_no_row() {
    let (dim, n) = (16, 6_000usize);
    let embeddings = clustered(n, dim, 20, 12);
    let index = Arc::new(Index::new(dim, 0, 500));
    let samples = test_samples(0..n as u64);
    for (at, (samples, rows)) in samples.chunks(64).zip(embeddings.chunks(64 * dim)).enumerate() {
        index.add(samples, rows);
        index.remove(&[SampleId(at as u64 * 40)]);
        index.tend();
    }
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while index.snapshot().approximate().is_none() && std::time::Instant::now() < deadline {
        index.tend();
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(index.snapshot().approximate().is_some());
    let held: Vec<_> = (0..n as u64)
        .filter(|id| id % 40 != 0 || id / 40 >= (n as u64).div_ceil(64))
        .map(|id| (SampleId(id), &embeddings[id as usize * dim..][..dim]))
        .collect();
    assert_eq!(index.len(), held.len());
    for (id, row) in &held {
        assert_eq!(index.embedding(*id).as_deref(), Some(*row));
    }
    let query = &embeddings[dim..2 * dim];
    assert_eq!(
        found(&index.snapshot().nearest(query, 100)[0]),
        naive(&held, query, 100)
    );
}

#[test]
fn sorting_ends_when_nobody_holds_the_index() {
    let dim = 8;
    let index = Arc::new(Index::new(dim, 0, 10));
    index.add(&test_samples(0..1_000), &test_embeddings(1_000, dim, 13));
    let weak = Arc::downgrade(&index);
    index.tend();
    drop(index);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while weak.strong_count() > 0 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn when_the_nearest_come_to_lie_all_over_every_row_is_compared_again() {
    let (dim, n) = (128, 3_000);
    let mut embeddings = clustered(n, dim, 40, 14);
    let index = sorted(&embeddings, dim, 1_000);
    assert!(index.snapshot().approximate().is_some());
    embeddings.extend(test_embeddings(n - 1, dim, 15));
    index.add(&test_samples(n as u64..2 * n as u64 - 1), &embeddings[n * dim..]);
    Index::tend_now(&Arc::downgrade(&index));
    assert_eq!(index.snapshot().approximate(), None);
    let held: Vec<_> = embeddings
        .chunks(dim)
        .zip(0..)
        .map(|(row, id)| (SampleId(id), row))
        .collect();
    let query = &embeddings[(n + 5) * dim..][..dim];
    assert_eq!(found(&index.snapshot().near(query, 10)), naive(&held, query, 10));
}
