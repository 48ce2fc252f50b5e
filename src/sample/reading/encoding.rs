//! Bytes -> text, whatever they are encoded in, as far as that can be told.
//! Always true: the text holds no NUL, and what could not be decoded is a replacement character with a fault. Bytes
//! that fit several encodings equally well are refused rather than guessed.

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, GB18030, GBK};

use super::wide::{self, Units};
use crate::sample::{Reason, Rejection};

/// Faults of decoding kept of one file; the others are only counted.
const FAULTS_KEPT_MAX: usize = 100;

/// Bytes shown to the detector: more do not change its mind, and it is slow.
const DETECT_BYTES_MAX: usize = 1 << 20;

/// Valid UTF-8 whose characters are control characters in one of so many cases is something else.
const UTF8_CONTROL_SHARE: usize = 10;

/// The same for other encodings, which hardly a byte is invalid in: only the control characters tell noise.
const LEGACY_CONTROL_SHARE: usize = 200;

/// So many characters outside ASCII for one that can not be decoded, or has no place in a text.
const GOOD_PER_BAD: usize = 10;

/// A text, and what was replaced in it.
pub(in crate::sample) struct Decoded<'a> {
    pub(in crate::sample) text: Cow<'a, str>,
    /// The encoding's name.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "only tests compare it; the text is what is learned from")
    )]
    pub(in crate::sample) encoding: &'static str,
    /// Line, and what was wrong in it.
    pub(in crate::sample) faults: Vec<(u64, String)>,
    pub(in crate::sample) faults_total: u64,
}

impl<'a> Decoded<'a> {
    fn clean(text: Cow<'a, str>, encoding: &'static str) -> Self {
        Self {
            text,
            encoding,
            faults: Vec::new(),
            faults_total: 0,
        }
    }

    /// A text whose replacement characters are its faults.
    fn repaired(text: String, encoding: &'static str) -> Self {
        let mut decoded = Self::clean(Cow::Borrowed(""), encoding);
        let mut line = 1;
        for c in text.chars() {
            line += u64::from(c == '\n');
            if c == char::REPLACEMENT_CHARACTER {
                decoded.faults_total += 1;
                if decoded.faults.len() < FAULTS_KEPT_MAX {
                    decoded.faults.push((
                        line,
                        format!("line {line} holds bytes that are no {encoding}; replaced"),
                    ));
                }
            }
        }
        decoded.text = Cow::Owned(text);
        decoded
    }
}

/// Decodes a file.
pub(in crate::sample) fn decode(bytes: &[u8]) -> Result<Decoded<'_>, Rejection> {
    if let Some((units, order_mark)) = Units::by_mark(bytes) {
        let text = units.decode(bytes.get(order_mark..).unwrap_or_default());
        let replaced = text.chars().filter(|&c| c == char::REPLACEMENT_CHARACTER).count();
        if replaced * 2 * GOOD_PER_BAD > text.chars().count() {
            return Err(not_text(format!(
                "a {} byte order mark, but no text after it",
                units.name()
            )));
        }
        check_text(&text, UTF8_CONTROL_SHARE)?;
        return Ok(Decoded::repaired(text, units.name()));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Some(units) = wide::without_mark(bytes) {
        return Ok(Decoded::clean(Cow::Owned(units.decode(bytes)), units.name()));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        check_text(text, UTF8_CONTROL_SHARE)?;
        // Seven-bit Japanese looks like ASCII.
        if text.is_ascii() && (text.contains("\x1b$B") || text.contains("\x1b$@")) {
            let japanese = encoding_rs::ISO_2022_JP.decode_without_bom_handling_and_without_replacement(bytes);
            if let Some(text) = japanese {
                return Ok(Decoded::clean(text, "ISO-2022-JP"));
            }
        }
        return Ok(Decoded::clean(Cow::Borrowed(text), "UTF-8"));
    }
    if bytes.contains(&0) {
        return Err(not_text("it holds NUL bytes"));
    }
    if is_damaged_utf8(bytes) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        check_text(&text, UTF8_CONTROL_SHARE)?;
        return Ok(Decoded::repaired(text, "UTF-8"));
    }
    legacy(bytes)
}

/// Whether most of the characters outside ASCII are UTF-8. In no other encoding are several so by chance.
fn is_damaged_utf8(bytes: &[u8]) -> bool {
    let (mut good, mut bad) = (0_usize, 0_usize);
    for chunk in bytes.utf8_chunks() {
        good += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        bad += usize::from(!chunk.invalid().is_empty());
    }
    good >= bad * GOOD_PER_BAD
}

/// Encodings from before Unicode.
fn legacy(bytes: &[u8]) -> Result<Decoded<'_>, Rejection> {
    let controls = bytes
        .iter()
        .filter(|&&byte| is_odd_control(char::from(byte)) && byte < 0x80)
        .count();
    if controls * LEGACY_CONTROL_SHARE > bytes.len() {
        return Err(not_text("it holds control characters as no text does"));
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    let is_whole = bytes.len() <= DETECT_BYTES_MAX;
    detector.feed(bytes.get(..DETECT_BYTES_MAX).unwrap_or(bytes), is_whole);
    let mut encoding = detector.guess(None, Utf8Detection::Deny);
    if encoding == GBK {
        encoding = GB18030;
    }
    let refused = |why: &str| Err(not_text(format!("its encoding can not be told: {why}")));
    let text = match strict(bytes, encoding) {
        Some(text) => text,
        None => {
            let (text, _) = encoding.decode_without_bom_handling(bytes);
            let replaced = text.chars().filter(|&c| c == char::REPLACEMENT_CHARACTER).count();
            let beyond_ascii = text.chars().filter(|c| !c.is_ascii()).count();
            if replaced * GOOD_PER_BAD > beyond_ascii {
                return refused(&format!(
                    "most like {}, but {replaced} characters do not fit",
                    encoding.name()
                ));
            }
            text
        }
    };
    if !is_plausible(&text) {
        return refused(&format!(
            "most like {}, but what that reads is no text",
            encoding.name()
        ));
    }
    Ok(Decoded::repaired(text.into_owned(), encoding.name()))
}

/// The text, where each byte fits; a last character that was cut off is left out.
fn strict<'a>(bytes: &'a [u8], encoding: &'static Encoding) -> Option<Cow<'a, str>> {
    let cut_max = if encoding.is_single_byte() { 0 } else { 3 };
    (0..=cut_max).find_map(|cut| {
        let whole = bytes.get(..bytes.len().checked_sub(cut)?)?;
        encoding.decode_without_bom_handling_and_without_replacement(whole)
    })
}

/// Whether the characters outside ASCII are those of a text: letters and the marks between them, in few scripts.
fn is_plausible(text: &str) -> bool {
    let (mut letters, mut marks, mut odd, mut changes) = (0_usize, 0_usize, 0_usize, 0_usize);
    let mut before = None;
    for c in text.chars() {
        let script = script(c);
        // A letter beside one of another script: words of a text that was read wrongly are full of them.
        changes += usize::from(matches!((before, script), (Some(a), Some(b)) if a != b && (!c.is_ascii() || a != 0)));
        before = script;
        match c {
            _ if c.is_ascii() => {}
            '\u{80}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' => return false,
            _ if c.is_alphabetic() => letters += 1,
            '\u{a0}'
            | '\u{a1}'
            | '\u{a3}'
            | '\u{a7}'
            | '\u{a9}'
            | '\u{ab}'
            | '\u{ad}'
            | '\u{ae}'
            | '\u{b0}'
            | '\u{b7}'
            | '\u{bb}'..='\u{bf}'
            | '\u{300}'..='\u{36f}'
            | '\u{5b0}'..='\u{5c7}'
            | '\u{60c}'
            | '\u{61b}'
            | '\u{61f}'
            | '\u{64b}'..='\u{652}'
            | '\u{e30}'..='\u{e4e}'
            | '\u{2000}'..='\u{206f}'
            | '\u{20ac}'
            | '\u{2116}'
            | '\u{2122}'
            | '\u{2190}'..='\u{25ff}'
            | '\u{3000}'..='\u{303f}'
            | '\u{ff00}'..='\u{ffef}' => marks += 1,
            _ => odd += 1,
        }
    }
    let beyond_ascii = letters + marks + odd;
    odd * GOOD_PER_BAD <= beyond_ascii && changes * GOOD_PER_BAD <= letters.max(GOOD_PER_BAD)
}

/// The script of a letter, as far as mixing it within words tells a wrong encoding.
fn script(c: char) -> Option<u8> {
    match c {
        'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' if c.is_alphabetic() => Some(0),
        '\u{370}'..='\u{3ff}' => Some(1),
        '\u{400}'..='\u{52f}' => Some(2),
        '\u{590}'..='\u{5ff}' => Some(3),
        '\u{600}'..='\u{6ff}' => Some(4),
        '\u{e00}'..='\u{e7f}' => Some(5),
        _ => None,
    }
}

fn check_text(text: &str, control_share: usize) -> Result<(), Rejection> {
    if text.contains('\0') {
        return Err(not_text("it holds NUL bytes"));
    }
    let controls = text.chars().filter(|&c| is_odd_control(c)).count();
    if controls * control_share > text.len() {
        return Err(not_text("it holds control characters as no text does"));
    }
    Ok(())
}

/// Control characters that are neither white space nor the escape of a terminal's colours.
pub(in crate::sample) fn is_odd_control(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1b}' | '\u{85}')
}

fn not_text(why: impl Into<String>) -> Rejection {
    Rejection::new(Reason::UnsupportedType, format!("not text: {}", why.into()))
}
