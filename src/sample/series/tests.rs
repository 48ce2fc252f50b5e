//! Series of many kinds, whole and broken, made here. Always true of what is cut: `is_within`.

mod arrays;
mod columns;
mod gaps;
mod properties;
mod shared_data;
mod sounds;

use std::fmt::Write as _;
use std::path::Path;

use super::*;

fn limits() -> SeriesLimits {
    SeriesLimits::default()
}

fn read(name: &str, bytes: impl AsRef<[u8]>) -> Result<Cut, Rejection> {
    let cut = cut(Path::new(name), bytes.as_ref(), &limits());
    assert!(
        cut.as_ref().map_or(true, |cut| is_within(cut, &limits())),
        "{name}: {cut:?}"
    );
    cut
}

fn reason(name: &str, bytes: impl AsRef<[u8]>) -> Reason {
    read(name, bytes).unwrap_err().reason
}

/// The one window that a short source is.
fn window(name: &str, bytes: impl AsRef<[u8]>) -> Window {
    let cut = read(name, bytes).unwrap_or_else(|why| panic!("{name}: {why}"));
    assert_eq!((cut.windows.len(), cut.windows[0].start), (1, 0), "{cut:?}");
    cut.windows[0].clone()
}

fn faults(cut: &Cut) -> Vec<u64> {
    cut.faults.iter().map(|fault| fault.at).collect()
}

/// Lines of a table: a header, and rows that `row` makes.
fn lines(header: &str, rows: std::ops::Range<usize>, row: impl Fn(usize) -> String) -> String {
    let mut text = format!("{header}\n");
    for i in rows {
        writeln!(text, "{}", row(i)).unwrap();
    }
    text
}

fn is_same(left: &[f64], right: &[f64]) -> bool {
    let is_same = |(left, right): (&f64, &f64)| left == right || (left.is_nan() && right.is_nan());
    left.len() == right.len() && left.iter().zip(right).all(is_same)
}

fn is_within(cut: &Cut, limits: &SeriesLimits) -> bool {
    let is_whole = |window: &Window| {
        let channels = usize::from(window.channels);
        (1..=limits.columns_max).contains(&channels)
            && window.values.len() == channels * window.steps()
            && (1..=limits.window_steps).contains(&window.steps())
            && window.values.iter().all(|value| !value.is_infinite())
            && window.values.iter().any(|value| value.is_finite())
    };
    let is_in_order = |pair: &[Window]| pair[0].start < pair[1].start;
    cut.windows.len() <= limits.windows_max
        && cut.windows.iter().map(|window| window.values.len()).sum::<usize>() <= limits.values_max
        && cut.windows.iter().all(is_whole)
        && cut.windows.windows(2).all(is_in_order)
        && cut.faults.len() <= 100
        && cut.faults_total >= cut.faults.len() as u64
}

#[test]
fn windows_follow_each_other_by_the_stride_and_the_last_ends_with_the_series() {
    let cut = read("a.csv", lines("a", 0..300, |i| format!("{}", i * 3))).unwrap();
    let starts: Vec<u64> = cut.windows.iter().map(|window| window.start).collect();
    assert_eq!(starts, [0, 64, 128, 172]);
    for window in &cut.windows {
        let expected: Vec<f64> = (0..128).map(|i| ((window.start + i) * 3) as f64).collect();
        assert_eq!((window.channel(0), window.time), (&expected[..], None));
    }
}

#[test]
fn a_series_that_fits_ends_once() {
    let starts = |rows| {
        let cut = read("a.csv", lines("a", 0..rows, |i| format!("{}", i % 7))).unwrap();
        cut.windows.iter().map(|window| window.start).collect::<Vec<_>>()
    };
    assert_eq!(starts(128), [0]);
    assert_eq!(starts(192), [0, 64]);
    assert_eq!(starts(129), [0, 1]);
}

#[test]
fn a_short_series_is_a_short_window_and_a_shorter_one_is_refused() {
    let rows = |count| lines("a,b", 0..count, |i| format!("{},{}", i * i, 5));
    assert_eq!(window("a.csv", rows(8)).steps(), 8);
    assert_eq!(reason("a.csv", rows(7)), Reason::Limits);
    assert_eq!(reason("a.csv", rows(0)), Reason::EmptyFile);
    assert_eq!(reason("a.csv", ""), Reason::EmptyFile);
    assert_eq!(reason("a.csv", " \n\n"), Reason::EmptyFile);
}

#[test]
fn a_window_without_any_number_is_left_out_and_the_steps_are_counted_on() {
    let value = |i: usize| {
        if (100..400).contains(&i) {
            String::new()
        } else {
            "1".into()
        }
    };
    let text = lines("a,b", 0..600, |i| format!("x,{}", value(i)));
    let cut = read("a.csv", text).unwrap();
    let starts: Vec<u64> = cut.windows.iter().map(|window| window.start).collect();
    assert_eq!((starts, cut.faults_total), (vec![0, 64, 320, 384, 448, 472], 0));
}

#[test]
fn more_windows_numbers_or_variables_than_the_limits_are_refused() {
    let text = lines("a,b", 0..1_000, |i| format!("{},{}", i % 9, i % 7));
    let refused = |limits: SeriesLimits| {
        let refused = cut(Path::new("a.csv"), text.as_bytes(), &limits).unwrap_err();
        assert_eq!(refused.reason, Reason::Limits, "{refused}");
    };
    refused(SeriesLimits {
        windows_max: 3,
        ..limits()
    });
    refused(SeriesLimits {
        values_max: 3_000,
        ..limits()
    });
    refused(SeriesLimits {
        columns_max: 1,
        ..limits()
    });
}

#[test]
fn what_is_no_series_is_refused_by_what_it_is() {
    let prose =
        "It was a bright cold day in April, and the clocks were striking thirteen.\nWinston Smith slipped through.\n";
    assert_eq!(reason("a.txt", prose), Reason::UnsupportedType);
    assert_eq!(reason("a.txt", "one sentence alone"), Reason::UnsupportedType);
    assert_eq!(
        reason("a.csv", lines("a,b", 0..20, |_| "x,y".into())),
        Reason::UnsupportedType
    );
    assert_eq!(
        reason("a.npy", lines("a", 0..20, |i| i.to_string())),
        Reason::TypeMismatch
    );
    assert_eq!(reason("a.jpg", "<html></html>"), Reason::TypeMismatch);
    assert_eq!(reason("a.csv", b"\x89PNG\r\n\x1a\n\0\0"), Reason::UnsupportedType);
    assert_eq!(reason("a.csv", b"\x80\x04K\x01."), Reason::UnsafeType);
    assert_eq!(reason("a.json", "[".repeat(1_000)), Reason::Limits);
    assert_eq!(reason("a.json", "[1, 2, 3]"), Reason::UnsupportedType);
}

#[test]
fn a_compressed_table_is_read_as_the_table() {
    use std::io::Write;
    let text = lines("time,a", 0..50, |i| format!("{},{}", 2_000 + i, i % 5));
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    assert_eq!(window("a.csv.gz", gzip(text.as_bytes())), window("a.csv", &text));
    assert_eq!(reason("a.csv.gz", &gzip(text.as_bytes())[..60]), Reason::Truncated);
    assert_eq!(reason("a.csv.gz", gzip(&vec![b'1'; 8 << 20])), Reason::Bomb);
}
