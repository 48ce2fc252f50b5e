//! Priority: how much a sample wants to be replayed, and the formula that makes it of a sample's signals.
//! Invariant: a priority is finite and above zero, so that no live sample can become undrawable.

/// How much a sample wants to be replayed. Finite, above zero, at most [`Priority::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Priority(f64);

/// What every sample has, whatever its signals.
const FLOOR: f64 = 0.01;

/// Each visit leaves this share of the wish to visit again (Curious Replay, Kauvar et al. 2023, eq. 1).
const VISIT_DECAY: f64 = 0.7;

/// Power of the error's rank (Curious Replay's alpha).
const RANK_POWER: f64 = 0.7;

/// The most that a sample's age adds.
const AGE_MOST: f64 = 0.5;

/// No priority is more than this many times the mean: a few samples must not take all draws.
const TIMES_MEAN_MAX: f64 = 10.0;

/// Steps of the integer weights that sum trees add: sums of integers do not depend on the order of adding, so that
/// a draw is the same whatever the history of the tree.
const WEIGHT_STEPS: f64 = (1u32 << 20) as f64;

/// The signals that a priority is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    /// How often the sample was replayed.
    pub visits: u32,
    /// How far its cluster's progress lets its error count, 0 to 1.
    pub guard: f64,
    /// The quantile of its error, 0 to 1.
    pub rank: f64,
    /// Samples that arrived after it, over the samples held: 1 halves what is missing to the most that age adds.
    pub age: f64,
}

impl Priority {
    /// No priority is above it: more than the sum of all terms.
    pub const MAX: f64 = 16.0;

    /// `floor + 0.7^visits + guard * rank^0.7 + 0.5 * (1 - 2^-age)`, at most ten times the mean priority.
    ///
    /// Curious Replay's formula (Kauvar et al. 2023, eq. 1) with three differences: the error's quantile stands for the
    /// error, so that errors of any scale compare; progress guards it, so that noise earns nothing by being hard; and what
    /// arrived long ago wants a little more, for it is what is forgotten. A signal that is no number is taken for its middle.
    pub fn of(wish: &Wish, mean: Option<f64>) -> Self {
        let fresh = VISIT_DECAY.powi(i32::try_from(wish.visits).unwrap_or(i32::MAX));
        let hard = share(wish.guard) * share(wish.rank).powf(RANK_POWER);
        let old = if wish.age.is_finite() {
            AGE_MOST * (1.0 - (-wish.age.max(0.0)).exp2())
        } else {
            0.0
        };
        let most = mean.map_or(Self::MAX, |mean| TIMES_MEAN_MAX * mean);
        Self((FLOOR + fresh + hard + old).min(most).clamp(FLOOR, Self::MAX))
    }

    /// The priority of a sample that has just arrived: nothing is known of it.
    pub fn unseen() -> Self {
        let wish = Wish {
            visits: 0,
            guard: 0.5,
            rank: 0.5,
            age: 0.0,
        };
        Self::of(&wish, None)
    }

    /// The priority as a number.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The priority as the integer weight of a sum tree, at least 1.
    pub fn weight(self) -> u32 {
        ((self.0 * WEIGHT_STEPS) as u32).max(1)
    }

    /// The priority whose weight this is.
    pub fn from_weight(weight: u32) -> Self {
        Self((f64::from(weight.max(1)) / WEIGHT_STEPS).min(Self::MAX))
    }
}

fn share(value: f64) -> f64 {
    if value.is_nan() { 0.5 } else { value.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Wish = Wish {
        visits: 3,
        guard: 0.5,
        rank: 0.5,
        age: 0.0,
    };

    fn of(wish: Wish) -> f64 {
        Priority::of(&wish, None).get()
    }

    #[test]
    fn a_sample_wants_less_with_each_visit_and_never_nothing() {
        let visited = |visits| of(Wish { visits, ..PLAIN });
        assert!(visited(0) > visited(1) && visited(1) > visited(8));
        let bored = Wish {
            visits: u32::MAX,
            guard: 0.0,
            ..PLAIN
        };
        assert_eq!(of(bored), FLOOR);
    }

    #[test]
    fn a_larger_error_wants_more_as_far_as_its_guard_lets_it() {
        let hard = |guard, rank| of(Wish { guard, rank, ..PLAIN });
        assert!(hard(0.9, 0.9) > hard(0.9, 0.1) && hard(0.9, 0.9) > hard(0.1, 0.9));
        assert_eq!(hard(0.0, 1.0), hard(0.0, 0.0));
    }

    #[test]
    fn age_adds_up_to_a_half() {
        let old = |age| of(Wish { age, ..PLAIN }) - of(PLAIN);
        assert!((old(1.0) - 0.25).abs() < 1e-12 && old(60.0) > 0.499 && old(60.0) <= 0.5);
    }

    #[test]
    fn no_priority_is_more_than_ten_times_the_mean() {
        assert!((Priority::of(&PLAIN, Some(0.02)).get() - 0.2).abs() < 1e-12);
        assert_eq!(Priority::of(&PLAIN, Some(0.0)).get(), FLOOR);
    }

    #[test]
    fn whatever_the_signals_a_priority_is_finite_and_bounded() {
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 0.5, 1.0, 1e300];
        for guard in odd {
            for rank in odd {
                for age in odd {
                    for mean in odd.map(Some).into_iter().chain([None]) {
                        for visits in [0, 8, u32::MAX] {
                            let wish = Wish {
                                visits,
                                guard,
                                rank,
                                age,
                            };
                            let priority = Priority::of(&wish, mean);
                            assert!(
                                (FLOOR..=Priority::MAX).contains(&priority.get()),
                                "{wish:?}: {priority:?}"
                            );
                            assert!(priority.weight() >= 1);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_priority_survives_its_weight() {
        let priority = Priority::of(&PLAIN, None);
        assert_eq!(Priority::from_weight(priority.weight()).weight(), priority.weight());
        assert_eq!(Priority::from_weight(0).weight(), 1);
    }
}
