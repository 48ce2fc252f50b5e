//! Vocabularies of small texts, and of real ones where `CURIOD_TEST_DATA` names their folder.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::*;
use crate::rng;

const FOX: &str = "The quick brown fox jumps over the lazy dog. The dog doesn't mind; the fox jumps again and again.";

/// A vocabulary of a few words.
pub(crate) fn small(lowercase: bool) -> Tokenizer {
    Tokenizer::train([FOX; 4].iter(), 400, lowercase).unwrap()
}

pub(crate) fn named(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    if path.is_none() {
        eprintln!("skipped: {variable} names nothing");
    }
    path
}

fn texts_of(data: &std::path::Path, file: &str) -> Vec<String> {
    let lines = std::fs::read_to_string(data.join("text").join(file)).unwrap();
    let rows = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| row["text"].as_str().unwrap().to_owned()).collect()
}

fn languages(data: &std::path::Path) -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(data.join("text/languages/utf8"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect()
}

#[test]
fn the_special_tokens_come_first_and_the_bytes_after_them() {
    let tokenizer = small(false);
    let special = [
        tokenizer.pad(),
        tokenizer.unk(),
        tokenizer.cls(),
        tokenizer.sep(),
        tokenizer.mask(),
    ];
    assert_eq!(special, [0, 1, 2, 3, 4]);
    assert!(special.iter().all(|id| tokenizer.is_special(*id)));
    assert!(!tokenizer.is_special(5));
    assert!((VOCABULARY_MIN + 1..=400).contains(&tokenizer.vocab_size()));
    assert_eq!(
        tokenizer.ordinary(),
        (5..tokenizer.vocab_size() as u32).collect::<Vec<_>>()
    );
    let bytes = Tokenizer::train(std::iter::empty::<&str>(), 300, true).unwrap();
    assert_eq!(bytes.vocab_size(), VOCABULARY_MIN);
}

#[test]
fn the_same_texts_give_the_same_file() {
    assert_eq!(small(true).json(), small(true).json());
    assert_ne!(small(true).json(), small(false).json());
    // Letters that repeat and pairs that tie are where an order of hash tables would show.
    for seed in 0..40 {
        let mut rng = rng::for_step(seed, 0, 0);
        let texts: Vec<String> = (0..60)
            .map(|_| {
                let letters = 1 + rng::below(&mut rng, 200);
                (0..letters)
                    .map(|_| ["a", "b", "b", "é", " "][rng::below(&mut rng, 5)])
                    .collect()
            })
            .collect();
        let first = Tokenizer::train(texts.iter(), 600, false).unwrap();
        for _ in 0..4 {
            let again = Tokenizer::train(texts.iter(), 600, false).unwrap();
            assert!(first.json() == again.json(), "of seed {seed}");
        }
    }
}

#[test]
fn a_published_file_gives_the_same_tokenizer_back() {
    let tokenizer = small(true);
    let again = Tokenizer::parse(tokenizer.json()).unwrap();
    assert_eq!(again.json(), tokenizer.json());
    assert_eq!(again.encode(FOX, 99).unwrap(), tokenizer.encode(FOX, 99).unwrap());
    assert_eq!(again.vocab_size(), tokenizer.vocab_size());
}

#[test]
fn a_size_that_holds_no_bytes_is_refused() {
    let error = Tokenizer::train([FOX].iter(), 260, true).unwrap_err();
    assert!(
        matches!(error, TokenizerError::VocabularySize { asked: 260 }),
        "{error}"
    );
}

#[test]
fn a_file_that_is_no_tokenizer_of_a_masked_model_is_refused() {
    assert!(matches!(Tokenizer::parse(b"{}"), Err(TokenizerError::Parse(_))));
    assert!(matches!(Tokenizer::parse(b"\x00"), Err(TokenizerError::Parse(_))));
    let ours = String::from_utf8(small(true).json().to_vec()).unwrap();
    // A decoder that is no JSON made `tokenizers` 0.23.2 panic.
    let broken = ours.replace("\"decoder\":{\"type\"", "\"decoder\":{\"type\" 5");
    assert!(matches!(
        Tokenizer::parse(broken.as_bytes()),
        Err(TokenizerError::Parse(_))
    ));
    let no_mask = ours.replace("[MASK]", "[GONE]");
    let error = Tokenizer::parse(no_mask.as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tokenizer.json has no mask token: it has none of [MASK], <mask>"
    );
}

#[test]
fn decoding_gives_back_texts_of_any_language_and_any_characters() {
    let tokenizer = small(false);
    let mut rng = rng::for_step(1, 2, 3);
    let characters = (0..2000).filter_map(|_| char::from_u32(rng::below(&mut rng, 0x11_0000) as u32));
    // What NFC leaves as it is.
    let mixed: String = characters.filter(|c| !('\u{300}'..='\u{2fff}').contains(c)).collect();
    let mixed = normal(&mixed);
    for text in [
        FOX,
        "",
        " ",
        "  a\n\n\tb ",
        "größer, été",
        "日本語のテキスト",
        "שלום עולם",
        "🦀🦀",
        &mixed,
    ] {
        let encoded = tokenizer.encode(text, usize::MAX).unwrap();
        assert_eq!(tokenizer.decode(&encoded.ids).unwrap(), text);
        assert_eq!(encoded.ids.len(), encoded.words.len());
    }
    let lower = small(true).encode("The FOX", 99).unwrap();
    assert_eq!(small(true).decode(&lower.ids).unwrap(), "the fox");
}

/// In NFC.
fn normal(text: &str) -> String {
    use tokenizers::Normalizer as _;
    let mut normalized = tokenizers::NormalizedString::from(text);
    tokenizers::normalizers::NFC.normalize(&mut normalized).unwrap();
    normalized.get().to_owned()
}

#[test]
fn a_mask_in_a_text_is_the_mask_token_and_no_word() {
    let tokenizer = small(true);
    let encoded = tokenizer.encode("the [MASK] jumps", 99).unwrap();
    let at = encoded.ids.iter().position(|id| *id == tokenizer.mask()).unwrap();
    assert_eq!(encoded.words[at], None);
    assert!(
        encoded.words[..at]
            .iter()
            .chain(&encoded.words[at + 1..])
            .all(Option::is_some)
    );
    assert_eq!(tokenizer.decode(&encoded.ids).unwrap(), "the [MASK] jumps");
}

#[test]
fn the_first_tokens_of_a_text_are_those_of_the_whole_text() {
    let tokenizer = small(true);
    let mut rng = rng::for_step(5, 0, 0);
    let long: String = (0..3000)
        .map(|_| ["the fox", " ", "'re", "    ", "[MASK]", "é", "ein", "!?", "\n"][rng::below(&mut rng, 9)])
        .collect();
    let spaces = format!("{}fox", " ".repeat(50_000));
    for text in [&long, &spaces, &"fox".repeat(9000), FOX] {
        let all = tokenizer.encode(text, usize::MAX).unwrap();
        for max in [0, 1, 2, 3, 17, 128, 1000] {
            let mut expected = all.clone();
            expected.truncate(max);
            assert_eq!(tokenizer.encode(text, max).unwrap(), expected, "{max}");
        }
    }
}

#[test]
fn one_endless_word_and_one_endless_space_are_trained_on_in_time() {
    let word = "abcdefgh".repeat(100_000);
    let space = " ".repeat(1_500_000);
    let tokenizer = Tokenizer::train([&word, &space].into_iter(), 500, true).unwrap();
    assert!(tokenizer.encode("abcdefgh", 99).unwrap().ids.len() == 1);
}

#[test]
fn training_reads_no_more_than_its_bound() {
    let asked = std::cell::Cell::new(0);
    let texts = (0..40).map(|number| {
        asked.set(number + 1);
        format!("text {number} ").repeat(1 << 20)
    });
    Tokenizer::train(texts, 300, true).unwrap();
    assert_eq!(asked.get(), 3, "texts of 7 to 8 MiB");
}

#[test]
fn minilm_gives_the_ids_of_its_authors() {
    let (Some(data), Some(minilm)) = (named("CURIOD_TEST_DATA"), named("CURIOD_TEST_MINILM")) else {
        return;
    };
    let tokenizer = Tokenizer::parse(&std::fs::read(minilm.join("tokenizer.json")).unwrap()).unwrap();
    assert_eq!(tokenizer.vocab_size(), 30_522);
    assert_eq!((tokenizer.pad(), tokenizer.unk(), tokenizer.cls()), (0, 100, 101));
    assert_eq!((tokenizer.sep(), tokenizer.mask()), (102, 103));
    let golden: Value = serde_json::from_slice(&std::fs::read(data.join("golden/minilm_l6_v2.json")).unwrap()).unwrap();
    let rows = golden["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 20);
    for row in rows {
        let encoded = tokenizer.encode(row["text"].as_str().unwrap(), 254).unwrap();
        let ids: Vec<u64> = around(&tokenizer, &encoded.ids);
        let expected: Vec<u64> = row["token_ids"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_u64)
            .collect();
        assert_eq!(ids, expected, "{}", row["text"]);
    }
    let pieces = tokenizer.encode("unbelievably tokenized", 99).unwrap();
    assert!(
        pieces.ids.len() > 2 && pieces.words.last() == Some(&Some(1)),
        "{pieces:?}"
    );
}

fn around(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<u64> {
    let with = [tokenizer.cls()]
        .into_iter()
        .chain(ids.iter().copied())
        .chain([tokenizer.sep()]);
    with.map(u64::from).collect()
}

/// tests/python/tokenizer_parity.py with the published files of a tokenizer.
fn in_python(python: &std::path::Path, dir: &std::path::Path, texts: &[String]) -> Value {
    let mut child = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/tokenizer_parity.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let asked = serde_json::json!({"dir": dir, "texts": texts});
    serde_json::to_writer(child.stdin.take().unwrap(), &asked).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn python_gives_the_ids_that_we_give() {
    let (Some(data), Some(python)) = (named("CURIOD_TEST_DATA"), named("CURIOD_TEST_PYTHON")) else {
        return;
    };
    let posts = texts_of(&data, "newsgroups/newsgroups.jsonl");
    let others = texts_of(&data, "packages/packages_other_languages.jsonl");
    let mut texts: Vec<String> = posts.iter().step_by(60).take(100).cloned().collect();
    texts.extend(languages(&data));
    texts.extend(others.iter().step_by(30).take(78).cloned());
    // Python takes an empty second text for none: this one is never a second.
    texts.insert(0, String::new());
    texts.push("a [MASK] of [SEP] iron\u{a0}and e\u{301}té \u{0} \u{feff}".into());
    assert_eq!(texts.len(), 200);
    for lowercase in [true, false] {
        let tokenizer = Tokenizer::train(posts.iter().step_by(4), 4096, lowercase).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("tokenizer.json", tokenizer.json());
        write("tokenizer_config.json", tokenizer.config(256).to_string().as_bytes());
        write(
            "special_tokens_map.json",
            tokenizer.special_tokens_map().to_string().as_bytes(),
        );
        let theirs = in_python(&python, dir.path(), &texts);
        let ours: Vec<_> = texts
            .iter()
            .map(|text| tokenizer.encode(text, usize::MAX).unwrap())
            .collect();
        for (number, text) in texts.iter().enumerate() {
            let row = crate::model::text::masking::clean(&tokenizer, &ours[number], None);
            assert_eq!(theirs["single"][number], serde_json::json!(row.ids), "{text}");
            assert_eq!(theirs["decoded"][number], tokenizer.decode(&ours[number].ids).unwrap());
            if let Some(next) = ours.get(number + 1) {
                let row = crate::model::text::masking::clean(&tokenizer, &ours[number], Some(next));
                assert_eq!(theirs["pair"][number], serde_json::json!(row.ids));
                assert_eq!(theirs["types"][number], serde_json::json!(row.types));
            }
        }
        assert_eq!(theirs["special"], serde_json::json!([0, 1, 2, 3, 4]));
        assert_eq!(theirs["max"], 256);
    }
}

#[test]
fn real_texts_come_back_and_training_on_them_is_timed() {
    let Some(data) = named("CURIOD_TEST_DATA") else { return };
    let posts = texts_of(&data, "newsgroups/newsgroups.jsonl");
    let start = std::time::Instant::now();
    let tokenizer = Tokenizer::train(posts.iter(), 8192, false).unwrap();
    println!("trained 8,192 tokens in {:.1} s", start.elapsed().as_secs_f64());
    let start = std::time::Instant::now();
    let encoded: Vec<_> = posts
        .iter()
        .map(|post| tokenizer.encode(post, usize::MAX).unwrap())
        .collect();
    let tokens: usize = encoded.iter().map(|post| post.ids.len()).sum();
    let rate = tokens as f64 / start.elapsed().as_secs_f64();
    println!("encoded {tokens} tokens, {rate:.0} a second");
    assert_eq!(tokenizer.vocab_size(), 8192);
    for (text, encoded) in posts.iter().zip(&encoded) {
        assert_eq!(tokenizer.decode(&encoded.ids).unwrap(), normal(text));
    }
    for text in languages(&data) {
        let ids = tokenizer.encode(&text, usize::MAX).unwrap().ids;
        assert_eq!(tokenizer.decode(&ids).unwrap(), normal(&text));
    }
}
