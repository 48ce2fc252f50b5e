//! JSON of any shape, as far as it must be looked at before it is parsed.
//! Always true: nothing recurses deeper than `nesting_max`.

use super::ReadLimits;
use crate::sample::{Reason, Rejection};

/// Refuses a line that is too long or nested too deep to be parsed.
pub(in crate::sample) fn check_line(line: &str, limits: ReadLimits) -> Result<(), Rejection> {
    if line.len() > limits.line_bytes_max {
        let detail = format!("the line is {} bytes, limit is {}", line.len(), limits.line_bytes_max);
        return Err(Rejection::new(Reason::Limits, detail));
    }
    check_nesting(line, limits)
}

/// The value that a line is. A line that is within the limits takes at most some dozens of its bytes.
pub(in crate::sample) fn value(line: &str, limits: ReadLimits) -> Result<serde_json::Value, Rejection> {
    check_line(line, limits)?;
    serde_json::from_str(line).map_err(|error| fault(&error))
}

/// The text with `null` for the numbers that JSON has not and Python writes: `NaN`, `Infinity` and `-Infinity`. None where it
/// has none of them.
pub(in crate::sample) fn without_not_finite(text: &str) -> Option<String> {
    let mut out = String::new();
    let (mut copied, mut at, mut is_string) = (0, 0, false);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if is_string => at += 1,
            b'"' => is_string = !is_string,
            b'N' | b'I' | b'-' if !is_string => {
                let names = ["NaN", "Infinity", "-Infinity"];
                if let Some(name) = names.iter().find(|name| bytes[at..].starts_with(name.as_bytes())) {
                    out.push_str(&text[copied..at]);
                    out.push_str("null");
                    at += name.len();
                    copied = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    (copied > 0).then(|| out + &text[copied..])
}

/// Refuses brackets that open too deep, before anything follows them down.
pub(in crate::sample) fn check_nesting(text: &str, limits: ReadLimits) -> Result<(), Rejection> {
    let (mut depth, mut is_string, mut is_escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            _ if is_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > limits.nesting_max {
                    let detail = format!("JSON nested deeper than {}, the limit", limits.nesting_max);
                    return Err(Rejection::new(Reason::Limits, detail));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// What is wrong with the text.
pub(in crate::sample) fn fault(error: &serde_json::Error) -> Rejection {
    let reason = if error.is_eof() {
        Reason::Truncated
    } else {
        Reason::Corrupt
    };
    // The parser's words quote nothing of the text but a literal or a key, which could hold anything.
    let detail: String = error
        .to_string()
        .chars()
        .take(200)
        .flat_map(char::escape_debug)
        .collect();
    Rejection::new(reason, format!("no JSON: {detail}"))
}
