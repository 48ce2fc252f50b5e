//! How far a classifier's probabilities can be believed: accuracy with an interval, expected calibration error, temperature.

use super::regression::softmax;

/// Bins of the expected calibration error.
const BINS: usize = 15;

/// The normal distribution's quantile for 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// Where the temperature is looked for, and how finely.
const TEMPERATURES: (f64, f64) = (0.05, 20.0);
const TEMPERATURE_STEPS: usize = 40;

/// Wilson's interval (1927) of a share at 95 %: `right` of `asked`, taken as independent.
pub fn wilson(right: usize, asked: usize) -> (f64, f64) {
    if asked == 0 {
        return (0.0, 1.0);
    }
    let (n, share) = (asked as f64, right as f64 / asked as f64);
    let centre = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((centre - half) / scale).max(0.0), ((centre + half) / scale).min(1.0))
}

/// Expected calibration error (Guo et al. 2017, eq. 3), 15 bins of equal width: `answers` are the probability of each answer
/// and whether it was right. 0 of nothing.
pub fn expected_calibration_error(answers: &[(f64, bool)]) -> f64 {
    let mut bins = [(0.0, 0.0); BINS];
    for (probability, right) in answers {
        let (said, was) = &mut bins[((probability * BINS as f64) as usize).min(BINS - 1)];
        *said += probability;
        *was += f64::from(u8::from(*right));
    }
    let gaps: f64 = bins.iter().map(|(said, was)| (said - was).abs()).sum();
    gaps / answers.len().max(1) as f64
}

/// Scores of the classes for what was held out, and the right class of each.
pub(super) type HeldOut = (Vec<f64>, u32);

/// The answer's probability at a temperature, and whether it is right.
pub(super) fn answer((scores, label): &HeldOut, temperature: f64) -> (f64, bool) {
    let mut scores = scores.clone();
    softmax(&mut scores, temperature);
    let best = best(&scores);
    (scores[best], best == *label as usize)
}

/// The place of the largest; the first of several.
pub(super) fn best(values: &[f64]) -> usize {
    let mut best = 0;
    for (at, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = at;
        }
    }
    best
}

/// The temperature under which what was held out is likeliest (Guo et al. 2017). We differ in one: its logarithm is held near 0
/// by a normal prior of standard deviation 1, which counts as little as half an answer or so; without it a few answers that are
/// all right would make the classifier sure of everything.
pub(super) fn temperature(held_out: &[&HeldOut]) -> f64 {
    let cost = |log: f64| {
        let nll: f64 = held_out.iter().map(|held_out| nll(held_out, log.exp())).sum();
        nll + 0.5 * log * log
    };
    // The cost has one minimum: golden sections close in on it.
    let golden = 0.5 * (5f64.sqrt() - 1.0);
    let (mut low, mut high) = (TEMPERATURES.0.ln(), TEMPERATURES.1.ln());
    for _ in 0..TEMPERATURE_STEPS {
        let (left, right) = (high - golden * (high - low), low + golden * (high - low));
        if cost(left) <= cost(right) {
            high = right;
        } else {
            low = left;
        }
    }
    (0.5 * (low + high)).exp()
}

/// `-log p` of the right class.
pub(super) fn nll((scores, label): &HeldOut, temperature: f64) -> f64 {
    let own = scores[*label as usize] / temperature;
    softmax(&mut scores.clone(), temperature) - own
}
