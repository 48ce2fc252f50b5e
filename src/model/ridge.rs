//! Ridge regression on features, for any penalty: what can be read off embeddings by a plane.
//! Invariant: what is answered of a row that is left out is answered without it.

use tch::{Kind, Tensor};

/// Strengths of the penalty that are worth trying, as shares of the mean eigenvalue of the features' covariance.
pub const PENALTIES: [f64; 6] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

/// A ridge regression for any penalty: in the axes of the features' covariance a penalty is a division. Features have mean 0 and
/// standard deviation 1 over what is known: `queries (X'X + penalty N I)^-1 X'Y`.
pub struct Ridge {
    mean: Tensor,
    std: Tensor,
    /// The targets' means [1, C].
    share: Tensor,
    /// What is known [N, D] and its targets less their means [N, C].
    x: Tensor,
    y: Tensor,
    /// The covariance's eigenvalues times N [D] and axes [D, D].
    spread: Tensor,
    axes: Tensor,
}

impl Ridge {
    /// On what is known, [N, D], and what is to be told of it, [N, C].
    pub fn fit(known: &Tensor, targets: &Tensor) -> Self {
        let known = known.to_kind(Kind::Double);
        let mean = known.mean_dim([0i64].as_slice(), true, Kind::Double);
        let std = known.std_dim([0i64].as_slice(), true, true).clamp_min(1e-9);
        let x = (known - &mean) / &std;
        let targets = targets.to_kind(Kind::Double);
        let share = targets.mean_dim([0i64].as_slice(), true, Kind::Double);
        let (spread, axes) = x.tr().matmul(&x).linalg_eigh("L");
        Self {
            y: targets - &share,
            spread: spread.clamp_min(0.0),
            axes,
            mean,
            std,
            share,
            x,
        }
    }

    /// That of the [`PENALTIES`] whose answers of what is left out, [N, C], are worth the most.
    pub fn best_penalty(&self, worth: impl Fn(&Tensor) -> f64) -> f64 {
        PENALTIES
            .into_iter()
            .map(|penalty| (worth(&self.left_out(penalty)), penalty))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map_or(PENALTIES[2], |(_, penalty)| penalty)
    }

    /// The weights in the axes of the covariance [D, C], and `1 / (eigenvalue + penalty N)` [D, 1].
    fn weights(&self, penalty: f64) -> (Tensor, Tensor) {
        let divisor = (&self.spread + penalty * self.x.size()[0] as f64).unsqueeze(1);
        let sums = self.axes.tr().matmul(&self.x.tr().matmul(&self.y));
        (sums / &divisor, divisor.reciprocal())
    }

    /// What would be answered of each of what is known without it [N, C]: its target, less how far the answer is from it
    /// over how little that answer is its own (Golub, Heath and Wahba 1979). The means are left out with it, the scale is not.
    pub fn left_out(&self, penalty: f64) -> Tensor {
        let (weights, inverse) = self.weights(penalty);
        let turned = self.x.matmul(&self.axes); //                                                     [N, D]
        let own = turned.square().matmul(&inverse) + 1.0 / self.x.size()[0] as f64; //                 [N, 1]
        let off = &self.y - turned.matmul(&weights);
        &self.y + &self.share - off / (own.neg() + 1.0).clamp_min(1e-9)
    }

    /// What is answered of queries, [M, D]: [M, C].
    pub fn answer(&self, queries: &Tensor, penalty: f64) -> Tensor {
        let queries = (queries.to_kind(Kind::Double) - &self.mean) / &self.std;
        queries.matmul(&self.axes).matmul(&self.weights(penalty).0) + &self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn what_is_left_out_is_answered_as_if_it_had_never_been_there() {
        tch::manual_seed(1);
        let labels = Tensor::arange(70, (Kind::Int64, Device::Cpu)).remainder(2).one_hot(2);
        let telling = labels.to_kind(Kind::Float) * 2.0 + Tensor::randn([70, 2], (Kind::Float, Device::Cpu));
        let noise = Tensor::randn([70, 60], (Kind::Float, Device::Cpu));
        let fit = Ridge::fit(&Tensor::cat(&[telling, noise], 1), &labels);
        // Left out in truth, one by one, at one penalty: the same answers.
        let one_out = |out: i64| {
            let others: Vec<i64> = (0..70).filter(|row| *row != out).collect();
            let others = Tensor::from_slice(&others);
            let (x, y) = (fit.x.index_select(0, &others), fit.y.index_select(0, &others));
            let mean = |of: &Tensor| of.mean_dim([0i64].as_slice(), true, Kind::Double);
            let (x_mean, y_mean) = (mean(&x), mean(&y));
            let (x, y) = (x - &x_mean, y - &y_mean);
            let ridge = Tensor::eye(62, (Kind::Double, Device::Cpu)) * (0.1 * 70.0);
            let weights = (x.tr().matmul(&x) + ridge).inverse().matmul(&x.tr().matmul(&y));
            (fit.x.narrow(0, out, 1) - x_mean).matmul(&weights) + y_mean + &fit.share
        };
        let expected = Tensor::cat(&(0..70).map(one_out).collect::<Vec<_>>(), 0);
        let distance = (fit.left_out(0.1) - expected).abs().max().double_value(&[]);
        assert!(distance < 1e-9, "{distance}");
    }
}
