//! Text: the bytes of a file -> passages that are short enough to learn from.
//! Always true: a file's type is told by its content where that can be, nothing is expanded, kept or followed past
//! the limits, and what is passed over is counted and named.

mod json;
mod json_row;
mod parquet;
mod passages;
mod rows;
mod table;

use std::path::Path;

use crate::sample::reading::{self, ReadLimits, binary, encoding};
use crate::sample::{Fault, Passage, Reason, Rejection};
use rows::Collector;

/// How much of a source is read, and into what pieces it is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextLimits {
    /// Characters of one passage.
    pub chars_max: usize,
    /// Characters that a passage repeats of the one before it, at most half of a passage.
    pub chars_overlap: usize,
    /// Passages of one source. More: the source is refused.
    pub passages_max: usize,
    /// Bytes of one row, and of a text without any white space. A longer row is passed over.
    pub line_bytes_max: usize,
    /// Bytes out of a compressed file or the pages of a Parquet file. A file may expand to 200 times its size, or
    /// 1 MiB where that is more; past either, it is refused as a bomb.
    pub expansion_max: u64,
    /// Columns of a table, fields of an object.
    pub columns_max: usize,
    /// How deep JSON may be nested.
    pub nesting_max: usize,
}

impl Default for TextLimits {
    fn default() -> Self {
        Self {
            chars_max: 1_200,
            chars_overlap: 120,
            passages_max: 100_000,
            line_bytes_max: 1 << 20,
            expansion_max: 1 << 30,
            columns_max: 1_000,
            nesting_max: 64,
        }
    }
}

impl TextLimits {
    fn reading(&self) -> ReadLimits {
        ReadLimits {
            line_bytes_max: self.line_bytes_max,
            columns_max: self.columns_max,
            nesting_max: self.nesting_max,
            expansion_max: self.expansion_max,
        }
    }
}

/// What was cut from a source, and what of it was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The passages, in the source's order.
    pub passages: Vec<Passage>,
    /// The first 100 faults.
    pub faults: Vec<Fault>,
    /// How many faults there were.
    pub faults_total: u64,
}

/// Reads a file and cuts it into passages. Its `name` only tells what the content cannot, such as a table from prose
/// with commas. `field` names the field or column that holds the text; without it the likeliest is found.
///
/// # Errors
/// Bytes that are no text, over the limits, or without a single row that is whole.
pub fn cut(name: &Path, bytes: &[u8], field: Option<&str>, limits: &TextLimits) -> Result<Cut, Rejection> {
    let (extension, bytes) = reading::unpacked(name, bytes, limits.reading())?;
    let mut collector = Collector::new(limits);
    if bytes.starts_with(b"PAR1") {
        parquet::read(&bytes, field, limits, &mut collector)?;
        return collector.finish("the file has no row with text");
    }
    binary::refuse(&bytes, "text")?;
    let decoded = encoding::decode(&bytes)?;
    for (line, detail) in &decoded.faults {
        collector.remark(*line, Reason::Corrupt, detail.clone());
    }
    collector.uncounted(decoded.faults_total - decoded.faults.len() as u64);
    let text = decoded.text;
    binary::refuse_text(&text, "text")?;
    if binary::NAMES_OF_NO_TEXT.contains(&extension.as_str()) {
        let detail = format!("the name says .{extension}, the content is text");
        return Err(Rejection::new(Reason::TypeMismatch, detail));
    }
    if text.trim().is_empty() {
        return Err(Rejection::new(
            Reason::EmptyFile,
            "the file holds nothing but white space",
        ));
    }
    match Kind::of(&extension, &text, limits) {
        Kind::Lines => json::lines(&text, field, limits, &mut collector)?,
        Kind::Json => json::document(&text, field, limits, &mut collector)?,
        Kind::Table => {
            let text = passages::normalise(&text);
            table::read(&text, field, limits, &mut collector)?;
        }
        Kind::Plain => {
            check_breaks(&text, limits)?;
            collector.document(0, None, &text)?;
        }
    }
    collector.finish("the file has no row with text")
}

/// How a text is divided into documents.
enum Kind {
    /// One document.
    Plain,
    /// An object a line.
    Lines,
    /// One array, or one object.
    Json,
    /// Rows of columns.
    Table,
}

impl Kind {
    fn of(extension: &str, text: &str, limits: &TextLimits) -> Self {
        let object = || json::opens_with_object(text, limits);
        let is_open = text.trim_start().starts_with('{');
        match extension {
            "jsonl" | "ndjson" => Self::Lines,
            "json" if is_open && object() == Some(true) => Self::Lines,
            "json" => Self::Json,
            _ if is_open && object().is_some() => Self::Lines,
            _ if json::opens_with_row(text, limits) => Self::Json,
            "csv" | "tsv" | "tab" | "psv" => Self::Table,
            "" | "dat" | "data" if table::is_table(text, limits) => Self::Table,
            _ => Self::Plain,
        }
    }
}

/// Refuses a run without white space that is as long as a row may be: encoded data, not language. Scripts that are
/// written without spaces have sentences, whose marks count as white space here.
fn check_breaks(text: &str, limits: &TextLimits) -> Result<(), Rejection> {
    let is_break =
        |c: char| c.is_whitespace() || ('\u{3000}'..='\u{303f}').contains(&c) || matches!(c, '！' | '，' | '？');
    match text.split(is_break).map(str::len).max() {
        Some(longest) if longest >= limits.line_bytes_max => Err(Rejection::new(
            Reason::Limits,
            format!(
                "{longest} bytes without white space, limit is {}",
                limits.line_bytes_max
            ),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
