//! Cropping, resizing and blurring: weighted sums of neighbouring pixels.

use super::between;
use super::colour::Planes;
use crate::rng::{self, Rng};
use crate::sample::ImageTile;

/// A rectangle of a picture, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Crop {
    /// A rectangle of random area, aspect and place: torchvision's `RandomResizedCrop.get_params`.
    pub(super) fn draw(width: u32, height: u32, scale: (f64, f64), ratio: (f64, f64), rng: &mut Rng) -> Self {
        const ATTEMPTS: usize = 10;
        let (full_width, full_height) = (f64::from(width), f64::from(height));
        for _ in 0..ATTEMPTS {
            let area = full_width * full_height * between(scale, rng);
            let aspect = between((ratio.0.ln(), ratio.1.ln()), rng).exp();
            let crop_width = (area * aspect).sqrt().round_ties_even();
            let crop_height = (area / aspect).sqrt().round_ties_even();
            if crop_width >= 1.0 && crop_height >= 1.0 && crop_width <= full_width && crop_height <= full_height {
                let (crop_width, crop_height) = (crop_width as u32, crop_height as u32);
                return Self {
                    left: rng::below(rng, (width - crop_width + 1) as usize) as u32,
                    top: rng::below(rng, (height - crop_height + 1) as usize) as u32,
                    width: crop_width,
                    height: crop_height,
                };
            }
        }
        // A picture too long for any crop of these aspects: the largest one in its centre.
        let aspect = (full_width / full_height).clamp(ratio.0, ratio.1);
        let crop_width = ((full_height * aspect).round_ties_even().min(full_width) as u32).max(1);
        let crop_height = ((full_width / aspect).round_ties_even().min(full_height) as u32).max(1);
        Self {
            left: (width - crop_width) / 2,
            top: (height - crop_height) / 2,
            width: crop_width,
            height: crop_height,
        }
    }
}

/// For each output of a resized line: its first input and the weights of the inputs from there on, all the same number
/// of them. The filter is a triangle as wide as the reduction, as PIL's and torchvision's antialiased bilinear.
#[derive(Debug, Default)]
pub(super) struct Taps {
    count: usize,
    first: Vec<usize>,
    weights: Vec<f32>,
}

impl Taps {
    /// Resizes the `length` inputs from `start` on, of a line of `line` inputs, to `outputs`; `reversed` mirrors them.
    #[inline(always)]
    pub(super) fn fill(&mut self, start: u32, length: u32, line: u32, outputs: usize, reversed: bool) {
        let (start, length, line) = (start as usize, length as usize, line as usize);
        let scale = length as f32 / outputs as f32;
        let support = scale.max(1.0);
        // A window reaches `support` to both sides of its centre.
        self.count = ((2.0 * support).ceil() as usize + 1).min(length);
        self.first.clear();
        self.first.resize(outputs, 0);
        self.weights.clear();
        self.weights.resize(outputs * self.count, 0.0);
        for output in 0..outputs {
            let centre = (output as f32 + 0.5) * scale;
            let begin = ((centre - support + 0.5).max(0.0)) as usize;
            let end = ((centre + support + 0.5) as usize).min(length);
            // Where the window would leave the line its start is moved; the weights move with it.
            let first = (start + begin).min(line - self.count);
            let place = if reversed { outputs - 1 - output } else { output };
            self.first[place] = first;
            let weights = &mut self.weights[place * self.count..][..self.count];
            let mut sum = 0.0;
            for input in begin..end {
                let distance = ((input as f32 + 0.5 - centre) / support).abs();
                let weight = (1.0 - distance).max(0.0);
                weights[start + input - first] = weight;
                sum += weight;
            }
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
    }
}

/// Cuts and resizes to planes of numbers from 0 to 1. `row` is working memory.
#[inline(always)]
pub(super) fn crop(tile: &ImageTile, columns: &Taps, rows: &Taps, row: &mut Vec<f32>, planes: &mut Planes) {
    let width = usize::from(tile.width) * 3;
    let side = columns.first.len();
    let (left, right) = (
        columns.first.iter().min().copied().unwrap_or(0) * 3,
        columns.first.iter().max().map_or(0, |first| first + columns.count) * 3,
    );
    row.clear();
    row.resize(right - left, 0.0);
    let [red, green, blue] = planes.each();
    for (y, &top) in rows.first.iter().enumerate() {
        row.fill(0.0);
        for (tap, weight) in rows.weights[y * rows.count..][..rows.count].iter().enumerate() {
            if *weight == 0.0 {
                continue;
            }
            let weight = weight / 255.0;
            let source = &tile.rgb[(top + tap) * width..][left..right];
            for (sum, &value) in row.iter_mut().zip(source) {
                *sum += weight * f32::from(value);
            }
        }
        let outputs = red[y * side..][..side]
            .iter_mut()
            .zip(&mut green[y * side..][..side])
            .zip(&mut blue[y * side..][..side]);
        for (((red, green), blue), (first, weights)) in
            outputs.zip(columns.first.iter().zip(columns.weights.chunks_exact(columns.count)))
        {
            let (mut r, mut g, mut b) = (0.0, 0.0, 0.0);
            for (weight, pixel) in weights.iter().zip(row[first * 3 - left..].chunks_exact(3)) {
                r += weight * pixel[0];
                g += weight * pixel[1];
                b += weight * pixel[2];
            }
            (*red, *green, *blue) = (r, g, b);
        }
    }
}

/// Blurs a plane by a Gaussian, mirrored at the edges. `spare` and `line` are working memory.
#[inline(always)]
pub(super) fn blur(plane: &mut [f32], side: usize, sigma: f32, spare: &mut [f32], line: &mut Vec<f32>) {
    let radius = ((3.0 * sigma).ceil() as usize).min(side - 1);
    let mut kernel: Vec<f32> = (0..=2 * radius)
        .map(|tap| (-0.5 * ((tap as f32 - radius as f32) / sigma).powi(2)).exp())
        .collect();
    let sum: f32 = kernel.iter().sum();
    kernel.iter_mut().for_each(|weight| *weight /= sum);

    line.clear();
    line.resize(side + 2 * radius, 0.0);
    for (source, target) in plane.chunks_exact(side).zip(spare.chunks_exact_mut(side)) {
        for (index, value) in line.iter_mut().enumerate() {
            *value = source[mirrored(index, radius, side)];
        }
        target.fill(0.0);
        for (tap, weight) in kernel.iter().enumerate() {
            for (sum, value) in target.iter_mut().zip(&line[tap..]) {
                *sum += weight * value;
            }
        }
    }
    for (y, target) in plane.chunks_exact_mut(side).enumerate() {
        target.fill(0.0);
        for (tap, weight) in kernel.iter().enumerate() {
            let source = &spare[mirrored(y + tap, radius, side) * side..][..side];
            for (sum, value) in target.iter_mut().zip(source) {
                *sum += weight * value;
            }
        }
    }
}

/// The place in a line of `side` that `index - radius` stands for, when the line goes on as its mirror image.
#[inline(always)]
fn mirrored(index: usize, radius: usize, side: usize) -> usize {
    let from_edge = index.abs_diff(radius);
    if index >= radius && from_edge >= side {
        2 * (side - 1) - from_edge
    } else {
        from_edge
    }
}
