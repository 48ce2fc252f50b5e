//! The scales of a new stream of transitions: measured on its first ones, then frozen, for a network learns the numbers that it
//! began with.
//! Invariant: they are a function of the transitions that were held, the oldest first, and of the network.

use tracing::info;

use super::firsts;
use super::thread::{LearnSetup, Shared};
use crate::model::{Scales, TransitionSpec};
use crate::replay::ReplayBuffer;
use crate::sample::{Content, Transition};

/// Transitions that they are measured on.
const MEASURED: usize = 1_024;

/// Waits until the buffer holds so many transitions, or has enough to learn from and rests; the scales of those it holds then.
/// None when the learner is stopped before that.
pub(super) fn of_stream(
    replay: &ReplayBuffer,
    setup: &LearnSetup,
    shared: &Shared,
    spec: &TransitionSpec,
) -> Option<Scales> {
    if !firsts::wait(replay, setup, shared, |counts| counts.samples as usize >= MEASURED) {
        return None;
    }
    let transitions = firsts::held(replay).filter_map(|content| match content {
        Content::Transition(transition) => Some(transition),
        _ => None,
    });
    let scales = measure(transitions, spec);
    info!(stream = %setup.stream, "measured the scales of the first transitions");
    Some(scales)
}

/// The scales of the first of these transitions.
pub fn measure(transitions: impl Iterator<Item = Transition>, spec: &TransitionSpec) -> Scales {
    let first: Vec<Transition> = transitions.take(MEASURED).collect();
    Scales::of(first.iter(), spec)
}
