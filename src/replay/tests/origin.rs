//! Where samples come from: sources by path and by sample, live or gone.

use std::collections::{BTreeSet, HashSet};

use super::*;

/// A source of several samples under a path.
fn of_many(number: u64, samples: u64, path: &str) -> NewSource {
    NewSource {
        path: path.as_bytes().to_vec(),
        samples: (0..samples).map(|part| content(100 * number + part, 1_000)).collect(),
        ..source(number, 1_000)
    }
}

fn ids(inserted: Vec<Inserted>) -> Vec<SampleId> {
    let of = |inserted| match inserted {
        Inserted::Accepted { ids } => ids,
        Inserted::Duplicate => Vec::new(),
    };
    inserted.into_iter().flat_map(of).collect()
}

#[test]
fn a_source_is_found_by_its_paths_and_by_its_samples_in_the_log_and_in_the_catalogue() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config(1 << 30));
    let first = ids(buffer.insert(vec![of_many(1, 3, "a"), of_many(2, 1, "b")]).unwrap());
    // The same content under another path, and another content under a path that was used.
    buffer
        .insert(vec![of_many(1, 3, "copy of a"), of_many(3, 1, "b")])
        .unwrap();
    let hashes: Vec<SourceHash> = [1, 2, 3].map(|number| hash_of(number, false)).into();
    let paths: HashSet<String> = ["a", "b", "copy of a", "c"].map(str::to_owned).into();
    for turn in 0..2 {
        let found = buffer.find_sources(&paths, &first.iter().copied().collect()).unwrap();
        let of = |path: &str| found.by_path.get(path).cloned().unwrap_or_default();
        assert_eq!(of("a"), BTreeSet::from([hashes[0]]), "turn {turn}");
        assert_eq!(of("copy of a"), BTreeSet::from([hashes[0]]), "turn {turn}");
        assert_eq!(of("b"), BTreeSet::from([hashes[1], hashes[2]]), "turn {turn}");
        assert!(!found.by_path.contains_key("c"));
        for (at, id) in first.iter().enumerate() {
            let origin = buffer.origin(*id).unwrap().unwrap();
            assert_eq!(found.by_id[id], origin, "turn {turn}");
            let expected = if at < 3 {
                (hashes[0], at as u32, 3)
            } else {
                (hashes[1], 0, 1)
            };
            assert_eq!((origin.source, origin.part, origin.parts), expected);
        }
        let taken = buffer.taken(&hashes[0]).unwrap().unwrap();
        assert_eq!(
            (taken.path.as_str(), taken.ids.clone()),
            ("a", first[0].0..first[0].0 + 3)
        );
        assert_eq!(buffer.live_in(taken.ids, 2), first[..2]);
        assert_eq!(buffer.taken(&hash_of(9, false)).unwrap(), None);
        buffer.checkpoint().unwrap();
    }
}

#[test]
fn a_sample_that_was_evicted_is_found_by_reading_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config(40_000));
    let first = ids(buffer.insert(vec![of_many(1, 2, "a")]).unwrap());
    for number in 2..200 {
        buffer.insert(vec![source(number, 1_000)]).unwrap();
    }
    let gone = first
        .iter()
        .find(|id| !buffer.is_live(**id))
        .expect("much came after it");
    assert_eq!(buffer.origin(*gone).unwrap(), None);
    let found = buffer.find_sources(&HashSet::new(), &HashSet::from([*gone])).unwrap();
    assert_eq!(found.by_id[gone].source, hash_of(1, false));
    assert!(buffer.taken(&hash_of(1, false)).unwrap().is_some());
}
