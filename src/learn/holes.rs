//! What is hidden from a network: holes of pictures for `inpaint`, patches for `mae`.
//! Invariant: what is hidden of a view is a function of (seed, step, its row in the batch) alone.

use tch::{Device, Tensor};

use super::LearnError;
use crate::model::Hole;
use crate::rng::{self, Rng};

/// Keeps these draws apart from those of the batch and of the views, which use the seed itself.
const SEED: u64 = 0x686f_6c65;

/// Most of a picture that random blocks hide (Pathak et al. 2016, section 3.3: up to a quarter).
const HIDDEN_SHARE_MAX: f64 = 0.25;

/// Random blocks of a picture: they may overlap.
const BLOCKS_MAX: usize = 8;

fn row_rng(seed: u64, step: u64, row: usize) -> Rng {
    rng::for_step(seed ^ SEED, step, row as u64)
}

/// The holes of one view: the central block or, as often, several smaller blocks anywhere.
pub(super) fn holes(px: u32, rng: &mut Rng) -> Vec<Hole> {
    if rng::unit(rng) < 0.5 {
        return vec![Hole::central(px)];
    }
    let room = HIDDEN_SHARE_MAX * f64::from(px * px);
    let mut hidden = 0.0;
    let mut blocks = Vec::new();
    let side = |rng: &mut Rng| px / 8 + rng::below(rng, (px / 4 - px / 8 + 1) as usize) as u32;
    while blocks.len() < BLOCKS_MAX {
        let (width, height) = (side(rng), side(rng));
        let block = Hole {
            left: rng::below(rng, (px - width + 1) as usize) as u32,
            top: rng::below(rng, (px - height + 1) as usize) as u32,
            width,
            height,
        };
        hidden += f64::from(width * height);
        if hidden > room && !blocks.is_empty() {
            break;
        }
        blocks.push(block);
    }
    blocks
}

/// Which pixels of each view are hidden: [rows, 1, px, px], 1 where they are.
pub(super) fn mask(seed: u64, step: u64, rows: i64, px: i64, device: Device) -> Result<Tensor, LearnError> {
    let pixels = (px * px) as usize;
    let mut mask = vec![0f32; rows as usize * pixels];
    for (row, mask) in mask.chunks_exact_mut(pixels).enumerate() {
        for hole in holes(px as u32, &mut row_rng(seed, step, row)) {
            hole.mark(mask, px as u32);
        }
    }
    Ok(Tensor::from_slice(&mask)
        .f_view([rows, 1, px, px])?
        .f_to_device(device)?)
}

/// An order of `patches` for each view, all as likely: the first of them are seen, the others hidden. [rows, patches].
pub(super) fn orders(seed: u64, step: u64, rows: i64, patches: i64, device: Device) -> Result<Tensor, LearnError> {
    let mut orders = Vec::with_capacity((rows * patches) as usize);
    for row in 0..rows as usize {
        let mut rng = row_rng(seed, step, row);
        let mut order: Vec<i64> = (0..patches).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, rng::below(&mut rng, last + 1));
        }
        orders.extend(order);
    }
    Ok(Tensor::from_slice(&orders)
        .f_view([rows, patches])?
        .f_to_device(device)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn what_is_hidden_is_a_function_of_seed_step_and_row() {
        let drawn = |seed, step| mask(seed, step, 6, 32, Device::Cpu).unwrap();
        assert_eq!(drawn(1, 2), drawn(1, 2));
        assert_ne!(drawn(1, 2), drawn(1, 3));
        assert_ne!(drawn(1, 2), drawn(2, 2));
        let ordered = |step| orders(1, step, 4, 16, Device::Cpu).unwrap();
        assert_eq!(ordered(5), ordered(5));
        assert_ne!(ordered(5), ordered(6));
        assert_ne!(ordered(5).get(0), ordered(5).get(1));
    }

    #[test]
    fn holes_are_the_middle_or_blocks_that_hide_at_most_a_quarter() {
        let central = mask_of(&[Hole::central(32)]);
        assert_eq!(central, 256.0);
        let mut middles = 0;
        for number in 0..200 {
            let holes = holes(32, &mut row_rng(number, 0, 0));
            let is_middle = holes == [Hole::central(32)];
            middles += i32::from(is_middle);
            let hidden = mask_of(&holes);
            assert!(hidden > 0.0 && hidden <= 256.0, "{holes:?}");
            assert!(is_middle || holes.len() >= 2, "{holes:?}");
        }
        assert!((70..130).contains(&middles), "{middles} of 200");
    }

    fn mask_of(holes: &[Hole]) -> f32 {
        let mut mask = vec![0f32; 32 * 32];
        holes.iter().for_each(|hole| hole.mark(&mut mask, 32));
        mask.iter().sum()
    }

    #[test]
    fn every_patch_is_in_an_order_once() {
        let sorted = orders(3, 4, 5, 16, Device::Cpu).unwrap().sort(1, false).0;
        let expected = Tensor::arange(16, (Kind::Int64, Device::Cpu)).expand([5, 16], false);
        assert_eq!(sorted, expected);
    }
}
