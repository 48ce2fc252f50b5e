//! What the gate lets through: nothing that is spoilt, and of mere noise no more than it states.

use super::*;

/// A network that nobody should get in place of the published one, made of it in one of four ways.
fn spoilt(way: u64, seed: u64) -> Vec<u8> {
    let [early, published] = crammed();
    let _no_grad = tch::no_grad_guard();
    let (network, fresh) = (VarStore::new(Device::Cpu), VarStore::new(Device::Cpu));
    let _encoders = [&network, &fresh].map(|store| TINY.build(&store.root()));
    weights::load_into(&network, if way == 3 { early } else { published }).unwrap();
    initialise(&fresh, seed).unwrap();
    let mut rng = rng::for_step(seed, way, 0);
    // How badly it is spoilt differs from one to the next.
    let strength = 0.5 + rng::unit(&mut rng);
    let fresh = fresh.variables();
    for (name, mut variable) in network.variables() {
        let (fresh, is_weight) = (&fresh[&name], variable.dim() == 4);
        _ = match way {
            // Collapsed: hardly anything of a sample comes through, and the biases speak for all.
            0 if is_weight => variable.g_mul_scalar_(1e-4 * strength),
            0 => variable.g_add_scalar_(strength),
            // Noisy: as much noise as there is weight.
            1 if is_weight => variable.g_add_(&(fresh * strength)),
            // Shrunk: most of the way back to fresh weights.
            2 => variable.lerp_(fresh, 0.5 + 0.3 * strength),
            // Stale: an earlier network, a little shaken, so that it is no published one.
            3 if is_weight => variable.g_add_(&(fresh * (0.02 * strength))),
            _ => variable,
        };
    }
    weights::export(&network).unwrap()
}

/// Of so many spoilt candidates of each kind not one is published.
fn no_spoilt_one_passes(of_each: u64) {
    let (_dir, replay) = buffer(CRAMMED, 16);
    let mut gate = gate(&replay);
    let [_, published] = crammed();
    let incumbent = incumbent(2, published);
    for (way, kind) in (0..).zip(["collapsed", "noisy", "shrunk", "stale"]) {
        for number in 0..of_each {
            let (student, teacher) = (spoilt(way, 2 * number), spoilt(way, 2 * number + 1));
            let verdict = gate.judge(
                &candidate(1_000, &student, &teacher),
                Some(&incumbent),
                Some(&incumbent),
                &Hearing::default(),
            );
            assert!(!refusal(&verdict.unwrap()).is_empty(), "{kind} {number}");
        }
    }
}

/// The published network, shaken by noise so small that it is neither better nor worse on the mean.
fn shaken(seed: u64) -> Vec<u8> {
    let [_, published] = crammed();
    let _no_grad = tch::no_grad_guard();
    let (network, fresh) = (VarStore::new(Device::Cpu), VarStore::new(Device::Cpu));
    let _encoders = [&network, &fresh].map(|store| TINY.build(&store.root()));
    weights::load_into(&network, published).unwrap();
    initialise(&fresh, seed).unwrap();
    let fresh = fresh.variables();
    for (name, mut variable) in network.variables() {
        if variable.dim() == 4 {
            _ = variable.g_add_(&(&fresh[&name] * 0.01));
        }
    }
    weights::export(&network).unwrap()
}

/// Of candidates that differ from the published model by noise alone, judged one after the other, so many are published.
fn published_for_noise(candidates: u64) -> usize {
    let (_dir, replay) = buffer(CRAMMED, 16);
    let mut gate = gate(&replay);
    let [_, published] = crammed();
    let incumbent = incumbent(2, published);
    let passes = |number: &u64| {
        let (student, teacher) = (shaken(2 * number), shaken(2 * number + 1));
        let hearing = Hearing {
            trial: number + 1,
            ..Hearing::default()
        };
        let verdict = gate.judge(
            &candidate(1_000, &student, &teacher),
            Some(&incumbent),
            Some(&incumbent),
            &hearing,
        );
        matches!(verdict.unwrap(), Verdict::Accepted(_))
    };
    (0..candidates).filter(passes).count()
}

#[test]
fn noise_is_not_published() {
    assert_eq!(published_for_noise(4), 0);
}

#[test]
#[ignore = "minutes of judging: make soak"]
fn of_two_hundred_candidates_of_noise_at_most_a_twentieth_is_published() {
    let published = published_for_noise(200);
    println!("{published} of 200 published");
    assert!(published <= 10, "{published} of 200");
}

#[test]
fn spoilt_candidates_of_every_kind_are_rejected() {
    no_spoilt_one_passes(2);
}

#[test]
#[ignore = "minutes of judging: make soak"]
fn of_a_hundred_spoilt_candidates_not_one_is_published() {
    no_spoilt_one_passes(25);
}
