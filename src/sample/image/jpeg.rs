//! JPEG: baseline and progressive, grey, YCbCr, RGB, CMYK and YCCK.
//!
//! Photos far larger than the tile are decoded at a part of their size where they are of the plain kind; everything
//! else, and every verdict, is the full decoder's.

mod bits;
mod component;
mod reduced;
mod transform;

use image::RgbImage;
use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::format::Format;
use super::{Header, Picture};
use crate::sample::{Reason, Rejection};

type Decoder<'a> = JpegDecoder<ZCursor<&'a [u8]>>;

/// What the header says; no pixel is decoded.
pub(super) fn probe(bytes: &[u8]) -> Result<Header, Rejection> {
    let mut decoder = open(bytes, false);
    decoder.decode_headers().map_err(|error| rejected(bytes, &error))?;
    let Some((width, height)) = decoder.dimensions() else {
        return Err(Rejection::new(Reason::Corrupt, "the JPEG says no size"));
    };
    let pixels = (width * height) as u64;
    // RGB, and for a progressive picture the 16-bit coefficients of up to four components; which it is can not
    // be asked, so the larger is taken.
    Ok(Header {
        format: Format::Jpeg,
        width: width as u32,
        height: height as u32,
        peak_bytes: pixels * 11,
    })
}

/// Pixels from which a photo is large: a smaller one is decoded in full within milliseconds, and stays exact.
const LARGE_PIXELS: u64 = 1 << 20;

/// The whole picture. The header has been found within the limits.
pub(super) fn decode(bytes: &[u8], header: &Header, image_px: u32) -> Result<Picture, Rejection> {
    if let Some(reduction) = reduction(header, image_px)
        && let Some(pixels) = reduced::decode(bytes, (header.width, header.height), reduction)
    {
        let part = |side: u32| f64::from(side) / f64::from(reduction);
        return Ok(Picture {
            extent: (part(header.width), part(header.height)),
            pixels,
            orientation: orientation(bytes),
        });
    }
    let pixels = decode_in_full(bytes, header)?;
    Ok(Picture {
        extent: (header.width.into(), header.height.into()),
        pixels,
        orientation: orientation(bytes),
    })
}

/// By how much a photo may be reduced while it is decoded: a quarter or an eighth that is no smaller than the tile.
fn reduction(header: &Header, image_px: u32) -> Option<u32> {
    let is_large = u64::from(header.width) * u64::from(header.height) >= LARGE_PIXELS;
    let short = header.width.min(header.height);
    [8, 4].into_iter().find(|by| is_large && short / by >= image_px)
}

/// The picture at a part of its size, however small it is.
#[cfg(any(test, fuzzing))]
pub(super) fn decode_reduced(bytes: &[u8], header: &Header, reduction: u32) -> Option<RgbImage> {
    reduced::decode(bytes, (header.width, header.height), reduction)
}

fn decode_in_full(bytes: &[u8], header: &Header) -> Result<RgbImage, Rejection> {
    // Strictly first, for only so a cut or damaged scan is told from a whole one.
    let mut decoded = open(bytes, true).decode();
    if matches!(&decoded, Err(DecodeErrors::FormatStatic(why)) if why.contains("Extra bytes between headers")) {
        decoded = open(bytes, false).decode();
        // The lenient decoder fills what is missing with grey.
        if decoded.is_ok() && !has_end(bytes) {
            return Err(Rejection::new(Reason::Truncated, "the JPEG ends before its end marker"));
        }
    }
    let rgb = decoded.map_err(|error| rejected(bytes, &error))?;
    RgbImage::from_raw(header.width, header.height, rgb)
        .ok_or_else(|| Rejection::new(Reason::Corrupt, "the JPEG's size and its pixels disagree"))
}

/// What the picture's EXIF says about its orientation; nothing, or nonsense, is upright.
fn orientation(bytes: &[u8]) -> Orientation {
    let mut decoder = open(bytes, false);
    let is_read = decoder.decode_headers().is_ok();
    let exif = decoder.exif().filter(|_| is_read);
    exif.and_then(|exif| Orientation::from_exif_chunk(exif))
        .unwrap_or(Orientation::NoTransforms)
}

fn open(bytes: &[u8], strict: bool) -> Decoder<'_> {
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_strict_mode(strict)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    JpegDecoder::new_with_options(ZCursor::new(bytes), options)
}

/// The marker that ends a JPEG.
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

/// The marker that begins a scan.
const START_OF_SCAN: [u8; 2] = [0xff, 0xda];

/// Whether the picture's end is there: after its last scan, for a preview in its metadata has an end of its own.
fn has_end(bytes: &[u8]) -> bool {
    let scan = bytes.windows(2).rposition(|pair| pair == START_OF_SCAN).unwrap_or(0);
    bytes[scan..].windows(2).any(|pair| pair == END_OF_IMAGE)
}

fn rejected(bytes: &[u8], error: &DecodeErrors) -> Rejection {
    let reason = match error {
        DecodeErrors::Unsupported(_) => Reason::UnsupportedType,
        _ if has_end(bytes) => Reason::Corrupt,
        _ => Reason::Truncated,
    };
    Rejection::new(reason, format!("the JPEG can not be decoded: {error}"))
}
