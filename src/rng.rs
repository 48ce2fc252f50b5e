//! Randomness, passed in: every draw is a function of a seed, a step and a lane, so that any batch can be made again.

use rand_core::SeedableRng;

/// The generator used everywhere: small, fast and seedable (Blackman and Vigna 2019); not for secrets.
pub type Rng = rand_xoshiro::Xoshiro256PlusPlus;

/// The generator of one lane (a purpose, a worker, a picture) of one step.
pub fn for_step(seed: u64, step: u64, lane: u64) -> Rng {
    Rng::seed_from_u64(mix(mix(mix(seed) ^ step) ^ lane))
}

/// SplitMix64's finaliser: neighbouring numbers in, unrelated numbers out.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number in [0, 1).
pub fn unit(rng: &mut Rng) -> f64 {
    use rand_core::RngCore;
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// A number in 0..bound; 0 when `bound` is 0.
pub fn below(rng: &mut Rng, bound: usize) -> usize {
    use rand_core::RngCore;
    ((u128::from(rng.next_u64()) * bound as u128) >> 64) as usize
}

/// A number of the standard normal distribution (Box and Muller 1958).
pub fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - unit(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(rng)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_step_and_lane_give_the_same_numbers_and_others_do_not() {
        let first = |seed, step, lane| below(&mut for_step(seed, step, lane), 1 << 40);
        assert_eq!(first(1, 2, 3), first(1, 2, 3));
        let all: std::collections::BTreeSet<_> = (0..4)
            .flat_map(|a| (0..4).flat_map(move |b| (0..4).map(move |c| (a, b, c))))
            .map(|(a, b, c)| first(a, b, c))
            .collect();
        assert_eq!(all.len(), 64);
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut rng = for_step(0, 0, 0);
        assert!((0..1000).all(|_| below(&mut rng, 7) < 7 && (0.0..1.0).contains(&unit(&mut rng))));
        assert_eq!(below(&mut rng, 0), 0);
    }

    #[test]
    fn normal_numbers_have_the_mean_nothing_and_the_variance_one() {
        let mut rng = for_step(0, 0, 0);
        let numbers: Vec<f64> = (0..10_000).map(|_| normal(&mut rng)).collect();
        let mean = numbers.iter().sum::<f64>() / 1e4;
        let variance = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / 1e4;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
