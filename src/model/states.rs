//! Transitions as rows of states, filled up with zeros, and what was done between them.
//! Invariant: rows hold finite numbers only, and choices that the network knows.

use tch::{Device, TchError, Tensor};

use super::{Actions, TransitionSpec};
use crate::sample::{Action, Content, ContentError, Transition};

/// B transitions, not yet on a device.
pub struct StateRows {
    count: usize,
    dims: usize,
    actions: usize,
    /// Every state, then every next state.
    states: Vec<f32>,
    choices: Vec<i64>,
    numbers: Vec<f32>,
    there: Vec<f32>,
    real: Vec<f32>,
}

impl StateRows {
    /// The rows of these transitions. Of states and actions of more numbers than the network has, as when a setting was changed
    /// since they came, it sees the first; of a choice that it does not know, nothing. An error where a sample is no transition,
    /// or holds what is no number.
    pub fn of<'a>(contents: impl Iterator<Item = &'a Content>, spec: &TransitionSpec) -> Result<Self, ContentError> {
        let (dims, actions) = (spec.state_dims as usize, spec.actions as usize);
        let transitions = contents
            .map(|content| match content {
                Content::Transition(transition) => Ok(transition),
                _ => Err(ContentError("it is no transition")),
            })
            .collect::<Result<Vec<&Transition>, _>>()?;
        let count = transitions.len();
        let mut rows = Self {
            count,
            dims,
            actions,
            states: vec![0.0; 2 * count * dims],
            choices: vec![0; count],
            numbers: vec![0.0; count * actions],
            there: vec![0.0; count * actions],
            real: vec![0.0; count],
        };
        for (at, transition) in transitions.into_iter().enumerate() {
            rows.state(at, &transition.state)?;
            rows.state(count + at, &transition.next_state)?;
            rows.action(at, &transition.action)?;
        }
        Ok(rows)
    }

    fn state(&mut self, row: usize, state: &[f32]) -> Result<(), ContentError> {
        must_be_finite(state)?;
        let seen = state.len().min(self.dims);
        self.states[row * self.dims..][..seen].copy_from_slice(&state[..seen]);
        Ok(())
    }

    fn action(&mut self, row: usize, action: &Action) -> Result<(), ContentError> {
        match action {
            Action::Discrete(choice) if (*choice as usize) < self.actions => self.choices[row] = i64::from(*choice),
            Action::Discrete(_) => self.real[row] = 1.0,
            Action::Real(numbers) => {
                must_be_finite(numbers)?;
                let (from, seen) = (row * self.actions, numbers.len().min(self.actions));
                self.numbers[from..from + seen].copy_from_slice(&numbers[..seen]);
                self.there[from..from + seen].fill(1.0);
                self.real[row] = 1.0;
            }
        }
        Ok(())
    }

    /// As tensors on the device: the states, [2B, S], those before, then those after; and what was done.
    pub fn tensors(&self, device: Device) -> Result<(Tensor, Actions), TchError> {
        let matrix = |numbers: &[f32], rows: usize, columns: usize| {
            Tensor::from_slice(numbers)
                .f_view([rows as i64, columns as i64])?
                .f_to_device(device)
        };
        let actions = Actions {
            choices: Tensor::from_slice(&self.choices).f_to_device(device)?,
            numbers: matrix(&self.numbers, self.count, self.actions)?,
            there: matrix(&self.there, self.count, self.actions)?,
            real: Tensor::from_slice(&self.real).f_to_device(device)?,
        };
        Ok((matrix(&self.states, 2 * self.count, self.dims)?, actions))
    }
}

fn must_be_finite(numbers: &[f32]) -> Result<(), ContentError> {
    match numbers.iter().all(|number| number.is_finite()) {
        true => Ok(()),
        false => Err(ContentError("the transition holds what is no number")),
    }
}

/// An error where the network would see a part of this transition only.
pub fn must_be_seen_whole(transition: &Transition, spec: &TransitionSpec) -> Result<(), ContentError> {
    let actions = spec.actions as usize;
    let knows_action = match &transition.action {
        Action::Discrete(choice) => (*choice as usize) < actions,
        Action::Real(numbers) => numbers.len() <= actions,
    };
    if transition.state.len().max(transition.next_state.len()) > spec.state_dims as usize {
        return Err(ContentError("the state has more numbers than the network sees"));
    }
    match knows_action {
        true => Ok(()),
        false => Err(ContentError("the action is one of more than the network knows")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: TransitionSpec = TransitionSpec {
        state_dims: 3,
        actions: 2,
        width: 8,
        features: 4,
    };

    fn transition(state: &[f32], action: Action) -> Content {
        Content::Transition(Transition {
            episode: 0,
            t: 0,
            next_state: state.iter().map(|number| number + 1.0).collect(),
            state: state.to_vec(),
            action,
        })
    }

    #[test]
    fn states_come_before_next_states_and_are_filled_up_with_zeros() {
        let contents = [
            transition(&[1.0, 2.0], Action::Discrete(1)),
            transition(&[3.0, 4.0, 5.0], Action::Real(vec![0.5])),
        ];
        let rows = StateRows::of(contents.iter(), &SPEC).unwrap();
        let (states, actions) = rows.tensors(Device::Cpu).unwrap();
        assert_eq!(states.size(), [4, 3]);
        let numbers = |of: &Tensor| Vec::<f32>::try_from(of.contiguous().view(-1)).unwrap();
        assert_eq!(numbers(&states), [1., 2., 0., 3., 4., 5., 2., 3., 0., 4., 5., 6.]);
        assert_eq!(numbers(&actions.numbers), [0.0, 0.0, 0.5, 0.0]);
        assert_eq!(numbers(&actions.there), [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(numbers(&actions.real), [0.0, 1.0]);
        assert_eq!(Vec::<i64>::try_from(&actions.choices).unwrap(), [1, 0]);
    }

    #[test]
    fn of_what_is_too_large_the_first_is_seen_and_nothing_of_a_choice_that_is_not_known() {
        let contents = [
            transition(&[1.0, 2.0, 3.0, 4.0], Action::Discrete(2)),
            transition(&[5.0], Action::Real(vec![0.5, 0.6, 0.7])),
        ];
        let (states, actions) = StateRows::of(contents.iter(), &SPEC)
            .unwrap()
            .tensors(Device::Cpu)
            .unwrap();
        let numbers = |of: &Tensor| Vec::<f32>::try_from(of.contiguous().view(-1)).unwrap();
        assert_eq!(numbers(&states)[..6], [1., 2., 3., 5., 0., 0.]);
        assert_eq!(numbers(&actions.numbers), [0.0, 0.0, 0.5, 0.6]);
        assert_eq!(numbers(&actions.there), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(numbers(&actions.real), [1.0, 1.0]);
        for content in &contents {
            let Content::Transition(transition) = content else {
                panic!()
            };
            assert!(must_be_seen_whole(transition, &SPEC).is_err());
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let refused = [
            transition(&[0.0, f32::NAN], Action::Discrete(0)),
            transition(&[0.0], Action::Real(vec![f32::INFINITY])),
        ];
        for content in &refused {
            assert!(
                StateRows::of(std::iter::once(content), &SPEC).is_err(),
                "{content:?} was taken"
            );
        }
    }
}
