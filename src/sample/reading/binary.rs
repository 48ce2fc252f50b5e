//! Files that are no text, told by their first bytes.
//! Always true: a file that some program would run on opening is unsafe, whatever else it is.

use crate::sample::{Reason, Rejection};

/// First bytes, and what they begin.
const SIGNATURES: [(&[u8], &str); 39] = [
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"{\\rtf", "an RTF document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF87a", "a GIF picture"),
    (b"GIF89a", "a GIF picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"8BPS", "a Photoshop picture"),
    (b"RIFF", "a RIFF file: sound, video or a WebP picture"),
    (b"OggS", "an Ogg file"),
    (b"fLaC", "a FLAC sound"),
    (b"ID3", "an MP3 sound"),
    (b"\x1aE\xdf\xa3", "a Matroska video"),
    (b"\x7fELF", "an ELF program"),
    (b"MZ\x90\0", "a Windows program"),
    (b"\xca\xfe\xba\xbe", "a Java class or a macOS program"),
    (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"\0asm", "a WebAssembly program"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"\x04\x22\x4d\x18", "an LZ4 archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"ARROW1", "an Arrow file"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"wOFF", "a font"),
    (b"wOF2", "a font"),
    (b"\0\x01\0\0\0", "a font"),
    (b"glTF", "a 3D model"),
    (b"GGUF", "a model's weights"),
];

/// Names that promise something else than text: most often text under them is a saved error page.
pub(in crate::sample) const NAMES_OF_NO_TEXT: [&str; 25] = [
    "jpg", "jpeg", "png", "gif", "webp", "bmp", "tif", "tiff", "heic", "avif", "ico", "pdf", "doc", "docx", "xls",
    "xlsx", "ppt", "pptx", "odt", "zip", "parquet", "gz", "mp3", "mp4", "wav",
];

/// Signatures that are also the beginning of words: what follows must not be text.
const WORDS: [&[u8]; 8] = [b"RIFF", b"OggS", b"ID3", b"BZh", b"ORC", b"8BPS", b"glTF", b"ARROW1"];

/// Bytes, or characters, in which the members of an archive or the element of a picture are looked for.
const HEAD_BYTES: usize = 4 << 10;

/// Refuses bytes that are known to be no text, where `wanted` is.
pub(in crate::sample) fn refuse(bytes: &[u8], wanted: &str) -> Result<(), Rejection> {
    let refused = |what: &str| Err(Rejection::new(Reason::UnsupportedType, format!("{what}, not {wanted}")));
    if is_pickle(bytes) {
        return Err(Rejection::new(
            Reason::UnsafeType,
            "a pickle: reading it could run code",
        ));
    }
    if bytes.starts_with(b"PK\x03\x04") {
        let head = bytes.get(..HEAD_BYTES).unwrap_or(bytes);
        if contains(head, b"data.pkl") {
            let detail = "a PyTorch archive with a pickle: reading it could run code";
            return Err(Rejection::new(Reason::UnsafeType, detail));
        }
        let is_office = contains(head, b"[Content_Types].xml") || contains(head, b"mimetypeapplication/");
        return refused(if is_office {
            "an office document"
        } else {
            "a zip archive"
        });
    }
    if let Some((signature, what)) = SIGNATURES.iter().find(|(signature, _)| bytes.starts_with(signature)) {
        let is_word = WORDS.contains(signature) && !bytes.iter().take(64).any(|byte| *byte < 9 || *byte > 0x7e);
        if !is_word {
            let header = bytes.get(..HEAD_BYTES).unwrap_or(bytes);
            if *what == "a NumPy array" && contains(header, b"|O") {
                let detail = "a NumPy array of objects, a pickle: reading it could run code";
                return Err(Rejection::new(Reason::UnsafeType, detail));
            }
            return refused(what);
        }
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return refused("an MP4, HEIC or AVIF file");
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return refused("a tar archive");
    }
    if bytes.starts_with(b"BM") && bytes.get(6..10) == Some(&[0; 4]) {
        return refused("a BMP picture");
    }
    Ok(())
}

/// Refuses text that is code of something else: a picture in SVG, or a pickle of protocol 0, which is ASCII.
pub(in crate::sample) fn refuse_text(text: &str, wanted: &str) -> Result<(), Rejection> {
    let head: String = text.trim_start().chars().take(HEAD_BYTES).collect();
    let is_markup = head.starts_with("<?xml") || head.starts_with("<!DOCTYPE svg") || head.starts_with("<!--");
    if head.starts_with("<svg") || (is_markup && head.contains("<svg")) {
        return Err(Rejection::new(
            Reason::UnsupportedType,
            format!("an SVG picture, not {wanted}"),
        ));
    }
    let is_ascii_pickle = [
        "(dp0\n",
        "(lp0\n",
        "(dp1\n",
        "(lp1\n",
        "ccopy_reg\n",
        "c__builtin__\n",
        "cos\nsystem\n",
    ]
    .iter()
    .any(|opening| text.starts_with(opening));
    if is_ascii_pickle && text.trim_end().ends_with('.') {
        return Err(Rejection::new(
            Reason::UnsafeType,
            "a pickle: reading it could run code",
        ));
    }
    Ok(())
}

/// Protocol 2 and later open with their number, and a pickle's last operation is a full stop.
fn is_pickle(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80, 2..=5, .., b'.'])
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
