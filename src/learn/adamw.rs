//! AdamW (Loshchilov and Hutter 2019) whose state can be saved: tch can not save its optimisers'.
//! Invariant: the state is a function of the gradients it was given; saved and loaded, it goes on bit for bit.

use tch::nn::VarStore;
use tch::{Kind, Tensor};

use super::LearnError;
use crate::torch::{self, AdamWStep};

/// The usual constants of Adam (Kingma and Ba 2015).
const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The joint length to which gradients are cut.
const CLIP: f64 = 1.0;

/// The optimiser of a set of variables.
pub struct AdamW {
    params: Vec<Tensor>,
    means: Vec<Tensor>,
    squares: Vec<Tensor>,
    updates: Tensor,
    decay: f64,
    /// Names all of the state, so that it is saved as any variables are.
    state: VarStore,
}

impl AdamW {
    /// An optimiser of all variables of these stores that are trained, each with the name that its state is saved under. They
    /// are laid out in memory as they shall stay.
    pub fn new(stores: &[(&str, &VarStore)], decay: f64) -> Result<Self, LearnError> {
        let device = stores.first().map_or(tch::Device::Cpu, |(_, store)| store.device());
        let state = VarStore::new(device);
        let (mut params, mut means, mut squares) = (Vec::new(), Vec::new(), Vec::new());
        for (prefix, store) in stores {
            // A map's order is not the same in every process; the order of names is.
            let trained = store.variables().into_iter().filter(|(_, param)| param.requires_grad());
            let mut named: Vec<_> = trained.collect();
            named.sort_by(|a, b| a.0.cmp(&b.0));
            for (name, param) in named {
                let like = |kind: &str| -> Result<Tensor, LearnError> {
                    let mut parts = name.split('.').collect::<Vec<_>>();
                    let last = parts.pop().unwrap_or_default();
                    let folder = parts
                        .into_iter()
                        .fold(state.root() / kind / *prefix, |path, part| path / part);
                    let zeros = folder.zeros_no_train(last, &param.size());
                    // The fused update walks both in memory order.
                    if param.dim() == 4 && !param.is_contiguous() {
                        torch::param_channels_last(&zeros)?;
                    }
                    Ok(zeros)
                };
                means.push(like("mean")?);
                squares.push(like("square")?);
                params.push(param);
            }
        }
        let updates = state.root().zeros_no_train("updates", &[]);
        Ok(Self {
            params,
            means,
            squares,
            updates,
            decay,
            state,
        })
    }

    /// The variables that are trained.
    pub fn params(&self) -> &[Tensor] {
        &self.params
    }

    /// Forgets the gradients.
    pub fn drop_gradients(&self) -> Result<(), LearnError> {
        Ok(torch::drop_gradients(&self.params)?)
    }

    /// One update at this learning rate, gradients cut to a joint length of 1. Where the length is not finite nothing
    /// changes. Returns the length before the cut: [], on the device.
    pub fn update(&mut self, rate: f64) -> Result<Tensor, LearnError> {
        let constants = AdamWStep {
            rate,
            beta1: BETA1,
            beta2: BETA2,
            decay: self.decay,
            epsilon: EPSILON,
            clip: CLIP,
        };
        Ok(torch::adamw_step(
            &self.params,
            &self.means,
            &self.squares,
            &self.updates,
            constants,
        )?)
    }

    /// Everything that the next update depends on beside the variables and their gradients.
    pub fn state(&self) -> &VarStore {
        &self.state
    }

    /// Updates made.
    pub fn updates(&self) -> f64 {
        self.updates.to_kind(Kind::Double).double_value(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights;
    use tch::Device;

    fn store() -> VarStore {
        let store = VarStore::new(Device::Cpu);
        let _ = store.root().sub("layer").var("weight", &[2], tch::nn::Init::Const(1.0));
        store
    }

    fn update(adamw: &mut AdamW, rate: f64) -> f64 {
        adamw.drop_gradients().unwrap();
        let param = &adamw.params()[0];
        (param * Tensor::from_slice(&[0.3f32, -0.4]))
            .sum(Kind::Float)
            .backward();
        adamw.update(rate).unwrap().double_value(&[])
    }

    #[test]
    fn an_update_is_the_one_of_the_paper() {
        let store = store();
        let mut adamw = AdamW::new(&[("encoder", &store)], 0.1).unwrap();
        let norm = update(&mut adamw, 0.01);
        assert!((norm - 0.5).abs() < 1e-6);
        // The first update of Adam is the rate times the gradient's sign; the decay takes rate * 0.1 of the variable.
        let value = Vec::<f32>::try_from(&adamw.params()[0]).unwrap();
        for (value, expected) in value.iter().zip([1.0 - 0.001 - 0.01, 1.0 - 0.001 + 0.01]) {
            assert!((f64::from(*value) - expected).abs() < 1e-5, "{value} is not {expected}");
        }
    }

    /// `torch.optim.AdamW([p, q], lr=0.01, weight_decay=0.1)` after `clip_grad_norm_([p, q], 1.0)`, five times, by PyTorch
    /// 2.11.
    #[test]
    fn five_updates_are_pytorchs() {
        let store = VarStore::new(Device::Cpu);
        let mut p = store.root().var("p", &[2, 2], tch::nn::Init::Const(0.0));
        let mut q = store.root().var("q", &[2], tch::nn::Init::Const(0.0));
        tch::no_grad(|| {
            p.copy_(&Tensor::from_slice(&[1f32, -2., 3., 0.5]).view([2, 2]));
            q.copy_(&Tensor::from_slice(&[0.1f32, -0.1]));
        });
        let scale = Tensor::from_slice(&[1f32, 0.5, 0.25, 2.]).view([2, 2]);
        let mut adamw = AdamW::new(&[("heads", &store)], 0.1).unwrap();
        for (time, expected) in (1..).zip([1.364_734_4, 2.330_638_2, 3.349_968_2, 4.368_076_8, 5.371_779_4]) {
            adamw.drop_gradients().unwrap();
            let squares = (&p * &p * &scale).sum(Kind::Float) * (f64::from(time) * 0.3);
            let loss = squares + (&q - 1.0).square().sum(Kind::Float) + (p.sum(Kind::Float) * &q).sum(Kind::Float);
            loss.backward();
            let norm = adamw.update(0.01).unwrap().double_value(&[]);
            assert!((norm - expected).abs() < 1e-4, "{norm} for {expected}");
        }
        let close = |found: &Tensor, expected: &[f32]| {
            let found = Vec::<f32>::try_from(found.detach().flatten(0, -1)).unwrap();
            found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-6)
        };
        assert!(
            close(&p, &[0.944_969_95, -1.939_958_8, 2.934_978_5, 0.447_490_75]),
            "{p:?}"
        );
        assert!(close(&q, &[0.055_087_88, -0.142_381_9]), "{q:?}");
    }

    #[test]
    fn saved_and_loaded_it_goes_on_bit_for_bit() {
        let (one, other) = (store(), store());
        let mut first = AdamW::new(&[("encoder", &one)], 0.1).unwrap();
        (0..5).for_each(|_| {
            update(&mut first, 0.01);
        });
        let mut second = AdamW::new(&[("encoder", &other)], 0.1).unwrap();
        weights::load_into(&other, &weights::export(&one).unwrap()).unwrap();
        weights::load_into(second.state(), &weights::export(first.state()).unwrap()).unwrap();
        assert_eq!(second.updates(), 5.0);
        (0..5).for_each(|_| {
            update(&mut first, 0.01);
            update(&mut second, 0.01);
        });
        assert_eq!(weights::export(&one).unwrap(), weights::export(&other).unwrap());
        assert_eq!(
            weights::export(first.state()).unwrap(),
            weights::export(second.state()).unwrap()
        );
    }

    #[test]
    fn a_gradient_that_is_no_number_changes_nothing() {
        let store = store();
        let mut adamw = AdamW::new(&[("encoder", &store)], 0.1).unwrap();
        adamw.drop_gradients().unwrap();
        (&adamw.params()[0] * f64::NAN).sum(Kind::Float).backward();
        assert!(adamw.update(0.01).unwrap().double_value(&[]).is_nan());
        assert_eq!(Vec::<f32>::try_from(&adamw.params()[0]).unwrap(), [1.0, 1.0]);
        assert_eq!(adamw.updates(), 0.0);
    }
}
