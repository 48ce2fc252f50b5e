//! Pictures in passes of few shapes, and holes that are filled.

use tch::{Kind, Tensor};

use super::{Embedder, values};
use crate::model::{Decoder, Hole, Input, ModelError, Network, PIXEL_MEAN, PIXEL_STD};
use crate::sample::image::eval_view;
use crate::sample::{Content, ImageTile};

/// Pictures of one pass. A longer batch is cut into passes of this many and then of smaller powers of two, so that
/// oneDNN meets seven shapes only: each new one costs it about a millisecond a layer and is kept.
const PASS_MAX: usize = 64;

impl Embedder {
    pub(super) fn embed_pictures(&self, samples: &[&Content], px: u32) -> Result<Vec<f32>, ModelError> {
        let tile = |sample: &&Content| match *sample {
            Content::Image(tile) => Ok(tile.clone()),
            other => Err(self.other_input(other)),
        };
        let _no_grad = tch::no_grad_guard();
        let mut embeddings = Vec::with_capacity(samples.len() * self.dim());
        let mut rest = samples;
        while !rest.is_empty() {
            let count = PASS_MAX.min(1 << rest.len().ilog2());
            let (pass, later) = rest.split_at(count);
            let tiles = pass.iter().map(tile).collect::<Result<Vec<_>, _>>()?;
            embeddings.extend(self.rows(&Input::Images(self.images(&tiles, px)?))?);
            rest = later;
        }
        Ok(embeddings)
    }

    pub(super) fn fill_picture(
        &self,
        decoder: &Decoder,
        tile: &ImageTile,
        hole: Hole,
        image_px: u32,
    ) -> Result<ImageTile, ModelError> {
        let _no_grad = tch::no_grad_guard();
        let px = i64::from(image_px);
        let mut mask = vec![0f32; (px * px) as usize];
        hole.mark(&mut mask, image_px);
        let hidden = Tensor::from_slice(&mask)
            .f_view([1, 1, px, px])?
            .f_to_device(self.device)?;
        let seen = self.images(std::slice::from_ref(tile), image_px)? * (1.0 - hidden);
        let Network::Pictures(encoder) = &self.network else {
            return Err(self.other_input(&Content::Image(tile.clone())));
        };
        let painted = decoder.forward(&encoder.map(&seen)); //                   [1, 3, px, px]
        let painted = painted
            .f_permute([0, 2, 3, 1])?
            .f_to_kind(Kind::Float)?
            .f_contiguous()?;
        let values = values(&painted)?;
        let mut filled = eval_view(tile, image_px);
        for (index, byte) in filled.rgb.iter_mut().enumerate() {
            if mask[index / 3] > 0.0 {
                let value = values[index] * PIXEL_STD[index % 3] + PIXEL_MEAN[index % 3];
                *byte = (value * 255.0).round().clamp(0.0, 255.0) as u8;
            }
        }
        Ok(filled)
    }

    /// Pictures as the network takes them: [B, 3, px, px], channels last in memory.
    fn images(&self, tiles: &[ImageTile], image_px: u32) -> Result<Tensor, ModelError> {
        let px = i64::from(image_px);
        let pixels: Vec<f32> = tiles
            .iter()
            .flat_map(|tile| normalised(eval_view(tile, image_px)))
            .collect();
        Ok(Tensor::from_slice(&pixels)
            .f_view([tiles.len() as i64, px, px, 3])?
            .f_permute([0, 3, 1, 2])?
            .f_to_device(self.device)?)
    }
}

/// The pixels as the network takes them, in the same order.
fn normalised(tile: ImageTile) -> impl Iterator<Item = f32> {
    tile.rgb
        .into_iter()
        .enumerate()
        .map(|(index, value)| (f32::from(value) / 255.0 - PIXEL_MEAN[index % 3]) / PIXEL_STD[index % 3])
}
