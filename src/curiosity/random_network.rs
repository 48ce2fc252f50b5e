//! Random network distillation (Burda et al. 2018): novelty as the error of a network that learns to say what another one,
//! random and frozen, says of a picture. What it has often seen it predicts well.
//! Invariant: a function of the thumbnails in their order; every weight is finite.
//!
//! Tiny and in plain Rust: thumbnails of 16 x 16 grey pixels, one hidden layer of 64, 32 outputs; 0.1 ms a picture. Where we
//! differ: no convolutions; pixels are scaled by fixed numbers, not by running ones; one step of stochastic gradient
//! descent on each picture, of a length that the picture's own size bounds.

use serde::{Deserialize, Serialize};

use super::packed;
use super::quantile::{NEWEST_MAX, Quantiles};
use crate::rng;

/// Pixels of a thumbnail's side.
pub const THUMBNAIL_PX: usize = 16;

/// A picture's largest centred square, grey, 0 to 1, rows from the top.
pub type Thumbnail = [f32; INPUTS];

const INPUTS: usize = THUMBNAIL_PX * THUMBNAIL_PX;
const HIDDEN: usize = 64;
const OUTPUTS: usize = 32;
const WEIGHTS: usize = HIDDEN * (INPUTS + 1) + OUTPUTS * (HIDDEN + 1);

/// Mean and deviation of a photo's grey pixels (ImageNet's), which thumbnails are scaled by.
const MEAN: f32 = 0.45;
const DEVIATION: f32 = 0.225;

/// Share of what a step could mend at most that it mends.
const RATE: f32 = 0.2;

const TARGET_SEED: u64 = 0x7461_7267_6574_2121;
const PREDICTOR_SEED: u64 = 0x7072_6564_6963_7421;

/// The predictor, and how far it was off before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Kept", into = "Kept")]
pub struct RandomNetwork {
    target: Network,
    predictor: Network,
    errors: Quantiles,
    seen: u64,
}

impl Default for RandomNetwork {
    fn default() -> Self {
        Self {
            target: Network::random(TARGET_SEED),
            predictor: Network::random(PREDICTOR_SEED),
            errors: Quantiles::default(),
            seen: 0,
        }
    }
}

impl RandomNetwork {
    /// The quantile of the predictor's error on this picture, 0 to 1; then it has seen it once more.
    pub fn observe(&mut self, thumbnail: &Thumbnail) -> f64 {
        self.seen += 1;
        let input = thumbnail.map(|grey| (grey.clamp(0.0, 1.0) - MEAN) / DEVIATION);
        let wanted = self.target.forward(&input).1;
        let error = self.predictor.learn(&input, &wanted);
        self.errors.observe(error)
    }

    /// Whether it has seen so much that its errors fall slowly only: then a rise of them is news.
    pub fn is_settled(&self) -> bool {
        self.seen > 2 * NEWEST_MAX as u64
    }

    /// How many errors ranks are taken among.
    pub fn ranked(&self) -> usize {
        self.errors.len()
    }
}

/// Two layers with a rectifier between: the hidden one's weights and biases, then the output's.
#[derive(Clone, Debug, PartialEq)]
struct Network {
    /// [HIDDEN, INPUTS + 1], [OUTPUTS, HIDDEN + 1]: of each row the last is the bias.
    hidden: Vec<f32>,
    output: Vec<f32>,
}

impl Network {
    /// Even weights whose outputs have about the size of the inputs (He et al. 2015), biases 0.
    fn random(seed: u64) -> Self {
        let layer = |rows: usize, columns: usize, lane: u64| -> Vec<f32> {
            let mut rng = rng::for_step(seed, 0, lane);
            let bound = (6.0 / columns as f64).sqrt();
            let row = |_| {
                let weights = (0..columns).map(|_| (bound * (2.0 * rng::unit(&mut rng) - 1.0)) as f32);
                weights.chain([0.0]).collect::<Vec<f32>>()
            };
            (0..rows).flat_map(row).collect()
        };
        Self {
            hidden: layer(HIDDEN, INPUTS, 0),
            output: layer(OUTPUTS, HIDDEN, 1),
        }
    }

    /// The hidden values, after the rectifier, and the outputs.
    fn forward(&self, input: &Thumbnail) -> ([f32; HIDDEN], [f32; OUTPUTS]) {
        let hidden = apply::<HIDDEN>(&self.hidden, input).map(|value| value.max(0.0));
        (hidden, apply::<OUTPUTS>(&self.output, &hidden))
    }

    /// Mean squared error before one step towards what is wanted.
    fn learn(&mut self, input: &Thumbnail, wanted: &[f32; OUTPUTS]) -> f32 {
        let (hidden, said) = self.forward(input);
        let off: [f32; OUTPUTS] = std::array::from_fn(|at| said[at] - wanted[at]);
        let error = off.iter().map(|off| off * off).sum::<f32>() / OUTPUTS as f32;
        let mut back = [0.0; HIDDEN];
        for (row, off) in self.output.chunks_exact(HIDDEN + 1).zip(off) {
            for (sum, weight) in back.iter_mut().zip(row) {
                *sum += off * weight;
            }
        }
        // Normalised least mean squares: a step that mends all it can is 1 over the squared length of a layer's input.
        let size = |values: &[f32]| 1.0 + values.iter().map(|value| value * value).sum::<f32>();
        step(&mut self.output, &hidden, &off, RATE / size(&hidden));
        let through: [f32; HIDDEN] = std::array::from_fn(|at| if hidden[at] > 0.0 { back[at] } else { 0.0 });
        // What reaches the hidden layer has been through the output's weights, whose columns have the squared length 1 or so.
        step(&mut self.hidden, input, &through, RATE / HIDDEN as f32 / size(input));
        error
    }
}

/// Rows of weights and a bias, applied to an input.
fn apply<const ROWS: usize>(weights: &[f32], input: &[f32]) -> [f32; ROWS] {
    let mut out = [0.0; ROWS];
    for (out, row) in out.iter_mut().zip(weights.chunks_exact(input.len() + 1)) {
        let products = row.iter().zip(input).map(|(weight, value)| weight * value);
        *out = products.sum::<f32>() + row[input.len()];
    }
    out
}

/// One step down the gradient of half the squared error.
fn step(weights: &mut [f32], input: &[f32], off: &[f32], rate: f32) {
    for (row, off) in weights.chunks_exact_mut(input.len() + 1).zip(off) {
        for (weight, value) in row.iter_mut().zip(input.iter().chain([&1.0])) {
            *weight -= rate * off * value;
        }
    }
}

/// What is kept: the predictor's weights. The target is a function of its seed.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(with = "packed")]
    predictor: Vec<f32>,
    errors: Quantiles,
    seen: u64,
}

impl From<RandomNetwork> for Kept {
    fn from(network: RandomNetwork) -> Self {
        Self {
            predictor: [network.predictor.hidden, network.predictor.output].concat(),
            errors: network.errors,
            seen: network.seen,
        }
    }
}

impl TryFrom<Kept> for RandomNetwork {
    type Error = &'static str;

    fn try_from(mut kept: Kept) -> Result<Self, Self::Error> {
        if kept.predictor.len() != WEIGHTS || kept.predictor.iter().any(|weight| !weight.is_finite()) {
            return Err("these are no weights of the predictor");
        }
        let output = kept.predictor.split_off(HIDDEN * (INPUTS + 1));
        let predictor = Network {
            hidden: kept.predictor,
            output,
        };
        Ok(Self {
            predictor,
            errors: kept.errors,
            seen: kept.seen,
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curiosity::tests::noise;

    /// Stripes of one of a few widths, with noise.
    fn stripes(number: u64) -> Thumbnail {
        let width = 2 + number % 3;
        std::array::from_fn(|at| {
            let (x, y) = (at as u64 % 16, at as u64 / 16);
            let light = if (x / width).is_multiple_of(2) { 0.7 } else { 0.3 };
            (light + 0.05 * noise(number * 256 + x * 16 + y)) as f32
        })
    }

    fn seen(count: u64) -> RandomNetwork {
        let mut network = RandomNetwork::default();
        for number in 0..count {
            network.observe(&stripes(number));
        }
        network
    }

    #[test]
    fn what_was_never_seen_is_novel_and_what_was_is_not() {
        let mut network = seen(3_000);
        let familiar: f64 = (9_000..9_050)
            .map(|number| network.clone().observe(&stripes(number)))
            .sum::<f64>()
            / 50.0;
        assert!(familiar < 0.75, "{familiar}");
        let circle: Thumbnail = std::array::from_fn(|at| {
            let (x, y) = (at as f32 % 16.0 - 7.5, (at / 16) as f32 - 7.5);
            if x * x + y * y < 30.0 { 1.0 } else { 0.0 }
        });
        let first = network.observe(&circle);
        assert!(first > 0.99, "{first}");
        for _ in 0..400 {
            network.observe(&circle);
        }
        let later = network.observe(&circle);
        assert!(later < first - 0.2, "{first} {later}");
    }

    #[test]
    fn whatever_it_sees_its_weights_stay_numbers() {
        let mut network = RandomNetwork::default();
        for round in 0..2_000u32 {
            let picture = match round % 4 {
                0 => [0.0; INPUTS],
                1 => [1.0; INPUTS],
                2 => [f32::INFINITY; INPUTS],
                _ => std::array::from_fn(|at| ((at as u32 ^ round) & 1) as f32),
            };
            let rank = network.observe(&picture);
            assert!((0.0..=1.0).contains(&rank));
        }
        let weights = network.predictor.hidden.iter().chain(&network.predictor.output);
        assert!(weights.clone().all(|weight| weight.is_finite() && weight.abs() < 100.0));
    }

    #[test]
    fn the_predictor_reads_back_as_it_was_kept_and_odd_ones_are_refused() {
        let network = seen(50);
        let text = serde_json::to_string(&network).unwrap();
        assert_eq!(serde_json::from_str::<RandomNetwork>(&text).unwrap(), network);
        assert!(
            serde_json::from_str::<RandomNetwork>(&text.replacen("\"predictor\":\"", "\"predictor\":\"AAAA", 1))
                .is_err()
        );
    }
}
