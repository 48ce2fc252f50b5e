//! Transitions: rows of states, for a step, a score or an anchor. Nothing is drawn: a transition is always shown as it is.

use crate::curiosity::{THUMBNAIL_PX, Thumbnail};
use crate::model::{StateRows, TransitionSpec};
use crate::sample::{Action, Content};

use super::ShowError;

/// How transitions are shown: the two views of one are its state and the next.
#[derive(Clone)]
pub(in crate::learn) struct Transitions {
    spec: TransitionSpec,
}

impl Transitions {
    pub(super) fn new(spec: &TransitionSpec) -> Self {
        Self { spec: *spec }
    }

    /// The state of every transition, then the next state of every one.
    pub(super) fn pairs<'a>(&self, contents: impl Iterator<Item = &'a Content>) -> Result<StateRows, ShowError> {
        Ok(StateRows::of(contents, &self.spec)?)
    }
}

/// A transition as 256 numbers of 0 to 1, for who looks at small grey pictures: its state, its action and the next state, one
/// after the other, 0 as grey; what is more than fits is left out.
pub(super) fn thumbnail(content: &Content) -> Thumbnail {
    let mut grey = [0.5; THUMBNAIL_PX * THUMBNAIL_PX];
    if let Content::Transition(transition) = content {
        let choice;
        let action: &[f32] = match &transition.action {
            Action::Real(numbers) => numbers,
            Action::Discrete(number) => {
                choice = [*number as f32];
                &choice
            }
        };
        let numbers = transition.state.iter().chain(action).chain(&transition.next_state);
        for (grey, number) in grey.iter_mut().zip(numbers) {
            // As a double: of the largest numbers a float's is no number.
            let size = f64::from(*number).asinh();
            *grey = (0.5 + 0.5 * size / (1.0 + size.abs())) as f32;
        }
    }
    grey
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Transition;

    #[test]
    fn a_thumbnail_is_of_numbers_of_0_to_1_whatever_the_states_range() {
        let of = |number: f32| {
            thumbnail(&Content::Transition(Transition {
                episode: 0,
                t: 0,
                state: vec![number; 150],
                action: Action::Discrete(1),
                next_state: vec![-number; 150],
            }))
        };
        for number in [0.0, 1.0, -1e9, f32::MAX] {
            assert!(of(number).iter().all(|grey| (0.0..=1.0).contains(grey)), "{number}");
        }
        assert_ne!(of(1.0), of(2.0));
    }
}
