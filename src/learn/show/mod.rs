//! How samples are shown to a network: two views of each for a step, views that never change for a score.
//! Invariant: what is shown is a function of the samples, the seed and the step; how many threads make it changes nothing.

mod pictures;
mod series;
mod texts;
mod transitions;

use rayon::ThreadPool;
use tch::Device;

use super::augment::{Recipe, View};
use super::{LearnError, score};
use crate::config::ObjectiveKind;
use crate::curiosity::{Look, Thumbnail};
use crate::ids::SampleId;
use crate::limits::BATCH_QUEUE_MAX;
use crate::model::text::{Tokenizer, TokenizerError};
use crate::model::{Actions, EncoderSpec, Input, StateRows};
use crate::sample::{Content, ContentError, ImageTile};
use pictures::Home;
pub use pictures::Pixels;
use series::Series;
pub use series::{HiddenPatches, PatchRows};
pub(super) use texts::NOTHING;
use texts::Texts;
pub use texts::{HiddenWords, Rows};
use transitions::Transitions;

/// Why samples can not be shown.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// One is not what it should be.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A text can not be cut into tokens.
    #[error(transparent)]
    Text(#[from] TokenizerError),
}

/// What a network is shown of samples, made by threads that never call ATen.
pub enum Shown {
    /// Views of pictures, normalised: `views * px * px * 3` numbers, channels last.
    Pictures {
        /// How many.
        views: usize,
        /// Pixels of each side.
        px: u32,
        /// The numbers.
        pixels: Pixels,
    },
    /// Texts as rows of tokens, some of them hidden.
    Texts(Rows),
    /// Windows of series as rows of patches, some of them hidden.
    Series(PatchRows),
    /// Transitions as rows of states.
    Transitions(StateRows),
}

/// What is to be told of what is shown, on the device.
pub enum Hidden {
    /// Hidden words.
    Words(HiddenWords),
    /// Hidden patches of series.
    Patches(HiddenPatches),
    /// What was done between two states.
    Actions(Actions),
}

impl Shown {
    /// As the network takes it, on the device; of all but pictures also what is hidden.
    pub(super) fn input(self, device: Device) -> Result<(Input, Option<Hidden>), LearnError> {
        Ok(match self {
            Self::Pictures { views, px, pixels } => (Input::Images(pixels.images(views as i64, px, device)?), None),
            Self::Texts(rows) => {
                let (input, hidden) = rows.input(device)?;
                (input, Some(Hidden::Words(hidden)))
            }
            Self::Series(rows) => {
                let (input, hidden) = rows.input(device)?;
                (input, Some(Hidden::Patches(hidden)))
            }
            Self::Transitions(rows) => {
                let (states, actions) = rows.tensors(device)?;
                (Input::States(states), Some(Hidden::Actions(actions)))
            }
        })
    }
}

/// How the samples of a stream are shown.
#[derive(Clone)]
pub(super) enum Presenter {
    Pictures(Recipe),
    Texts(Texts),
    Series(Series),
    Transitions(Transitions),
}

impl Presenter {
    /// For this objective and network; texts are read with this vocabulary.
    pub(super) fn new(
        kind: ObjectiveKind,
        spec: &EncoderSpec,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Self, LearnError> {
        Ok(match (spec, tokenizer) {
            (EncoderSpec::Image(spec), _) => Self::Pictures(pictures::recipe(kind, spec.image_px)),
            (EncoderSpec::Text(spec), Some(tokenizer)) => Self::Texts(Texts::new(kind, spec, tokenizer.clone())),
            (EncoderSpec::Text(_), None) => return Err(LearnError::NoTokenizer),
            (EncoderSpec::Series(spec), _) => Self::Series(Series::new(spec)),
            (EncoderSpec::Transition(spec), _) => Self::Transitions(Transitions::new(spec)),
        })
    }

    /// Two views of each of these samples, always the same: first the first view of every one, then the second.
    pub(super) fn fixed_pairs(&self, samples: &[(SampleId, Vec<u8>)]) -> Result<Shown, ShowError> {
        let contents = decoded(samples.iter().map(|(_, content)| content.as_slice()))?;
        let samples = samples.iter().map(|(id, _)| *id).zip(&contents);
        match self {
            Self::Pictures(recipe) => pictures::fixed_pairs(samples, recipe.px),
            Self::Texts(texts) => Ok(Shown::Texts(texts.fixed_pairs(samples)?)),
            Self::Series(series) => Ok(Shown::Series(series.fixed_pairs(samples)?)),
            Self::Transitions(transitions) => Ok(Shown::Transitions(
                transitions.pairs(samples.map(|(_, content)| content))?,
            )),
        }
    }
}

/// Where what is shown is made: threads, and buffers that are used again.
pub(super) struct Studio<'a> {
    pool: &'a ThreadPool,
    device: Device,
    of_step: Home,
    of_scores: Home,
}

impl<'a> Studio<'a> {
    pub(super) fn new(pool: &'a ThreadPool, device: Device) -> Self {
        // Buffers of both sizes go home to their own. One batch more than can be ready: the learner works on one.
        let batches = BATCH_QUEUE_MAX + 2;
        Self {
            pool,
            device,
            of_step: Home::new(batches),
            of_scores: Home::new(batches * score::PASSES_MAX),
        }
    }

    /// Two views of each sample, for a step: first the first view of every one, then the second.
    pub(super) fn pairs(
        &self,
        presenter: &Presenter,
        contents: &[&[u8]],
        seed: u64,
        step: u64,
    ) -> Result<Shown, ShowError> {
        let contents = decoded(contents.iter().copied())?;
        match presenter {
            Presenter::Pictures(recipe) => {
                let tiles = pictures::tiles(&contents)?;
                let views = pictures::drawn_views(&tiles, recipe, seed, step);
                Ok(self.pictures(&self.of_step, &tiles, views, recipe))
            }
            Presenter::Texts(texts) => Ok(Shown::Texts(self.pool.install(|| texts.pairs(&contents, seed, step))?)),
            Presenter::Series(series) => Ok(Shown::Series(series.pairs(&contents, seed, step)?)),
            Presenter::Transitions(transitions) => Ok(Shown::Transitions(transitions.pairs(contents.iter())?)),
        }
    }

    /// The views that never change of `count` samples: of each two random ones and the clean one, in this order; samples are
    /// shown again where fewer are given. And a small grey picture of each that is given.
    pub(super) fn scored(
        &self,
        presenter: &Presenter,
        samples: &[(SampleId, &[u8])],
        count: usize,
    ) -> Result<(Shown, Vec<Look>), ShowError> {
        let contents = decoded(samples.iter().map(|(_, content)| *content))?;
        let again = (0..count).map(|place| place % samples.len().max(1));
        let shown: Vec<(SampleId, &Content)> = again.map(|at| (samples[at].0, &contents[at])).collect();
        let (shown, thumbnails) = match presenter {
            Presenter::Pictures(recipe) => {
                let tiles = pictures::tiles(&contents)?;
                let shown_tiles = pictures::tiles_of(&shown)?;
                let views = pictures::fixed_views(&shown_tiles, recipe);
                let tiles_alone: Vec<_> = shown_tiles.iter().map(|(_, tile)| *tile).collect();
                let pixels = self.pictures(&self.of_scores, &tiles_alone, views, recipe);
                (pixels, tiles.iter().map(|tile| pictures::thumbnail(tile)).collect())
            }
            Presenter::Texts(texts) => {
                let rows = self.pool.install(|| texts.scored(&shown))?;
                (Shown::Texts(rows), contents.iter().map(texts::thumbnail).collect())
            }
            Presenter::Series(series) => {
                let rows = series.scored(&shown)?;
                (Shown::Series(rows), contents.iter().map(series::thumbnail).collect())
            }
            Presenter::Transitions(transitions) => {
                let rows = transitions.pairs(shown.iter().map(|(_, content)| *content))?;
                (
                    Shown::Transitions(rows),
                    contents.iter().map(transitions::thumbnail).collect::<Vec<Thumbnail>>(),
                )
            }
        };
        let looks = thumbnails.into_iter().zip(contents).map(|(thumbnail, content)| Look {
            thumbnail,
            transition: match content {
                Content::Transition(transition) => Some(transition),
                _ => None,
            },
        });
        Ok((shown, looks.collect()))
    }

    fn pictures(&self, home: &Home, tiles: &[&ImageTile], views: Vec<View>, recipe: &Recipe) -> Shown {
        let count = views.len();
        let pixels = if self.device.is_cuda() {
            Pixels::on_device(tiles, views)
        } else {
            home.filled(count * (recipe.px * recipe.px * 3) as usize, |values| {
                self.pool.install(|| pictures::render(tiles, &views, recipe, values));
            })
        };
        Shown::Pictures {
            views: count,
            px: recipe.px,
            pixels,
        }
    }
}

fn decoded<'a>(contents: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Content>, ContentError> {
    contents.map(Content::decode).collect()
}
