//! The published network in use: pictures in, embeddings out.
//! Invariant: up to rounding, a picture's embedding depends on the weights and the picture, not on its neighbours in
//! the batch.

use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::{Decoder, Encoder, EncoderSpec, Hole, ModelError, PIXEL_MEAN, PIXEL_STD, initialise, weights};
use crate::sample::ImageTile;
use crate::sample::image::eval_view;

/// Pictures of one pass. A longer batch is cut into passes of this many and then of smaller powers of two, so that
/// oneDNN meets seven shapes only: each new one costs it about a millisecond a layer and is kept.
const PASS_MAX: usize = 64;

/// A network for embedding, in float32. One thread owns it.
pub struct Embedder {
    encoder: Box<dyn Encoder>,
    /// Fills holes, where the network learnt to.
    decoder: Option<Decoder>,
    device: Device,
    image_px: u32,
}

impl Embedder {
    /// The network with the weights of a `model.safetensors`.
    pub fn open(spec: &EncoderSpec, safetensors: &[u8], device: Device) -> Result<Self, ModelError> {
        Self::build(spec, device, |variables| weights::load_into(variables, safetensors))
    }

    /// The network as it starts from this seed, untrained: a baseline.
    pub fn random(spec: &EncoderSpec, seed: u64, device: Device) -> Result<Self, ModelError> {
        Self::build(spec, device, |variables| initialise(variables, seed))
    }

    fn build(
        spec: &EncoderSpec,
        device: Device,
        fill: impl FnOnce(&VarStore) -> Result<(), ModelError>,
    ) -> Result<Self, ModelError> {
        let mut variables = VarStore::new(device);
        let encoder = spec.build(&variables.root());
        fill(&variables)?;
        weights::lay_out(&variables)?;
        variables.freeze();
        Ok(Self {
            encoder,
            decoder: None,
            device,
            image_px: spec.image_px,
        })
    }

    /// The same network with the decoder that learnt beside it, the weights of a `decoder.safetensors`.
    pub fn with_decoder(self, spec: &EncoderSpec, safetensors: &[u8]) -> Result<Self, ModelError> {
        let mut variables = VarStore::new(self.device);
        let decoder = Decoder::new(&variables.root(), spec);
        weights::load_into(&variables, safetensors)?;
        variables.freeze();
        Ok(Self {
            decoder: Some(decoder),
            ..self
        })
    }

    /// Dimensions of an embedding.
    pub fn dim(&self) -> usize {
        self.encoder.dim() as usize
    }

    /// Embeddings of pictures of any size, each seen through [`eval_view`]: `tiles.len() * dim` numbers, row after row,
    /// each row of unit length.
    pub fn embed(&self, tiles: &[&ImageTile]) -> Result<Vec<f32>, ModelError> {
        let mut embeddings = Vec::with_capacity(tiles.len() * self.dim());
        let mut rest = tiles;
        while !rest.is_empty() {
            let count = PASS_MAX.min(1 << rest.len().ilog2());
            let (pass, later) = rest.split_at(count);
            embeddings.extend(self.pass(pass)?);
            rest = later;
        }
        Ok(embeddings)
    }

    /// The picture as the network sees it, with what is in the hole replaced by what the network expects there; every
    /// other pixel as it was. None when there is no decoder.
    pub fn fill(&self, tile: &ImageTile, hole: Hole) -> Result<Option<ImageTile>, ModelError> {
        let Some(decoder) = &self.decoder else { return Ok(None) };
        let _no_grad = tch::no_grad_guard();
        let px = i64::from(self.image_px);
        let mut mask = vec![0f32; (px * px) as usize];
        hole.mark(&mut mask, self.image_px);
        let hidden = Tensor::from_slice(&mask)
            .f_view([1, 1, px, px])?
            .f_to_device(self.device)?;
        let seen = self.images(&[tile])? * (1.0 - hidden);
        let painted = decoder.forward(&self.encoder.map(&seen)); //              [1, 3, px, px]
        let painted = painted
            .f_permute([0, 2, 3, 1])?
            .f_to_kind(Kind::Float)?
            .f_contiguous()?;
        let mut values = vec![0f32; painted.numel()];
        painted.f_copy_data(&mut values, painted.numel())?;
        let mut filled = eval_view(tile, self.image_px);
        for (index, byte) in filled.rgb.iter_mut().enumerate() {
            if mask[index / 3] > 0.0 {
                let value = values[index] * PIXEL_STD[index % 3] + PIXEL_MEAN[index % 3];
                *byte = (value * 255.0).round().clamp(0.0, 255.0) as u8;
            }
        }
        Ok(Some(filled))
    }

    /// Pictures as the network takes them: [B, 3, px, px], channels last in memory.
    fn images(&self, tiles: &[&ImageTile]) -> Result<Tensor, ModelError> {
        let px = i64::from(self.image_px);
        let pixels: Vec<f32> = tiles
            .iter()
            .flat_map(|tile| normalised(eval_view(tile, self.image_px)))
            .collect();
        Ok(Tensor::from_slice(&pixels)
            .f_view([tiles.len() as i64, px, px, 3])?
            .f_permute([0, 3, 1, 2])?
            .f_to_device(self.device)?)
    }

    fn pass(&self, tiles: &[&ImageTile]) -> Result<Vec<f32>, ModelError> {
        let _no_grad = tch::no_grad_guard();
        let features = self.encoder.forward(&self.images(tiles)?);
        // The floor keeps a zero vector zero instead of dividing by it.
        let lengths = features
            .f_norm_scalaropt_dim(2, [1i64].as_slice(), true)?
            .f_clamp_min(1e-12)?;
        let unit = features.f_div(&lengths)?.f_to_kind(Kind::Float)?.f_contiguous()?;
        let mut values = vec![0f32; unit.numel()];
        unit.f_copy_data(&mut values, unit.numel())?;
        Ok(values)
    }
}

/// The pixels as the network takes them, in the same order.
fn normalised(tile: ImageTile) -> impl Iterator<Item = f32> {
    tile.rgb
        .into_iter()
        .enumerate()
        .map(|(index, value)| (f32::from(value) / 255.0 - PIXEL_MEAN[index % 3]) / PIXEL_STD[index % 3])
}
