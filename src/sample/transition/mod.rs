//! Transitions: the bytes of a file -> states, actions and next states.
//! Always true: a file's type is told by its content alone, nothing is expanded, kept or followed past the limits, and a row
//! that is passed over is counted and named.

mod columns;
mod faults;
mod json;
mod names;
mod parquet;
mod row;
mod stream;
mod table;
mod usual;
mod value;

use std::borrow::Cow;
use std::path::Path;

use crate::sample::reading::{self, ReadLimits, binary, encoding};
use crate::sample::{Fault, Reason, Rejection, Transition};
use stream::Stream;
use table::Table;

/// How much of a source is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransitionLimits {
    /// Numbers of a state. A row with more is passed over.
    pub state_dims_max: usize,
    /// Choices of a discrete action, and numbers of a real one. A row with another is passed over.
    pub actions_max: usize,
    /// Transitions of one source. More: the source is refused.
    pub transitions_max: usize,
    /// Numbers of states of one source. More: the source is refused.
    pub values_max: usize,
    /// Bytes of one row. A longer row is passed over.
    pub line_bytes_max: usize,
    /// Bytes out of a compressed file or the pages of a Parquet file. A file may expand to 200 times its size, or 1 MiB
    /// where that is more; past either, it is refused as a bomb.
    pub expansion_max: u64,
    /// Columns of a table.
    pub columns_max: usize,
    /// How deep JSON may be nested.
    pub nesting_max: usize,
}

impl Default for TransitionLimits {
    fn default() -> Self {
        Self {
            state_dims_max: 256,
            actions_max: 32,
            transitions_max: 1_000_000,
            values_max: 1 << 26,
            line_bytes_max: 1 << 20,
            expansion_max: 1 << 30,
            columns_max: 1_000,
            nesting_max: 64,
        }
    }
}

impl TransitionLimits {
    fn reading(&self) -> ReadLimits {
        ReadLimits {
            line_bytes_max: self.line_bytes_max,
            columns_max: self.columns_max,
            nesting_max: self.nesting_max,
            expansion_max: self.expansion_max,
        }
    }
}

/// What was read of a source, and what of it was passed over.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    /// The transitions, in the source's order.
    pub transitions: Vec<Transition>,
    /// The first 100 faults.
    pub faults: Vec<Fault>,
    /// How many faults there were.
    pub faults_total: u64,
}

/// Reads a file's transitions: JSON lines or an array of objects, a table of text, Parquet, or gzip of
/// these. Its `name` only makes a refusal say more.
///
/// # Errors
/// Bytes that hold no transitions, over the limits, or without a single row that is whole.
pub fn cut(name: &Path, bytes: &[u8], limits: &TransitionLimits) -> Result<Cut, Rejection> {
    let (_, bytes) = reading::unpacked(name, bytes, limits.reading())?;
    let mut stream = Stream::new(limits);
    if bytes.starts_with(b"PAR1") {
        parquet::read(&bytes, limits, &mut stream)?;
        return stream.finish();
    }
    binary::refuse(&bytes, "transitions")?;
    let decoded = encoding::decode(&bytes)?;
    let uncounted = decoded.faults_total - decoded.faults.len() as u64;
    let text = decoded.text;
    binary::refuse_text(&text, "transitions")?;
    if text.trim().is_empty() {
        let detail = "the file holds nothing but white space";
        return Err(Rejection::new(Reason::EmptyFile, detail));
    }
    for (line, detail) in decoded.faults {
        stream.faults.remark(line, Rejection::new(Reason::Corrupt, detail));
    }
    stream.faults.uncounted(uncounted);
    if let Some(form) = json::Form::of(&text) {
        json::read(&text, form, limits, &mut stream)?;
    } else {
        let text = match text.contains('\r') {
            true => Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n")),
            false => text,
        };
        let table = Table::of(&text, limits).map_err(|why| name_lies(name, why))?;
        table.read(&text, limits, &mut stream)?;
    }
    stream.finish()
}

/// A name that promises no text, on text without transitions, is a kind of its own: most often a saved error page.
fn name_lies(name: &Path, why: Rejection) -> Rejection {
    let extension = reading::extension(name);
    let is_lie = binary::NAMES_OF_NO_TEXT.contains(&extension.as_str()) && extension != "gz";
    if is_lie && why.reason == Reason::UnsupportedType {
        let detail = format!("the name says .{extension}, the content is text; {}", why.detail);
        return Rejection::new(Reason::TypeMismatch, detail);
    }
    why
}

#[cfg(test)]
pub(crate) mod tests;
