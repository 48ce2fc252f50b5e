//! The adversary of `inpaint`: a network that tells a picture's hidden region from a painted one (Pathak et al. 2016,
//! section 3.2; Goodfellow et al. 2014). It is never published.
//! Where we differ: no norms; it sees the region at its place, everything else blank, so that it can not judge by the
//! seam between region and surroundings (the paper, too, does not show it the surroundings).

use tch::nn::{Init, Path};
use tch::{Kind, Tensor};

use crate::model::{Dense, pooled};

/// Channels of its layers; each halves the size.
const CHANNELS: [i64; 4] = [32, 64, 128, 128];

/// Slope below zero (DCGAN, Radford et al. 2016, which the paper follows).
const LEAK: f64 = 0.2;

/// The network.
#[derive(Debug)]
pub(super) struct Critic {
    layers: Vec<(Tensor, Tensor)>,
    judgement: Dense,
}

/// What the two sides of the game minimise, each [].
pub(super) struct Game {
    /// Of the painter: how easily it is found out.
    pub(super) painter: Tensor,
    /// Of the critic: how often it errs. Holds no gradient of the painter.
    pub(super) critic: Tensor,
}

impl Critic {
    /// Its variables are added below `path`.
    pub(super) fn new(path: &Path) -> Self {
        let mut inputs = 3;
        let layer = |(number, &outputs): (usize, &i64)| {
            let path = path / "critic" / number as i64;
            let shape = [outputs, inputs, 4, 4];
            inputs = outputs;
            let weight = path.var("weight", &shape, Init::Const(0.0));
            (weight, path.var("bias", &[outputs], Init::Const(0.0)))
        };
        Self {
            layers: CHANNELS.iter().enumerate().map(layer).collect(),
            judgement: Dense::new(&(path / "critic" / "judgement"), CHANNELS[3], 1),
        }
    }

    /// Regions [V, 3, px, px] to how real each looks: [V], any number.
    fn judge(&self, regions: &Tensor) -> Tensor {
        let mut x = regions.shallow_clone();
        for (weight, bias) in &self.layers {
            let y = x.conv2d(weight, Some(bias), 2, 1, 1, 1);
            x = y.maximum(&(&y * LEAK));
        }
        self.judgement.forward(&pooled(&x)).squeeze_dim(1).to_kind(Kind::Float)
    }

    /// Both sides' losses. `real`, `painted`: [V, 3, px, px], blank outside of the region.
    pub(super) fn play(&self, real: &Tensor, painted: &Tensor) -> Game {
        let wrong = |judged: Tensor| judged.softplus().mean(Kind::Float);
        Game {
            // -log D instead of the paper's log(1 - D), whose gradient vanishes when the critic is sure (Goodfellow et al.
            // 2014, section 3).
            painter: wrong(-self.judge(painted)),
            critic: (wrong(-self.judge(real)) + wrong(self.judge(&painted.detach()))) / 2.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::AdamW;
    use crate::model::initialise;
    use tch::Device;
    use tch::nn::VarStore;

    #[test]
    fn a_critic_learns_to_tell_and_its_loss_moves_nobody_else() {
        let store = VarStore::new(Device::Cpu);
        let critic = Critic::new(&store.root());
        initialise(&store, 0).unwrap();
        let mut optimiser = AdamW::new(&[("critic", &store)], 0.0).unwrap();
        let real = (Tensor::arange(4 * 3 * 1024, (Kind::Float, Device::Cpu)).view([4, 3, 32, 32]) * 0.9).sin();
        let painted = real.zeros_like().set_requires_grad(true);
        let first = critic.play(&real, &painted);
        // A critic that knows nothing says 0 of everything: log 2 for each side.
        assert!((first.critic.double_value(&[]) - 2f64.ln()).abs() < 0.2);
        for _ in 0..30 {
            optimiser.drop_gradients().unwrap();
            critic.play(&real, &painted).critic.backward();
            let _ = optimiser.update(0.01).unwrap();
        }
        let last = critic.play(&real, &painted);
        assert!(last.critic.double_value(&[]) < 0.1, "{:?}", last.critic);
        assert!(last.painter.double_value(&[]) > first.painter.double_value(&[]));
        assert!(!painted.grad().defined());
    }
}
