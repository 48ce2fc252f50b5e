//! What is curious about an agent's world, as it goes on.

use std::path::Path;

use curiod::sample::transition::{self, TransitionLimits};
use curiod::sample::{Action, Content, Modality, Transition};

use super::{Online, mean};
use crate::Flags;

/// Transitions that arrive between two turns of the learner.
const TOGETHER: usize = 16;

/// Actions from which on the remote is pressed: then the channel is drawn anew, which nobody can foresee.
const REMOTE: u32 = 2;

/// Transitions that the scale is measured on: the first.
const FIRSTS: usize = 1_024;

fn online(all: &[Transition], seed: u64, flags: &Flags) -> Online {
    let settings = [
        "learning.warmup_steps=100",
        "replay.draws_per_sample=32",
        "replay.draws_per_sample_min=32",
    ];
    Online::new(Modality::Transition, &settings, &all[..FIRSTS], seed, flags)
}

fn read(data: &Path, name: &str) -> Vec<Transition> {
    let path = data.join("transitions").join(name);
    let bytes = std::fs::read(&path).expect("a file");
    transition::cut(&path, &bytes, &TransitionLimits::default())
        .expect("transitions")
        .transitions
}

/// The rewards and errors of transitions.
fn curious(online: &Online, transitions: &[Transition]) -> Vec<(f64, f64, f64)> {
    let contents: Vec<Content> = transitions.iter().cloned().map(Content::Transition).collect();
    let curious = online.network().curiosity(&contents.iter().collect::<Vec<_>>());
    let curious = curious.expect("an answer").expect("heads");
    let numbers = |of: &curiod::model::Curiosity| (f64::from(of.reward), f64::from(of.error), f64::from(of.action));
    curious.iter().map(numbers).collect()
}

pub(crate) fn noisy_tv(flags: &Flags, data: &Path) {
    let all = read(data, "cartpole_noisy_tv.jsonl");
    for seed in 0..flags.seeds {
        let mut online = online(&all, seed, flags);
        println!("seed {seed}: means of 2,000 transitions each, before they are learnt from");
        println!("   from   reward  TV drawn  TV kept    error  TV drawn  TV kept");
        for (part, transitions) in all.chunks(2_000).enumerate() {
            let mut rows = Vec::new();
            for together in transitions.chunks(TOGETHER) {
                if online.learner.steps() > 0 {
                    let is_drawn = together
                        .iter()
                        .map(|of| matches!(of.action, Action::Discrete(action) if action >= REMOTE));
                    rows.extend(curious(&online, together).into_iter().zip(is_drawn));
                }
                online.arrive(&together.iter().cloned().map(Content::Transition).collect::<Vec<_>>());
            }
            let of = |drawn: Option<bool>, number: fn(&(f64, f64, f64)) -> f64| {
                let rows = rows
                    .iter()
                    .filter(|(_, is_drawn)| drawn.is_none_or(|drawn| drawn == *is_drawn));
                mean(rows.map(|(of, _)| number(of)))
            };
            let three = |number| [None, Some(true), Some(false)].map(|drawn| of(drawn, number));
            let ([reward, drawn, kept], [error, error_drawn, error_kept]) = (three(|of| of.0), three(|of| of.1));
            println!(
                "{:>7} {reward:>8.4} {drawn:>9.4} {kept:>8.4} {error:>8.4} {error_drawn:>9.4} {error_kept:>8.4}",
                2_000 * part
            );
        }
    }
}

pub(crate) fn regimes(flags: &Flags, data: &Path) {
    let all = read(data, "cartpole_regimes.jsonl");
    for seed in 0..flags.seeds {
        let mut online = online(&all, seed, flags);
        let (mut told, mut errors, mut alerts) = (Vec::new(), Vec::new(), 0);
        for (at, together) in all.chunks(TOGETHER).enumerate() {
            if online.learner.steps() > 0 {
                errors.extend(curious(&online, together).into_iter().map(|of| of.1));
            } else {
                errors.extend(std::iter::repeat_n(f64::NAN, together.len()));
            }
            online.arrive(&together.iter().cloned().map(Content::Transition).collect::<Vec<_>>());
            let now = online.learner.state().curiosity.drifts;
            if now > alerts {
                told.push(TOGETHER * (at + 1));
                alerts = now;
            }
        }
        println!("seed {seed}: the dynamics change at 4000, 8000, 12000 and 16000; told at {told:?}");
        for (name, range) in [
            ("A", 3_000..4_000),
            ("A again", 8_000..9_000),
            ("A a third time", 16_000..17_000),
        ] {
            let part: Vec<f64> = errors[range.clone()]
                .iter()
                .copied()
                .filter(|error| !error.is_nan())
                .collect();
            println!("   {name}: rows {range:?}, error {:.4}", mean(part.into_iter()));
        }
    }
}

pub(crate) fn actions(flags: &Flags, data: &Path) {
    for name in ["cartpole.jsonl", "pendulum.jsonl", "minigrid_doorkey.jsonl"] {
        let all = read(data, name);
        let (learnt, asked) = all.split_at(all.len() * 4 / 5);
        for seed in 0..flags.seeds {
            let mut online = online(&all, seed, flags);
            for together in learnt.chunks(TOGETHER) {
                online.arrive(&together.iter().cloned().map(Content::Transition).collect::<Vec<_>>());
            }
            let of = curious(&online, asked);
            println!(
                "{name} seed {seed}: {} steps; action told {:.3}, error {:.4} on the last fifth",
                online.learner.steps(),
                mean(of.iter().map(|of| of.2)),
                mean(of.iter().map(|of| of.1))
            );
        }
    }
}
