//! Laws that change and laws that do not, made here and of the shared data.

use super::*;
use crate::rng;
use crate::sample::Action;
use crate::sample::transition::tests::recorded;

/// An arm on a spring that is pushed one way or the other: episodes of 20 to 100 steps, half of them pushed at random.
fn arm(count: usize, seed: u64, push: impl Fn(usize) -> f32) -> Vec<Transition> {
    let mut rng = rng::for_step(seed, 0, 0);
    let mut all = Vec::with_capacity(count);
    let mut episode = 0;
    while all.len() < count {
        episode += 1;
        let is_random = rng::unit(&mut rng) < 0.5;
        let mut state = [rng::normal(&mut rng) as f32, rng::normal(&mut rng) as f32];
        for t in 0..20 + rng::below(&mut rng, 80) as u64 {
            let left = if is_random {
                rng::unit(&mut rng) < 0.5
            } else {
                state[1] > 0.0
            };
            let force = push(all.len()) * if left { -1.0 } else { 1.0 };
            let noise = 0.002 * rng::normal(&mut rng) as f32;
            let next = [
                state[0] + 0.05 * state[1],
                state[1] + 0.05 * (force - 2.0 * state[0].sin()) + noise,
            ];
            all.push(Transition {
                episode,
                t,
                state: state.to_vec(),
                action: Action::Discrete(u32::from(left)),
                next_state: next.to_vec(),
            });
            state = next;
        }
    }
    all.truncate(count);
    all
}

/// The places at which a change was told.
fn told(transitions: &[Transition]) -> Vec<usize> {
    let mut law = Law::default();
    let changes = transitions.iter().enumerate();
    changes
        .filter_map(|(at, transition)| law.observe(transition).map(|_| at))
        .collect()
}

#[test]
fn nine_of_ten_laws_and_returns_to_the_first_are_told_within_two_hundred_arrivals() {
    let (mut within, mut others) = (0, 0);
    for seed in 0..10 {
        let all = arm(12_000, seed, |at| if (4_000..8_000).contains(&at) { -1.0 } else { 1.0 });
        let told = told(&all);
        println!("seed {seed}: told at {told:?}");
        let is_of_a_change = |at: &usize| [4_000, 8_000].iter().any(|change| (*change..change + 200).contains(at));
        let right = told.iter().filter(|at| is_of_a_change(at)).count();
        within += right;
        others += told.len() - right;
    }
    println!("{within} of 20 changes within 200 arrivals, {others} other alarms in 120,000");
    assert!(within >= 18 && others < 12, "{within} of 20, {others} others");
}

#[test]
fn a_law_that_stays_is_told_to_change_less_than_once_in_ten_thousand_arrivals() {
    let false_alarms: usize = (0..20).map(|seed| told(&arm(10_000, seed, |_| 1.0)).len()).sum();
    println!("{false_alarms} false alarms in 200,000 arrivals");
    assert!(false_alarms < 20, "{false_alarms}");
}

#[test]
fn states_that_are_noise_huge_or_never_change_are_survived() {
    let of = |at: usize, state: fn(&mut rng::Rng) -> Vec<f32>| {
        let mut rng = rng::for_step(at as u64, 1, 0);
        Transition {
            episode: 0,
            t: at as u64,
            state: state(&mut rng),
            action: Action::Real(vec![rng::normal(&mut rng) as f32; at % 3]),
            next_state: state(&mut rng),
        }
    };
    let kinds: [fn(&mut rng::Rng) -> Vec<f32>; 4] = [
        |rng| vec![rng::normal(rng) as f32; 3],
        |_| vec![1.0; 200],
        |rng| vec![f32::MAX * rng::normal(rng).signum() as f32, 0.0],
        |_| Vec::new(),
    ];
    for kind in kinds {
        let all: Vec<Transition> = (0..3_000).map(|at| of(at, kind)).collect();
        let told = told(&all);
        assert!(told.len() <= 1, "{told:?}");
    }
}

#[test]
fn each_change_of_cartpoles_dynamics_is_told_within_two_hundred_and_nothing_else() {
    let Some(all) = recorded("cartpole_regimes.jsonl") else {
        return;
    };
    let told = told(&all);
    println!("told at {told:?}");
    let changes = [4_000, 8_000, 12_000, 16_000];
    assert_eq!(told.len(), changes.len(), "{told:?}");
    for (told, change) in told.iter().zip(changes) {
        assert!((change..change + 200).contains(told), "{told} of {change}");
    }
}

#[test]
fn recordings_of_one_law_tell_no_change() {
    for name in [
        "cartpole.jsonl",
        "cartpole_noisy_tv.jsonl",
        "pendulum.jsonl",
        "minigrid_doorkey.jsonl",
    ] {
        let Some(all) = recorded(name) else {
            return;
        };
        let told = told(&all);
        assert!(told.is_empty(), "{name}: {told:?}");
    }
}
