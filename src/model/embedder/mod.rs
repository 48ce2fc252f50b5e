//! The published network in use: samples in, embeddings out.
//! Invariant: up to rounding, a sample's embedding depends on the weights and the sample, not on its neighbours in
//! the batch.

mod pictures;
mod series;
mod texts;
mod told;
mod transitions;

use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::text::Tokenizer;
use super::{EncoderSpec, Filler, Forecast, Hole, Input, ModelError, Network, Scales, initialise, weights};
use crate::sample::{Content, ImageTile, Window};
use crate::torch::Bf16Autocast;
pub use texts::Guess;
pub use transitions::Curiosity;

/// A network for embedding, in float32 where nothing else is asked for. One thread owns it.
pub struct Embedder {
    network: Network,
    /// Says what is hidden, where the network learnt to.
    decoder: Option<Filler>,
    device: Device,
    spec: EncoderSpec,
    /// What texts are read with.
    tokenizer: Option<Tokenizer>,
    /// Whether costly operations run in bfloat16.
    bf16: bool,
}

impl Embedder {
    /// The network with the weights of a `model.safetensors`; one of texts with its vocabulary.
    pub fn open(
        spec: &EncoderSpec,
        tokenizer: Option<&Tokenizer>,
        safetensors: &[u8],
        device: Device,
    ) -> Result<Self, ModelError> {
        Self::build(spec, tokenizer, device, |variables| {
            weights::load_into(variables, safetensors)
        })
    }

    /// The network as it starts from this seed, untrained: a baseline.
    pub fn random(
        spec: &EncoderSpec,
        tokenizer: Option<&Tokenizer>,
        seed: u64,
        device: Device,
    ) -> Result<Self, ModelError> {
        Self::build(spec, tokenizer, device, |variables| initialise(variables, seed))
    }

    /// As [`random`](Self::random), with what is measured and not learnt of these weights: the scale of transitions.
    pub fn random_beside(
        spec: &EncoderSpec,
        tokenizer: Option<&Tokenizer>,
        safetensors: &[u8],
        seed: u64,
        device: Device,
    ) -> Result<Self, ModelError> {
        Self::build(spec, tokenizer, device, |variables| {
            initialise(variables, seed)?;
            weights::load_some(variables, safetensors, |name| name.starts_with("scale."))?;
            Ok(())
        })
    }

    /// As [`random`](Self::random), of transitions with these scales.
    pub fn random_scaled(spec: &EncoderSpec, scales: &Scales, seed: u64, device: Device) -> Result<Self, ModelError> {
        Self::build(spec, None, device, |variables| {
            initialise(variables, seed)?;
            scales.set_encoder(variables)
        })
    }

    fn build(
        spec: &EncoderSpec,
        tokenizer: Option<&Tokenizer>,
        device: Device,
        fill: impl FnOnce(&VarStore) -> Result<(), ModelError>,
    ) -> Result<Self, ModelError> {
        let mut variables = VarStore::new(device);
        let mut network = spec.build(&variables.root());
        fill(&variables)?;
        weights::lay_out(&variables)?;
        variables.freeze();
        network.settle(false);
        Ok(Self {
            network,
            bf16: false,
            decoder: None,
            device,
            spec: *spec,
            tokenizer: tokenizer.cloned(),
        })
    }

    /// The same network with the decoder that learnt beside it, the weights of a `decoder.safetensors`.
    pub fn with_decoder(self, safetensors: &[u8]) -> Result<Self, ModelError> {
        let mut variables = VarStore::new(self.device);
        let decoder = Filler::new(&variables.root(), &self.spec);
        decoder.load(&variables, safetensors)?;
        variables.freeze();
        Ok(Self {
            decoder: Some(decoder),
            ..self
        })
    }

    /// The same network with its costly operations in bfloat16: the cosine of a vector to that in float32 is above 0.9999. Networks
    /// of series and of transitions, which are small and whose errors are looked at, stay as they are.
    pub fn in_bf16(mut self) -> Self {
        self.bf16 = matches!(self.network, Network::Pictures(_) | Network::Texts(_));
        self.network.settle(self.bf16);
        self
    }

    /// Entered around the network's operations.
    fn autocast(&self) -> Result<Option<Bf16Autocast>, ModelError> {
        Ok(self.bf16.then(|| Bf16Autocast::enter(self.device)).transpose()?)
    }

    /// Dimensions of an embedding.
    pub fn dim(&self) -> usize {
        self.spec.dim() as usize
    }

    /// What texts are read with; None where the network reads none.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// Whether this sample is of the network's modality.
    pub fn takes(&self, sample: &Content) -> bool {
        sample.modality() == self.spec.modality()
    }

    /// Embeddings of samples: pictures of any size, each seen through [`eval_view`](crate::sample::image::eval_view), or
    /// texts, of which the network sees the first tokens, windows of series, or transitions. `samples.len() * dim` numbers, row after row, each row of unit
    /// length. An error where a sample is of another modality than the network.
    pub fn embed(&self, samples: &[&Content]) -> Result<Vec<f32>, ModelError> {
        match &self.spec {
            EncoderSpec::Image(spec) => self.embed_pictures(samples, spec.image_px),
            EncoderSpec::Text(spec) => self.embed_texts(samples, spec),
            EncoderSpec::Series(spec) => self.embed_series(samples, spec),
            EncoderSpec::Transition(spec) => self.embed_transitions(samples, spec),
        }
    }

    /// The picture as the network sees it, with what is in the hole replaced by what the network expects there; every
    /// other pixel as it was. None when there is no decoder.
    pub fn fill(&self, tile: &ImageTile, hole: Hole) -> Result<Option<ImageTile>, ModelError> {
        match (&self.spec, &self.decoder) {
            (EncoderSpec::Image(spec), Some(Filler::Pictures(decoder))) => {
                self.fill_picture(decoder, tile, hole, spec.image_px).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// What the network expects at each `[MASK]` of a text, in their order, the likeliest `most` first. None when it has not
    /// learnt to; an error where the text has no `[MASK]` among its first tokens.
    pub fn guess(&self, text: &str, most: usize) -> Result<Option<Vec<Vec<Guess>>>, ModelError> {
        match (&self.spec, &self.decoder) {
            (EncoderSpec::Text(spec), Some(Filler::Words(head))) => self.guess_words(head, text, most, spec).map(Some),
            _ => Ok(None),
        }
    }

    /// What the network expects of the last steps of windows from those before. As it reads whole patches, it is not shown the
    /// steps that share one with what it forecasts. None when it has not learnt to; None of a window in which less than a patch
    /// comes before.
    pub fn forecast(
        &self,
        windows: &[&Window],
        horizon_steps: usize,
    ) -> Result<Option<Vec<Option<Forecast>>>, ModelError> {
        match (&self.spec, &self.network, &self.decoder) {
            (EncoderSpec::Series(spec), Network::Series(network), Some(Filler::Patches(head))) => {
                let forecasts = self.forecast_series((network, head), windows, horizon_steps, spec)?;
                Ok(Some(forecasts))
            }
            _ => Ok(None),
        }
    }

    /// Unit rows of what the network makes of an input, in the input's order.
    fn rows(&self, input: &Input) -> Result<Vec<f32>, ModelError> {
        let features = {
            let _autocast = self.autocast()?;
            self.network.forward(input)?.f_to_kind(Kind::Float)?
        };
        // The floor keeps a zero vector zero instead of dividing by it.
        let lengths = features
            .f_norm_scalaropt_dim(2, [1i64].as_slice(), true)?
            .f_clamp_min(1e-12)?;
        let unit = features.f_div(&lengths)?.f_contiguous()?;
        values(&unit)
    }

    fn other_input(&self, given: &Content) -> ModelError {
        ModelError::OtherInput {
            network: self.spec.modality(),
            given: given.modality(),
        }
    }
}

/// A tensor's numbers, rows first.
fn values(tensor: &Tensor) -> Result<Vec<f32>, ModelError> {
    let mut values = vec![0f32; tensor.numel()];
    tensor.f_copy_data(&mut values, tensor.numel())?;
    Ok(values)
}
