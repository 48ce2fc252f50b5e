//! Series: the bytes of a file -> windows of numbers.
//! Always true: a file's type is told by its content where that can be, nothing is expanded, kept or followed past
//! the limits, and what is passed over or missing is counted and named.

mod archive;
mod array;
mod cells;
mod json;
mod mel;
mod notes;
mod parquet;
mod plan;
mod rows;
mod table;
mod times;
mod wave;
mod windows;

use std::borrow::Cow;
use std::path::Path;

use crate::sample::reading::{self, ReadLimits, binary, encoding};
use crate::sample::{Fault, Reason, Rejection, Window};
use notes::Notes;
use windows::Series;

/// Columns of a table, most of which may be no variables.
const TABLE_COLUMNS_MAX: usize = 1_000;

/// How deep JSON may be nested.
const NESTING_MAX: usize = 64;

/// How much of a source is read, and into what windows it is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesLimits {
    /// Steps of one window.
    pub window_steps: usize,
    /// Steps from one window's start to the next one's.
    pub stride_steps: usize,
    /// The column that holds the time; None: the likeliest.
    pub time_column: Option<String>,
    /// The columns that are variables; empty: every one that holds numbers.
    pub value_columns: Vec<String>,
    /// Variables of a series. A source with more is refused.
    pub columns_max: usize,
    /// Windows of one source. More: the source is refused.
    pub windows_max: usize,
    /// Numbers of one source and of its windows, each: 8 bytes. More: the source is refused.
    pub values_max: usize,
    /// Bytes of one row. A longer row is passed over.
    pub line_bytes_max: usize,
    /// Bytes out of a compressed file.
    pub expansion_max: u64,
}

impl Default for SeriesLimits {
    fn default() -> Self {
        Self {
            window_steps: 128,
            stride_steps: 64,
            time_column: None,
            value_columns: Vec::new(),
            columns_max: 64,
            windows_max: 100_000,
            values_max: 1 << 25,
            line_bytes_max: 1 << 20,
            expansion_max: 1 << 30,
        }
    }
}

/// What was cut from a source, and what of it was passed over.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    /// The windows, in the order of time.
    pub windows: Vec<Window>,
    /// The first 100 faults.
    pub faults: Vec<Fault>,
    /// How many faults there were.
    pub faults_total: u64,
}

impl SeriesLimits {
    fn reading(&self) -> ReadLimits {
        ReadLimits {
            line_bytes_max: self.line_bytes_max,
            columns_max: TABLE_COLUMNS_MAX.max(self.columns_max),
            nesting_max: NESTING_MAX,
            expansion_max: self.expansion_max,
        }
    }

    fn check_channels(&self, channels: usize) -> Result<(), Rejection> {
        if channels > self.columns_max.min(usize::from(u16::MAX)) {
            let detail = format!("{channels} variables, limit is {}", self.columns_max);
            return Err(Rejection::new(Reason::Limits, detail));
        }
        Ok(())
    }

    fn too_many_windows(&self) -> Rejection {
        let detail = format!("more than {} windows, the limit of one source", self.windows_max);
        Rejection::new(Reason::Limits, detail)
    }

    fn too_many_values(&self) -> Rejection {
        let detail = format!("more than {} numbers, the limit of one source", self.values_max);
        Rejection::new(Reason::Limits, detail)
    }
}

/// Reads a file and cuts it into windows. Its `name` only tells what the content cannot.
///
/// # Errors
/// Bytes that are no series, over the limits, or without enough steps for a window.
pub fn cut(name: &Path, bytes: &[u8], limits: &SeriesLimits) -> Result<Cut, Rejection> {
    let mut notes = Notes::default();
    let series = open(name, bytes, limits, &mut notes)?;
    Ok(Cut {
        windows: windows::cut(&series, limits)?,
        faults: notes.faults,
        faults_total: notes.total,
    })
}

/// Reads a file's series, each in one piece however long, with the times of its steps (milliseconds since 1970 in UTC; none where
/// the file says none).
///
/// # Errors
/// As [`cut`].
pub fn whole(name: &Path, bytes: &[u8], limits: &SeriesLimits) -> Result<Vec<(Window, Vec<i64>)>, Rejection> {
    let series = open(name, bytes, limits, &mut Notes::default())?;
    windows::whole(series)
}

/// A file's series, unpacked where it is compressed.
fn open(name: &Path, bytes: &[u8], limits: &SeriesLimits, notes: &mut Notes) -> Result<Vec<Series>, Rejection> {
    let (extension, bytes) = reading::unpacked(name, bytes, limits.reading())?;
    read(&extension, &bytes, limits, notes)
}

/// The series of a file that is not compressed.
fn read(extension: &str, bytes: &[u8], limits: &SeriesLimits, notes: &mut Notes) -> Result<Vec<Series>, Rejection> {
    if bytes.starts_with(b"PAR1") {
        return parquet::read(bytes, limits, notes);
    }
    if bytes.starts_with(array::MAGIC) {
        return array::read(bytes, limits);
    }
    if wave::is_wave(bytes) {
        limits.check_channels(mel::BANDS)?;
        return Ok(vec![mel::series(&wave::read(bytes, limits)?, limits)?]);
    }
    let refused = binary::refuse(bytes, "a series");
    if bytes.starts_with(b"PK\x03\x04") {
        return match refused {
            Err(rejection) if rejection.reason == Reason::UnsafeType => Err(rejection),
            _ => archive::read(bytes, limits, notes),
        };
    }
    refused?;
    let decoded = encoding::decode(bytes)?;
    for (line, detail) in &decoded.faults {
        notes.fault(*line, Reason::Corrupt, || detail.clone());
    }
    notes.total += decoded.faults_total - decoded.faults.len() as u64;
    let text = decoded.text;
    binary::refuse_text(&text, "a series")?;
    if binary::NAMES_OF_NO_TEXT.contains(&extension) || NAMES_OF_ARRAYS.contains(&extension) {
        let detail = format!("the name says .{extension}, the content is text");
        return Err(Rejection::new(Reason::TypeMismatch, detail));
    }
    if text.trim().is_empty() {
        return Err(Rejection::new(
            Reason::EmptyFile,
            "the file holds nothing but white space",
        ));
    }
    let text = match text.contains('\r') {
        true => Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n")),
        false => text,
    };
    if ["jsonl", "ndjson"].contains(&extension) || json::opens_with_object(&text, limits) {
        return json::read(&text, limits, notes);
    }
    if extension == "json" || text.trim_start().starts_with('[') {
        reading::json::check_nesting(&text, limits.reading())?;
        let detail = "JSON that is not an object a line, not a series";
        return Err(Rejection::new(Reason::UnsupportedType, detail));
    }
    table::read(&text, limits, notes)
}

/// Names that promise an array.
const NAMES_OF_ARRAYS: [&str; 2] = ["npy", "npz"];

#[cfg(test)]
mod tests;
