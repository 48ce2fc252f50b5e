//! What rows hide, how texts are cut, which halves are shown.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model::text::tokens::tests::{named, small};

const TEXT: &str =
    "The quick brown fox doesn't mind zebras; quixotic 日本 jumps over the lazy dog again and [MASK] again.";

fn encoded(tokenizer: &Tokenizer, text: &str) -> Encoded {
    tokenizer.encode(text, usize::MAX).unwrap()
}

fn seeded(seed: u64) -> Rng {
    rng::for_step(seed, 0, 0)
}

#[test]
fn a_row_starts_with_cls_and_ends_each_segment_with_sep() {
    let tokenizer = small(true);
    let (a, b) = (encoded(&tokenizer, "the fox"), encoded(&tokenizer, "jumps"));
    let (cls, sep) = (tokenizer.cls(), tokenizer.sep());
    let one = clean(&tokenizer, &a, None);
    assert_eq!(one.ids, [&[cls], &a.ids[..], &[sep]].concat());
    assert_eq!(one.types, vec![0; a.ids.len() + 2]);
    let two = clean(&tokenizer, &a, Some(&b));
    assert_eq!(two.ids, [&[cls], &a.ids[..], &[sep], &b.ids, &[sep]].concat());
    assert_eq!(two.types, [vec![0; a.ids.len() + 2], vec![1; b.ids.len() + 1]].concat());
    assert_eq!(two.hidden, []);
}

#[test]
fn the_same_generator_gives_the_same_row() {
    let tokenizer = small(true);
    let a = encoded(&tokenizer, TEXT);
    let drawn = |seed| row(&tokenizer, &a, Some(&a), &Recipe::bert(0.15), &mut seeded(seed));
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
}

#[test]
fn putting_back_what_is_hidden_gives_the_row_as_it_was() {
    let tokenizer = small(true);
    let a = encoded(&tokenizer, TEXT);
    for seed in 0..300 {
        let mut shown = row(&tokenizer, &a, Some(&a), &Recipe::bert(0.3), &mut seeded(seed));
        let hidden = std::mem::take(&mut shown.hidden);
        assert!(hidden.is_sorted_by(|one, next| one.at < next.at));
        for Hidden { at, was } in hidden {
            shown.ids[at as usize] = was;
        }
        assert_eq!(shown, clean(&tokenizer, &a, Some(&a)));
    }
}

#[test]
fn words_are_hidden_whole_and_special_tokens_never() {
    let tokenizer = small(true);
    let a = encoded(&tokenizer, TEXT);
    let b = encoded(&tokenizer, "incomprehensible [SEP] zebras");
    let mut word_of = BTreeMap::new();
    for (segment, start) in [(&a, 1), (&b, a.ids.len() + 2)] {
        for (at, word) in segment.words.iter().enumerate() {
            word_of.insert((start + at) as u32, word.map(|word| (start, word)));
        }
    }
    let lengths = word_of.values().fold(BTreeMap::new(), |mut lengths, word| {
        *lengths.entry(*word).or_insert(0) += 1;
        lengths
    });
    assert!(lengths.iter().any(|(word, length)| word.is_some() && *length > 3));
    let mut seen = BTreeSet::new();
    for seed in 0..1000 {
        let row = row(&tokenizer, &a, Some(&b), &Recipe::bert(0.15), &mut seeded(seed));
        let mut hidden = BTreeMap::new();
        for Hidden { at, was } in row.hidden {
            assert!(!tokenizer.is_special(was));
            *hidden.entry(word_of[&at]).or_insert(0) += 1;
        }
        for (word, count) in hidden {
            assert!(word.is_some());
            assert_eq!(count, lengths[&word], "tokens of {word:?} are hidden together");
            seen.insert(word);
        }
    }
    assert_eq!(
        seen.len(),
        lengths.keys().flatten().count(),
        "every word is hidden at times"
    );
}

#[test]
fn the_share_is_kept_and_of_it_80_10_10() {
    let tokenizer = small(true);
    for share in [0.15, 0.3] {
        let (mut tokens, mut masked, mut random, mut kept) = (0, 0, 0, 0);
        for seed in 0..6000 {
            let a = encoded(&tokenizer, &TEXT[seed as usize % 20..]);
            tokens += a.words.iter().flatten().count();
            let row = row(&tokenizer, &a, None, &Recipe::bert(share), &mut seeded(seed));
            for Hidden { at, was } in row.hidden {
                let shown = row.ids[at as usize];
                masked += usize::from(shown == tokenizer.mask());
                kept += usize::from(shown == was);
                random += usize::from(shown != was && !tokenizer.is_special(shown));
            }
        }
        let hidden = masked + random + kept;
        let near = |count: usize, of: usize, expected: f64| {
            let share = count as f64 / of as f64;
            assert!((share - expected).abs() < 0.01, "{share} is not {expected}");
        };
        near(hidden, tokens, share);
        near(masked, hidden, 0.8);
        near(random, hidden, 0.1);
        near(kept, hidden, 0.1);
    }
}

#[test]
fn a_row_hides_a_word_where_there_is_any() {
    let tokenizer = small(true);
    for seed in 0..100 {
        let short = encoded(&tokenizer, "fox");
        let drawn = row(&tokenizer, &short, None, &Recipe::bert(0.15), &mut seeded(seed));
        assert_eq!(drawn.hidden.len(), short.ids.len());
        let none = encoded(&tokenizer, "[SEP]");
        let drawn = row(&tokenizer, &none, None, &Recipe::bert(0.15), &mut seeded(seed));
        assert_eq!(drawn, clean(&tokenizer, &none, None));
        let nothing = Encoded::default();
        let drawn = row(
            &tokenizer,
            &nothing,
            Some(&nothing),
            &Recipe::bert(0.15),
            &mut seeded(seed),
        );
        assert_eq!(drawn.ids.len(), 3);
    }
    let all = Recipe::bert(1.0);
    let a = encoded(&tokenizer, TEXT);
    let drawn = row(&tokenizer, &a, None, &all, &mut seeded(0));
    assert_eq!(drawn.hidden.len(), a.words.iter().flatten().count());
}

#[test]
fn segments_are_cut_to_fit_and_the_longer_one_first() {
    let tokenizer = small(true);
    let long = encoded(&tokenizer, TEXT);
    let short = encoded(&tokenizer, "the fox");
    for max in [3, 4, 5, 16, 17, 60, 500] {
        for (a, b) in [(&long, &long), (&long, &short), (&short, &long), (&short, &short)] {
            let (mut a, mut b) = (a.clone(), b.clone());
            let before = (a.ids.len(), b.ids.len());
            fit(&mut a, Some(&mut b), max);
            let row = clean(&tokenizer, &a, Some(&b));
            assert_eq!(row.ids.len(), max.min(before.0 + before.1 + 3));
            assert!(a.ids.len().abs_diff(b.ids.len()) <= before.0.abs_diff(before.1).max(1));
            assert_eq!(a.ids.len(), a.words.len());
        }
        let mut alone = long.clone();
        fit(&mut alone, None, max);
        assert_eq!(clean(&tokenizer, &alone, None).ids.len(), max.min(long.ids.len() + 2));
    }
}

#[test]
fn a_batch_is_filled_with_pad_up_to_a_multiple() {
    let tokenizer = small(true);
    let a = encoded(&tokenizer, "the fox jumps");
    let b = encoded(&tokenizer, "the");
    let rows = [clean(&tokenizer, &a, Some(&b)), clean(&tokenizer, &b, None)];
    let padded = pad(&tokenizer, &rows, 8, 512);
    assert_eq!(
        (padded.rows, padded.columns),
        (2, rows[0].ids.len().next_multiple_of(8))
    );
    for (number, row) in rows.iter().enumerate() {
        let of = number * padded.columns..(number + 1) * padded.columns;
        let length = row.ids.len();
        let ids: Vec<i64> = row.ids.iter().map(|id| i64::from(*id)).collect();
        assert_eq!(padded.ids[of.clone()][..length], ids);
        assert!(
            padded.ids[of.clone()][length..]
                .iter()
                .all(|id| *id == i64::from(tokenizer.pad()))
        );
        assert_eq!(padded.mask[of.clone()].iter().filter(|real| **real).count(), length);
        let types: i64 = row.types.iter().map(|segment| i64::from(*segment)).sum();
        assert_eq!(padded.types[of].iter().sum::<i64>(), types);
    }
    assert_eq!(pad(&tokenizer, &rows, 8, rows[0].ids.len()).columns, rows[0].ids.len());
    assert!(pad(&tokenizer, &[], 8, 512).ids.is_empty());
}

#[test]
#[should_panic(expected = "was not fitted")]
fn a_row_that_was_not_fitted_is_a_bug() {
    let tokenizer = small(true);
    let row = clean(&tokenizer, &encoded(&tokenizer, TEXT), None);
    pad(&tokenizer, &[row], 8, 10);
}

#[test]
fn halves_are_the_text_and_cut_at_a_sentence_where_one_is_near() {
    let text = "It rained. The dog slept! Did anyone mind? Nobody did, for it was warm.";
    let cuts: BTreeSet<_> = (0..100).map(|seed| split(text, &mut seeded(seed))).collect();
    let expected = [
        (
            "It rained. The dog slept! ",
            "Did anyone mind? Nobody did, for it was warm.",
        ),
        (
            "It rained. The dog slept! Did anyone mind? ",
            "Nobody did, for it was warm.",
        ),
    ];
    assert_eq!(cuts.into_iter().collect::<Vec<_>>(), expected);
    let words = "set a warning for when my account runs low";
    assert_eq!(
        split(words, &mut seeded(0)),
        ("set a warning for when", " my account runs low")
    );
    assert_eq!(split("abcdefg", &mut seeded(0)), ("abcd", "efg"));
    assert_eq!(split("ééé", &mut seeded(0)), ("éé", "é"));
    assert_eq!(split("é", &mut seeded(0)), ("é", ""));
    assert_eq!(split("", &mut seeded(0)), ("", ""));
}

#[test]
fn a_window_has_its_share_of_words_and_is_part_of_the_text() {
    use unicode_segmentation::UnicodeSegmentation;
    let text = "\"set a warning for when my bank account, if any, starts running low.\"";
    let words = text.unicode_words().count();
    let windows: BTreeSet<_> = (0..300).map(|seed| window(text, &mut seeded(seed), 0.5)).collect();
    assert_eq!(windows.len(), words - words.div_ceil(2) + 1);
    for part in &windows {
        assert!(text.contains(part) && part.trim() == *part);
        assert_eq!(part.unicode_words().count(), words.div_ceil(2));
    }
    assert_eq!(window(text, &mut seeded(0), 1.0), text);
    assert_eq!(window(text, &mut seeded(0), 0.0).unicode_words().count(), 1);
    assert_eq!(window("?!", &mut seeded(0), 0.5), "?!");
    assert_eq!(window("", &mut seeded(0), 0.5), "");
}

#[test]
fn half_of_the_rows_get_the_second_half_of_another_passage() {
    let half = |number: u32| Encoded {
        ids: vec![number, 7],
        words: vec![Some(0), Some(1)],
    };
    let passages: Vec<_> = (0..16).map(|number| (half(number), half(100 + number % 15))).collect();
    let mut shown = BTreeSet::new();
    for seed in 0..300 {
        let next = next_sentence(&passages, &mut seeded(seed));
        assert_eq!(next, next_sentence(&passages, &mut seeded(seed)));
        assert_eq!(next.iter().filter(|next| !next.is_next).count(), 8);
        for (row, next) in next.iter().enumerate() {
            let own = passages[row].1 == passages[next.passage].1;
            assert_eq!(next.is_next, own, "rows 0 and 15 have the same second half");
            assert!(!next.is_next || next.passage == row);
            shown.insert((row, next.passage));
        }
    }
    assert!(shown.len() > 16 * 14, "{} pairs were shown", shown.len());
    let same = vec![passages[0].clone(); 6];
    let next = next_sentence(&same, &mut seeded(0));
    assert!(
        next.iter()
            .enumerate()
            .all(|(row, next)| next.is_next && next.passage == row)
    );
    assert_eq!(next_sentence(&[], &mut seeded(0)), []);
}

#[test]
fn real_texts_of_any_language_are_cut_near_the_middle() {
    let Some(data) = named("CURIOD_TEST_DATA") else { return };
    for entry in std::fs::read_dir(data.join("text/languages/utf8")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let total = text.chars().count();
        let cuts: BTreeSet<_> = (0..20)
            .map(|seed| {
                let (first, second) = split(&text, &mut seeded(seed));
                assert_eq!(format!("{first}{second}"), text);
                let characters = first.chars().count();
                assert!(characters * 4 >= total && characters * 4 <= 3 * total);
                let part = window(&text, &mut seeded(seed), 0.25);
                assert!(text.contains(part) && !part.is_empty());
                characters
            })
            .collect();
        assert!(cuts.len() > 3, "{cuts:?}");
    }
}
