//! What a copy is worth, and what it must never do, on pictures, texts, series and transitions made up here.

use std::cell::Cell;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::config::LearningConfig;
use crate::labels::fit;
use crate::model::text::Tokenizer;
use crate::model::{Architecture, ImageSpec, SeriesSpec, TextSpec, TransitionSpec, initialise, weights};
use crate::rng;
use crate::sample::{Action, ImageTile, Passage, Transition, Window};
use tch::nn::VarStore;

/// A stage for a copy: a network, samples, and what they are.
struct Stage {
    spec: EncoderSpec,
    tokenizer: Option<Tokenizer>,
    weights: Vec<u8>,
    contents: Vec<Content>,
    training: Training,
}

impl Stage {
    fn new(spec: EncoderSpec, tokenizer: Option<Tokenizer>, samples: Vec<(Content, u32)>) -> Self {
        let variables = VarStore::new(Device::Cpu);
        let _ = spec.build(&variables.root());
        initialise(&variables, 3).unwrap();
        let weights = weights::export(&variables).unwrap();
        let network = Embedder::open(&spec, tokenizer.as_ref(), &weights, Device::Cpu).unwrap();
        let (contents, labels): (Vec<Content>, Vec<u32>) = samples.into_iter().unzip();
        let rows = network.embed(&contents.iter().collect::<Vec<_>>()).unwrap();
        let (dim, count) = (network.dim(), contents.len() as f64);
        let mean: Vec<f64> = (0..dim)
            .map(|at| {
                rows.iter()
                    .skip(at)
                    .step_by(dim)
                    .map(|value| f64::from(*value))
                    .sum::<f64>()
                    / count
            })
            .collect();
        let squares = rows.chunks_exact(dim).flat_map(|row| row.iter().zip(&mean));
        let spread = (squares
            .map(|(value, mean)| (f64::from(*value) - mean).powi(2))
            .sum::<f64>()
            / count)
            .sqrt();
        Self {
            spec,
            tokenizer,
            weights,
            training: Training {
                rows,
                dim,
                groups: (0..labels.len() as u64).collect(),
                labels,
                classes: vec!["no".parse().unwrap(), "yes".parse().unwrap()],
                mean,
                spread,
            },
            contents,
        }
    }

    fn origin(&self) -> Origin<'_> {
        Origin {
            spec: &self.spec,
            tokenizer: self.tokenizer.as_ref(),
            weights: &self.weights,
            device: Device::Cpu,
            bf16: false,
        }
    }

    fn tuned(&self) -> Result<Outcome, TuneError> {
        let read = |rows: &[usize]| Ok(rows.iter().map(|row| Some(self.contents[*row].clone())).collect());
        self.tuned_with(&read, &|| false)
    }

    fn tuned_with(&self, read: &Read<'_>, is_given_up: &(dyn Fn() -> bool + Sync)) -> Result<Outcome, TuneError> {
        let stopping = AtomicBool::new(false);
        let penalty = fit(&self.training, 0, &stopping)?.report().penalty;
        let stop = Stop {
            stopping: &stopping,
            is_given_up,
        };
        tune(&self.origin(), &self.training, read, penalty, 5, stop)
    }
}

/// A picture of stripes, upright or lying; where they begin is drawn, so that no pixel tells.
fn stripes(number: u64) -> (Content, u32) {
    let mut rng = rng::for_step(11, number, 0);
    let (label, shift) = ((number % 2) as u32, rng::below(&mut rng, 8));
    let mut rgb = Vec::new();
    for y in 0..32 {
        for x in 0..32 {
            let along = if label == 0 { x } else { y };
            let level = if (along + shift) / 2 % 2 == 0 { 90 } else { 150 };
            rgb.extend([0, 1, 2].map(|_| (level + rng::below(&mut rng, 90)) as u8));
        }
    }
    let tile = ImageTile {
        width: 32,
        height: 32,
        rgb,
    };
    (Content::Image(tile), label)
}

fn pictures(count: u64) -> Stage {
    let spec = ImageSpec {
        architecture: Architecture::ResnetTiny,
        image_px: 32,
    };
    Stage::new(spec.into(), None, (0..count).map(stripes).collect())
}

#[test]
fn a_copy_learns_what_the_network_does_not_tell_apart_and_the_network_stays_as_it_is() {
    crate::torch::set_threads(2);
    let stage = pictures(120);
    let before = stage.weights.clone();
    let outcome = stage.tuned().unwrap();
    assert!(outcome.gained > outcome.lost, "{outcome:?}");
    let copy = outcome.copy.expect("a better copy");
    assert!(outcome.tested.accuracy > 0.9, "{:?}", outcome.tested);
    assert_eq!(outcome.tested.asked, 120);
    assert_eq!(copy.head.report().tested.as_ref(), Some(&outcome.tested));
    assert_eq!(stage.weights, before);
    let network = Embedder::open(&stage.spec, None, &copy.weights, Device::Cpu).unwrap();
    let right = (500..560).map(stripes).filter(|(content, label)| {
        let row = network.embed(&[content]).unwrap();
        copy.head.probabilities(&row)[*label as usize] > 0.5
    });
    assert!(right.count() >= 54, "of 60 that it never saw");
}

#[test]
fn labels_that_mean_nothing_make_no_copy_that_answers() {
    crate::torch::set_threads(2);
    let mut stage = pictures(90);
    for (row, label) in stage.training.labels.iter_mut().enumerate() {
        *label = (rng::below(&mut rng::for_step(13, row as u64, 0), 2)) as u32;
    }
    let outcome = stage.tuned().unwrap();
    assert!(outcome.copy.is_none(), "{:?}", (outcome.gained, outcome.lost));
    assert!(outcome.tested.accuracy < 0.75);
}

#[test]
fn a_copy_that_nobody_wants_any_more_is_given_up_at_once() {
    let stage = pictures(60);
    let reads = Cell::new(0);
    let read = |rows: &[usize]| {
        reads.set(reads.get() + 1);
        Ok(rows.iter().map(|row| Some(stage.contents[*row].clone())).collect())
    };
    let outcome = stage.tuned_with(&read, &|| true);
    assert!(matches!(outcome, Err(TuneError::Fit(FitError::Stopped))), "{outcome:?}");
    assert_eq!(reads.get(), 0);
}

#[test]
fn samples_that_are_gone_are_passed_over_and_a_disk_that_fails_is_named() {
    crate::torch::set_threads(2);
    let stage = pictures(60);
    let some = |rows: &[usize]| {
        let content = |row: &usize| (!row.is_multiple_of(7)).then(|| stage.contents[*row].clone());
        Ok(rows.iter().map(content).collect())
    };
    let outcome = stage.tuned_with(&some, &|| false).unwrap();
    assert_eq!(outcome.tested.asked, 60 - 9);
    let none = stage.tuned_with(&|rows| Ok(vec![None; rows.len()]), &|| false);
    assert!(matches!(none, Err(TuneError::Unread(_))), "{none:?}");
    let failing = stage.tuned_with(&|_| Err("the disk is broken".to_owned()), &|| false);
    assert!(failing.unwrap_err().to_string().contains("the disk is broken"));
}

#[test]
fn one_label_a_class_can_not_be_tested_and_makes_no_copy() {
    let stage = pictures(2);
    assert!(matches!(stage.tuned(), Err(TuneError::Untested)));
}

#[test]
fn texts_series_and_transitions_are_tuned_too() {
    crate::torch::set_threads(2);
    let words = [
        "the cat sat on the mat",
        "a dog ran over the hill",
        "rain fell on the roof",
    ];
    let text = |number: u64| {
        let label = (number % 2) as u32;
        let end = if label == 0 { "and was glad" } else { "and was sad" };
        let passage = Passage {
            document: 0,
            part: 0,
            text: format!(
                "{} {end} {}",
                words[(number % 3) as usize],
                words[(number / 3 % 3) as usize]
            ),
        };
        (Content::Text(passage), label)
    };
    let config = LearningConfig {
        vocab_size: 300,
        ..LearningConfig::default()
    };
    let corpus = (0..60).map(|number| match text(number).0 {
        Content::Text(passage) => passage.text,
        _ => unreachable!(),
    });
    let tokenizer = crate::learn::train_vocabulary(&config, corpus).unwrap();
    let bert = crate::model::bert::BertPlan {
        vocab: tokenizer.vocab_size() as i64,
        ..crate::model::bert::TINY
    };
    let texts = EncoderSpec::Text(TextSpec { bert, tokens_max: 32 });

    let window = |number: u64| {
        let label = (number % 2) as u32;
        let mut rng = rng::for_step(17, number, 0);
        let (shift, period) = (rng::unit(&mut rng), if label == 0 { 9.0 } else { 15.0 });
        let values = (0..96)
            .map(|step| (f64::from(step) / period + shift).sin() + 0.3 * rng::normal(&mut rng))
            .collect();
        let window = Window {
            start: 0,
            time: None,
            channels: 1,
            values,
        };
        (Content::Series(window), label)
    };
    let series = EncoderSpec::Series(SeriesSpec {
        patch_steps: 8,
        channels_max: 1,
        hidden: 32,
        layers: 2,
        heads: 2,
    });

    let transition = |number: u64| {
        let label = (number % 2) as u32;
        let mut rng = rng::for_step(19, number, 0);
        let state: Vec<f32> = (0..4).map(|_| rng::normal(&mut rng) as f32).collect();
        let step = if label == 0 { 1.0 } else { -1.0 };
        let transition = Transition {
            episode: 0,
            t: number,
            next_state: state.iter().map(|value| value + step).collect(),
            state,
            action: Action::Discrete(0),
        };
        (Content::Transition(transition), label)
    };
    let transitions = EncoderSpec::Transition(TransitionSpec {
        state_dims: 4,
        actions: 2,
        width: 32,
        features: 16,
    });

    for stage in [
        Stage::new(texts, Some(tokenizer), (0..90).map(text).collect()),
        Stage::new(series, None, (0..90).map(window).collect()),
        Stage::new(transitions, None, (0..90).map(transition).collect()),
    ] {
        let outcome = stage.tuned().unwrap();
        // What the network tells apart already needs no copy.
        let is_told = outcome.frozen_right >= 85;
        assert!(
            is_told || outcome.copy.is_some(),
            "{:?}: {outcome:?}",
            stage.spec.modality()
        );
        assert!(
            outcome.tested.accuracy > 0.8,
            "{:?}: {:?}",
            stage.spec.modality(),
            outcome.tested
        );
    }
}
