//! Alignment with the teacher, the way not to forget without being told of tasks (CLA-E; Cignoni et al. 2025, "CLA: latent
//! alignment for online continual self-supervised learning"): a predictor shall tell, from the student's features of a
//! replayed view, the teacher's of the same view.
//! Where we differ: the teacher is the published slow copy, not a second network; the weight is not fixed but raised by
//! [`super::anchor`] only while something is being forgotten, for a fixed one costs where nothing is.
//! Always true: the teacher gets no gradient; at weight 0 nothing is computed and nothing changes.

use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::pairs::unit;
use super::{AdamW, LearnError};
use crate::model::{Dense, initialise};

/// Lane of the seed that the predictor's first values come from, apart from the objective's heads.
const SEED_LANE: u64 = 0x0061_6c69_676e;

/// The predictor and its optimiser.
pub(super) struct Aligner {
    pub(super) variables: VarStore,
    pub(super) optimiser: AdamW,
    hidden: Dense,
    output: Dense,
}

impl Aligner {
    /// A predictor of features of `dim` numbers.
    pub(super) fn new(dim: i64, seed: u64, decay: f64, device: Device) -> Result<Self, LearnError> {
        let variables = VarStore::new(device);
        let root = variables.root();
        let (hidden, output) = (
            Dense::new(&(&root / "predictor" / "hidden"), dim, dim),
            Dense::new(&(&root / "predictor" / "output"), dim, dim),
        );
        initialise(&variables, seed ^ SEED_LANE)?;
        let optimiser = AdamW::new(&[("predictor", &variables)], decay)?;
        Ok(Self {
            variables,
            optimiser,
            hidden,
            output,
        })
    }

    /// One less the cosine of what is predicted and what the teacher says, mean over the views that are replayed: [], 0
    /// when all agree; 0 as well when none is replayed. `student`: [2B, D], with gradient; `teacher`: [2B, D], without;
    /// `replayed`: `[B]`, 1 for a picture that is replayed, 0 for one that is new.
    pub(super) fn loss(&self, student: &Tensor, teacher: &Tensor, replayed: &Tensor) -> Tensor {
        let predicted = self.output.forward(&self.hidden.forward(student).relu()); // [2B, D]
        let agreement = (unit(&predicted.to_kind(Kind::Float)) * unit(&teacher.to_kind(Kind::Float))).sum_dim_intlist(
            [1i64].as_slice(),
            false,
            Kind::Float,
        ); // [2B]
        let counted = Tensor::cat(&[replayed, replayed], 0); // [2B]
        let missed: Tensor = 1.0 - agreement; // [2B]
        (missed * &counted).sum(Kind::Float) / counted.sum(Kind::Float).clamp_min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(seed: i64) -> Tensor {
        (Tensor::arange(8 * 4, (Kind::Float, Device::Cpu)) * seed)
            .sin()
            .view([8, 4])
    }

    #[test]
    fn nothing_is_lost_where_nothing_is_replayed_and_at_most_two_where_all_is() {
        let aligner = Aligner::new(4, 1, 0.0, Device::Cpu).unwrap();
        let none = Tensor::zeros([4], (Kind::Float, Device::Cpu));
        assert_eq!(aligner.loss(&features(3), &features(5), &none).double_value(&[]), 0.0);
        let loss = aligner
            .loss(&features(3), &features(5), &none.ones_like())
            .double_value(&[]);
        assert!((0.0..=2.0).contains(&loss) && loss > 0.0, "{loss}");
    }

    #[test]
    fn new_pictures_do_not_count() {
        let aligner = Aligner::new(4, 1, 0.0, Device::Cpu).unwrap();
        let first = Tensor::from_slice(&[1f32, 0., 0., 0.]);
        let (student, teacher) = (features(3), features(5));
        let changed = teacher.copy();
        let _ = changed.narrow(0, 1, 3).neg_();
        let _ = changed.narrow(0, 5, 3).neg_();
        let one = aligner.loss(&student, &teacher, &first).double_value(&[]);
        assert_eq!(one, aligner.loss(&student, &changed, &first).double_value(&[]));
    }

    #[test]
    fn a_predictor_learns_to_tell_what_the_teacher_says() {
        let mut aligner = Aligner::new(4, 1, 0.0, Device::Cpu).unwrap();
        let all = Tensor::ones([4], (Kind::Float, Device::Cpu));
        let (student, teacher) = (features(3), features(5));
        let before = aligner.loss(&student, &teacher, &all).double_value(&[]);
        for _ in 0..300 {
            aligner.optimiser.drop_gradients().unwrap();
            aligner.loss(&student, &teacher, &all).backward();
            let _ = aligner.optimiser.update(0.01).unwrap();
        }
        let after = aligner.loss(&student, &teacher, &all).double_value(&[]);
        assert!(after < before / 4.0, "{before} became {after}");
    }
}
