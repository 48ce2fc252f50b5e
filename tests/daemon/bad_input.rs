//! Bad input is normal: each bad file gets its own verdict, and the good ones beside it are learnt.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::harness::{Site, picture, test_data};

/// What the daemon may hold in memory at its worst moment.
const MEMORY_MIB_MAX: u64 = 2 << 10;

/// Pictures whose colour profile unpacks to a gigabyte.
const BOMBS: u32 = 4;

#[test]
fn every_bad_picture_gets_its_verdict_while_good_files_beside_it_are_learnt() {
    let Some(data) = test_data("every_bad_picture_gets_its_verdict") else {
        return;
    };
    let mut site = Site::new();
    site.drop_pictures(0..40);
    let expected: Value = serde_json::from_slice(&fs::read(data.join("bad/expected.json")).unwrap()).unwrap();
    let entries = expected["files"].as_array().expect("expected.json lists files");
    for entry in entries {
        let name = name(entry);
        site.drop_file(
            &format!("bad/{name}"),
            &fs::read(data.join("bad/files").join(name)).unwrap(),
        );
    }
    let bomb = picture_with_a_large_profile();
    for number in 0..BOMBS {
        let mut bomb = bomb.clone();
        bomb.extend_from_slice(&number.to_le_bytes()); // What follows the end is not read, but makes it another source.
        site.drop_file(&format!("bomb{number}.png"), &bomb);
    }
    site.start();
    site.wait_until("generation", 1);
    site.wait_for("every file to have a verdict", |site| {
        let stream = site.stream()?;
        let count = |key: &str| stream[key].as_u64();
        let done = count("sources_accepted")? + count("sources_duplicate")? + count("sources_quarantined")?;
        (done >= 40 + u64::from(BOMBS) + entries.len() as u64).then_some(())
    });
    let quarantined = site.quarantined();
    let wrong: Vec<String> = entries
        .iter()
        .filter_map(|entry| {
            let found = quarantined.get(&format!("bad/{}", name(entry)));
            let found = found.map(|entry| entry["reason"].as_str().unwrap());
            let fits = match found {
                None => allows(entry, "accept"),
                Some(reason) if is_picture(entry) => allows(entry, "quarantine") && reasons(entry).contains(&reason),
                // Only pictures are this daemon's so far; of the rest it says that it does not know the type.
                Some(reason) => reason == "unsupported_type" || reasons(entry).contains(&reason),
            };
            (!fits).then(|| format!("{}: {found:?}, expected {entry}", name(entry)))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for entry in entries.iter().filter(|entry| is_picture(entry)) {
        let kept = fs::read(site.path("in/bad").join(name(entry))).unwrap();
        assert_eq!(
            kept.len() as u64,
            entry["bytes"].as_u64().unwrap(),
            "{} was changed",
            name(entry)
        );
    }

    // Read a second time, each gets the same verdict in the same words, and no worker is missing after it.
    for entry in entries {
        let file = fs::File::open(site.path("in/bad").join(name(entry))).unwrap();
        file.set_modified(SystemTime::now()).unwrap();
    }
    let again = site.wait_for("every bad file to be read again", |site| {
        let again = site.quarantined();
        let is_of_now = |path: &str| {
            path.starts_with("bomb") || again.get(path).is_some_and(|e| e["at"] != quarantined[path]["at"])
        };
        quarantined.keys().all(|path| is_of_now(path)).then_some(again)
    });
    let verdicts = |listed: &BTreeMap<String, Value>| -> Vec<Value> {
        let entries = listed.values();
        entries.map(|e| json!([e["path"], e["reason"], e["detail"]])).collect()
    };
    assert_eq!(verdicts(&again), verdicts(&quarantined));
    let accepted = site.stream().unwrap()["sources_accepted"].as_u64().unwrap();
    site.drop_pictures(100..140);
    site.wait_until("sources_accepted", accepted + 40);

    let peak_mib = site.peak_mib();
    println!("the daemon held {peak_mib} MiB at most");
    assert!(peak_mib <= MEMORY_MIB_MAX, "the daemon held {peak_mib} MiB");
    let log = site.log();
    assert!(!log.contains("panicked"), "{log}");
}

/// A good picture of one megabyte with a colour profile of nearly one gigabyte of zeros.
fn picture_with_a_large_profile() -> Vec<u8> {
    let mut profile = flate2::write::ZlibEncoder::new(b"x\0\0".to_vec(), flate2::Compression::fast());
    let zeros = vec![0; 1 << 20];
    for _ in 0..1_000 {
        profile.write_all(&zeros).unwrap();
    }
    let profile = profile.finish().unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(b"iCCP");
    crc.update(&profile);
    let mut chunk = (profile.len() as u32).to_be_bytes().to_vec();
    chunk.extend_from_slice(b"iCCP");
    chunk.extend_from_slice(&profile);
    chunk.extend_from_slice(&crc.sum().to_be_bytes());
    let mut png = picture(4_321);
    const AFTER_HEADER: usize = 8 + 25;
    png.splice(AFTER_HEADER..AFTER_HEADER, chunk);
    png
}

fn name(entry: &Value) -> &str {
    entry["file"].as_str().unwrap().trim_start_matches("files/")
}

/// Whether the entry is about pictures, by the name that somebody gave the file.
fn is_picture(entry: &Value) -> bool {
    let kinds = ["jpg", "png", "gif", "webp", "bmp", "tif", "svg", "heic"];
    name(entry)
        .rsplit('.')
        .next()
        .is_some_and(|ending| kinds.contains(&ending))
}

fn allows(entry: &Value, verdict: &str) -> bool {
    entry["expect"] == verdict
        || entry["also"]
            .as_array()
            .is_some_and(|also| also.iter().any(|other| other == verdict))
}

fn reasons(entry: &Value) -> Vec<&str> {
    let also = entry["also_reason"].as_array().into_iter().flatten();
    also.chain([&entry["reason"]]).filter_map(Value::as_str).collect()
}
