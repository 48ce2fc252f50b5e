//! Care: what the loop does when the network forgets or declines.
//! Invariant: steps go on counting, whatever the weights go back to.

use tracing::{info, warn};

use super::Loop;
use crate::ids::SampleId;
use crate::learn::decline::Remedy;
use crate::learn::thread::Candidate;
use crate::learn::{Health, LearnError, anchor};

/// Share of the learning rate below which a learner that fails again and again is given up: eight recoveries.
const RATE_SHARE_MIN: f64 = 1.0 / 256.0;

impl<Deliver: Fn(Candidate)> Loop<Deliver> {
    /// Asks the oldest samples of the exam whether something is being forgotten.
    pub(super) fn ask_anchors(&mut self) -> Result<(), LearnError> {
        let ids = self.replay.oldest_exam(anchor::ANCHORS);
        let contents = self.replay.read_many(&ids)?;
        let there: Vec<(SampleId, Vec<u8>)> = ids
            .into_iter()
            .zip(contents)
            .filter_map(|(id, content)| Some((id, content?)))
            .collect();
        if there.len() == anchor::ANCHORS {
            let losses = self.learner.ask(self.presenter.fixed_pairs(&there)?)?;
            self.cursors
                .anchor
                .observe(there.into_iter().map(|(id, _)| id).collect(), losses);
        }
        Ok(())
    }

    /// Mends a network that is declining.
    pub(super) fn look_after(&mut self, health: &Health) -> Result<(), LearnError> {
        let step = self.learner.steps();
        match self.cursors.decline.observe(health) {
            Remedy::None => {}
            Remedy::Restore => {
                warn!(stream = %self.setup.stream, step, spread = health.spread, rank = health.rank,
                    hint = "none if rare; else lower learning.learning_rate, or choose another learning.objective",
                    "the network collapsed: its embeddings hardly differ");
                self.shared.state.lock().collapses += 1;
                self.recover()?;
            }
            Remedy::ShrinkAndPerturb => {
                self.learner.shrink_and_perturb()?;
                self.shared.state.lock().shrinks += 1;
                info!(stream = %self.setup.stream, step, dormant = health.dormant,
                    "shrank the weights towards fresh ones: too many units had stopped to answer");
            }
        }
        Ok(())
    }

    /// Back to the last good checkpoint, at half the rate. Steps go on counting: the same batches would fail again.
    pub(super) fn recover(&mut self) -> Result<(), LearnError> {
        let rate_share = self.learner.rate_share / 2.0;
        if rate_share < RATE_SHARE_MIN {
            return Err(LearnError::Diverged {
                step: self.learner.step,
            });
        }
        let (mut learner, _) = self.checkpoints.restore_sound(&self.learner.setup)?;
        let (step, from) = (self.learner.step, learner.step);
        warn!(stream = %self.setup.stream, step, from, rate_share,
            hint = "none if rare; else lower learning.learning_rate, or set learning.precision to \"fp32\"",
            "went back to the last good checkpoint");
        if let (0, Some(scales)) = (from, &self.setup.scales) {
            learner.scale(scales)?;
        }
        learner.go_on_from(&self.learner, rate_share);
        self.learner = learner;
        Ok(())
    }
}
