//! What a copy is shown in training: pictures cut and mirrored at random, all else as it is.
//! Always true: what is shown is a function of the samples, the seed and the step.

use tch::{Device, Tensor};

use super::{Origin, TuneError};
use crate::learn::augment::{Recipe, Renderer, view_rng};
use crate::model::text::{self, Tokenizer};
use crate::model::{EncoderSpec, Input, ModelError, PaddedPatches, PatchRow, Patches, StateRows, TextSpec};
use crate::sample::{Content, ImageTile, Passage};

/// The least area of a crop, as a share of the picture's: what it shows must still be what its label says.
const CROP_MIN: f64 = 0.5;

/// Lengths of texts are rounded up to a multiple of this, so that few shapes come up.
const LENGTH_STEP: usize = 8;

/// Shows samples to a copy.
pub(super) struct Shower<'a> {
    origin: Origin<'a>,
    /// How pictures are cut, and who does it.
    pictures: Option<(Recipe, Renderer)>,
    seed: u64,
}

impl<'a> Shower<'a> {
    pub(super) fn new(origin: Origin<'a>, seed: u64) -> Self {
        let pictures = match origin.spec {
            EncoderSpec::Image(spec) => {
                let recipe = Recipe {
                    scale: (CROP_MIN, 1.0),
                    ..Recipe::crop_and_mirror(spec.image_px)
                };
                Some((recipe, Renderer::new(spec.image_px)))
            }
            _ => None,
        };
        Self { origin, pictures, seed }
    }

    /// These samples as the network takes them, at this step.
    pub(super) fn input(&mut self, contents: &[Content], step: u64) -> Result<Input, TuneError> {
        let device = self.origin.device;
        match (self.origin.spec, &mut self.pictures) {
            (EncoderSpec::Text(spec), _) => texts(&of_kind(contents, passage)?, self.origin.tokenizer, spec, device),
            (EncoderSpec::Series(spec), _) => {
                let windows = of_kind(contents, |content| match content {
                    Content::Series(window) => Some(window),
                    _ => None,
                })?;
                let rows: Vec<PatchRow> = windows
                    .into_iter()
                    .map(|window| PatchRow::new(window, spec, |_, _| false))
                    .collect();
                let padded = PaddedPatches::new(&rows.iter().collect::<Vec<_>>(), spec);
                Ok(Input::Patches(Patches::on(device, &padded)?))
            }
            (EncoderSpec::Transition(spec), _) => {
                let states = StateRows::of(contents.iter(), spec)?;
                Ok(Input::States(states.tensors(device)?.0))
            }
            (EncoderSpec::Image(_), Some((recipe, renderer))) => {
                let tiles = of_kind(contents, |content| match content {
                    Content::Image(tile) => Some(tile),
                    _ => None,
                })?;
                pictures(&tiles, (recipe, renderer), (self.seed, step), device)
            }
            (EncoderSpec::Image(_), None) => Err(unlike()),
        }
    }
}

fn passage(content: &Content) -> Option<&Passage> {
    match content {
        Content::Text(passage) => Some(passage),
        _ => None,
    }
}

/// All of one kind, or an error.
fn of_kind<'a, T>(
    contents: &'a [Content],
    kind: impl Fn(&'a Content) -> Option<&'a T>,
) -> Result<Vec<&'a T>, TuneError> {
    contents
        .iter()
        .map(|content| kind(content).ok_or_else(unlike))
        .collect()
}

fn unlike() -> TuneError {
    TuneError::Unread("one of them is of another modality than the network".to_owned())
}

fn pictures(
    tiles: &[&ImageTile],
    (recipe, renderer): (&Recipe, &mut Renderer),
    (seed, step): (u64, u64),
    device: Device,
) -> Result<Input, TuneError> {
    let px = recipe.px as usize;
    let mut pixels = vec![0f32; tiles.len() * px * px * 3];
    for (place, (tile, out)) in tiles.iter().zip(pixels.chunks_exact_mut(px * px * 3)).enumerate() {
        let view = recipe.draw(
            tile.width.into(),
            tile.height.into(),
            &mut view_rng(seed, step, place, 0),
        );
        renderer.render(&view, tile, out);
    }
    let px = px as i64;
    let images = Tensor::from_slice(&pixels)
        .f_view([tiles.len() as i64, px, px, 3])?
        .f_permute([0, 3, 1, 2])?
        .f_to_device(device)?;
    Ok(Input::Images(images))
}

fn texts(
    passages: &[&Passage],
    tokenizer: Option<&Tokenizer>,
    spec: &TextSpec,
    device: Device,
) -> Result<Input, TuneError> {
    let tokenizer = tokenizer.ok_or(ModelError::NoTokenizer)?;
    let most = spec.tokens_max as usize;
    let row = |passage: &&Passage| {
        let tokens = tokenizer.encode(&passage.text, most - text::SPECIALS_OF_ONE)?;
        Ok(text::clean(tokenizer, &tokens, None))
    };
    let rows = passages.iter().map(row).collect::<Result<Vec<_>, TuneError>>()?;
    Ok(Input::of_rows(&text::pad(tokenizer, &rows, LENGTH_STEP, most), device)?)
}
