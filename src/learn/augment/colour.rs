//! Colour: torchvision's `ColorJitter` and `rgb_to_grayscale` on float pictures, for every pixel the same few branch-free
//! operations, which the compiler turns into vector instructions.

#![allow(
    clippy::manual_clamp,
    reason = "max and min compile to one instruction each, clamp to a comparison that may panic"
)]

use super::between;
use crate::model::{PIXEL_MEAN, PIXEL_STD};
use crate::rng::{self, Rng};

/// Weights of red, green and blue in grey (ITU-R 601-2).
pub(super) const LUMA: [f32; 3] = [0.2989, 0.587, 0.114];

/// A picture as three planes of numbers from 0 to 1.
#[derive(Debug)]
pub(super) struct Planes([Vec<f32>; 3]);

impl Planes {
    pub(super) fn new(pixels: usize) -> Self {
        Self([(); 3].map(|()| vec![0.0; pixels]))
    }

    /// Red, green, blue.
    #[inline(always)]
    pub(super) fn each(&mut self) -> [&mut Vec<f32>; 3] {
        self.0.each_mut()
    }

    /// Applies a function of a pixel to every pixel.
    #[inline(always)]
    fn map(&mut self, change: impl Fn(f32, f32, f32) -> [f32; 3]) {
        let [red, green, blue] = self.each();
        for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
            [*red, *green, *blue] = change(*red, *green, *blue);
        }
    }

    #[inline(always)]
    fn grey_mean(&self) -> f32 {
        let [red, green, blue] = &self.0;
        let sum = |plane: &[f32]| {
            // Eight sums side by side: one after the other could not be vectorised.
            let mut lanes = [0f32; 8];
            for values in plane.chunks(8) {
                for (lane, value) in lanes.iter_mut().zip(values) {
                    *lane += value;
                }
            }
            lanes.iter().sum::<f32>()
        };
        (LUMA[0] * sum(red) + LUMA[1] * sum(green) + LUMA[2] * sum(blue)) / red.len() as f32
    }

    #[inline(always)]
    pub(super) fn drop_colour(&mut self) {
        self.map(|r, g, b| [luma(r, g, b); 3]);
    }

    /// The pixels as the network takes them, channels side by side.
    #[inline(always)]
    pub(super) fn normalise_into(&self, out: &mut [f32]) {
        let [red, green, blue] = &self.0;
        let scale = PIXEL_STD.map(|std| 1.0 / std);
        let shift = [0, 1, 2].map(|c| -PIXEL_MEAN[c] / PIXEL_STD[c]);
        for (pixel, ((r, g), b)) in out.chunks_exact_mut(3).zip(red.iter().zip(green).zip(blue)) {
            pixel[0] = r * scale[0] + shift[0];
            pixel[1] = g * scale[1] + shift[1];
            pixel[2] = b * scale[2] + shift[2];
        }
    }
}

/// One of the four changes of a colour jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JitterOperation {
    /// Blend with black.
    Brightness,
    /// Blend with the mean grey.
    Contrast,
    /// Blend with the grey picture.
    Saturation,
    /// Turn the hue.
    Hue,
}

/// A drawn colour jitter: four changes in a drawn order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter {
    /// Which change comes when.
    pub order: [JitterOperation; 4],
    /// Share of the picture in its blend with black.
    pub brightness: f32,
    /// Share of the picture in its blend with the mean grey.
    pub contrast: f32,
    /// Share of the picture in its blend with the grey picture.
    pub saturation: f32,
    /// Turns of the hue, -0.5 to 0.5.
    pub hue: f32,
}

impl Jitter {
    pub(super) fn draw(strength: f64, hue: f64, rng: &mut Rng) -> Self {
        let around = ((1.0 - strength).max(0.0), 1.0 + strength);
        Self {
            order: Self::draw_order(rng),
            brightness: between(around, rng) as f32,
            contrast: between(around, rng) as f32,
            saturation: between(around, rng) as f32,
            hue: between((-hue, hue), rng) as f32,
        }
    }

    pub(super) fn draw_order(rng: &mut Rng) -> [JitterOperation; 4] {
        use JitterOperation::{Brightness, Contrast, Hue, Saturation};
        let mut order = [Brightness, Contrast, Saturation, Hue];
        // Fisher and Yates 1938.
        for last in (1..order.len()).rev() {
            order.swap(last, rng::below(rng, last + 1));
        }
        order
    }

    #[inline(always)]
    pub(super) fn apply(&self, planes: &mut Planes) {
        for operation in self.order {
            match operation {
                JitterOperation::Brightness => planes.map(|r, g, b| [r, g, b].map(|v| blend(v, 0.0, self.brightness))),
                JitterOperation::Contrast => {
                    let mean = planes.grey_mean();
                    planes.map(|r, g, b| [r, g, b].map(|v| blend(v, mean, self.contrast)));
                }
                JitterOperation::Saturation => planes.map(|r, g, b| {
                    let grey = luma(r, g, b);
                    [r, g, b].map(|v| blend(v, grey, self.saturation))
                }),
                JitterOperation::Hue => planes.map(|r, g, b| turn_hue(r, g, b, self.hue)),
            }
        }
    }
}

#[inline(always)]
fn luma(r: f32, g: f32, b: f32) -> f32 {
    LUMA[0] * r + LUMA[1] * g + LUMA[2] * b
}

#[inline(always)]
fn blend(value: f32, other: f32, share: f32) -> f32 {
    // `clamp` also keeps NaN, which costs instructions; values here are finite.
    (share * value + (1.0 - share) * other).max(0.0).min(1.0)
}

/// To HSV (Smith 1978), the hue turned, and back.
#[inline(always)]
fn turn_hue(r: f32, g: f32, b: f32, turns: f32) -> [f32; 3] {
    let value = r.max(g).max(b);
    let range = value - r.min(g).min(b);
    let inverse = 1.0 / if range == 0.0 { 1.0 } else { range };
    // The hue in sixths of a turn.
    let hue = if value == r {
        (g - b) * inverse
    } else if value == g {
        2.0 + (b - r) * inverse
    } else {
        4.0 + (r - g) * inverse
    };
    // From -1..5 and a turn of at most half: once around brings it to 0..6.
    let hue = hue + 6.0 * turns;
    let hue = if hue < 0.0 { hue + 6.0 } else { hue };
    let hue = if hue >= 6.0 { hue - 6.0 } else { hue };
    let channel = |offset: f32| {
        let k = offset + hue;
        let k = if k >= 6.0 { k - 6.0 } else { k };
        (value - range * k.min(4.0 - k).max(0.0).min(1.0)).max(0.0).min(1.0)
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}
