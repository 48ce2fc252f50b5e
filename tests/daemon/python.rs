//! Published models in Python: timm, with no code of ours, gives the vectors that the daemon gives.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Site, picture, test_data};

/// Below this cosine two vectors of one picture are not the same vector.
const COSINE_MIN: f64 = 0.9999;

/// The same for JPEG files, which PIL's decoder and ours may decode to levels that differ by one or two (ITU-T T.83 allows
/// it): seen down to 0.99989 at 32 x 32, where a level weighs most.
const COSINE_MIN_JPEG: f64 = 0.9998;

/// A Python with timm: the one that CURIOD_TEST_PYTHON names, which must then do, else one that the script makes in the
/// user's cache folder. None, after saying why, when there is none to be had.
fn python() -> Option<PathBuf> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/python-env.sh");
    let output = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
    if output.status.success() {
        return Some(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()));
    }
    assert!(
        std::env::var_os("CURIOD_TEST_PYTHON").is_none(),
        "CURIOD_TEST_PYTHON will not do"
    );
    eprintln!("skipped: no Python with timm is to be had; scripts/python-env.sh says why");
    None
}

/// What timm makes of these pictures with the model in a folder, one vector each.
fn timm_vectors(python: &Path, model: &Path, pictures: &[PathBuf]) -> Vec<Vec<f64>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/timm_parity.py");
    let output = Command::new(python)
        .arg(script)
        .arg(model)
        .args(pictures)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Generated pictures of several sizes and colour types, and real ones where there are some.
fn pictures(folder: &Path) -> Vec<PathBuf> {
    let save = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let mut found: Vec<_> = (500..504).map(|n| save(&format!("{n}.png"), &picture(n))).collect();
    for (index, (width, height)) in [(20, 20), (32, 32), (33, 65), (300, 170)].into_iter().enumerate() {
        let source = image::load_from_memory(&picture(600 + index as u32)).unwrap();
        let resized = source.resize_exact(width, height, image::imageops::FilterType::Triangle);
        let path = folder.join(format!("{width}x{height}.png"));
        resized.save(&path).unwrap();
        let grey = folder.join(format!("{width}x{height}-grey.png"));
        resized.to_luma8().save(&grey).unwrap();
        found.extend([path, grey]);
    }
    if let Some(data) = test_data("real pictures in timm's parity") {
        found.extend(real_pictures(&data.join("images"), folder));
    }
    found
}

/// Small JPEG files as they are, and lossless photos.
fn real_pictures(images: &Path, folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let archive = images.join("cifar10/cifar10.tar");
    if archive.is_file() {
        let members = (0..8).map(|n| format!("test/{}/{n:04}.jpg", ["bird", "ship"][n % 2]));
        let members: Vec<_> = members.collect();
        let status = Command::new("tar")
            .arg("-xf")
            .arg(&archive)
            .arg("-C")
            .arg(folder)
            .args(&members)
            .status();
        assert!(status.unwrap().success(), "tar could not take {members:?} out");
        found.extend(members.iter().map(|member| folder.join(member)));
    }
    let photos = fs::read_dir(images.join("photos/near_duplicates"))
        .into_iter()
        .flatten()
        .flatten();
    let mut photos: Vec<_> = photos
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "png"))
        .collect();
    photos.sort();
    found.extend(photos.into_iter().take(6));
    found
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn timm_gives_the_vectors_that_the_daemon_gives() {
    let Some(python) = python() else { return };
    let mut site = Site::new();
    site.drop_pictures(0..60);
    site.start();
    site.wait_until("generation", 1);
    let folder = tempfile::tempdir().unwrap();
    let files = pictures(folder.path());

    let mut embed: Vec<&str> = vec!["embed"];
    for file in &files {
        embed.extend(["--file", file.to_str().unwrap()]);
    }
    let embedded = site.json(&embed).unwrap();
    assert_eq!(site.stop(), Some(0));
    let generation = embedded["generation"].as_u64().unwrap();
    let model = site.path(&format!("state/registry/pictures/{generation:06}"));
    let ours: Vec<Vec<f64>> = serde_json::from_value(embedded["embeddings"].clone()).unwrap();
    let theirs = timm_vectors(&python, &model, &files);

    assert_eq!((ours.len(), theirs.len()), (files.len(), files.len()));
    let mut apart = Vec::new();
    for ((file, ours), theirs) in files.iter().zip(&ours).zip(&theirs) {
        let cosine = cosine(ours, theirs);
        println!("{cosine:.6} {}", file.display());
        let is_jpeg = file.extension().is_some_and(|ending| ending == "jpg");
        if cosine.is_nan() || cosine <= if is_jpeg { COSINE_MIN_JPEG } else { COSINE_MIN } {
            apart.push((file, cosine));
        }
    }
    assert!(apart.is_empty(), "these differ: {apart:?}");
}
