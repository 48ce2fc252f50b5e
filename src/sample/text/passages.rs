//! A document -> passages that are short enough to learn from.
//! Always true: a passage holds at most `chars_max` characters, starts later and ends later in its document than the
//! one before it, and every character of the document that is no white space is in at least one passage.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::ControlFlow;

use unicode_segmentation::UnicodeSegmentation;

/// A sentence that is too long for a passage is packed in pieces of this share of a passage, so that the passages are
/// full and there is still something to overlap.
const PIECES_OF_A_PASSAGE: usize = 8;

/// The text with `\n` for every line end and without control characters other than `\n` and `\t`. Direction marks are
/// no control characters and stay; nothing is composed or decomposed.
pub(super) fn normalise(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| is_line_end(c) || is_removed(c)) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\r' && chars.peek() == Some(&'\n') {
            continue;
        }
        if is_line_end(c) {
            clean.push('\n');
        } else if !is_removed(c) {
            clean.push(c);
        }
    }
    Cow::Owned(clean)
}

/// Hands each passage of a normalised document to `keep`, in order, until that breaks.
pub(super) fn cut<B>(
    text: &str,
    chars_max: usize,
    chars_overlap: usize,
    keep: &mut impl FnMut(&str) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let text = text.trim();
    if text.is_empty() {
        return ControlFlow::Continue(());
    }
    let chars_max = chars_max.max(1);
    if text.len() <= chars_max || text.chars().nth(chars_max).is_none() {
        return keep(text);
    }
    let mut packer = Packer {
        text,
        chars_max,
        // Half a passage must be new, whatever the configuration says.
        chars_overlap: chars_overlap.min(chars_max / 2),
        start: Mark::default(),
        atoms: VecDeque::new(),
        counted: Mark::default(),
        keep,
    };
    paragraphs(text, |paragraph, offset| packer.paragraph(paragraph, offset))?;
    packer.finish()
}

/// A place in the document.
#[derive(Clone, Copy, Default)]
struct Mark {
    byte: usize,
    chars: usize,
}

/// What is never cut once it fits a passage: a sentence, or a piece of one that is too long.
#[derive(Clone, Copy)]
struct Atom {
    start: Mark,
    end: Mark,
    opens_paragraph: bool,
}

struct Packer<'a, F> {
    text: &'a str,
    chars_max: usize,
    chars_overlap: usize,
    /// Where the passage being packed starts: at its first atom, or at the overlap before it.
    start: Mark,
    /// Atoms of the passage being packed that no passage holds yet.
    atoms: VecDeque<Atom>,
    /// How far characters have been counted.
    counted: Mark,
    keep: &'a mut F,
}

impl<B, F: FnMut(&str) -> ControlFlow<B>> Packer<'_, F> {
    fn paragraph(&mut self, paragraph: &str, offset: usize) -> ControlFlow<B> {
        let mut opens_paragraph = true;
        let flowed = unwrap_lines(paragraph);
        for (at, sentence) in flowed.split_sentence_bound_indices() {
            let piece_chars = (self.chars_max / PIECES_OF_A_PASSAGE).max(1);
            let is_short = sentence.len() <= self.chars_max || sentence.chars().nth(self.chars_max).is_none();
            if is_short {
                self.atom(offset + at, sentence, &mut opens_paragraph)?;
            } else {
                pieces(sentence, piece_chars, |piece_at, piece| {
                    self.atom(offset + at + piece_at, piece, &mut opens_paragraph)
                })?;
            }
        }
        ControlFlow::Continue(())
    }

    fn atom(&mut self, at: usize, atom: &str, opens_paragraph: &mut bool) -> ControlFlow<B> {
        let trimmed = atom.trim_start();
        let at = at + atom.len() - trimmed.len();
        let trimmed = trimmed.trim_end();
        if trimmed.is_empty() {
            return ControlFlow::Continue(());
        }
        let atom = Atom {
            start: self.count_to(at),
            end: self.count_to(at + trimmed.len()),
            opens_paragraph: std::mem::take(opens_paragraph),
        };
        while !self.atoms.is_empty() && atom.end.chars - self.start.chars > self.chars_max {
            self.close(Some(atom))?;
        }
        if self.atoms.is_empty() && atom.end.chars - self.start.chars > self.chars_max {
            self.start = atom.start;
        }
        self.atoms.push_back(atom);
        ControlFlow::Continue(())
    }

    fn count_to(&mut self, byte: usize) -> Mark {
        let more = self.text.get(self.counted.byte..byte).unwrap_or_default();
        self.counted = Mark {
            byte,
            chars: self.counted.chars + more.chars().count(),
        };
        self.counted
    }

    /// Keeps a passage: to the last paragraph bound in its second half, else as far as it goes.
    fn close(&mut self, next: Option<Atom>) -> ControlFlow<B> {
        let follower = |packer: &Self, i: usize| packer.atoms.get(i + 1).copied().or(next);
        let last = self.atoms.len().saturating_sub(1);
        let bound = (0..=last).rev().find(|&i| {
            let is_half = self
                .atoms
                .get(i)
                .is_some_and(|a| (a.end.chars - self.start.chars) * 2 >= self.chars_max);
            is_half && follower(self, i).is_some_and(|f| f.opens_paragraph)
        });
        let until = if next.is_none() { last } else { bound.unwrap_or(last) };
        let Some(closing) = self.atoms.get(until).copied() else {
            return ControlFlow::Continue(());
        };
        (self.keep)(self.text.get(self.start.byte..closing.end.byte).unwrap_or_default())?;
        if let Some(follower) = follower(self, until) {
            self.start = self.overlap(until, closing, follower);
        }
        self.atoms.drain(..=until);
        ControlFlow::Continue(())
    }

    /// Where the next passage starts: the earliest sentence, else word, that is near enough to the end of this one and
    /// leaves room for the atom that follows.
    fn overlap(&self, until: usize, closing: Atom, follower: Atom) -> Mark {
        let taken = follower.end.chars - closing.end.chars;
        let chars = self.chars_overlap.min(self.chars_max.saturating_sub(taken));
        let earliest = closing.end.chars - chars.min(closing.end.chars);
        let sentence = self.atoms.iter().take(until + 1).map(|atom| atom.start);
        let mut sentence = sentence.filter(|at| at.chars >= earliest && at.chars > self.start.chars);
        if let Some(at) = sentence.next() {
            return at;
        }
        let from = if closing.start.chars > self.start.chars {
            closing.start
        } else {
            self.start
        };
        let mut at = from;
        let words = self.text.get(from.byte..closing.end.byte).unwrap_or_default();
        for word in words.split_word_bounds() {
            let opens = word.chars().next().is_some_and(char::is_alphanumeric);
            if opens && at.chars >= earliest && at.chars > self.start.chars {
                return at;
            }
            at.byte += word.len();
            at.chars += word.chars().count();
        }
        follower.start
    }

    fn finish(&mut self) -> ControlFlow<B> {
        if self.atoms.is_empty() {
            return ControlFlow::Continue(());
        }
        self.close(None)
    }
}

/// Runs of lines between blank lines, with where they start.
fn paragraphs<B>(text: &str, mut each: impl FnMut(&str, usize) -> ControlFlow<B>) -> ControlFlow<B> {
    let (mut start, mut at) = (None, 0);
    for line in text.split_inclusive('\n') {
        if !line.trim().is_empty() {
            start.get_or_insert(at);
        } else if let Some(start) = start.take() {
            each(text.get(start..at).unwrap_or_default(), start)?;
        }
        at += line.len();
    }
    match start {
        Some(start) => each(text.get(start..).unwrap_or_default(), start),
        None => ControlFlow::Continue(()),
    }
}

/// The paragraph with a space for every line end that only wraps the text, at the same byte offsets. A line is full
/// where the next word would not have fitted within the paragraph's longest line. Where most lines are full, those that
/// are not are meant to end: wrapped prose goes on; verses, lists and the turns of a dialogue end.
fn unwrap_lines(paragraph: &str) -> Cow<'_, str> {
    let body = paragraph.trim_end();
    if !body.contains('\n') {
        return Cow::Borrowed(paragraph);
    }
    let width = body.split('\n').map(|line| line.trim_end().len()).max().unwrap_or(0);
    let is_full = |line: &str, next: &str| {
        let word = next.split_whitespace().next().map_or(0, str::len);
        let is_item = next.starts_with([' ', '\t', '-', '*', '#', '>', '|', '•']);
        !is_item && line.trim_end().len() + word >= width
    };
    let pairs = || body.split('\n').zip(body.split('\n').skip(1));
    if pairs().filter(|(line, next)| is_full(line, next)).count() * 2 < pairs().count() {
        return Cow::Borrowed(paragraph);
    }
    let mut flowed = String::with_capacity(paragraph.len());
    for (line, next) in pairs() {
        flowed.push_str(line);
        flowed.push(if is_full(line, next) { ' ' } else { '\n' });
    }
    flowed.push_str(paragraph.get(flowed.len()..).unwrap_or_default());
    Cow::Owned(flowed)
}

/// A sentence in pieces of at most `piece_chars` characters, cut between words; a longer word is cut between
/// characters as a reader sees them, and what even then is too long between code points.
fn pieces<B>(
    sentence: &str,
    piece_chars: usize,
    mut each: impl FnMut(usize, &str) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let (mut start, mut at, mut chars) = (0, 0, 0);
    let mut unit = |unit: &str| {
        let unit_chars = unit.chars().count();
        if chars + unit_chars > piece_chars && chars > 0 {
            each(start, sentence.get(start..at).unwrap_or_default())?;
            (start, chars) = (at, 0);
        }
        at += unit.len();
        chars += unit_chars;
        ControlFlow::Continue(())
    };
    let fits = |part: &str| part.len() <= piece_chars || part.chars().nth(piece_chars).is_none();
    for word in sentence.split_word_bounds() {
        if fits(word) {
            unit(word)?;
            continue;
        }
        for grapheme in word.graphemes(true) {
            if fits(grapheme) {
                unit(grapheme)?;
                continue;
            }
            let mut buffer = [0; 4];
            for c in grapheme.chars() {
                unit(c.encode_utf8(&mut buffer))?;
            }
        }
    }
    each(start, sentence.get(start..).unwrap_or_default())
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_removed(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
}
