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
    /// The rows of these transitions. An error where a sample is none, or has more numbers or choices than the network.
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
        let into = &mut self.states[row * self.dims..(row + 1) * self.dims];
        let into = into
            .get_mut(..state.len())
            .ok_or(ContentError("the state has more numbers than the network sees"))?;
        into.copy_from_slice(state);
        match state.iter().all(|number| number.is_finite()) {
            true => Ok(()),
            false => Err(ContentError("the state holds what is no number")),
        }
    }

    fn action(&mut self, row: usize, action: &Action) -> Result<(), ContentError> {
        match action {
            Action::Discrete(choice) if (*choice as usize) < self.actions => self.choices[row] = i64::from(*choice),
            Action::Real(numbers) if numbers.len() <= self.actions => {
                if numbers.iter().any(|number| !number.is_finite()) {
                    return Err(ContentError("the action holds what is no number"));
                }
                let from = row * self.actions;
                self.numbers[from..from + numbers.len()].copy_from_slice(numbers);
                self.there[from..from + numbers.len()].fill(1.0);
                self.real[row] = 1.0;
            }
            _ => return Err(ContentError("the action is one of more than the network knows")),
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
    fn what_the_network_can_not_see_is_refused() {
        let refused = [
            transition(&[0.0; 4], Action::Discrete(0)),
            transition(&[0.0, f32::NAN], Action::Discrete(0)),
            transition(&[0.0], Action::Discrete(2)),
            transition(&[0.0], Action::Real(vec![0.0; 3])),
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
