//! A network for states, and what tells their dynamics: the intrinsic curiosity module (Pathak et al. 2017).
//! Invariant: features are normalised (Ba et al. 2016), and errors are shares of how much they vary, so that errors compare
//! over time.

use tch::nn::Path;
use tch::{Kind, Tensor};

use super::scale::Scale;
use super::{Dense, LayerNorm, TransitionSpec};

/// Heads that predict the next state's features (Pathak et al. 2019, section 4: five).
pub const HEADS: i64 = 5;

/// The least variance of features that errors are divided by.
const SPREAD_MIN: f64 = 1e-6;

/// What was done in each of B transitions, on a device.
pub struct Actions {
    /// `[B]`, whole numbers: the choice; 0 where the action is real.
    pub choices: Tensor,
    /// [B, A]: the numbers, filled up with zeros; zeros where the action is discrete.
    pub numbers: Tensor,
    /// [B, A]: 1 where a number is one of the action's, else 0.
    pub there: Tensor,
    /// `[B]`: 1 where the action is real, else 0.
    pub real: Tensor,
}

/// The network that encodes states: three matrices over scaled numbers.
#[derive(Debug)]
pub struct StateNetwork {
    scale: Scale,
    layers: [(Dense, LayerNorm); 3],
    dim: i64,
}

impl StateNetwork {
    /// Its variables, zero until initialised or loaded, are added below `path`.
    pub fn new(path: &Path, spec: &TransitionSpec) -> Self {
        let (width, dim) = (i64::from(spec.width), i64::from(spec.features));
        let layer = |number: i64, inputs: i64, outputs: i64| {
            let path = path / "layers" / number;
            (
                Dense::new(&(&path / "linear"), inputs, outputs),
                LayerNorm::new(&(&path / "norm"), outputs),
            )
        };
        Self {
            scale: Scale::new(&(path / "scale"), spec.state_dims.into()),
            layers: [
                layer(0, spec.state_dims.into(), width),
                layer(1, width, width),
                layer(2, width, dim),
            ],
            dim,
        }
    }

    /// Dimensions of a state's features.
    pub fn dim(&self) -> i64 {
        self.dim
    }

    /// [N, S] to [N, D], float32.
    pub fn features(&self, states: &Tensor) -> Tensor {
        let [first, second, last] = &self.layers;
        let x = self.scale.forward(states);
        let x = first.1.forward(&first.0.forward(&x)).gelu("none");
        let x = second.1.forward(&second.0.forward(&x)).gelu("none");
        last.1.forward(&last.0.forward(&x))
    }
}

/// The heads: one tells the action from both states' features, five predict the next state's.
#[derive(Debug)]
pub struct Dynamics {
    /// Of real actions.
    scale: Scale,
    inverse: Head,
    forward: Vec<Head>,
    /// `[1]`: how much features vary, the mean over them. Measured, not trained.
    spread: Tensor,
    actions: i64,
}

/// Two matrices.
#[derive(Debug)]
struct Head {
    hidden: Dense,
    output: Dense,
}

impl Head {
    fn new(path: &Path, inputs: i64, width: i64, outputs: i64) -> Self {
        Self {
            hidden: Dense::new(&(path / "hidden"), inputs, width),
            output: Dense::new(&(path / "output"), width, outputs),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        self.output.forward(&self.hidden.forward(x).gelu("none"))
    }
}

/// What is thought to have been done in B transitions.
pub struct Told {
    /// [B, A]: how likely each choice is, unnormalised logarithms.
    pub choices: Tensor,
    /// [B, A]: the numbers of a real action, scaled.
    pub numbers: Tensor,
}

impl Dynamics {
    /// Their variables are added below `path`. Heads differ by their first values, which come from their names.
    pub fn new(path: &Path, spec: &TransitionSpec) -> Self {
        let (actions, width) = (i64::from(spec.actions), i64::from(spec.width));
        let dim = i64::from(spec.features);
        Self {
            scale: Scale::new(&(path / "scale"), actions),
            inverse: Head::new(&(path / "inverse"), 2 * dim, width, 2 * actions),
            forward: (0..HEADS)
                .map(|number| Head::new(&(path / "forward" / number), dim + 2 * actions, width, dim))
                .collect(),
            spread: (path / "spread").ones_no_train("weight", &[1]),
            actions,
        }
    }

    /// What was done, as told from both states' features, [B, D] each.
    pub fn told(&self, before: &Tensor, after: &Tensor) -> Told {
        let told = self.inverse.forward(&Tensor::cat(&[before, after], 1));
        Told {
            choices: told.narrow(1, 0, self.actions),
            numbers: told.narrow(1, self.actions, self.actions),
        }
    }

    /// What it costs each transition, `[B]`: of a choice its negative log-likelihood, nats; of a real action the mean squared
    /// error of its numbers, scaled, so that 1 is what the mean costs.
    pub fn inverse_errors(&self, told: &Told, actions: &Actions) -> Tensor {
        let choices = told.choices.to_kind(Kind::Float).cross_entropy_loss(
            &actions.choices,
            None::<Tensor>,
            tch::Reduction::None,
            -100,
            0.0,
        );
        &actions.real * self.squared(told, actions) + (1.0 - &actions.real) * choices
    }

    /// How well it is told of each transition, `[B]`, 0 to 1: of a choice whether it is the likeliest; of a real action one less
    /// the mean squared error.
    pub fn right(&self, told: &Told, actions: &Actions) -> Tensor {
        let chosen = told.choices.argmax(1, false).eq_tensor(&actions.choices);
        let near: Tensor = 1.0 - self.squared(told, actions);
        &actions.real * near.clamp(0.0, 1.0) + (1.0 - &actions.real) * chosen.to_kind(Kind::Float)
    }

    /// The mean squared error of each real action's numbers, scaled: `[B]`.
    fn squared(&self, told: &Told, actions: &Actions) -> Tensor {
        let off = (told.numbers.to_kind(Kind::Float) - self.scale.forward(&actions.numbers)) * &actions.there;
        let sum = |of: &Tensor| of.sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
        sum(&off.square()) / sum(&actions.there).clamp_min(1.0)
    }

    /// The next state's features as each head expects them, from the state's, [B, D]: [K, B, D]. What a head tells is the
    /// difference.
    pub fn expected(&self, before: &Tensor, actions: &Actions) -> Tensor {
        let is_choice: Tensor = 1.0 - &actions.real;
        let chosen = actions.choices.one_hot(self.actions).to_kind(Kind::Float) * is_choice.unsqueeze(1);
        let numbers = self.scale.forward(&actions.numbers) * &actions.there;
        let known = Tensor::cat(&[before, &chosen, &numbers], 1);
        let heads: Vec<Tensor> = self.forward.iter().map(|head| head.forward(&known)).collect();
        Tensor::stack(&heads, 0).to_kind(Kind::Float) + before
    }

    /// The squared error of what each head expects, over the variance of features: [K, B], 0 at best, about 1 for the mean.
    pub fn forward_errors(&self, expected: &Tensor, after: &Tensor) -> Tensor {
        let off = (expected - after).square();
        off.mean_dim([2i64].as_slice(), false, Kind::Float) / self.spread.clamp_min(SPREAD_MIN)
    }

    /// How far the heads disagree, `[B]`: the variance of what they expect, over the variance of features (Pathak et al. 2019,
    /// equation 1).
    pub fn disagreement(&self, expected: &Tensor) -> Tensor {
        let variance = expected.var_dim([0i64].as_slice(), false, false); //                  [B, D]
        variance.mean_dim([1i64].as_slice(), false, Kind::Float) / self.spread.clamp_min(SPREAD_MIN)
    }

    /// Moves the variance of features, the unit of errors, towards that of these, [N, D], by a share.
    pub fn measure(&self, features: &Tensor, share: f64) {
        let _no_grad = tch::no_grad_guard();
        let variance = features
            .detach()
            .to_kind(Kind::Float)
            .var_dim([0i64].as_slice(), false, false);
        let _ = self.spread.shallow_clone().lerp_(&variance.mean(Kind::Float), share);
    }
}
