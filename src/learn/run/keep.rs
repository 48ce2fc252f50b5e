//! Keeping: candidates for the gate, and checkpoints.
//! Invariant: what is handed over or written is sound: its weights are numbers.

use tracing::{error, info, warn};

use super::Loop;
use crate::disk;
use crate::learn::LearnError;
use crate::learn::thread::Candidate;

impl<Deliver: Fn(Candidate)> Loop<Deliver> {
    /// Whether the next candidate is to be made.
    pub(super) fn is_candidate_due(&self) -> bool {
        let is_first = self.candidate_step == 0 && self.setup.published_step == 0;
        let shifted_at = self.shifted_at.filter(|_| !is_first);
        is_due(
            self.learner.steps(),
            self.cursors.next_candidate,
            shifted_at,
            self.setup.publication.candidate_steps / 4,
        )
    }

    /// Hands the weights as they are to the gate.
    pub(super) fn hand_over(&mut self) -> Result<(), LearnError> {
        let step = self.learner.steps();
        self.candidate_step = step;
        if !self.learner.is_finite()? {
            warn!(stream = %self.setup.stream, step,
                hint = "lower learning.learning_rate, or set learning.precision to \"fp32\"",
                "made no candidate: its weights are no numbers");
            return Ok(());
        }
        self.cursors.next_candidate = step + self.setup.publication.candidate_steps + step / 4;
        let (student, teacher) = self.learner.weights()?;
        info!(stream = %self.setup.stream, step, loss = self.learner.loss(), "handed over a candidate");
        (self.deliver)(Candidate {
            stream: self.setup.stream.clone(),
            step,
            spec: self.setup.spec,
            tokenizer: self.learner.setup.tokenizer.clone(),
            student,
            teacher,
            decoders: self.learner.decoders()?,
            watermark: self.replay.newest(),
            loss: self.learner.loss(),
        });
        Ok(())
    }

    /// Writes a checkpoint when there is something new and sound to keep. One that can not be written, as on a full disk, is
    /// tried again later.
    pub(super) fn checkpoint(&mut self) -> Result<(), LearnError> {
        let step = self.learner.steps();
        if step <= self.saved_step || !self.learner.is_finite()? {
            return Ok(());
        }
        let failure = match self.checkpoints.save(&self.learner, &self.cursors) {
            Ok(()) => {
                self.saved_step = step;
                info!(stream = %self.setup.stream, step, "wrote a checkpoint");
                None
            }
            Err(error) => {
                error!(stream = %self.setup.stream, step, %error,
                    hint = "free space on the disk of state_dir, and look at its owner and health; it is tried again",
                    "failed to write a checkpoint; learning goes on");
                Some(error.to_string())
            }
        };
        let mut state = self.shared.state.lock();
        state.checkpoint_failures += u64::from(failure.is_some());
        state.checkpoint_failure = failure;
        Ok(())
    }

    /// Whether enough of the disk is free for a checkpoint; says so when that changes.
    pub(super) fn disk_has_room(&mut self) -> bool {
        // A disk that does not tell is written to, and says then what it has.
        let free = disk::free_bytes(&self.setup.checkpoints).unwrap_or(u64::MAX);
        let paused = self.disk.judge(free);
        let (stream, mut state) = (&self.setup.stream, self.shared.state.lock());
        match (&state.checkpoints_paused, &paused) {
            (None, Some(reason)) => warn!(
                %stream, reason,
                hint = "free space on the disk of state_dir; learning and queries go on, a kill loses what was learnt since the last checkpoint",
                "paused the checkpoints"
            ),
            (Some(_), None) => info!(%stream, "resumed the checkpoints"),
            _ => {}
        }
        state.checkpoints_paused = paused;
        state.checkpoints_paused.is_none()
    }
}

/// Whether a candidate that is due at the step `due` is to be made at this one. In the middle of a change of the stream none is: it
/// waits until `rest` steps after what was last seen of one, but no longer than twice as many in all, so that a stream that changes all
/// the time is judged too.
fn is_due(step: u64, due: u64, shifted_at: Option<u64>, rest: u64) -> bool {
    step >= due && (step >= due + 2 * rest || shifted_at.is_none_or(|shifted_at| step >= shifted_at + rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_waits_until_a_change_of_the_stream_is_over_but_not_for_ever() {
        assert!(!is_due(199, 200, None, 50) && is_due(200, 200, None, 50));
        assert!(!is_due(200, 200, Some(190), 50) && !is_due(239, 200, Some(190), 50));
        assert!(is_due(240, 200, Some(190), 50));
        // It changes at each step.
        assert!((200..300).all(|step| !is_due(step, 200, Some(step), 50)));
        assert!(is_due(300, 200, Some(300), 50));
    }
}
