//! Texts. `bert` (Devlin et al. 2019): hidden words are predicted (masked LM, section 3.1, task 1), and whether the second
//! segment follows the first (task 2). `mlm`: a larger share of hidden words (Wettig et al. 2023: 30 % is better than 15), and
//! the two halves of a passage find each other among the others' (next-passage contrast; as in DeCLUTR, Giorgi et al. 2021). As
//! there the features themselves are compared, without a projector: with one, hidden words pull the features of all texts together, and
//! their neighbours become worse than a random network's (kNN of intents 45.6 % at random, 28.7 % after 200 steps with a projector, 53.9 %
//! without).
//! Where we differ: whole words are hidden; each sample counts as much as its weight, and each of its hidden tokens as much as
//! every other of the sample; there is no dropout, so that a step is a function of its seed.

use tch::nn::Path;
use tch::{Kind, Reduction, Tensor};

use super::LearnError;
use super::objective::{Loss, Numerics, Objective, Views};
use super::pairs::{of_pictures, unit, weighted_mean};
use super::show::{HiddenWords, NOTHING};
use super::simclr::nt_xent;
use crate::config::ObjectiveKind;
use crate::model::bert::{MaskedHead, NextHead, mean_pooled};
use crate::model::{Bert, Input, ModelError, TextSpec};
use crate::sample::Modality;

/// Temperature of the softmax over similarities of halves (Gao et al. 2021; Giorgi et al. 2021).
const TEMPERATURE: f64 = 0.1;

/// What finding the other half weighs beside hidden words. Hidden words alone pull the features of all texts together; of weights from
/// 0 to 100 more of it brought better neighbours and a worse perplexity (kNN of intents after 800 steps, i.i.d., 41 % at 0, 55 at 1, 62
/// at 3, 65 at 10, 67 at 30; the perplexity at the end of the stream 24, 58 and 105 at 3, 10 and 30).
const CONTRAST: f64 = 10.0;

/// The objective: an encoder, the head that says what is hidden, and the second task's.
pub struct Mlm {
    bert: Bert,
    masked: MaskedHead,
    second: Second,
    /// What a guess among all tokens costs, nats.
    chance: f64,
}

/// The task beside hidden words.
pub(super) enum Second {
    /// Does this segment follow?
    Next(NextHead),
    /// Which half belongs to this one?
    Contrast,
}

impl Mlm {
    /// The objective on this encoder, which `spec` describes; the heads' variables are added below `heads`.
    pub fn new(kind: ObjectiveKind, bert: Bert, spec: &TextSpec, heads: &Path) -> Self {
        let (masked, second) = self::heads(kind, spec, heads);
        Self {
            masked,
            second,
            chance: (spec.bert.vocab as f64).ln(),
            bert,
        }
    }
}

/// Both heads, their variables below `path`.
pub(super) fn heads(kind: ObjectiveKind, spec: &TextSpec, path: &Path) -> (MaskedHead, Second) {
    let second = match kind {
        ObjectiveKind::Bert => Second::Next(NextHead::new(path, path, &spec.bert)),
        _ => Second::Contrast,
    };
    (MaskedHead::new(path, &spec.bert), second)
}

impl Objective for Mlm {
    fn name(&self) -> &'static str {
        match self.second {
            Second::Next(_) => "bert",
            Second::Contrast => "mlm",
        }
    }

    fn features(&self, input: &Input) -> Result<Tensor, ModelError> {
        match input {
            Input::Tokens(tokens) => Ok(mean_pooled(&self.bert.hidden(tokens), tokens.mask.as_ref())),
            other => Err(ModelError::OtherInput {
                network: Modality::Text,
                given: other.modality(),
            }),
        }
    }

    fn loss(&self, views: &Views, numerics: Numerics) -> Result<Loss, LearnError> {
        let (tokens, hidden) = views.tokens()?;
        let (states, features, logits, second) = {
            let _autocast = numerics.autocast()?;
            let states = self.bert.hidden(tokens); //                                        [2B, T, H]
            let features = mean_pooled(&states, tokens.mask.as_ref()); //                            [2B, H]
            let logits = guesses(&self.bert, &self.masked, &states, hidden); //              [M, V]
            let second = match &self.second {
                Second::Next(head) => head.forward(&states), //                              [2B, 2]
                Second::Contrast => features.shallow_clone(), //                             [2B, H]
            };
            (states, features, logits, second)
        };
        let rows = states.size()[0];
        let nll = row_nll(&logits, hidden, rows); //                                         [2B]
        let second = second.to_kind(Kind::Float);
        let beside = match (&self.second, &hidden.follows) {
            (Second::Next(_), Some(follows)) => {
                // Hugging Face's and the paper's first class: it follows.
                let class = (follows.ones_like() - follows).unsqueeze(1);
                let terms = -second
                    .log_softmax(1, Kind::Float)
                    .gather(1, &class, false)
                    .squeeze_dim(1);
                weighted_mean(&terms, &views.weights)
            }
            (Second::Next(_), None) => Tensor::zeros([], (Kind::Float, numerics.device)),
            (Second::Contrast, _) => CONTRAST * nt_xent(&unit(&second), &views.samples, &views.weights, TEMPERATURE),
        };
        Ok(Loss {
            total: weighted_mean(&nll, &views.weights) + beside,
            errors: of_pictures(&nll.detach()) / self.chance,
            features,
            critic: None,
        })
    }
}

/// What the network expects at the hidden places: [M, V]. `states`: [N, T, H].
pub(super) fn guesses(bert: &Bert, head: &MaskedHead, states: &Tensor, hidden: &HiddenWords) -> Tensor {
    let width = states.size()[2];
    let states = states.reshape([-1, width]).index_select(0, &hidden.places); // [M, H]
    head.forward(&states, bert.words())
}

/// The mean negative log-likelihood of each row's hidden tokens, nats; 0 where none is hidden. `logits`: [M, V]; returns `[N]`.
pub(super) fn row_nll(logits: &Tensor, hidden: &HiddenWords, rows: i64) -> Tensor {
    let (logits, none) = (logits.to_kind(Kind::Float), None::<Tensor>);
    let each = logits.cross_entropy_loss(&hidden.was, none, Reduction::None, NOTHING, 0.0); // [M]
    let zeros = || Tensor::zeros([rows], (Kind::Float, logits.device()));
    let counts = zeros().index_add(0, &hidden.rows, &hidden.was.not_equal(NOTHING).to_kind(Kind::Float));
    zeros().index_add(0, &hidden.rows, &each) / counts.clamp_min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn hidden() -> HiddenWords {
        HiddenWords {
            places: Tensor::from_slice(&[1i64, 2, 5, 0]),
            was: Tensor::from_slice(&[3i64, 0, 1, NOTHING]),
            rows: Tensor::from_slice(&[0i64, 0, 2, 0]),
            follows: None,
        }
    }

    #[test]
    fn what_is_known_costs_nothing_and_a_guess_among_four_the_logarithm_of_four() {
        let sure = Tensor::zeros([4, 4], (Kind::Float, Device::Cpu));
        for (row, token) in [(0, 3), (1, 0), (2, 1)] {
            let _ = sure.get(row).get(token).fill_(50.0);
        }
        let nll = Vec::<f32>::try_from(row_nll(&sure, &hidden(), 3)).unwrap();
        assert!(nll.iter().all(|nll| nll.abs() < 1e-6), "{nll:?}");
        let nll = Vec::<f32>::try_from(row_nll(&sure.zeros_like(), &hidden(), 3)).unwrap();
        let four = 4f32.ln();
        assert!(
            (nll[0] - four).abs() < 1e-5 && nll[1] == 0.0 && (nll[2] - four).abs() < 1e-5,
            "{nll:?}"
        );
    }
}
