//! What kind of file these bytes are, told by their first bytes.

use std::fmt;
use std::path::Path;

use crate::sample::{Reason, Rejection};

/// A picture format that is learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JPEG: baseline or progressive.
    Jpeg,
    /// PNG; of an animated one the default picture.
    Png,
    /// WebP; of an animated one the first frame.
    WebP,
    /// GIF; the first frame.
    Gif,
    /// Windows bitmap.
    Bmp,
    /// TIFF; the first page.
    Tiff,
}

impl Format {
    /// The format of these bytes.
    ///
    /// # Errors
    /// Nothing in it, or no picture that is learned from; says what it is where that can be told.
    pub fn of(bytes: &[u8]) -> Result<Self, Rejection> {
        match bytes {
            [0xff, 0xd8, 0xff, ..] => Ok(Self::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok(Self::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Self::WebP),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Self::Gif),
            // Two letters are little to go by: the length of the second header must be one that exists.
            [
                b'B',
                b'M',
                _,
                _,
                _,
                _,
                0,
                0,
                0,
                0,
                _,
                _,
                _,
                _,
                12 | 40 | 52 | 56 | 64 | 108 | 124,
                0,
                0,
                0,
                ..,
            ] => Ok(Self::Bmp),
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Ok(Self::Tiff),
            _ => Err(not_a_picture(bytes)),
        }
    }

    /// Whether a file of this name claims to be one of these pictures.
    pub fn is_named_by(name: &Path) -> bool {
        let extension = name.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let known = [
            "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "dib", "tif", "tiff",
        ];
        known.iter().any(|k| extension.eq_ignore_ascii_case(k))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
        })
    }
}

/// Bytes looked at to tell what a file is that is no picture.
const SNIFF_BYTES: usize = 4_096;

fn not_a_picture(bytes: &[u8]) -> Rejection {
    let head = &bytes[..bytes.len().min(SNIFF_BYTES)];
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Rejection::new(Reason::EmptyFile, "the file holds nothing");
    }
    let contains = |needle: &[u8]| head.windows(needle.len()).any(|window| window == needle);
    let (reason, what) = match head {
        // Reading these can run code; they are told apart so that nobody asks to have them read.
        [0x80, 2..=5, ..] if bytes.ends_with(b".") => (Reason::UnsafeType, "a Python pickle"),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] if contains(b"'|O'") => {
            (Reason::UnsafeType, "a NumPy array of pickled objects")
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => (Reason::UnsupportedType, "a NumPy array"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'h' | b'm', ..] => (Reason::UnsupportedType, "a HEIC picture or a video"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', ..] => (Reason::UnsupportedType, "an AVIF picture"),
        [b'P', b'K', 3 | 5, _, ..] => (Reason::UnsupportedType, "a zip archive"),
        [0x1f, 0x8b, ..] => (Reason::UnsupportedType, "a gzip file"),
        [b'%', b'P', b'D', b'F', ..] => (Reason::UnsupportedType, "a PDF"),
        [b'P', b'A', b'R', b'1', ..] => (Reason::UnsupportedType, "a Parquet table"),
        [b'R', b'I', b'F', b'F', ..] => (Reason::UnsupportedType, "a RIFF file such as WAV"),
        _ if contains(b"<svg") => (Reason::UnsupportedType, "an SVG drawing"),
        _ if contains(b"<html") || contains(b"<!DOCTYPE html") => (Reason::UnsupportedType, "an HTML page"),
        _ if std::str::from_utf8(head).is_ok_and(|t| !t.contains('\0')) => (Reason::UnsupportedType, "text"),
        _ => (Reason::UnsupportedType, "of no known type"),
    };
    Rejection::new(reason, format!("the content is {what}, not a picture"))
}
