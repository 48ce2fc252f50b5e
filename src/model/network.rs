//! A network of any modality, and what it is given.

use tch::{Device, Kind, TchError, Tensor};

use super::bert::{Bert, Tokens, mean_pooled};
use super::text::Padded;
use super::{Encoder, ModelError, PatchTransformer, Patches, StateNetwork};
use crate::sample::Modality;

/// What a network is shown, on its device.
pub enum Input {
    /// [N, 3, px, px], normalised: see [`Encoder::map`].
    Images(Tensor),
    /// [N, T] tokens.
    Tokens(Tokens),
    /// [N, T] patches of series.
    Patches(Patches),
    /// [N, S] states, filled up with zeros.
    States(Tensor),
}

impl Input {
    /// Rows of tokens, on the device.
    pub fn of_rows(rows: &Padded, device: Device) -> Result<Self, ModelError> {
        let shape = [rows.rows as i64, rows.columns as i64];
        let numbers = |numbers: &[i64]| -> Result<Tensor, TchError> {
            Tensor::from_slice(numbers).f_view(shape)?.f_to_device(device)
        };
        let is_full = rows.mask.iter().all(|is_token| *is_token);
        let mask = match is_full {
            true => None,
            false => Some(Tensor::from_slice(&rows.mask).f_view(shape)?.f_to_device(device)?),
        };
        Ok(Self::Tokens(Tokens {
            ids: numbers(&rows.ids)?,
            types: numbers(&rows.types)?,
            mask,
            packing: None,
        }))
    }

    /// The kind of data that it is.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Images(_) => Modality::Image,
            Self::Tokens(_) => Modality::Text,
            Self::Patches(_) => Modality::Series,
            Self::States(_) => Modality::Transition,
        }
    }
}

/// A network. One thread owns it.
pub enum Network {
    /// Of pictures.
    Pictures(Box<dyn Encoder>),
    /// Of texts.
    Texts(Bert),
    /// Of series.
    Series(PatchTransformer),
    /// Of the states of transitions.
    States(StateNetwork),
}

impl Network {
    /// Dimensions of its features.
    pub fn dim(&self) -> i64 {
        match self {
            Self::Pictures(encoder) => encoder.dim(),
            Self::Texts(bert) => bert.dim(),
            Self::Series(network) => network.dim(),
            Self::States(network) => network.dim(),
        }
    }

    /// Makes it ready to be used and no longer trained. `bf16`: costly operations run in bfloat16, under autocast.
    pub fn settle(&mut self, bf16: bool) {
        let kind = if bf16 { Kind::BFloat16 } else { Kind::Float };
        match self {
            Self::Pictures(encoder) => encoder.settle(kind),
            Self::Texts(bert) => bert.settle(kind),
            Self::Series(network) => network.settle(),
            // Its products are small.
            Self::States(_) => {}
        }
    }

    /// Features of what it is shown: [N, D], float32, not of unit length.
    pub fn forward(&self, input: &Input) -> Result<Tensor, ModelError> {
        match (self, input) {
            (Self::Pictures(encoder), Input::Images(images)) => Ok(encoder.forward(images)),
            (Self::Texts(bert), Input::Tokens(tokens)) => Ok(mean_pooled(&bert.hidden(tokens), tokens.mask.as_ref())),
            (Self::Series(network), Input::Patches(patches)) => Ok(network.features(patches)),
            (Self::States(network), Input::States(states)) => Ok(network.features(states)),
            _ => Err(ModelError::OtherInput {
                network: self.modality(),
                given: input.modality(),
            }),
        }
    }

    fn modality(&self) -> Modality {
        match self {
            Self::Pictures(_) => Modality::Image,
            Self::Texts(_) => Modality::Text,
            Self::Series(_) => Modality::Series,
            Self::States(_) => Modality::Transition,
        }
    }
}
