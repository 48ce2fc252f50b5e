//! A thread's pulse: whether it moves, as the watchdog asks.
//! Always true: a thread that waits for work, or for another thread to take its own, is not at work; only what it does with
//! the disk and the processor can be stuck.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Since when a thread has been at one piece of work; nothing while it waits.
#[derive(Debug, Default)]
pub(super) struct Pulse(Mutex<Option<Instant>>);

impl Pulse {
    /// It begins a piece of work, or the next one.
    pub(super) fn beat(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// It waits.
    pub(super) fn rest(&self) {
        *self.0.lock() = None;
    }

    /// Whether it has been at one piece of work for longer.
    pub(super) fn is_stuck(&self, after: Duration) -> bool {
        self.0.lock().is_some_and(|since| since.elapsed() > after)
    }
}
