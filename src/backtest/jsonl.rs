//! A manifest that holds its texts itself: JSON lines with the text, its label, and perhaps `split` and `order`.

use std::io::{BufRead, BufReader};

use serde_json::Value;

use super::BacktestError;
use super::archive::{ASKS, ArchiveSetup, Cut, Line};

/// The lines of such a manifest, in order. `field` names the text.
pub(super) fn manifest(setup: &ArchiveSetup, field: &str) -> Result<Vec<Line>, BacktestError> {
    let name = setup.manifest.display();
    let bad = |why: String| {
        BacktestError::new(
            format!("the manifest {name}: {why}"),
            "each of its lines is a JSON object; ingest.text_field names the field with the text",
        )
    };
    let file = std::fs::File::open(&setup.manifest).map_err(|error| bad(error.to_string()))?;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.map_err(|error| bad(error.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let row: Value = serde_json::from_str(&line).map_err(|error| bad(format!("line {number}: {error}")))?;
        let cell = |name: &str| word(&row[name]);
        let text = cell(field);
        if text.trim().is_empty() || setup.only.iter().any(|(column, value)| cell(column) != *value) {
            continue;
        }
        let asks = row.get("split").map(|split| ASKS.contains(&word(split).as_str()));
        let label = cell(&setup.labels);
        if label.is_empty() && asks == Some(true) {
            continue;
        }
        let line = Line {
            path: format!("{name}:{number}"),
            text: Some(text),
            label,
            asks,
            part: match &setup.experiences {
                Cut::Parts(_) => String::new(),
                Cut::Column(column) => cell(column),
            },
        };
        lines.push((row["order"].as_f64().unwrap_or(number as f64), line));
    }
    if lines.is_empty() {
        return Err(bad(format!("no line has a text in `{field}`")));
    }
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

/// A value as a cell of a table would say it.
fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
