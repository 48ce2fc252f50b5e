//! What decoding a picture promises about any bytes; compiled for fuzzers and tests alone.

use super::{Format, ImageLimits, decode, jpeg, probe};
use crate::sample::Content;

/// Small, so that a fuzzer gets far; bounds of memory are tested against them.
const LIMITS: ImageLimits = ImageLimits {
    pixels_max: 1 << 18,
    side_px_max: 4_096,
};

/// The shorter side of tiles.
const IMAGE_PX: u32 = 24;

/// A file of this format: its verdict is the same each time, its tile is of the size that the header promises.
pub fn picture(bytes: &[u8], format: Format) {
    if Format::of(bytes) != Ok(format) {
        return;
    }
    let header = probe(bytes, &LIMITS);
    let decoded = decode(bytes, &LIMITS, IMAGE_PX);
    assert_eq!(decoded, decode(bytes, &LIMITS, IMAGE_PX), "two readings differ");
    let header = match header {
        Ok(header) => header,
        Err(rejection) => {
            assert_eq!(decoded, Err(rejection));
            return;
        }
    };
    let (width, height) = (u64::from(header.width), u64::from(header.height));
    assert!(header.format == format && width * height <= LIMITS.pixels_max);
    assert!(width.max(height) <= u64::from(LIMITS.side_px_max));
    match decoded {
        Err(rejection) => assert!(!rejection.detail.is_empty(), "{rejection:?} says nothing"),
        Ok(tile) => {
            let short = u32::from(tile.width.min(tile.height));
            assert_eq!(short, header.width.min(header.height).min(IMAGE_PX), "of {header:?}");
            assert!(u32::from(tile.width.max(tile.height)) <= 2 * short, "of {header:?}");
            let content = Content::Image(tile);
            assert_eq!(Content::decode(&content.encode()), Ok(content));
        }
    }
}

/// A JPEG at a quarter or an eighth of its size, as the first byte says, however small it is.
pub fn reduced(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let reduction = if first % 2 == 0 { 8 } else { 4 };
    if Format::of(bytes) != Ok(Format::Jpeg) {
        return;
    }
    let Ok(header) = probe(bytes, &LIMITS) else { return };
    let pixels = jpeg::decode_reduced(bytes, &header, reduction);
    assert_eq!(
        pixels,
        jpeg::decode_reduced(bytes, &header, reduction),
        "two readings differ"
    );
    if let Some(pixels) = pixels {
        let part = |side: u32| side.div_ceil(reduction);
        assert_eq!(pixels.dimensions(), (part(header.width), part(header.height)));
    }
}
