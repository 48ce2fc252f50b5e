//! What is kept while a source is read: its passages, its faults, and which of its fields holds the text.
//! Always true: no more passages than the limit and no more faults than `FAULTS_KEPT_MAX` are held.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::passages::{cut, normalise};
use super::{Cut, Passage, TextLimits};
use crate::sample::reading::quoted;
use crate::sample::{Fault, Reason, Rejection};

/// Faults kept of one source; the others are only counted.
const FAULTS_KEPT_MAX: usize = 100;

/// Names of a field that holds the text, the likeliest first.
const TEXT_NAMES: [&str; 9] = [
    "text",
    "content",
    "body",
    "message",
    "description",
    "sentence",
    "utterance",
    "query",
    "question",
];

/// Names of a field that is put before the text as its first line.
const TITLE_NAMES: [&str; 2] = ["title", "subject"];

/// Passages and faults of the source being read.
pub(super) struct Collector<'a> {
    limits: &'a TextLimits,
    cut: Cut,
    /// Broken rows of each kind, in the order of their first one.
    broken: Vec<(Reason, u64, String)>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(limits: &'a TextLimits) -> Self {
        Self {
            limits,
            cut: Cut {
                passages: Vec::new(),
                faults: Vec::new(),
                faults_total: 0,
            },
            broken: Vec::new(),
        }
    }

    /// Cuts a document, with its title as its first line.
    pub(super) fn document(&mut self, number: u64, title: Option<&str>, text: &str) -> Result<(), Rejection> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let titled = title
            .map(str::trim)
            .filter(|title| !title.is_empty())
            .map(|title| format!("{title}\n{text}"));
        let text = normalise(titled.as_deref().unwrap_or(text));
        let limits = self.limits;
        let document = u32::try_from(number).map_err(|_| too_many(limits))?;
        let passages = &mut self.cut.passages;
        let mut part = 0;
        let cut = cut(&text, limits.chars_max, limits.chars_overlap, &mut |text| {
            if passages.len() >= limits.passages_max {
                return ControlFlow::Break(too_many(limits));
            }
            passages.push(Passage {
                text: text.to_owned(),
                document,
                part,
            });
            part += 1;
            ControlFlow::Continue(())
        });
        match cut {
            ControlFlow::Break(rejection) => Err(rejection),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    /// Passes a row over.
    pub(super) fn broken(&mut self, at: u64, reason: Reason, detail: String) {
        match self.broken.iter_mut().find(|(kind, ..)| *kind == reason) {
            Some((_, count, _)) => *count += 1,
            None => self
                .broken
                .push((reason, 1, format!("the first is row {at}: {detail}"))),
        }
        self.remark(at, reason, detail);
    }

    /// Notes a fault that cost no row.
    pub(super) fn remark(&mut self, at: u64, reason: Reason, detail: String) {
        self.cut.faults_total += 1;
        if self.cut.faults.len() < FAULTS_KEPT_MAX {
            self.cut.faults.push(Fault { at, reason, detail });
        }
    }

    /// Counts faults that were found before and not kept.
    pub(super) fn uncounted(&mut self, faults: u64) {
        self.cut.faults_total += faults;
    }

    /// The source, or why nothing is left of it.
    pub(super) fn finish(self, nothing: &str) -> Result<Cut, Rejection> {
        if !self.cut.passages.is_empty() {
            return Ok(self.cut);
        }
        // `max_by_key` takes the last of equals: of equally common reasons the earliest is the better explanation.
        match self.broken.into_iter().rev().max_by_key(|(_, count, _)| *count) {
            Some((reason, _, detail)) => Err(Rejection::new(reason, format!("every row is broken; {detail}"))),
            None => Err(Rejection::new(Reason::EmptyFile, nothing)),
        }
    }
}

/// What the first rows say about one field.
pub(super) struct Field {
    pub(super) name: String,
    /// Rows where it is a string that is not blank.
    present: u64,
    /// Of these, rows where it reads as words, not as a number, a date or a key.
    wordy: u64,
    chars: u64,
}

/// The fields of a source, told by its first rows.
#[derive(Default)]
pub(super) struct Fields {
    rows: u64,
    fields: Vec<Field>,
    by_name: HashMap<String, usize>,
}

/// Which fields are read.
pub(super) struct Choice {
    pub(super) text: usize,
    pub(super) title: Option<usize>,
}

impl Fields {
    /// The named field's number, numbered in the order of their first occurrence.
    pub(super) fn number(&mut self, name: &str) -> usize {
        if let Some(&number) = self.by_name.get(name) {
            return number;
        }
        self.by_name.insert(name.to_owned(), self.fields.len());
        self.add(name)
    }

    /// A new field, although another may have the same name.
    pub(super) fn add(&mut self, name: &str) -> usize {
        self.fields.push(Field {
            name: name.to_owned(),
            present: 0,
            wordy: 0,
            chars: 0,
        });
        self.fields.len() - 1
    }

    /// Counts a row, before its values are seen.
    pub(super) fn row(&mut self) {
        self.rows += 1;
    }

    /// Takes a row's value into account.
    pub(super) fn see(&mut self, number: usize, value: &str) {
        if let Some(field) = self.fields.get_mut(number).filter(|_| !value.trim().is_empty()) {
            field.present += 1;
            field.wordy += u64::from(is_wordy(value));
            field.chars += value.chars().count() as u64;
        }
    }

    pub(super) fn name(&self, number: usize) -> &str {
        self.fields.get(number).map_or("", |field| &field.name)
    }

    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The wanted field; else the likeliest by name; else the one whose words are longest on average.
    pub(super) fn choose(&self, wanted: Option<&str>) -> Result<Choice, Rejection> {
        if let Some(wanted) = wanted {
            let text = self.fields.iter().position(|field| field.name == wanted);
            let text = text.ok_or_else(|| {
                let names: Vec<&str> = self.fields.iter().map(|field| field.name.as_str()).collect();
                let detail = format!(
                    "it has no field {}; its fields are {}",
                    quoted(wanted),
                    quoted(&names.join(", "))
                );
                Rejection::new(Reason::UnsupportedType, detail)
            })?;
            return Ok(Choice { text, title: None });
        }
        let rows = self.rows;
        let named = |share: u64| {
            let mut names = TEXT_NAMES.iter();
            names.find_map(|name| {
                let is_it = |f: &Field| f.name.eq_ignore_ascii_case(name) && f.wordy > 0 && f.present * share >= rows;
                self.fields.iter().position(is_it)
            })
        };
        let longest = || {
            let words = self
                .fields
                .iter()
                .enumerate()
                .filter(|(_, f)| f.wordy * 2 > f.present && f.present * 2 >= rows);
            // The first of equally long ones.
            words
                .rev()
                .max_by_key(|(_, f)| f.chars * 1_000 / f.present.max(1))
                .map(|(number, _)| number)
        };
        // A name in most rows, else in any: one odd row does not choose for the others.
        let text = named(2).or_else(|| named(rows.max(1))).or_else(longest);
        let text = text.ok_or_else(|| Rejection::new(Reason::UnsupportedType, "no field of it holds text"))?;
        let title = TITLE_NAMES.iter().find_map(|name| {
            let is_it = |f: &Field| f.name.eq_ignore_ascii_case(name) && f.wordy > 0;
            self.fields.iter().position(is_it).filter(|&title| title != text)
        });
        Ok(Choice { text, title })
    }
}

/// Whether a field may hold text by its name.
pub(super) fn is_text_name(name: &str) -> bool {
    TEXT_NAMES.iter().any(|known| known.eq_ignore_ascii_case(name.trim()))
}

/// Whether a value reads as words: two letters in a row, or one of a script without spaces, and mostly letters.
pub(super) fn is_wordy(value: &str) -> bool {
    let value = value.trim();
    if value.parse::<f64>().is_ok() || value.starts_with("http://") || value.starts_with("https://") {
        return false;
    }
    let (mut letters, mut others, mut is_after_letter, mut has_word) = (0_usize, 0_usize, false, false);
    // A long value shows what it is in its beginning.
    for c in value.chars().take(1_000) {
        let is_letter = c.is_alphabetic();
        has_word |= is_letter && (is_after_letter || c >= '\u{2e80}');
        is_after_letter = is_letter;
        // Marks of Indic and Thai vowels are neither.
        if is_letter {
            letters += 1;
        } else if c.is_ascii_graphic() {
            others += 1;
        }
    }
    has_word && letters >= others
}

fn too_many(limits: &TextLimits) -> Rejection {
    let detail = format!("more than {} passages, the limit of one source", limits.passages_max);
    Rejection::new(Reason::Limits, detail)
}
