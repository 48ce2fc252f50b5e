//! Sentences about the gate: samples in a real buffer, networks with real weights, real judgements.

use std::sync::OnceLock;

use tch::nn::{self, OptimizerConfig, VarStore};
use tch::{Kind, Tensor};

use super::*;
use crate::clock::Timestamp;
use crate::config::ReplayConfig;
use crate::ids::SourceHash;
use crate::model::{Architecture, ImageSpec, Input, PIXEL_MEAN, PIXEL_STD, TransitionSpec, initialise, weights};
use crate::replay::NewSource;
use crate::rng;
use crate::sample::{Action, Content, ImageTile, Transition};

mod through;

const PX: u32 = 32;

/// Pictures of the exam that [`crammed`] weights were made for.
pub(crate) const CRAMMED: usize = 48;

const CRAM_STEPS: usize = 30;

pub(crate) const TINY: EncoderSpec = EncoderSpec::Image(ImageSpec {
    architecture: Architecture::ResnetTiny,
    image_px: PX,
});

/// A sample of a dozen coloured discs on a coloured ground, another one for each number.
fn sample(number: u64) -> ImageTile {
    let mut rng = rng::for_step(number, 0, 99);
    let colour = |rng: &mut rng::Rng| [(); 3].map(|()| rng::below(rng, 256) as u8);
    let ground = colour(&mut rng);
    let mut rgb: Vec<u8> = ground.repeat((PX * PX) as usize);
    for _ in 0..12 {
        let [x, y] = [(); 2].map(|()| rng::unit(&mut rng) * f64::from(PX));
        let (radius, paint) = (2.0 + 5.0 * rng::unit(&mut rng), colour(&mut rng));
        for (index, pixel) in rgb.chunks_exact_mut(3).enumerate() {
            let (column, row) = (index as u32 % PX, index as u32 / PX);
            if (f64::from(column) - x).hypot(f64::from(row) - y) < radius {
                pixel.copy_from_slice(&paint);
            }
        }
    }
    ImageTile {
        width: PX as u16,
        height: PX as u16,
        rgb,
    }
}

/// A buffer with this many exam samples, and others.
pub(crate) fn buffer(exam: usize, others: usize) -> (tempfile::TempDir, Arc<ReplayBuffer>) {
    let dir = tempfile::tempdir().unwrap();
    let (replay, _) = ReplayBuffer::open(dir.path(), &ReplayConfig::default(), 0).unwrap();
    let hash = |number: &u64| SourceHash::of(&number.to_le_bytes());
    let held_out = (1_000_000..).filter(|n| hash(n).in_exam()).take(exam);
    let learnt = (2_000_000..).filter(|n| !hash(n).in_exam()).take(others);
    let sources = held_out.chain(learnt).map(|number| NewSource {
        hash: hash(&number),
        path: format!("{number}.png").into_bytes(),
        bytes: 1,
        taken_at: Timestamp(0),
        samples: vec![Content::Image(sample(number)).encode()],
    });
    replay.insert(sources.collect()).unwrap();
    (dir, Arc::new(replay))
}

/// The weights of a network whose variables were changed by hand.
fn altered(seed: u64, change: impl Fn(&str, &mut Tensor)) -> Vec<u8> {
    let _no_grad = tch::no_grad_guard();
    let variables = VarStore::new(Device::Cpu);
    let _encoder = TINY.build(&variables.root());
    initialise(&variables, seed).unwrap();
    for (name, mut variable) in variables.variables() {
        change(&name, &mut variable);
    }
    weights::export(&variables).unwrap()
}

pub(crate) fn random(seed: u64) -> Vec<u8> {
    altered(seed, |_, _| {})
}

/// Every sample gets the same vector.
fn collapsed() -> Vec<u8> {
    altered(1, |name, variable| {
        if variable.dim() == 4 {
            _ = variable.zero_();
        } else if name.ends_with("bias") {
            _ = variable.fill_(1.0);
        }
    })
}

fn not_a_number() -> Vec<u8> {
    altered(1, |_, variable| {
        if variable.dim() == 4 {
            _ = variable.fill_(f64::NAN);
        }
    })
}

/// Weights that were crammed for the exam of [`buffer`]`(CRAMMED, _)`, by SimCLR on the exam's own views, and those of the
/// first third of the way. The quickest way to models that the exam must prefer, in this order, to a random encoder.
pub(crate) fn crammed() -> &'static [Vec<u8>; 2] {
    static CRAMMED_WEIGHTS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    CRAMMED_WEIGHTS.get_or_init(|| {
        let (_dir, replay) = buffer(CRAMMED, 0);
        let exam = Exam::collect(&replay, CRAMMED, ExamTask::Views);
        let shown = exam::read(&replay, &exam.samples, |sample, content| {
            views::views(sample.source, &content, &TINY)
        })
        .unwrap();
        let view = |index: usize| {
            let pixels: Vec<u8> = shown
                .iter()
                .flat_map(|(_, views)| match &views[index] {
                    Content::Image(tile) => tile.rgb.clone(),
                    other => panic!("{other:?} is no picture"),
                })
                .collect();
            let px = i64::from(PX);
            let images = Tensor::from_slice(&pixels)
                .reshape([-1, px, px, 3])
                .permute([0, 3, 1, 2]);
            let channels = |values: [f32; 3]| Tensor::from_slice(&values).reshape([1, 3, 1, 1]);
            (images.to_kind(Kind::Float) / 255.0 - channels(PIXEL_MEAN)) / channels(PIXEL_STD)
        };
        let views: Vec<Tensor> = (0..exam::VIEWS).map(view).collect();

        let variables = VarStore::new(Device::Cpu);
        let encoder = TINY.build(&variables.root());
        initialise(&variables, 0).unwrap();
        let mut optimiser = nn::Adam::default().build(&variables, 1e-3).unwrap();
        let n = CRAMMED as i64;
        let itself = Tensor::eye(2 * n, (Kind::Bool, Device::Cpu));
        let partner = Tensor::arange(2 * n, (Kind::Int64, Device::Cpu)).roll(n, 0);
        let mut weights = (0..CRAM_STEPS).map(|step| {
            let pair = step % PAIRS;
            let z = encoder
                .forward(&Input::Images(Tensor::cat(&views[2 * pair..2 * pair + 2], 0)))
                .unwrap();
            let z = &z / z.norm_scalaropt_dim(2.0, [1], true);
            let logits = (z.matmul(&z.tr()) / 0.2).masked_fill(&itself, f64::NEG_INFINITY);
            optimiser.backward_step(&logits.cross_entropy_for_logits(&partner));
            weights::export(&variables).unwrap()
        });
        let early = weights.nth(CRAM_STEPS / 3).unwrap();
        [early, weights.last().unwrap()]
    })
}

fn gate(replay: &Arc<ReplayBuffer>) -> Gate {
    Gate::new(
        PublicationConfig::default(),
        Device::Cpu,
        Arc::clone(replay),
        Arc::default(),
    )
}

fn candidate(step: u64, student: &[u8], teacher: &[u8]) -> Submission {
    Submission {
        step,
        encoder: TINY,
        tokenizer: None,
        student: student.to_vec(),
        teacher: teacher.to_vec(),
        decoders: None,
    }
}

fn incumbent(generation: u64, weights: &[u8]) -> Incumbent {
    Incumbent {
        generation: Generation(generation),
        step: 100,
        encoder: TINY,
        tokenizer: None,
        weights: weights.to_vec(),
        decoder: None,
    }
}

fn refusal(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Rejected(rejected) => rejected.reason(),
        Verdict::Accepted(accepted) => panic!("accepted: {}", accepted.reason()),
    }
}

fn acceptance(verdict: &Verdict) -> &Accepted {
    match verdict {
        Verdict::Accepted(accepted) => accepted,
        Verdict::Rejected(rejected) => panic!("rejected: {}", rejected.reason()),
    }
}

#[test]
fn a_collapsed_encoder_is_rejected() {
    let (_dir, replay) = buffer(64, 0);
    let verdict = gate(&replay)
        .judge(
            &candidate(50, &collapsed(), &collapsed()),
            None,
            None,
            &Hearing::default(),
        )
        .unwrap();
    assert!(
        refusal(&verdict).contains("student: it has collapsed"),
        "{}",
        refusal(&verdict)
    );
    assert_eq!(verdict.report().student.retrieval, Some(0.0));
}

#[test]
fn a_candidate_that_is_not_a_number_is_rejected() {
    let (_dir, replay) = buffer(64, 0);
    let verdict = gate(&replay)
        .judge(
            &candidate(50, &not_a_number(), &not_a_number()),
            None,
            None,
            &Hearing::default(),
        )
        .unwrap();
    assert!(refusal(&verdict).contains("not finite"), "{}", refusal(&verdict));
    // The report is still valid JSON, and reads back as it was.
    let text = serde_json::to_string(verdict.report()).unwrap();
    assert_eq!(
        serde_json::from_str::<Report>(&text).unwrap().student,
        verdict.report().student
    );
}

#[test]
fn a_first_model_is_accepted_with_the_network_that_is_sane() {
    let (_dir, replay) = buffer(64, 0);
    let verdict = gate(&replay)
        .judge(
            &candidate(50, &not_a_number(), &random(3)),
            None,
            None,
            &Hearing::default(),
        )
        .unwrap();
    let accepted = acceptance(&verdict);
    assert_eq!(accepted.network(), Network::Teacher);
    assert_eq!(accepted.weights_hash(), blake3::hash(&random(3)).to_hex().as_str());
}

#[test]
fn a_better_one_is_accepted_and_a_random_encoder_does_not_replace_a_trained_one() {
    let (_dir, replay) = buffer(CRAMMED, 0);
    let [early, late] = crammed();
    let mut gate = gate(&replay);
    let verdict = gate
        .judge(
            &candidate(200, late, early),
            Some(&incumbent(1, &random(3))),
            None,
            &Hearing::default(),
        )
        .unwrap();
    let accepted = acceptance(&verdict);
    assert_eq!(accepted.network(), Network::Student);
    assert!(accepted.is_best());
    let baselines = verdict.report().baselines;
    let learnt = verdict.report().student.retrieval;
    assert!(learnt > baselines.random_encoder.retrieval && learnt > baselines.raw_retrieval);

    let published = incumbent(2, late);
    let verdict = gate
        .judge(
            &candidate(300, &random(4), &random(5)),
            Some(&published),
            Some(&published),
            &Hearing::default(),
        )
        .unwrap();
    assert!(
        refusal(&verdict).contains("not proven as good as generation 2"),
        "{}",
        refusal(&verdict)
    );
    // What was remembered of the first judgement gives the same numbers again.
    assert_eq!(verdict.report().baselines, baselines);
    assert_eq!(
        verdict.report().published.as_ref().and_then(|p| p.measured.retrieval),
        learnt
    );
}

#[test]
fn a_model_worse_than_the_best_does_not_pass_by_beating_the_published_one() {
    let (_dir, replay) = buffer(CRAMMED, 0);
    let [early, late] = crammed();
    let (published, best) = (incumbent(2, &random(3)), incumbent(1, late));
    let verdict = gate(&replay)
        .judge(
            &candidate(300, early, early),
            Some(&published),
            Some(&best),
            &Hearing::default(),
        )
        .unwrap();
    assert!(
        refusal(&verdict).contains("the best so far, generation 1"),
        "{}",
        refusal(&verdict)
    );
}

#[test]
fn the_published_model_is_not_published_again() {
    let (_dir, replay) = buffer(64, 0);
    let weights = random(3);
    let verdict = gate(&replay)
        .judge(
            &candidate(200, &weights, &weights),
            Some(&incumbent(1, &weights)),
            None,
            &Hearing::default(),
        )
        .unwrap();
    assert!(refusal(&verdict).contains("byte for byte"), "{}", refusal(&verdict));
    let comparison = verdict.report().published.as_ref().unwrap();
    assert_eq!(comparison.student.map(|d| d.mean), Some(0.0));
    assert_eq!(comparison.student_neighbours_kept, Some(1.0));
}

#[test]
fn a_small_exam_says_so_and_lets_through_only_doubled_steps() {
    let (_dir, replay) = buffer(5, 60);
    let published = incumbent(1, &random(3));
    let mut gate = gate(&replay);
    let mut judge = |step| {
        gate.judge(
            &candidate(step, &random(4), &random(4)),
            Some(&published),
            None,
            &Hearing::default(),
        )
        .unwrap()
    };
    let early = judge(199);
    assert!(
        refusal(&early).contains("exam too small: 5 samples"),
        "{}",
        refusal(&early)
    );
    let doubled = judge(200);
    assert!(acceptance(&doubled).reason().contains("exam too small: 5 samples"));
    let exam = &doubled.report().exam;
    assert_eq!((exam.samples, exam.clean_samples), (5, CANARIES));
}

#[test]
fn an_empty_buffer_lets_nothing_through() {
    let (_dir, replay) = buffer(0, 0);
    let verdict = gate(&replay)
        .judge(&candidate(50, &random(3), &random(3)), None, None, &Hearing::default())
        .unwrap();
    assert!(refusal(&verdict).contains("no samples"), "{}", refusal(&verdict));
}

#[test]
fn the_same_exam_gives_the_same_numbers_whoever_sat_it_before() {
    let (_dir, replay) = buffer(40, 30);
    let first = gate(&replay)
        .judge(&candidate(50, &random(3), &random(4)), None, None, &Hearing::default())
        .unwrap();
    let mut other = gate(&replay);
    other
        .judge(
            &candidate(50, &random(8), &random(9)),
            Some(&incumbent(1, &random(3))),
            None,
            &Hearing::default(),
        )
        .unwrap();
    let second = other
        .judge(&candidate(50, &random(3), &random(4)), None, None, &Hearing::default())
        .unwrap();
    assert_eq!(first.report(), second.report());
}

#[test]
fn an_exam_is_broken_off_when_the_daemon_stops() {
    let (_dir, replay) = buffer(64, 0);
    let stop = Arc::new(AtomicBool::new(true));
    let mut gate = Gate::new(PublicationConfig::default(), Device::Cpu, replay, stop);
    let error = gate
        .judge(&candidate(50, &random(3), &random(3)), None, None, &Hearing::default())
        .unwrap_err();
    assert!(matches!(error, GateError::Stopped));
}

#[test]
fn weights_of_another_network_are_an_error_and_no_verdict() {
    let (_dir, replay) = buffer(8, 0);
    assert!(
        gate(&replay)
            .judge(&candidate(50, b"rubbish", &random(3)), None, None, &Hearing::default())
            .is_err()
    );
}

#[test]
fn a_report_says_what_each_part_of_the_exam_says() {
    let (_dir, replay) = buffer(80, 40);
    let [early, late] = crammed();
    let verdict = gate(&replay)
        .judge(
            &candidate(1_000, early, early),
            Some(&incumbent(2, late)),
            None,
            &Hearing {
                trial: 3,
                share: 0.5,
                labelled: replay
                    .ids_after(None, 120)
                    .into_iter()
                    .map(|id| (id, (id.0 % 3) as u32))
                    .collect(),
            },
        )
        .unwrap();
    let report = verdict.report();
    assert_eq!((report.exam.trial, report.exam.share), (3, 0.5));
    let slices = &report.published.as_ref().unwrap().student_slices;
    assert_eq!(
        slices.keys().copied().collect::<Vec<_>>(),
        [Slice::Anchor, Slice::Recent, Slice::Rare, Slice::Corrupted]
    );
    for (slice, difference) in slices {
        assert!(
            difference.lower_bound < difference.mean && difference.mean < difference.upper_bound,
            "{slice}: {difference:?}"
        );
    }
    let labels = report.published.as_ref().unwrap().student_labels.unwrap();
    assert!(labels.lower_bound < labels.mean && labels.mean < labels.upper_bound);
    let spoilt = report.student.corrupted.unwrap();
    assert!(spoilt > 0.0 && spoilt < 1.0, "{spoilt}");
}

#[test]
fn an_exam_of_transitions_asks_what_was_done() {
    let dir = tempfile::tempdir().unwrap();
    let (replay, _) = ReplayBuffer::open(dir.path(), &ReplayConfig::default(), 0).unwrap();
    let hash = |number: &u64| SourceHash::of(&number.to_le_bytes());
    let numbers = (1_000_000..).filter(|number| hash(number).in_exam()).take(60);
    let sources = numbers.enumerate().map(|(at, number)| {
        let mut rng = rng::for_step(number, 0, 1);
        let state: Vec<f32> = (0..3).map(|_| rng::unit(&mut rng) as f32).collect();
        let choice = at as u32 % 2;
        let next_state = vec![state[0] + choice as f32 - 0.5, state[1], state[2]];
        let transition = Transition {
            episode: 0,
            t: 0,
            state,
            action: Action::Discrete(choice),
            next_state,
        };
        NewSource {
            hash: hash(&number),
            path: format!("{number}.jsonl").into_bytes(),
            bytes: 1,
            taken_at: Timestamp(0),
            samples: vec![Content::Transition(transition).encode()],
        }
    });
    replay.insert(sources.collect()).unwrap();
    let encoder = EncoderSpec::Transition(TransitionSpec {
        state_dims: 3,
        actions: 2,
        width: 16,
        features: 8,
    });
    let weights = |seed: u64| {
        let variables = VarStore::new(Device::Cpu);
        let _network = encoder.build(&variables.root());
        initialise(&variables, seed).unwrap();
        weights::export(&variables).unwrap()
    };
    let candidate = Submission {
        step: 10,
        encoder,
        tokenizer: None,
        student: weights(1),
        teacher: weights(2),
        decoders: None,
    };
    let mut gate = Gate::new(
        PublicationConfig::default(),
        Device::Cpu,
        Arc::new(replay),
        Arc::default(),
    );
    let verdict = gate.judge(&candidate, None, None, &Hearing::default()).unwrap();
    let report = verdict.report();
    assert_eq!(
        (report.exam.task, report.exam.samples, report.exam.pairs),
        (ExamTask::Actions, 60, 0)
    );
    assert!(
        verdict.reason().contains("it tells the action of"),
        "{}",
        verdict.reason()
    );
    // Also a random network of states keeps what was done.
    assert!(report.student.retrieval > Some(0.8), "{report:?}");
}
