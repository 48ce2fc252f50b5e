//! The data of the shared folder, text by text; skipped where `CURIOD_TEST_DATA` is not set.

use std::path::PathBuf;
use std::time::Instant;

use super::*;

/// The folder of shared data, where it is.
fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("CURIOD_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: CURIOD_TEST_DATA names no folder");
    }
    folder
}

#[test]
fn older_encodings_decode_as_their_own_text() {
    let Some(data) = data() else { return };
    let folder = data.join("text/languages");
    let listed = std::fs::read_to_string(folder.join("encodings/encodings.json")).unwrap();
    let listed: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&listed).unwrap();
    let mut wrong = Vec::new();
    for (name, about) in &listed {
        let bytes = std::fs::read(folder.join("encodings").join(name)).unwrap();
        let label = about["encoding"]
            .as_str()
            .unwrap()
            .replace("latin-1", "latin1")
            .replace('_', "-");
        let label = label.replace("shift-jis", "shift_jis");
        let encoding = encoding_rs::Encoding::for_label(label.as_bytes()).unwrap();
        let (expected, _) = encoding.decode_with_bom_removal(&bytes);
        match encoding::decode(&bytes) {
            Ok(decoded) => {
                // A last character that the source cut off is no part of the count.
                let chars = decoded.text.trim_end_matches('\u{fffd}').chars().count();
                println!(
                    "{name}: {} as {}, {chars} characters",
                    encoding.name(),
                    decoded.encoding
                );
                let is_same = decoded.text.trim_end_matches('\u{fffd}') == expected.trim_end_matches('\u{fffd}');
                // The list counts the byte order mark as a character.
                let counted = chars as u64 + u64::from(bytes.starts_with(b"\xef\xbb\xbf"));
                if !is_same || counted != about["chars"].as_u64().unwrap() {
                    wrong.push(format!(
                        "{name}: {} is read as {}, {chars} of {} characters",
                        encoding.name(),
                        decoded.encoding,
                        about["chars"]
                    ));
                }
            }
            Err(why) => wrong.push(format!("{name}: {why}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_same_text_is_read_in_every_encoding_that_can_write_it() {
    let Some(data) = data() else { return };
    let labels: [(&str, &[&str]); 17] = [
        ("rus.txt", &["windows-1251", "koi8-r", "iso-8859-5", "ibm866"]),
        ("ell_monotonic.txt", &["windows-1253", "iso-8859-7"]),
        ("pol.txt", &["windows-1250", "iso-8859-2"]),
        ("hun.txt", &["windows-1250", "iso-8859-2"]),
        ("fra.txt", &["windows-1252", "iso-8859-15"]),
        ("deu.txt", &["windows-1252"]),
        ("spa.txt", &["windows-1252"]),
        ("fin.txt", &["windows-1252"]),
        ("tur.txt", &["windows-1254"]),
        ("heb.txt", &["windows-1255"]),
        ("arb.txt", &["windows-1256", "iso-8859-6"]),
        ("tha.txt", &["windows-874"]),
        ("jpn.txt", &["shift_jis", "euc-jp", "iso-2022-jp"]),
        ("cmn_hans.txt", &["gb18030", "gbk"]),
        ("kor.txt", &["euc-kr"]),
        ("vie.txt", &["windows-1258"]),
        ("eng.txt", &["windows-1252"]),
    ];
    let mut wrong = Vec::new();
    for (name, labels) in labels {
        let text = std::fs::read_to_string(data.join("text/languages/utf8").join(name)).unwrap();
        for label in labels {
            let encoding = encoding_rs::Encoding::for_label(label.as_bytes()).unwrap();
            // What the encoding can not write is left out, as its users did.
            let text: String = text
                .chars()
                .filter(|c| !encoding.encode(c.encode_utf8(&mut [0; 4])).2)
                .collect();
            let (bytes, ..) = encoding.encode(&text);
            match encoding::decode(&bytes) {
                Ok(decoded) if decoded.text == text => {}
                Ok(decoded) => wrong.push(format!("{name} in {label}: read as {}", decoded.encoding)),
                Err(why) => wrong.push(format!("{name} in {label}: {why}")),
            }
        }
        for (form, bytes) in wide_forms(&text) {
            match encoding::decode(&bytes) {
                Ok(decoded) if decoded.text.trim_start_matches('\u{feff}') == text.trim_start_matches('\u{feff}') => {}
                Ok(decoded) => wrong.push(format!("{name} in {form}: read as {}", decoded.encoding)),
                Err(why) => wrong.push(format!("{name} in {form}: {why}")),
            }
        }
    }
    println!("{wrong:#?}");
    assert!(wrong.len() <= 1, "{wrong:#?}");
}

#[test]
fn intents_are_the_same_from_json_lines_and_from_parquet() {
    let Some(data) = data() else { return };
    let lines = std::fs::read(data.join("text/intents/intents.jsonl")).unwrap();
    let parquet = std::fs::read(data.join("text/intents/intents.parquet")).unwrap();
    let (lines, parquet) = (
        read("intents.jsonl", lines).unwrap(),
        read("intents.parquet", parquet).unwrap(),
    );
    assert_eq!(lines.passages.len(), 18_200);
    assert_eq!(lines, parquet);
}

#[test]
fn every_text_of_the_shared_data_is_cut_within_the_limits() {
    let Some(data) = data() else { return };
    let mut folders = vec![data.join("text")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_none_or(|extension| extension != "json") {
                let bytes = std::fs::read(&path).unwrap();
                let started = Instant::now();
                let cut = cut(&path, &bytes, None, &limits()).unwrap_or_else(|why| panic!("{path:?}: {why}"));
                let mb_s = bytes.len() as f64 / 1e6 / started.elapsed().as_secs_f64();
                let documents = cut.passages.last().map_or(0, |passage| passage.document + 1);
                println!(
                    "{:?}: {documents} documents, {} passages, {} faults, {mb_s:.1} MB/s",
                    path.file_name().unwrap(),
                    cut.passages.len(),
                    cut.faults_total
                );
                assert!(is_within(&cut, &limits()) && cut.faults_total == 0, "{path:?}");
            }
        }
    }
}

#[test]
fn bad_files_end_in_an_allowed_verdict() {
    let Some(data) = data() else { return };
    let expected = std::fs::read_to_string(data.join("bad/expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    let pictures = ["jpg", "png", "gif", "webp", "tif", "bmp"];
    let mut wrong = Vec::new();
    for file in expected["files"].as_array().unwrap() {
        let path = data.join("bad").join(file["file"].as_str().unwrap());
        let bytes = std::fs::read(&path).unwrap();
        let extension = reading::extension(&path);
        let outcome = cut(&path, &bytes, None, &limits());
        let verdict = if outcome.is_ok() { "accept" } else { "quarantine" };
        let said = match &outcome {
            Ok(cut) => format!(
                "{} passages, faults {:?} of {}",
                cut.passages.len(),
                faults(cut),
                cut.faults_total
            ),
            Err(why) => why.to_string(),
        };
        println!("{}: {verdict}: {said}", file["file"]);
        let is_also = file["also"]
            .as_array()
            .is_some_and(|also| also.iter().any(|also| also == verdict));
        // Pictures, numbers and transitions are accepted by streams of their own kind; a text stream refuses them.
        let is_other_kind = pictures.contains(&extension.as_str())
            || ["csv", "jsonl"].contains(&extension.as_str()) && !String::from_utf8_lossy(&bytes).contains("\"text\"");
        if file["expect"] != verdict && !is_also && !(is_other_kind && verdict == "quarantine") {
            wrong.push(format!("{}: {verdict} ({said})", file["file"]));
        }
        if verdict == "quarantine" && file["expect"] == "quarantine" {
            let got = outcome.as_ref().unwrap_err().reason.as_str();
            let is_reason = file["reason"] == got
                || file["also_reason"]
                    .as_array()
                    .is_some_and(|also| also.iter().any(|also| also == got))
                || matches!(
                    (file["reason"].as_str().unwrap(), got),
                    ("not_text" | "bad_encoding", "unsupported_type") | ("no_rows", "empty_file")
                );
            // What is no text in any case may be refused for that.
            let is_text =
                ["txt", "csv", "json", "jsonl", "gz", "parquet", "pkl", "npy", "zip"].contains(&extension.as_str());
            let is_allowed =
                is_reason || pictures.contains(&extension.as_str()) || (got == "unsupported_type" && !is_text);
            if !is_allowed {
                wrong.push(format!("{}: {got}, expected {}", file["file"], file["reason"]));
            }
        }
        if let (Ok(cut), Some(lines)) = (&outcome, file["bad_lines"].as_array()) {
            let lines: Vec<u64> = lines.iter().filter_map(serde_json::Value::as_u64).collect();
            if faults(cut) != lines {
                wrong.push(format!("{}: faults at {:?}", file["file"], faults(cut)));
            }
        }
        if let (Ok(_), Some(sha256)) = (&outcome, file["text_sha256"].as_str()) {
            use sha2::Digest;
            let text = encoding::decode(&bytes).unwrap().text;
            let got: String = sha2::Sha256::digest(text.as_bytes())
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            if got != sha256 {
                wrong.push(format!("{}: another text", file["file"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn prose_is_cut_fast() {
    let Some(data) = data() else { return };
    for name in ["moby_dick.txt", "origin_of_species.txt"] {
        let bytes = std::fs::read(data.join("text/prose").join(name)).unwrap();
        let started = Instant::now();
        let cut = read(name, &bytes).unwrap();
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{name}: {} passages at {:.1} MB/s",
            cut.passages.len(),
            bytes.len() as f64 / 1e6 / seconds
        );
    }
    for (name, text) in [
        ("stops", ". ".repeat(1 << 19)),
        ("flags", "🇩🇪".repeat(1 << 16)),
        ("marks", "e\u{301}\u{302}".repeat(1 << 17)),
        ("quotes", "\",\"\n".repeat(1 << 18)),
        ("line ends", "a\n".repeat(1 << 19)),
    ] {
        for extension in ["txt", "csv"] {
            let started = Instant::now();
            let outcome = read(&format!("a.{extension}"), &text).map(|cut| cut.passages.len());
            println!(
                "{name}.{extension}: {outcome:?} at {:.1} MB/s",
                text.len() as f64 / 1e6 / started.elapsed().as_secs_f64()
            );
        }
    }
}
