//! How much a network tells of what is hidden from it: of a text's words, of a window's end, of what follows an action.
//! Always true: what is hidden of a sample is a function of the sample alone, so that every network is asked the same.

use std::collections::BTreeMap;

use tch::{Device, Kind, Reduction, Tensor};

use super::{Embedder, values};
use crate::model::bert::MaskedHead;
use crate::model::text::{self, MaskRecipe, Row};
use crate::model::{EncoderSpec, Filler, Input, ModelError, Network, TextSpec};
use crate::rng;
use crate::sample::{Content, Window};

/// Share of a text's tokens that are hidden (Devlin et al. 2019).
const HIDDEN: f64 = 0.15;

/// One part in so many of a window is foretold: its end.
const HORIZON_ONE_IN: usize = 4;

/// Texts of one pass.
const PASS: usize = 32;

/// Keeps these draws apart from all others.
const SEED: u64 = 0x746f_6c64;

impl Embedder {
    /// For each sample how much of what is hidden is told, 0 to 1. Of a text: one less the mean negative log-likelihood of hidden
    /// tokens over that of a guess among all. Of a window: the error of its last season repeated over the sum of that and the
    /// forecast's, so that a half is as good as repeating; 0 where nothing can be compared. Of a transition: one less the error
    /// of the next state's features, in their variance. None where the network has no heads for it, and of pictures.
    pub fn told(&self, samples: &[&Content]) -> Result<Option<Vec<f64>>, ModelError> {
        match (&self.spec, &self.decoder) {
            (EncoderSpec::Text(spec), Some(Filler::Words(head))) => self.words_told(head, samples, spec).map(Some),
            (EncoderSpec::Series(_), Some(_)) => self.ends_told(samples).map(Some),
            (EncoderSpec::Transition(_), Some(_)) => {
                let told = |curious: crate::model::Curiosity| 1.0 - f64::from(curious.error).clamp(0.0, 1.0);
                Ok(self
                    .curiosity(samples)?
                    .map(|curious| curious.into_iter().map(told).collect()))
            }
            _ => Ok(None),
        }
    }

    fn words_told(&self, head: &MaskedHead, samples: &[&Content], spec: &TextSpec) -> Result<Vec<f64>, ModelError> {
        let tokenizer = self.tokenizer.as_ref().ok_or(ModelError::NoTokenizer)?;
        let Network::Texts(bert) = &self.network else {
            return Err(ModelError::NoTokenizer);
        };
        let row = |sample: &&Content| match *sample {
            Content::Text(passage) => {
                let tokens = tokenizer.encode(&passage.text, spec.tokens_max as usize - text::SPECIALS_OF_ONE)?;
                let place = u64::from(passage.document) << 32 | u64::from(passage.part);
                let mut rng = rng::for_step(SEED, place, passage.text.len() as u64);
                Ok(text::row(tokenizer, &tokens, None, &MaskRecipe::bert(HIDDEN), &mut rng))
            }
            other => Err(self.other_input(other)),
        };
        let rows = samples.iter().map(row).collect::<Result<Vec<Row>, ModelError>>()?;
        let _no_grad = tch::no_grad_guard();
        let _autocast = self.autocast()?;
        let chance = (spec.bert.vocab as f64).ln();
        let mut told = Vec::with_capacity(rows.len());
        for rows in rows.chunks(PASS) {
            let padded = text::pad(tokenizer, rows, 8, spec.tokens_max as usize);
            let columns = padded.columns as i64;
            let hidden = (0i64..).zip(rows).flat_map(|(row, of)| {
                let places = of.hidden.iter();
                places.map(move |hidden| (row * columns + i64::from(hidden.at), i64::from(hidden.was)))
            });
            let (places, was): (Vec<i64>, Vec<i64>) = hidden.unzip();
            let input = Input::of_rows(&padded, self.device)?;
            let Input::Tokens(tokens) = &input else {
                return Err(ModelError::NoTokenizer);
            };
            let on_device = |numbers: &[i64]| Tensor::from_slice(numbers).f_to_device(self.device);
            let states = bert.hidden(tokens);
            let states = states
                .f_reshape([-1, spec.bert.hidden])?
                .f_index_select(0, &on_device(&places)?)?; // [M, H]
            let losses = head
                .forward(&states, bert.words())
                .to_kind(Kind::Float)
                .f_cross_entropy_loss(&on_device(&was)?, None::<Tensor>, Reduction::None, -100, 0.0)?; // [M]
            let losses = values(&losses.f_to_device(Device::Cpu)?.f_contiguous()?)?;
            let mut rest = losses.as_slice();
            for row in rows {
                let (own, others) = rest.split_at(row.hidden.len());
                let mean = own.iter().map(|loss| f64::from(*loss)).sum::<f64>() / own.len().max(1) as f64;
                told.push(if own.is_empty() {
                    0.0
                } else {
                    (1.0 - mean / chance).clamp(0.0, 1.0)
                });
                rest = others;
            }
        }
        Ok(told)
    }

    fn ends_told(&self, samples: &[&Content]) -> Result<Vec<f64>, ModelError> {
        let windows = samples.iter().map(|sample| match *sample {
            Content::Series(window) => Ok(window),
            other => Err(self.other_input(other)),
        });
        let windows = windows.collect::<Result<Vec<&Window>, ModelError>>()?;
        let mut by_steps = BTreeMap::<usize, Vec<usize>>::new();
        for (at, window) in windows.iter().enumerate() {
            by_steps.entry(window.steps()).or_default().push(at);
        }
        let mut told = vec![0.0; windows.len()];
        for (steps, places) in by_steps {
            let alike: Vec<&Window> = places.iter().map(|at| windows[*at]).collect();
            let horizon = (steps / HORIZON_ONE_IN).max(1);
            let forecasts = self.forecast(&alike, horizon)?.unwrap_or_default();
            for (at, forecast) in places.into_iter().zip(forecasts) {
                let compared = forecast.and_then(|forecast| forecast.compared(windows[at], None));
                told[at] = compared.map_or(0.0, |compared| match compared.model + compared.naive {
                    sum if sum > 0.0 => compared.naive / sum,
                    // Both are right.
                    _ => 0.5,
                });
            }
        }
        Ok(told)
    }
}
