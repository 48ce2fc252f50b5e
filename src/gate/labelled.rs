//! What users say of samples, as a check on what the exam says: how many labels the labelled neighbours of a sample tell.
//! Always true: a label is never more than a veto: it reaches no weight, and no choice among networks that pass.

use tch::{Kind, Tensor};

/// Labels below which they say nothing.
pub(super) const LABELS_MIN: usize = 100;

/// Labels that are looked at, at most: others are left out, always the same ones.
pub(super) const LABELS_MAX: usize = 1_000;

/// Neighbours that say what a sample is, and the temperature of their votes (Wu et al. 2018, "Unsupervised feature learning via
/// non-parametric instance discrimination", section 3.4).
const NEIGHBOURS: i64 = 10;
const TEMPERATURE: f64 = 0.07;

/// For each sample whether the class of its nearest labelled neighbours, itself left out, is its own: 0 or 1. `z`: [N, D], unit rows;
/// `classes`: N of them.
pub(super) fn told(z: &Tensor, classes: &[u32]) -> Vec<f64> {
    let n = classes.len() as i64;
    let k = NEIGHBOURS.min(n - 1);
    if k < 1 {
        return vec![0.0; classes.len()];
    }
    let device = z.device();
    let labels: Vec<i64> = classes.iter().map(|class| i64::from(*class)).collect();
    let count = labels.iter().max().map_or(1, |largest| largest + 1);
    let labels = Tensor::from_slice(&labels).to_device(device);
    let similarity = z.matmul(&z.tr());
    let _ = similarity.diagonal(0, 0, 1).fill_(f64::NEG_INFINITY);
    let (near, who) = similarity.topk(k, 1, true, true); // [N, k]
    let votes = Tensor::zeros([n, count], (Kind::Float, device)).scatter_add(
        1,
        &labels.take(&who),
        &(near / TEMPERATURE).exp().to_kind(Kind::Float),
    );
    let right = votes.argmax(1, false).eq_tensor(&labels).to_kind(Kind::Double);
    let right = right.to_device(tch::Device::Cpu);
    (0..n).map(|row| right.double_value(&[row])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn a_label_is_told_by_its_neighbours_and_never_by_itself() {
        // Two classes on two axes, and one sample among the wrong ones.
        let z = Tensor::zeros([41, 4], (Kind::Float, Device::Cpu));
        let mut classes = Vec::new();
        for row in 0..41 {
            let class = u32::from(row >= 20);
            let _ = z.get(row).get(i64::from(class)).fill_(1.0);
            classes.push(class);
        }
        classes[40] = 0;
        let told = told(&z, &classes);
        assert!(told[..40].iter().all(|right| *right == 1.0), "{told:?}");
        assert_eq!(told[40], 0.0);
    }

    #[test]
    fn one_label_tells_nothing() {
        let z = Tensor::ones([1, 2], (Kind::Float, Device::Cpu));
        assert_eq!(told(&z, &[3]), [0.0]);
    }
}
