//! What the Python peers must be told to do the same as we do.

use std::process::Command;

use curiod::learn::augment::Recipe;
use serde_json::{Value, json};

use super::Side;

/// The Python of the peers; without one, says so.
pub(crate) fn python() -> Option<String> {
    let python = std::env::var("CURIOD_TEST_PYTHON").ok().filter(|path| !path.is_empty());
    if python.is_none() {
        println!("the Python peers are left out: CURIOD_TEST_PYTHON names no Python that has their packages");
    }
    python
}

/// The Python script `benches/peers/SCRIPT` as a side.
pub(crate) fn peer(name: &str, python: &str, script: &str, arguments: &[String]) -> Side {
    let script = format!("{}/benches/peers/{script}", env!("CARGO_MANIFEST_DIR"));
    Side::start(name, Command::new(python).arg(script).args(arguments))
}

/// The arguments of lightly's `SimCLRTransform` that make it draw from the same recipe.
pub(crate) fn simclr_transform(recipe: &Recipe) -> Value {
    json!({
        "input_size": recipe.px,
        "min_scale": recipe.scale.0,
        "hf_prob": recipe.flip,
        "cj_prob": recipe.jitter,
        "cj_bright": recipe.strength,
        "cj_contrast": recipe.strength,
        "cj_sat": recipe.strength,
        "cj_hue": recipe.hue,
        "random_gray_scale": recipe.grey,
        "gaussian_blur": recipe.blur,
        "sigmas": recipe.sigma,
    })
}
