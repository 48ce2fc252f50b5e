//! The benchmark's labels as rows: its file of windows gives times, and each is the time of a row.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::super::BacktestError;

/// The windows of each file, by the name that `anomaly_windows.json` (the benchmark's `combined_windows.json`) has for it:
/// milliseconds since 1970 of the first and the last moment, read as UTC, as the times in its data are.
pub fn spans(json: &[u8]) -> Result<BTreeMap<String, Vec<(i64, i64)>>, BacktestError> {
    let bad = |why: String| {
        BacktestError::new(
            format!("the file of windows: {why}"),
            "it is a JSON object: for each file a list of pairs of times like \"2014-04-10 07:15:00.000000\"",
        )
    };
    let files: BTreeMap<String, Vec<(String, String)>> =
        serde_json::from_slice(json).map_err(|error| bad(error.to_string()))?;
    let moment = |text: &str| {
        text.parse::<DateTime>()
            .and_then(|time| time.to_zoned(TimeZone::UTC))
            .map(|time| time.timestamp().as_millisecond())
            .map_err(|error| bad(error.to_string()))
    };
    files
        .into_iter()
        .map(|(name, windows)| {
            let windows = windows.iter().map(|(start, end)| Ok((moment(start)?, moment(end)?)));
            Ok((name, windows.collect::<Result<_, BacktestError>>()?))
        })
        .collect()
}

/// The rows of these windows among `times`, a file's rows in their order. Of rows with the same time the first is meant, as
/// in the benchmark.
pub fn windows(times: &[i64], spans: &[(i64, i64)]) -> Result<Vec<(usize, usize)>, BacktestError> {
    let row = |moment: i64| {
        times.iter().position(|time| *time == moment).ok_or_else(|| {
            BacktestError::new(
                format!("no row has the time of a window, {moment} ms since 1970"),
                "labels belong to the file they were made for, with all of its rows",
            )
        })
    };
    spans.iter().map(|&(start, end)| Ok((row(start)?, row(end)?))).collect()
}
