//! What can be read off embeddings without a label: view retrieval, effective rank, spread, neighbours.
//! Always true: rows are unit vectors, one per sample, in one order; a tie is never counted as a success, so that a
//! constant network retrieves nothing.

use tch::{Kind, Tensor};

/// Neighbours compared between two networks.
pub(super) const NEIGHBOURS: i64 = 10;

/// Rows compared at once, so that memory stays at `CHUNK * n` numbers.
const CHUNK: i64 = 256;

/// For each sample, the share of its two views that find each other first: view `a` among all `b`, and `b` among all
/// `a`. `a`, `b`: [N, D], unit rows. Returns N numbers of 0, 0.5 or 1.
pub(super) fn view_retrieval(a: &Tensor, b: &Tensor) -> Vec<f64> {
    let there = found(a, b);
    let back = found(b, a);
    there
        .iter()
        .zip(back)
        .map(|(there, back)| (there + back) / 2.0)
        .collect()
}

/// For each query whether its own row of the gallery is nearer than every other row: 0 or 1. `queries`, `gallery`: [N, D], unit rows.
pub(super) fn found(queries: &Tensor, gallery: &Tensor) -> Vec<f64> {
    let n = queries.size()[0];
    (0..n)
        .step_by(CHUNK as usize)
        .flat_map(|start| first_hits(queries, gallery, start, CHUNK.min(n - start)))
        .collect()
}

/// For each sample the mean similarity to its [`NEIGHBOURS`] nearest: low for what is rare. `z`: [N, D], unit rows. 0 for fewer than
/// 2 samples.
pub(super) fn likeness(z: &Tensor) -> Vec<f64> {
    let n = z.size()[0];
    let k = NEIGHBOURS.min(n - 1);
    if k < 1 {
        return vec![0.0; n as usize];
    }
    let similarity = z.matmul(&z.tr());
    let _ = similarity.diagonal(0, 0, 1).fill_(f64::NEG_INFINITY);
    let nearest = similarity.topk(k, 1, true, false).0; // [N, k]
    numbers(&nearest.mean_dim(1, false, Kind::Double))
}

/// 1 for each query of `start .. start + count` whose own row of the gallery is nearer than every other row.
fn first_hits(queries: &Tensor, gallery: &Tensor, start: i64, count: i64) -> Vec<f64> {
    let own_columns = Tensor::arange_start(start, start + count, (Kind::Int64, queries.device())).unsqueeze(1);
    let similarity = queries.narrow(0, start, count).matmul(&gallery.tr()); // [C, N]
    let own = similarity.gather(1, &own_columns, false); // [C, 1]
    let others = similarity
        .scatter_value(1, &own_columns, f64::NEG_INFINITY)
        .amax([1], true); // [C, 1]
    numbers(&own.gt_tensor(&others).squeeze_dim(1))
}

/// Mean share of each sample's nearest in `z` that are among its nearest in `other`: 1 when the neighbourhoods agree.
/// `z`, `other`: [N, D], [N, E] of the same samples. None for fewer than 2 samples.
pub(super) fn neighbours_kept(z: &Tensor, other: &Tensor) -> Option<f64> {
    let n = z.size()[0];
    let k = NEIGHBOURS.min(n - 1);
    if k < 1 {
        return None;
    }
    let nearest = |z: &Tensor| {
        let similarity = z.matmul(&z.tr());
        let _ = similarity.diagonal(0, 0, 1).fill_(f64::NEG_INFINITY);
        similarity.topk(k, 1, true, false).1 // [N, k]
    };
    let (ours, theirs) = (nearest(z).unsqueeze(2), nearest(other).unsqueeze(1)); // [N, k, 1], [N, 1, k]
    let shared = ours.eq_tensor(&theirs).to_kind(Kind::Double).sum(Kind::Double);
    Some(shared.double_value(&[]) / (n * k) as f64)
}

/// The numbers of a tensor of one dimension.
fn numbers(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_kind(Kind::Double).to_device(tch::Device::Cpu);
    (0..tensor.size()[0]).map(|i| tensor.double_value(&[i])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{effective_rank, spread};

    /// Unit rows that point everywhere, of a fixed seed (the sum of 12 uniform numbers is nearly normal).
    fn scattered(n: i64, d: i64, seed: u64) -> Tensor {
        let mut rng = crate::rng::for_step(seed, 0, 0);
        let mut normal = || (0..12).map(|_| crate::rng::unit(&mut rng)).sum::<f64>() - 6.0;
        let numbers: Vec<f64> = (0..n * d).map(|_| normal()).collect();
        unit(&Tensor::from_slice(&numbers).reshape([n, d]).to_kind(Kind::Float))
    }

    fn unit(z: &Tensor) -> Tensor {
        z / z.norm_scalaropt_dim(2.0, [1], true)
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn equal_views_are_always_found_and_unrelated_ones_at_chance() {
        let (a, b) = (scattered(300, 16, 1), scattered(300, 16, 2));
        assert_eq!(mean(&view_retrieval(&a, &a)), 1.0);
        assert!(mean(&view_retrieval(&a, &b)) < 0.03);
    }

    #[test]
    fn a_constant_network_retrieves_nothing_and_has_rank_one_and_no_spread() {
        let z = unit(&Tensor::ones([40, 8], (Kind::Float, tch::Device::Cpu)));
        assert_eq!(mean(&view_retrieval(&z, &z)), 0.0);
        assert!((effective_rank(&z) - 1.0).abs() < 1e-3);
        assert!(spread(&z) < 1e-6);
    }

    #[test]
    fn retrieval_does_not_depend_on_where_the_chunks_fall() {
        let a = scattered(CHUNK + 7, 8, 3);
        let b = unit(&(&a + 0.3 * scattered(CHUNK + 7, 8, 4)));
        let whole = view_retrieval(&a, &b);
        // Each sample by hand: is its own similarity the largest of its row and of its column?
        let similarity = a.matmul(&b.tr());
        for (i, score) in whole.iter().enumerate() {
            let i = i as i64;
            let first = |s: &Tensor| s.argmax(0, false).int64_value(&[]) == i;
            let expected =
                f64::from(u8::from(first(&similarity.get(i)))) + f64::from(u8::from(first(&similarity.tr().get(i))));
            assert_eq!(*score, expected / 2.0, "sample {i}");
        }
    }

    #[test]
    fn scattered_vectors_have_nearly_full_rank_and_spread() {
        let z = scattered(400, 16, 5);
        assert!(effective_rank(&z) > 15.0);
        assert!((spread(&z) - 1.0).abs() < 0.05);
        let plane = scattered(400, 2, 6).matmul(&scattered(2, 16, 7));
        assert!(effective_rank(&plane) < 2.01);
    }

    #[test]
    fn a_rotation_keeps_every_neighbour_and_another_network_keeps_few() {
        let z = scattered(200, 8, 8);
        let (rotation, _) = Tensor::linalg_qr(&scattered(8, 8, 10), "reduced");
        assert!(neighbours_kept(&z, &z.matmul(&rotation)) > Some(0.99));
        assert!(neighbours_kept(&z, &scattered(200, 8, 9)) < Some(0.15));
        assert_eq!(neighbours_kept(&scattered(1, 8, 1), &scattered(1, 8, 2)), None);
    }
}
