//! First values of weights, as PyTorch's layers and timm's networks start them, from a seed.
//! Invariant: a variable's first values are a function of the seed, its name and its shape alone: not of the order of
//! building, of other variables, or of libtorch's global generator.

use std::f64::consts::TAU;

use tch::nn::VarStore;
use tch::{Kind, Tensor};

use super::{ModelError, bert};
use crate::rng::{self, Rng};

/// Standard deviation of tokens that are learnt (Dosovitskiy et al. 2021, timm) and of BERT's matrices (Devlin et al. 2019,
/// `initializer_range`).
const TOKEN_STD: f64 = 0.02;

/// Fills every variable of the store. Convolutions: normal with variance `2 / fan_out` (He et al. 2015, as timm's
/// ResNet does). Matrices, and the convolution that cuts a picture into patches, which is one: uniform within
/// `1 / sqrt(fan_in)`, as `torch.nn.Linear`. Tokens, and every matrix of a BERT: normal, [`TOKEN_STD`]. Places of patches (`pos_embed`): sines and
/// cosines (where we differ from timm, as MoCo v3 and MAE do: noise would have to be learnt away). Vectors: 1 for a norm's
/// `weight`, 0 for a `bias`.
pub fn initialise(variables: &VarStore, seed: u64) -> Result<(), ModelError> {
    let _no_grad = tch::no_grad_guard();
    for (name, mut variable) in variables.variables() {
        let shape = variable.size();
        let count = shape.iter().product::<i64>() as usize;
        let mut rng = rng_of(seed, &name);
        let mut normals = |std: f64| -> Vec<f32> { (0..count).map(|_| (std * normal(&mut rng)) as f32).collect() };
        let values: Vec<f32> = match *shape.as_slice() {
            [_, inputs, height, width] if name.contains("patch_embed") => {
                uniforms(count, inputs * height * width, &mut rng)
            }
            [outputs, _, height, width] => normals((2.0 / (outputs * height * width) as f64).sqrt()),
            [_, _, _] => normals(TOKEN_STD),
            [_, _] if bert::owns(&name) => normals(TOKEN_STD),
            [_, inputs] => uniforms(count, inputs, &mut rng),
            _ => vec![if name.ends_with("weight") { 1.0 } else { 0.0 }; count],
        };
        variable.f_copy_(
            &Tensor::from_slice(&values)
                .f_view(shape.as_slice())?
                .to_kind(Kind::Float),
        )?;
    }
    Ok(())
}

fn rng_of(seed: u64, name: &str) -> Rng {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..8]);
    rng::for_step(seed, 0, u64::from_le_bytes(first))
}

fn uniforms(count: usize, fan_in: i64, rng: &mut Rng) -> Vec<f32> {
    let bound = 1.0 / (fan_in as f64).sqrt();
    (0..count)
        .map(|_| (bound * (2.0 * rng::unit(rng) - 1.0)) as f32)
        .collect()
}

/// A number of the standard normal distribution (Box and Muller 1958).
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng::unit(rng)).ln()).sqrt();
    radius * (TAU * rng::unit(rng)).cos()
}
