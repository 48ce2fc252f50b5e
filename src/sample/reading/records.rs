//! Text with delimiters (RFC 4180) -> records of fields.
//! Always true: reading goes on at the line after a broken record, so that one stray quote costs one line and not the
//! rest of the file, and no record is longer than `line_bytes_max` or wider than `columns_max`.
//!
//! The `csv` crate reads a quote that is never closed as a field to the end of the file, and a record has no bound.

use std::borrow::Cow;

use super::ReadLimits;
use crate::sample::{Reason, Rejection};

/// After so many stray quotes the file does not quote at all: they are characters like others from then on. Bounds the
/// bytes that are read twice, too.
const STRAY_QUOTES_MAX: u32 = 16;

/// A record, or what is wrong with it.
pub(in crate::sample) enum Record<'a> {
    Fields(Vec<Cow<'a, str>>),
    /// A quoted field that does not end, or ends in a record of the wrong width.
    StrayQuote,
    /// Longer than the limit.
    Long,
    /// More fields than the limit.
    Wide,
}

impl<'a> Record<'a> {
    /// What is wrong with it in a table of this width, in which it begins at this line.
    pub(in crate::sample) fn fault(&self, line: u64, width: usize, limits: ReadLimits) -> Option<(Reason, String)> {
        Some(match self {
            Self::Fields(fields) if fields.len() == width => return None,
            Self::Fields(fields) => {
                let detail = format!("line {line} has {} fields, the table has {width}", fields.len());
                (Reason::Corrupt, detail)
            }
            Self::StrayQuote => (Reason::Corrupt, format!("a quote in line {line} is not closed")),
            Self::Long => {
                let detail = format!("line {line} is longer than {} bytes, the limit", limits.line_bytes_max);
                (Reason::Limits, detail)
            }
            Self::Wide => {
                let detail = format!("line {line} has more fields than {}, the limit", limits.columns_max);
                (Reason::Limits, detail)
            }
        })
    }

    /// The fields of a table's first line, on which the others depend.
    pub(in crate::sample) fn first(self, limits: ReadLimits) -> Result<Vec<Cow<'a, str>>, Rejection> {
        let (reason, detail) = match self {
            Self::Fields(fields) => return Ok(fields),
            Self::Wide => {
                let detail = format!("more columns than {}, the limit", limits.columns_max);
                (Reason::Limits, detail)
            }
            Self::Long => {
                let detail = format!(
                    "its first line is longer than {} bytes, the limit",
                    limits.line_bytes_max
                );
                (Reason::Limits, detail)
            }
            Self::StrayQuote => (Reason::Corrupt, "a quote in its first line is not closed".into()),
        };
        Err(Rejection::new(reason, detail))
    }
}

/// The records of a text, blank lines left out.
pub(in crate::sample) struct Records<'a> {
    text: &'a str,
    at: usize,
    /// The line of the last record's start, from 1.
    pub(in crate::sample) line: u64,
    lines_read: u64,
    /// What separates two fields: nothing that a text holds where there is only one.
    delimiter: u8,
    /// Fields of a record, where that is known.
    pub(in crate::sample) width: Option<usize>,
    limits: ReadLimits,
    stray_quotes: u32,
}

impl<'a> Records<'a> {
    pub(in crate::sample) fn new(text: &'a str, delimiter: u8, limits: ReadLimits) -> Self {
        Self {
            text,
            at: 0,
            line: 0,
            lines_read: 0,
            delimiter,
            width: None,
            limits,
            stray_quotes: 0,
        }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn line_end(&self, from: usize) -> usize {
        let rest = self.text.get(from..).unwrap_or_default();
        rest.find('\n').map_or(self.text.len(), |length| from + length)
    }

    fn record(&mut self) -> Record<'a> {
        let start = self.at;
        let line_end = self.line_end(start);
        let is_long = line_end - start > self.limits.line_bytes_max;
        let (record, end) = if is_long {
            (Record::Long, line_end)
        } else {
            self.fields(start)
        };
        let is_wrong = match &record {
            Record::StrayQuote => true,
            Record::Fields(fields) => end > line_end && self.width.is_some_and(|width| fields.len() != width),
            Record::Long | Record::Wide => false,
        };
        if is_wrong {
            self.stray_quotes += 1;
            self.step(line_end);
            return Record::StrayQuote;
        }
        self.step(end);
        record
    }

    /// Goes on after the line end at `end`.
    fn step(&mut self, end: usize) {
        let read = self.text.get(self.at..end).unwrap_or_default();
        self.lines_read += 1 + read.bytes().filter(|&byte| byte == b'\n').count() as u64;
        self.at = end + 1;
    }

    /// The fields from here, and where their record ends.
    fn fields(&self, start: usize) -> (Record<'a>, usize) {
        let mut fields = Vec::with_capacity(self.width.unwrap_or(0));
        let mut at = start;
        loop {
            if fields.len() >= self.limits.columns_max {
                return (Record::Wide, self.line_end(at));
            }
            let is_quoted = self.byte(at) == Some(b'"') && self.stray_quotes < STRAY_QUOTES_MAX;
            let (field, end) = if is_quoted {
                match self.quoted(at + 1, start + self.limits.line_bytes_max) {
                    // Nobody quotes a cell with tabs and line ends in a table of tabs: two stray quotes, lines apart.
                    Some((field, _)) if self.delimiter == b'\t' && field.contains('\n') && field.contains('\t') => {
                        return (Record::StrayQuote, at);
                    }
                    Some(field) => field,
                    None => return (Record::StrayQuote, at),
                }
            } else {
                let end = self.plain_end(at);
                (Cow::Borrowed(self.text.get(at..end).unwrap_or_default()), end)
            };
            fields.push(field);
            if self.byte(end) != Some(self.delimiter) {
                return (Record::Fields(fields), end);
            }
            at = end + 1;
        }
    }

    fn plain_end(&self, from: usize) -> usize {
        let rest = self.text.as_bytes().get(from..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == self.delimiter || byte == b'\n');
        length.map_or(self.text.len(), |length| from + length)
    }

    /// A quoted field whose quote opened just before `from`, and where it ends. Nothing where it does not end before
    /// `bound`.
    fn quoted(&self, from: usize, bound: usize) -> Option<(Cow<'a, str>, usize)> {
        let mut value = Cow::Borrowed("");
        let mut at = from;
        loop {
            let searched = self.text.as_bytes().get(at..bound.min(self.text.len()))?;
            let quote = at + searched.iter().position(|&byte| byte == b'"')?;
            append(&mut value, self.text.get(at..quote)?);
            if self.byte(quote + 1) == Some(b'"') {
                append(&mut value, "\"");
                at = quote + 2;
                continue;
            }
            // What follows a closing quote belongs to the field: `"a" b` is read as `a b`.
            let end = self.plain_end(quote + 1);
            append(&mut value, self.text.get(quote + 1..end)?);
            return Some((value, end));
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        while self.at < self.text.len() {
            let end = self.line_end(self.at);
            if !self
                .text
                .get(self.at..end)
                .unwrap_or_default()
                .trim_matches([' ', '\r'])
                .is_empty()
            {
                self.line = self.lines_read + 1;
                return Some(self.record());
            }
            self.step(end);
        }
        None
    }
}

fn append<'a>(value: &mut Cow<'a, str>, more: &'a str) {
    if value.is_empty() {
        *value = Cow::Borrowed(more);
    } else if !more.is_empty() {
        value.to_mut().push_str(more);
    }
}
