//! Multinomial logistic regression with an L2 penalty, in double precision, by L-BFGS (Liu and Nocedal 1989).
//! Invariant: a fit is a function of its data alone; the penalty makes its optimum finite and, but for a shift of all biases, one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

/// Steps of which the curvature is remembered.
const MEMORY: usize = 8;

/// Steps of one fit, and points tried on the way of one step.
const STEPS_MAX: usize = 300;
const TRIES_MAX: usize = 40;

/// Of a step that is taken (weak Wolfe conditions): the share of the promised descent that it must reach, and the share of the
/// slope that may be left.
const DESCENT: f64 = 1e-4;
const SLOPE_LEFT: f64 = 0.9;

/// Rows with their classes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data<'a> {
    /// `[N, D]`.
    pub(super) rows: &'a [f64],
    pub(super) dim: usize,
    /// `[N]`, below `classes`.
    pub(super) labels: &'a [u32],
    pub(super) classes: usize,
}

/// What was fitted.
#[derive(Clone, Debug)]
pub(super) struct Fit {
    /// `[C, D + 1]`, the bias last.
    pub(super) weights: Vec<f64>,
    /// The largest part of the gradient that is left.
    pub(super) gradient_max: f64,
}

/// Whoever waited has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopped;

/// Minimises `mean(-log softmax(W x + b)[y]) + l2 / 2 |W|^2` from `start` until no part of the gradient is above `tolerance`.
pub(super) fn fit(
    data: &Data<'_>,
    l2: f64,
    start: Option<Vec<f64>>,
    tolerance: f64,
    stop: &AtomicBool,
) -> Result<Fit, Stopped> {
    let mut at = start.unwrap_or_else(|| vec![0.0; data.classes * (data.dim + 1)]);
    let mut gradient = vec![0.0; at.len()];
    let mut value = loss(data, l2, &at, &mut gradient);
    let mut history: VecDeque<Curvature> = VecDeque::with_capacity(MEMORY);
    for _ in 0..STEPS_MAX {
        if stop.load(Ordering::Relaxed) {
            return Err(Stopped);
        }
        if largest(&gradient) <= tolerance {
            break;
        }
        let direction = direction(&gradient, &history);
        let first = if history.is_empty() {
            1.0 / norm(&gradient).max(1.0)
        } else {
            1.0
        };
        let Some(next) = line_search(data, l2, &at, value, &gradient, &direction, first) else {
            // Rounding hides what descent is left.
            break;
        };
        let step: Vec<f64> = next.at.iter().zip(&at).map(|(new, old)| new - old).collect();
        let change: Vec<f64> = next
            .gradient
            .iter()
            .zip(&gradient)
            .map(|(new, old)| new - old)
            .collect();
        let product = dot(&step, &change);
        if product > f64::EPSILON * norm(&step) * norm(&change) {
            if history.len() == MEMORY {
                history.pop_front();
            }
            history.push_back(Curvature {
                step,
                change,
                inverse: 1.0 / product,
            });
        }
        (at, value, gradient) = (next.at, next.value, next.gradient);
    }
    Ok(Fit {
        weights: at,
        gradient_max: largest(&gradient),
    })
}

/// The scores of the classes for a row: `W x + b`, `[C]`.
pub(super) fn scores(weights: &[f64], row: &[f64], scores: &mut [f64]) {
    for (weights, score) in weights.chunks_exact(row.len() + 1).zip(scores) {
        *score = dot(&weights[..row.len()], row) + weights[row.len()];
    }
}

/// Turns scores over a temperature into probabilities; the logarithm of their normaliser.
pub(super) fn softmax(scores: &mut [f64], temperature: f64) -> f64 {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = ((*score - most) / temperature).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
    most / temperature + sum.ln()
}

/// The loss at `weights`, and its gradient.
pub(super) fn loss(data: &Data<'_>, l2: f64, weights: &[f64], gradient: &mut [f64]) -> f64 {
    let (dim, share) = (data.dim, 1.0 / data.labels.len() as f64);
    gradient.fill(0.0);
    let mut sum = 0.0;
    let mut out = vec![0.0; data.classes];
    for (row, label) in data.rows.chunks_exact(dim).zip(data.labels) {
        scores(weights, row, &mut out);
        let own = out[*label as usize];
        sum += softmax(&mut out, 1.0) - own;
        out[*label as usize] -= 1.0;
        for (part, gradient) in out.iter().zip(gradient.chunks_exact_mut(dim + 1)) {
            let part = part * share;
            for (gradient, value) in gradient[..dim].iter_mut().zip(row) {
                *gradient += part * value;
            }
            gradient[dim] += part;
        }
    }
    let mut penalty = 0.0;
    for (weights, gradient) in weights.chunks_exact(dim + 1).zip(gradient.chunks_exact_mut(dim + 1)) {
        for (gradient, weight) in gradient[..dim].iter_mut().zip(weights) {
            *gradient += l2 * weight;
            penalty += weight * weight;
        }
    }
    sum * share + 0.5 * l2 * penalty
}

/// How the gradient changed along a step.
struct Curvature {
    step: Vec<f64>,
    change: Vec<f64>,
    /// 1 over their product.
    inverse: f64,
}

/// A point that was tried.
struct Point {
    at: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// Where to go: the gradient through the inverse of the curvature that is remembered (two loops; Nocedal 1980).
fn direction(gradient: &[f64], history: &VecDeque<Curvature>) -> Vec<f64> {
    let mut way: Vec<f64> = gradient.iter().map(|part| -part).collect();
    let mut shares = Vec::with_capacity(history.len());
    for past in history.iter().rev() {
        let share = past.inverse * dot(&past.step, &way);
        add(&mut way, -share, &past.change);
        shares.push(share);
    }
    if let Some(newest) = history.back() {
        let scale = 1.0 / (newest.inverse * dot(&newest.change, &newest.change));
        way.iter_mut().for_each(|part| *part *= scale);
    }
    for (past, share) in history.iter().zip(shares.into_iter().rev()) {
        let back = past.inverse * dot(&past.change, &way);
        add(&mut way, share - back, &past.step);
    }
    way
}

/// A point on the way that meets the weak Wolfe conditions, by doubling and halving (Lewis and Overton 2013).
fn line_search(
    data: &Data<'_>,
    l2: f64,
    from: &[f64],
    value: f64,
    gradient: &[f64],
    way: &[f64],
    first: f64,
) -> Option<Point> {
    let slope = dot(gradient, way);
    if slope >= 0.0 {
        return None;
    }
    let (mut least, mut most, mut length) = (0.0, f64::INFINITY, first);
    for _ in 0..TRIES_MAX {
        let mut at = from.to_vec();
        add(&mut at, length, way);
        let mut there = vec![0.0; at.len()];
        let reached = loss(data, l2, &at, &mut there);
        if reached.is_nan() || reached > value + DESCENT * length * slope {
            most = length;
        } else if dot(&there, way) < SLOPE_LEFT * slope {
            least = length;
        } else {
            return Some(Point {
                at,
                value: reached,
                gradient: there,
            });
        }
        length = if most.is_finite() {
            0.5 * (least + most)
        } else {
            2.0 * length
        };
    }
    None
}

fn add(to: &mut [f64], times: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += times * what);
}

/// The inner product, in eight partial sums that the compiler turns into vector instructions.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

fn norm(vector: &[f64]) -> f64 {
    dot(vector, vector).sqrt()
}

fn largest(vector: &[f64]) -> f64 {
    vector.iter().fold(0.0, |most, part| part.abs().max(most))
}
