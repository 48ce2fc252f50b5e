//! Two random views of a picture, the SimCLR way (Chen et al. 2020, appendix A), in plain Rust: no ATen call, so that it
//! runs beside the learner without a second team of OpenMP threads.
//! Invariant: a view is a function of (seed, step, position in the batch, number of the view) and the picture.
//!
//! The variant is torchvision's: RandomResizedCrop (antialiased bilinear), flip, ColorJitter in a random order with the
//! hue shifted in HSV and values clamped after each operation, RandomGrayscale. Where we differ: arithmetic is float
//! from the crop to the normalised view (PIL rounds to 8 bits after each operation), and the Gaussian of the blur is
//! cut at three standard deviations.

mod colour;
mod device;
mod resample;

use crate::rng::{self, Rng};
use crate::sample::ImageTile;

pub use colour::{Jitter, JitterOperation};
pub use device::Canvases;
pub use resample::Crop;

use colour::Planes;
use resample::Taps;

/// Views of each picture.
pub const VIEWS: usize = 2;

/// Side from which a view is blurred: the blur of the paper hides what little a smaller picture shows.
const BLUR_PX_MIN: u32 = 96;

/// How views are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// Pixels of each side of a view.
    pub px: u32,
    /// Area of the crop, as a share of the picture's: least and most.
    pub scale: (f64, f64),
    /// Width of the crop over its height: least and most.
    pub ratio: (f64, f64),
    /// Probability of the mirrored view.
    pub flip: f64,
    /// Probability of the colour jitter.
    pub jitter: f64,
    /// Most that brightness, contrast and saturation are changed by, as a share.
    pub strength: f64,
    /// Most that the hue is turned, in turns.
    pub hue: f64,
    /// Probability of the grey view.
    pub grey: f64,
    /// Probability of the blur.
    pub blur: f64,
    /// Standard deviation of the blur in pixels: least and most.
    pub sigma: (f64, f64),
}

impl Recipe {
    /// The paper's recipe for ImageNet from 96 pixels on, its recipe for CIFAR-10 (half the jitter, no blur) below. The
    /// least crop is 0.2, as in MoCo v2 and later work, not 0.08.
    pub fn for_px(px: u32) -> Self {
        let large = px >= BLUR_PX_MIN;
        Self {
            px,
            scale: (0.2, 1.0),
            ratio: (3.0 / 4.0, 4.0 / 3.0),
            flip: 0.5,
            jitter: 0.8,
            strength: if large { 0.8 } else { 0.4 },
            hue: if large { 0.2 } else { 0.1 },
            grey: 0.2,
            blur: if large { 0.5 } else { 0.0 },
            sigma: (0.1, 2.0),
        }
    }

    /// The same crops and mirrored views in the picture's own colours, for objectives that predict pixels.
    pub fn crop_and_mirror(px: u32) -> Self {
        Self {
            jitter: 0.0,
            grey: 0.0,
            blur: 0.0,
            ..Self::for_px(px)
        }
    }

    /// Draws one view of a picture of this size.
    pub fn draw(&self, width: u32, height: u32, rng: &mut Rng) -> View {
        let chance = |rng: &mut Rng, probability: f64| rng::unit(rng) < probability;
        View {
            crop: Crop::draw(width, height, self.scale, self.ratio, rng),
            flip: chance(rng, self.flip),
            jitter: chance(rng, self.jitter).then(|| Jitter::draw(self.strength, self.hue, rng)),
            grey: chance(rng, self.grey),
            sigma: chance(rng, self.blur).then(|| between(self.sigma, rng) as f32),
        }
    }
}

/// The generator of one view.
pub fn view_rng(seed: u64, step: u64, position: usize, view: usize) -> Rng {
    // Lane 0 of a step draws the batch.
    rng::for_step(seed, step, 1 + (position * VIEWS + view) as u64)
}

/// What one view does to its picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// What is cut out.
    pub crop: Crop,
    /// Whether it is mirrored.
    pub flip: bool,
    /// How its colours are changed.
    pub jitter: Option<Jitter>,
    /// Whether colours are dropped.
    pub grey: bool,
    /// Standard deviation of the blur, in pixels.
    pub sigma: Option<f32>,
}

/// Renders views of one size; keeps its working memory between them.
#[derive(Debug)]
pub struct Renderer {
    px: usize,
    simd: pulp::Arch,
    planes: Planes,
    spare: Vec<f32>,
    row: Vec<f32>,
    columns: Taps,
    rows: Taps,
}

impl Renderer {
    /// For views of `px` x `px`.
    pub fn new(px: u32) -> Self {
        let px = px as usize;
        Self {
            px,
            simd: pulp::Arch::new(),
            planes: Planes::new(px * px),
            spare: vec![0.0; px * px],
            row: Vec::new(),
            columns: Taps::default(),
            rows: Taps::default(),
        }
    }

    /// Renders the view into `out`: `px * px * 3` numbers, normalised for the network; rows from the top, red, green, blue
    /// of a pixel side by side (channels last).
    pub fn render(&mut self, view: &View, tile: &ImageTile, out: &mut [f32]) {
        assert_eq!(
            out.len(),
            self.px * self.px * 3,
            "one number for each channel of each pixel"
        );
        self.simd.dispatch(Rendering {
            renderer: self,
            view,
            tile,
            out,
        });
    }

    #[inline(always)]
    fn render_in_lanes(&mut self, view: &View, tile: &ImageTile, out: &mut [f32]) {
        self.columns
            .fill(view.crop.left, view.crop.width, tile.width.into(), self.px, view.flip);
        self.rows
            .fill(view.crop.top, view.crop.height, tile.height.into(), self.px, false);
        resample::crop(tile, &self.columns, &self.rows, &mut self.row, &mut self.planes);
        if let Some(jitter) = &view.jitter {
            jitter.apply(&mut self.planes);
        }
        if view.grey {
            self.planes.drop_colour();
        }
        if let Some(sigma) = view.sigma {
            for plane in self.planes.each() {
                resample::blur(plane, self.px, sigma, &mut self.spare, &mut self.row);
            }
        }
        self.planes.normalise_into(out);
    }
}

/// [`Renderer::render`], which pulp compiles for each width of vectors and starts with the widest that this processor has.
/// Everything below it is `inline(always)`: a function of its own would be compiled for the narrowest.
struct Rendering<'a> {
    renderer: &'a mut Renderer,
    view: &'a View,
    tile: &'a ImageTile,
    out: &'a mut [f32],
}

impl pulp::WithSimd for Rendering<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        self.renderer.render_in_lanes(self.view, self.tile, self.out);
    }
}

fn between((least, most): (f64, f64), rng: &mut Rng) -> f64 {
    least + (most - least) * rng::unit(rng)
}

#[cfg(test)]
mod tests;
