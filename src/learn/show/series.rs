//! Windows of series: rows of patches, some of them hidden, for a step, a score or an anchor.
//! Invariant: what is hidden is a function of the window's size and of (seed, step, place), or of the sample's id alone.
//!
//! Two views of a window are crops of it that overlap by half of the shorter one or more. In each two fifths of the patches are
//! hidden: those of the end, which is forecasting; or the same ones of all variables, which only the past and the future tell
//! of; or others of each variable, which the other variables tell of too.

use std::ops::Range;

use tch::{Device, Tensor};

use crate::curiosity::{THUMBNAIL_PX, Thumbnail};
use crate::ids::SampleId;
use crate::learn::LearnError;
use crate::learn::augment::{VIEWS, view_rng};
use crate::model::cut::Grid;
use crate::model::{Input, PaddedPatches, PatchRow, Patches, SeriesSpec};
use crate::rng::{self, Rng};
use crate::sample::{Content, ContentError, Window};

use super::ShowError;

/// Seeds of what scores and anchors are shown.
const SCORE_SEED: u64 = 0x7363_6f72_6521;
const ANCHOR_SEED: u64 = 0x616e_6368_6f72;

/// The share of a window's patches that a crop shows at least.
const CROP_MIN: f64 = 0.6;

/// The share of a view's patches that is hidden.
const HIDE: f64 = 0.4;

/// How often the patches at the end are those.
const FORECAST: f64 = 0.25;

/// How often, of the other views, all variables hide the same patches.
const ALIKE: f64 = 0.5;

/// How windows are shown.
#[derive(Clone)]
pub(in crate::learn) struct Series {
    spec: SeriesSpec,
}

/// Windows as rows of patches, not yet on a device.
pub struct PatchRows(PaddedPatches);

/// What is hidden in rows of patches, on the device.
pub struct HiddenPatches {
    /// `[M]`, whole numbers: the place of each hidden patch in the rows, one after the other.
    pub places: Tensor,
    /// [M, P]: what was there, normalised; 0 where it is missing.
    pub was: Tensor,
    /// [M, P]: 1 where a number is asked for, else 0.
    pub asked: Tensor,
    /// `[M]`, whole numbers: its row.
    pub rows: Tensor,
}

impl Series {
    pub(super) fn new(spec: &SeriesSpec) -> Self {
        Self { spec: *spec }
    }

    /// Two overlapping crops of each window for a step: the first of every one, then the second.
    pub(super) fn pairs(&self, contents: &[Content], seed: u64, step: u64) -> Result<PatchRows, ShowError> {
        self.crops(contents.iter().enumerate(), |position, view| {
            view_rng(seed, step, position, view)
        })
    }

    /// Two crops of each window, the same ones for ever.
    pub(super) fn fixed_pairs<'a>(
        &self,
        samples: impl Iterator<Item = (SampleId, &'a Content)>,
    ) -> Result<PatchRows, ShowError> {
        self.crops(samples, |id, view| rng::for_step(ANCHOR_SEED, id.0, view as u64))
    }

    /// Of each window two views with patches hidden and the clean one: of every window the one whose end is hidden, then the one
    /// with patches hidden anywhere, then the clean one.
    pub(super) fn scored(&self, samples: &[(SampleId, &Content)]) -> Result<PatchRows, ShowError> {
        let mut rows = Vec::with_capacity((1 + VIEWS) * samples.len());
        for view in 0..=VIEWS {
            for (id, content) in samples {
                let window = window(content)?;
                let grid = Grid::of(window, &self.spec);
                let mut rng = rng::for_step(SCORE_SEED, id.0, view as u64);
                let hidden = match view {
                    0 => the_end(grid),
                    1 => anywhere(grid, &mut rng),
                    _ => Vec::new(),
                };
                rows.push(self.row(window, grid, &hidden));
            }
        }
        Ok(self.padded(&rows))
    }

    /// Two crops of each window, with patches hidden in both; the generator of the first view draws where they are.
    fn crops<'a, T: Copy>(
        &self,
        windows: impl Iterator<Item = (T, &'a Content)>,
        generator: impl Fn(T, usize) -> Rng,
    ) -> Result<PatchRows, ShowError> {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (name, content) in windows {
            let window = window(content)?;
            let mut rngs: [Rng; VIEWS] = std::array::from_fn(|view| generator(name, view));
            let patches = Grid::of(window, &self.spec).patches;
            let spans = overlapping(patches, &mut rngs[0]);
            for ((span, rng), rows) in spans.into_iter().zip(&mut rngs).zip([&mut first, &mut second]) {
                let crop = crop(window, patches, &span, self.spec.patch_steps as usize);
                let grid = Grid::of(&crop, &self.spec);
                let hidden = match rng::unit(rng) < FORECAST {
                    true => the_end(grid),
                    false => anywhere(grid, rng),
                };
                rows.push(self.row(&crop, grid, &hidden));
            }
        }
        first.append(&mut second);
        Ok(self.padded(&first))
    }

    /// `hidden`: of each variable, one after the other, whether each patch is; or of none.
    fn row(&self, window: &Window, grid: Grid, hidden: &[bool]) -> PatchRow {
        PatchRow::new(window, &self.spec, |channel, patch| {
            hidden.get(channel * grid.patches + patch).is_some_and(|is| *is)
        })
    }

    fn padded(&self, rows: &[PatchRow]) -> PatchRows {
        PatchRows(PaddedPatches::new(&rows.iter().collect::<Vec<_>>(), &self.spec))
    }
}

/// Two spans of at least [`CROP_MIN`] of so many patches, which have half of the shorter one in common or more.
fn overlapping(patches: usize, rng: &mut Rng) -> [Range<usize>; VIEWS] {
    let least = ((CROP_MIN * patches as f64).ceil() as usize).min(patches);
    let mut len = || least + rng::below(rng, patches - least + 1);
    let (one, other) = (len(), len());
    let start = rng::below(rng, patches - one + 1);
    let common = one.min(other).div_ceil(2);
    let from = (start + common).saturating_sub(other);
    let to = (patches - other).min((start + one).saturating_sub(common));
    let second = from + rng::below(rng, to - from + 1);
    [start..start + one, second..second + other]
}

/// These of so many patches of a window, which are cut from its end; the window itself where nothing is there in them.
fn crop(window: &Window, shown: usize, patches: &Range<usize>, patch_steps: usize) -> Window {
    let at = |patch: usize| window.steps().saturating_sub((shown - patch) * patch_steps);
    window
        .crop(at(patches.start)..at(patches.end))
        .unwrap_or_else(|| window.clone())
}

/// How many of so many patches are hidden: some where there are two, never all.
fn share(patches: usize) -> usize {
    ((HIDE * patches as f64).round() as usize)
        .max(1)
        .min(patches.saturating_sub(1))
}

/// The patches at the end of every variable.
fn the_end(grid: Grid) -> Vec<bool> {
    let first = grid.patches - share(grid.patches);
    (0..grid.channels * grid.patches)
        .map(|at| at % grid.patches >= first)
        .collect()
}

/// As many of each variable, anywhere: the same ones of all, or others of each.
fn anywhere(grid: Grid, rng: &mut Rng) -> Vec<bool> {
    let are_alike = rng::unit(rng) < ALIKE;
    let mut drawn = some(grid.patches, rng);
    (0..grid.channels)
        .flat_map(|channel| {
            if channel > 0 && !are_alike {
                drawn = some(grid.patches, rng);
            }
            drawn.clone()
        })
        .collect()
}

/// Which of so many patches are hidden.
fn some(patches: usize, rng: &mut Rng) -> Vec<bool> {
    let mut order: Vec<usize> = (0..patches).collect();
    let mut hidden = vec![false; patches];
    for taken in 0..share(patches) {
        order.swap(taken, taken + rng::below(rng, patches - taken));
        hidden[order[taken]] = true;
    }
    hidden
}

impl PatchRows {
    /// As tensors on the device.
    pub(super) fn input(&self, device: Device) -> Result<(Input, HiddenPatches), LearnError> {
        let places = self.0.filled.hidden_places();
        let rows: Vec<i64> = places.iter().map(|place| place / self.0.columns as i64).collect();
        let numbers = |numbers: &[f32]| {
            let shape = [places.len() as i64, self.0.patch_steps as i64];
            Tensor::from_slice(numbers).f_view(shape)?.f_to_device(device)
        };
        let hidden = HiddenPatches {
            was: numbers(&self.0.filled.was)?,
            asked: numbers(&self.0.filled.asked)?,
            rows: Tensor::from_slice(&rows).f_to_device(device)?,
            places: Tensor::from_slice(&places).f_to_device(device)?,
        };
        Ok((Input::Patches(Patches::on(device, &self.0)?), hidden))
    }
}

fn window(content: &Content) -> Result<&Window, ShowError> {
    match content {
        Content::Series(window) => Ok(window),
        _ => Err(ContentError("it is no series").into()),
    }
}

/// A window as 256 numbers of 0 to 1, for who looks at small grey pictures: a row for each of its first 16 variables, of fewer
/// several rows each, of its means over equal spans of time; a half where a variable is as it is on average, or missing.
pub(super) fn thumbnail(content: &Content) -> Thumbnail {
    let mut grey = [0.5; THUMBNAIL_PX * THUMBNAIL_PX];
    let Content::Series(window) = content else { return grey };
    let channels = usize::from(window.channels).clamp(1, THUMBNAIL_PX);
    let each = THUMBNAIL_PX / channels * THUMBNAIL_PX;
    for (channel, into) in (0..channels).zip(grey.chunks_exact_mut(each)) {
        let normal = window.normalised(channel).values;
        for (at, grey) in into.iter_mut().enumerate() {
            let (from, to) = (at * normal.len() / each, (at + 1) * normal.len() / each);
            let span = normal.get(from..to.max(from + 1)).unwrap_or_default();
            let there = span.iter().filter(|value| !value.is_nan());
            let mean = there.clone().sum::<f32>() / there.count().max(1) as f32;
            *grey = 0.5 + 0.5 * mean / (1.0 + mean.abs());
        }
    }
    grey
}

#[cfg(test)]
mod tests;
