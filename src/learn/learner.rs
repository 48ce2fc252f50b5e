//! The learner: networks, objective, optimiser; one step at a time.
//! Invariant: after a step that failed (a loss or gradient that is no number) everything is as before it, but for the
//! count of steps.

use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};
use tracing::warn;

use super::objective::{self, Built, Numerics, Objective, Views};
use super::schedule::learning_rate;
use super::score::{Scorer, ToScore};
use super::{AdamW, Batch, Health, LearnError};
use crate::config::LearningConfig;
use crate::curiosity::Scored;
use crate::model::{EncoderSpec, weights};
use crate::replay::Evidence;
use crate::torch;

/// Steps between two measurements of the network's health.
const HEALTH_EVERY: u64 = 50;

/// Failed steps in a row after which the weights are taken for spoilt.
const FAILED_IN_A_ROW_MAX: u32 = 3;

/// How much of the running loss one step replaces.
const LOSS_RATE: f64 = 0.02;

/// What a learner is made of.
#[derive(Clone, Debug)]
pub struct LearnerSetup {
    /// The section of the configuration.
    pub config: LearningConfig,
    /// The network.
    pub spec: EncoderSpec,
    /// Samples of a step.
    pub batch: usize,
    /// Where it computes.
    pub device: Device,
}

/// What a step did.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// Its loss; not finite when the step failed.
    pub loss: f64,
    /// Joint length of the gradients before they were cut.
    pub grad_norm: f64,
    /// What it learnt about each sample. Empty when the step failed.
    pub evidence: Vec<Evidence>,
    /// The network's health, at every fiftieth step.
    pub health: Option<Health>,
    /// Whether so many steps failed in a row that the last good checkpoint is due.
    pub diverged: bool,
}

/// The networks, the objective and the optimiser of a stream. Owned by one thread.
pub struct Learner {
    pub(super) setup: LearnerSetup,
    objective: Box<dyn Objective>,
    pub(super) encoder: VarStore,
    pub(super) heads: VarStore,
    pub(super) teacher: VarStore,
    /// The encoder's variables and the teacher's, pair by pair.
    student_params: Vec<Tensor>,
    teacher_params: Vec<Tensor>,
    pub(super) optimiser: AdamW,
    numerics: Numerics,
    scorer: Scorer,
    /// Steps done in the learner's life.
    pub(super) step: u64,
    /// What the learning rate is multiplied by: halved by each recovery.
    pub(super) rate_share: f64,
    /// The loss, smoothed.
    pub(super) loss: Option<f64>,
    failed_in_a_row: u32,
    failed: u64,
}

impl Learner {
    /// A learner at step 0, its first weights from the seed.
    pub fn new(setup: LearnerSetup) -> Result<Self, LearnError> {
        let Built {
            objective,
            encoder,
            heads,
        } = objective::build(setup.config.objective, &setup.spec, setup.config.seed, setup.device)?;
        let mut teacher = VarStore::new(setup.device);
        let teacher_network = setup.spec.build(&teacher.root());
        for store in [&encoder, &teacher] {
            lay_out(store)?;
        }
        weights::load_into(&teacher, &weights::export(&encoder)?)?;
        teacher.freeze();
        let optimiser = AdamW::new(&[("encoder", &encoder), ("heads", &heads)], setup.config.weight_decay)?;
        let numerics = Numerics {
            device: setup.device,
            bf16: torch::uses_bf16(setup.config.precision, setup.device),
        };
        Ok(Self {
            objective,
            student_params: in_order(&encoder),
            teacher_params: in_order(&teacher),
            scorer: Scorer::new(teacher_network, numerics)?,
            numerics,
            setup,
            encoder,
            heads,
            teacher,
            optimiser,
            step: 0,
            rate_share: 1.0,
            loss: None,
            failed_in_a_row: 0,
            failed: 0,
        })
    }

    /// Steps done in the learner's life.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Steps that failed since the start.
    pub fn failed_steps(&self) -> u64 {
        self.failed
    }

    /// Takes the place of a learner that failed, at this share of the learning rate. Steps and failures go on counting.
    pub(super) fn go_on_from(&mut self, failed: &Self, rate_share: f64) {
        self.step = failed.step;
        self.failed = failed.failed;
        self.rate_share = rate_share;
    }

    /// The loss, smoothed; None before the first step.
    pub fn loss(&self) -> Option<f64> {
        self.loss
    }

    /// The objective's name.
    pub fn objective(&self) -> &'static str {
        self.objective.name()
    }

    /// One optimiser update.
    pub fn step(&mut self, batch: Batch) -> Result<StepReport, LearnError> {
        let ids = batch.ids.clone();
        let views = self.views(batch)?;
        let loss = self.objective.loss(&views, self.numerics)?;
        self.optimiser.drop_gradients()?;
        loss.total.f_backward()?;
        let rate = self.rate_share * learning_rate(self.step, &self.setup.config, self.setup.batch);
        // Changes nothing when the gradients are not finite, without waiting for the device.
        let grad_norm = self.optimiser.update(rate)?;
        let (total, grad_norm) = (loss.total.f_double_value(&[])?, grad_norm.f_double_value(&[])?);
        let step = self.step;
        self.step += 1;
        if !(total.is_finite() && grad_norm.is_finite()) {
            return Ok(self.failed_step(total, grad_norm));
        }
        self.failed_in_a_row = 0;
        self.loss = Some(self.loss.map_or(total, |mean| mean + LOSS_RATE * (total - mean)));
        {
            let _no_grad = tch::no_grad_guard();
            let decay = (0.999f64).min((1.0 + step as f64) / (10.0 + step as f64));
            torch::lerp(&self.teacher_params, &self.student_params, 1.0 - decay)?;
        }
        let errors = Vec::<f32>::try_from(loss.errors.to_device(Device::Cpu).contiguous())?;
        let evidence = ids
            .iter()
            .zip(errors)
            .map(|(&id, error)| Evidence { id, error })
            .collect();
        let health = if step.is_multiple_of(HEALTH_EVERY) {
            Some(Health::measure(&loss.features, &self.student_params)?)
        } else {
            None
        };
        Ok(StepReport {
            loss: total,
            grad_norm,
            evidence,
            health,
            diverged: false,
        })
    }

    /// What the teacher says of samples. Changes nothing.
    pub fn score(&self, to_score: ToScore) -> Result<Vec<Scored>, LearnError> {
        self.scorer.score(to_score, self.step)
    }

    fn failed_step(&mut self, loss: f64, grad_norm: f64) -> StepReport {
        self.failed += 1;
        self.failed_in_a_row += 1;
        warn!(
            step = self.step,
            loss,
            grad_norm,
            in_a_row = self.failed_in_a_row,
            hint = "none if rare; else lower learning.learning_rate, or set learning.precision to \"fp32\"",
            "skipped a step that was no number"
        );
        let diverged = self.failed_in_a_row >= FAILED_IN_A_ROW_MAX;
        if diverged {
            self.failed_in_a_row = 0;
        }
        StepReport {
            loss,
            grad_norm,
            evidence: Vec::new(),
            health: None,
            diverged,
        }
    }

    /// Whether every weight is a number: what is not must be neither kept nor published.
    pub fn is_finite(&self) -> Result<bool, LearnError> {
        let norms = torch::norm(self.optimiser.params())? + torch::norm(&self.teacher_params)?;
        Ok(norms.f_double_value(&[])?.is_finite())
    }

    /// The weights that could be published: the student's and the teacher's, as safetensors.
    pub fn weights(&self) -> Result<(Vec<u8>, Vec<u8>), LearnError> {
        Ok((weights::export(&self.encoder)?, weights::export(&self.teacher)?))
    }

    /// The batch as tensors on the device.
    fn views(&self, batch: Batch) -> Result<Views, LearnError> {
        let device = self.setup.device;
        let pictures: Vec<i64> = batch.ids.iter().map(|id| id.0 as i64).collect();
        let weights = Tensor::from_slice(&batch.weights).f_to_device(device)?;
        Ok(Views {
            images: batch.pixels.images(2 * batch.ids.len() as i64, batch.px, device)?,
            pictures: Tensor::from_slice(&pictures).f_to_device(device)?,
            weights: weights.to_kind(Kind::Float),
        })
    }
}

/// Convolutions channels last, as the pictures are.
fn lay_out(store: &VarStore) -> Result<(), LearnError> {
    for (_, variable) in store.variables() {
        if variable.dim() == 4 {
            torch::param_channels_last(&variable)?;
        }
    }
    Ok(())
}

/// The store's variables in the order of their names.
fn in_order(store: &VarStore) -> Vec<Tensor> {
    let mut named: Vec<_> = store.variables().into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named.into_iter().map(|(_, variable)| variable).collect()
}
