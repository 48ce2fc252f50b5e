//! Pictures: the bytes of a file -> an upright RGB tile of at most the stream's size.
//! Always true: no pixel is allocated before the header's size is within the limits, and a file's type is told by
//! its content, never by its name.

mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod jpeg;
mod raster;
mod resize;
mod webp;

pub use format::Format;
pub use resize::{eval_view, resize_bilinear};

use ::image::RgbImage;
use ::image::metadata::Orientation;

use parking_lot::{Mutex, MutexGuard};

use super::{ImageTile, Reason, Rejection};
use crate::limits::DECODE_SMALL_BYTES_MAX;

/// Held while a large file is read or a large picture decoded. Memory is the process's, and so is this lock.
static LARGE: Mutex<()> = Mutex::new(());

/// Waits until nothing else as large as these bytes is read or decoded anywhere in the process, and holds the turn.
/// Nothing where so few bytes need none.
pub fn turn(bytes: u64) -> Option<MutexGuard<'static, ()>> {
    (bytes > DECODE_SMALL_BYTES_MAX).then(|| LARGE.lock())
}

/// How large a picture may be; checked against its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLimits {
    /// Pixels of the picture.
    pub pixels_max: u64,
    /// Pixels of its longer side.
    pub side_px_max: u32,
}

/// What a picture's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The file format.
    pub format: Format,
    /// Pixels a row, as stored.
    pub width: u32,
    /// Rows, as stored.
    pub height: u32,
    /// Bytes that decoding needs at its peak, estimated; the file's own bytes are not counted.
    pub peak_bytes: u64,
}

/// A whole picture, as stored: not yet upright.
struct Picture {
    pixels: RgbImage,
    /// How many of the pixels, across and down, the picture covers: all, unless it was reduced while it was decoded
    /// and its sides are no multiples of the reduction.
    extent: (f64, f64),
    orientation: Orientation,
}

/// A file's share of its decoded size below which a picture that is over the limits is called a bomb.
const BOMB_RATIO: u64 = 100;

/// The longer side of a kept picture is at most this many times the shorter one.
const ASPECT_MAX: u32 = 2;

/// Reads a picture's header. Costs no more memory than the file itself.
///
/// # Errors
/// Bytes that are no picture, or a picture over the limits.
pub fn probe(bytes: &[u8], limits: &ImageLimits) -> Result<Header, Rejection> {
    let format = Format::of(bytes)?;
    let header = match format {
        Format::Jpeg => jpeg::probe(bytes)?,
        _ => raster::probe(bytes, format)?,
    };
    let (width, height) = (u64::from(header.width), u64::from(header.height));
    if width == 0 || height == 0 {
        return Err(Rejection::new(Reason::Corrupt, format!("the {format} has no pixels")));
    }
    let decoded_bytes = width * height * 3;
    let what = if width.max(height) > u64::from(limits.side_px_max) {
        Some(format!("limit is {} per side", limits.side_px_max))
    } else if width * height > limits.pixels_max {
        Some(format!("limit is {} pixels", limits.pixels_max))
    } else if header.peak_bytes > crate::limits::DECODE_BYTES_MAX {
        Some(format!("decoding it would take {} MiB", header.peak_bytes >> 20))
    } else {
        None
    };
    match what {
        None => Ok(header),
        Some(limit) => {
            let is_bomb = decoded_bytes / BOMB_RATIO > bytes.len() as u64;
            let reason = if is_bomb { Reason::Bomb } else { Reason::Limits };
            Err(Rejection::new(
                reason,
                format!("the {format} is {width} x {height} pixels, {limit}"),
            ))
        }
    }
}

/// Decodes a picture and makes it ready to keep: upright, 8-bit RGB, transparency over white, the shorter side
/// reduced to `image_px` as torchvision's `Resize` does (never enlarged), cut at the centre to at most 2:1.
///
/// # Errors
/// Bytes that are no whole picture within the limits.
pub fn decode(bytes: &[u8], limits: &ImageLimits, image_px: u32) -> Result<ImageTile, Rejection> {
    let header = probe(bytes, limits)?;
    let picture = match header.format {
        Format::Jpeg => jpeg::decode(bytes, &header, image_px)?,
        _ => raster::decode(bytes, &header)?,
    };
    let short = header.width.min(header.height);
    let (width, height) = resize::shorter_side_to(header.width, header.height, image_px.min(short));
    let small = resize::resize(&picture.pixels, picture.extent, width, height);
    let mut upright = ::image::DynamicImage::ImageRgb8(small);
    upright.apply_orientation(picture.orientation);
    let upright = upright.into_rgb8();
    let long_max = upright.width().min(upright.height()) * ASPECT_MAX;
    let kept = resize::crop_centre(&upright, upright.width().min(long_max), upright.height().min(long_max));
    tile(kept)
}

/// The tile of these pixels.
fn tile(pixels: RgbImage) -> Result<ImageTile, Rejection> {
    let side = |px: u32| {
        u16::try_from(px).map_err(|_| Rejection::new(Reason::Limits, format!("a side of {px} pixels can not be kept")))
    };
    Ok(ImageTile {
        width: side(pixels.width())?,
        height: side(pixels.height())?,
        rgb: pixels.into_raw(),
    })
}

#[cfg(test)]
mod tests;
