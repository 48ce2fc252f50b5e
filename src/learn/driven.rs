//! A learner that its owner drives: the daemon's loop on the caller's thread, for playing an archive.
//! Invariant: it draws, steps and reports as a stream's learner does; only nobody waits and nothing is handed over.

use std::sync::Arc;

use super::checkpoint::Checkpoints;
use super::run::Loop;
use super::thread::{Candidate, LearnSetup, LearnerState, Shared};
use super::{DeviceTurns, LearnError};
use crate::model::Decoders;
use crate::replay::ReplayBuffer;

/// A learner without a thread of its own.
pub struct DrivenLearner {
    shared: Arc<Shared>,
    inner: Loop<fn(Candidate)>,
}

impl DrivenLearner {
    /// A learner of this buffer that resumes the newest checkpoint, if there is one. No other may use the buffer.
    pub fn new(setup: LearnSetup, replay: Arc<ReplayBuffer>) -> Result<Self, LearnError> {
        let checkpoints = Checkpoints::open(&setup.checkpoints, setup.config.checkpoints_kept)?;
        let shared = Arc::new(Shared::default());
        let turns = Arc::<DeviceTurns>::default();
        let inner = Loop::new(
            setup,
            replay,
            turns,
            checkpoints,
            Arc::clone(&shared),
            drop as fn(Candidate),
        )?
        .ok_or(LearnError::NoTokenizer)?;
        Ok(Self { shared, inner })
    }

    /// Takes steps until what has arrived was replayed as often as it may be.
    pub fn learn(&mut self) -> Result<(), LearnError> {
        while self.inner.turn()? {}
        Ok(())
    }

    /// As [`DrivenLearner::learn`], but no further than to this step of its life.
    pub fn learn_until(&mut self, step: u64) -> Result<(), LearnError> {
        while self.steps() < step && self.inner.turn()? {}
        Ok(())
    }

    /// Steps done in its life.
    pub fn steps(&self) -> u64 {
        self.inner.steps()
    }

    /// The learner in numbers, as it was before its last step.
    pub fn state(&self) -> LearnerState {
        self.shared.state.lock().clone()
    }

    /// The weights of what says what is hidden, where the objective has it.
    pub fn decoders(&self) -> Result<Option<Decoders>, LearnError> {
        self.inner.decoders()
    }

    /// The weights as they are now: the student's and the teacher's, as safetensors.
    pub fn weights(&self) -> Result<(Vec<u8>, Vec<u8>), LearnError> {
        self.inner.weights()
    }
}
