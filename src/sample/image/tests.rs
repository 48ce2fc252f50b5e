//! Verdicts on real and on broken pictures, and likeness to what PIL makes of them.

use std::path::{Path, PathBuf};

use super::*;
use crate::sample::ImageTile;

const LIMITS: ImageLimits = ImageLimits {
    pixels_max: 100_000_000,
    side_px_max: 32_768,
};

/// The folder of test data, or nothing, said aloud, where the environment names none.
fn test_data() -> Option<PathBuf> {
    let dir = std::env::var_os("CURIOD_TEST_DATA").map(PathBuf::from);
    if dir.is_none() {
        eprintln!("skipped: CURIOD_TEST_DATA does not name the folder of test data");
    }
    dir
}

fn decode_file(path: &Path, px: u32) -> Result<ImageTile, Rejection> {
    decode(&std::fs::read(path).unwrap(), &LIMITS, px)
}

/// Mean absolute difference of two pictures of one size, in levels of 255.
fn difference(a: &ImageTile, b: &ImageTile) -> f64 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    let sum: u64 = a.rgb.iter().zip(&b.rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.rgb.len() as f64
}

fn png(picture: impl Into<::image::DynamicImage>) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, ::image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn every_bad_picture_gets_the_verdict_that_is_expected_of_it() {
    let Some(data) = test_data() else { return };
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(data.join("bad/expected.json")).unwrap()).unwrap();
    let mut judged = 0;
    for case in expected["files"].as_array().unwrap() {
        let name = case["file"].as_str().unwrap();
        let path = data.join("bad").join(name);
        let of_other_modality = ["csv", "jsonl", "json", "txt", "gz", "parquet", "wav"]
            .iter()
            .any(|e| name.ends_with(e));
        if of_other_modality || name.ends_with("idx3-ubyte") {
            continue;
        }
        judged += 1;
        match decode_file(&path, 64) {
            Ok(tile) => {
                assert_eq!(case["expect"], "accept", "{name} was accepted");
                assert!(tile.width > 0 && tile.height > 0);
            }
            Err(rejection) => {
                let allows = |key: &str, value: &str| case[key].as_array().into_iter().flatten().any(|v| v == value);
                assert!(
                    case["expect"] == "quarantine" || allows("also", "quarantine"),
                    "{name} was rejected: {rejection}"
                );
                let key = rejection.reason.as_str();
                // A name that lies is the ingest's to see: the decoder is not told names.
                let lies = case["reason"] == "type_mismatch" && key == "unsupported_type" && Format::is_named_by(&path);
                assert!(
                    case["reason"] == key || allows("also_reason", key) || lies,
                    "{name} was rejected as {rejection}, not as {}",
                    case["reason"]
                );
            }
        }
    }
    assert!(judged >= 30, "only {judged} files were judged");
}

#[test]
fn other_types_are_named_and_not_opened() {
    let Some(data) = test_data() else { return };
    for (name, reason) in [
        ("wav_length_lie.wav", Reason::UnsupportedType),
        ("cut.parquet", Reason::UnsupportedType),
        ("cut.txt.gz", Reason::UnsupportedType),
        ("broken_line.jsonl", Reason::UnsupportedType),
        ("harmless.pkl", Reason::UnsafeType),
    ] {
        let rejection = decode_file(&data.join("bad/files").join(name), 64).unwrap_err();
        assert_eq!(rejection.reason, reason, "{name}: {rejection}");
    }
}

#[test]
fn the_same_picture_looks_the_same_in_every_coding() {
    let Some(data) = test_data() else { return };
    let dir = data.join("bad/files");
    let twin = decode_file(&dir.join("rgb_twin.jpg"), 64).unwrap();
    for (name, most) in [
        ("cmyk.jpg", 8.0),
        ("progressive.jpg", 1.0),
        ("trailing_garbage.jpg", 1.0),
        ("exif_garbage.jpg", 1.0),
        ("exif_orientation_99.jpg", 1.0),
        ("truncated_no_end_marker.jpg", 1.0),
    ] {
        let other = decode_file(&dir.join(name), 64).unwrap();
        let levels = difference(&twin, &other);
        assert!(levels < most, "{name} differs by {levels} levels");
    }
}

#[test]
fn all_eight_orientations_come_out_upright() {
    let Some(data) = test_data() else { return };
    let dir = data.join("images/photos/exif_orientation");
    let mut tiles = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        tiles.push((path.display().to_string(), decode_file(&path, 64).unwrap()));
    }
    assert!(tiles.len() >= 9);
    for (name, tile) in &tiles {
        // The pictures differ only by the digit in their middle.
        let levels = difference(&tiles[0].1, tile);
        assert!(levels < 12.0, "{name} differs by {levels} levels from {}", tiles[0].0);
    }
}

#[test]
fn a_16_bit_grey_ramp_is_scaled_and_not_clipped() {
    let ramp = ::image::ImageBuffer::from_fn(64, 64, |x, _| ::image::Luma([(x * 65_535 / 63) as u16]));
    let tile = decode(&png(ramp), &LIMITS, 64).unwrap();
    assert_eq!((tile.rgb[0], tile.rgb[3 * 63]), (0, 255));
    assert!((126..=130).contains(&tile.rgb[3 * 32]));
}

#[test]
fn a_large_photo_reduced_while_decoding_looks_like_one_decoded_in_full() {
    let Some(data) = test_data() else { return };
    let mut reduced = 0;
    for entry in std::fs::read_dir(data.join("images/photos/large")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let header = probe(&bytes, &LIMITS).unwrap();
        let small = header.width.min(header.height) < 1_024;
        if header.format != Format::Jpeg || small {
            continue;
        }
        // Reduced to what the tile needs, and to twice as much where there is enough: never by less than a quarter.
        for px in [64, 128, 224] {
            let (width, height) = resize::shorter_side_to(header.width, header.height, px);
            let quick = jpeg::decode(&bytes, &header, px).unwrap();
            let full = jpeg::decode(&bytes, &header, u32::MAX).unwrap();
            assert_eq!(full.pixels.dimensions(), (header.width, header.height));
            reduced += usize::from(quick.pixels.dimensions() != full.pixels.dimensions());
            let tile =
                |picture: &Picture| tile(resize::resize(&picture.pixels, picture.extent, width, height)).unwrap();
            let levels = difference(&tile(&quick), &tile(&full));
            assert!(levels < 1.5, "{} at {px} differs by {levels} levels", path.display());
        }
    }
    assert!(reduced >= 20, "only {reduced} decodings were reduced");
}

#[test]
fn a_large_photo_that_is_cut_is_named_truncated_however_it_is_decoded() {
    let Some(data) = test_data() else { return };
    let large = data.join("images/photos/large");
    // One baseline, one progressive.
    for name in ["umang_by_Abhishek_Mudgal.jpg", "friends_by_Aitzol_Berasategi.jpg"] {
        let bytes = std::fs::read(large.join(name)).unwrap();
        for share in [20, 50, 80, 95] {
            let rejection = decode(&bytes[..bytes.len() * share / 100], &LIMITS, 64).unwrap_err();
            assert_eq!(
                rejection.reason,
                Reason::Truncated,
                "{name} cut at {share} %: {rejection}"
            );
        }
    }
}

#[test]
fn a_damaged_large_photo_never_panics() {
    let Some(data) = test_data() else { return };
    let mut rng = crate::rng::for_step(1, 0, 0);
    for name in ["retina.jpg", "friends_by_Aitzol_Berasategi.jpg"] {
        let bytes = std::fs::read(data.join("images/photos/large").join(name)).unwrap();
        for _ in 0..40 {
            let mut damaged = bytes.clone();
            for _ in 0..4 {
                // Mostly in the headers, where a wrong byte does most.
                let end = if crate::rng::unit(&mut rng) < 0.7 {
                    700
                } else {
                    bytes.len()
                };
                damaged[crate::rng::below(&mut rng, end)] = crate::rng::below(&mut rng, 256) as u8;
            }
            let _verdict = decode(&damaged, &LIMITS, 64);
        }
    }
}

#[test]
fn transparency_shows_white() {
    let clear = ::image::RgbaImage::from_pixel(4, 4, ::image::Rgba([10, 20, 30, 0]));
    let tile = decode(&png(clear), &LIMITS, 64).unwrap();
    assert!(tile.rgb.iter().all(|v| *v == 255));
}

#[test]
fn a_small_picture_is_not_enlarged_and_a_long_one_is_cut_at_its_centre() {
    let small = decode(&png(::image::RgbImage::new(20, 30)), &LIMITS, 64).unwrap();
    assert_eq!((small.width, small.height), (20, 30));
    let long = ::image::RgbImage::from_fn(400, 10, |x, _| {
        ::image::Rgb([if (190..210).contains(&x) { 255 } else { 0 }; 3])
    });
    let long = decode(&png(long), &LIMITS, 64).unwrap();
    assert_eq!((long.width, long.height), (20, 10));
    assert!(long.rgb.iter().all(|v| *v == 255));
}

#[test]
fn a_picture_over_a_limit_is_refused_by_its_header() {
    let limits = ImageLimits {
        pixels_max: 100,
        side_px_max: 50,
    };
    let refused = |w, h| decode(&png(::image::RgbImage::new(w, h)), &limits, 64).unwrap_err();
    assert_eq!(refused(11, 10).reason, Reason::Limits);
    assert!(refused(51, 1).detail.contains("limit is 50 per side"));
    assert!(decode(&png(::image::RgbImage::new(10, 10)), &limits, 64).is_ok());
}

#[test]
fn a_frame_larger_than_its_picture_gets_no_memory() {
    let gif = |side: u16| {
        // A picture of 2 x 2 without a palette, a frame with two colours, and no pixel.
        let [low, high] = side.to_le_bytes();
        let descriptor = [b',', 0, 0, 0, 0, low, high, low, high, 0x80, 0, 0, 0, 255, 255, 255];
        [b"GIF89a\x02\0\x02\0\0\0\0", &descriptor[..], &[2, 1, 0x2c, 0, b';']].concat()
    };
    assert_eq!(decode(&gif(16_000), &LIMITS, 64).unwrap_err().reason, Reason::Limits);
    assert_ne!(decode(&gif(1), &LIMITS, 64).map_err(|r| r.reason), Err(Reason::Limits));
}

#[test]
fn a_webp_whose_picture_is_larger_than_it_says_is_refused_by_its_header() {
    let chunk = |name: &[u8; 4], data: &[u8]| [name, &(data.len() as u32).to_le_bytes()[..], data].concat();
    let lossy = |side: u16| {
        let [low, high] = side.to_le_bytes();
        chunk(b"VP8 ", &[0, 0, 0, 0x9d, 0x01, 0x2a, low, high, low, high])
    };
    let file = |flags: u8, rest: Vec<u8>| {
        // 16 x 16 pixels.
        let head = chunk(b"VP8X", &[flags, 0, 0, 0, 15, 0, 0, 15, 0, 0]);
        chunk(b"RIFF", &[b"WEBP", &head[..], &rest].concat())
    };
    let animated = |coded: &[u8]| {
        // A frame of 8 x 8 pixels.
        let head = [0, 0, 0, 0, 0, 0, 7, 0, 0, 7, 0, 0, 1, 0, 0, 0];
        let rest = [chunk(b"ANIM", &[0; 6]), chunk(b"ANMF", &[&head, coded].concat())].concat();
        file(2, rest)
    };
    let transparent = |side| [chunk(b"ALPH", &[0, 0]), lossy(side)].concat();
    let refused = |bytes: Vec<u8>| probe(&bytes, &LIMITS).is_err_and(|why| why.detail.contains("another size"));
    assert!(refused(file(0, lossy(16_383))) && !refused(file(0, lossy(16))));
    assert!(refused(animated(&lossy(16))) && !refused(animated(&lossy(8))));
    assert!(refused(animated(&transparent(9))) && !refused(animated(&transparent(8))));
}

#[test]
fn a_picture_cut_anywhere_is_rejected_and_never_panics() {
    let Some(data) = test_data() else { return };
    for name in [
        "plain.bmp",
        "two_pages.tif",
        "static_lossless.webp",
        "animated.gif",
        "gray16.png",
    ] {
        let bytes = std::fs::read(data.join("bad/files").join(name)).unwrap();
        for tenths in 0..9 {
            let cut = &bytes[..bytes.len() * tenths / 10];
            // The first page of the TIFF and the first frame of the GIF may be whole in what is left.
            let may_be_whole = matches!(name, "two_pages.tif" | "animated.gif") && tenths > 1;
            assert!(
                decode(cut, &LIMITS, 64).is_err() || may_be_whole,
                "{name} cut at {tenths}/10"
            );
        }
    }
}

#[test]
fn photos_look_as_pil_makes_them() {
    let Some(data) = test_data() else { return };
    let python = std::env::var("CURIOD_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = "
import sys
from PIL import Image
for line in sys.stdin:
    im = Image.open(line.rstrip('\\n')).convert('RGB'); w, h = im.size; s = min(w, h); px = 64
    size = (px, int(px * h / s)) if w <= h else (int(px * w / s), px)
    sys.stdout.buffer.write(im.resize(size, Image.BILINEAR).tobytes())
";
    let mut photos: Vec<PathBuf> = Vec::new();
    for dir in ["large", "microscope", "trash/glass"] {
        let mut here: Vec<_> = std::fs::read_dir(data.join("images/photos").join(dir))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        here.sort();
        photos.extend(here.into_iter().take(16));
    }
    let list = tempfile::NamedTempFile::new().unwrap();
    let lines: String = photos.iter().map(|p| format!("{}\n", p.display())).collect();
    std::fs::write(list.path(), lines).unwrap();
    let output = std::process::Command::new(&python)
        .args(["-c", script])
        .stdin(list.reopen().unwrap())
        .output();
    let pil = match output {
        Ok(output) if output.status.success() => output.stdout,
        _ => {
            eprintln!("skipped: {python} (CURIOD_TEST_PYTHON) has no PIL");
            return;
        }
    };
    let mut rest = &pil[..];
    for path in &photos {
        let ours = resize_whole(path, 64);
        let (theirs, after) = rest.split_at(ours.len());
        rest = after;
        let mean = ours
            .iter()
            .zip(theirs)
            .map(|(a, b)| f64::from(a.abs_diff(*b)))
            .sum::<f64>()
            / ours.len() as f64;
        assert!(mean < 0.6, "{} differs by {mean} levels", path.display());
    }
    assert!(rest.is_empty());
}

/// The picture reduced but not cut to 2:1, for comparing with PIL.
fn resize_whole(path: &Path, px: u32) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let header = probe(&bytes, &LIMITS).unwrap();
    let picture = match header.format {
        Format::Jpeg => jpeg::decode(&bytes, &header, px).unwrap(),
        _ => raster::decode(&bytes, &header).unwrap(),
    };
    let (width, height) = resize::shorter_side_to(header.width, header.height, px);
    resize::resize(&picture.pixels, picture.extent, width, height).into_raw()
}
