//! Series. `masked`: hidden patches are predicted from the others (Nie et al. 2023, PatchTST, section 3.2), and two overlapping
//! crops of a window find each other among the others' (as SimCLR's views do).
//! Where we differ: what is hidden is now and then the end, which is forecasting; numbers are normalised by what is visible
//! alone, and far ones count as [`FAR`](crate::model::cut::FAR); each sample counts as much as its weight, and each of its hidden numbers as
//! much as every other of the sample.

use tch::nn::Path;
use tch::{Kind, Tensor};

use super::LearnError;
use super::objective::{Loss, Numerics, Objective, Views};
use super::pairs::{of_pictures, unit, weighted_mean};
use super::show::HiddenPatches;
use super::simclr::nt_xent;
use crate::model::bert::mean_pooled;
use crate::model::{Input, ModelError, PatchHead, PatchTransformer, Patches, SeriesSpec};
use crate::sample::Modality;

/// What finding the other crop weighs beside predicting what is hidden: at 0.5, compared through a
/// projector, it drowned that (after 250 steps on waves an error of 1.03; at 0.1 of 0.86, at 0 of 0.87).
const CONTRAST: f64 = 0.2;

/// Temperature of the softmax over similarities of crops.
const TEMPERATURE: f64 = 0.1;

/// The objective: an encoder, and the head that says what is hidden.
pub struct Masked {
    network: PatchTransformer,
    head: PatchHead,
}

impl Masked {
    /// The objective on this encoder, which `spec` describes; the heads' variables are added below `heads`.
    pub fn new(network: PatchTransformer, spec: &SeriesSpec, heads: &Path) -> Self {
        Self {
            network,
            head: PatchHead::new(heads, spec),
        }
    }
}

/// The error of each window, `[n]`, and the features of the clean ones, [n, D], from rows of two views with patches hidden and
/// the clean one.
pub(super) fn scored(
    network: &PatchTransformer,
    head: &PatchHead,
    patches: &Patches,
    hidden: &HiddenPatches,
    count: i64,
) -> (Tensor, Tensor) {
    let states = network.hidden(patches); //                                         [3n, T, H]
    let missed = row_missed(&head.guesses(&states, &hidden.places), hidden, 3 * count);
    let errors = of_pictures(&bounded(&missed.narrow(0, 0, 2 * count)));
    let features = mean_pooled(&states, patches.mask.as_ref());
    (errors, features.narrow(0, 2 * count, count))
}

impl Objective for Masked {
    fn name(&self) -> &'static str {
        "masked"
    }

    fn features(&self, input: &Input) -> Result<Tensor, ModelError> {
        match input {
            Input::Patches(patches) => Ok(self.network.features(patches)),
            other => Err(ModelError::OtherInput {
                network: Modality::Series,
                given: other.modality(),
            }),
        }
    }

    fn loss(&self, views: &Views, numerics: Numerics) -> Result<Loss, LearnError> {
        let (patches, hidden) = views.patches()?;
        let (features, guesses) = {
            let _autocast = numerics.autocast()?;
            let states = self.network.hidden(patches); //                                [2B, T, H]
            let features = mean_pooled(&states, patches.mask.as_ref()); //               [2B, H]
            let guesses = self.head.guesses(&states, &hidden.places); //                 [M, P]
            (features, guesses)
        };
        let missed = row_missed(&guesses, hidden, features.size()[0]); //                [2B]
        let apart = nt_xent(
            &unit(&features.to_kind(Kind::Float)),
            &views.samples,
            &views.weights,
            TEMPERATURE,
        );
        Ok(Loss {
            total: weighted_mean(&missed, &views.weights) + CONTRAST * apart,
            errors: of_pictures(&bounded(&missed.detach())),
            features,
            critic: None,
        })
    }
}

/// The mean squared error of each row's hidden numbers, in variances of what is visible of their variable: 1 is as bad as
/// guessing its mean; 0 where nothing is asked for. `guesses`: [M, P]; returns `[rows]`.
fn row_missed(guesses: &Tensor, hidden: &HiddenPatches, rows: i64) -> Tensor {
    let each = (guesses.to_kind(Kind::Float) - &hidden.was).square() * &hidden.asked; // [M, P]
    let of_rows = |numbers: &Tensor| {
        let of_patches = numbers.sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
        Tensor::zeros([rows], (Kind::Float, guesses.device())).index_add(0, &hidden.rows, &of_patches)
    };
    of_rows(&each) / of_rows(&hidden.asked).clamp_min(1.0)
}

/// The same up to 1, and above it ever nearer to 2, so that what can not be foreseen at all is still told from what is badly
/// foreseen, and no window outweighs all others.
fn bounded(missed: &Tensor) -> Tensor {
    missed.clamp_max(1.0) + 1.0 - missed.clamp_min(1.0).reciprocal()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden() -> HiddenPatches {
        HiddenPatches {
            places: Tensor::from_slice(&[1i64, 2, 5]),
            was: Tensor::from_slice(&[1f32, -1., 2., 0., 1., 1.]).view([3, 2]),
            asked: Tensor::from_slice(&[1f32, 1., 1., 0., 1., 1.]).view([3, 2]),
            rows: Tensor::from_slice(&[0i64, 0, 2]),
        }
    }

    fn missed(guesses: &Tensor) -> Vec<f32> {
        Vec::try_from(row_missed(guesses, &hidden(), 3)).unwrap()
    }

    #[test]
    fn what_is_known_costs_nothing_and_a_number_that_is_not_asked_for_nothing_either() {
        let wrong_where_missing = &hidden().was + Tensor::from_slice(&[0f32, 0., 0., 9., 0., 0.]).view([3, 2]);
        assert_eq!(missed(&wrong_where_missing), [0.0; 3]);
        // Three numbers of the first row, none of the second, two of the third.
        assert_eq!(missed(&hidden().was.zeros_like()), [2.0, 0.0, 1.0]);
    }

    #[test]
    fn an_error_is_as_it_is_up_to_one_and_below_two_however_large() {
        let errors = bounded(&Tensor::from_slice(&[0f32, 0.3, 1.0, 2.0, 1e30]));
        let errors = Vec::<f32>::try_from(errors).unwrap();
        let near = errors.iter().zip([0.0, 0.3, 1.0, 1.5, 2.0]);
        assert!(
            near.into_iter().all(|(error, right)| (error - right).abs() < 1e-6),
            "{errors:?}"
        );
    }
}
