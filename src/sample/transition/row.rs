//! A row of a source, read but not yet judged.

use super::names::{Field, Known};
use super::value::Value;

/// The fields of a row that are there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) episode: Option<Value>,
    pub(super) t: Option<Value>,
    pub(super) state: Option<Value>,
    pub(super) action: Option<Value>,
    pub(super) next_state: Option<Value>,
    pub(super) reward: Option<Value>,
    /// Whether the episode ends with it.
    pub(super) ends: bool,
}

impl Row {
    /// The row of these values. Of two names of one field the likelier is meant.
    pub(super) fn of(mut values: Vec<(Known, Value)>) -> Self {
        values.sort_by_key(|(known, _)| std::cmp::Reverse(known.rank));
        let mut row = Self::default();
        for (known, value) in values {
            row.put(known.field, value);
        }
        row
    }

    /// Keeps a field's value.
    fn put(&mut self, field: Field, value: Value) {
        let kept = match field {
            Field::Episode => &mut self.episode,
            Field::T => &mut self.t,
            Field::State => &mut self.state,
            Field::Action => &mut self.action,
            Field::NextState => &mut self.next_state,
            Field::Reward => &mut self.reward,
            Field::End => {
                self.ends |= value.is_true();
                return;
            }
        };
        *kept = Some(value);
    }
}
