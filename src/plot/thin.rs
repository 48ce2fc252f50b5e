//! A series as a plot can show it: of the points in one column of pixels the first, the least, the largest and the last (M4,
//! Jugel et al. 2014), so that a line looks as if all of them had been drawn.

use std::ops::Range;

use super::{VALUE_MAX, WIDTH_PX};

/// The pieces of a line in order of place, cut where values are missing. Of more points than the plot has room for, a gap
/// that fills no column is closed.
pub(super) fn runs(points: &[(f64, f64)], across: &Range<f64>) -> Vec<Vec<(f64, f64)>> {
    let placed = points.iter().filter(|point| point.0.is_finite());
    let mut points: Vec<_> = placed.map(|point| (bounded(point.0), point.1)).collect();
    if !points.is_sorted_by(|a, b| a.0 <= b.0) {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let is_dense = points.len() > 2 * WIDTH_PX as usize;
    let is_shown_together = |a: &(f64, f64), b: &(f64, f64)| is_dense && column(a.0, across) == column(b.0, across);
    let mut runs = vec![Vec::new()];
    for together in points.chunk_by(is_shown_together) {
        let shown = shown(together);
        match runs.last_mut() {
            Some(run) if !shown.is_empty() => run.extend(shown),
            _ => runs.push(Vec::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

/// The places without those that share their column with an earlier one.
pub(super) fn columns(at: &[f64], across: &Range<f64>) -> Vec<f64> {
    let mut at: Vec<f64> = at.iter().filter(|at| at.is_finite()).map(|at| bounded(*at)).collect();
    at.sort_by(f64::total_cmp);
    at.dedup_by_key(|at| column(*at, across));
    at
}

/// The column of a place, from 0.
fn column(at: f64, across: &Range<f64>) -> i64 {
    ((at - across.start) / (across.end - across.start) * f64::from(WIDTH_PX)) as i64
}

/// The first, the least, the largest and the last of the values of a column, as they follow each other.
fn shown(column: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let finite = || column.iter().enumerate().filter(|(_, point)| point.1.is_finite());
    let by_value = |a: &(usize, &(f64, f64)), b: &(usize, &(f64, f64))| a.1.1.total_cmp(&b.1.1);
    let ends = [finite().next(), finite().next_back()];
    let extremes = [finite().min_by(by_value), finite().max_by(by_value)];
    let mut picked: Vec<usize> = ends
        .into_iter()
        .chain(extremes)
        .flatten()
        .map(|(number, _)| number)
        .collect();
    picked.sort_unstable();
    picked.dedup();
    picked
        .into_iter()
        .map(|number| (column[number].0, bounded(column[number].1)))
        .collect()
}

fn bounded(value: f64) -> f64 {
    value.clamp(-VALUE_MAX, VALUE_MAX)
}
