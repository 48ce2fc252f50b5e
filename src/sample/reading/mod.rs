//! What the kinds of data that are not pictures read alike: encodings, compression, tables, JSON and Parquet.
//! Always true: nothing here is expanded, kept or followed past the limits, whatever a file says of itself.

pub(in crate::sample) mod binary;
pub(in crate::sample) mod dialect;
pub(in crate::sample) mod encoding;
pub(in crate::sample) mod gzip;
pub(in crate::sample) mod json;
mod pages;
pub(in crate::sample) mod parquet;
pub(in crate::sample) mod records;
mod schema;
mod thrift;
pub(in crate::sample) mod values;
mod wide;

use std::borrow::Cow;
use std::path::Path;

use crate::sample::{Reason, Rejection};

/// How much of a source is read, and how deep.
#[derive(Clone, Copy, Debug)]
pub(in crate::sample) struct ReadLimits {
    /// Bytes of one row. A longer row is passed over.
    pub(in crate::sample) line_bytes_max: usize,
    /// Columns of a table, fields of an object.
    pub(in crate::sample) columns_max: usize,
    /// How deep JSON may be nested.
    pub(in crate::sample) nesting_max: usize,
    /// Bytes out of a compressed file or the pages of a Parquet file. A file may expand to 200 times its size, or
    /// 1 MiB where that is more; past either, it is refused as a bomb.
    pub(in crate::sample) expansion_max: u64,
}

/// Rows that are looked at to find out what the others hold.
pub(in crate::sample) const SAMPLE_ROWS: usize = 100;

/// What a file's name ends with and its bytes, both without gzip. An error where nothing is in it, or gzip in gzip.
pub(in crate::sample) fn unpacked<'a>(
    name: &Path,
    bytes: &'a [u8],
    limits: ReadLimits,
) -> Result<(String, Cow<'a, [u8]>), Rejection> {
    let mut extension = extension(name);
    let mut bytes = Cow::Borrowed(bytes);
    if bytes.starts_with(b"\x1f\x8b") {
        bytes = Cow::Owned(gzip::expand(&bytes, limits)?);
        if bytes.starts_with(b"\x1f\x8b") {
            return Err(Rejection::new(Reason::UnsupportedType, "a gzip file in a gzip file"));
        }
        if extension == "gz" {
            extension = self::extension(Path::new(name.file_stem().unwrap_or_default()));
        }
    }
    if bytes.is_empty() {
        return Err(Rejection::new(Reason::EmptyFile, "the file has no bytes"));
    }
    Ok((extension, bytes))
}

/// What follows the last full stop of a name, in lower case.
pub(in crate::sample) fn extension(name: &Path) -> String {
    name.extension()
        .map(|extension| extension.to_string_lossy().to_lowercase())
        .unwrap_or_default()
}

/// A name from a file, fit for a sentence on a screen: escaped, and not longer than a line.
pub(in crate::sample) fn quoted(name: &str) -> String {
    let short: String = name.chars().take(80).collect();
    format!("{short:?}")
}

#[cfg(test)]
mod tests;
