//! An archive of NumPy arrays (`.npz`, a zip file) -> their series.
//! Always true: what a member claims to expand to is taken from the file's allowance before it is expanded, and nothing is
//! written anywhere: members' names are only names.

use std::borrow::Cow;

use super::SeriesLimits;
use super::array;
use super::notes::Notes;
use super::windows::Series;
use crate::sample::reading::gzip::{expansion_max, read_at_most};
use crate::sample::reading::quoted;
use crate::sample::{Reason, Rejection};

/// Members of an archive. More: it is refused.
const MEMBERS_MAX: usize = 1_000;

/// Bytes from the end in which the directory's end is looked for: itself and the longest comment.
const END_BYTES_MAX: usize = 22 + 0xffff;

/// An entry of the directory.
struct Member<'a> {
    name: Cow<'a, str>,
    method: u16,
    is_encrypted: bool,
    crc: u32,
    stored: usize,
    expanded: usize,
    start: usize,
}

/// Reads the arrays that have as many channels as the largest one.
pub(super) fn read(file: &[u8], limits: &SeriesLimits, notes: &mut Notes) -> Result<Vec<Series>, Rejection> {
    let members = members(file)?;
    let arrays = || {
        members
            .iter()
            .zip(1_u64..)
            .filter(|(member, _)| member.name.ends_with(".npy"))
    };
    if arrays().next().is_none() {
        return Err(Rejection::new(
            Reason::UnsupportedType,
            "a zip archive without arrays, not a series",
        ));
    }
    let wanted =
        |name: &str| limits.value_columns.is_empty() || limits.value_columns.iter().any(|wanted| wanted == name);
    let mut allowance = expansion_max(file.len(), limits.reading());
    let (mut read, mut refused, mut numbers) = (Vec::new(), None, 0_usize);
    for (member, at) in arrays().filter(|(member, _)| wanted(member.name.trim_end_matches(".npy"))) {
        let bytes = member.expand(file, &mut allowance)?;
        match array::read(&bytes, limits) {
            Ok(series) => {
                let held: usize = series.iter().map(|series| series.values.len()).sum();
                numbers = numbers.saturating_add(held);
                if numbers > limits.values_max {
                    return Err(limits.too_many_values());
                }
                read.push((at, held, series));
            }
            Err(rejection) if rejection.reason == Reason::UnsafeType => return Err(rejection),
            Err(rejection) => {
                notes.fault(at, rejection.reason, || {
                    format!("{}: {}", quoted(&member.name), rejection.detail)
                });
                refused = Some(rejection);
            }
        }
    }
    let largest = read.iter().max_by_key(|(_, held, _)| *held);
    let channels = largest
        .and_then(|(.., series)| series.first())
        .map(|series| series.channels);
    let Some(channels) = channels else {
        let nothing = || Rejection::new(Reason::UnsupportedType, "none of its arrays is wanted");
        return Err(refused.unwrap_or_else(nothing));
    };
    let mut all = Vec::new();
    for (at, _, series) in read {
        if series.iter().all(|series| series.channels == channels) {
            all.extend(series);
        } else {
            let detail = || format!("an array of other than the {channels} variables of the largest");
            notes.fault(at, Reason::UnsupportedType, detail);
        }
    }
    Ok(all)
}

/// The directory, which lies at the file's end.
fn members(file: &[u8]) -> Result<Vec<Member<'_>>, Rejection> {
    let truncated = || Rejection::new(Reason::Truncated, "the archive has no directory: its end is missing");
    let tail = file.len().saturating_sub(END_BYTES_MAX);
    let ends = file.get(tail..).unwrap_or_default().windows(4);
    let end = ends
        .rev()
        .position(|bytes| bytes == b"PK\x05\x06")
        .ok_or_else(truncated)?;
    let end = file.get(file.len() - 4 - end..).unwrap_or_default();
    let count = usize::from(u16_at(end, 10).ok_or_else(truncated)?);
    let mut at = u32_at(end, 16).ok_or_else(truncated)? as usize;
    if count > MEMBERS_MAX {
        let detail = format!("an archive of {count} members, limit is {MEMBERS_MAX}");
        return Err(Rejection::new(Reason::Limits, detail));
    }
    let mut members = Vec::new();
    for _ in 0..count {
        let (member, length) = Member::parse(file.get(at..).unwrap_or_default()).ok_or_else(broken)?;
        members.push(member);
        at = at.checked_add(length).ok_or_else(broken)?;
    }
    Ok(members)
}

impl<'a> Member<'a> {
    /// The entry that these bytes begin with, and its length.
    fn parse(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let lengths = [28, 30, 32].map(|at| u16_at(bytes, at).map(usize::from));
        let [Some(name), Some(extra), Some(comment)] = lengths else {
            return None;
        };
        // Sizes that are too large for their fields, or were not known, follow the name in this order.
        let mut large = zip64(bytes.get(46 + name..46 + name + extra)?);
        let mut size = |at: usize| match u32_at(bytes, at)? {
            u32::MAX => {
                let (size, rest) = large.split_first_chunk()?;
                large = rest;
                usize::try_from(u64::from_le_bytes(*size)).ok()
            }
            size => Some(size as usize),
        };
        let (expanded, stored, start) = (size(24)?, size(20)?, size(42)?);
        let member = Self {
            name: String::from_utf8_lossy(bytes.get(46..46 + name)?),
            is_encrypted: u16_at(bytes, 8)? & 1 == 1,
            method: u16_at(bytes, 10)?,
            crc: u32_at(bytes, 16)?,
            stored,
            expanded,
            start,
        };
        bytes
            .starts_with(b"PK\x01\x02")
            .then_some((member, 46 + name + extra + comment))
    }

    fn expand(&self, file: &[u8], allowance: &mut u64) -> Result<Vec<u8>, Rejection> {
        *allowance = allowance.checked_sub(self.expanded as u64).ok_or_else(|| {
            let detail = "its members expand to more than the limit for a file of its size";
            Rejection::new(Reason::Bomb, detail)
        })?;
        // The name and more lie between the member's own header and its data.
        let header = file
            .get(self.start..)
            .filter(|header| header.starts_with(b"PK\x03\x04"));
        let header = header.ok_or_else(broken)?;
        let between = [26, 28].map(|at| u16_at(header, at).map_or(0, usize::from));
        let start = 30 + between[0] + between[1];
        let cut = || Rejection::new(Reason::Truncated, "a member of the archive ends early");
        let stored = header
            .get(start..)
            .and_then(|data| data.get(..self.stored))
            .ok_or_else(cut)?;
        let expanded = match self.method {
            _ if self.is_encrypted => {
                return Err(Rejection::new(Reason::UnsupportedType, "an encrypted archive"));
            }
            0 => stored.to_vec(),
            8 => read_at_most(flate2::read::DeflateDecoder::new(stored), self.expanded as u64)?,
            other => {
                let detail = format!("an archive compressed by method {other}: none and Deflate are read");
                return Err(Rejection::new(Reason::UnsupportedType, detail));
            }
        };
        let mut crc = flate2::Crc::new();
        crc.update(&expanded);
        if expanded.len() != self.expanded || crc.sum() != self.crc {
            return Err(Rejection::new(
                Reason::Corrupt,
                "a member of the archive fails its checksum",
            ));
        }
        Ok(expanded)
    }
}

/// The field of an entry's extra ones that holds its large sizes.
fn zip64(mut extra: &[u8]) -> &[u8] {
    while let (Some(id), Some(length)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let (field, rest) = extra.split_at(extra.len().min(4 + usize::from(length)));
        if id == 1 {
            return field.get(4..).unwrap_or_default();
        }
        extra = rest;
    }
    &[]
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn broken() -> Rejection {
    Rejection::new(Reason::Corrupt, "the archive's directory is broken")
}
