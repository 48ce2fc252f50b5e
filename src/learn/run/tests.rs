//! Spoilt weights, which no data can bring about from outside.

use tch::Tensor;

use super::*;
use crate::clock::Timestamp;
use crate::config::{CuriosityConfig, LearningConfig, PublicationConfig};
use crate::config::{Precision, ReplayConfig};
use crate::ids::SourceHash;
use crate::model::{Architecture, Embedder};
use crate::model::{EncoderSpec, ImageSpec};
use crate::replay::NewSource;
use crate::sample::{Content, ImageTile};
use tch::Device;

fn picture(number: u8) -> NewSource {
    NewSource {
        hash: SourceHash([number; 32]),
        path: vec![number],
        bytes: 1,
        taken_at: Timestamp(0),
        samples: vec![
            Content::Image(ImageTile {
                width: 32,
                height: 32,
                rgb: vec![number; 32 * 32 * 3],
            })
            .encode(),
        ],
    }
}

/// A loop over a few pictures, stepped by hand.
fn by_hand(dir: &std::path::Path, check: impl FnOnce(Loop<fn(Candidate)>)) {
    by_hand_of(dir, &ReplayConfig::default(), check);
}

/// A loop over the same pictures in a buffer with these settings.
fn by_hand_of(dir: &std::path::Path, config: &ReplayConfig, check: impl FnOnce(Loop<fn(Candidate)>)) {
    let (replay, _) = ReplayBuffer::open(&dir.join("replay"), config, 0).unwrap();
    replay.insert((1..41).map(picture).collect()).unwrap();
    let setup = LearnSetup {
        stream: "pictures".parse().unwrap(),
        config: LearningConfig {
            batch: 8,
            precision: Precision::Fp32,
            ..Default::default()
        },
        curiosity: CuriosityConfig::default(),
        publication: PublicationConfig {
            first_candidate_steps: 4,
            ..Default::default()
        },
        sampler: SamplerKind::Uniform,
        spec: EncoderSpec::Image(ImageSpec {
            architecture: Architecture::ResnetTiny,
            image_px: 32,
        }),
        tokenizer: None,
        scales: None,
        device: Device::Cpu,
        learn_threads: 1,
        augment_threads: 1,
        disk_reserve_bytes: 0,
        checkpoints: dir.join("checkpoints"),
        published_step: 0,
    };
    let checkpoints = Checkpoints::open(&setup.checkpoints, 3).unwrap();
    let deliver: fn(Candidate) = |candidate| {
        let encoder = Embedder::open(&candidate.spec, None, &candidate.student, Device::Cpu).unwrap();
        let tile = Content::Image(ImageTile {
            width: 32,
            height: 32,
            rgb: vec![9; 32 * 32 * 3],
        });
        assert!(
            encoder.embed(&[&tile]).unwrap().iter().all(|v| v.is_finite()),
            "spoilt weights were handed over"
        );
    };
    check(
        Loop::new(
            setup,
            Arc::new(replay),
            Arc::default(),
            checkpoints,
            Arc::default(),
            deliver,
        )
        .unwrap()
        .unwrap(),
    );
}

impl<Deliver: Fn(Candidate)> Loop<Deliver> {
    fn take(&mut self, count: usize) -> Result<(), LearnError> {
        for _ in 0..count {
            assert!(self.turn()?, "there is nothing to learn");
        }
        Ok(())
    }

    fn spoil(&mut self) {
        let _no_grad = tch::no_grad_guard();
        let mut weight = self.learner.encoder.variables()["layer1.0.conv1.weight"].shallow_clone();
        let _ = weight.fill_(f64::NAN);
    }
}

fn finite(weights: &Tensor) -> bool {
    weights.isfinite().all().int64_value(&[]) == 1
}

#[test]
fn spoilt_weights_are_neither_kept_nor_published_and_the_last_good_ones_come_back_at_half_the_rate() {
    let dir = tempfile::tempdir().unwrap();
    by_hand(dir.path(), |mut this| {
        this.take(2).unwrap();
        this.checkpoint().unwrap();
        this.spoil();
        this.checkpoint().unwrap();
        assert_eq!(this.saved_step, 2);
        this.take(2).unwrap(); // the candidate of step 4 is spoilt
        this.checkpoint().unwrap();
        assert_eq!((this.saved_step, this.learner.rate_share), (2, 1.0));
        this.take(1).unwrap();
        assert_eq!(
            (
                this.learner.steps(),
                this.learner.rate_share,
                this.learner.failed_steps()
            ),
            (5, 0.5, 3)
        );
        assert!(this.learner.encoder.variables().values().all(finite));
        this.take(1).unwrap();
        assert_eq!(this.learner.failed_steps(), 3);
    });
}

#[test]
fn a_learner_that_fails_from_every_checkpoint_gives_up_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    by_hand(dir.path(), |mut this| {
        let error = (0..20).find_map(|_| {
            this.spoil();
            this.take(3).err()
        });
        let text = error.unwrap().to_string();
        assert!(text.contains("lower `learning.learning_rate`"), "{text}");
    });
}

/// The samples' ids with their visits, and whether they have a score, of what may be trained on.
fn known(this: &Loop<fn(Candidate)>) -> Vec<(u64, u32, bool)> {
    let ids = this.replay.ids_after(None, usize::MAX);
    let infos = ids.into_iter().filter_map(|id| this.replay.info(id));
    let training = infos.filter(|info| !info.exam);
    training
        .map(|info| (info.id.0, info.visits, info.score.is_some()))
        .collect()
}

#[test]
fn every_picture_that_is_drawn_is_scored_and_a_resumed_loop_learns_bit_for_bit_the_same() {
    torch::set_threads(1);
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut expected = None;
    by_hand(whole.path(), |mut this| {
        this.take(40).unwrap();
        let known = known(&this);
        assert!(
            known.iter().filter(|(_, visits, _)| *visits > 0).count() > 30,
            "{known:?}"
        );
        assert!(
            known.iter().all(|(_, visits, scored)| (*visits > 0) == *scored),
            "{known:?}"
        );
        let info = known
            .iter()
            .map(|(id, ..)| this.replay.info(crate::ids::SampleId(*id)).unwrap());
        for info in info.filter(|info| info.visits > 0) {
            let (score, judged) = (info.score.unwrap(), info.judgement.unwrap());
            assert!((0.0..=1.0).contains(&score.error) && score.step <= 40, "{info:?}");
            assert!(score.embedding.0.iter().any(|value| value.abs() > 10), "{info:?}");
            assert!(judged.cluster.is_some() && (judged.priority.get() as f32 - info.priority).abs() < 1e-5);
            assert!(
                (0.0..=1.0).contains(&judged.guard) && (0.0..=1.0).contains(&judged.rank),
                "{info:?}"
            );
        }
        this.tell(Activity::Learning);
        let state = this.shared.state.lock().clone();
        assert!(state.curiosity.scores >= 30 && state.progress.is_some(), "{state:?}");
        expected = Some((
            this.learner.weights().unwrap(),
            known.iter().map(|(id, visits, _)| (*id, *visits)).collect::<Vec<_>>(),
        ));
    });
    by_hand(cut.path(), |mut this| {
        this.take(15).unwrap();
        this.checkpoint().unwrap();
    });
    by_hand(cut.path(), |mut this| {
        assert_eq!(this.learner.steps(), 15);
        assert!(
            this.cursors.curiosity.counts().scores > 0,
            "what curiosity knew came back"
        );
        this.take(25).unwrap();
        let visits = known(&this)
            .iter()
            .map(|(id, visits, _)| (*id, *visits))
            .collect::<Vec<_>>();
        assert!(expected == Some((this.learner.weights().unwrap(), visits)));
    });
}

#[test]
fn a_step_that_failed_scores_nothing_and_its_samples_are_due_again() {
    let dir = tempfile::tempdir().unwrap();
    by_hand(dir.path(), |mut this| {
        this.spoil();
        this.take(1).unwrap();
        assert_eq!(
            (this.learner.failed_steps(), this.cursors.curiosity.counts().scores),
            (1, 0)
        );
        assert!(known(&this).iter().all(|(_, visits, scored)| *visits == 0 && !scored));
        assert_eq!(
            (this.sighted, this.cursors.sighted),
            (None, None),
            "arrivals are asked about again"
        );
    });
}

#[test]
fn a_bored_learner_looks_at_what_arrives_without_taking_a_step() {
    let dir = tempfile::tempdir().unwrap();
    // Each arrival is granted a fifth of a draw: the forty allow one batch of eight.
    let config = ReplayConfig {
        draws_per_sample: 0.2,
        draws_per_sample_min: 0.2,
        ..Default::default()
    };
    by_hand_of(dir.path(), &config, |mut this| {
        while this.turn().unwrap() {}
        assert_eq!(this.steps(), 1);
        this.replay.insert((60..77).map(picture).collect()).unwrap();
        let scores = this.cursors.curiosity.counts().scores;
        while this.turn().unwrap() {}
        assert_eq!(this.steps(), 1);
        assert!(this.cursors.curiosity.counts().scores >= scores + 16);
        // Fewer than a pass are left to wait for more.
        assert!(this.replay.sight(this.sighted, 1, 64).unwrap().len() < score::count(8));
    });
}
