//! The same views, rendered for a whole batch by the device that learns: for a GPU, which no number of CPU threads can
//! feed. Differs from [`Renderer`](super::Renderer) in one thing: a crop that is reduced is not antialiased. Kept
//! pictures are hardly larger than a view, so few crops are reduced, and by less than two.

use std::borrow::Borrow;

use tch::{Device, Kind, Tensor};

use super::View;
use super::colour::{JitterOperation, LUMA};
use crate::model::{PIXEL_MEAN, PIXEL_STD};
use crate::sample::ImageTile;
use crate::torch::{TorchError, channels_last};

/// Pictures of a batch side by side in one block of memory, each in the upper left corner of its own canvas.
#[derive(Debug)]
pub struct Canvases {
    sizes: Vec<(u32, u32)>,
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Canvases {
    /// Copies the pictures.
    pub fn new(tiles: &[impl Borrow<ImageTile>]) -> Self {
        let tiles = || tiles.iter().map(Borrow::borrow);
        let width = tiles().map(|tile| u32::from(tile.width)).max().unwrap_or(1);
        let height = tiles().map(|tile| u32::from(tile.height)).max().unwrap_or(1);
        let (row, canvas) = (width as usize * 3, width as usize * height as usize * 3);
        let mut rgb = vec![0; canvas * tiles().count()];
        for (tile, canvas) in tiles().zip(rgb.chunks_exact_mut(canvas)) {
            let rows = tile.rgb.chunks_exact(usize::from(tile.width) * 3);
            for (source, target) in rows.zip(canvas.chunks_exact_mut(row)) {
                target[..source.len()].copy_from_slice(source);
            }
        }
        let sizes = tiles().map(|tile| (tile.width.into(), tile.height.into())).collect();
        Self {
            sizes,
            width,
            height,
            rgb,
        }
    }

    /// Renders the views on the device: `views` holds the first views of all pictures, then the second ones, and so on.
    /// Returns [views, 3, px, px], normalised for the network, channels last in memory.
    pub fn render(&self, views: &[View], px: u32, device: Device) -> Result<Tensor, TorchError> {
        let count = self.sizes.len() as i64;
        let pixels = Tensor::from_slice(&self.rgb)
            .f_view([count, i64::from(self.height), i64::from(self.width), 3])?
            .f_to_device(device)?
            .f_permute([0, 3, 1, 2])?
            .f_to_kind(Kind::Float)?
            / 255.0;
        let cut = views
            .chunks(self.sizes.len())
            .map(|views| {
                let grid = self.grid(views, px)?.f_to_device(device)?;
                const BILINEAR: i64 = 0;
                const BORDER: i64 = 1;
                Ok(pixels.f_grid_sampler(&grid, BILINEAR, BORDER, false)?)
            })
            .collect::<Result<Vec<_>, TorchError>>()?;
        let mut images = Tensor::f_cat(&cut, 0)?; //                    [V, 3, px, px]
        jitter(&mut images, views)?;
        drop_colour(&mut images, views)?;
        blur(&mut images, views)?;
        let channel = |values: [f32; 3]| Tensor::from_slice(&values).view([1, 3, 1, 1]).to_device(device);
        channels_last(&((images - channel(PIXEL_MEAN)) / channel(PIXEL_STD)))
    }

    /// Where each pixel of each view lies in its canvas: [views, px, px, 2], -1 to 1 from edge to edge.
    fn grid(&self, views: &[View], px: u32) -> Result<Tensor, TorchError> {
        let side = px as usize;
        let mut grid = Vec::with_capacity(views.len() * side * side * 2);
        for view in views {
            let line = |start: u32, length: u32, canvas: u32, mirrored: bool| -> Vec<f32> {
                let scale = length as f32 / px as f32;
                let place = |output: u32| {
                    let output = if mirrored { px - 1 - output } else { output };
                    // A crop ends at its last pixel: what lies beyond in the canvas is not seen.
                    let inside = ((output as f32 + 0.5) * scale).clamp(0.5, length as f32 - 0.5);
                    2.0 * (start as f32 + inside) / canvas as f32 - 1.0
                };
                (0..px).map(place).collect()
            };
            let columns = line(view.crop.left, view.crop.width, self.width, view.flip);
            let rows = line(view.crop.top, view.crop.height, self.height, false);
            grid.extend(rows.iter().flat_map(|y| columns.iter().flat_map(|x| [*x, *y])));
        }
        Ok(Tensor::from_slice(&grid).f_view([views.len() as i64, i64::from(px), i64::from(px), 2])?)
    }
}

/// The views for which `value` gives something: their numbers, and the values as [n, 1, 1, 1].
fn chosen(views: &[View], device: Device, value: impl Fn(&View) -> Option<f32>) -> Option<(Tensor, Tensor)> {
    let (rows, values): (Vec<i64>, Vec<f32>) = (0..).zip(views).filter_map(|(n, view)| Some((n, value(view)?))).unzip();
    (!rows.is_empty()).then(|| {
        let values = Tensor::from_slice(&values).view([-1, 1, 1, 1]);
        (Tensor::from_slice(&rows).to_device(device), values.to_device(device))
    })
}

/// Each place of the orders in turn: the views that brighten there are brightened, those that turn the hue turned.
fn jitter(images: &mut Tensor, views: &[View]) -> Result<(), TorchError> {
    use JitterOperation::{Brightness, Contrast, Hue, Saturation};
    for place in 0..4 {
        for operation in [Brightness, Contrast, Saturation, Hue] {
            let share = |view: &View| {
                let jitter = view.jitter.filter(|jitter| jitter.order[place] == operation)?;
                Some(match operation {
                    Brightness => jitter.brightness,
                    Contrast => jitter.contrast,
                    Saturation => jitter.saturation,
                    Hue => jitter.hue,
                })
            };
            let Some((rows, share)) = chosen(views, images.device(), share) else {
                continue;
            };
            let x = images.f_index_select(0, &rows)?; //                [n, 3, px, px]
            let blended = |other: Tensor| {
                let mixed: Tensor = &x * &share + other * (1.0 - &share);
                mixed.clamp(0.0, 1.0)
            };
            let changed = match operation {
                Brightness => blended(x.zeros_like()),
                Contrast => blended(luma(&x)?.f_mean_dim([1i64, 2, 3].as_slice(), true, Kind::Float)?),
                Saturation => blended(luma(&x)?),
                Hue => turn_hue(&x, &share)?,
            };
            let _ = images.f_index_copy_(0, &rows, &changed)?;
        }
    }
    Ok(())
}

fn drop_colour(images: &mut Tensor, views: &[View]) -> Result<(), TorchError> {
    if let Some((rows, _)) = chosen(views, images.device(), |view| view.grey.then_some(1.0)) {
        let grey = luma(&images.f_index_select(0, &rows)?)?.f_repeat([1, 3, 1, 1])?;
        let _ = images.f_index_copy_(0, &rows, &grey)?;
    }
    Ok(())
}

/// [n, 3, H, W] -> [n, 1, H, W].
fn luma(x: &Tensor) -> Result<Tensor, TorchError> {
    let weights = Tensor::from_slice(&LUMA).view([1, 3, 1, 1]).to_device(x.device());
    Ok((x * weights).f_sum_dim_intlist([1i64].as_slice(), true, Kind::Float)?)
}

/// To HSV, the hue turned, and back, as `colour::turn_hue` does it for one pixel.
fn turn_hue(x: &Tensor, turns: &Tensor) -> Result<Tensor, TorchError> {
    let value = x.f_amax([1i64].as_slice(), true)?; //                  [n, 1, H, W]
    let range = &value - x.f_amin([1i64].as_slice(), true)?;
    let inverse = range
        .f_where_self(&range.f_gt(0.0)?, &range.ones_like())?
        .f_reciprocal()?;
    let channels = x.f_chunk(3, 1)?;
    let (r, g, b) = (&channels[0], &channels[1], &channels[2]);
    let is = |channel: &Tensor| value.f_eq_tensor(channel);
    let from_blue = (r - g) * &inverse + 4.0;
    let from_green = ((b - r) * &inverse + 2.0).f_where_self(&is(g)?, &from_blue)?;
    let hue = ((g - b) * &inverse).f_where_self(&is(r)?, &from_green)?;
    let hue = (hue + turns * 6.0).f_remainder(6.0)?;
    let channel = |offset: f64| -> Result<Tensor, TorchError> {
        let k = (&hue + offset).f_remainder(6.0)?;
        let share = k.f_minimum(&(4.0 - &k))?.f_clamp(0.0, 1.0)?;
        Ok((&value - &range * share).f_clamp(0.0, 1.0)?)
    };
    Ok(Tensor::f_cat(&[channel(5.0)?, channel(3.0)?, channel(1.0)?], 1)?)
}

/// Each chosen view by its own Gaussian: one grouped convolution for rows and one for columns.
fn blur(images: &mut Tensor, views: &[View]) -> Result<(), TorchError> {
    let Some((rows, sigma)) = chosen(views, images.device(), |view| view.sigma) else {
        return Ok(());
    };
    let side = images.size()[3];
    let reach = |sigma: f32| i64::from((3.0 * sigma).ceil() as i32).min(side - 1);
    let radius = views.iter().filter_map(|view| view.sigma).map(reach).max().unwrap_or(0);
    let x = images.f_index_select(0, &rows)?; //                        [n, 3, px, px]
    let count = x.size()[0];
    let sigma = sigma.f_view([count, 1])?;
    let offsets = Tensor::f_arange_start(-radius, radius + 1, (Kind::Float, images.device()))?; // [taps]
    let inside = offsets
        .f_abs()?
        .f_unsqueeze(0)?
        .f_le_tensor(&(&sigma * 3.0).f_ceil()?)?; //      [n, taps]
    let kernel = ((offsets / &sigma).f_square()? * -0.5).f_exp()? * inside.f_to_kind(Kind::Float)?;
    let kernel = &kernel / kernel.f_sum_dim_intlist([1i64].as_slice(), true, Kind::Float)?;
    let taps = 2 * radius + 1;
    let kernel = kernel.f_repeat_interleave_self_int(3, 0, None)?; //   [3n, taps]
    let padded = x
        .f_reflection_pad2d([radius; 4])?
        .f_view([1, 3 * count, side + 2 * radius, side + 2 * radius])?;
    let none = None::<&Tensor>;
    let across = padded.f_conv2d(&kernel.f_view([3 * count, 1, 1, taps])?, none, 1, 0, 1, 3 * count)?;
    let blurred = across.f_conv2d(&kernel.f_view([3 * count, 1, taps, 1])?, none, 1, 0, 1, 3 * count)?;
    let _ = images.f_index_copy_(0, &rows, &blurred.f_view([count, 3, side, side])?)?;
    Ok(())
}
