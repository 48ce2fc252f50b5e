//! Keeping: candidates for the gate, and checkpoints.
//! Invariant: what is handed over or written is sound: its weights are numbers.

use tracing::{error, info, warn};

use super::Loop;
use crate::disk;
use crate::learn::LearnError;
use crate::learn::thread::Candidate;

impl<Deliver: Fn(Candidate)> Loop<Deliver> {
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
            steps_since_shift: self.shifted_at.map(|shifted_at| step.saturating_sub(shifted_at)),
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
