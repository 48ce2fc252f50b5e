//! The data of the shared folder, series by series; skipped where `CURIOD_TEST_DATA` is not set.

use std::path::PathBuf;

use super::*;

/// The folder of shared data, where it is.
fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("CURIOD_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: CURIOD_TEST_DATA names no folder");
    }
    folder
}

fn load(path: &Path) -> Result<Cut, Rejection> {
    let cut = cut(path, &std::fs::read(path).unwrap(), &limits());
    assert!(cut.as_ref().map_or(true, |cut| is_within(cut, &limits())), "{path:?}");
    cut
}

/// Windows without overlap: of the source each step once.
fn whole(path: &Path) -> Cut {
    let limits = SeriesLimits {
        window_steps: 1 << 20,
        stride_steps: 1 << 20,
        ..limits()
    };
    cut(path, &std::fs::read(path).unwrap(), &limits).unwrap_or_else(|why| panic!("{path:?}: {why}"))
}

fn missing(values: &[f64]) -> usize {
    values.iter().filter(|value| value.is_nan()).count()
}

#[test]
fn every_row_of_the_anomaly_benchmark_is_a_step() {
    let Some(data) = data() else { return };
    let mut files = 0;
    for folder in std::fs::read_dir(data.join("timeseries/nab")).unwrap() {
        let folder = folder.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let rows = text.lines().count() - 1;
            let cut = whole(&path);
            let filled: usize = cut.windows.iter().map(|window| missing(&window.values)).sum();
            let steps: usize = cut.windows.iter().map(Window::steps).sum();
            println!(
                "{:?}: {rows} rows, {steps} steps of which {filled} are missing, {} windows, {} faults {:?}",
                path.file_name().unwrap(),
                cut.windows.len(),
                cut.faults_total,
                cut.faults.first()
            );
            let repeated: std::collections::HashSet<&str> =
                text.lines().filter_map(|line| line.split(',').next()).collect();
            assert_eq!(steps - filled, repeated.len() - 1, "{path:?}");
            files += 1;
        }
    }
    assert_eq!(files, 38);
}

#[test]
fn a_transformer_has_seven_variables_and_all_its_hours() {
    let Some(data) = data() else { return };
    let cut = whole(&data.join("timeseries/ett/ETTh1.csv"));
    let [window] = &cut.windows[..] else {
        panic!("{} windows", cut.windows.len())
    };
    assert_eq!((window.channels, window.steps(), cut.faults_total), (7, 17_420, 0));
    assert_eq!((window.channel(0)[0], missing(&window.values)), (5.827000141143799, 0));
    // 2018-06-26 19:00.
    assert_eq!(window.time, Some(1_530_039_600_000));
}

#[test]
fn carbon_dioxide_has_its_gaps_sunspots_their_years_and_the_weather_no_words() {
    let Some(data) = data() else { return };
    let climate = whole(&data.join("timeseries/climate/co2.csv"));
    assert_eq!(
        (
            climate.windows[0].steps(),
            missing(&climate.windows[0].values),
            climate.faults_total
        ),
        (2_284, 59, 0)
    );
    let sunspots = whole(&data.join("timeseries/climate/sunspots.csv"));
    let years = &sunspots.windows[0];
    // 2008-01-01.
    assert_eq!(
        (years.channels, years.steps(), years.time),
        (1, 309, Some(1_199_145_600_000))
    );
    let days = whole(&data.join("timeseries/weather/seattle-weather.csv"));
    assert_eq!(
        (days.windows[0].channels, days.windows[0].steps(), days.faults_total),
        (4, 1_461, 0)
    );
    let hours = whole(&data.join("timeseries/weather/seattle-temps.csv"));
    println!(
        "hours: {} steps, {} missing, {:?}",
        hours.windows[0].steps(),
        missing(&hours.windows[0].values),
        hours.faults
    );
    assert_eq!((hours.windows.len(), hours.windows[0].channels), (1, 1));
}

#[test]
fn every_series_of_the_shared_data_is_cut_within_the_limits() {
    let Some(data) = data() else { return };
    let mut folders = vec![data.join("timeseries")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "csv") && !path.ends_with("manifest.csv") {
                let cut = load(&path).unwrap_or_else(|why| panic!("{path:?}: {why}"));
                println!(
                    "{:?}: {} windows, {} faults",
                    path.file_name().unwrap(),
                    cut.windows.len(),
                    cut.faults_total
                );
            }
        }
    }
}

#[test]
fn spoken_digits_are_bands_of_pitch_and_louder_than_their_silence() {
    let Some(data) = data() else { return };
    let mut archive =
        tar::Archive::new(std::fs::File::open(data.join("timeseries/spoken_digits/spoken_digits.tar")).unwrap());
    let mut sounds = 0;
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        if path.extension().is_none_or(|extension| extension != "wav") {
            continue;
        }
        let cut = read("digit.wav", &bytes).unwrap_or_else(|why| panic!("{path:?}: {why}"));
        let window = &cut.windows[0];
        // 16 bits at 8,000 Hz: frames of 200 samples, each 80.
        let steps = ((bytes.len() - 44) / 2 - 200) / 80 + 1;
        assert_eq!((window.channels, window.steps()), (32, steps.min(128)), "{path:?}");
        let spread = |values: &[f64]| {
            values.iter().copied().fold(f64::MIN, f64::max) - values.iter().copied().fold(f64::MAX, f64::min)
        };
        assert!(missing(&window.values) == 0 && spread(&window.values) > 3.0, "{path:?}");
        sounds += 1;
    }
    assert_eq!(sounds, 600);
}

#[test]
fn bad_files_end_in_an_allowed_verdict() {
    let Some(data) = data() else { return };
    let expected = std::fs::read_to_string(data.join("bad/expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    // Texts, pictures, transitions, and a series of fewer rows than a window has steps at least.
    let is_accepted_elsewhere = |name: &str| {
        let endings = ["jpg", "png", "gif", "webp", "tif", "bmp", "txt", "jsonl"];
        endings.contains(&reading::extension(Path::new(name)).as_str())
    };
    let mut wrong = Vec::new();
    for file in expected["files"].as_array().unwrap() {
        let name = file["file"].as_str().unwrap();
        let outcome = load(&data.join("bad").join(name));
        let verdict = if outcome.is_ok() { "accept" } else { "quarantine" };
        let is_listed = |list: &str, word: &str| {
            file[list]
                .as_array()
                .is_some_and(|also| also.iter().any(|also| also == word))
        };
        let said = format!("{name}: {:?}", outcome.as_ref().map(|cut| &cut.faults));
        println!("{verdict} {said}");
        if file["expect"] != verdict && !is_listed("also", verdict) && !is_accepted_elsewhere(name) {
            wrong.push(said.clone());
        }
        match &outcome {
            Err(why) => {
                let got = why.reason.as_str();
                let is_reason = file["reason"] == got || is_listed("also_reason", got) || file["expect"] == "accept";
                let is_alike = matches!(
                    (file["reason"].as_str().unwrap(), got),
                    ("not_text" | "bad_encoding", "unsupported_type") | ("no_rows", "empty_file")
                );
                // What is no series in any case may be refused for that.
                let is_other = got == "unsupported_type"
                    && !["csv", "npy", "wav", "parquet", "json", "pkl"]
                        .iter()
                        .any(|ending| name.ends_with(ending));
                if !is_reason && !is_alike && !is_other {
                    wrong.push(said);
                }
            }
            Ok(cut) => {
                let rows = file["bad_rows"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(serde_json::Value::as_u64);
                let rows: Vec<u64> = rows.collect();
                // A value that is merely empty is missing, and no fault.
                let is_named =
                    |row: &u64| faults(cut).contains(row) || cut.windows[0].channel(0)[*row as usize - 1].is_nan();
                let is_exact = rows.iter().all(is_named) && faults(cut).iter().all(|row| rows.contains(row));
                if !rows.is_empty() && !is_exact {
                    wrong.push(said.clone());
                }
                let values = cut.windows[0].channel(0);
                let ends = [("first_value", values.first()), ("last_value", values.last())];
                if ends
                    .iter()
                    .any(|(end, value)| file[end].as_f64().is_some_and(|expected| Some(&expected) != *value))
                {
                    wrong.push(said);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_a_bad_table_holds_is_kept_beside_what_is_wrong_with_it() {
    let Some(data) = data() else { return };
    let read = |name: &str| load(&data.join("bad/files").join(name)).unwrap();
    let unsorted = read("duplicate_and_unsorted_times.csv");
    let window = &unsorted.windows[0];
    // 31 hours, and the one after midnight.
    assert_eq!(
        (window.steps(), missing(&window.values), faults(&unsorted)),
        (32, 23, vec![4, 6])
    );
    assert_eq!(
        (&window.values[..7], &window.values[30..]),
        (&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0][..], &[30.0, 31.0][..])
    );
    let constant = read("constant_column.csv");
    assert!(constant.windows[0].channels == 2 && constant.windows[0].channel(0).iter().all(|value| *value == 7.0));
    let huge = read("huge_and_denormal.csv");
    assert_eq!(huge.windows[0].values[..6], [1e308, -1e308, 1e-320, 3.0, 4.0, f64::MAX]);
    let words = read("words_in_numbers.csv");
    assert!((words.windows[0].values[0], words.windows[0].values[3].is_nan()) == (1.0, true));
}
