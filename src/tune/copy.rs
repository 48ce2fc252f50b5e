//! One training of a copy: the classifier that was fitted on the network's embeddings, and the network below it, go on together.
//! Always true: it begins as the network and that classifier are, so that the first steps distort nothing that is known already
//! (linear probing, then fine-tuning: Kumar et al. 2022).

use tch::nn::{self, OptimizerConfig, VarStore};
use tch::{Kind, Reduction, Tensor};

use super::shown::Shower;
use super::{Copy, Origin, Read, Stop, TuneError};
use crate::labels::{Head, Training};
use crate::model::{Architecture, EncoderSpec, ImageSpec, Input, Network, weights};
use crate::rng;
use crate::torch::Bf16Autocast;

/// Samples of a step.
const BATCH: usize = 32;

/// The highest learning rates: of convolutions, and of transformers, whose copies forget at higher ones what they are copies of.
const RATE_OF_CONVOLUTIONS: f64 = 1e-3;
const RATE: f64 = 2e-4;

/// The share of the steps in which the rates rise; after them they fall to 0 along a cosine.
const WARM_UP: f64 = 0.1;

/// The joint length to which gradients are cut.
const CLIP: f64 = 1.0;

/// AdamW's constants (Loshchilov and Hutter 2019).
const BETAS: (f64, f64) = (0.9, 0.999);
const DECAY: f64 = 0.01;

/// How long and how fast a copy is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Times that each sample is seen.
    pub epochs: usize,
    /// The steps that this comes to, at least and at most.
    pub steps: (usize, usize),
    /// The highest learning rate of the network.
    pub rate: f64,
    /// And of the classifier.
    pub head_rate: f64,
}

impl Plan {
    /// The usual one for copies of such a network.
    pub fn of(spec: &EncoderSpec) -> Self {
        use Architecture::{Resnet18, Resnet50, ResnetTiny};
        let is_convolution = |spec: &ImageSpec| matches!(spec.architecture, ResnetTiny | Resnet18 | Resnet50);
        Self {
            epochs: 40,
            steps: (40, 600),
            rate: match spec {
                EncoderSpec::Image(spec) if is_convolution(spec) => RATE_OF_CONVOLUTIONS,
                _ => RATE,
            },
            head_rate: 1e-2,
        }
    }
}

/// Trains a copy on these rows of the training, beginning with this classifier of the network's embeddings.
///
/// # Errors
/// Samples that can not be read; a loss that is no number; a failure of libtorch; being stopped.
pub fn train(
    (origin, plan): (&Origin<'_>, &Plan),
    start: &Head,
    training: &Training,
    rows: &[usize],
    read: &Read<'_>,
    seed: u64,
    stop: Stop<'_>,
) -> Result<Copy, TuneError> {
    let network_variables = VarStore::new(origin.device);
    let network = origin.spec.build(&network_variables.root());
    weights::load_into(&network_variables, origin.weights)?;
    weights::lay_out(&network_variables)?;
    let head_variables = VarStore::new(origin.device);
    let head = Linear::new(&head_variables, start)?;
    let adamw = nn::adamw(BETAS.0, BETAS.1, DECAY);
    let mut of_network = adamw.build(&network_variables, plan.rate)?;
    let mut of_head = adamw.build(&head_variables, plan.head_rate)?;

    let batch = BATCH.min(rows.len());
    let steps = (rows.len() * plan.epochs / batch).clamp(plan.steps.0, plan.steps.1);
    let mut shower = Shower::new(*origin, seed);
    let mut order = Order::new(rows, seed);
    for step in 0..steps {
        stop.check()?;
        let drawn = order.next(batch);
        let contents = read(&drawn).map_err(TuneError::Unread)?;
        let (labels, contents): (Vec<i64>, Vec<_>) = drawn
            .iter()
            .zip(contents)
            .filter_map(|(row, content)| Some((i64::from(training.labels[*row]), content?)))
            .unzip();
        if contents.is_empty() {
            continue;
        }
        let input = shower.input(&contents, step as u64)?;
        let features = {
            let _autocast = origin.bf16.then(|| Bf16Autocast::enter(origin.device)).transpose()?;
            features(&network, origin.spec, &input)?
        };
        let labels = Tensor::from_slice(&labels).f_to_device(origin.device)?;
        let loss = head
            .scores(&features)?
            .f_cross_entropy_loss(&labels, None::<Tensor>, Reduction::Mean, -100, 0.0)?; // []
        if !loss.f_double_value(&[])?.is_finite() {
            return Err(TuneError::Diverged(step as u64));
        }
        let share = schedule(step, steps);
        of_network.set_lr(plan.rate * share);
        of_head.set_lr(plan.head_rate * share);
        of_network.zero_grad();
        of_head.zero_grad();
        loss.f_backward()?;
        of_network.clip_grad_norm(CLIP);
        of_network.step();
        of_head.step();
    }
    for variable in network_variables.trainable_variables() {
        if variable.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            return Err(TuneError::Diverged(steps as u64));
        }
    }
    Ok(Copy {
        weights: weights::export(&network_variables)?,
        head: start.with_weights(head.weights()?),
    })
}

/// The share of the highest rate at a step of so many.
fn schedule(step: usize, steps: usize) -> f64 {
    let done = (step + 1) as f64 / steps as f64;
    match done < WARM_UP {
        true => done / WARM_UP,
        false => 0.5 * (1.0 + (std::f64::consts::PI * (done - WARM_UP) / (1.0 - WARM_UP)).cos()),
    }
}

/// Embeddings of unit length, as [`Embedder::embed`](crate::model::Embedder::embed) gives them: [N, D], float32.
fn features(network: &Network, spec: &EncoderSpec, input: &Input) -> Result<Tensor, TuneError> {
    let mut features = network.forward(input)?.f_to_kind(Kind::Float)?;
    if matches!(spec, EncoderSpec::Transition(_)) {
        // A transition's vector is both states' features, one after the other.
        let count = features.size()[0] / 2;
        features = Tensor::f_cat(
            &[features.f_narrow(0, 0, count)?, features.f_narrow(0, count, count)?],
            1,
        )?;
    }
    let lengths = features
        .f_norm_scalaropt_dim(2, [1i64].as_slice(), true)?
        .f_clamp_min(1e-12)?;
    Ok(features.f_div(&lengths)?)
}

/// A head as libtorch trains it.
struct Linear {
    /// [C, D + 1], the bias last.
    weights: Tensor,
    /// `[D]`.
    mean: Tensor,
    spread: f64,
}

impl Linear {
    fn new(variables: &VarStore, start: &Head) -> Result<Self, TuneError> {
        let numbers = |values: &[f64]| -> Vec<f32> { values.iter().map(|value| *value as f32).collect() };
        let shape = [start.classes().len() as i64, start.mean().len() as i64 + 1];
        let mut weights = variables.root().var("weights", &shape, nn::Init::Const(0.0));
        tch::no_grad(|| weights.f_copy_(&Tensor::from_slice(&numbers(start.weights())).f_view(shape)?))?;
        Ok(Self {
            weights,
            mean: Tensor::from_slice(&numbers(start.mean())).f_to_device(variables.device())?,
            spread: start.spread(),
        })
    }

    /// The score of each class: [N, D] to [N, C].
    fn scores(&self, embeddings: &Tensor) -> Result<Tensor, TuneError> {
        let dim = self.mean.size()[0];
        let rows = embeddings.f_sub(&self.mean)?.f_div_scalar(self.spread)?;
        let (matrix, bias) = (self.weights.f_narrow(1, 0, dim)?, self.weights.f_select(1, dim)?);
        Ok(rows.f_linear(&matrix, Some(&bias))?)
    }

    fn weights(&self) -> Result<Vec<f64>, TuneError> {
        let weights = self
            .weights
            .f_detach()?
            .f_to_device(tch::Device::Cpu)?
            .f_to_kind(Kind::Double)?;
        Ok(Vec::<f64>::try_from(weights.f_reshape(-1)?)?)
    }
}

/// Rows in a random order, all of them before any comes again.
struct Order {
    rows: Vec<usize>,
    at: usize,
    seed: u64,
    epoch: u64,
}

impl Order {
    fn new(rows: &[usize], seed: u64) -> Self {
        let mut order = Self {
            rows: rows.to_vec(),
            at: 0,
            seed,
            epoch: 0,
        };
        order.shuffle();
        order
    }

    fn shuffle(&mut self) {
        let mut rng = rng::for_step(self.seed, self.epoch, 0);
        for at in 0..self.rows.len() {
            let other = at + rng::below(&mut rng, self.rows.len() - at);
            self.rows.swap(at, other);
        }
    }

    /// The next rows; those that an epoch leaves over, too few for a batch, are passed over until the next.
    fn next(&mut self, count: usize) -> Vec<usize> {
        if self.at + count > self.rows.len() {
            self.at = 0;
            self.epoch += 1;
            self.shuffle();
        }
        let drawn = self.rows[self.at..self.at + count].to_vec();
        self.at += count;
        drawn
    }
}
