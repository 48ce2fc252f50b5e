//! What of a source was passed over or replaced, while the rest was kept.

use super::Reason;

/// Something that was passed over or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From 1: the line of a text or of JSON lines, and of bytes that could not be decoded; the row of an array or a
    /// table, whose header is no row.
    pub at: u64,
    /// The kind.
    pub reason: Reason,
    /// What was wrong, in a sentence; holds no control characters of the source.
    pub detail: String,
}
