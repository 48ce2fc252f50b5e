//! PNG, WebP, GIF, BMP and TIFF, by the decoders of the `image` crate.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, Rgb, RgbImage};

use super::format::Format;
use super::{Header, Picture, webp};
use crate::sample::{Reason, Rejection};

/// What the header says; no pixel is decoded.
pub(super) fn probe(bytes: &[u8], format: Format) -> Result<Header, Rejection> {
    let decoder = open(bytes, format)?;
    let (width, height) = decoder.dimensions();
    if format == Format::WebP && !webp::sizes_agree(bytes, (width, height)) {
        return Err(Rejection::new(
            Reason::Corrupt,
            "the WebP says another size than the picture in it",
        ));
    }
    let pixels = u64::from(width) * u64::from(height);
    // The decoder's own output, then the RGB made from it; between them some decoders' working copy of a frame, or
    // the 8-bit picture whose transparency is removed.
    let working = match format {
        Format::WebP | Format::Gif => pixels.saturating_mul(4),
        _ if decoder.color_type().has_alpha() => pixels.saturating_mul(4),
        _ => 0,
    };
    let peak_bytes = decoder
        .total_bytes()
        .saturating_add(pixels.saturating_mul(3))
        .saturating_add(working);
    Ok(Header {
        format,
        width,
        height,
        peak_bytes,
    })
}

/// The whole picture. The header has been found within the limits.
pub(super) fn decode(bytes: &[u8], header: &Header) -> Result<Picture, Rejection> {
    let format = header.format;
    let mut decoder = open(bytes, format)?;
    if format == Format::Gif {
        // A frame that is not the whole picture is unpacked on its own, and may say that it is larger than the picture.
        let mut limits = image::Limits::no_limits();
        limits.max_alloc = Some(u64::from(header.width) * u64::from(header.height) * 4);
        decoder.set_limits(limits).map_err(|error| rejected(format, &error))?;
    }
    // Metadata that can not be read is no reason to refuse the picture.
    let orientation = match format {
        Format::WebP => webp::orientation(bytes),
        _ => decoder.orientation().ok(),
    };
    let picture = DynamicImage::from_decoder(decoder).map_err(|error| rejected(format, &error))?;
    let pixels = over_white(picture);
    Ok(Picture {
        extent: (pixels.width().into(), pixels.height().into()),
        pixels,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
    })
}

fn open(bytes: &[u8], format: Format) -> Result<Box<dyn ImageDecoder + '_>, Rejection> {
    let file = Cursor::new(bytes);
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(crate::limits::DECODE_BYTES_MAX);
    let mut metadata = image::Limits::no_limits();
    metadata.max_alloc = Some(crate::limits::METADATA_BYTES_MAX);
    let opened: Result<Box<dyn ImageDecoder>, ImageError> = match format {
        // Of this decoder the limit given here is that of its metadata, which is unpacked before any size is known.
        Format::Png => image::codecs::png::PngDecoder::with_limits(file, metadata).map(|d| Box::new(d) as _),
        Format::WebP => image::codecs::webp::WebPDecoder::new(file).map(|d| Box::new(d) as _),
        Format::Gif => image::codecs::gif::GifDecoder::new(file).map(|d| Box::new(d) as _),
        Format::Bmp => image::codecs::bmp::BmpDecoder::new(file).map(|d| Box::new(d) as _),
        Format::Tiff => image::codecs::tiff::TiffDecoder::new(file).map(|d| Box::new(d) as _),
        Format::Jpeg => unreachable!("JPEG has a decoder of its own"),
    };
    let mut decoder = opened.map_err(|error| rejected(format, &error))?;
    // Dimensions are judged by the caller, who can say which limit was passed; here only memory is bounded.
    decoder.set_limits(limits).map_err(|error| rejected(format, &error))?;
    Ok(decoder)
}

/// Transparency shows white, as paper does; 16 bits are scaled to 8.
fn over_white(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let picture = picture.into_rgba8();
    let blend = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        // At most 255 * 255 + 127, so the quotient fits.
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let mut pixels = RgbImage::new(picture.width(), picture.height());
    for (to, from) in pixels.pixels_mut().zip(picture.pixels()) {
        let [r, g, b, a] = from.0;
        *to = Rgb([blend(r, a), blend(g, a), blend(b, a)]);
    }
    pixels
}

fn rejected(format: Format, error: &ImageError) -> Rejection {
    let reason = match error {
        ImageError::Limits(_) => Reason::Limits,
        ImageError::Unsupported(_) => Reason::UnsupportedType,
        _ if ends_early(error) => Reason::Truncated,
        _ => Reason::Corrupt,
    };
    Rejection::new(reason, format!("the {format} can not be decoded: {error}"))
}

/// Whether the decoder ran out of bytes, by itself or somewhere below.
fn ends_early(error: &ImageError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::UnexpectedEof) {
            return true;
        }
        cause = error.source();
    }
    false
}
