//! Streams take fair turns on the device: whoever asked first goes first.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

/// The device, of which one learner at a time has the turn.
#[derive(Debug, Default)]
pub struct DeviceTurns {
    queue: Mutex<Queue>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    waiting: VecDeque<u64>,
}

/// A turn on the device; over when dropped, also by a panic.
#[derive(Debug)]
pub struct Turn<'a> {
    turns: &'a DeviceTurns,
}

impl DeviceTurns {
    /// Waits for a turn.
    pub fn take(&self) -> Turn<'_> {
        let mut queue = self.queue.lock();
        let ticket = queue.next;
        queue.next += 1;
        queue.waiting.push_back(ticket);
        while queue.waiting.front() != Some(&ticket) {
            self.moved.wait(&mut queue);
        }
        Turn { turns: self }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.queue.lock().waiting.pop_front();
        self.turns.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn nobody_takes_a_second_turn_while_another_waits_for_the_first() {
        let (turns, order) = (Arc::new(DeviceTurns::default()), Arc::new(Mutex::new(Vec::new())));
        let held = turns.take();
        let learners: Vec<_> = (0..3)
            .map(|learner| {
                let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
                let waiting = turns.queue.lock().waiting.len();
                let thread = std::thread::spawn({
                    let turns = Arc::clone(&turns);
                    move || {
                        for _ in 0..4 {
                            let _turn = turns.take();
                            order.lock().push(learner);
                            std::thread::sleep(std::time::Duration::from_millis(2));
                        }
                    }
                });
                while turns.queue.lock().waiting.len() == waiting {
                    std::thread::yield_now();
                }
                thread
            })
            .collect();
        drop(held);
        learners.into_iter().for_each(|learner| learner.join().unwrap());
        let order = order.lock();
        assert_eq!(order[..3], [0, 1, 2]);
        for round in order.chunks(3) {
            let mut sorted = round.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2], "the turns went {order:?}");
        }
    }

    #[test]
    fn a_learner_that_panics_gives_its_turn_back() {
        let turns = Arc::new(DeviceTurns::default());
        let panicking = Arc::clone(&turns);
        let _ = std::thread::spawn(move || {
            let _turn = panicking.take();
            panic!("on purpose");
        })
        .join();
        drop(turns.take());
    }
}
