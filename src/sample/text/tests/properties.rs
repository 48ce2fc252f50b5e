//! What holds for any bytes at all.

use proptest::prelude::*;

use super::*;

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
