//! What objectives on two views of each picture share: unit vectors, and how far the views of a picture lie apart.

use tch::{Kind, Tensor};

/// Below this length a vector is taken for zero, not divided by.
const LENGTH_MIN: f64 = 1e-12;

/// Mean squared distance of a picture's two view embeddings from their mean: for unit vectors a quarter of the squared
/// distance between them, 0 (alike) to 1 (opposite). `z`: [2B, D], unit rows; returns `[B]`.
pub(super) fn deviation(z: &Tensor) -> Tensor {
    let pairs = z.chunk(2, 0); // 2 of [B, D]
    (&pairs[0] - &pairs[1])
        .square()
        .sum_dim_intlist([1i64].as_slice(), false, Kind::Float)
        / 4.0
}

/// Rows scaled to unit length.
pub(super) fn unit(z: &Tensor) -> Tensor {
    let lengths = z.norm_scalaropt_dim(2, [1i64].as_slice(), true).clamp_min(LENGTH_MIN);
    z / lengths
}

/// The mean of both views' values: [2B] to `[B]`.
pub(super) fn of_pictures(values: &Tensor) -> Tensor {
    let halves = values.chunk(2, 0);
    (&halves[0] + &halves[1]) / 2.0
}

/// The mean of the views' values, each counted as much as its picture. `values`: [2B]; `weights`: `[B]`; returns [].
pub(super) fn weighted_mean(values: &Tensor, weights: &Tensor) -> Tensor {
    (of_pictures(values) * weights).sum(Kind::Float) / weights.sum(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_zero_for_equal_views_and_one_for_opposite_ones() {
        let z = unit(&Tensor::from_slice(&[1f32, 0., 0.6, 0.8, 1., 0., -0.6, -0.8]).view([4, 2]));
        let errors = Vec::<f32>::try_from(deviation(&z)).unwrap();
        assert!(errors[0].abs() < 1e-6 && (errors[1] - 1.0).abs() < 1e-6, "{errors:?}");
    }

    #[test]
    fn a_picture_of_weight_three_counts_three_times() {
        let values = Tensor::from_slice(&[1f32, 5., 3., 5.]); // pictures of 2 and 5
        let mean = weighted_mean(&values, &Tensor::from_slice(&[3f32, 1.])).double_value(&[]);
        assert!((mean - 11.0 / 4.0).abs() < 1e-6, "{mean}");
    }
}
