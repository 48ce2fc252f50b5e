//! Published models in Python: timm, sentence-transformers and transformers, with no code of ours, give the vectors that the
//! daemon gives.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Site, picture, test_data};

/// Below this cosine two vectors of one picture are not the same vector.
const COSINE_MIN: f64 = 0.9999;

/// The same for JPEG files, which PIL's decoder and ours may decode to levels that differ by one or two (ITU-T T.83 allows
/// it): seen down to 0.99989 at 32 x 32, where a level weighs most.
const COSINE_MIN_JPEG: f64 = 0.9998;

/// A Python with these packages: the one that CURIOD_TEST_PYTHON names, else one that the script makes in the user's cache
/// folder. None, after saying why, where there is none to be had or it lacks one of them.
pub(crate) fn python(packages: &str) -> Option<PathBuf> {
    let named = std::env::var_os("CURIOD_TEST_PYTHON").map(PathBuf::from);
    let python = named.or_else(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/python-env.sh");
        let made = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
        let path = String::from_utf8(made.stdout).unwrap();
        made.status.success().then(|| PathBuf::from(path.trim()))
    });
    let Some(python) = python else {
        eprintln!("skipped: no Python is to be had; scripts/python-env.sh says why");
        return None;
    };
    let tried = Command::new(&python)
        .args(["-c", &format!("import {packages}")])
        .output();
    if tried.is_ok_and(|tried| tried.status.success()) {
        return Some(python);
    }
    eprintln!(
        "skipped: {} lacks one of {packages}; CURIOD_TEST_PYTHON names another",
        python.display()
    );
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
    let Some(python) = python("PIL, safetensors, timm") else {
        return;
    };
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

#[test]
fn sentence_transformers_and_transformers_give_the_vectors_that_the_daemon_gives() {
    let Some(python) = python("sentence_transformers, transformers") else {
        return;
    };
    let mut site = Site::of_texts();
    let row =
        |number: u32| format!("{{\"text\": \"The cat number {number} went to the barn before the rain came.\"}}\n");
    site.drop_file("rows.jsonl", (0..60).map(row).collect::<String>().as_bytes());
    site.start();
    site.wait_until("generation", 1);
    let long = "The barn stood by the river. ".repeat(40);
    let texts = [
        "The cat went to the barn.",
        "Un été à Paris, 夏天 \u{1f600}",
        "  rain\train\nrain ",
        &long,
    ];
    let embedded = site.json(&[&["embed", "--text"], &texts[..]].concat()).unwrap();
    assert_eq!(site.stop(), Some(0));
    let generation = embedded["generation"].as_u64().unwrap();
    let model = site.path(&format!("state/registry/texts/{generation:06}"));
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/sentence_parity.py"))
        .arg(model)
        .args(texts)
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs: BTreeMap<String, Vec<Vec<f64>>> = serde_json::from_slice(&output.stdout).unwrap();
    let ours: Vec<Vec<f64>> = serde_json::from_value(embedded["embeddings"].clone()).unwrap();
    assert_eq!((theirs.len(), ours.len()), (2, texts.len()));
    for (library, vectors) in &theirs {
        assert_eq!(vectors.len(), texts.len(), "{library}");
        for ((text, ours), theirs) in texts.iter().zip(&ours).zip(vectors) {
            let cosine = cosine(ours, theirs);
            assert!(cosine > COSINE_MIN, "{library}, {text:?}: {cosine}");
        }
    }
}
