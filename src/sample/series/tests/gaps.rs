//! The order of time, what repeats and what is missing.

use super::*;

/// A row of each of these hours, with their number as the value.
fn hours(hours: &[usize]) -> String {
    let row = |i: usize| format!("{},{}", 1_704_067_200 + hours[i] * 3_600, hours[i]);
    lines("time,a", 0..hours.len(), row)
}

fn values(cut: &Cut) -> Vec<f64> {
    cut.windows.iter().flat_map(|window| window.values.clone()).collect()
}

#[test]
fn rows_are_put_in_the_order_of_time_and_of_a_repeated_time_the_first_is_kept() {
    let text = "time,a\n2001,1\n2000,0\n2002,2\n2002,9\n2005,5\n2004,4\n2003,3\n2006,6\n2007,7\n";
    let cut = read("a.csv", text).unwrap();
    assert_eq!(values(&cut), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    assert_eq!((faults(&cut), cut.faults_total), (vec![2, 4], 2));
    assert!(cut.faults[0].detail.starts_with("3 rows"), "{:?}", cut.faults);
    assert!(cut.faults[1].detail.contains("row 3"), "{:?}", cut.faults);
}

#[test]
fn a_row_without_a_time_is_passed_over() {
    let row = |i: usize| match i {
        3 => "soon,3".into(),
        5 => ",5".into(),
        _ => format!("2024-01-{:02},{}", i + 1, i * i),
    };
    let cut = read("a.csv", lines("time,a", 0..25, row)).unwrap();
    assert_eq!(faults(&cut), [4, 6]);
    assert_eq!((cut.windows[0].steps(), cut.windows[0].values[3].is_nan()), (25, true));
}

#[test]
fn a_short_gap_is_filled_with_missing_steps() {
    let cut = read("a.csv", hours(&[0, 1, 2, 3, 6, 7, 8, 9, 10])).unwrap();
    let nan = f64::NAN;
    assert!(is_same(
        &values(&cut),
        &[0.0, 1.0, 2.0, 3.0, nan, nan, 6.0, 7.0, 8.0, 9.0, 10.0]
    ));
    assert_eq!(
        (cut.faults_total, cut.windows[0].time),
        (0, Some((1_704_067_200 + 10 * 3_600) * 1_000))
    );
}

#[test]
fn a_gap_of_a_window_is_filled_and_a_longer_one_begins_a_new_series() {
    let with_gap = |missing: usize| {
        let rows: Vec<usize> = (0..20).chain(20 + missing..40 + missing).collect();
        let cut = read("a.csv", hours(&rows)).unwrap();
        cut.windows
            .iter()
            .map(|window| (window.start, window.steps()))
            .collect::<Vec<_>>()
    };
    assert_eq!(with_gap(128), [(0, 128), (40, 128)]);
    assert_eq!(with_gap(129), [(0, 20), (20, 20)]);
}

#[test]
fn a_stretch_that_is_too_short_is_left_out_and_the_steps_are_counted_on() {
    let rows: Vec<usize> = (0..20).chain(1_000..1_005).chain(2_000..2_020).collect();
    let cut = read("a.csv", hours(&rows)).unwrap();
    let starts: Vec<(u64, f64)> = cut
        .windows
        .iter()
        .map(|window| (window.start, window.values[0]))
        .collect();
    assert_eq!(starts, [(0, 0.0), (25, 2_000.0)]);
}

#[test]
fn months_are_regular_although_they_differ() {
    let row = |i: usize| format!("{}-{:02}-01,{}", 2_000 + i / 12, i % 12 + 1, i * i);
    let cut = read("a.csv", lines("month,a", 0..48, row)).unwrap();
    assert!(
        (
            cut.windows[0].steps(),
            cut.windows[0].values.iter().any(|value| value.is_nan())
        ) == (48, false)
    );
}

#[test]
fn times_without_a_step_are_taken_in_order_as_they_are() {
    let rows: Vec<usize> = (0..40).map(|i| i * i * i).collect();
    let cut = read("a.csv", hours(&rows)).unwrap();
    assert_eq!((cut.windows.len(), cut.windows[0].steps()), (1, 40));
}

#[test]
fn a_few_rows_can_not_be_made_many_by_their_gaps() {
    let rows: Vec<usize> = (0..2_000).map(|i| i / 4 * 120 + i % 4).collect();
    let limits = SeriesLimits {
        values_max: 20_000,
        ..limits()
    };
    let refused = cut(Path::new("a.csv"), hours(&rows).as_bytes(), &limits).unwrap_err();
    assert_eq!(refused.reason, Reason::Limits);
}
