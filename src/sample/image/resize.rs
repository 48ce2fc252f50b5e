//! Resizing as PIL's antialiased bilinear filter does it, and the sizes and cuts of torchvision's transforms, so that
//! the picture the encoder sees here is the picture it sees in Python.

use fast_image_resize as fir;
use image::RgbImage;

use crate::sample::ImageTile;

/// The picture in exactly this size, as PIL's `resize((width, height), BILINEAR)`.
pub fn resize_bilinear(tile: &ImageTile, width: u32, height: u32) -> ImageTile {
    let pixels = to_pixels(tile);
    to_tile(resize(&pixels, whole(&pixels), width.max(1), height.max(1)))
}

/// The picture as the published encoder sees it, `px` x `px`: timm's evaluation transform with bilinear
/// interpolation and `crop_pct` 1. The shorter side becomes `px`, enlarged where it is smaller; the centre is cut out.
pub fn eval_view(tile: &ImageTile, px: u32) -> ImageTile {
    let pixels = to_pixels(tile);
    let (width, height) = shorter_side_to(pixels.width(), pixels.height(), px);
    to_tile(crop_centre(&resize(&pixels, whole(&pixels), width, height), px, px))
}

/// The size whose shorter side is `px` and whose aspect is kept, rounded down as torchvision's `Resize` does.
pub(super) fn shorter_side_to(width: u32, height: u32, px: u32) -> (u32, u32) {
    let (short, long) = (width.min(height).max(1), width.max(height));
    // A side of a picture fits 32 bits; `px` is far smaller than `short` wherever `long` is large.
    let long = (u64::from(px) * u64::from(long) / u64::from(short)).clamp(1, u64::from(u32::MAX)) as u32;
    if width <= height { (px, long) } else { (long, px) }
}

/// All of a picture, as an extent.
fn whole(pixels: &RgbImage) -> (f64, f64) {
    (pixels.width().into(), pixels.height().into())
}

/// Convolution with a triangle as wide as the reduction, in two passes of 8-bit pixels. Of the source the part from
/// its top left corner to `extent` is taken, which need not be a whole number of pixels.
pub(super) fn resize(pixels: &RgbImage, extent: (f64, f64), width: u32, height: u32) -> RgbImage {
    if pixels.dimensions() == (width, height) && extent == whole(pixels) {
        return pixels.clone();
    }
    let mut resized = RgbImage::new(width, height);
    let options = fir::ResizeOptions::new()
        .resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::Bilinear))
        .crop(0.0, 0.0, extent.0, extent.1)
        .use_alpha(false);
    let source = fir::images::ImageRef::new(pixels.width(), pixels.height(), pixels.as_raw(), fir::PixelType::U8x3);
    let target = fir::images::Image::from_slice_u8(width, height, &mut resized, fir::PixelType::U8x3);
    let (Ok(source), Ok(mut target)) = (source, target) else {
        unreachable!("an RgbImage holds three bytes for each pixel");
    };
    if let Err(error) = fir::Resizer::new().resize(&source, &mut target, &options) {
        unreachable!("both pictures are 8-bit RGB: {error}");
    }
    drop(target);
    resized
}

/// The centre of this size, where torchvision's `CenterCrop` cuts it: an offset of a half is rounded to even.
pub(super) fn crop_centre(pixels: &RgbImage, width: u32, height: u32) -> RgbImage {
    if pixels.dimensions() == (width, height) {
        return pixels.clone();
    }
    let offset = |whole: u32, part: u32| {
        let rest = whole.saturating_sub(part);
        let half = rest / 2;
        half + (rest % 2) * (half % 2)
    };
    let (left, top) = (offset(pixels.width(), width), offset(pixels.height(), height));
    image::imageops::crop_imm(pixels, left, top, width, height).to_image()
}

fn to_pixels(tile: &ImageTile) -> RgbImage {
    match RgbImage::from_raw(tile.width.into(), tile.height.into(), tile.rgb.clone()) {
        Some(pixels) => pixels,
        None => unreachable!("a tile holds three bytes for each pixel"),
    }
}

fn to_tile(pixels: RgbImage) -> ImageTile {
    // Asked-for sizes come from settings that are far below 65,536.
    let side = |px: u32| u16::try_from(px).unwrap_or(u16::MAX);
    ImageTile {
        width: side(pixels.width()),
        height: side(pixels.height()),
        rgb: pixels.into_raw(),
    }
}
