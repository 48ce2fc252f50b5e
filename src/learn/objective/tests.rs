//! Every objective against what all of them promise: the loss falls, errors are comparable, a checkpoint resumes bit for
//! bit, and what is published beside the encoder is what was learnt.

use std::path::Path;

use tch::Device;

use super::*;
use crate::config::Precision;
use crate::ids::SampleId;
use crate::learn::augment::{Recipe, Renderer, view_rng};
use crate::learn::checkpoint::{Checkpoints, Cursors};
use crate::learn::{Batch, Learner, LearnerSetup, Pixels, Shown, StepReport};
use crate::model::{Architecture, Embedder, Hole, ImageSpec, effective_rank, weights};
use crate::sample::{Content, ImageTile};
use crate::torch;

const PX: u32 = 32;
const BATCH: usize = 6;

/// Every objective with an encoder that it works on; the last is the adversarial one.
const ALL: [(ObjectiveKind, Architecture, bool); 7] = [
    (ObjectiveKind::Simclr, Architecture::ResnetTiny, false),
    (ObjectiveKind::Simclr, Architecture::VitTiny, false),
    (ObjectiveKind::Vicreg, Architecture::ResnetTiny, false),
    (ObjectiveKind::Mae, Architecture::VitTiny, false),
    (ObjectiveKind::Inpaint, Architecture::VitTiny, false),
    (ObjectiveKind::Inpaint, Architecture::ResnetTiny, false),
    (ObjectiveKind::Inpaint, Architecture::ResnetTiny, true),
];

fn setup((objective, architecture, inpaint_adversarial): (ObjectiveKind, Architecture, bool)) -> LearnerSetup {
    LearnerSetup {
        config: LearningConfig {
            objective,
            inpaint_adversarial,
            batch: BATCH,
            warmup_steps: 1,
            learning_rate: 5e-3,
            precision: Precision::Fp32,
            ..LearningConfig::default()
        },
        spec: EncoderSpec::Image(ImageSpec {
            architecture,
            image_px: PX,
        }),
        tokenizer: None,
        batch: BATCH,
        device: Device::Cpu,
    }
}

/// Smooth waves of colour that are a function of the number: something to be learnt, unlike noise.
fn picture(number: u64) -> ImageTile {
    let wave = |x: u32, y: u32, channel: u64| {
        let phase = f64::from(x) * (0.1 + 0.03 * number as f64) + f64::from(y) * 0.07 * (1 + channel) as f64;
        (127.5 * (1.0 + (phase + number as f64).sin())) as u8
    };
    let pixels = (0..PX * PX).flat_map(|at| (0..3).map(move |channel| (at % PX, at / PX, channel)));
    ImageTile {
        width: PX as u16,
        height: PX as u16,
        rgb: pixels.map(|(x, y, channel)| wave(x, y, channel)).collect(),
    }
}

/// The views that the objective asks for.
fn recipe(objective: ObjectiveKind) -> Recipe {
    match objective {
        ObjectiveKind::Inpaint | ObjectiveKind::Mae => Recipe::crop_and_mirror(PX),
        _ => Recipe::for_px(PX),
    }
}

/// Rendered views.
fn shown(values: Vec<f32>) -> Shown {
    Shown::Pictures {
        views: values.len() / (PX * PX * 3) as usize,
        px: PX,
        pixels: Pixels::with_home(values, drop),
    }
}

/// The batch of a step: the same few pictures, seen by the objective's own views.
fn batch(setup: &LearnerSetup, step: u64) -> Batch {
    let recipe = recipe(setup.config.objective);
    let numbers = (PX * PX * 3) as usize;
    let mut values = vec![0.0; 2 * BATCH * numbers];
    for (row, out) in values.chunks_exact_mut(numbers).enumerate() {
        let (view, position) = (row / BATCH, row % BATCH);
        let mut rng = view_rng(setup.config.seed, step, position, view);
        Renderer::new(PX).render(&recipe.draw(PX, PX, &mut rng), &picture(position as u64), out);
    }
    Batch {
        step,
        ids: (0..BATCH as u64).map(SampleId).collect(),
        weights: vec![1.0; BATCH],
        replayed: vec![1.0; BATCH],
        shown: shown(values),
        to_score: Vec::new(),
    }
}

fn steps(learner: &mut Learner, until: u64) -> Vec<StepReport> {
    let setup = learner.setup.clone();
    (learner.steps()..until)
        .map(|step| learner.step(batch(&setup, step), 0.0).unwrap())
        .collect()
}

/// Everything of a learner that a checkpoint holds, by the hash of each file.
fn state(learner: &Learner) -> Vec<(String, String)> {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), learner);
    let folder = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap())
        .map(|file| {
            let hash = blake3::hash(&std::fs::read(file.path()).unwrap()).to_string();
            (file.file_name().into_string().unwrap(), hash)
        })
        .collect();
    files.sort();
    files
}

fn save(dir: &Path, learner: &Learner) {
    let checkpoints = Checkpoints::open(dir, 1).unwrap();
    checkpoints.save(learner, &Cursors::default()).unwrap();
}

fn resume(dir: &Path, setup: &LearnerSetup) -> Learner {
    Checkpoints::open(dir, 1).unwrap().restore(setup).unwrap().0
}

#[test]
fn thirty_steps_on_a_handful_of_pictures_lower_the_loss_of_every_objective() {
    for what in ALL {
        let mut learner = Learner::new(setup(what)).unwrap();
        // The same views and the same holes each time: what falls is the loss, not the luck of a draw.
        let setup = learner.setup.clone();
        let reports: Vec<_> = (0..30).map(|_| learner.step(batch(&setup, 0), 0.0).unwrap()).collect();
        let mean =
            |reports: &[StepReport]| reports.iter().map(|report| report.loss).sum::<f64>() / reports.len() as f64;
        let (first, last) = (mean(&reports[..5]), mean(&reports[25..]));
        assert!(last < 0.95 * first, "{what:?}: {first} became {last}");
        for evidence in reports.iter().flat_map(|report| &report.evidence) {
            assert!((0.0..=1.0).contains(&evidence.error), "{what:?}: {evidence:?}");
        }
        assert!(
            reports[0]
                .health
                .is_some_and(|health| health.rank >= 1.0 && health.spread > 0.0)
        );
    }
}

#[test]
fn a_checkpoint_of_every_objective_resumes_bit_for_bit() {
    torch::set_threads(1);
    for what in ALL {
        let dir = tempfile::tempdir().unwrap();
        let mut learner = Learner::new(setup(what)).unwrap();
        steps(&mut learner, 2);
        save(dir.path(), &learner);
        let expected = steps(&mut learner, 4);
        let mut resumed = resume(dir.path(), &setup(what));
        assert_eq!(resumed.steps(), 2, "{what:?}");
        assert_eq!(steps(&mut resumed, 4), expected, "{what:?}");
        assert_eq!(state(&resumed), state(&learner), "{what:?}");
    }
}

#[test]
fn a_step_in_bfloat16_is_near_the_one_in_float32() {
    for what in ALL {
        let loss = |precision| {
            let mut setup = setup(what);
            setup.config.precision = precision;
            steps(&mut Learner::new(setup).unwrap(), 1)[0].loss
        };
        let (exact, coarse) = (loss(Precision::Fp32), loss(Precision::Bf16));
        assert!((coarse / exact - 1.0).abs() < 0.05, "{what:?}: {exact} and {coarse}");
    }
}

#[test]
fn the_adversary_joins_and_leaves_a_network_that_learnt_without_it() {
    let (with, without) = (ALL[6], ALL[5]);
    let dir = tempfile::tempdir().unwrap();
    let mut learner = Learner::new(setup(without)).unwrap();
    steps(&mut learner, 2);
    save(dir.path(), &learner);
    let mut joined = resume(dir.path(), &setup(with));
    assert_eq!(
        (joined.steps(), joined.weights().unwrap()),
        (2, learner.weights().unwrap())
    );
    let critic = |learner: &Learner| weights::export(&learner.critic.as_ref().unwrap().variables).unwrap();
    let untrained = critic(&joined);
    assert!(steps(&mut joined, 3)[0].loss.is_finite());
    assert_ne!(critic(&joined), untrained, "the adversary learns");
    save(dir.path(), &joined);
    let left = resume(dir.path(), &setup(without));
    assert_eq!((left.steps(), left.weights().unwrap()), (3, joined.weights().unwrap()));
}

#[test]
fn a_failed_step_leaves_the_adversary_as_it_was_too() {
    let mut learner = Learner::new(setup(ALL[6])).unwrap();
    steps(&mut learner, 1);
    let facts = |learner: &Learner| {
        let files = state(learner).into_iter().filter(|(name, _)| name != "learner.json");
        files.collect::<Vec<_>>()
    };
    let before = facts(&learner);
    let mut poison = batch(&learner.setup, 1);
    poison.shown = shown(vec![f32::NAN; 2 * BATCH * (PX * PX * 3) as usize]);
    assert!(learner.step(poison, 0.0).unwrap().loss.is_nan());
    assert_eq!(facts(&learner), before);
}

#[test]
fn a_network_that_inpaints_hands_over_decoders_that_fill_the_hole_and_nothing_else() {
    let mut learner = Learner::new(setup(ALL[5])).unwrap();
    steps(&mut learner, 60);
    let (student, _) = learner.weights().unwrap();
    let decoders = learner.decoders().unwrap().unwrap();
    assert_ne!(decoders.student, decoders.teacher);
    let spec = learner.setup.spec;
    let open = || Embedder::open(&spec, None, &student, Device::Cpu).unwrap();
    let (tile, hole) = (picture(2), Hole::central(PX));
    assert_eq!(open().fill(&tile, hole).unwrap(), None);
    let filled = open().with_decoder(&decoders.student).unwrap();
    let filled = filled.fill(&tile, hole).unwrap().unwrap();
    let mut mask = vec![0.0; (PX * PX) as usize];
    hole.mark(&mut mask, PX);
    let apart = |hidden: bool, other: &dyn Fn(usize) -> f64| {
        let at = (0..tile.rgb.len()).filter(|at| (mask[at / 3] > 0.0) == hidden);
        let squares = at.map(|at| (f64::from(tile.rgb[at]) - other(at)).powi(2));
        squares.sum::<f64>()
    };
    assert_eq!(apart(false, &|at| f64::from(filled.rgb[at])), 0.0);
    let (painted, grey) = (apart(true, &|at| f64::from(filled.rgb[at])), apart(true, &|_| 127.5));
    assert!(painted < grey, "{painted} of {grey}");
}

#[test]
fn objectives_without_a_decoder_hand_none_over_and_mae_wants_a_vit() {
    assert!(Learner::new(setup(ALL[0])).unwrap().decoders().unwrap().is_none());
    let refused = Learner::new(setup((ObjectiveKind::Mae, Architecture::ResnetTiny, false)));
    assert!(matches!(refused, Err(LearnError::NeedsVit)));
}

#[test]
fn a_stream_without_a_checkpoint_continues_from_a_folder_and_one_with_a_checkpoint_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = setup(ALL[1]);
    let source = Learner::new(LearnerSetup {
        config: LearningConfig {
            seed: 9,
            ..setup.config.clone()
        },
        ..setup.clone()
    });
    let (published, _) = source.unwrap().weights().unwrap();
    std::fs::write(folder.path().join("model.safetensors"), &published).unwrap();
    std::fs::write(
        folder.path().join("config.json"),
        setup.spec.config_json(None).to_string(),
    )
    .unwrap();
    setup.config.init = Some(folder.path().to_owned());

    let checkpoints = tempfile::tempdir().unwrap();
    let mut learner = resume(checkpoints.path(), &setup);
    assert_eq!(learner.weights().unwrap(), (published.clone(), published));
    steps(&mut learner, 1);
    save(checkpoints.path(), &learner);
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let resumed = resume(checkpoints.path(), &setup);
    assert_eq!(
        (resumed.steps(), resumed.weights().unwrap()),
        (1, learner.weights().unwrap())
    );
}

mod real;
mod series;
