//! What reading the registry's files promises about any bytes; compiled for fuzzers and tests alone.

use std::path::{Component, Path};

use super::layout::MODEL_FILE;
use super::manifest::Manifest;
use super::verdicts::VerdictRecord;
use crate::fuzzing::alike;
use crate::ids::Generation;

/// `curiod.json` of generation 1, or a line of the verdicts: what is believed is written as one that says the same.
pub fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::parse(bytes, Generation(1)) {
        assert!(manifest.generation == Generation(1) && manifest.files.contains_key(MODEL_FILE));
        for name in manifest.files.keys() {
            let parts: Vec<_> = Path::new(name).components().collect();
            assert!(
                matches!(parts[..], [Component::Normal(_)]),
                "{name:?} is not in the folder"
            );
        }
        let again = manifest
            .text()
            .ok()
            .and_then(|text| Manifest::parse(&text, Generation(1)).ok());
        assert!(same(Some(&manifest), again.as_ref()), "{manifest:?}");
    }
    if let Ok(verdict) = serde_json::from_slice::<VerdictRecord>(bytes) {
        let again = rewritten(&verdict).and_then(|text| serde_json::from_slice::<VerdictRecord>(&text).ok());
        assert!(same(Some(&verdict), again.as_ref()), "{verdict:?}");
    }
}

fn rewritten(what: &impl serde::Serialize) -> Option<Vec<u8>> {
    serde_json::to_vec_pretty(what).ok()
}

fn same<T: serde::Serialize>(a: Option<&T>, b: Option<&T>) -> bool {
    match (serde_json::to_value(a), serde_json::to_value(b)) {
        (Ok(a), Ok(b)) => !a.is_null() && alike(&a, &b),
        _ => false,
    }
}
