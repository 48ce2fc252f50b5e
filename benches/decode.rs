//! How fast pictures are decoded and reduced to a tile, on one core; the peer is `benches/peers/decode.py`.
//!
//! `CURIOD_TEST_DATA=DIR [CURIOD_TEST_PYTHON=python] cargo bench --bench decode -- [PX]` prints for each set of
//! pictures the pictures a second, here and in PIL (full decode, and its draft mode), and the ratios. Pin it to a core
//! (`taskset -c 0`) for a fair comparison: PIL has one thread.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that can not go on stops where it is"
)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use curiod::sample::image::{ImageLimits, decode};

const LIMITS: ImageLimits = ImageLimits {
    pixels_max: 100_000_000,
    side_px_max: 32_768,
};

/// A set is decoded over and over for about this long.
const DURATION: Duration = Duration::from_secs(2);

fn main() {
    let Some(data) = std::env::var_os("CURIOD_TEST_DATA").map(PathBuf::from) else {
        return println!("skipped: CURIOD_TEST_DATA does not name the folder of test data");
    };
    let px: u32 = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .next()
        .unwrap_or(224);
    let python = std::env::var("CURIOD_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let made = match make_photos(&python, &data) {
        Ok(dir) => Some(dir),
        Err(why) => {
            println!("skipped the made photos: {why}");
            None
        }
    };
    let photos = data.join("images/photos");
    let mut sets = vec![
        (
            "microscope, 640 x 480, baseline",
            pictures(&photos.join("microscope"), ""),
        ),
        ("trash, 384 x 512, baseline", pictures(&photos.join("trash/glass"), "")),
        ("large, 0.1 to 1 MB, mixed", pictures(&photos.join("large"), "jpg")),
    ];
    if let Some(dir) = &made {
        sets.push((
            "made, 1920 x 1280, 500 KB, baseline 4:2:0",
            pictures(dir.path(), "baseline.jpg"),
        ));
        sets.push((
            "made, 1920 x 1280, 500 KB, progressive 4:2:0",
            pictures(dir.path(), "progressive.jpg"),
        ));
        sets.push((
            "made, 4000 x 3000, 500 KB, baseline 4:2:0",
            pictures(dir.path(), "camera.jpg"),
        ));
    }
    println!("to {px} px        curiod/s   PIL full/s  PIL draft/s   vs full  vs draft");
    for (name, files) in sets {
        let ours = rate(&files, px);
        match pil(&python, &files, px) {
            Ok((full, draft)) => println!(
                "{name}\n{:24.1} {full:12.1} {draft:12.1} {:8.2}x {:8.2}x",
                ours,
                ours / full,
                ours / draft
            ),
            Err(why) => println!("{name}\n{ours:24.1}   (PIL: {why})"),
        }
    }
}

fn pictures(dir: &Path, ends: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.retain(|file| file.to_string_lossy().ends_with(ends));
    files.sort();
    files
}

/// Pictures a second.
fn rate(files: &[PathBuf], px: u32) -> f64 {
    let contents: Vec<Vec<u8>> = files.iter().filter_map(|file| std::fs::read(file).ok()).collect();
    let (begun, mut decoded) = (Instant::now(), 0u32);
    while begun.elapsed() < DURATION && !contents.is_empty() {
        for bytes in &contents {
            black_box(decode(bytes, &LIMITS, px)).unwrap_or_else(|rejection| panic!("{rejection}"));
            decoded += 1;
        }
    }
    f64::from(decoded) / begun.elapsed().as_secs_f64()
}

fn peer() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/decode.py")
}

/// Pictures a second in PIL: decoded in full, and in draft mode.
fn pil(python: &str, files: &[PathBuf], px: u32) -> Result<(f64, f64), String> {
    let output = Command::new(python)
        .arg(peer())
        .args(["rate", &px.to_string(), &DURATION.as_secs().to_string()])
        .args(files)
        .output()
        .map_err(|error| format!("{python}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rates: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match rates[..] {
        [full, draft] => Ok((full, draft)),
        _ => Err(String::from_utf8_lossy(&output.stderr)
            .lines()
            .last()
            .unwrap_or("no answer")
            .to_owned()),
    }
}

/// Photos of about 500 KB, made from the large ones: what phones and cameras send.
fn make_photos(python: &str, data: &Path) -> Result<tempfile::TempDir, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let made = Command::new(python)
        .arg(peer())
        .arg("make")
        .arg(data.join("images/photos/large"))
        .arg(dir.path())
        .status();
    match made {
        Ok(status) if status.success() => Ok(dir),
        Ok(status) => Err(format!("{python} ended with {status}")),
        Err(error) => Err(format!("{python}: {error}")),
    }
}
