//! Rows of JSON: a line each, or the items of one array.
//! Always true: of a row only its strings are kept, one row at a time, and nothing recurses deeper than
//! `nesting_max`.

use super::TextLimits;
use super::json_row::{Row, items, parse};
use super::rows::{Choice, Collector, Fields};
use crate::sample::reading::json::{check_line, check_nesting, fault};
use crate::sample::reading::{SAMPLE_ROWS, quoted};
use crate::sample::{Reason, Rejection};

/// Reads JSON Lines: each line an object.
pub(super) fn lines(
    text: &str,
    wanted: Option<&str>,
    limits: &TextLimits,
    into: &mut Collector<'_>,
) -> Result<(), Rejection> {
    let rows = || {
        let lines = text
            .split('\n')
            .zip(1_u64..)
            .map(|(line, number)| (number, line.trim()));
        lines.filter(|(_, line)| !line.is_empty())
    };
    let mut reader = Rows::new(limits);
    for (_, line) in rows().take(SAMPLE_ROWS) {
        if let Ok(row) = parse_line(line, limits) {
            reader.sample(&row);
        }
    }
    reader.choose(wanted)?;
    for ((at, line), number) in rows().zip(0..) {
        match parse_line(line, limits) {
            // A bare string is a row of an array, where nothing else could be meant; in a line it is a lost object.
            Ok(Row::Text(_)) => into.broken(at, Reason::Corrupt, "the line is a string, not an object".into()),
            Ok(row) => reader.take(at, number, &row, into)?,
            Err(Rejection { reason, detail }) => into.broken(at, reason, detail),
        }
    }
    Ok(())
}

/// Reads one array of objects or strings, or a single object.
pub(super) fn document(
    text: &str,
    wanted: Option<&str>,
    limits: &TextLimits,
    into: &mut Collector<'_>,
) -> Result<(), Rejection> {
    check_nesting(text, limits.reading())?;
    let mut reader = Rows::new(limits);
    if text.trim_start().starts_with('{') {
        let row = parse(text, limits)?;
        reader.sample(&row);
        reader.choose(wanted)?;
        return reader.take(1, 0, &row, into);
    }
    let mut seen = 0;
    // The sample's end is no fault of the text; a fault before it is met again below.
    let _ = items(text, limits, |row| {
        seen += 1;
        reader.sample(&row);
        seen < SAMPLE_ROWS
    });
    reader.choose(wanted)?;
    let (mut number, mut stopped) = (0, None);
    let end = items(text, limits, |row| {
        number += 1;
        let taken = reader.take(number, number - 1, &row, into);
        stopped = taken.err();
        stopped.is_none()
    });
    match (stopped, end) {
        (Some(rejection), _) => Err(rejection),
        (None, Err(error)) => {
            let Rejection { reason, detail } = fault(&error);
            into.broken(number + 1, reason, detail);
            Ok(())
        }
        (None, Ok(())) => Ok(()),
    }
}

/// Whether the text's first line is an object by itself, and whether others follow it.
pub(super) fn opens_with_object(text: &str, limits: &TextLimits) -> Option<bool> {
    let text = text.trim();
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    let is_object = matches!(parse_line(line.trim(), limits), Ok(Row::Fields(_) | Row::Wide));
    is_object.then_some(!rest.is_empty())
}

/// Whether the text is an array whose first item could be a row.
pub(super) fn opens_with_row(text: &str, limits: &TextLimits) -> bool {
    let text = text.trim();
    if !text.starts_with('[') || !text.ends_with(']') || check_nesting(text, limits.reading()).is_err() {
        return false;
    }
    let mut is_row = false;
    let _ = items(text, limits, |row| {
        is_row = !matches!(row, Row::Other(_));
        false
    });
    is_row
}

struct Rows<'a> {
    limits: &'a TextLimits,
    fields: Fields,
    /// Rows of the sample that are a string themselves.
    texts: usize,
    choice: Option<Choice>,
}

impl<'a> Rows<'a> {
    fn new(limits: &'a TextLimits) -> Self {
        Self {
            limits,
            fields: Fields::default(),
            texts: 0,
            choice: None,
        }
    }

    fn sample(&mut self, row: &Row) {
        match row {
            Row::Fields(fields) => {
                self.fields.row();
                for (name, value) in fields {
                    // Rows without a common field could name new ones for ever.
                    if self.fields.len() < self.limits.columns_max {
                        let number = self.fields.number(name);
                        self.fields.see(number, value);
                    }
                }
            }
            Row::Text(_) => self.texts += 1,
            Row::Wide | Row::Other(_) => {}
        }
    }

    /// Rows without any string are told one by one; a source of strings alone needs no field.
    fn choose(&mut self, wanted: Option<&str>) -> Result<(), Rejection> {
        if self.fields.len() > 0 {
            self.choice = self.fields.choose(wanted).map(Some).or_else(|why| match self.texts {
                0 => Err(why),
                _ => Ok(None),
            })?;
        }
        Ok(())
    }

    fn take(&self, at: u64, number: u64, row: &Row, into: &mut Collector<'_>) -> Result<(), Rejection> {
        let limits = self.limits;
        let (title, text) = match row {
            Row::Text(text) => (None, text.as_str()),
            Row::Fields(fields) => {
                let field = |name| {
                    let field = fields.iter().find(|(known, _)| known == name);
                    field.map(|(_, value)| value.as_str())
                };
                let Some(choice) = &self.choice else {
                    into.broken(at, Reason::UnsupportedType, "no field of the object is a string".into());
                    return Ok(());
                };
                let name = self.fields.name(choice.text);
                let Some(text) = field(name) else {
                    into.broken(
                        at,
                        Reason::Corrupt,
                        format!("the object has no string {}", quoted(name)),
                    );
                    return Ok(());
                };
                (choice.title.and_then(|title| field(self.fields.name(title))), text)
            }
            Row::Wide => {
                let detail = format!("more fields than {}, the limit", limits.columns_max);
                into.broken(at, Reason::Limits, detail);
                return Ok(());
            }
            Row::Other(what) => {
                into.broken(at, Reason::Corrupt, format!("the row is {what}, not an object"));
                return Ok(());
            }
        };
        if text.len() > limits.line_bytes_max {
            let detail = format!("the text is {} bytes, limit is {}", text.len(), limits.line_bytes_max);
            into.broken(at, Reason::Limits, detail);
            return Ok(());
        }
        into.document(number, title, text)
    }
}

fn parse_line(line: &str, limits: &TextLimits) -> Result<Row, Rejection> {
    check_line(line, limits.reading())?;
    parse(line, limits)
}
