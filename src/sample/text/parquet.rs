//! A Parquet file -> the rows of the column that holds the text.

use super::TextLimits;
use super::rows::{Collector, Fields};
use crate::sample::reading::SAMPLE_ROWS;
use crate::sample::reading::gzip::expansion_max;
use crate::sample::reading::parquet::{Column, Footer};
use crate::sample::reading::values::Strings;
use crate::sample::{Reason, Rejection};

/// Reads a Parquet file.
pub(in crate::sample) fn read(
    file: &[u8],
    wanted: Option<&str>,
    limits: &TextLimits,
    into: &mut Collector<'_>,
) -> Result<(), Rejection> {
    let reading = limits.reading();
    let mut footer = Footer::read(file, reading)?;
    footer.columns.retain(Column::is_text);
    let rows = footer.rows();
    if rows > limits.passages_max {
        let detail = format!("{rows} rows, limit is {} of one source", limits.passages_max);
        return Err(Rejection::new(Reason::Limits, detail));
    }
    if rows == 0 {
        return Err(Rejection::new(Reason::EmptyFile, "the table has no rows"));
    }
    let mut fields = Fields::default();
    for column in &footer.columns {
        fields.add(&column.name);
    }
    if let Some(group) = footer.groups.iter().find(|group| group.rows > 0) {
        (0..group.rows.min(SAMPLE_ROWS)).for_each(|_| fields.row());
        for number in 0..footer.columns.len() {
            // Each column may spend the allowance: only one's pages are held at a time.
            let mut allowance = expansion_max(file.len(), reading);
            let sample = footer.strings(file, group, number, SAMPLE_ROWS, &mut allowance)?;
            for row in 0..sample.len() {
                let text = sample.get(row).and_then(|value| std::str::from_utf8(value).ok());
                fields.see(number, text.unwrap_or_default());
            }
        }
    }
    let choice = fields.choose(wanted)?;
    let mut allowance = expansion_max(file.len(), reading);
    let mut number = 0;
    for group in &footer.groups {
        let texts = footer.strings(file, group, choice.text, group.rows, &mut allowance)?;
        let titles = match choice.title {
            Some(title) => footer.strings(file, group, title, group.rows, &mut allowance)?,
            None => Strings::default(),
        };
        for row in 0..texts.len() {
            number += 1;
            let value = texts.get(row).unwrap_or_default();
            if value.len() > limits.line_bytes_max {
                let detail = format!("the text is {} bytes, limit is {}", value.len(), limits.line_bytes_max);
                into.broken(number, Reason::Limits, detail);
                continue;
            }
            match std::str::from_utf8(value) {
                Ok(text) => {
                    let title = titles.get(row).and_then(|title| std::str::from_utf8(title).ok());
                    into.document(number - 1, title, text)?;
                }
                Err(_) => into.broken(number, Reason::Corrupt, "the text is no UTF-8".into()),
            }
        }
    }
    Ok(())
}
