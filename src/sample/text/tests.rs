//! Texts of many kinds, whole and broken: in `CURIOD_TEST_DATA` where that is set, else made here.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use proptest::prelude::*;

use super::*;

fn limits() -> TextLimits {
    TextLimits::default()
}

fn read(name: &str, bytes: impl AsRef<[u8]>) -> Result<Cut, Rejection> {
    cut(Path::new(name), bytes.as_ref(), None, &limits())
}

fn texts(cut: &Cut) -> Vec<&str> {
    cut.passages.iter().map(|passage| passage.text.as_str()).collect()
}

fn rows(name: &str, bytes: impl AsRef<[u8]>) -> Vec<String> {
    texts(&read(name, bytes).unwrap())
        .into_iter()
        .map(str::to_owned)
        .collect()
}

fn reason(name: &str, bytes: impl AsRef<[u8]>) -> Reason {
    read(name, bytes).unwrap_err().reason
}

fn faults(cut: &Cut) -> Vec<u64> {
    cut.faults.iter().map(|fault| fault.at).collect()
}

/// The folder of shared data, where it is.
fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("CURIOD_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: CURIOD_TEST_DATA names no folder");
    }
    folder
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn is_within(cut: &Cut, limits: &TextLimits) -> bool {
    let is_whole = |p: &Passage| !p.text.trim().is_empty() && p.text.chars().count() <= limits.chars_max;
    let is_in_order = |pair: &[Passage]| (pair[0].document, pair[0].part) < (pair[1].document, pair[1].part);
    cut.passages.len() <= limits.passages_max
        && cut.passages.iter().all(is_whole)
        && cut.passages.windows(2).all(is_in_order)
        && cut.faults.len() <= 100
        && cut.faults_total >= cut.faults.len() as u64
}

#[test]
fn a_short_text_is_one_passage() {
    assert_eq!(rows("note.txt", "one\r\ntwo\rthree\n"), ["one\ntwo\nthree"]);
}

#[test]
fn control_characters_are_removed_and_direction_marks_stay() {
    assert_eq!(
        rows("note.txt", "a\u{7}b\u{1b}[31m\u{202e}\u{85}\tc"),
        ["ab[31m\u{202e}\n\tc"]
    );
}

#[test]
fn a_long_text_is_cut_at_paragraphs_then_sentences() {
    let paragraph = "This is a sentence of some words. ".repeat(20);
    let cut = read(
        "note.txt",
        [paragraph.trim(), paragraph.trim(), paragraph.trim()].join("\n\n"),
    )
    .unwrap();
    assert!(cut.passages.len() > 1);
    for passage in &cut.passages {
        assert!(
            passage.text.starts_with("This is") && passage.text.ends_with("words."),
            "{:?}",
            passage.text
        );
    }
    assert_eq!(cut.passages[0].text, paragraph.trim());
}

#[test]
fn wrapped_prose_is_not_cut_at_its_line_ends() {
    let text =
        "It was a bright cold day in April and\nthe clocks were striking thirteen. He\nslipped quickly through.\n";
    let limits = TextLimits {
        chars_max: 80,
        ..limits()
    };
    let cut = cut(Path::new("a.txt"), text.as_bytes(), None, &limits).unwrap();
    assert_eq!(
        texts(&cut)[0],
        "It was a bright cold day in April and\nthe clocks were striking thirteen."
    );
}

#[test]
fn turns_of_a_dialogue_are_cut_at_their_line_ends() {
    let text = "Anna: hello\nBert: what a lovely and long day this has been\nAnna: yes\nBert: bye";
    let limits = TextLimits {
        chars_max: 62,
        chars_overlap: 0,
        ..limits()
    };
    let cut = cut(Path::new("a.txt"), text.as_bytes(), None, &limits).unwrap();
    assert_eq!(texts(&cut)[1], "Anna: yes\nBert: bye");
}

#[test]
fn passages_overlap_from_the_start_of_a_sentence_or_a_word() {
    let text = (0..400).map(|i| format!("word{i} ")).collect::<String>();
    let cut = read("a.txt", text).unwrap();
    for pair in cut.passages.windows(2) {
        let first = pair[1].text.split(' ').next().unwrap();
        let shared = &pair[0].text[pair[0].text.find(&format!(" {first} ")).unwrap() + 1..];
        assert!(
            pair[1].text.starts_with(shared) && shared.len() <= 120 && shared.len() > 60,
            "{shared:?}"
        );
    }
}

#[test]
fn text_without_spaces_is_cut_between_characters() {
    let cut = read("a.txt", "漢字".repeat(3_000)).unwrap();
    assert!(
        is_within(&cut, &limits()) && cut.passages.len() < 8,
        "{}",
        cut.passages.len()
    );
    let cut = read("a.txt", "x".repeat(10_000)).unwrap();
    assert!(is_within(&cut, &limits()));
}

#[test]
fn white_space_is_an_empty_file() {
    assert_eq!(reason("a.txt", " \n\t\r\n "), Reason::EmptyFile);
    assert_eq!(reason("a.txt", ""), Reason::EmptyFile);
    assert_eq!(reason("a.csv", "text,label\n"), Reason::EmptyFile);
    assert_eq!(reason("a.json", "[]"), Reason::EmptyFile);
}

#[test]
fn an_enormous_run_without_white_space_is_over_the_limits() {
    assert_eq!(reason("a.txt", "x".repeat(1 << 20)), Reason::Limits);
}

#[test]
fn more_passages_than_the_limit_are_refused() {
    let limits = TextLimits {
        passages_max: 3,
        ..limits()
    };
    let read = |text: &str| cut(Path::new("a.csv"), text.as_bytes(), None, &limits);
    assert_eq!(read("text\none\ntwo\nthree\n").unwrap().passages.len(), 3);
    assert_eq!(
        read("text\none\ntwo\nthree\nfour\n").unwrap_err().reason,
        Reason::Limits
    );
}

#[test]
fn json_lines_yield_their_text_under_their_title() {
    let text = "{\"id\":1,\"title\":\"T\",\"text\":\"hello there\"}\n\n{\"id\":2,\"title\":\"\",\"text\":\"hi\"}\n";
    assert_eq!(rows("a.jsonl", text), ["hello there", "hi"]);
    let text = text.replace("\"T\"", "\"The title\"");
    assert_eq!(rows("a.txt", &text), ["The title\nhello there", "hi"]);
    let cut = cut(Path::new("a"), text.as_bytes(), Some("title"), &limits()).unwrap();
    assert_eq!(texts(&cut), ["The title"]);
}

#[test]
fn the_longest_field_of_words_is_the_text_where_no_name_tells() {
    let text = "{\"k\":\"0123456789012345678901234567890\",\"a\":\"ab\",\"b\":\"some more words\"}\n";
    assert_eq!(rows("a.jsonl", text), ["some more words"]);
    assert_eq!(
        rows("a.csv", "k;a;b\n2024-01-01 00:00:00;ab;some more words\n"),
        ["some more words"]
    );
}

#[test]
fn a_field_that_is_not_there_is_named() {
    let error = cut(Path::new("a.csv"), b"text,n\nhello,1\n", Some("body"), &limits()).unwrap_err();
    assert_eq!(error.reason, Reason::UnsupportedType);
    assert!(
        error.detail.contains("\"body\"") && error.detail.contains("text"),
        "{}",
        error.detail
    );
}

#[test]
fn a_json_array_holds_objects_or_strings() {
    assert_eq!(rows("a.json", "[\"one\", \"two\", 3]"), ["one", "two"]);
    assert_eq!(
        rows("a", "[ {\"text\": \"one word\", \"x\": [[1]]},\n {\"text\": \"two\"} ]"),
        ["one word", "two"]
    );
    assert_eq!(rows("a.json", "{\n \"text\": \"one word\"\n}\n"), ["one word"]);
    let cut = read("a.json", "[{\"text\": \"one word\"}, {\"text\": \"tw").unwrap();
    assert_eq!(
        (texts(&cut), faults(&cut), cut.faults[0].reason),
        (vec!["one word"], vec![2], Reason::Truncated)
    );
}

#[test]
fn deep_json_is_over_the_limits_wherever_it_is() {
    assert_eq!(reason("a.json", "[".repeat(200_000)), Reason::Limits);
    let line = format!(
        "{{\"text\":\"fine words\"}}\n{{\"a\":{}1{}}}\n",
        "[".repeat(70),
        "]".repeat(70)
    );
    let cut = read("a.jsonl", line).unwrap();
    assert_eq!((faults(&cut), cut.faults[0].reason), (vec![2], Reason::Limits));
}

#[test]
fn a_table_keeps_its_quoted_cells_whole() {
    let text = "id,text\n1,\"a, \"\"quoted\"\"\r\nline\"\n2,short\n";
    assert_eq!(rows("a.csv", text), ["a, \"quoted\"\nline", "short"]);
    assert_eq!(rows("a.tsv", "id\ttext\n1\tone, two\n"), ["one, two"]);
    assert_eq!(
        rows("a.csv", "good film\nbad film, really\n"),
        ["good film", "bad film, really"]
    );
}

#[test]
fn a_stray_quote_costs_one_row() {
    let cut = read("a.csv", "id,text\n1,one fish\n2,\"two fish\n3,three fish\n4,four\n").unwrap();
    assert_eq!(
        (texts(&cut), faults(&cut)),
        (vec!["one fish", "three fish", "four"], vec![2])
    );
    let cut = read("a.tsv", "id\ttext\n1\t\"one\n2\ttwo\n3\tthree \"\n4\t\"four\n").unwrap();
    assert_eq!((texts(&cut), faults(&cut)), (vec!["two", "three \""], vec![1, 4]));
}

#[test]
fn a_long_row_is_passed_over() {
    let long = "word ".repeat(300_000);
    let cut = read("a.csv", format!("id,text\n1,{long}\n2,short one\n")).unwrap();
    assert_eq!(
        (texts(&cut), faults(&cut), cut.faults[0].reason),
        (vec!["short one"], vec![1], Reason::Limits)
    );
    let cut = read(
        "a.jsonl",
        format!("{{\"text\":\"{long}\"}}\n{{\"text\":\"short one\"}}\n"),
    )
    .unwrap();
    assert_eq!(
        (texts(&cut), faults(&cut), cut.faults[0].reason),
        (vec!["short one"], vec![1], Reason::Limits)
    );
}

#[test]
fn a_gzip_file_is_read_by_what_is_in_it() {
    assert_eq!(rows("a.csv.gz", gzip(b"id,text\n1,one fish\n")), ["one fish"]);
    assert_eq!(reason("a.gz.gz", gzip(&gzip(b"hello"))), Reason::UnsupportedType);
    let whole = gzip(b"hello to everyone");
    assert_eq!(reason("a.txt.gz", &whole[..whole.len() - 3]), Reason::Truncated);
    let mut broken = whole.clone();
    let at = broken.len() - 6;
    broken[at] ^= 1;
    assert_eq!(reason("a.txt.gz", &broken), Reason::Corrupt);
    assert_eq!(reason("a.txt.gz", gzip(&vec![b' '; 64 << 20])), Reason::Bomb);
}

#[test]
fn what_is_no_text_is_refused_by_its_content() {
    for bytes in [
        &b"%PDF-1.7\n"[..],
        b"PK\x03\x04\0\0",
        b"\x89PNG\r\n\x1a\n",
        b"\x7fELF\x02",
        b"<svg xmlns=''/>",
    ] {
        assert_eq!(reason("a.txt", bytes), Reason::UnsupportedType);
    }
    assert_eq!(reason("a.txt", b"\x80\x04\x95\0\0\x2e"), Reason::UnsafeType);
    assert_eq!(reason("a.txt", b"(dp0\nS'a'\np1\nI1\ns."), Reason::UnsafeType);
    assert_eq!(reason("a.jpg", b"<html>an error page</html>"), Reason::TypeMismatch);
    assert_eq!(rows("a.txt", "ORC armies march."), ["ORC armies march."]);
    assert_eq!(reason("a.txt", b"first\0\0second and third"), Reason::UnsupportedType);
}

#[test]
fn wide_text_is_read_with_and_without_a_byte_order_mark() {
    for text in [
        "Größe und Maß, 10 €\nzwei\n",
        "Привет, как дела?\n",
        "これは日本語の文です。次の行。\n",
        "中文的句子，在这里。很长的一句话。",
    ] {
        for (mark, bytes) in wide_forms(text) {
            let cut = read("a.txt", &bytes).unwrap_or_else(|why| panic!("{text:?} {mark}: {why}"));
            assert_eq!(texts(&cut), [text.trim()], "{mark}");
        }
    }
}

fn wide_forms(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut forms = Vec::new();
    for mark in ["\u{feff}", ""] {
        let text = format!("{mark}{text}");
        let name = if mark.is_empty() { "without" } else { "with" };
        forms.push((
            format!("16le {name}"),
            text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ));
        forms.push((
            format!("16be {name}"),
            text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        ));
        forms.push((
            format!("32le {name}"),
            text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect(),
        ));
        forms.push((
            format!("32be {name}"),
            text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect(),
        ));
    }
    forms
}

#[test]
fn bad_bytes_in_utf8_are_replaced_and_told_by_their_line() {
    let text = "naïve café — “quoted” à la façon déjà vue\n".repeat(3);
    let mut bytes = text.into_bytes();
    bytes.splice(60..60, [0xff]);
    let cut = read("a.txt", &bytes).unwrap();
    assert_eq!((faults(&cut), cut.faults_total), (vec![2], 1));
    assert!(cut.passages[0].text.contains('\u{fffd}'));
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
        let extension = extension(&path);
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
            if !is_reason && !(got == "unsupported_type" && !is_text) && !pictures.contains(&extension.as_str()) {
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

mod columns {
    //! Parquet files as the `parquet` crate writes them.

    use std::sync::Arc;

    use ::parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
    use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use ::parquet::file::properties::{WriterProperties, WriterVersion};
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;

    use super::*;

    const SCHEMA: &str = "message m { required int64 n; optional group nested { optional binary text (UTF8); } \
                          optional binary text (UTF8); required binary blob; }";

    fn written(values: &[Option<String>], properties: WriterProperties, groups: usize) -> Vec<u8> {
        let mut file = Vec::new();
        let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
        let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties)).unwrap();
        for values in values.chunks(values.len().div_ceil(groups).max(1)) {
            let numbers: Vec<i64> = (0..values.len() as i64).collect();
            let blobs: Vec<ByteArray> = values.iter().map(|_| ByteArray::from(vec![0xff, 0, 1])).collect();
            let texts: Vec<ByteArray> = values.iter().flatten().map(|text| text.as_str().into()).collect();
            let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
            let mut group = writer.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int64Type>().write_batch(&numbers, None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column
                .typed::<ByteArrayType>()
                .write_batch(&[], Some(&vec![0; values.len()]), None)
                .unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column
                .typed::<ByteArrayType>()
                .write_batch(&texts, Some(&levels), None)
                .unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&blobs, None, None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
        file
    }

    fn variants() -> Vec<(String, WriterProperties)> {
        let mut variants = Vec::new();
        let codecs = [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(GzipLevel::default()),
            Compression::ZSTD(ZstdLevel::default()),
        ];
        for codec in codecs {
            for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
                for dictionary in [true, false] {
                    let mut properties = WriterProperties::builder()
                        .set_compression(codec)
                        .set_writer_version(version)
                        .set_dictionary_enabled(dictionary)
                        .set_data_page_row_count_limit(700)
                        .set_write_batch_size(100);
                    if !dictionary {
                        properties = properties.set_encoding(Encoding::PLAIN);
                    }
                    variants.push((format!("{codec:?} {version:?} {dictionary}"), properties.build()));
                }
            }
        }
        variants
    }

    #[test]
    fn a_column_is_read_as_it_was_written() {
        let words = |i: usize| (i % 7 != 3).then(|| format!("some words of row {} äß", i % 1_200));
        let values: Vec<Option<String>> = (0..5_000).map(words).collect();
        let expected: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
        for (variant, properties) in variants() {
            let cut =
                read("a.parquet", written(&values, properties, 3)).unwrap_or_else(|why| panic!("{variant}: {why}"));
            assert_eq!(texts(&cut), expected, "{variant}");
        }
    }

    #[test]
    fn a_small_file_of_large_pages_is_a_bomb() {
        let values: Vec<Option<String>> = (0..40)
            .map(|i| Some(format!("{i}{}", "some words ".repeat(80_000))))
            .collect();
        for (variant, properties) in variants().into_iter().skip(12) {
            let file = written(&values, properties, 1);
            assert!(file.len() < 100_000, "{}", file.len());
            assert_eq!(reason("a.parquet", file), Reason::Bomb, "{variant}");
        }
    }

    #[test]
    fn no_damage_to_a_file_is_worse_than_a_refusal() {
        let values: Vec<Option<String>> = (0..300)
            .map(|i| (i % 5 > 0).then(|| format!("some words {}", i % 40)))
            .collect();
        let limits = limits();
        let mut state = 7_u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        for (_, properties) in variants() {
            let file = written(&values, properties, 2);
            for _ in 0..1_500 {
                let mut file = file.clone();
                for _ in 0..1 + random() % 3 {
                    let at = random() % file.len();
                    file[at] = random() as u8;
                }
                if let Ok(cut) = cut(Path::new("a"), &file, None, &limits) {
                    assert!(is_within(&cut, &limits));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn no_bytes_are_worse_than_a_refusal(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        kind in 0_usize..9,
        chars_max in 0_usize..40,
        chars_overlap in 0_usize..40,
    ) {
        let name = ["a", "a.txt", "a.csv", "a.tsv", "a.jsonl", "a.json", "a.gz", "a.parquet", "a.md"][kind];
        let limits = TextLimits { chars_max: chars_max.max(1), chars_overlap, passages_max: 50, ..limits() };
        let _ = cut(Path::new(name), &bytes, None, &TextLimits { chars_max, ..limits.clone() });
        for opening in [&b""[..], b"PAR1", b"\x1f\x8b\x08\0", b"{\"text\":\"", b"[\"", b"text,b\n", b"\xff\xfe"] {
            let bytes = [opening, &bytes].concat();
            if let Ok(cut) = cut(Path::new(name), &bytes, None, &limits) {
                prop_assert!(is_within(&cut, &limits));
            }
        }
    }

    #[test]
    fn every_character_of_a_text_is_in_a_passage_in_order(
        text in "([a-zé漢ก👨‍👩‍👧]{0,30}[ .\n,!。]{0,3}){0,60}",
        chars_max in 1_usize..60,
        chars_overlap in 0_usize..60,
    ) {
        let mut found = Vec::new();
        let _ = passages::cut(&text, chars_max, chars_overlap, &mut |passage| {
            let start = passage.as_ptr() as usize - text.as_ptr() as usize;
            found.push(start..start + passage.len());
            std::ops::ControlFlow::<()>::Continue(())
        });
        let mut before = 0..0;
        for passage in found {
            let is_first = before.end == 0;
            prop_assert!(text[passage.clone()].chars().count() <= chars_max);
            prop_assert!(passage.end > before.end && (is_first || passage.start > before.start));
            if passage.start > before.end {
                prop_assert!(text[before.end..passage.start].trim().is_empty(), "{before:?} {passage:?}");
            } else {
                prop_assert!(text[passage.start..before.end].chars().count() <= chars_overlap);
            }
            before = passage;
        }
        prop_assert!(text[before.end..].trim().is_empty());
    }

    #[test]
    fn random_rows_of_json_and_tables_stay_within_the_limits(
        text in "([{}\\[\\]\",:a-z0-9\n\t;| ]|\"text\"|\\\\){0,300}",
        kind in 0_usize..4,
    ) {
        let name = ["a", "a.csv", "a.jsonl", "a.json"][kind];
        if let Ok(cut) = cut(Path::new(name), text.as_bytes(), None, &limits()) {
            prop_assert!(is_within(&cut, &limits()));
        }
    }
}
