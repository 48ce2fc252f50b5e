//! What commands write to stdout: JSON for programs, tables for people. A reader that has read enough is no failure.

use std::io::{self, Write};

use serde::Serialize;

use super::failure::Failure;

/// Writes to stdout. Ends the process when nobody reads it any more, as `head` does once it has its lines.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(
            Failure::FAILED,
            format!("failed to write to stdout: {error}"),
        )),
    }
}

/// Writes one JSON value and a line's end.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(Failure::FAILED, format!("failed to write JSON: {error}")))?;
    text.push('\n');
    print(&text)
}

/// Rows under a head, each column as wide as its widest cell. A column whose head begins with `>` is set to the right.
/// Control characters, which a file's name may hold, are shown and not obeyed.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let shown: Vec<[String; N]> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| visible(cell)))
        .collect();
    let titles = head.map(|title| title.trim_start_matches('>').to_owned());
    let width = |column: usize| {
        let cells = shown.iter().chain([&titles]);
        cells.map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in [&titles].into_iter().chain(&shown) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            line += &match head[column].starts_with('>') {
                true => format!("{cell:>width$}  "),
                false => format!("{cell:<width$}  "),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// The text with its control characters written out.
pub fn visible(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

/// A number of bytes, for people.
pub fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{value:.1} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up_and_obeys_no_file_name() {
        let rows = [
            ["a.png".to_owned(), "1".to_owned()],
            ["long\u{1b}[2Jname".to_owned(), "22".to_owned()],
        ];
        let expected = "path                n\na.png               1\nlong\\u{1b}[2Jname  22\n";
        assert_eq!(table(["path", ">n"], &rows), expected);
    }

    #[test]
    fn bytes_are_told_in_the_largest_unit_that_fits() {
        assert_eq!(
            (bytes(1_023), bytes(1_024), bytes(3 << 29)),
            ("1023 B".to_owned(), "1.0 KiB".to_owned(), "1.5 GiB".to_owned())
        );
    }
}
