//! How many directions embeddings use: what falls when a network collapses, before anything else shows it.

use tch::{Kind, Tensor};

/// Effective rank: the exponential of the entropy of the singular values (RankMe, Garrido et al. 2023, equation 3, without
/// its epsilon, which only guards the logarithm). `z`: [N, D]. Between 1 and min(N, D).
pub fn effective_rank(z: &Tensor) -> f64 {
    let z = z.to_kind(Kind::Double);
    let gram = if z.size()[0] < z.size()[1] {
        z.matmul(&z.tr())
    } else {
        z.tr().matmul(&z)
    };
    let singular = gram.linalg_eigvalsh("L").clamp_min(0.0).sqrt(); // [min(N, D)]
    let share = &singular / singular.sum(Kind::Double);
    let entropy = -share.xlogy(&share).sum(Kind::Double);
    entropy.exp().double_value(&[])
}

/// Mean over dimensions of the standard deviation over pictures, times the root of D: 0 for a constant network, 1
/// for unit vectors that point everywhere. `z`: [N, D].
pub fn spread(z: &Tensor) -> f64 {
    let dim = z.size()[1] as f64;
    let std = z.to_kind(Kind::Double).std_dim(0, false, false); // [D]
    std.mean(Kind::Double).double_value(&[]) * dim.sqrt()
}
