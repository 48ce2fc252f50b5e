//! The learner: networks, objective, optimiser; one step at a time.
//! Invariant: after a step that failed (a loss or gradient that is no number) everything is as before it, but for the
//! count of steps.

use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};
use tracing::warn;

use super::align::Aligner;
use super::objective::{self, Built, Numerics, Objective, Views};
use super::schedule::learning_rate;
use super::score::{Scorer, ToScore};
use super::show::Shown;
use super::{AdamW, Batch, Health, LearnError};
use crate::config::LearningConfig;
use crate::curiosity::Scored;
use crate::model::text::Tokenizer;
use crate::model::{Decoders, EncoderSpec, Pretrained, Scales, initialise, is_unscaled, weights};
use crate::replay::Evidence;
use crate::torch;

/// Steps between two measurements of the network's health.
const HEALTH_EVERY: u64 = 50;

/// Failed steps in a row after which the weights are taken for spoilt.
const FAILED_IN_A_ROW_MAX: u32 = 3;

/// How much of the running loss one step replaces.
const LOSS_RATE: f64 = 0.02;

/// The critic's learning rate, as a share of the others' (Pathak et al. 2016, section 4: ten times lower).
const CRITIC_RATE: f64 = 0.1;

/// How far weights are moved towards fresh ones when plasticity is lost (Ash and Adams 2020 shrink to 0.4 to 0.8).
const SHRINK: f64 = 0.2;

/// What a learner is made of.
#[derive(Clone, Debug)]
pub struct LearnerSetup {
    /// The section of the configuration.
    pub config: LearningConfig,
    /// The network.
    pub spec: EncoderSpec,
    /// What texts are read with.
    pub tokenizer: Option<Tokenizer>,
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
    /// The teacher of the heads, where they are a decoder.
    pub(super) teacher_decoder: Option<VarStore>,
    /// The predictor of the teacher's features, where alignment may be asked for.
    pub(super) aligner: Option<Aligner>,
    /// An adversary, where the objective has one.
    pub(super) critic: Option<Critic>,
    /// The variables that have a teacher, and the teacher's, pair by pair.
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

/// An adversary's variables and its optimiser.
pub(super) struct Critic {
    pub(super) variables: VarStore,
    pub(super) optimiser: AdamW,
}

impl Learner {
    /// A learner at step 0, its first weights from the seed.
    pub fn new(setup: LearnerSetup) -> Result<Self, LearnError> {
        let Built {
            objective,
            encoder,
            heads,
            is_decoder,
            critic,
        } = objective::build(&setup.config, &setup.spec, setup.device)?;
        let mut teacher = VarStore::new(setup.device);
        let teacher_network = setup.spec.build(&teacher.root());
        let mut teacher_decoder = is_decoder.then(|| VarStore::new(setup.device));
        let teacher_filler = teacher_decoder
            .as_ref()
            .map(|store| objective::decoder(&setup.config, &setup.spec, &store.root()));
        for store in [&encoder, &heads, &teacher]
            .into_iter()
            .chain(&teacher_decoder)
            .chain(&critic)
        {
            weights::lay_out(store)?;
        }
        weights::load_into(&teacher, &weights::export(&encoder)?)?;
        teacher.freeze();
        let (mut student_params, mut teacher_params) = (in_order(&encoder), in_order(&teacher));
        if let Some(store) = &mut teacher_decoder {
            weights::load_into(store, &weights::export(&heads)?)?;
            store.freeze();
            student_params.extend(in_order(&heads));
            teacher_params.extend(in_order(store));
        }
        let decay = setup.config.weight_decay;
        let aligner = (setup.config.alignment_max > 0.0)
            .then(|| Aligner::new(teacher_network.dim(), setup.config.seed, decay, setup.device))
            .transpose()?;
        let optimiser = AdamW::new(&[("encoder", &encoder), ("heads", &heads)], decay)?;
        let critic = critic
            .map(|variables| -> Result<Critic, LearnError> {
                let optimiser = AdamW::new(&[("critic", &variables)], decay)?;
                Ok(Critic { variables, optimiser })
            })
            .transpose()?;
        let numerics = Numerics {
            device: setup.device,
            bf16: torch::uses_bf16(setup.config.precision, setup.device),
        };
        Ok(Self {
            objective,
            student_params,
            teacher_params,
            scorer: Scorer::new(&setup.spec, teacher_network, teacher_filler, numerics)?,
            numerics,
            setup,
            encoder,
            heads,
            teacher,
            teacher_decoder,
            aligner,
            critic,
            optimiser,
            step: 0,
            rate_share: 1.0,
            loss: None,
            failed_in_a_row: 0,
            failed: 0,
        })
    }

    /// Takes over the weights of an encoder, for it and its teacher.
    pub(super) fn continue_from(&self, pretrained: &Pretrained) -> Result<(), LearnError> {
        pretrained.load_into(&self.encoder)?;
        weights::load_into(&self.teacher, &weights::export(&self.encoder)?)?;
        if let Some(teacher) = &self.teacher_decoder
            && pretrained.load_head_into(&self.heads)?
        {
            weights::load_into(teacher, &weights::export(&self.heads)?)?;
        }
        Ok(())
    }

    /// Sets the scales of transitions, of the student and its teacher, but those that came with weights that it continues from.
    pub fn scale(&self, scales: &Scales) -> Result<(), LearnError> {
        for encoder in [&self.encoder, &self.teacher].into_iter().filter(|of| is_unscaled(of)) {
            scales.set_encoder(encoder)?;
        }
        let heads = std::iter::once(&self.heads).chain(&self.teacher_decoder);
        for heads in heads.filter(|of| is_unscaled(of)) {
            scales.set_heads(heads)?;
        }
        Ok(())
    }

    /// Whether it has learnt nothing, and a scale of transitions is still to be set: weights to continue from bring that of states,
    /// not that of actions, which is the heads'.
    pub(super) fn is_unscaled(&self) -> bool {
        self.step == 0 && (is_unscaled(&self.encoder) || is_unscaled(&self.heads))
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

    /// One optimiser update. `alignment`: the weight of the agreement with the teacher about what is replayed, 0 for none.
    pub fn step(&mut self, batch: Batch, alignment: f64) -> Result<StepReport, LearnError> {
        let (ids, replayed) = (batch.ids.clone(), batch.replayed.clone());
        let views = self.views(batch)?;
        let loss = self.objective.loss(&views, self.numerics)?;
        self.optimiser.drop_gradients()?;
        match &self.aligner {
            Some(aligner) if alignment > 0.0 => {
                aligner.optimiser.drop_gradients()?;
                let teacher = {
                    let _no_grad = tch::no_grad_guard();
                    let _autocast = self.numerics.autocast()?;
                    self.scorer.teacher().forward(&views.input)?
                };
                let replayed = Tensor::from_slice(&replayed).f_to_device(self.setup.device)?;
                (&loss.total + alignment * aligner.loss(&loss.features, &teacher, &replayed)).f_backward()?;
            }
            _ => loss.total.f_backward()?,
        }
        let rate = self.rate_share
            * self.setup.spec.rate_share(&self.setup.config)
            * learning_rate(self.step, &self.setup.config, self.setup.batch);
        // Changes nothing when the gradients are not finite, without waiting for the device.
        let grad_norm = self.optimiser.update(rate)?;
        if let (Some(aligner), true) = (&mut self.aligner, alignment > 0.0) {
            let _ = aligner.optimiser.update(rate)?;
        }
        let (total, grad_norm) = (loss.total.f_double_value(&[])?, grad_norm.f_double_value(&[])?);
        let step = self.step;
        self.step += 1;
        if !(total.is_finite() && grad_norm.is_finite()) {
            return Ok(self.failed_step(total, grad_norm));
        }
        if let (Some(critic), Some(loss)) = (&mut self.critic, &loss.critic) {
            // The others' loss left gradients in it. Where its own are no numbers nothing of it changes.
            critic.optimiser.drop_gradients()?;
            loss.f_backward()?;
            let _ = critic.optimiser.update(CRITIC_RATE * rate)?;
        }
        self.failed_in_a_row = 0;
        self.objective.taken(&loss);
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
            let trained = self.student_params.iter().filter(|param| param.requires_grad());
            let trained: Vec<Tensor> = trained.map(Tensor::shallow_clone).collect();
            Some(Health::measure(&loss.features.detach(), &trained)?)
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

    /// Moves the encoder's weights a fifth of the way to fresh ones, a function of the seed and the step (Ash and Adams 2020,
    /// with the noise of an initialisation). The teacher follows as it follows every step.
    pub(super) fn shrink_and_perturb(&self) -> Result<(), LearnError> {
        let fresh = VarStore::new(self.setup.device);
        let _ = self.setup.spec.build(&fresh.root());
        initialise(&fresh, self.setup.config.seed ^ self.step.rotate_left(32))?;
        weights::lay_out(&fresh)?;
        Ok(torch::lerp(&trained(&self.encoder), &trained(&fresh), SHRINK)?)
    }

    /// How well the student tells apart samples of which it is shown two views each: a loss for each, in nats (see
    /// [`super::anchor::losses`]).
    pub(super) fn ask(&self, shown: Shown) -> Result<Vec<f32>, LearnError> {
        let _no_grad = tch::no_grad_guard();
        let (input, _) = shown.input(self.setup.device)?;
        let features = {
            let _autocast = self.numerics.autocast()?;
            self.objective.features(&input)?
        };
        Ok(Vec::try_from(super::anchor::losses(&features).to_device(Device::Cpu))?)
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

    /// The weights of the decoders that would be published beside them, where the objective has one.
    pub fn decoders(&self) -> Result<Option<Decoders>, LearnError> {
        let of_both = |teacher: &VarStore| {
            Ok(Decoders {
                student: weights::export(&self.heads)?,
                teacher: weights::export(teacher)?,
            })
        };
        self.teacher_decoder.as_ref().map(of_both).transpose()
    }

    /// The batch as tensors on the device.
    fn views(&self, batch: Batch) -> Result<Views, LearnError> {
        let device = self.setup.device;
        let samples: Vec<i64> = batch.ids.iter().map(|id| id.0 as i64).collect();
        let weights = Tensor::from_slice(&batch.weights).f_to_device(device)?;
        let (input, hidden) = batch.shown.input(device)?;
        Ok(Views {
            input,
            hidden,
            samples: Tensor::from_slice(&samples).f_to_device(device)?,
            weights: weights.to_kind(Kind::Float),
            seed: self.setup.config.seed,
            step: batch.step,
        })
    }
}

/// Those of the store's variables that are trained, in the order of their names.
fn trained(store: &VarStore) -> Vec<Tensor> {
    let mut params = in_order(store);
    params.retain(Tensor::requires_grad);
    params
}

/// The store's variables in the order of their names.
fn in_order(store: &VarStore) -> Vec<Tensor> {
    let mut named: Vec<_> = store.variables().into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named.into_iter().map(|(_, variable)| variable).collect()
}
