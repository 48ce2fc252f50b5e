//! The learner's loop, on one page.
//! Invariant: the samples of step s are drawn after what step s - 2 learnt was reported, so that a batch is a function of
//! the seed, the step and the buffer. (A prioritized sampler sees the buffer as the last steps before a restart left it: the
//! first two batches after one may differ from those of a run that went on.)

mod alerts;
mod care;
mod keep;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::debug;

use super::anchor;
use super::batch::{Augmenters, Draft, importance};
use super::checkpoint::{Checkpoints, Cursors};
use super::pace::Pace;
use super::score::{self, ToScore};
use super::show::Presenter;
use super::thread::{Activity, Candidate, LearnSetup, Shared};
use super::{DeviceTurns, LearnError, Learner, LearnerSetup, StepReport, scaling, vocabulary};
use crate::config::SamplerKind;
use crate::curiosity::Scored;
use crate::disk::DiskGate;
use crate::ids::{SampleId, SourceHash};
use crate::limits::BATCH_QUEUE_MAX;
use crate::model::Decoders;
use crate::model::EncoderSpec;
use crate::replay::{Draw, ReplayBuffer};
use crate::rng;
use crate::sample::Modality;
use crate::torch;

/// How long a learner with nothing to do sleeps before it looks again.
pub(super) const IDLE: Duration = Duration::from_millis(200);

/// What is remembered of a draft until its step is taken.
struct UnderWay {
    /// Whether each of its samples was seen for the first time.
    first_visits: Vec<bool>,
    /// The newest arrival that it or one before it asks about.
    sighted: Option<SampleId>,
}

/// The learner with everything around it.
pub(super) struct Loop<Deliver> {
    setup: LearnSetup,
    batch: usize,
    replay: Arc<ReplayBuffer>,
    turns: Arc<DeviceTurns>,
    checkpoints: Checkpoints,
    disk: DiskGate,
    shared: Arc<Shared>,
    deliver: Deliver,
    learner: Learner,
    cursors: Cursors,
    /// How samples are shown.
    presenter: Presenter,
    augmenters: Augmenters,
    /// Drafts under way, oldest first.
    under_way: VecDeque<UnderWay>,
    /// The newest arrival that a draft asks the teacher about; those that were answered are the cursors'.
    sighted: Option<SampleId>,
    pace: Pace,
    saved_at: Instant,
    saved_step: u64,
    /// The step of the last candidate, or of the published model.
    candidate_step: u64,
    /// Sources whose outliers were told, the newest last.
    told_sources: VecDeque<SourceHash>,
    /// The step at which the stream was last seen to change, since the start.
    shifted_at: Option<u64>,
}

impl<Deliver: Fn(Candidate)> Loop<Deliver> {
    /// Resumes the newest checkpoint, or begins anew; a new stream of texts waits for its vocabulary first, one of transitions
    /// for its scales. None when it was stopped before that.
    pub(super) fn new(
        mut setup: LearnSetup,
        replay: Arc<ReplayBuffer>,
        turns: Arc<DeviceTurns>,
        checkpoints: Checkpoints,
        shared: Arc<Shared>,
        deliver: Deliver,
    ) -> Result<Option<Self>, LearnError> {
        torch::set_threads(setup.learn_threads);
        let batch = setup.spec.batch(&setup.config);
        let learner = LearnerSetup {
            config: setup.config.clone(),
            spec: setup.spec,
            tokenizer: setup.tokenizer.clone(),
            batch,
            device: setup.device,
        };
        let (mut learner, mut cursors) = checkpoints.restore(&learner)?;
        if setup.spec.modality() == Modality::Text && learner.setup.tokenizer.is_none() {
            let Some(tokenizer) = vocabulary::of_stream(&replay, &setup, &shared)? else {
                return Ok(None);
            };
            learner.setup.tokenizer = Some(tokenizer);
        }
        if let EncoderSpec::Transition(spec) = &setup.spec
            && learner.is_unscaled()
        {
            let known = setup.scales.clone();
            let Some(scales) = known.or_else(|| scaling::of_stream(&replay, &setup, &shared, spec)) else {
                return Ok(None);
            };
            learner.scale(&scales)?;
            setup.scales = Some(scales);
        }
        cursors.curiosity.measure_novelty(setup.curiosity.novelty);
        if learner.steps() == 0 {
            // What another network said of them compares with nothing that this one will say.
            replay.forget_scores();
        }
        if cursors.next_candidate == 0 {
            cursors.next_candidate = setup.publication.first_candidate_steps;
        }
        let objective = setup.config.objective.of(setup.spec.modality());
        let presenter = Presenter::new(objective, &setup.spec, learner.setup.tokenizer.as_ref())?;
        let augmenters = Augmenters::start(&setup.stream, presenter.clone(), setup.device, setup.augment_threads)?;
        let saved_step = learner.steps();
        let now = Instant::now();
        Ok(Some(Self {
            presenter,
            candidate_step: setup.published_step,
            disk: DiskGate::of_checkpoints(setup.disk_reserve_bytes),
            setup,
            batch,
            replay,
            turns,
            checkpoints,
            shared,
            deliver,
            learner,
            sighted: cursors.sighted,
            cursors,
            augmenters,
            under_way: VecDeque::new(),
            pace: Pace::new(now),
            saved_at: now,
            saved_step,
            told_sources: VecDeque::new(),
            shifted_at: None,
        }))
    }

    pub(super) fn run(mut self) -> Result<(), LearnError> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            if !self.turn()? {
                self.idle()?;
            }
            if self.saved_at.elapsed() >= Duration::from_secs(self.setup.config.checkpoint_s) {
                self.saved_at = Instant::now();
                if self.disk_has_room() {
                    self.checkpoint()?;
                }
            }
        }
        // However little is free: one more is no more than what it replaces, and what was learnt would be lost.
        self.checkpoint()
    }

    /// Takes one step where there is something to learn, or looks at what arrived where nothing more may be drawn; `false` if
    /// there is neither.
    pub(super) fn turn(&mut self) -> Result<bool, LearnError> {
        let (surprise, drifts) = (self.cursors.surprise.value(), self.cursors.curiosity.counts().drifts);
        self.cursors
            .effort
            .arrive(self.replay.arrived(), self.replay.draws(), surprise, drifts);
        let activity = self.activity();
        self.tell(activity.clone());
        match activity {
            Activity::Learning => self.draw()?,
            Activity::Bored => return self.look(),
            Activity::Paused | Activity::Waiting | Activity::Failed(_) => return Ok(false),
        }
        let Some(draft) = self.under_way.pop_front() else {
            return Ok(false);
        };
        self.learn(draft)?;
        Ok(true)
    }

    /// Steps done in the learner's life.
    pub(super) fn steps(&self) -> u64 {
        self.learner.steps()
    }

    /// The weights of what says what is hidden, where the objective has it.
    pub(super) fn decoders(&self) -> Result<Option<Decoders>, LearnError> {
        self.learner.decoders()
    }

    /// The weights as they are now: the student's and the teacher's, as safetensors.
    pub(super) fn weights(&self) -> Result<(Vec<u8>, Vec<u8>), LearnError> {
        self.learner.weights()
    }

    /// Sleeps until something changes. What little a small inbox has taught by now is handed over: no more steps may come.
    fn idle(&mut self) -> Result<(), LearnError> {
        if self.shared.offer_again.swap(false, Ordering::Relaxed) {
            self.candidate_step = self.setup.published_step;
        }
        let since = self.learner.steps().saturating_sub(self.candidate_step);
        let worth_it = if self.candidate_step == 0 {
            1
        } else {
            self.setup.publication.candidate_steps / 4
        };
        if since >= worth_it.max(1) && self.activity() == Activity::Bored {
            self.hand_over()?;
        }
        self.replay.wait_for_change(self.replay.changes(), IDLE);
        Ok(())
    }

    fn activity(&self) -> Activity {
        let counts = self.replay.counts();
        if self.shared.paused.load(Ordering::Relaxed) {
            Activity::Paused
        } else if ((counts.samples - counts.exam_samples) as usize) < self.setup.config.samples_min {
            Activity::Waiting
        } else if self.under_way.is_empty() && !self.may_draw() {
            Activity::Bored
        } else {
            Activity::Learning
        }
    }

    /// Whether what was granted for the samples that arrived allows one more batch, beside those that were learnt and those
    /// under way.
    fn may_draw(&self) -> bool {
        let under_way = (self.under_way.len() * self.batch) as u64;
        let drawn = self.cursors.drawn + under_way + self.batch as u64;
        self.replay.drawable() > 0 && self.cursors.effort.allows(drawn, self.replay.draws())
    }

    /// Keeps as many batches under way as fit.
    fn draw(&mut self) -> Result<(), LearnError> {
        while self.under_way.len() < BATCH_QUEUE_MAX && self.may_draw() {
            let (seed, step) = (
                self.setup.config.seed,
                self.learner.steps() + self.under_way.len() as u64,
            );
            let draw = self.replay.draw(self.batch, &mut rng::for_step(seed, step, 0))?;
            if draw.samples.len() < self.batch {
                break;
            }
            let counts = self.replay.counts();
            let weights = match self.setup.sampler {
                SamplerKind::Uniform => vec![1.0; self.batch],
                SamplerKind::Prioritized => importance(&draw, counts.samples - counts.exam_samples),
            };
            // Whoever arrives is scored before the remover may look at it, as far as a step's passes reach: it compares
            // only what is scored.
            let arrived = self
                .replay
                .sight(self.sighted, self.learner.steps(), score::arrivals_max(self.batch))?;
            if let Some(newest) = arrived.last() {
                self.sighted = Some(newest.id);
            }
            self.under_way.push_back(UnderWay {
                first_visits: draw.samples.iter().map(|sample| sample.visits == 0).collect(),
                sighted: self.sighted,
            });
            let pass = score::count(self.batch);
            self.augmenters.send(Draft {
                asked: score::asked(&arrived, &draw.samples, step, pass),
                pass,
                step,
                seed,
                draw,
                weights,
            })?;
        }
        Ok(())
    }

    /// Shows the teacher what has arrived, without a step: what is new is seen, and a drift wakes the learner, however bored it
    /// is. `false` while that would not fill a pass.
    fn look(&mut self) -> Result<bool, LearnError> {
        let (step, pass) = (self.learner.steps(), score::count(self.batch));
        let arrived = self.replay.sight(self.sighted, step, score::arrivals_max(self.batch))?;
        let Some(newest) = arrived.last().filter(|_| arrived.len() >= pass) else {
            return Ok(false);
        };
        self.augmenters.send(Draft {
            step,
            seed: self.setup.config.seed,
            draw: Draw::default(),
            weights: Vec::new(),
            asked: score::asked(&arrived, &[], step, pass),
            pass,
        })?;
        let batch = self.augmenters.receive()?;
        let turn = self.turns.take();
        let scored = self.ask_teacher(batch.to_score)?;
        drop(turn);
        self.sighted = Some(newest.id);
        self.cursors.sighted = self.sighted;
        self.take_in(&scored, &[])?;
        Ok(true)
    }

    /// What the teacher says, pass after pass.
    fn ask_teacher(&self, passes: Vec<ToScore>) -> Result<Vec<Scored>, LearnError> {
        let mut scored = Vec::new();
        for pass in passes {
            scored.extend(self.learner.score(pass)?);
        }
        Ok(scored)
    }

    /// Takes the step of the oldest batch under way.
    fn learn(&mut self, draft: UnderWay) -> Result<(), LearnError> {
        let mut batch = self.augmenters.receive()?;
        let to_score = std::mem::take(&mut batch.to_score);
        let turn = self.turns.take();
        let start = Instant::now();
        let alignment = self.setup.config.alignment_max * self.cursors.anchor.share();
        let report = self.learner.step(batch, alignment)?;
        let mut scored = Vec::new();
        if report.evidence.is_empty() {
            // A step that failed has shown nothing; its samples are due again.
            self.sighted = self.cursors.sighted;
        } else {
            scored = self.ask_teacher(to_score)?;
            self.cursors.sighted = draft.sighted;
        }
        let now = Instant::now();
        drop(turn);
        self.pace.step(now, now - start);
        self.cursors.drawn += self.batch as u64;
        self.take_in(&scored, &report.evidence)?;
        self.cursors.surprise.observe(
            report
                .evidence
                .iter()
                .map(|evidence| evidence.error)
                .zip(draft.first_visits),
        );
        debug!(
            step = self.learner.steps(),
            loss = report.loss,
            grad_norm = report.grad_norm,
            "stepped"
        );
        if report.loss.is_finite() {
            self.cursors.effort.step(report.loss);
        }
        if self.setup.config.alignment_max > 0.0 && self.learner.steps().is_multiple_of(anchor::ASKED_EVERY) {
            self.ask_anchors()?;
        }
        self.note(&report);
        if let Some(health) = &report.health {
            self.look_after(health)?;
        }
        if report.diverged {
            self.recover()?;
        }
        if self.is_candidate_due() {
            self.hand_over()?;
        }
        Ok(())
    }

    fn tell(&mut self, activity: Activity) {
        let (steps_per_s, duty_cycle) = self.pace.read(Instant::now());
        let mut state = self.shared.state.lock();
        state.activity = activity;
        state.step = self.learner.steps();
        state.steps_per_s = steps_per_s;
        state.duty_cycle = duty_cycle;
        state.loss = self.learner.loss();
        state.surprise = self.cursors.surprise.value();
        state.effort = self.cursors.effort.share();
        state.alignment = self.setup.config.alignment_max * self.cursors.anchor.share();
        state.forgotten = self.cursors.anchor.forgotten();
        state.progress = self.cursors.curiosity.progress();
        state.curiosity = self.cursors.curiosity.counts();
        state.failed_steps = self.learner.failed_steps();
        state.alive_at = Some(Instant::now());
    }

    fn note(&self, report: &StepReport) {
        let mut state = self.shared.state.lock();
        state.grad_norm = Some(report.grad_norm);
        if report.health.is_some() {
            state.health = report.health;
        }
    }
}

#[cfg(test)]
mod tests;
