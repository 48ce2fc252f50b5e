//! How far out a number is among those before it, as the logarithm of a chance: counted in the body of the distribution, and
//! beyond its outermost tenth that of an exponential, so that what was never seen before still has a chance, a small one.
//! Invariant: what is said of a number depends on it and on earlier ones alone, and is finite; shifting or scaling all numbers
//! changes nothing.

use std::collections::VecDeque;

/// Numbers that are remembered.
const HISTORY: usize = 4_096;

/// Numbers before which nothing is said.
const HISTORY_MIN: usize = 100;

/// The share of the numbers whose excess is an exponential's, and how many there are at least.
const OUTER: f64 = 0.1;
const OUTER_MIN: usize = 5;

/// The least mean excess: a share of the deviation, and of the mean, for numbers that are all alike.
const EXCESS_OF_DEVIATION: f64 = 0.02;
const EXCESS_OF_MEAN: f64 = 1e-9;
const EXCESS_MIN: f64 = 1e-12;

/// The largest number, whose square is one too.
const LARGEST: f64 = 1e150;

/// The most that is said: as good as never.
const DECADES_MAX: f64 = 1e3;

/// Which ends count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// What is large is unusual.
    Upper,
    /// What is small is as well.
    Both,
}

/// The numbers before, in two orders.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    ends: Ends,
    sorted: Vec<f64>,
    arrived: VecDeque<f64>,
    /// The first number: others are kept less it, so that sums of squares keep their digits.
    zero: Option<f64>,
    sum: f64,
    squares: f64,
}

impl Tail {
    pub(super) fn new(ends: Ends) -> Self {
        Self {
            ends,
            sorted: Vec::new(),
            arrived: VecDeque::new(),
            zero: None,
            sum: 0.0,
            squares: 0.0,
        }
    }

    /// Takes the next number in. Returns the decades by which one so far out is rarer than certain, 0 or more; 0 while too few
    /// are known, and for what is no finite number, which is not taken in.
    pub(super) fn observe(&mut self, number: f64) -> f64 {
        if !number.is_finite() {
            return 0.0;
        }
        let number = (number - *self.zero.get_or_insert(number)).clamp(-LARGEST, LARGEST);
        let decades = self.decades(number).min(DECADES_MAX);
        self.remember(number);
        decades
    }

    fn decades(&self, number: f64) -> f64 {
        let count = self.sorted.len();
        if count < HISTORY_MIN {
            return 0.0;
        }
        let outer = ((OUTER * count as f64).ceil() as usize).max(OUTER_MIN);
        let mean = self.sum / count as f64;
        let deviation = (self.squares / count as f64 - mean * mean).max(0.0).sqrt();
        let least = (EXCESS_OF_DEVIATION * deviation)
            .max(EXCESS_OF_MEAN * mean.abs())
            .max(EXCESS_MIN);
        let of = |excess: f64, outermost: &[f64], edge: f64, as_far: usize| {
            let edge_decades = (count as f64 / outer as f64).log10();
            if excess > 0.0 {
                let excesses = outermost.iter().map(|other| (other - edge).abs()).sum::<f64>();
                let usual = (excesses / outermost.len() as f64).max(least);
                return edge_decades + excess / usual * std::f64::consts::LOG10_E;
            }
            let chance = (as_far + 1) as f64 / (count + 1) as f64;
            (-chance.log10()).min(edge_decades)
        };
        let above = {
            let edge = self.sorted[count - outer];
            let as_far = count - self.sorted.partition_point(|other| *other < number);
            of(number - edge, &self.sorted[count - outer + 1..], edge, as_far)
        };
        if self.ends == Ends::Upper {
            return above;
        }
        let edge = self.sorted[outer - 1];
        let as_far = self.sorted.partition_point(|other| *other <= number);
        above.max(of(edge - number, &self.sorted[..outer - 1], edge, as_far))
    }

    fn remember(&mut self, number: f64) {
        let at = self.sorted.partition_point(|other| *other < number);
        self.sorted.insert(at, number);
        self.arrived.push_back(number);
        self.sum += number;
        self.squares += number * number;
        if self.sorted.len() > HISTORY
            && let Some(oldest) = self.arrived.pop_front()
        {
            let at = self.sorted.partition_point(|other| *other < oldest);
            self.sorted.remove(at);
            self.sum -= oldest;
            self.squares -= oldest * oldest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curiosity::tests::noise;

    fn said(ends: Ends, numbers: impl Iterator<Item = f64>) -> Vec<f64> {
        let mut tail = Tail::new(ends);
        numbers.map(|number| tail.observe(number)).collect()
    }

    #[test]
    fn a_number_is_as_rare_as_those_that_are_as_far_out() {
        // 0 to 999, mixed up: of 1,000 numbers 99 are above 900 and 10 above 989.
        let numbers = || (0..1_000).map(|at| f64::from(at * 7 % 1_000));
        let last = |ends, number: f64| said(ends, numbers().chain([number])).pop().unwrap();
        assert!((last(Ends::Upper, 500.5) - (1_001.0f64 / 500.0).log10()).abs() < 1e-9);
        assert_eq!(last(Ends::Upper, -1e6).abs(), 0.0);
        // Beyond the outermost hundred, from 900 on, whose mean excess is 50.
        let at_1000 = 1.0 + 100.0 / 50.0 * std::f64::consts::LOG10_E;
        assert!((last(Ends::Upper, 1_000.0) - at_1000).abs() < 1e-9);
        assert!((last(Ends::Both, -1.0) - at_1000).abs() < 1e-9);
        assert!(last(Ends::Both, 1e6) > 800.0);
    }

    #[test]
    fn a_shift_and_a_scale_change_nothing() {
        let numbers = |scale: f64, shift: f64| (0..3_000).map(move |at| shift + scale * noise(at));
        let one = said(Ends::Both, numbers(1.0, 0.0));
        let other = said(Ends::Both, numbers(1e-3, 1e3));
        assert!(one.iter().zip(&other).all(|(one, other)| (one - other).abs() < 1e-4));
        let highest = one.iter().copied().fold(0.0, f64::max);
        assert!((2.0..5.0).contains(&highest), "{highest}");
    }

    #[test]
    fn the_oldest_numbers_are_forgotten() {
        let jump = |at: u64| if at < 4_000 { noise(at) } else { 100.0 + noise(at) };
        let said = said(Ends::Both, (0..12_000).map(jump));
        assert!(
            said[4_000] > 20.0 && said[11_999] < 5.0,
            "{} {}",
            said[4_000],
            said[11_999]
        );
    }

    #[test]
    fn numbers_that_are_all_alike_or_none_are_survived() {
        let odd = [f64::NAN, f64::INFINITY, 1e300, -1e300, 3.0, 3.000_1];
        for first in [3.0, f64::NAN, f64::MAX] {
            let numbers = std::iter::once(first).chain(std::iter::repeat_n(3.0, 500)).chain(odd);
            assert!(said(Ends::Both, numbers).iter().all(|decades| *decades >= 0.0));
        }
        let alike = said(Ends::Both, std::iter::repeat_n(3.0, 500).chain([3.1]));
        assert!(alike[499] < 1.1 && alike[500] > 100.0, "{:?}", &alike[499..]);
    }
}
