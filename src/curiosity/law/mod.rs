//! Has the law changed by which an agent's states follow each other? A model that forgets predicts how each arrival changes the
//! state, before it learns it; the law has changed when even arrivals that are easy go wrong.
//! Invariant: what is said of an arrival depends on it and on those before it alone; a change is told once; a fresh start, as
//! after a restart of the daemon, says nothing of its first arrivals.
//!
//! The stream's own network is no judge of it: it remembers laws that it saw before, so that a return to one is no surprise, and it
//! tells some laws apart by where they lead. A test of means is none either: errors of an episode depend on each other, and a
//! strange place is as bad as a new law. But a strange place, or a fall, is bad for some arrivals: a new law for most.

mod model;

use std::collections::VecDeque;

use super::Change;
use crate::sample::Transition;
use model::{Frame, Model};

/// Arrivals that the frame, the scales of states and actions, is measured on.
const FIRST: usize = 1_024;

/// Arrivals that are judged together, then learnt.
const TURN: usize = 16;

/// The newest arrivals whose errors are looked at, and the place among these, in their order, of the one that counts: four of ten
/// are below it.
const WINDOW: usize = 128;
const PLACE: usize = 51;

/// What came out in so many turns before is what is usual.
const USUAL: usize = 128;

/// Arrivals since a start before which no change is told.
const WARM_UP: u64 = 1_024;

/// A change is told where the logarithm is so far above the median of those before: errors four times as large.
const RISE: f64 = 1.4;

/// What is added to a change of state before it is divided by, and to the quotient: small changes have no great errors.
const LEAST: f64 = 0.01;

/// The law of a stream of transitions.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Law {
    /// The first arrivals, until there are enough of them.
    first: Vec<Transition>,
    known: Option<Box<Known>>,
}

/// What is known of it.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    frame: Frame,
    model: Model,
    watch: Watch,
    /// Arrivals of this turn: what they are predicted from, and how the state changed.
    turn: Vec<(Vec<f64>, Vec<f64>)>,
}

impl Law {
    /// Takes the next arrival in; the change that it makes certain, if it does: the error of easy arrivals over how much their
    /// states change, before and since.
    pub(super) fn observe(&mut self, transition: &Transition) -> Option<Change> {
        if let Some(known) = &mut self.known {
            return known.observe(transition);
        }
        self.first.push(transition.clone());
        if self.first.len() < FIRST {
            return None;
        }
        let first = std::mem::take(&mut self.first);
        let frame = Frame::of(&first);
        let known = self.known.insert(Box::new(Known {
            model: Model::new(&frame),
            frame,
            watch: Watch::default(),
            turn: Vec::with_capacity(TURN),
        }));
        first.iter().filter_map(|transition| known.observe(transition)).last()
    }
}

impl Known {
    fn observe(&mut self, transition: &Transition) -> Option<Change> {
        self.turn.push(self.frame.of_arrival(transition));
        if self.turn.len() < TURN {
            return None;
        }
        let turn = std::mem::take(&mut self.turn);
        let errors = self.model.errors(&turn);
        let change = errors.and_then(|errors| self.watch.observe(&errors));
        if change.is_some() {
            // What was learnt is of another law.
            self.model.forget();
            self.watch = Watch::default();
        }
        self.model.learn(&turn);
        change
    }
}

/// The errors of arrivals, watched.
#[derive(Clone, Debug, Default, PartialEq)]
struct Watch {
    /// The newest logarithms of relative errors.
    newest: VecDeque<f64>,
    /// What came out in the turns whose arrivals are still among them.
    late: VecDeque<f64>,
    /// What came out in those before.
    usual: VecDeque<f64>,
    seen: u64,
}

impl Watch {
    /// Takes a turn's squared errors in, each with the square of what changed.
    fn observe(&mut self, errors: &[(f64, f64)]) -> Option<Change> {
        for (error, changed) in errors {
            self.newest.push_back((error / (changed + LEAST) + LEAST).ln());
            if self.newest.len() > WINDOW {
                self.newest.pop_front();
            }
            self.seen += 1;
        }
        if self.newest.len() < WINDOW {
            return None;
        }
        let now = at(&self.newest, PLACE);
        self.late.push_back(now);
        if self.late.len() > WINDOW / TURN {
            self.usual.extend(self.late.pop_front());
            if self.usual.len() > USUAL {
                self.usual.pop_front();
            }
        }
        if self.seen < WARM_UP || self.usual.is_empty() {
            return None;
        }
        let usual = at(&self.usual, self.usual.len() / 2);
        (now - usual > RISE).then(|| Change {
            before: usual.exp(),
            since: now.exp(),
        })
    }
}

/// The number at this place of their order, from 0.
fn at(numbers: &VecDeque<f64>, place: usize) -> f64 {
    let mut sorted: Vec<f64> = numbers.iter().copied().collect();
    let place = place.min(sorted.len() - 1);
    *sorted.select_nth_unstable_by(place, f64::total_cmp).1
}

#[cfg(test)]
mod tests;
