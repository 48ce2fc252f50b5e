//! Is something being forgotten? The oldest pictures of the exam, which nobody trains on, are asked again and again; the
//! weight of the alignment with the teacher rises only while they are answered worse than they were.
//! Always true: what is compared is the same pictures through the same views. A picture that left is followed by another,
//! whose best answer is its first; where fewer than half are the same, all begin anew.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::pairs::unit;
use crate::ids::SampleId;

/// Pictures that are asked, the oldest of the exam. With fewer nothing is asked: they prove nothing.
pub(super) const ANCHORS: usize = 64;

/// Steps between two times that they are asked.
pub(super) const ASKED_EVERY: u64 = 100;

/// Temperature of the softmax over similarities.
const TEMPERATURE: f64 = 0.2;

/// What one finding of forgetting adds to the weight, as a share of the most.
const RISE: f64 = 0.25;

/// What the weight falls by each time that nothing is found to be forgotten, as a share of the most.
const FALL: f64 = 0.05;

/// Standard errors that the mean loss must be above the best to be called forgetting: one-sided 97.5 %.
const CERTAIN: f64 = 1.96;

/// The controller of the alignment's weight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Anchor {
    /// The pictures that were asked last.
    asked: Vec<SampleId>,
    /// Their losses when the mean was lowest.
    best: Vec<f32>,
    /// The weight as a share of the most, 0 to 1.
    share: f64,
    /// By how much the mean loss is above the best, in the loss's unit (nats); None before there is something to compare.
    forgotten: Option<f64>,
}

impl Anchor {
    /// The alignment's weight as a share of the most, 0 to 1.
    pub(super) fn share(&self) -> f64 {
        self.share
    }

    /// How much was forgotten when they were asked last: the mean loss above its best, nats; below zero: better than ever.
    pub(super) fn forgotten(&self) -> Option<f64> {
        self.forgotten
    }

    /// Takes over what the pictures were answered: a loss each, in the pictures' order.
    pub(super) fn observe(&mut self, asked: Vec<SampleId>, losses: Vec<f32>) {
        if asked.len() < ANCHORS || losses.iter().any(|loss| !loss.is_finite()) {
            return;
        }
        let best: HashMap<SampleId, f32> = self.asked.iter().copied().zip(self.best.iter().copied()).collect();
        let followed = asked.iter().zip(&losses);
        let worse: Vec<f64> = followed
            .clone()
            .filter_map(|(id, now)| Some(f64::from(now - best.get(id)?)))
            .collect();
        if worse.len() < ANCHORS / 2 {
            (self.asked, self.best, self.forgotten) = (asked, losses, None);
            return;
        }
        let count = worse.len() as f64;
        let mean = worse.iter().sum::<f64>() / count;
        let variance = worse.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (count - 1.0);
        self.forgotten = Some(mean);
        self.best = match mean <= 0.0 {
            true => losses,
            false => followed.map(|(id, now)| *best.get(id).unwrap_or(now)).collect(),
        };
        self.asked = asked;
        let is_certain = mean > CERTAIN * (variance / count).sqrt();
        self.share = (self.share + if is_certain { RISE } else { -FALL }).clamp(0.0, 1.0);
    }
}

/// How hard it is to tell each picture's two views from all the others', nats: the terms of NT-Xent, mean of both ways.
/// `features`: [2N, D], row `i` and `N + i` of one picture; returns `[N]`.
pub(super) fn losses(features: &Tensor) -> Tensor {
    let z = unit(&features.to_kind(Kind::Float)); //                                                [2N, D]
    let n = z.size()[0];
    let similarity = z.matmul(&z.tr()) / TEMPERATURE; //                                            [2N, 2N]
    let _ = similarity.diagonal(0, 0, 1).fill_(f64::NEG_INFINITY);
    let partner = Tensor::arange(n, (Kind::Int64, z.device())).roll(n / 2, 0).unsqueeze(1); //      [2N, 1]
    let terms = -similarity
        .log_softmax(1, Kind::Float)
        .gather(1, &partner, false)
        .squeeze_dim(1); // [2N]
    terms.view([2, n / 2]).mean_dim([0i64].as_slice(), false, Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Vec<SampleId> {
        (0..ANCHORS as u64).map(SampleId).collect()
    }

    /// Losses around a mean, with the same noise each time but for `time`.
    fn losses_of(mean: f32, time: usize) -> Vec<f32> {
        let noise = |number: usize| ((number * 37 + time * 101) % 64) as f32 / 64.0 - 0.5;
        (0..ANCHORS).map(|number| mean + 0.2 * noise(number)).collect()
    }

    #[test]
    fn the_weight_rises_while_they_are_answered_worse_and_falls_when_they_are_not() {
        let mut anchor = Anchor::default();
        anchor.observe(ids(), losses_of(2.0, 0));
        assert_eq!((anchor.share(), anchor.forgotten()), (0.0, None));
        (1..5).for_each(|time| anchor.observe(ids(), losses_of(2.2, time)));
        assert_eq!(anchor.share(), 1.0);
        assert!((anchor.forgotten().unwrap() - 0.2).abs() < 0.05);
        (5..30).for_each(|time| anchor.observe(ids(), losses_of(1.9, time)));
        assert_eq!(anchor.share(), 0.0);
    }

    #[test]
    fn noise_is_no_forgetting() {
        let mut anchor = Anchor::default();
        (0..50).for_each(|time| anchor.observe(ids(), losses_of(2.0, time)));
        assert!(anchor.share() < 0.3, "{anchor:?}");
    }

    #[test]
    fn other_pictures_begin_anew_and_few_prove_nothing() {
        let mut anchor = Anchor::default();
        anchor.observe(ids(), losses_of(1.0, 0));
        let others: Vec<SampleId> = (40..40 + ANCHORS as u64).map(SampleId).collect();
        anchor.observe(others, losses_of(9.0, 0));
        assert_eq!((anchor.share(), anchor.forgotten()), (0.0, None));
        anchor.observe(ids()[..8].to_vec(), vec![99.0; 8]);
        assert_eq!(anchor.forgotten(), None);
    }

    #[test]
    fn forgetting_is_seen_although_a_few_pictures_are_others_each_time() {
        let mut anchor = Anchor::default();
        let asked = |time: u64| (time * 6..time * 6 + ANCHORS as u64).map(SampleId).collect::<Vec<_>>();
        // A picture has its own part of the loss, wherever it is in the list.
        let losses = |time: u64, mean: f32| -> Vec<f32> {
            let own = |id: &SampleId| mean + 0.3 * ((id.0 * 37 % 64) as f32 / 64.0);
            asked(time).iter().map(own).collect()
        };
        (0..20).for_each(|time| anchor.observe(asked(time), losses(time, 2.0)));
        assert_eq!(anchor.share(), 0.0);
        (20..24).for_each(|time| anchor.observe(asked(time), losses(time, 2.2)));
        assert_eq!(anchor.share(), 1.0, "{anchor:?}");
        (24..60).for_each(|time| anchor.observe(asked(time), losses(time, 1.9)));
        assert_eq!(anchor.share(), 0.0, "{anchor:?}");
    }

    #[test]
    fn views_that_find_each_other_cost_nothing_and_views_that_are_alike_cost_the_logarithm_of_their_number() {
        let eye = Tensor::eye(8, (Kind::Float, tch::Device::Cpu));
        let apart = losses(&Tensor::cat(&[&eye, &eye], 0));
        assert!(apart.max().double_value(&[]) < 0.1, "{apart:?}");
        let alike = losses(&Tensor::ones([16, 8], (Kind::Float, tch::Device::Cpu)));
        assert!((alike.mean(Kind::Float).double_value(&[]) - 15f64.ln()).abs() < 1e-5);
    }
}
