//! Bytes of a gzip file -> the bytes in it.
//! Always true: no more is expanded than the limits allow, and what ends early or fails its checksum is refused whole.

use std::io::{ErrorKind, Read};

use flate2::read::MultiGzDecoder;

use super::ReadLimits;
use crate::sample::{Reason, Rejection};

/// Text expands by less than this; what expands by more was made to.
const EXPANSION_RATIO: u64 = 200;

/// What any file may expand to: repeated lines of a small log exceed the ratio, and this much does no harm.
const EXPANSION_FREE_BYTES: u64 = 1 << 20;

/// Bytes expanded at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// Bytes that a compressed file of this size may hold.
pub(in crate::sample) fn expansion_max(file_bytes: usize, limits: ReadLimits) -> u64 {
    let by_ratio = (file_bytes as u64).saturating_mul(EXPANSION_RATIO);
    by_ratio.max(EXPANSION_FREE_BYTES).min(limits.expansion_max)
}

/// Expands a gzip file.
pub(in crate::sample) fn expand(bytes: &[u8], limits: ReadLimits) -> Result<Vec<u8>, Rejection> {
    read_at_most(MultiGzDecoder::new(bytes), expansion_max(bytes.len(), limits))
}

/// Reads all that a decoder yields.
pub(in crate::sample) fn read_at_most(mut decoder: impl Read, bytes_max: u64) -> Result<Vec<u8>, Rejection> {
    let mut expanded = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match decoder.read(&mut chunk) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(fault(&error)),
        };
        if read == 0 {
            return Ok(expanded);
        }
        if (expanded.len() + read) as u64 > bytes_max {
            let detail = format!("it expands to more than {bytes_max} bytes, the limit for a file of its size");
            return Err(Rejection::new(Reason::Bomb, detail));
        }
        expanded.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
}

fn fault(error: &std::io::Error) -> Rejection {
    if error.kind() == ErrorKind::UnexpectedEof {
        return Rejection::new(Reason::Truncated, "the compressed data ends early");
    }
    Rejection::new(Reason::Corrupt, format!("the compressed data is broken: {error}"))
}
