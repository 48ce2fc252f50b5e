//! Photos cut into pictures: what the demo drops into the inbox, and what it keeps back to ask about.
//! Invariant: no pixel of a kept-back crop is in a dropped one: they are cut from different strips of the photo.

use std::fs;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use crate::rng::{self, Rng};
use crate::sample::ImageTile;
use crate::sample::image::{ImageLimits, decode};

/// Pixels of a crop's side, where the photo is large enough for it.
const CROP_PX: usize = 96;
/// The share of a photo's longer side, at its end, that held-out crops are cut from.
const HELD_OUT_SHARE: f64 = 0.25;
/// A photo is read at this many pixels of its shorter side at most.
const PHOTO_PX: u32 = 1_024;
/// The largest photo that is read.
const LIMITS: ImageLimits = ImageLimits {
    pixels_max: 200_000_000,
    side_px_max: 65_535,
};

/// A photo, read and ready to be cut.
pub(super) struct Photo {
    /// Its file's name without the ending, made unique: the folder of its crops, and the label nobody shows the daemon.
    pub name: String,
    tile: ImageTile,
    side: usize,
}

impl Photo {
    /// The photos below a folder, in the order of their paths, at most `most` of them (evenly chosen). Files that are
    /// no pictures are passed over and counted.
    pub(super) fn read_all(folder: &Path, most: usize) -> io::Result<(Vec<Photo>, usize)> {
        let mut files = Vec::new();
        list(folder, &mut files)?;
        files.sort();
        let step = files.len().div_ceil(most.max(1)).max(1);
        let (mut photos, mut passed_over) = (Vec::<Photo>::new(), 0);
        for path in files.iter().step_by(step) {
            let Ok(tile) = decode(&fs::read(path)?, &LIMITS, PHOTO_PX) else {
                passed_over += 1;
                continue;
            };
            // Both strips must hold a crop with room to move.
            let shorter = usize::from(tile.width.min(tile.height));
            let longer = usize::from(tile.width.max(tile.height));
            let side = CROP_PX
                .min(shorter * 2 / 3)
                .min((longer as f64 * HELD_OUT_SHARE) as usize);
            if side < 24 {
                passed_over += 1;
                continue;
            }
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().replace('/', "_");
            let taken = |name: &str| photos.iter().any(|photo| photo.name == name);
            let name = if taken(&stem) {
                format!("{stem}-{}", photos.len())
            } else {
                stem
            };
            photos.push(Photo { name, tile, side });
        }
        Ok((photos, passed_over))
    }

    /// A crop of the part that is dropped.
    pub(super) fn crop(&self, rng: &mut Rng) -> ImageTile {
        self.cut(rng, 0.0, 1.0 - HELD_OUT_SHARE)
    }

    /// A crop of the part that is kept back.
    pub(super) fn held_out_crop(&self, rng: &mut Rng) -> ImageTile {
        self.cut(rng, 1.0 - HELD_OUT_SHARE, 1.0)
    }

    /// A crop from the strip between two shares of the longer side.
    fn cut(&self, rng: &mut Rng, from: f64, to: f64) -> ImageTile {
        let (width, height) = (usize::from(self.tile.width), usize::from(self.tile.height));
        let longer = width.max(height);
        let (start, end) = (
            (longer as f64 * from).ceil() as usize,
            (longer as f64 * to).floor() as usize,
        );
        let along = start + rng::below(rng, (end - start - self.side.min(end - start)) + 1);
        let across = rng::below(rng, width.min(height) - self.side + 1);
        let (x, y) = if width >= height {
            (along, across)
        } else {
            (across, along)
        };
        let side = self.side.min(end - start);
        let mut rgb = Vec::with_capacity(side * side * 3);
        for row in y..y + side {
            let first = (row * width + x) * 3;
            rgb.extend_from_slice(&self.tile.rgb[first..first + side * 3]);
        }
        ImageTile {
            width: side as u16,
            height: side as u16,
            rgb,
        }
    }
}

/// A picture's bytes as a PNG file.
pub(super) fn png(tile: &ImageTile) -> io::Result<Vec<u8>> {
    use image::ImageEncoder;
    let mut bytes = Cursor::new(Vec::new());
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(
            &tile.rgb,
            tile.width.into(),
            tile.height.into(),
            image::ExtendedColorType::Rgb8,
        )
        .map_err(io::Error::other)?;
    Ok(bytes.into_inner())
}

/// The regular files below a folder. Links are not followed; names that begin with a dot are passed over.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A photo whose red and green are each pixel's place.
    fn photo(width: u16, height: u16) -> Photo {
        let rgb = (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| [x as u8, y as u8, 0]))
            .collect();
        Photo {
            name: "p".to_owned(),
            tile: ImageTile { width, height, rgb },
            side: 40,
        }
    }

    #[test]
    fn kept_back_crops_share_no_pixel_with_dropped_ones() {
        for (photo, channel) in [(photo(200, 100), 0), (photo(100, 200), 1)] {
            let mut rng = rng::for_step(1, 0, 0);
            for _ in 0..200 {
                assert!(photo.crop(&mut rng).rgb.chunks(3).all(|pixel| pixel[channel] < 150));
                assert!(
                    photo
                        .held_out_crop(&mut rng)
                        .rgb
                        .chunks(3)
                        .all(|pixel| pixel[channel] >= 150)
                );
            }
        }
    }

    #[test]
    fn a_crop_written_as_png_reads_back_the_same() {
        let crop = photo(200, 100).crop(&mut rng::for_step(1, 0, 0));
        assert_eq!(decode(&png(&crop).unwrap(), &LIMITS, 512).unwrap(), crop);
    }
}
