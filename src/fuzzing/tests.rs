//! The kept seeds of every fuzz target, through the same functions that the fuzzers call.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A target by its name.
type Target = (&'static str, fn(&[u8]));

/// Every target. `tests/fuzz/targets` has a file for each.
const TARGETS: [Target; 23] = [
    ("authorization", super::authorization),
    ("bmp", super::bmp),
    ("catalogue", super::catalogue),
    ("checkpoint", super::checkpoint),
    ("config", super::config),
    ("content", super::content),
    ("gif", super::gif),
    ("infer", super::infer),
    ("jpeg", super::jpeg),
    ("jpeg_reduced", super::jpeg_reduced),
    ("keys", super::keys),
    ("manifest", super::manifest),
    ("names", super::names),
    ("picture_file", super::picture_file),
    ("png", super::png),
    ("request", super::request),
    ("segment", super::segment),
    ("series", super::series),
    ("texts", super::texts),
    ("tiff", super::tiff),
    ("transitions", super::transitions),
    ("webp", super::webp),
    ("weights", super::weights),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_fuzz_seed_keeps_its_promise() {
    for (name, target) in TARGETS {
        let seeds = files(&folder().join("seeds").join(name));
        assert!(!seeds.is_empty(), "{name} has no seed");
        for seed in seeds {
            eprintln!("{}", seed.display());
            target(&fs::read(seed).unwrap());
        }
    }
}

#[test]
fn every_fuzz_target_is_built_and_has_its_seeds_tested() {
    let names: BTreeSet<_> = TARGETS.map(|(name, _)| name.to_owned()).into();
    let stems = |folder: PathBuf| -> BTreeSet<String> {
        let paths = files(&folder).into_iter();
        paths
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(stems(folder().join("targets")), names);
    assert_eq!(stems(folder().join("seeds")), names);
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for name in names {
        assert!(
            manifest.contains(&format!("path = \"targets/{name}.rs\"")),
            "{name} is not in Cargo.toml"
        );
        let text = fs::read_to_string(folder().join(format!("targets/{name}.rs"))).unwrap();
        assert!(
            text.contains(&format!("fuzzing::{name}")),
            "{name} fuzzes something else"
        );
    }
}
