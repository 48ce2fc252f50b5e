//! What a request brings to be asked about: pictures and other files, texts, series, transitions, as JSON says them.
//! Invariant: what is made of it is within the limits of a sample.

mod series;

use schemars::JsonSchema;
use serde::Deserialize;

use super::body::PictureFile;
use super::problem::{Kind, Problem};
use crate::sample::{Action, Content, Modality, Passage, Transition};

pub(super) use series::GivenSeries;

/// Numbers of a series that is embedded, at most: others wait meanwhile.
const SERIES_NUMBERS_MAX: usize = 1 << 15;

/// Things of all kinds; a stream takes those of its own.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) files: Vec<PictureFile>,
    pub(super) texts: Vec<String>,
    pub(super) series: Vec<GivenSeries>,
    pub(super) transitions: Vec<GivenTransition>,
}

/// A transition.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenTransition {
    /// The state before.
    state: Vec<f32>,
    /// What was done: a choice, counted from 0, or real numbers.
    action: GivenAction,
    /// The state after, as long as the one before.
    next_state: Vec<f32>,
}

/// What was done.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum GivenAction {
    /// One of a number of choices.
    Choice(u32),
    /// A real number.
    Number(f32),
    /// Several.
    Numbers(Vec<f32>),
}

impl Given {
    /// Files alone.
    pub(super) fn of_files(files: Vec<PictureFile>) -> Self {
        Self {
            files,
            ..Self::default()
        }
    }

    /// How many things there are.
    pub(super) fn len(&self) -> usize {
        self.files.len() + self.texts.len() + self.series.len() + self.transitions.len()
    }

    /// Whether nothing is brought.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how many bytes it is beside its files.
    pub(super) fn bytes(&self) -> usize {
        let texts = self.texts.iter().map(String::len);
        let series = self.series.iter().map(|series| 8 * series.numbers());
        let transitions = self.transitions.iter().map(|given| 8 * given.state.len());
        texts.chain(series).chain(transitions).sum()
    }

    /// Refuses what a stream of this kind does not take.
    pub(super) fn must_be_of(&self, modality: Modality) -> Result<(), Problem> {
        for (brought, own, key) in [
            (self.texts.len(), Modality::Text, "texts"),
            (self.series.len(), Modality::Series, "series"),
            (self.transitions.len(), Modality::Transition, "transitions"),
        ] {
            if brought > 0 && own != modality {
                let detail = format!("the stream is of the modality `{modality}`, the request brings {key}");
                let key = match modality {
                    Modality::Image => "images",
                    Modality::Text => "texts",
                    Modality::Series => "series",
                    Modality::Transition => "transitions",
                };
                return Err(Problem::new(Kind::Unprocessable, detail).hint(format!("send `{key}`")));
            }
        }
        Ok(())
    }

    /// The samples that are no files: texts, series, transitions, in this order. `before`: how many files there were.
    pub(super) fn contents(self, before: usize) -> Result<Vec<Content>, Problem> {
        let texts = self.texts.into_iter().map(of_text);
        let series = self.series.into_iter().map(of_series);
        let transitions = self.transitions.into_iter().map(GivenTransition::transition);
        let all = texts.chain(series).chain(transitions).zip(before..);
        all.map(|(content, item)| {
            content.map_err(|why| Problem::new(Kind::Unprocessable, format!("item {item}: {why}")).item(item))
        })
        .collect()
    }
}

fn of_series(series: GivenSeries) -> Result<Content, String> {
    if series.numbers() > SERIES_NUMBERS_MAX {
        return Err(format!("the series has more than {SERIES_NUMBERS_MAX} numbers"));
    }
    series.window()
}

fn of_text(text: String) -> Result<Content, String> {
    if text.trim().is_empty() {
        return Err("the text is empty".to_owned());
    }
    Ok(Content::Text(Passage {
        text,
        document: 0,
        part: 0,
    }))
}

impl GivenTransition {
    fn transition(self) -> Result<Content, String> {
        let action = match self.action {
            GivenAction::Choice(choice) => Action::Discrete(choice),
            GivenAction::Number(number) => Action::Real(vec![number]),
            GivenAction::Numbers(numbers) => Action::Real(numbers),
        };
        let real: &[f32] = match &action {
            Action::Discrete(_) => &[],
            Action::Real(numbers) => numbers,
        };
        if self.state.is_empty() || self.state.len() != self.next_state.len() {
            return Err(format!(
                "`state` has {} numbers and `next_state` {}",
                self.state.len(),
                self.next_state.len()
            ));
        }
        let numbers = self.state.iter().chain(&self.next_state).chain(real);
        if numbers.clone().any(|number| !number.is_finite()) {
            return Err("a number of the transition is not finite".to_owned());
        }
        Ok(Content::Transition(Transition {
            episode: 0,
            t: 0,
            state: self.state,
            action,
            next_state: self.next_state,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transition(json: &str) -> Result<Content, String> {
        serde_json::from_str::<GivenTransition>(json).unwrap().transition()
    }

    #[test]
    fn an_action_is_a_choice_or_real_numbers() {
        let of = |action: &str| {
            transition(&format!(
                "{{\"state\": [1], \"action\": {action}, \"next_state\": [2]}}"
            ))
        };
        for (said, meant) in [
            ("3", Action::Discrete(3)),
            ("-0.5", Action::Real(vec![-0.5])),
            ("[1]", Action::Real(vec![1.0])),
        ] {
            let Ok(Content::Transition(transition)) = of(said) else {
                panic!("{said}")
            };
            assert_eq!(transition.action, meant);
        }
        assert!(transition("{\"state\": [1], \"action\": 1, \"next_state\": [2, 3]}").is_err());
        assert!(transition("{\"state\": [], \"action\": 1, \"next_state\": []}").is_err());
    }
}
