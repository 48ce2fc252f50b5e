//! The lower confidence bound of a mean difference, from paired differences.
//! Always true: the bound holds at the stated confidence for every number of samples and every distribution of
//! differences in [-1, 1], not only for large or bell-shaped ones.
//!
//! Why not Student's t: exam scores are discrete and lopsided. A candidate that fails 1 sample in 100 altogether and
//! equals the published model on the rest shows no failure among 32 samples 72 times of 100; t then sees no
//! variance and claims certainty (see the tests). The bound here is by betting (Waudby-Smith and Ramdas 2024,
//! "Estimating means of bounded random variables by betting", theorem 3, one-sided, predictable plug-in): a gambler
//! who bets against "the mean is m" can not multiply his money by 1/alpha with a probability above alpha if it is
//! (Markov's inequality on a martingale), so every m against which he does so is refused. The price is a bound
//! about twice as far from the mean as Student's at 80 samples and 1.4 times at 1,000.

/// What may be claimed of one candidate: that it is better by its score, by how much it tells, or on the newest samples.
const CLAIMS: f64 = 3.0;

/// Networks of one candidate.
const NETWORKS: f64 = 2.0;

/// Largest share of the money that is bet on one sample; below 1, so that the gambler is never ruined.
const STAKE_MAX: f64 = 0.9;

/// The confidences of the lower bounds of one judgement: of "it is no worse", and of "it is better".
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spent {
    /// That the bound of a candidate that is worse is above what is true.
    pub no_worse: f64,
    /// The same of what is claimed to be better.
    pub better: f64,
}

/// How the risk `1 - confidence` is shared out, so that of all candidates that are judged until one is published, however many, the
/// probability that any that is worse by the margin passes is at most that, and so is the probability that any that is better in
/// nothing is called better. `trial`: which of them, from 1; `share`: the candidate's in the weights.
///
/// The k-th candidate is given `6 / (pi k)^2` of it, which sums to 1 over all k. Half of that is for its two networks, half for
/// their mixtures with the published model, evenly; a claim has a third of its network's (Bonferroni). That a network must be no
/// worse in several things at once costs nothing (intersection-union test).
pub fn spent(confidence: f64, trial: u64, share: f64) -> Spent {
    let of_trial = 6.0 / (std::f64::consts::PI * trial.max(1) as f64).powi(2);
    let mixtures = (super::SHARES.len() - 1) as f64;
    let looks = if share < 1.0 { NETWORKS * mixtures } else { NETWORKS };
    let risk = (1.0 - confidence) * of_trial / 2.0 / looks;
    Spent {
        no_worse: 1.0 - risk,
        better: 1.0 - risk / CLAIMS,
    }
}

/// Mean of the differences; 0 for none.
pub fn mean(differences: &[f64]) -> f64 {
    differences.iter().sum::<f64>() / differences.len().max(1) as f64
}

/// The largest m of which it can be said, with this one-sided confidence, that the mean of the distribution from which
/// the differences were drawn is above it. `differences`: one per sample, in [-1, 1], in an order that does not
/// depend on their values. -1 when nothing can be said.
pub fn lower_bound(differences: &[f64], confidence: f64) -> f64 {
    let alpha = 1.0 - confidence;
    let gains: Vec<f64> = differences.iter().map(|d| ((d + 1.0) / 2.0).clamp(0.0, 1.0)).collect();
    let bets = predictable_bets(&gains, alpha);
    let enough = (1.0 / alpha).ln();
    // The money falls as m grows, so the refused means are an interval from 0; its end is found by bisection.
    let (mut refused, mut kept) = (0.0, 1.0);
    for _ in 0..60 {
        let m = (refused + kept) / 2.0;
        if log_money(&gains, &bets, m) >= enough {
            refused = m;
        } else {
            kept = m;
        }
    }
    2.0 * refused - 1.0
}

/// The gambler's bet on each sample, from the samples before it alone: `sqrt(2 ln(1/alpha) / (variance n))`, which is
/// the best one if the variance stays what it was (equation 26 there, for a fixed number of samples).
fn predictable_bets(gains: &[f64], alpha: f64) -> Vec<f64> {
    let n = gains.len() as f64;
    let (mut sum, mut squares) = (0.5, 0.25); // One sample in advance: mean 1/2, variance 1/4.
    gains
        .iter()
        .zip(1u32..)
        .map(|(gain, count)| {
            let seen = f64::from(count);
            let bet = (2.0 * (1.0 / alpha).ln() * seen / (squares * n)).sqrt();
            sum += gain;
            squares += (gain - sum / (seen + 1.0)).powi(2);
            bet
        })
        .collect()
}

/// Logarithm of the money after betting against "the mean is m", from 1.
fn log_money(gains: &[f64], bets: &[f64], m: f64) -> f64 {
    gains
        .iter()
        .zip(bets)
        .map(|(gain, bet)| (bet.min(STAKE_MAX / m) * (gain - m)).ln_1p())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{self, Rng};

    /// How often, over 1,000 exams of n samples, the bound claims more than the true mean.
    fn false_claims(n: usize, confidence: f64, true_mean: f64, draw: impl Fn(&mut Rng) -> f64) -> f64 {
        let exams = 1_000;
        let wrong = (0..exams)
            .filter(|&exam| {
                let mut rng = rng::for_step(7, exam, n as u64);
                let differences: Vec<f64> = (0..n).map(|_| draw(&mut rng)).collect();
                lower_bound(&differences, confidence) > true_mean + 1e-9
            })
            .count();
        wrong as f64 / exams as f64
    }

    /// -1 with this probability, else `otherwise`.
    fn rare_failure(probability: f64, otherwise: f64) -> impl Fn(&mut Rng) -> f64 {
        move |rng| if rng::unit(rng) < probability { -1.0 } else { otherwise }
    }

    /// The difference of two retrieval scores over 16 views, both right with this probability.
    fn equal_models(right: f64) -> impl Fn(&mut Rng) -> f64 {
        move |rng| {
            let mut score = || (0..16).filter(|_| rng::unit(rng) < right).count() as f64 / 16.0;
            score() - score()
        }
    }

    #[test]
    fn a_claim_above_the_true_mean_is_rarer_than_the_stated_rate_at_every_size_from_32() {
        let confidence = 0.95;
        for n in [32, 80, 300] {
            for probability in [0.01, 0.03, 0.1] {
                let rate = false_claims(n, confidence, -probability, rare_failure(probability, 0.0));
                assert!(
                    rate <= 0.05,
                    "{rate} of the claims at n = {n} with rare failures {probability}"
                );
                let mean = 0.05 * (1.0 - probability) - probability;
                let rate = false_claims(n, confidence, mean, rare_failure(probability, 0.05));
                assert!(rate <= 0.05, "{rate} of the claims at n = {n} with a small gain");
            }
            for right in [0.5, 0.9, 0.99] {
                let rate = false_claims(n, confidence, 0.0, equal_models(right));
                assert!(
                    rate <= 0.05,
                    "{rate} of the claims at n = {n} between models right {right}"
                );
            }
            let rate = false_claims(n, confidence, 0.0, |rng| if rng::unit(rng) < 0.5 { -1.0 } else { 1.0 });
            assert!(rate <= 0.05, "{rate} of the claims at n = {n} of coins");
        }
    }

    #[test]
    fn students_t_would_claim_falsely_far_more_often_than_stated() {
        let t = |differences: &[f64]| {
            let (n, mean) = (differences.len() as f64, mean(differences));
            let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
            mean - 1.696 * (variance / n).sqrt() // The 95% point at 31 degrees of freedom.
        };
        let draw = rare_failure(0.01, 0.0);
        let wrong = (0..2_000)
            .filter(|&exam| {
                let mut rng = rng::for_step(7, exam, 32);
                let differences: Vec<f64> = (0..32).map(|_| draw(&mut rng)).collect();
                t(&differences) > -0.01 + 1e-9
            })
            .count();
        assert!(
            wrong > 1_000,
            "{wrong} of 2,000: the reason for not using t no longer holds"
        );
    }

    #[test]
    fn a_clear_gain_is_seen_with_32_pictures() {
        let gains: Vec<f64> = (0..32).map(|i| if i % 4 == 0 { 0.0 } else { 0.4 }).collect();
        assert!(lower_bound(&gains, 0.975) > 0.1);
    }

    #[test]
    fn the_bound_comes_nearer_to_the_mean_with_more_pictures() {
        let bound = |n: usize| {
            let differences: Vec<f64> = (0..n).map(|i| if i % 2 == 0 { 0.3 } else { -0.1 }).collect();
            lower_bound(&differences, 0.95)
        };
        assert!(bound(32) < bound(128) && bound(128) < bound(1_024) && bound(1_024) < 0.1);
        assert!(bound(1_024) > 0.08);
    }

    #[test]
    fn all_that_is_looked_at_until_a_publication_never_costs_more_than_the_stated_risk() {
        let mut whole = 0.0;
        for trial in 1..10_000 {
            for share in crate::gate::SHARES {
                let spent = spent(0.95, trial, share);
                assert!(spent.better > spent.no_worse && spent.no_worse > 0.95);
                whole += NETWORKS * (1.0 - spent.no_worse);
            }
        }
        assert!(whole < 0.05 && whole > 0.0499, "{whole}");
    }

    #[test]
    fn nothing_is_claimed_of_no_pictures() {
        assert_eq!(lower_bound(&[], 0.95), -1.0);
    }
}
