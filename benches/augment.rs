//! Random views of pictures, a core: ours against lightly's `SimCLRTransform` on PIL pictures, the same recipe and the same
//! pictures in turns.
//!
//!   CURIOD_TEST_PYTHON=.../python cargo bench --bench augment

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that can not go on stops where it is"
)]

mod turns;

use curiod::learn::augment::{Recipe, Renderer, VIEWS, view_rng};
use serde_json::json;
use turns::pictures::pictures;
use turns::{Rounds, Side, peers};

/// Pixels of a kept picture and of its views, and the target: small pictures, the CPU encoder's, the GPU encoder's.
const SIZES: [(u16, u32, Option<f64>); 3] = [(32, 32, Some(25.0)), (64, 64, None), (256, 224, Some(5.0))];
const PICTURES: usize = 64;
const TURN_S: f64 = 0.7;
const ROUNDS: usize = 9;

fn main() {
    if let Some(arguments) = turns::side_arguments() {
        let [kept, px] = [0, 1].map(|at| arguments[at].parse::<u32>().expect("a size is a number"));
        return side(kept as u16, px);
    }
    let python = peers::python();
    println!("views of one core, two of each picture; median of {ROUNDS} turns (least to most)");
    for (kept, px, target) in SIZES {
        let recipe = Recipe::for_px(px);
        println!("{kept} -> {px} px, blur {}", recipe.blur);
        let mut sides = vec![Side::ours("curiod", &[&kept.to_string(), &px.to_string()])];
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        if let Some(python) = &python {
            let path = folder.path().join("tiles");
            let tiles = pictures(PICTURES, kept);
            std::fs::write(
                &path,
                tiles.iter().flat_map(|tile| &tile.rgb).copied().collect::<Vec<u8>>(),
            )
            .expect("a temporary file can be written");
            let recipe = peers::simclr_transform(&recipe).to_string();
            let arguments = [
                "--recipe",
                &recipe,
                "--tile-px",
                &kept.to_string(),
                "--tiles",
                &path.to_string_lossy(),
            ];
            let arguments = arguments.map(String::from);
            sides.push(peers::peer("lightly", python, "augment.py", &arguments));
        }
        for peer in &sides[1..] {
            println!("  {} is {}", peer.name, peer.ready);
        }
        let rounds = Rounds::take(&mut sides, TURN_S, ROUNDS);
        rounds.print("views/s", VIEWS as f64);
        if python.is_some() {
            rounds.print_ratio(0, 1, target);
        }
    }
}

fn side(kept: u16, px: u32) {
    let tiles = pictures(PICTURES, kept);
    let recipe = Recipe::for_px(px);
    let mut renderer = Renderer::new(px);
    let mut out = vec![0f32; px as usize * px as usize * 3];
    let mut step = 0;
    turns::answer(json!({}), |pictures| {
        step += 1;
        for position in 0..pictures as usize {
            let tile = &tiles[position % tiles.len()];
            for number in 0..VIEWS {
                let view = recipe.draw(kept.into(), kept.into(), &mut view_rng(0, step, position, number));
                renderer.render(&view, tile, &mut out);
                std::hint::black_box(&mut out);
            }
        }
    });
}
