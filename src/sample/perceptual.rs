//! Perceptual hash: 64 bits that stay the same, but for a few, when a picture is compressed again, scaled, brightened or
//! cut a little at its edges. Pure.
//! Invariant: 32 of the 64 bits are set, so that no hash stands out; a picture without any contrast has none.
//!
//! The picture's luminance is averaged to 32 x 32, transformed by the cosine transform, and each of 64 low frequencies is
//! compared with their median (pHash, Zauner 2010, section 3.2.1). It was measured against the gradient hash (dHash):
//! docs/BENCHMARKS.md, "Near-duplicates". Mirrored and turned pictures have other hashes.

use std::f32::consts::PI;
use std::sync::LazyLock;

use super::{Content, ImageTile};

/// Pictures whose hashes differ in at most so many bits are taken for one: of the variants of `near_duplicates` 92 % are
/// within it (all that were not cropped), of 3,000 pictures of CIFAR-10 two pairs.
pub const NEAR_BITS: u32 = 6;

/// Pixels of a side that the picture is averaged to.
const SIDE: usize = 32;

/// Frequencies of each direction that count.
const FREQUENCIES: usize = 8;

/// Levels of 255 that the averaged picture must span: below are noise and rounding.
const CONTRAST_MIN: f32 = 4.0;

/// The hash of an encoded [`Content`]; `None` if it is none, or if nothing is to be seen on it.
pub fn of_encoded(content: &[u8]) -> Option<u64> {
    let Ok(Content::Image(tile)) = Content::decode(content) else {
        return None;
    };
    of(&tile)
}

/// The hash of a picture; `None` if nothing is to be seen on it.
pub fn of(tile: &ImageTile) -> Option<u64> {
    let small = average(tile);
    let range = small
        .iter()
        .flatten()
        .fold((f32::MAX, f32::MIN), |(least, most), level| {
            (least.min(*level), most.max(*level))
        });
    if range.1 - range.0 < CONTRAST_MIN {
        return None;
    }
    let transformed = transform(&small);
    // The mean brightness says nothing of what is to be seen; the next vertical frequency takes its place.
    let mut values = [0f32; 64];
    for (bit, value) in values.iter_mut().enumerate() {
        *value = match bit {
            0 => transformed[FREQUENCIES][0],
            _ => transformed[bit / FREQUENCIES][bit % FREQUENCIES],
        };
    }
    // By rank, not by value, so that exactly half are set even where some are equal.
    let mut order: [usize; 64] = std::array::from_fn(|bit| bit);
    order.sort_by(|one, other| values[*other].total_cmp(&values[*one]).then(one.cmp(other)));
    Some(order[..32].iter().fold(0, |hash, bit| hash | 1 << bit))
}

/// Luminance (Rec. 601), averaged over 32 x 32 equal fields: [rows][columns].
fn average(tile: &ImageTile) -> [[f32; SIDE]; SIDE] {
    let (width, height) = (usize::from(tile.width), usize::from(tile.height));
    let (columns, rows) = (spans(width), spans(height));
    let mut small = [[0f32; SIDE]; SIDE];
    let mut luminance = vec![0f32; width];
    for (y, row) in tile.rgb.chunks_exact(3 * width).enumerate() {
        for (level, pixel) in luminance.iter_mut().zip(row.chunks_exact(3)) {
            *level = 0.299 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2]);
        }
        let mut averaged = [0f32; SIDE];
        for (field, (from, to)) in averaged.iter_mut().zip(columns) {
            *field = overlaps(from, to)
                .map(|(x, share)| share * luminance[x.min(width - 1)])
                .sum::<f32>()
                / (to - from);
        }
        for (target, (from, to)) in small.iter_mut().zip(rows) {
            let share = (to.min(y as f32 + 1.0) - from.max(y as f32)).max(0.0) / (to - from);
            if share > 0.0 {
                target
                    .iter_mut()
                    .zip(averaged)
                    .for_each(|(level, add)| *level += share * add);
            }
        }
    }
    small
}

/// 32 equal parts of a length, from and to.
fn spans(length: usize) -> [(f32, f32); SIDE] {
    let at = |part: usize| (part * length) as f32 / SIDE as f32;
    std::array::from_fn(|part| (at(part), at(part + 1)))
}

/// The pixels that a span covers, and how much of each.
fn overlaps(from: f32, to: f32) -> impl Iterator<Item = (usize, f32)> {
    let pixels = from as usize..(to.ceil() as usize).max(from as usize + 1);
    pixels.map(move |x| (x, (to.min(x as f32 + 1.0) - from.max(x as f32)).max(0.0)))
}

/// The lowest frequencies of the cosine transform (DCT-II): [vertical 0 to 8][horizontal 0 to 7].
fn transform(small: &[[f32; SIDE]; SIDE]) -> [[f32; FREQUENCIES]; FREQUENCIES + 1] {
    static WAVES: LazyLock<[[f32; SIDE]; FREQUENCIES + 1]> = LazyLock::new(|| {
        let wave = |k: usize, x: usize| (PI * (2 * x + 1) as f32 * k as f32 / (2 * SIDE) as f32).cos();
        std::array::from_fn(|k| std::array::from_fn(|x| wave(k, x)))
    });
    let dot = |one: &[f32; SIDE], other: &[f32; SIDE]| -> f32 { one.iter().zip(other).map(|(a, b)| a * b).sum() };
    let rows: [[f32; FREQUENCIES]; SIDE] = std::array::from_fn(|y| std::array::from_fn(|k| dot(&small[y], &WAVES[k])));
    std::array::from_fn(|v| std::array::from_fn(|k| dot(&std::array::from_fn(|y| rows[y][k]), &WAVES[v])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u16, height: u16, level: impl Fn(f32, f32) -> f32) -> ImageTile {
        let pixel = |x: u16, y: u16| {
            let (x, y) = (
                (f32::from(x) + 0.5) / f32::from(width),
                (f32::from(y) + 0.5) / f32::from(height),
            );
            [level(x, y).clamp(0.0, 255.0) as u8; 3]
        };
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let rgb = places.flat_map(|(x, y)| pixel(x, y)).collect();
        ImageTile { width, height, rgb }
    }

    fn blobs(x: f32, y: f32) -> f32 {
        120.0 + 60.0 * (7.0 * x).sin() * (5.0 * y + x).cos() + 40.0 * (13.0 * x * y).sin()
    }

    fn bits_apart(one: &ImageTile, other: &ImageTile) -> u32 {
        (of(one).unwrap() ^ of(other).unwrap()).count_ones()
    }

    #[test]
    fn a_picture_scaled_brightened_or_cut_a_little_is_near_and_others_are_not() {
        let original = picture(64, 64, blobs);
        assert_eq!(of(&original).unwrap().count_ones(), 32);
        for near in [
            picture(100, 64, blobs),
            picture(41, 41, blobs),
            picture(20, 33, blobs),
            picture(64, 64, |x, y| 1.1 * blobs(x, y) + 10.0),
            picture(64, 64, |x, y| blobs(0.02 + 0.96 * x, 0.02 + 0.96 * y)),
        ] {
            let apart = bits_apart(&original, &near);
            assert!(apart <= NEAR_BITS, "{apart} bits for {} x {}", near.width, near.height);
        }
        for other in [
            picture(64, 64, |x, y| blobs(1.0 - x, y)),
            picture(64, 64, |x, y| blobs(y, x)),
            picture(64, 64, |x, y| blobs(x + 0.4, y)),
        ] {
            assert!(bits_apart(&original, &other) > NEAR_BITS);
        }
    }

    #[test]
    fn an_empty_picture_and_what_is_no_picture_have_no_hash() {
        assert_eq!(of(&picture(64, 64, |_, _| 200.0)), None);
        assert_eq!(of(&picture(64, 64, |x, _| 100.0 + 2.0 * x)), None);
        assert_eq!(of_encoded(b"no picture"), None);
        let encoded = Content::Image(picture(9, 5, blobs)).encode();
        assert_eq!(of_encoded(&encoded), of(&picture(9, 5, blobs)));
        assert!(of(&picture(1, 1, |_, _| 3.0)).is_none() && of(&picture(2, 1, |x, _| 200.0 * x)).is_some());
    }

    /// Every picture of a folder and of the folders in it, decoded for a stream of 64 pixels.
    fn pictures(folder: &std::path::Path) -> Vec<(String, ImageTile)> {
        let limits = crate::sample::image::ImageLimits {
            pixels_max: 100_000_000,
            side_px_max: 32_768,
        };
        let mut found = Vec::new();
        let mut entries: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|it| it.unwrap().path())
            .collect();
        entries.sort();
        for path in entries {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                found.extend(pictures(&path));
            } else if let Ok(tile) = crate::sample::image::decode(&std::fs::read(&path).unwrap(), &limits, 64) {
                found.push((name, tile));
            }
        }
        found
    }

    #[test]
    fn variants_of_a_photo_are_near_it_and_other_photos_are_not() {
        let Some(data) = std::env::var_os("CURIOD_TEST_DATA").map(std::path::PathBuf::from) else {
            eprintln!("skipped: CURIOD_TEST_DATA does not name the folder of test data");
            return;
        };
        let photos = data.join("images/photos");
        let groups = std::fs::read(photos.join("near_duplicates/groups.json")).unwrap();
        let groups: Vec<serde_json::Value> = serde_json::from_slice(&groups).unwrap();
        let tiles: std::collections::HashMap<_, _> = pictures(&photos.join("near_duplicates")).into_iter().collect();
        let text = |entry: &serde_json::Value, key: &str| entry[key].as_str().unwrap().to_owned();
        let hash = |entry: &serde_json::Value| of(&tiles[&text(entry, "path")]).unwrap();
        let (mut variants, mut found, mut uncropped_missed, mut taken_for_others) = (0, 0, 0, 0);
        for (at, entry) in groups.iter().enumerate() {
            for other in &groups[at + 1..] {
                let near = (hash(entry) ^ hash(other)).count_ones() <= NEAR_BITS;
                if text(entry, "group") != text(other, "group") {
                    taken_for_others += u32::from(near);
                } else if text(entry, "relation") == "original" && !text(other, "relation").starts_with("mirrored") {
                    variants += 1;
                    found += u32::from(near);
                    let cropped = text(other, "relation").contains("crop");
                    uncropped_missed += u32::from(!near && !cropped);
                }
            }
        }
        assert!(variants >= 100, "{variants} variants only");
        assert!(
            found * 100 >= variants * 90,
            "{found} of {variants} variants are near their original"
        );
        assert_eq!((uncropped_missed, taken_for_others), (0, 0));

        let trash: Vec<u64> = pictures(&photos.join("trash"))
            .iter()
            .filter_map(|(_, tile)| of(tile))
            .collect();
        let pairs = |bits: u32| -> usize {
            let near = |(at, hash): (usize, &u64)| {
                let later = trash[at + 1..].iter();
                later.filter(|other| (*other ^ hash).count_ones() <= bits).count()
            };
            trash.iter().enumerate().map(near).sum()
        };
        eprintln!(
            "{found} of {variants} variants; {} of {} photos of waste are near another",
            pairs(NEAR_BITS),
            trash.len()
        );
        assert!(trash.len() > 200 && pairs(NEAR_BITS) <= 4, "{} pairs", pairs(NEAR_BITS));
    }
}
