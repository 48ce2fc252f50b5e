//! What a stream did to a model, in numbers: forgetting, transfer, and how two arms compare. Pure.
//! Always true: accuracies are shares, 0 to 1; `accuracy[i][j]` was measured after experience `i` on what experience `j`
//! brought, and is NaN where that brought nothing of its own, for then there is nothing to forget.

use serde::Serialize;

/// Mean over all experiences but the last of the best accuracy that was had before the last, since it was learnt, less the
/// last one (Chaudhry et al. 2018, equation 3). Below zero: better than ever.
pub fn forgetting_max_last(accuracy: &[Vec<f64>]) -> f64 {
    mean_or_zero(&lost(accuracy, |own| {
        own.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }))
}

/// Mean over all experiences but the last of the accuracy right after it was learnt, less the last one (Avalanche's
/// `Forgetting`; the negative of backward transfer in Lopez-Paz and Ranzato 2017).
pub fn forgetting_first_last(accuracy: &[Vec<f64>]) -> f64 {
    mean_or_zero(&lost(accuracy, |own| own[0]))
}

/// What each experience but the last lost: `before` of its accuracies from its own end on, but for the last, less the last.
fn lost(accuracy: &[Vec<f64>], before: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let last = accuracy.len().saturating_sub(1);
    (0..last)
        .filter(|&experience| !accuracy[last][experience].is_nan())
        .map(|experience| {
            let own: Vec<f64> = accuracy[experience..last].iter().map(|row| row[experience]).collect();
            before(&own) - accuracy[last][experience]
        })
        .collect()
}

/// Mean over all experiences but the first of the accuracy before it was learnt, less `untrained`'s, that of a network
/// with random weights (Lopez-Paz and Ranzato 2017).
pub fn forward_transfer(accuracy: &[Vec<f64>], untrained: &[f64]) -> f64 {
    let gained: Vec<f64> = (1..accuracy.len())
        .map(|experience| accuracy[experience - 1][experience] - untrained[experience])
        .filter(|gained| !gained.is_nan())
        .collect();
    mean_or_zero(&gained)
}

/// The mean; 0 of nothing, where a sum of nothing would be -0.
fn mean_or_zero(values: &[f64]) -> f64 {
    match values.len() {
        0 => 0.0,
        count => values.iter().sum::<f64>() / count as f64,
    }
}

/// The largest fall of a curve below what it had reached.
pub fn worst_drop(curve: &[f64]) -> f64 {
    let mut best = f64::NEG_INFINITY;
    curve.iter().fold(0.0, |drop, &value| {
        best = best.max(value);
        drop.max(best - value)
    })
}

/// How much of what i.i.d. training gains over random weights a stream gains: `(A_stream - A_random) / (A_iid - A_random)`.
/// NaN where i.i.d. training gains nothing.
pub fn retained(stream: f64, random: f64, iid: f64) -> f64 {
    if iid > random {
        (stream - random) / (iid - random)
    } else {
        f64::NAN
    }
}

/// Where a curve first reaches `target`: the first number of the point.
pub fn reaches<T: Copy>(curve: &[(T, f64)], target: f64) -> Option<T> {
    curve.iter().find(|(_, value)| *value >= target).map(|(at, _)| *at)
}

/// A number over seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Its mean; null where a value is no number.
    pub mean: f64,
    /// Its standard deviation between seeds (of a sample, not of all); 0 for one seed.
    pub std: f64,
    /// Each seed's, in order.
    pub values: Vec<f64>,
}

impl Spread {
    /// Of these values.
    pub fn of(values: Vec<f64>) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let std = if values.len() > 1 {
            (squares / (count - 1.0)).sqrt()
        } else {
            0.0
        };
        Self { mean, std, values }
    }

    /// Half the width of the 95 % confidence interval of the mean (Student's t); infinite for one seed.
    pub fn half_width(&self) -> f64 {
        if self.values.len() < 2 {
            return f64::INFINITY;
        }
        student_t_975(self.values.len().saturating_sub(1)) * self.std / (self.values.len() as f64).sqrt()
    }
}

/// Seed by seed, the one less the other.
pub fn paired(one: &Spread, other: &Spread) -> Spread {
    Spread::of(one.values.iter().zip(&other.values).map(|(a, b)| a - b).collect())
}

/// The 0.975 quantile of Student's t by its degrees of freedom; the normal's from 31 on.
fn student_t_975(freedom: usize) -> f64 {
    const QUANTILES: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
        2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    ];
    match freedom {
        0 => f64::INFINITY,
        _ => QUANTILES.get(freedom - 1).copied().unwrap_or(1.96),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The accuracies of a published example of Avalanche's metric.
    fn avalanche() -> Vec<Vec<f64>> {
        vec![vec![1.0, 0.0, 0.0], vec![0.5, 0.8, 1.0], vec![0.2, 1.0, 0.5]]
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn forgetting_is_avalanches() {
        let first = |own: &[f64]| own[0];
        assert!(lost(&avalanche()[..1], first).is_empty());
        assert_eq!(forgetting_first_last(&avalanche()[..1]), 0.0);
        assert!(close(lost(&avalanche()[..2], first)[0], 0.5));
        let all = lost(&avalanche(), first);
        assert!(close(all[0], 0.8) && close(all[1], -0.2), "{all:?}");
        assert!(close(forgetting_first_last(&avalanche()), 0.3));
    }

    #[test]
    fn the_best_in_between_counts_where_it_is_asked_for() {
        let rises_and_falls = vec![vec![0.3, 0.0], vec![0.9, 0.5], vec![0.4, 0.6]];
        let rises_and_falls: Vec<Vec<f64>> = rises_and_falls
            .into_iter()
            .map(|row| [row, vec![0.0]].concat())
            .collect();
        assert!(close(forgetting_max_last(&rises_and_falls), (0.5 - 0.1) / 2.0));
        assert!(close(forgetting_first_last(&rises_and_falls), (-0.1 - 0.1) / 2.0));
    }

    #[test]
    fn an_experience_that_brought_nothing_is_passed_over_and_still_makes_others_forget() {
        const NONE: f64 = f64::NAN;
        let there_and_back = vec![vec![0.8, NONE, 0.1], vec![0.5, NONE, 0.2], vec![0.6, NONE, 0.9]];
        assert!(close(forgetting_max_last(&there_and_back), 0.2));
        let recurring = vec![vec![0.8, NONE], vec![0.5, NONE]];
        assert!(close(forgetting_first_last(&recurring), 0.3));
        assert!(close(forward_transfer(&there_and_back, &[0.1, NONE, 0.05]), 0.15));
    }

    #[test]
    fn transfer_counts_what_was_known_before_it_was_taught() {
        let gained = forward_transfer(&avalanche(), &[0.1, 0.2, 0.3]);
        assert!(close(gained, ((0.0 - 0.2) + (1.0 - 0.3)) / 2.0));
    }

    #[test]
    fn the_worst_drop_is_below_the_best_so_far() {
        assert!(close(worst_drop(&[0.1, 0.5, 0.4, 0.6, 0.2, 0.3]), 0.4));
        assert_eq!(worst_drop(&[0.1, 0.2]), 0.0);
    }

    #[test]
    fn retained_is_one_for_iid_and_zero_for_random_weights() {
        assert!(close(retained(0.4, 0.2, 0.4), 1.0) && close(retained(0.2, 0.2, 0.4), 0.0));
        assert!(retained(0.2, 0.4, 0.4).is_nan());
    }

    #[test]
    fn a_curve_reaches_its_target_at_the_first_point_that_does() {
        let curve = [(10, 0.1), (20, 0.5), (30, 0.4), (40, 0.6)];
        assert_eq!(reaches(&curve, 0.45), Some(20));
        assert_eq!(reaches(&curve, 0.7), None);
    }

    #[test]
    fn three_seeds_give_students_interval() {
        let spread = Spread::of(vec![1.0, 2.0, 3.0]);
        assert!(close(spread.mean, 2.0) && close(spread.std, 1.0));
        assert!((spread.half_width() - 4.303 / 3f64.sqrt()).abs() < 1e-9);
        assert!(Spread::of(vec![1.0]).half_width().is_infinite());
        assert!(close(paired(&spread, &Spread::of(vec![0.0, 1.0, 2.0])).std, 0.0));
    }
}
