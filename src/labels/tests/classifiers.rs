//! Classifiers: the optimum they reach, what they recover, and how far their probabilities can be believed.

use std::sync::atomic::AtomicBool;

use crate::labels::calibration::{self, HeldOut};
use crate::labels::folds::stratified;
use crate::labels::head::PARAMETERS_MAX;
use crate::labels::regression::{Data, fit as regress, loss, softmax};
use crate::labels::*;
use crate::rng::{self, Rng};

static GO: AtomicBool = AtomicBool::new(false);

/// Rows around the corners `0..classes` of a cube in `dim` dimensions, `noise` wide; their corners.
fn corners(count: usize, classes: usize, dim: usize, noise: f64, rng: &mut Rng) -> (Vec<f32>, Vec<u32>) {
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    for number in 0..count {
        let class = number % classes;
        labels.push(class as u32);
        let row: Vec<f64> = (0..dim)
            .map(|at| f64::from(u8::from(at == class)) + noise * rng::normal(rng))
            .collect();
        let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
        rows.extend(row.iter().map(|value| (value / norm) as f32));
    }
    (rows, labels)
}

fn training((rows, labels): (Vec<f32>, Vec<u32>), dim: usize) -> Training {
    let classes = labels.iter().max().map_or(0, |most| most + 1);
    let n = labels.len();
    let mean: Vec<f64> = (0..dim)
        .map(|at| {
            rows.iter()
                .skip(at)
                .step_by(dim)
                .map(|value| f64::from(*value))
                .sum::<f64>()
                / n as f64
        })
        .collect();
    let spread = rows.chunks(dim).flat_map(|row| {
        row.iter()
            .zip(&mean)
            .map(|(value, mean)| (f64::from(*value) - mean).powi(2))
    });
    Training {
        spread: (spread.sum::<f64>() / n as f64).sqrt(),
        mean,
        rows,
        dim,
        groups: (0..n as u64).collect(),
        labels,
        classes: (0..classes)
            .map(|class| format!("class {class}").parse().unwrap())
            .collect(),
    }
}

fn accuracy(head: &Head, rows: &[f32], labels: &[u32]) -> f64 {
    let dim = rows.len() / labels.len();
    let right = rows
        .chunks(dim)
        .zip(labels)
        .filter(|(row, label)| calibration::best(&head.probabilities(row)) == **label as usize);
    right.count() as f64 / labels.len() as f64
}

#[test]
fn the_gradient_is_the_slope_of_the_loss_and_nothing_is_left_of_it_at_the_end() {
    let mut rng = rng::for_step(1, 0, 0);
    let rows: Vec<f64> = (0..40 * 3).map(|_| rng::normal(&mut rng)).collect();
    let labels: Vec<u32> = (0..40).map(|_| rng::below(&mut rng, 4) as u32).collect();
    let data = Data {
        rows: &rows,
        dim: 3,
        labels: &labels,
        classes: 4,
    };
    let at: Vec<f64> = (0..16).map(|_| rng::normal(&mut rng)).collect();
    let (mut gradient, mut unused) = (vec![0.0; 16], vec![0.0; 16]);
    loss(&data, 0.3, &at, &mut gradient);
    for (part, slope) in gradient.iter().enumerate() {
        let mut moved = |by: f64| {
            let mut there = at.clone();
            there[part] += by;
            loss(&data, 0.3, &there, &mut unused)
        };
        let measured = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        assert!((measured - slope).abs() < 1e-8, "part {part}: {measured} {slope}");
    }
    for l2 in [1e-4, 1e-2, 1.0] {
        let fitted = regress(&data, l2, None, 1e-9, &GO).unwrap();
        assert!(fitted.gradient_max <= 1e-9, "l2 {l2}: {} is left", fitted.gradient_max);
    }
}

#[test]
fn two_points_have_the_optimum_that_can_be_worked_out_by_hand() {
    // Rows +1 and -1, two classes: the weights are +-w with  2 l2 w = 1 / (1 + exp(2 w)) * 2 / 2.
    let (rows, labels) = ([1.0, -1.0], [0, 1]);
    let data = Data {
        rows: &rows,
        dim: 1,
        labels: &labels,
        classes: 2,
    };
    let l2 = 0.1;
    let fitted = regress(&data, l2, None, 1e-12, &GO).unwrap();
    let (mut low, mut high) = (0.0, 10.0);
    for _ in 0..200 {
        let w: f64 = 0.5 * (low + high);
        if l2 * w < 1.0 / (1.0 + (2.0 * w).exp()) {
            low = w
        } else {
            high = w
        }
    }
    let [a, b, c, d] = fitted.weights[..] else { panic!() };
    assert!(
        (a - low).abs() < 1e-9 && (c + low).abs() < 1e-9,
        "{a} {c} against {low}"
    );
    assert!((b - d).abs() < 1e-9, "the classes are as likely");
}

#[test]
fn classes_that_are_apart_are_told_apart_by_one_label_each_and_better_by_more() {
    let mut rng = rng::for_step(2, 0, 0);
    let (rows, labels) = corners(1_000, 5, 32, 0.15, &mut rng);
    let of = |count: usize, rng: &mut Rng| {
        let known = training(corners(count, 5, 32, 0.15, rng), 32);
        let head = fit(&known, 0, &GO).unwrap();
        assert_eq!(head.report().counts, [count / 5; 5]);
        (accuracy(&head, &rows, &labels), head.report().clone())
    };
    let (one_each, report) = of(5, &mut rng);
    assert!(one_each > 0.6, "{one_each} with one label each");
    assert!(report.tested.is_none() && report.temperature == 1.0, "{report:?}");
    let (many, report) = of(200, &mut rng);
    let tested = report.tested.unwrap();
    assert!(many > 0.95 && many > one_each, "{many} with 40 labels each");
    assert!(tested.asked == 200 && tested.untested == 0, "{tested:?}");
    assert!(
        tested.interval.0 < many && many < tested.interval.1 + 0.03,
        "{tested:?} promises, {many} came"
    );
}

#[test]
fn nothing_to_tell_apart_is_an_error_that_says_so() {
    let mut rng = rng::for_step(3, 0, 0);
    assert!(matches!(
        fit(&training(corners(6, 1, 8, 0.1, &mut rng), 8), 0, &GO),
        Err(FitError::OneClass(_))
    ));
    let mut none = training(corners(6, 2, 8, 0.1, &mut rng), 8);
    (none.rows, none.labels, none.groups, none.classes) = Default::default();
    assert!(matches!(fit(&none, 0, &GO), Err(FitError::NoLabels)));
    let classes = PARAMETERS_MAX / 64 + 1;
    let many = training(corners(classes, classes, 64, 0.1, &mut rng), 64);
    assert!(matches!(fit(&many, 0, &GO), Err(FitError::TooManyClasses { most, .. }) if most == classes - 1));
    let two = training(corners(20, 2, 8, 0.1, &mut rng), 8);
    assert!(matches!(fit(&two, 0, &AtomicBool::new(true)), Err(FitError::Stopped)));
}

#[test]
fn labels_of_chance_are_answered_by_chance_and_known_to_be() {
    let mut rng = rng::for_step(4, 0, 0);
    let (rows, _) = corners(300, 3, 16, 1.0, &mut rng);
    let labels: Vec<u32> = (0..300).map(|row| row / 3 % 2).collect();
    let head = fit(&training((rows, labels), 16), 0, &GO).unwrap();
    let tested = head.report().tested.clone().unwrap();
    assert!(tested.interval.0 < 0.5 && tested.accuracy < 0.6, "{tested:?}");
    assert!(tested.calibration_error_after.unwrap() < 0.12, "{tested:?}");
}

#[test]
fn a_head_says_the_same_again_and_embeddings_that_are_all_one_do_not_break_it() {
    let mut rng = rng::for_step(5, 0, 0);
    let known = training(corners(60, 3, 16, 0.4, &mut rng), 16);
    let (a, b) = (fit(&known, 7, &GO).unwrap(), fit(&known, 7, &GO).unwrap());
    assert_eq!(a.probabilities(&known.rows[..16]), b.probabilities(&known.rows[..16]));
    let flat = training((vec![0.25; 16 * 30], (0..30).map(|n| n % 3).collect()), 16);
    let head = fit(&flat, 0, &GO).unwrap();
    let said = head.probabilities(&[0.25; 16]);
    assert!(said.iter().all(|p| (p - 1.0 / 3.0).abs() < 0.05), "{said:?}");
}

#[test]
fn what_belongs_together_is_in_one_fold_and_every_class_is_in_all() {
    let labels: Vec<u32> = (0..100).map(|row| row / 50).collect();
    let groups: Vec<u64> = (0..100u64).map(|row| row / 2).collect();
    let folds = stratified(&labels, &groups, 5);
    assert!(folds.chunks(2).all(|pair| pair[0] == pair[1] && pair[0].is_some()));
    for class in 0..2 {
        for fold in 0..5 {
            let rows = (0..100)
                .filter(|row| labels[*row] == class && folds[*row] == Some(fold))
                .count();
            assert_eq!(rows, 10);
        }
    }
    // One label, or one source: never held out.
    assert_eq!(
        stratified(&[0, 1, 1, 2, 2], &[1, 2, 3, 4, 4], 5),
        [None, Some(0), Some(1), None, None]
    );
}

#[test]
fn a_temperature_makes_what_is_said_too_surely_as_likely_as_it_is() {
    // Scores whose true temperature is 3: classes are drawn from softmax(scores / 3).
    let mut rng = rng::for_step(6, 0, 0);
    let held_out: Vec<HeldOut> = (0..4_000)
        .map(|_| {
            let scores: Vec<f64> = (0..4).map(|_| 6.0 * rng::normal(&mut rng)).collect();
            let mut likely = scores.clone();
            softmax(&mut likely, 3.0);
            let mut left = rng::unit(&mut rng);
            let label = likely.iter().position(|p| {
                left -= p;
                left < 0.0
            });
            (scores, label.unwrap_or(3) as u32)
        })
        .collect();
    let found = calibration::temperature(&held_out.iter().collect::<Vec<_>>());
    assert!((found - 3.0).abs() < 0.2, "{found}");
    let error =
        |t: f64| expected_calibration_error(&held_out.iter().map(|it| calibration::answer(it, t)).collect::<Vec<_>>());
    assert!(
        error(found) < 0.03 && error(1.0) > 0.1,
        "{} {}",
        error(found),
        error(1.0)
    );
    // A few answers that are all right do not make it sure of everything.
    let few: Vec<HeldOut> = (0..20).map(|_| (vec![2.0, 0.0], 0)).collect();
    assert!(calibration::temperature(&few.iter().collect::<Vec<_>>()) > 0.2);
}

#[test]
fn an_interval_is_wide_for_few_answers_and_holds_what_it_is_of() {
    let (low, high) = wilson(8, 10);
    // Brown, Cai and DasGupta 2001's formula by hand.
    assert!(
        (low - 0.4902).abs() < 1e-3 && (high - 0.9433).abs() < 1e-3,
        "{low} {high}"
    );
    assert_eq!(wilson(0, 0), (0.0, 1.0));
    assert!(wilson(20, 20).0 > 0.8 && wilson(20, 20).1 > 0.999);
    assert_eq!(expected_calibration_error(&[]), 0.0);
    assert!((expected_calibration_error(&[(0.9, true), (0.9, false)]) - 0.4).abs() < 1e-12);
}
