//! Texts of many kinds, whole and broken, made here. Always true of what is cut: `is_within`.

mod columns;
mod properties;
mod shared_data;

use std::io::Write;
use std::path::Path;

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
