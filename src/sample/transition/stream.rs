//! Rows in the source's order -> its transitions.
//! Always true: a transition joins two states of one episode that no row lies between, as long as each other and as the
//! source's usual one, by an action of the source's usual kind.

use std::collections::HashMap;

use super::faults::Faults;
use super::row::Row;
use super::usual::{Episodes, Kind, Usual};
use super::value::{Value, finite};
use super::{Cut, TransitionLimits};
use crate::sample::reading::SAMPLE_ROWS;
use crate::sample::{Action, Reason, Rejection, Transition};

/// What is wrong with a row, or with a part of it.
type Judged<T> = Result<T, Rejection>;

/// The source being read.
pub(super) struct Stream<'a> {
    limits: &'a TransitionLimits,
    pub(super) faults: Faults,
    /// The first rows, with the gaps before them: kept until it is known what is usual.
    first: Vec<(u64, u64, Row)>,
    usual: Option<Usual>,
    /// Transitions with their rows: those that waited for the next row may come late.
    taken: Vec<(u64, Transition)>,
    /// Numbers of their states.
    values: usize,
    episodes: HashMap<u64, Episode>,
    /// Numbers of the episodes that have a word.
    words: HashMap<String, u64>,
    /// Episodes that a row has ended.
    ended: u64,
    /// Rows that could not be read, so that their episode is not known.
    gaps: u64,
    /// Rows that were read and do not say their episode.
    strays: u64,
}

/// An episode's last row.
#[derive(Default)]
struct Episode {
    /// One more than its place.
    t_next: u64,
    waiting: Option<Waiting>,
}

/// A row without a next state, which is the state of the episode's next row if there is one.
struct Waiting {
    at: u64,
    gaps: u64,
    step: Step,
}

/// A transition without its end.
struct Step {
    t: u64,
    state: Vec<f32>,
    /// None: it has none, which is right in the last row of an episode alone.
    action: Option<Action>,
}

impl<'a> Stream<'a> {
    pub(super) fn new(limits: &'a TransitionLimits) -> Self {
        Self {
            limits,
            faults: Faults::default(),
            first: Vec::new(),
            usual: None,
            taken: Vec::new(),
            values: 0,
            episodes: HashMap::new(),
            words: HashMap::new(),
            ended: 0,
            gaps: 0,
            strays: 0,
        }
    }

    /// Takes the next row, or why it could not be read.
    pub(super) fn row(&mut self, at: u64, row: Judged<Row>) -> Result<(), Rejection> {
        match (row, self.usual) {
            (Err(why), _) => {
                self.gaps += 1;
                self.faults.row(at, why);
                Ok(())
            }
            (Ok(row), Some(usual)) => self.take(at, self.gaps, row, usual),
            (Ok(row), None) => {
                self.first.push((at, self.gaps, row));
                if self.first.len() < SAMPLE_ROWS {
                    return Ok(());
                }
                self.settle()
            }
        }
    }

    /// The transitions, or why there are none.
    pub(super) fn finish(mut self) -> Result<Cut, Rejection> {
        self.settle()?;
        if self.taken.is_empty() {
            let nothing = || Rejection::new(Reason::EmptyFile, "the file has no row that another one follows");
            return Err(self.faults.commonest().unwrap_or_else(nothing));
        }
        self.taken.sort_by_key(|(at, _)| *at);
        let (faults, faults_total) = self.faults.finish();
        Ok(Cut {
            transitions: self.taken.into_iter().map(|(_, transition)| transition).collect(),
            faults,
            faults_total,
        })
    }

    /// Tells what is usual and takes the rows that waited for it.
    fn settle(&mut self) -> Result<(), Rejection> {
        let first = std::mem::take(&mut self.first);
        let usual = Usual::of(first.iter().map(|(.., row)| row), self.limits);
        self.usual.get_or_insert(usual);
        first
            .into_iter()
            .try_for_each(|(at, gaps, row)| self.take(at, gaps, row, usual))
    }

    fn take(&mut self, at: u64, gaps: u64, mut row: Row, usual: Usual) -> Result<(), Rejection> {
        let ends = row.ends;
        let number = match self.episode(row.episode.take(), usual.episodes) {
            Ok(number) => number,
            Err(why) => {
                self.strays += 1;
                self.faults.row(at, why);
                return Ok(());
            }
        };
        let max = self.limits.transitions_max;
        if self.episodes.len().max(self.words.len()) > max {
            let detail = format!("more than {max} episodes, the limit of its transitions");
            return Err(Rejection::new(Reason::Limits, detail));
        }
        let gaps = gaps + self.strays;
        let episode = self.episodes.entry(number).or_default();
        let before = episode.waiting.take().filter(|before| before.gaps == gaps);
        let t = match row.t.take().filter(|_| usual.has_t) {
            Some(t) => t.count().ok_or_else(|| corrupt("its t is no integer from 0 on")),
            None => Ok(episode.t_next),
        };
        episode.t_next = t.as_ref().map_or(episode.t_next, |&t| t).saturating_add(1);
        let state = vector(row.state.take(), "state", usual.dims, self.limits.state_dims_max);
        if let (Some(before), Ok(t), Ok(state)) = (before, &t, &state)
            && *t > before.step.t
        {
            self.keep(before.at, number, before.step, state.clone())?;
        }
        match self.step(t, state, row, usual) {
            Err(why) => self.faults.row(at, why),
            Ok((step, Some(next_state))) => self.keep(at, number, step, next_state)?,
            Ok((step, None)) => {
                if let Some(episode) = self.episodes.get_mut(&number) {
                    episode.waiting = Some(Waiting { at, gaps, step });
                }
            }
        }
        if ends {
            self.ended += 1;
            self.episodes.remove(&number);
        }
        Ok(())
    }

    /// What the row says by itself, and the next state where it says that, too.
    fn step(
        &self,
        t: Judged<u64>,
        state: Judged<Vec<f32>>,
        row: Row,
        usual: Usual,
    ) -> Judged<(Step, Option<Vec<f32>>)> {
        let (t, state) = (t?, state?);
        let is_reward = |reward: &Value| matches!(reward, Value::Number { value, .. } if value.is_finite());
        if !row.reward.as_ref().is_none_or(is_reward) {
            return Err(corrupt("its reward is no number"));
        }
        let action = row
            .action
            .map(|action| self.action(action, usual.actions))
            .transpose()?;
        let dims_max = self.limits.state_dims_max;
        let next_state = row
            .next_state
            .map(|next| vector(Some(next), "next state", usual.dims, dims_max));
        Ok((Step { t, state, action }, next_state.transpose()?))
    }

    fn keep(&mut self, at: u64, episode: u64, step: Step, next_state: Vec<f32>) -> Result<(), Rejection> {
        let Step { t, state, action } = step;
        let Some(action) = action else {
            self.faults.row(at, corrupt("it has no action"));
            return Ok(());
        };
        let max = self.limits.transitions_max;
        if self.taken.len() >= max {
            let detail = format!("more than {max} transitions, the limit of one source");
            return Err(Rejection::new(Reason::Limits, detail));
        }
        self.values += state.len() + next_state.len();
        if self.values > self.limits.values_max {
            let detail = format!("more than {} numbers, the limit of one source", self.limits.values_max);
            return Err(Rejection::new(Reason::Limits, detail));
        }
        let transition = Transition {
            episode,
            t,
            state,
            action,
            next_state,
        };
        self.taken.push((at, transition));
        Ok(())
    }

    fn episode(&mut self, episode: Option<Value>, episodes: Episodes) -> Judged<u64> {
        if episodes == Episodes::Ends {
            return Ok(self.ended);
        }
        let episode = episode.ok_or_else(|| corrupt("it has no episode"))?;
        if episodes == Episodes::Numbers {
            return episode
                .count()
                .ok_or_else(|| corrupt("its episode is no integer from 0 on, as most of the source's are"));
        }
        let word = match episode {
            Value::Word(word) => word,
            Value::Number { value, .. } => value.to_string(),
            _ => return Err(corrupt("its episode is neither a number nor a word")),
        };
        let next = self.words.len() as u64;
        Ok(*self.words.entry(word).or_insert(next))
    }

    fn action(&self, action: Value, usual: Kind) -> Judged<Action> {
        let max = self.limits.actions_max;
        match (usual, action) {
            (_, Value::Word(_)) => Err(corrupt("its action is a word")),
            (Kind::Discrete, Value::Flag(flag)) => Ok(Action::Discrete(flag.into())),
            (Kind::Discrete, action) => {
                let choice = action
                    .count()
                    .ok_or_else(|| corrupt("its action is no integer from 0 on, as most of the source's are"))?;
                let known = u32::try_from(choice).ok().filter(|&choice| (choice as usize) < max);
                let choice = known.ok_or_else(|| {
                    let detail = format!("its action is choice {choice}, limit is {max} choices from 0 on");
                    Rejection::new(Reason::Limits, detail)
                })?;
                Ok(Action::Discrete(choice))
            }
            (Kind::Real(length), action) => vector(Some(action), "action", length, max).map(Action::Real),
        }
    }
}

/// The numbers of a state or an action, as long as is usual.
fn vector(value: Option<Value>, what: &str, usual: usize, max: usize) -> Judged<Vec<f32>> {
    let long = || {
        Rejection::new(
            Reason::Limits,
            format!("its {what} has more numbers than {max}, the limit"),
        )
    };
    let numbers = match value {
        Some(Value::Numbers(numbers)) => numbers,
        Some(Value::Number { value, .. }) => {
            vec![finite(value).ok_or_else(|| corrupt(format!("its {what} is not finite")))?]
        }
        Some(Value::Long) => return Err(long()),
        Some(Value::Flag(_)) => return Err(corrupt(format!("its {what} is a truth value"))),
        Some(Value::Word(_)) => return Err(corrupt(format!("its {what} is a word"))),
        Some(Value::Wrong(held)) => return Err(corrupt(format!("its {what} holds {held}"))),
        None => return Err(corrupt(format!("it has no {what}"))),
    };
    match numbers.len() {
        0 => Err(corrupt(format!("its {what} has no numbers"))),
        length if length > max => Err(long()),
        length if length != usual => Err(corrupt(format!(
            "its {what} has {length} numbers, most of the source's have {usual}"
        ))),
        _ => Ok(numbers),
    }
}

fn corrupt(detail: impl Into<String>) -> Rejection {
    Rejection::new(Reason::Corrupt, detail)
}
