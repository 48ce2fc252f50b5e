//! What to label next, on made-up clusters.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use crate::labels::*;
use crate::rng;

const DIM: usize = 16;

/// Clusters of these sizes, far from each other, each around its own direction; unit rows.
fn clusters(sizes: &[usize], width: f64) -> (Vec<Vec<f32>>, Vec<usize>) {
    let mut rng = rng::for_step(9, 0, 0);
    let (mut rows, mut of) = (Vec::new(), Vec::new());
    for (cluster, size) in sizes.iter().enumerate() {
        for _ in 0..*size {
            let row: Vec<f64> = (0..DIM)
                .map(|at| f64::from(u8::from(at == cluster)) + width * rng::normal(&mut rng))
                .collect();
            let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
            rows.push(row.iter().map(|value| (value / norm) as f32).collect());
            of.push(cluster);
        }
    }
    (rows, of)
}

fn pool<'a>(rows: &'a [Vec<f32>], labelled: &[usize]) -> (Pool<'a>, Vec<usize>) {
    let candidates: Vec<usize> = (0..rows.len()).filter(|row| !labelled.contains(row)).collect();
    let pool = Pool {
        candidates: candidates.iter().map(|row| rows[*row].as_slice()).collect(),
        labelled: labelled.iter().map(|row| rows[*row].as_slice()).collect(),
    };
    (pool, candidates)
}

#[test]
fn typical_takes_one_of_each_cluster_before_any_second_the_largest_first() {
    let sizes = [40, 90, 60, 25, 70];
    let (rows, of) = clusters(&sizes, 0.05);
    let (pool, _) = pool(&rows, &[]);
    let chosen = typical(&pool, 5, 1);
    let found: Vec<usize> = chosen.iter().map(|(row, _)| of[*row]).collect();
    assert_eq!(found, [1, 4, 2, 0, 3], "by size");
    let ten: Vec<usize> = typical(&pool, 10, 1).iter().map(|(row, _)| of[*row]).collect();
    assert_eq!(ten.iter().collect::<BTreeSet<_>>().len(), 5);
    assert_eq!(typical(&pool, 5, 1), chosen, "the same again");
}

#[test]
fn typical_leaves_clusters_that_have_a_label_for_later() {
    let (rows, of) = clusters(&[50, 50, 50, 50], 0.05);
    let labelled = [0, 60];
    let (pool, candidates) = pool(&rows, &labelled);
    let found: BTreeSet<usize> = typical(&pool, 2, 1)
        .iter()
        .map(|(row, _)| of[candidates[*row]])
        .collect();
    assert_eq!(found, BTreeSet::from([2, 3]));
}

#[test]
fn a_typical_row_lies_where_its_cluster_is_dense_and_strangers_come_last() {
    let (mut rows, _) = clusters(&[200], 0.15);
    // A dense knot at the edge of a wide cluster, and three strangers.
    let knot: Vec<Vec<f32>> = clusters(&[30], 0.01).0;
    let first_of_knot = rows.len();
    rows.extend(knot);
    let first_stranger = rows.len();
    for stranger in 0..3 {
        rows.push((0..DIM).map(|at| f32::from(u8::from(at == 10 + stranger))).collect());
    }
    let (pool, _) = pool(&rows, &[]);
    let (row, typicality) = typical(&pool, 1, 0)[0];
    assert!((first_of_knot..first_stranger).contains(&row), "row {row}");
    assert!(typicality > 5.0);
    let first_four = typical(&pool, 4, 0);
    assert!(
        first_four.iter().take(1).all(|(row, _)| *row < first_stranger),
        "{first_four:?}"
    );
}

#[test]
fn diverse_covers_every_cluster_and_the_strangers_and_never_chooses_twice() {
    let (rows, of) = clusters(&[100, 3, 50, 1], 0.03);
    let (pool, candidates) = pool(&rows, &[0]);
    let chosen = diverse(&pool, 3);
    let found: BTreeSet<usize> = chosen.iter().map(|(row, _)| of[candidates[*row]]).collect();
    assert_eq!(found, BTreeSet::from([1, 2, 3]), "the labelled one covers its own");
    assert!(chosen.is_sorted_by(|a, b| a.1 >= b.1), "{chosen:?}");
    let all: BTreeSet<usize> = diverse(&pool, 1_000).iter().map(|(row, _)| *row).collect();
    assert_eq!(all.len(), pool.candidates.len());
}

#[test]
fn uncertain_takes_what_lies_between_the_classes() {
    let (rows, of) = clusters(&[40, 40], 0.05);
    let between: Vec<f32> = (0..DIM).map(|at| if at < 2 { 0.5f32.sqrt() } else { 0.0 }).collect();
    let training = Training {
        rows: rows.concat(),
        dim: DIM,
        labels: of.iter().map(|cluster| *cluster as u32).collect(),
        groups: (0..80).collect(),
        classes: vec!["a".parse().unwrap(), "b".parse().unwrap()],
        mean: vec![0.0; DIM],
        spread: 1.0,
    };
    let head = fit(&training, 0, &AtomicBool::new(false)).unwrap();
    let mut asked = rows;
    asked.insert(17, between);
    let (pool, _) = pool(&asked, &[]);
    let chosen = uncertain(&pool, &head, 3);
    assert_eq!((chosen[0].0, chosen.len()), (17, 3));
    assert!(
        chosen[0].1 < 0.1 && chosen.is_sorted_by(|a, b| a.1 <= b.1),
        "{chosen:?}"
    );
}

#[test]
fn of_nothing_nothing_is_chosen_and_of_one_row_it() {
    let (rows, _) = clusters(&[1], 0.1);
    let (one, none) = (pool(&rows, &[]).0, pool(&rows, &[0]).0);
    assert_eq!((typical(&one, 5, 0).len(), diverse(&one, 5).len()), (1, 1));
    assert!(typical(&none, 5, 0).is_empty() && diverse(&none, 5).is_empty());
    let same: Vec<Vec<f32>> = vec![rows[0].clone(); 30];
    let (pool, _) = pool(&same, &[]);
    let all: BTreeSet<usize> = typical(&pool, 30, 0).iter().map(|(row, _)| *row).collect();
    assert_eq!(
        all.len(),
        30,
        "rows that are all one are still told apart by their places"
    );
}
