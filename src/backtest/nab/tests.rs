//! The rule in cases worked out by hand, in those of the benchmark's own tests, against a scorer without its short cuts, and on
//! its labels, which are skipped where `CURIOD_TEST_DATA` is not set.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

/// Alarms at these rows of a file.
fn alarms(rows: usize, windows: &[(usize, usize)], at: &[usize]) -> Labelled {
    let mut scores = vec![0.0; rows];
    at.iter().for_each(|&row| scores[row] = 1.0);
    Labelled::new("a.csv".to_owned(), scores, windows.to_vec()).unwrap()
}

/// The same behind so many rows more that exactly they are its probation: the benchmark's tests have none.
fn behind_probation(rows: usize, windows: &[(usize, usize)], at: &[usize]) -> Labelled {
    let before = (0..).find(|&before| alarms(rows + before, &[], &[]).probation() == before);
    let before = before.unwrap();
    let windows: Vec<_> = windows
        .iter()
        .map(|(start, end)| (start + before, end + before))
        .collect();
    let at: Vec<_> = at.iter().map(|row| row + before).collect();
    alarms(rows + before, &windows, &at)
}

/// Windows spread evenly, as the benchmark's tests make them.
fn even(rows: usize, count: usize, width: usize) -> Vec<(usize, usize)> {
    let apart = ((rows - count * width) as f64 / (count + 1) as f64).round_ties_even() as usize;
    (0..count)
        .map(|window| {
            let start = apart * (window + 1) + width * window;
            (start, start + width - 1)
        })
        .collect()
}

/// Every weight is one: what the benchmark's tests score with.
const ONES: Profile = Profile::new("ones", 1.0, 1.0);

fn score(file: Labelled, profile: &Profile) -> (f64, [usize; 4]) {
    let scored = at(&[file], profile, 0.5);
    let counts = scored.counts;
    let counts = [
        counts.true_negatives,
        counts.true_positives,
        counts.false_positives,
        counts.false_negatives,
    ];
    (scored.raw, counts)
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

/// 2 sigmoid(x) - 1 is tanh(x / 2), so that by hand a hit is tanh(2.5 (end - row + 1) / width) / tanh(2.5), and a false alarm
/// -0.11 tanh(2.5 (row - end) / (width - 1)), beside the missed window's -1.
#[test]
fn one_alarm_is_worth_what_the_rule_gives_by_hand() {
    for (row, expected) in [
        (100, 1.0),
        (105, 0.859_792_566_909_78),
        (109, 0.248_241_549_775_43),
        (110, -1.029_793_183_036_84),
        (136, -1.109_999_932_701_51),
        (137, -1.11),
        (199, -1.11),
        (50, -1.11),
        (29, -1.0),
    ] {
        let (raw, _) = score(alarms(200, &[(100, 109)], &[row]), &Profile::STANDARD);
        assert!(close(raw, expected), "row {row}: {raw}");
    }
}

#[test]
fn a_quiet_detector_gets_nothing_and_a_perfect_one_a_hundred() {
    let windows = [(100, 109), (150, 150)];
    for profile in Profile::ALL {
        let quiet = best(&[alarms(200, &windows, &[])], &profile);
        assert_eq!((quiet.normalised, quiet.counts.windows_found), (0.0, 0));
        let perfect = best(&[alarms(200, &windows, &[100, 150])], &profile);
        assert!(close(perfect.normalised, 100.0), "{perfect:?}");
        assert_eq!((perfect.threshold, perfect.counts.windows_found), (1.0, 2));
    }
    assert!(best(&[alarms(200, &[], &[])], &Profile::STANDARD).normalised.is_nan());
}

#[test]
fn a_miss_and_a_false_alarm_cost_by_the_profile() {
    let windows = [(100, 109)];
    let normalised = |profile: &Profile| {
        let scored = at(&[alarms(200, &windows, &[50, 109])], profile, 0.5);
        (scored.raw, scored.normalised)
    };
    let hit = 0.248_241_549_775_43;
    for (profile, raw, null) in [
        (Profile::STANDARD, hit - 0.11, -1.0),
        (Profile::LOW_FP, hit - 0.22, -1.0),
        (Profile::LOW_FN, hit - 0.11, -2.0),
    ] {
        let (got, share) = normalised(&profile);
        assert!(
            close(got, raw) && close(share, 100.0 * (raw - null) / (1.0 - null)),
            "{profile:?}"
        );
    }
}

#[test]
fn what_lies_within_the_probation_is_neither_found_nor_missed() {
    let early = [(10, 20), (100, 109)];
    let (raw, counts) = score(alarms(200, &early, &[10, 29, 100]), &Profile::STANDARD);
    assert!(close(raw, 1.0) && counts == [160, 1, 0, 9], "{raw} {counts:?}");
    let (raw, _) = score(alarms(200, &early, &[35, 100]), &Profile::STANDARD);
    assert!(raw > 1.0 - 0.11, "an early window has rows behind it: {raw}");
    let half = best(&[alarms(200, &[(25, 34)], &[30])], &Profile::STANDARD);
    assert!(half.counts.windows == 1 && half.normalised < 100.0);
}

#[test]
fn the_probation_is_at_most_750_rows() {
    for (rows, probation) in [(100, 15), (5_000, 750), (6_000, 750), (22_695, 750), (6, 0), (0, 0)] {
        assert_eq!(alarms(rows, &[], &[]).probation(), probation, "{rows} rows");
    }
}

#[test]
fn one_threshold_is_chosen_for_all_files() {
    let with = |scores: &[(usize, f64)]| {
        let mut file = alarms(200, &[(100, 109)], &[]);
        scores.iter().for_each(|&(row, score)| file.scores[row] = score);
        file
    };
    let files = [with(&[(100, 0.9), (50, 0.4)]), with(&[(100, 0.6), (60, 0.7)])];
    let scored = best(&files, &Profile::STANDARD);
    assert_eq!(scored.threshold, 0.6);
    assert!(close(scored.raw, 2.0 - 0.11));
    assert!(close(scored.files[0].raw, 1.0) && close(scored.files[1].raw, 0.89));
    assert_eq!(at(&files, &Profile::STANDARD, 0.65).counts.windows_found, 1);
}

#[test]
fn labels_and_scores_that_do_not_fit_are_refused() {
    let file = |scores: Vec<f64>, windows: &[(usize, usize)]| Labelled::new("a".to_owned(), scores, windows.to_vec());
    assert!(file(vec![0.0; 5], &[(0, 1), (2, 4)]).is_ok());
    for windows in [&[(0, 5)][..], &[(3, 2)], &[(0, 2), (2, 4)], &[(3, 4), (0, 1)]] {
        assert!(file(vec![0.0; 5], windows).is_err(), "{windows:?}");
    }
    assert!(file(vec![0.0, f64::NAN], &[]).is_err());
}

#[test]
fn the_benchmarks_tests_of_its_scorer_hold() {
    let nothing = score(behind_probation(10, &[], &[]), &ONES);
    assert_eq!(nothing, (0.0, [10, 0, 0, 0]));

    let low_fn = Profile::new("test", 0.055, 2.0);
    let one = even(100, 1, 10);
    let (ones, twos) = (
        score(behind_probation(100, &one, &[]), &ONES),
        score(behind_probation(100, &one, &[]), &low_fn),
    );
    assert_eq!(ones, (0.5 * twos.0, [90, 0, 0, 10]));

    let low_fp = Profile::new("test", 2.0, 0.5);
    let (ones, twos) = (
        score(behind_probation(100, &[], &[0]), &ONES),
        score(behind_probation(100, &[], &[0]), &low_fp),
    );
    assert_eq!(ones, (0.5 * twos.0, [99, 0, 1, 0]));

    let two = even(100, 2, 5);
    let first = two[0].0;
    let (raw, counts) = score(behind_probation(100, &two, &[first, first + 1, first + 7]), &ONES);
    assert!((raw - -0.9540).abs() < 5e-5, "{raw}");
    assert_eq!(counts, [89, 2, 1, 8]);
}

#[test]
fn the_benchmarks_tests_of_hits_and_misses_hold() {
    let missed = |rows, windows| score(behind_probation(rows, &even(rows, windows, 10), &[]), &ONES);
    assert_eq!(missed(1_000, 1), (-1.0, [990, 0, 0, 10]));
    assert_eq!(missed(2_000, 4), (-4.0, [1_960, 0, 0, 40]));

    let small = even(10, 1, 2);
    let (start, end) = small[0];
    let early = score(behind_probation(10, &small, &[start]), &ONES);
    let late = score(behind_probation(10, &small, &[end]), &ONES);
    let both = score(behind_probation(10, &small, &[start, end]), &ONES);
    assert_eq!(early, (1.0, [8, 1, 0, 1]));
    assert!(late.0 < early.0 && late.1 == [8, 1, 0, 1]);
    assert_eq!(both, (1.0, [8, 2, 0, 0]));
    let wider = even(10, 1, 3);
    assert_eq!(score(behind_probation(10, &wider, &[wider[0].0]), &ONES).0, 1.0);

    let wide = even(1_000, 1, 100);
    let last = wide[0].1;
    let on = score(behind_probation(1_000, &wide, &[last]), &ONES);
    let behind = score(behind_probation(1_000, &wide, &[last + 1]), &ONES);
    assert!((on.0 + behind.0 + 1.0).abs() < 5e-4, "{on:?} {behind:?}");
    assert_eq!((on.1, behind.1), ([900, 1, 0, 99], [899, 0, 1, 100]));
}

#[test]
fn the_benchmarks_tests_of_false_alarms_hold() {
    let windows = even(1_000, 1, 10);
    let one = score(behind_probation(1_000, &windows, &[0]), &ONES);
    let two = score(behind_probation(1_000, &windows, &[0, 1]), &ONES);
    assert!(two.0 < one.0 && one.0 < 0.0);
    assert_eq!((one.1, two.1), ([989, 0, 1, 10], [988, 0, 2, 10]));
    assert_eq!(score(behind_probation(1_000, &[], &[0]), &ONES), (-1.0, [999, 0, 1, 0]));

    let small = even(10, 1, 2);
    let behind = small[0].1 + 1;
    let near = score(behind_probation(10, &small, &[behind]), &ONES);
    let further = score(behind_probation(10, &small, &[behind + 1]), &ONES);
    assert!(near.0 > further.0);
    assert_eq!((near.1, further.1), ([7, 0, 1, 2], [7, 0, 1, 2]));
}

#[test]
fn the_benchmarks_tests_of_its_sweep_hold() {
    let file = alarms(100, &[(30, 39), (75, 95)], &[]);
    let rows: Vec<Row> = file.rows(&Profile::STANDARD, 0).collect();
    assert_eq!(rows.len(), 85);
    assert_eq!(rows.iter().filter(|row| row.window.is_some()).count(), 31);
    assert!(rows.iter().all(|row| (row.worth > 0.0) == row.window.is_some()));

    let row = |score, worth, window| Row { score, worth, window };
    let rows = vec![
        row(0.0, -3.0, None),
        row(0.2, 20.0, Some(0)),
        row(0.3, 10.0, Some(0)),
        row(0.5, 5.0, Some(1)),
        row(0.5, -3.0, None),
    ];
    let mut seen = Vec::new();
    sweep(rows, 2, 5.0, |threshold, raw| seen.push((threshold, raw)));
    let expected = [
        (f64::INFINITY, -10.0),
        (0.5, 5.0 - 3.0 - 5.0),
        (0.3, 5.0 - 3.0 + 10.0),
        (0.2, 5.0 - 3.0 + 20.0),
        (0.0, 5.0 - 3.0 + 20.0 - 3.0),
    ];
    assert_eq!(seen, expected);
}

/// The rule once more, from each window and each row, with no order made use of.
fn plainly(files: &[Labelled], profile: &Profile, threshold: f64) -> f64 {
    let sigmoid = |y: f64| 2.0 * (1.0 / (1.0 + (5.0 * y).exp())) - 1.0;
    let mut sum = 0.0;
    for file in files {
        let rows = file.scores.len();
        let from = ((0.15 * rows as f64).floor() as usize).min(750);
        let is_alarm = |row: usize| row >= from && file.scores[row] >= threshold;
        for &(start, end) in file.windows.iter().filter(|window| window.1 >= from) {
            let width = (end + 1 - start) as f64;
            sum += match (start..=end).find(|row| is_alarm(*row)) {
                Some(row) => profile.tp_weight * sigmoid((row as f64 - end as f64 - 1.0) / width) / sigmoid(-1.0),
                None => -profile.fn_weight,
            };
        }
        let is_outside = |row: usize| file.windows.iter().all(|&(start, end)| row < start || row > end);
        for row in (0..rows).filter(|&row| is_outside(row) && is_alarm(row)) {
            let places = file.windows.iter().filter(|(_, end)| *end < row);
            let nearest = places
                .map(|&(start, end)| (row - end, (end - start).max(1)))
                .min_by_key(|place| place.0);
            sum += profile.fp_weight
                * match nearest {
                    Some((distance, width)) if distance <= 3 * width => sigmoid(distance as f64 / width as f64),
                    _ => -1.0,
                };
        }
    }
    sum
}

/// A file with windows that are in order and apart, and scores of which many are equal.
fn file() -> impl Strategy<Value = Labelled> {
    let windows = prop::collection::vec((1_usize..20, 0_usize..15), 0..5);
    (windows, 1_usize..40).prop_flat_map(|(pieces, after)| {
        let (mut at, mut windows) = (0, Vec::new());
        for (gap, width) in pieces {
            windows.push((at + gap, at + gap + width));
            at += gap + width;
        }
        prop::collection::vec(0_u8..12, at + after + 1).prop_map(move |scores| {
            let scores = scores.into_iter().map(|score| f64::from(score) / 12.0).collect();
            Labelled::new("made up".to_owned(), scores, windows.clone()).unwrap()
        })
    })
}

proptest! {
    #[test]
    fn the_best_threshold_is_found_and_scored_as_without_short_cuts(
        files in prop::collection::vec(file(), 0..4),
        profile in prop::sample::select(Profile::ALL.to_vec()),
    ) {
        let scored = best(&files, &profile);
        let thresholds = files.iter().flat_map(|file| file.scores.clone()).chain([f64::INFINITY]);
        let mut most = f64::NEG_INFINITY;
        for threshold in thresholds {
            let raw = plainly(&files, &profile, threshold);
            prop_assert!(close(at(&files, &profile, threshold).raw, raw), "at {threshold}");
            most = most.max(raw);
        }
        prop_assert!(close(scored.raw, most), "{} and {most}", scored.raw);
        prop_assert!(close(scored.files.iter().map(|file| file.raw).sum(), scored.raw));
    }
}

#[test]
fn windows_are_the_rows_of_their_times() {
    let json = br#"{"a.csv": [["2014-04-10 07:15:00.000000", "2014-04-10 07:25:00.000000"]], "b.csv": []}"#;
    let spans = spans(json).unwrap();
    let (first, minute) = (1_397_114_100_000, 60_000);
    assert_eq!(spans["a.csv"], [(first, first + 10 * minute)]);
    assert!(spans["b.csv"].is_empty());
    let twice = [-5, 0, 0, 5, 10, 10, 15].map(|minutes| first + minutes * minute);
    assert_eq!(windows(&twice, &spans["a.csv"]).unwrap(), [(1, 4)]);
    assert!(windows(&twice[..4], &spans["a.csv"]).is_err());
    assert!(super::spans(b"[]").is_err() && super::spans(br#"{"a": [["noon", "night"]]}"#).is_err());
}

/// The folder of the benchmark's files, where it is.
fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("CURIOD_TEST_DATA").map(|folder| PathBuf::from(folder).join("timeseries/nab"));
    if folder.is_none() {
        println!("skipped: CURIOD_TEST_DATA names no folder");
    }
    folder
}

/// Every file of the benchmark, nothing said of it yet.
fn files(folder: &Path) -> Vec<Labelled> {
    let json = std::fs::read(folder.join("anomaly_windows.json")).unwrap();
    let spans = spans(&json).unwrap();
    spans
        .into_iter()
        .map(|(name, spans)| {
            let mut rows = csv::Reader::from_path(folder.join(&name)).unwrap();
            let times: Vec<i64> = rows
                .records()
                .map(|row| row.unwrap()[0].parse::<jiff::civil::DateTime>().unwrap())
                .map(|time| time.to_zoned(jiff::tz::TimeZone::UTC).unwrap())
                .map(|time| time.timestamp().as_millisecond())
                .collect();
            Labelled::new(name, vec![0.0; times.len()], windows(&times, &spans).unwrap()).unwrap()
        })
        .collect()
}

#[test]
fn on_the_benchmarks_labels_perfection_is_a_hundred_and_chance_is_far_below() {
    let Some(folder) = data() else { return };
    let mut files = files(&folder);
    assert_eq!(files.len(), 38);
    assert_eq!(files.iter().map(Labelled::windows_open).sum::<usize>(), 81);
    for file in &mut files {
        let starts: Vec<usize> = file.windows.iter().map(|window| window.0).collect();
        starts.into_iter().for_each(|row| file.scores[row] = 1.0);
    }
    for profile in Profile::ALL {
        assert!(close(best(&files, &profile).normalised, 100.0), "{profile:?}");
        let always = at(&files, &profile, 0.0);
        assert!(
            always.normalised < -1_000.0 && always.counts.windows_found == 81,
            "{}",
            always.normalised
        );
    }
    let mut rng = crate::rng::for_step(0, 0, 0);
    for file in &mut files {
        file.scores.fill_with(|| crate::rng::unit(&mut rng));
    }
    let chance = best(&files, &Profile::STANDARD).normalised;
    assert!((0.0..25.0).contains(&chance), "{chance}");
}
