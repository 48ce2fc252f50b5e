//! How unusual each step of a series is, by what came before it: causal, with nothing to set for a kind of data.
//! Invariant: what is said of a step depends on it and on earlier ones alone; every number is finite.
//!
//! Of each variable four things are looked at, each against its own past ([`Tail`]): the number itself; how its offset from what was
//! expected changed, so that a forecast that is wrong by a constant does not cry at every step; the mean of the last steps; and
//! how much they vary, which also tells a line that went flat. Their evidence, decades of chance, is added up (Fisher 1925, section
//! 21.1), as if they were independent, which they are not quite: evidence ranks steps, and its chance is a bound to no test.
//!
//! An alarm is a step whose evidence is above all that were told of late: the bar of that falls by half in so many steps. A change that
//! lasts is so told when it begins and not at each of its steps.

use std::collections::VecDeque;

use super::tail::{Ends, Tail};

/// Steps whose mean and deviation are looked at.
const RECENT: usize = 50;

/// Steps after which a told alarm counts half.
const HALF_LIFE: f64 = 100.0;

/// The least deviation of the last steps, as shares of the deviation of all and of the mean: a flat line's logarithm is a number.
const FLAT: f64 = 1e-3;
const ROUNDING: f64 = 1e-12;

/// Things that are looked at.
const LOOKS: u32 = 4;

/// What is said of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Anomaly {
    /// Decades by which its most unusual variable is rarer than certain, less those of looking at so many variables; 0 or more, 0
    /// while too little is known.
    pub evidence: f64,
    /// The same, 0 to 1: the chance that evidence so high does not come by accident, if what is looked at were independent.
    pub novelty: f64,
    /// The evidence where it is higher than any that was told of late, else 0.
    pub alarm: f64,
}

/// The steps of a series, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Anomalies {
    variables: Vec<Variable>,
    bar: f64,
}

impl Anomalies {
    /// Takes the next step: of each variable its number, NaN where it is missing, and what was expected of it, NaN where nothing was.
    pub fn observe(&mut self, step: impl Iterator<Item = (f64, f64)>) -> Anomaly {
        let (mut highest, mut count) = (0.0f64, 0);
        for (at, (number, expected)) in step.enumerate() {
            if self.variables.len() == at {
                self.variables.push(Variable::default());
            }
            highest = highest.max(self.variables[at].observe(number, expected));
            count = at + 1;
        }
        let evidence = (highest - (count.max(1) as f64).log10()).max(0.0);
        self.bar *= 0.5f64.powf(1.0 / HALF_LIFE);
        let alarm = if evidence > self.bar { evidence } else { 0.0 };
        self.bar = self.bar.max(evidence);
        Anomaly {
            evidence,
            novelty: unlikely(evidence),
            alarm,
        }
    }
}

/// One less the chance that evidence of independent looks adds up to so many decades (Fisher 1925): that a number of the
/// chi-squared distribution with two degrees of freedom for each is higher.
fn unlikely(decades: f64) -> f64 {
    let nats = decades * std::f64::consts::LN_10;
    let (mut term, mut sum) = (1.0, 1.0);
    for look in 1..LOOKS {
        term *= nats / f64::from(look);
        sum += term;
    }
    (1.0 - (-nats).exp() * sum).clamp(0.0, 1.0)
}

/// What is known of a variable.
#[derive(Clone, Debug)]
struct Variable {
    number: Tail,
    offset: Tail,
    level: Tail,
    spread: Tail,
    recent: VecDeque<f64>,
    /// How far the last number was from what was expected.
    off: Option<f64>,
    /// Of all numbers (Welford 1962).
    count: f64,
    mean: f64,
    squares: f64,
}

impl Default for Variable {
    fn default() -> Self {
        Self {
            number: Tail::new(Ends::Both),
            offset: Tail::new(Ends::Upper),
            level: Tail::new(Ends::Both),
            spread: Tail::new(Ends::Both),
            recent: VecDeque::with_capacity(RECENT + 1),
            off: None,
            count: 0.0,
            mean: 0.0,
            squares: 0.0,
        }
    }
}

impl Variable {
    /// The decades of evidence of its next number.
    fn observe(&mut self, number: f64, expected: f64) -> f64 {
        if !number.is_finite() {
            self.off = None;
            return 0.0;
        }
        self.count += 1.0;
        let from_mean = number - self.mean;
        self.mean += from_mean / self.count;
        self.squares += from_mean * (number - self.mean);
        let deviation = (self.squares / self.count).max(0.0).sqrt();
        self.recent.push_back(number);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        let steps = self.recent.len() as f64;
        let level = self.recent.iter().sum::<f64>() / steps;
        let varied = (self.recent.iter().map(|of| (of - level).powi(2)).sum::<f64>() / steps).sqrt();
        let spread = (varied + FLAT * deviation + ROUNDING * (1.0 + self.mean.abs())).ln();
        let off = Some(number - expected).filter(|off| off.is_finite());
        let changed = off.map(|off| (off - self.off.unwrap_or(0.0)).abs());
        self.off = off;
        self.number.observe(number)
            + changed.map_or(0.0, |changed| self.offset.observe(changed))
            + self.level.observe(level)
            + self.spread.observe(spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curiosity::tests::noise;

    /// What is said of these numbers, where the one before is expected.
    fn said(numbers: impl Iterator<Item = f64>) -> Vec<Anomaly> {
        let (mut anomalies, mut before) = (Anomalies::default(), f64::NAN);
        numbers
            .map(|number| {
                let said = anomalies.observe(std::iter::once((number, before)));
                before = number;
                said
            })
            .collect()
    }

    fn wave(at: u64) -> f64 {
        10.0 * (at as f64 / 20.0).sin() + noise(at)
    }

    fn highest(said: &[Anomaly]) -> f64 {
        said.iter().map(|of| of.evidence).fold(0.0, f64::max)
    }

    #[test]
    fn a_spike_a_step_and_a_flat_line_are_more_unusual_than_anything_before() {
        let spike = |at: u64| if at == 3_000 { 14.0 } else { wave(at) };
        let step = |at: u64| if at >= 3_000 { 25.0 + wave(at) } else { wave(at) };
        let flat = |at: u64| if at >= 3_000 { 1.0 } else { wave(at) };
        for (what, odd) in [("spike", spike as fn(u64) -> f64), ("step", step), ("flat", flat)] {
            let said = said((0..3_050).map(odd));
            let (before, since) = (highest(&said[500..3_000]), highest(&said[3_000..]));
            assert!(since > 1.2 * before, "{what}: {since} after {before}");
            assert!(said.iter().any(|of| of.evidence == since && of.alarm == since));
        }
        assert_eq!(highest(&said((0..100).map(wave))), 0.0);
    }

    #[test]
    fn a_change_that_lasts_is_told_when_it_begins_and_becomes_usual() {
        let said = said((0..9_000).map(|at| if at >= 3_000 { 25.0 + wave(at) } else { wave(at) }));
        let alarms = said[3_000..3_060].iter().filter(|of| of.alarm > 10.0).count();
        assert!((1..20).contains(&alarms), "{alarms}");
        assert!(said[3_000..3_060].iter().filter(|of| of.evidence > 10.0).count() > alarms);
        assert!(highest(&said[8_500..]) < 10.0);
    }

    #[test]
    fn the_most_unusual_variable_counts_and_looking_at_more_costs_evidence() {
        let mut anomalies = Anomalies::default();
        let of = |anomalies: &mut Anomalies, at: u64, odd: f64| {
            let others = (1..10).map(|variable| (noise(at + 10_000 * variable), 0.0));
            anomalies.observe(std::iter::once((noise(at) + odd, 0.0)).chain(others))
        };
        let before: Vec<Anomaly> = (0..2_000).map(|at| of(&mut anomalies, at, 0.0)).collect();
        let odd = of(&mut anomalies, 2_000, 10.0);
        assert!(odd.evidence > highest(&before) && odd.novelty > 0.999, "{odd:?}");
        let mut anomalies = Anomalies::default();
        let mut alone = |at: u64, odd: f64| anomalies.observe(std::iter::once((noise(at) + odd, 0.0)));
        for at in 0..2_000 {
            alone(at, 0.0);
        }
        let cost = alone(2_000, 10.0).evidence - odd.evidence;
        assert!((cost - 1.0).abs() < 1e-9, "a decade for ten variables, not {cost}");
    }

    #[test]
    fn what_is_missing_huge_or_all_alike_is_survived() {
        let odd = [f64::NAN, f64::INFINITY, 1e300, -1e300, f64::MAX, f64::MIN, 0.0];
        let said = said(
            std::iter::repeat_n(3.0, 500)
                .chain(odd)
                .chain(std::iter::repeat_n(3.0, 500)),
        );
        for of in said {
            assert!(
                of.evidence.is_finite() && of.alarm.is_finite() && (0.0..=1.0).contains(&of.novelty),
                "{of:?}"
            );
        }
    }

    #[test]
    fn novelty_is_one_less_fishers_chance() {
        assert_eq!(unlikely(0.0), 0.0);
        // The chi-squared distribution with 8 degrees of freedom is above 15.507 in 5 of 100 cases, above 20.090 in one.
        for (squares, chance) in [(15.507, 0.05), (20.090, 0.01)] {
            let decades = squares / 2.0 / std::f64::consts::LN_10;
            assert!((1.0 - unlikely(decades) - chance).abs() < 1e-4);
        }
    }
}
