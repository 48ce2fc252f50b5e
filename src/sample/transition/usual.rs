//! What is usual in a source, told by its first rows: the others are read, or faulted, by it.

use super::TransitionLimits;
use super::row::Row;
use super::value::Value;

/// How a source tells its episodes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Episodes {
    /// By their numbers.
    Numbers,
    /// By words, which are numbered in the order of their first occurrence.
    Words,
    /// By the rows that end one.
    Ends,
}

/// What a source's actions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Choices.
    Discrete,
    /// So many real numbers.
    Real(usize),
}

/// What most of a source's first rows have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usual {
    pub(super) episodes: Episodes,
    /// Whether rows say their place in the episode.
    pub(super) has_t: bool,
    /// Numbers of a state; 0 where no state was one.
    pub(super) dims: usize,
    pub(super) actions: Kind,
}

impl Usual {
    pub(super) fn of<'a>(rows: impl Iterator<Item = &'a Row> + Clone, limits: &TransitionLimits) -> Self {
        let episodes = rows.clone().map(|row| match &row.episode {
            None => Episodes::Ends,
            Some(episode) if episode.count().is_some() => Episodes::Numbers,
            Some(_) => Episodes::Words,
        });
        let has_t = rows.clone().map(|row| row.t.as_ref().and_then(Value::count).is_some());
        let length_max = |max: usize| move |length: &usize| (1..=max).contains(length);
        let dims = rows.clone().filter_map(|row| row.state.as_ref()?.len());
        let actions = rows.filter_map(|row| row.action.as_ref());
        let reals = actions.clone().filter(|action| !is_choice(action)).count();
        let choices = actions.clone().filter(|action| is_choice(action)).count();
        let numbers = actions.filter_map(Value::len).filter(length_max(limits.actions_max));
        Self {
            episodes: commonest(episodes).unwrap_or(Episodes::Ends),
            has_t: commonest(has_t).unwrap_or(false),
            dims: commonest(dims.filter(length_max(limits.state_dims_max))).unwrap_or(0),
            actions: if choices > reals {
                Kind::Discrete
            } else {
                Kind::Real(commonest(numbers).unwrap_or(0))
            },
        }
    }
}

/// Whether an action is written as a choice: a truth value, or an integer from 0 on.
fn is_choice(action: &Value) -> bool {
    matches!(action, Value::Flag(_) | Value::Number { whole: Some(_), .. })
}

/// The commonest of some values; of equally common ones the first.
fn commonest<T: PartialEq + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: Vec<(T, usize)> = Vec::new();
    for value in values {
        match counts.iter_mut().find(|(known, _)| *known == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    counts
        .into_iter()
        .rev()
        .max_by_key(|(_, count)| *count)
        .map(|(value, _)| value)
}
