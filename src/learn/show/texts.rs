//! Texts: rows of tokens, some of them hidden, for a step, a score or an anchor.
//! Invariant: what is hidden is a function of the text and of (seed, step, place), or of the sample's id alone.
//!
//! Of two views of a passage for `mlm` one is its first half and the other what follows it; a passage too short to be cut is
//! shown twice, other words hidden each time (as SimCSE, Gao et al. 2021, shows a sentence twice under other dropout). For
//! `bert` a view is a pair of segments, the second half of the passage or, as often, that of another (Devlin et al. 2019).

use rayon::prelude::*;
use tch::{Device, Tensor};

use crate::config::ObjectiveKind;
use crate::curiosity::{THUMBNAIL_PX, Thumbnail};
use crate::ids::SampleId;
use crate::learn::LearnError;
use crate::learn::augment::{VIEWS, view_rng};
use crate::model::text::{self, Encoded, MaskRecipe, Padded, Row, Tokenizer, TokenizerError};
use crate::model::{Input, TextSpec};
use crate::rng::{self, Rng};
use crate::sample::{Content, ContentError};

use super::ShowError;

/// Seeds of what scores and anchors are shown.
const SCORE_SEED: u64 = 0x7363_6f72_6521;
const ANCHOR_SEED: u64 = 0x616e_6368_6f72;

/// Lane of a step's generator that draws which second segments belong to others: after those of the views of any batch.
const NEXT_LANE: u64 = 1 << 40;

/// Tokens below which a passage is not cut in two.
const CUT_MIN: usize = 32;

/// Lengths are rounded up to a multiple of this.
const LENGTH_STEP: usize = 8;

/// In place of the token that was hidden: nothing was, and nothing is expected.
pub(in crate::learn) const NOTHING: i64 = -100;

/// How texts are shown.
#[derive(Clone)]
pub(in crate::learn) struct Texts {
    tokenizer: Tokenizer,
    kind: ObjectiveKind,
    tokens_max: usize,
    hide: MaskRecipe,
}

/// Texts as rows of tokens, not yet on a device.
pub struct Rows {
    padded: Padded,
    /// Of each hidden token its row, its place in it, and what it was.
    hidden: Vec<(u32, u32, u32)>,
    /// Of each row whether its second segment follows the first; empty where rows have one segment.
    follows: Vec<bool>,
}

/// What is hidden in rows of tokens, on the device. M is rounded up to one of few numbers, so that what is computed of it has one of
/// few shapes: libraries keep code and buffers for each, and memory grew with every step (docs/BENCHMARKS.md). What fills it up is the
/// first token of the first row, as `NOTHING`.
pub struct HiddenWords {
    /// `[M]`, whole numbers: the place of each hidden token in the rows, one after the other.
    pub places: Tensor,
    /// `[M]`, whole numbers: the token that it was, or `NOTHING`.
    pub was: Tensor,
    /// `[M]`, whole numbers: its row.
    pub rows: Tensor,
    /// `[N]`, 1 where a row's second segment follows its first, else 0; None where rows have one segment.
    pub follows: Option<Tensor>,
}

impl Texts {
    pub(super) fn new(kind: ObjectiveKind, spec: &TextSpec, tokenizer: Tokenizer) -> Self {
        Self {
            tokenizer,
            kind,
            tokens_max: spec.tokens_max as usize,
            hide: match kind {
                ObjectiveKind::Bert => MaskRecipe::bert(0.15),
                _ => MaskRecipe::bert(0.30),
            },
        }
    }

    /// Two views of each text for a step: the first of every one, then the second.
    pub(super) fn pairs(&self, contents: &[Content], seed: u64, step: u64) -> Result<Rows, ShowError> {
        let texts = contents.iter().map(said).collect::<Result<Vec<_>, _>>()?;
        let generator = |position: usize, view: usize| view_rng(seed, step, position, view);
        match self.kind {
            ObjectiveKind::Bert => self.segments(&texts, generator, |view| {
                rng::for_step(seed, step, NEXT_LANE + view as u64)
            }),
            _ => self.halves(&texts, generator),
        }
    }

    /// Two views of each text, the same ones for ever.
    pub(super) fn fixed_pairs<'a>(
        &self,
        samples: impl Iterator<Item = (SampleId, &'a Content)>,
    ) -> Result<Rows, ShowError> {
        let samples: Vec<_> = samples
            .map(|(id, content)| Ok((id, said(content)?)))
            .collect::<Result<_, ShowError>>()?;
        let texts: Vec<&str> = samples.iter().map(|(_, text)| *text).collect();
        self.halves(&texts, |position, view| {
            rng::for_step(ANCHOR_SEED, samples[position].0.0, view as u64)
        })
    }

    /// Of each text two views with words hidden and the clean one: the first of every text, the second, then the clean one.
    pub(super) fn scored(&self, samples: &[(SampleId, &Content)]) -> Result<Rows, ShowError> {
        let texts = samples
            .iter()
            .map(|(_, content)| said(content))
            .collect::<Result<Vec<_>, _>>()?;
        let encoded = texts
            .par_iter()
            .map(|text| self.alone(text))
            .collect::<Result<Vec<_>, TokenizerError>>()?;
        let rows = (0..=VIEWS).flat_map(|view| {
            samples.iter().zip(&encoded).map(move |((id, _), encoded)| {
                if view == VIEWS {
                    return text::clean(&self.tokenizer, encoded, None);
                }
                let mut rng = rng::for_step(SCORE_SEED, id.0, view as u64);
                text::row(&self.tokenizer, encoded, None, &self.hide, &mut rng)
            })
        });
        Ok(self.rows(&rows.collect::<Vec<_>>(), Vec::new()))
    }

    /// Each passage's first half and what follows it; a short passage whole, twice.
    fn halves(&self, texts: &[&str], generator: impl Fn(usize, usize) -> Rng + Sync) -> Result<Rows, ShowError> {
        let views = texts.par_iter().enumerate().map(|(position, said)| {
            let mut rngs: [Rng; VIEWS] = std::array::from_fn(|view| generator(position, view));
            // Whole it must fit into a row, with what marks its ends.
            let cut_min = CUT_MIN.min(self.tokens_max - text::SPECIALS_OF_ONE);
            let whole = self.tokenizer.encode(said, cut_min)?;
            let parts = if whole.ids.len() < cut_min {
                [whole.clone(), whole]
            } else {
                let (first, second) = text::split(said, &mut rngs[0]);
                [self.alone(first)?, self.alone(second)?]
            };
            let mut shown = parts.iter().zip(&mut rngs);
            let mut next = || {
                shown
                    .next()
                    .map(|(part, rng)| text::row(&self.tokenizer, part, None, &self.hide, rng))
            };
            Ok([next(), next()])
        });
        let views = views.collect::<Result<Vec<_>, TokenizerError>>()?;
        let rows: Vec<Row> = (0..VIEWS)
            .flat_map(|view| views.iter().filter_map(move |rows| rows[view].clone()))
            .collect();
        Ok(self.rows(&rows, Vec::new()))
    }

    /// Pairs of segments; `which` draws the second segments of one view.
    fn segments(
        &self,
        texts: &[&str],
        generator: impl Fn(usize, usize) -> Rng + Sync,
        which: impl Fn(usize) -> Rng,
    ) -> Result<Rows, ShowError> {
        let (mut rows, mut follows) = (Vec::with_capacity(VIEWS * texts.len()), Vec::new());
        for view in 0..VIEWS {
            let cut = texts.par_iter().enumerate().map(|(position, said)| {
                let mut rng = generator(position, view);
                let (first, second) = text::split(said, &mut rng);
                let encode = |segment| self.tokenizer.encode(segment, self.tokens_max);
                let segments = (encode(first)?, encode(second)?);
                Ok((segments, rng))
            });
            let cut = cut.collect::<Result<Vec<_>, TokenizerError>>()?;
            let (segments, rngs): (Vec<(Encoded, Encoded)>, Vec<Rng>) = cut.into_iter().unzip();
            let next = text::next_sentence(&segments, &mut which(view));
            for (((first, _), next), mut rng) in segments.iter().zip(next).zip(rngs) {
                let (mut first, mut second) = (first.clone(), segments[next.passage].1.clone());
                text::fit(&mut first, Some(&mut second), self.tokens_max);
                rows.push(text::row(&self.tokenizer, &first, Some(&second), &self.hide, &mut rng));
                follows.push(next.is_next);
            }
        }
        Ok(self.rows(&rows, follows))
    }

    /// The tokens of a text that is a segment of its own.
    fn alone(&self, said: &str) -> Result<Encoded, TokenizerError> {
        self.tokenizer.encode(said, self.tokens_max - text::SPECIALS_OF_ONE)
    }

    fn rows(&self, rows: &[Row], follows: Vec<bool>) -> Rows {
        let of_row = |(number, row): (u32, &Row)| {
            let hidden: Vec<_> = row
                .hidden
                .iter()
                .map(|hidden| (number, hidden.at, hidden.was))
                .collect();
            hidden
        };
        Rows {
            padded: text::pad(&self.tokenizer, rows, LENGTH_STEP, self.tokens_max),
            hidden: (0..).zip(rows).flat_map(of_row).collect(),
            follows,
        }
    }
}

impl Rows {
    /// As tensors on the device.
    pub(super) fn input(&self, device: Device) -> Result<(Input, HiddenWords), LearnError> {
        let columns = self.padded.columns as i64;
        let of = |filling: i64, number: fn(&(u32, u32, u32), i64) -> i64| -> Result<Tensor, LearnError> {
            let mut numbers: Vec<i64> = self.hidden.iter().map(|hidden| number(hidden, columns)).collect();
            numbers.resize(rounded_up(numbers.len()), filling);
            Ok(Tensor::from_slice(&numbers).f_to_device(device)?)
        };
        let follows: Vec<i64> = self.follows.iter().map(|follows| i64::from(*follows)).collect();
        let hidden = HiddenWords {
            places: of(0, |(row, at, _), columns| i64::from(*row) * columns + i64::from(*at))?,
            was: of(NOTHING, |(_, _, was), _| i64::from(*was))?,
            rows: of(0, |(row, ..), _| i64::from(*row))?,
            follows: match follows.is_empty() {
                true => None,
                false => Some(Tensor::from_slice(&follows).f_to_device(device)?),
            },
        };
        Ok((Input::of_rows(&self.padded, device)?, hidden))
    }
}

/// The next number of which there are eight between a power of two and the next: at most an eighth more.
fn rounded_up(count: usize) -> usize {
    let step = (count.next_power_of_two() / 16).max(1);
    count.next_multiple_of(step)
}

fn said(content: &Content) -> Result<&str, ShowError> {
    match content {
        Content::Text(passage) => Ok(&passage.text),
        _ => Err(ContentError("it is no text").into()),
    }
}

/// A text as 256 numbers of 0 to 1, for who looks at small grey pictures: how often words fall into each, `n / (1 + n)`.
pub(super) fn thumbnail(content: &Content) -> Thumbnail {
    let mut counts = [0f32; THUMBNAIL_PX * THUMBNAIL_PX];
    if let Content::Text(passage) = content {
        for word in text::words(&passage.text) {
            let hash = blake3::hash(word.as_bytes()).as_bytes()[0];
            counts[usize::from(hash)] += 1.0;
        }
    }
    counts.map(|count| count / (1.0 + count))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::bert;
    use crate::sample::Passage;

    fn spec() -> TextSpec {
        TextSpec {
            bert: bert::TINY.with_vocab(600),
            tokens_max: 64,
        }
    }

    fn passage(text: &str) -> Content {
        Content::Text(Passage {
            text: text.to_owned(),
            document: 0,
            part: 0,
        })
    }

    fn texts(kind: ObjectiveKind) -> Texts {
        let said = "The cat sat on the mat. The dog ran to the old red barn behind the house.";
        Texts::new(kind, &spec(), Tokenizer::train([said; 3].iter(), 600, true).unwrap())
    }

    fn long() -> Content {
        passage(&"The cat sat on the mat and the dog ran to the barn. ".repeat(6))
    }

    #[test]
    fn what_is_shown_in_a_step_can_be_shown_again_and_another_step_shows_another() {
        for kind in [ObjectiveKind::Mlm, ObjectiveKind::Bert] {
            let contents = [long(), passage("the cat sat")];
            let of = |step| {
                let rows = texts(kind).pairs(&contents, 7, step).unwrap();
                (rows.padded.ids, rows.hidden, rows.follows)
            };
            assert_eq!(of(3), of(3));
            assert_ne!(of(3), of(4));
        }
    }

    #[test]
    fn a_short_passage_is_shown_whole_twice_and_a_long_one_in_two_halves() {
        let rows = texts(ObjectiveKind::Mlm)
            .pairs(&[long(), passage("the cat sat")], 1, 2)
            .unwrap();
        assert_eq!((rows.padded.rows, rows.follows.len()), (4, 0));
        let len = |row: usize| {
            let columns = rows.padded.columns;
            rows.padded.mask[row * columns..(row + 1) * columns]
                .iter()
                .filter(|on| **on)
                .count()
        };
        assert_eq!(len(1), len(3));
        assert!(len(0) > 8 && len(2) > 8 && len(0).max(len(2)) <= 64);
        assert!(
            rows.hidden
                .iter()
                .all(|(row, at, _)| (*at as usize) < len(*row as usize))
        );
    }

    #[test]
    fn a_text_of_any_length_fits_into_rows_of_any_length() {
        let tokenizer = texts(ObjectiveKind::Mlm).tokenizer;
        for tokens_max in [8, 31, 32, 33, 34, 64] {
            let spec = TextSpec { tokens_max, ..spec() };
            let texts = Texts::new(ObjectiveKind::Mlm, &spec, tokenizer.clone());
            for words in 1..70 {
                let rows = texts.pairs(&[passage(&"cat ".repeat(words))], 1, 2).unwrap();
                assert!(
                    rows.padded.columns <= tokens_max as usize,
                    "{words} words, {tokens_max} tokens"
                );
            }
        }
    }

    #[test]
    fn hidden_words_come_in_few_numbers_and_what_fills_them_up_is_nothing() {
        let numbers: BTreeSet<usize> = (1024..=2048).map(rounded_up).collect();
        assert_eq!(numbers.len(), 9);
        assert!((0..5000).all(|n| (n..=n + n / 8).contains(&rounded_up(n))));

        let rows = texts(ObjectiveKind::Mlm).pairs(&[long()], 1, 2).unwrap();
        let (_, hidden) = rows.input(Device::Cpu).unwrap();
        let was = Vec::<i64>::try_from(&hidden.was).unwrap();
        let (told, filling) = was.split_at(rows.hidden.len());
        assert!(
            told.iter()
                .zip(&rows.hidden)
                .all(|(was, hidden)| *was == i64::from(hidden.2))
        );
        assert!(filling.iter().all(|was| *was == NOTHING));
        assert_eq!(
            [&hidden.places, &hidden.rows].map(Tensor::size),
            [[was.len() as i64]; 2]
        );
    }

    #[test]
    fn of_pairs_of_segments_some_follow_and_some_do_not() {
        let contents: Vec<Content> = (0..32)
            .map(|n| passage(&format!("Number {n} sat on the mat. The dog ran {n} times.")))
            .collect();
        let rows = texts(ObjectiveKind::Bert).pairs(&contents, 1, 2).unwrap();
        let following = rows.follows.iter().filter(|follows| **follows).count();
        assert_eq!(rows.follows.len(), 64);
        assert!((16..48).contains(&following), "{following}");
    }

    #[test]
    fn a_score_is_of_the_same_hidden_words_wherever_the_sample_is_and_of_the_clean_text() {
        let (a, b) = (long(), passage("the dog ran to the barn"));
        let together = texts(ObjectiveKind::Mlm)
            .scored(&[(SampleId(4), &a), (SampleId(9), &b)])
            .unwrap();
        let alone = texts(ObjectiveKind::Mlm).scored(&[(SampleId(9), &b)]).unwrap();
        let of = |rows: &Rows, row: u32| -> Vec<(u32, u32)> {
            let own = rows.hidden.iter().filter(|hidden| hidden.0 == row);
            own.map(|(_, at, was)| (*at, *was)).collect()
        };
        assert_eq!([of(&together, 1), of(&together, 3)], [of(&alone, 0), of(&alone, 1)]);
        assert!(of(&together, 4).is_empty() && of(&together, 5).is_empty());
    }
}
