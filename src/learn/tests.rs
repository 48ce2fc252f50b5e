//! The learner against its promises: exact resumption, recovery, the loop's states, and that it learns at all.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tch::Device;

use super::checkpoint::{Checkpoints, Cursors};
use super::*;
use crate::clock::Timestamp;
use crate::config::{CuriosityConfig, LearningConfig, Precision, PublicationConfig, ReplayConfig, SamplerKind};
use crate::ids::{SampleId, SourceHash};
use crate::model::{Architecture, Embedder, EncoderSpec, ImageSpec};
use crate::replay::{NewSource, ReplayBuffer};
use crate::rng;
use crate::sample::{Content, ImageTile};
use crate::torch;

const PX: u32 = 32;
const BATCH: usize = 8;
const SPEC: EncoderSpec = EncoderSpec::Image(ImageSpec {
    architecture: Architecture::ResnetTiny,
    image_px: PX,
});

fn config() -> LearningConfig {
    LearningConfig {
        batch: BATCH,
        warmup_steps: 5,
        precision: Precision::Fp32,
        samples_min: 4,
        ..Default::default()
    }
}

fn setup() -> LearnerSetup {
    LearnerSetup {
        config: config(),
        spec: SPEC,
        tokenizer: None,
        batch: BATCH,
        device: Device::Cpu,
    }
}

/// A batch of noise that is a function of the step.
fn batch(step: u64) -> Batch {
    let mut rng = rng::for_step(3, step, 0);
    let values = (0..2 * BATCH * (PX * PX * 3) as usize)
        .map(|_| rng::unit(&mut rng) as f32 - 0.5)
        .collect();
    batch_of(step, values)
}

fn batch_of(step: u64, values: Vec<f32>) -> Batch {
    Batch {
        step,
        ids: (0..BATCH as u64).map(|n| SampleId(8 * step + n)).collect(),
        weights: vec![1.0; BATCH],
        replayed: vec![1.0; BATCH],
        shown: Shown::Pictures {
            views: 2 * BATCH,
            px: PX,
            pixels: Pixels::with_home(values, drop),
        },
        to_score: Vec::new(),
    }
}

fn steps(learner: &mut Learner, until: u64) -> Vec<StepReport> {
    (learner.steps()..until)
        .map(|step| learner.step(batch(step), 0.0).unwrap())
        .collect()
}

/// Everything of a learner that a checkpoint holds: each file by its hash, the small ones as they are.
fn state(learner: &Learner) -> Vec<(String, String)> {
    let dir = tempfile::tempdir().unwrap();
    Checkpoints::open(dir.path(), 1)
        .unwrap()
        .save(learner, &Cursors::default())
        .unwrap();
    let folder = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap())
        .map(|file| {
            let bytes = std::fs::read(file.path()).unwrap();
            let content = String::from_utf8(bytes.clone()).unwrap_or_else(|_| blake3::hash(&bytes).to_string());
            (file.file_name().into_string().unwrap(), content)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_resumed_learner_is_the_uninterrupted_one_bit_for_bit() {
    torch::set_threads(1);
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(dir.path(), 3).unwrap();
    let mut learner = Learner::new(setup()).unwrap();
    steps(&mut learner, 4);
    checkpoints.save(&learner, &Cursors::default()).unwrap();
    let expected = steps(&mut learner, 8);

    let (mut resumed, _) = checkpoints.restore(&setup()).unwrap();
    assert_eq!(resumed.steps(), 4);
    assert_eq!(steps(&mut resumed, 8), expected);
    assert_eq!(state(&resumed), state(&learner));
}

const CHILD_DIR: &str = "CURIOD_TEST_CHILD_DIR";

/// Not a test of its own: the process that the next test kills. It learns, and writes a checkpoint after every step.
#[test]
fn child_that_learns_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    torch::set_threads(1);
    let checkpoints = Checkpoints::open(Path::new(&dir), 2).unwrap();
    let mut learner = Learner::new(setup()).unwrap();
    loop {
        let step = learner.steps();
        learner.step(batch(step), 0.0).unwrap();
        checkpoints.save(&learner, &Cursors::default()).unwrap();
        println!("saved {}", learner.steps());
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn a_learner_that_was_killed_goes_on_bit_for_bit() {
    torch::set_threads(1);
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "learn::tests::child_that_learns_until_it_is_killed",
            "--nocapture",
        ])
        .env(CHILD_DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let saved = lines
        .map_while(Result::ok)
        .filter(|line| line.contains("saved "))
        .take(3)
        .count();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(saved, 3, "the child learns");

    let (mut resumed, _) = Checkpoints::open(dir.path(), 2).unwrap().restore(&setup()).unwrap();
    let done = resumed.steps();
    assert!(done >= 3, "at least the third checkpoint is there, found {done}");
    let mut uninterrupted = Learner::new(setup()).unwrap();
    let expected = steps(&mut uninterrupted, done + 3).split_off(done as usize);
    assert_eq!(steps(&mut resumed, done + 3), expected);
    assert_eq!(state(&resumed), state(&uninterrupted));
}

#[test]
fn a_batch_that_is_no_number_is_skipped_and_three_in_a_row_are_told() {
    let mut learner = Learner::new(setup()).unwrap();
    steps(&mut learner, 2);
    let before = learner.weights().unwrap();
    let poison = |step| batch_of(step, vec![f32::NAN; 2 * BATCH * (PX * PX * 3) as usize]);
    let reports: Vec<_> = (2..5).map(|step| learner.step(poison(step), 0.0).unwrap()).collect();
    assert!(
        reports
            .iter()
            .all(|report| report.loss.is_nan() && report.evidence.is_empty())
    );
    assert_eq!(
        reports.iter().map(|report| report.diverged).collect::<Vec<_>>(),
        [false, false, true]
    );
    assert_eq!(
        (learner.weights().unwrap(), learner.steps(), learner.failed_steps()),
        (before, 5, 3)
    );
    assert!(learner.is_finite().unwrap() && learner.step(batch(5), 0.0).unwrap().loss.is_finite());
}

#[test]
fn health_is_measured_every_fiftieth_step() {
    let mut learner = Learner::new(setup()).unwrap();
    let measured: Vec<u64> = steps(&mut learner, 51)
        .iter()
        .zip(0..)
        .filter_map(|(report, step)| report.health.map(|health| (health, step)))
        .inspect(|(health, _)| assert!(health.rank >= 1.0 && health.spread > 0.0 && health.weight_norm > 0.0))
        .map(|(_, step)| step)
        .collect();
    assert_eq!(measured, [0, 50]);
}

/// A replay buffer that holds these pictures and lets each be drawn so often.
fn replay(dir: &Path, pictures: &[ImageTile], draws_per_sample: f64) -> Arc<ReplayBuffer> {
    let config = ReplayConfig {
        draws_per_sample,
        ..Default::default()
    };
    let (replay, _) = ReplayBuffer::open(&dir.join("replay"), &config, 0).unwrap();
    let replay = Arc::new(replay);
    insert(&replay, pictures);
    replay
}

fn insert(replay: &ReplayBuffer, pictures: &[ImageTile]) {
    let source = |tile: &ImageTile| {
        let bytes = Content::Image(tile.clone()).encode();
        NewSource {
            hash: SourceHash::of(&bytes),
            path: format!("{}.png", SourceHash::of(&bytes)).into_bytes(),
            bytes: bytes.len() as u64,
            taken_at: Timestamp(0),
            samples: vec![bytes],
        }
    };
    replay.insert(pictures.iter().map(source).collect()).unwrap();
}

/// Pictures of noise that are not of the exam.
fn noise(first: u64, count: usize) -> Vec<ImageTile> {
    (first..)
        .map(|number| {
            let mut rng = rng::for_step(number, 0, 0);
            let rgb = (0..PX * PX * 3).map(|_| rng::below(&mut rng, 256) as u8).collect();
            ImageTile {
                width: PX as u16,
                height: PX as u16,
                rgb,
            }
        })
        .filter(|tile| !SourceHash::of(&Content::Image(tile.clone()).encode()).in_exam())
        .take(count)
        .collect()
}

/// A learner's thread, and the candidates it handed over.
struct Running {
    thread: LearnerThread,
    candidates: Arc<Mutex<Vec<Candidate>>>,
}

impl Running {
    fn start(dir: &Path, replay: &Arc<ReplayBuffer>, config: LearningConfig, publication: PublicationConfig) -> Self {
        let setup = LearnSetup {
            stream: "pictures".parse().unwrap(),
            config,
            curiosity: CuriosityConfig::default(),
            publication,
            sampler: SamplerKind::Prioritized,
            spec: SPEC,
            tokenizer: None,
            scales: None,
            device: Device::Cpu,
            learn_threads: 1,
            augment_threads: 1,
            disk_reserve_bytes: 0,
            checkpoints: dir.join("checkpoints"),
            published_step: 0,
        };
        let candidates = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&candidates);
        let deliver = move |candidate| taken.lock().push(candidate);
        let thread = LearnerThread::start(setup, Arc::clone(replay), Arc::default(), deliver).unwrap();
        Self { thread, candidates }
    }

    /// Waits until the state is like this; fails with the last state after a minute.
    fn until(&self, wanted: impl Fn(&LearnerState) -> bool) -> LearnerState {
        let start = Instant::now();
        loop {
            let state = self.thread.state();
            if wanted(&state) {
                return state;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "still {state:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_learner_waits_for_samples_learns_and_is_bored_when_they_are_replayed_often_enough() {
    let dir = tempfile::tempdir().unwrap();
    let replay = replay(dir.path(), &noise(0, 3), 4.0);
    let running = Running::start(dir.path(), &replay, config(), PublicationConfig::default());
    running.until(|state| state.activity == Activity::Waiting && state.alive_at.is_some());
    insert(&replay, &noise(100, 13));
    // 16 samples, each drawn 4 times, 8 in a batch.
    let state = running.until(|state| state.activity == Activity::Bored);
    assert_eq!(state.step, 8);
    assert!(state.loss.is_some() && state.health.is_some() && state.surprise.is_some() && state.duty_cycle > 0.0);
    insert(&replay, &noise(1_000, 2));
    running.until(|state| state.step == 9 && state.activity == Activity::Bored);
    running.thread.join();
}

#[test]
fn a_small_inbox_gives_a_candidate_before_the_first_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let replay = replay(dir.path(), &noise(0, 16), 4.0);
    let running = Running::start(dir.path(), &replay, config(), PublicationConfig::default());
    running.until(|state| state.activity == Activity::Bored && state.step == 8);
    let start = Instant::now();
    while running.candidates.lock().is_empty() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    running.thread.join();
    let candidates = running.candidates.lock();
    assert_eq!(
        candidates.iter().map(|candidate| candidate.step).collect::<Vec<_>>(),
        [8]
    );
    assert!(Embedder::open(&SPEC, None, &candidates[0].teacher, Device::Cpu).is_ok());
    assert_ne!(candidates[0].student, candidates[0].teacher);
}

#[test]
fn candidates_come_at_their_steps() {
    let dir = tempfile::tempdir().unwrap();
    let replay = replay(dir.path(), &noise(0, 16), 12.0);
    let publication = PublicationConfig {
        first_candidate_steps: 3,
        candidate_steps: 5,
        ..Default::default()
    };
    let running = Running::start(dir.path(), &replay, config(), publication);
    running.until(|state| state.activity == Activity::Bored && state.step == 24);
    running.thread.join();
    let steps: Vec<_> = running
        .candidates
        .lock()
        .iter()
        .map(|candidate| candidate.step)
        .collect();
    assert_eq!(steps[..4], [3, 8, 15, 23]);
}

#[test]
fn a_stopped_learner_has_written_a_checkpoint_and_goes_on_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let replay = replay(dir.path(), &noise(0, 16), 0.0);
    let running = Running::start(dir.path(), &replay, config(), PublicationConfig::default());
    running.until(|state| state.step >= 3);
    running.thread.join();
    let checkpoints = Checkpoints::open(&dir.path().join("checkpoints"), 3).unwrap();
    let done = checkpoints.restore(&setup()).unwrap().0.steps();
    assert!(done >= 3);

    let running = Running::start(dir.path(), &replay, config(), PublicationConfig::default());
    let resumed = running.until(|state| state.step > 0);
    assert!(resumed.step >= done && running.until(|state| state.step > done).loss.is_some());
    running.thread.join();
}

#[test]
fn a_paused_learner_stands_still_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let replay = replay(dir.path(), &noise(0, 16), 0.0);
    let running = Running::start(dir.path(), &replay, config(), PublicationConfig::default());
    running.until(|state| state.step >= 2);
    running.thread.pause(true);
    let paused = running.until(|state| state.activity == Activity::Paused);
    // Its clock goes on: it is not stuck.
    running.until(|state| state.alive_at > paused.alive_at);
    assert_eq!(running.thread.state().step, paused.step);
    running.thread.pause(false);
    running.until(|state| state.step > paused.step);
    running.thread.join();
}

#[test]
fn a_checkpoint_that_can_not_be_written_is_told_and_learning_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let replay = replay(dir.path(), &noise(0, 16), 0.0);
    let config = LearningConfig {
        checkpoint_s: 0,
        ..config()
    };
    let running = Running::start(dir.path(), &replay, config, PublicationConfig::default());
    running.until(|state| state.step >= 2);
    let folder = dir.path().join("checkpoints");
    std::fs::rename(&folder, dir.path().join("away")).unwrap();
    std::fs::write(&folder, b"a file where the folder was").unwrap();
    let told = running.until(|state| state.checkpoint_failure.is_some());
    running.until(|state| state.step > told.step + 2);
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(dir.path().join("away"), &folder).unwrap();
    running.until(|state| state.checkpoint_failure.is_none());
    running.thread.join();
}

#[test]
fn a_sample_that_is_no_picture_ends_the_learner_which_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let replay = replay(dir.path(), &[], 0.0);
    let rubbish = |number: u8| NewSource {
        hash: SourceHash([number; 32]),
        path: vec![b'a' + number],
        bytes: 1,
        taken_at: Timestamp(0),
        samples: vec![vec![255, number]],
    };
    replay.insert((1..9).map(rubbish).collect()).unwrap();
    let running = Running::start(dir.path(), &replay, config(), PublicationConfig::default());
    let failed = running.until(|state| matches!(state.activity, Activity::Failed(_)));
    assert!(format!("{failed:?}").contains("can not be learnt from"), "{failed:?}");
    running.thread.join();
}

/// Share of pictures whose one view is nearer to its other view than to any other picture's.
fn view_retrieval(embedder: &Embedder, pictures: &[ImageTile]) -> f64 {
    let recipe = augment::Recipe::for_px(PX);
    let views = |view| -> Vec<Vec<f32>> {
        let cut = |(number, tile): (usize, &ImageTile)| {
            let drawn = recipe.draw(
                tile.width.into(),
                tile.height.into(),
                &mut augment::view_rng(77, 0, number, view),
            );
            let mut out = vec![0.0; (PX * PX * 3) as usize];
            augment::Renderer::new(PX).render(&drawn, tile, &mut out);
            let [mean, std] = [crate::model::PIXEL_MEAN, crate::model::PIXEL_STD];
            let byte = |(i, v): (usize, f32)| ((v * std[i % 3] + mean[i % 3]) * 255.0).round() as u8;
            Content::Image(ImageTile {
                width: PX as u16,
                height: PX as u16,
                rgb: out.into_iter().enumerate().map(byte).collect(),
            })
        };
        let tiles: Vec<_> = pictures.iter().enumerate().map(cut).collect();
        let rows = embedder.embed(&tiles.iter().collect::<Vec<_>>()).unwrap();
        rows.chunks(embedder.dim()).map(<[f32]>::to_vec).collect()
    };
    let (queries, gallery) = (views(0), views(1));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let hits = (0..queries.len()).filter(|&q| {
        let nearest =
            (0..gallery.len()).max_by(|&a, &b| dot(&queries[q], &gallery[a]).total_cmp(&dot(&queries[q], &gallery[b])));
        nearest == Some(q)
    });
    hits.count() as f64 / queries.len() as f64
}

#[test]
#[ignore = "minutes of training: make soak"]
fn a_thousand_steps_on_small_pictures_beat_the_random_encoder_on_pictures_never_seen() {
    let Some(data) = std::env::var_os("CURIOD_TEST_DATA") else {
        eprintln!("skipped: CURIOD_TEST_DATA names no folder of test data");
        return;
    };
    let unpacked = tempfile::tempdir().unwrap();
    let tar = std::process::Command::new("tar")
        .arg("-xf")
        .arg(Path::new(&data).join("images/cifar10/cifar10.tar"))
        .arg("-C")
        .arg(unpacked.path())
        .status();
    assert!(tar.unwrap().success());
    let limits = crate::sample::image::ImageLimits {
        pixels_max: 10_000_000,
        side_px_max: 10_000,
    };
    // The first pictures of each class; nobody tells the classes.
    let pictures = |half: &str, of_each: usize| -> Vec<ImageTile> {
        let classes = std::fs::read_dir(unpacked.path().join(half)).unwrap();
        let mut classes: Vec<_> = classes.map(|class| class.unwrap().path()).collect();
        classes.sort();
        let of_class = |class: std::path::PathBuf| {
            let files = std::fs::read_dir(class).unwrap();
            let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
            files.sort();
            files.truncate(of_each);
            files
        };
        let paths = classes.into_iter().flat_map(of_class);
        paths
            .map(|path| crate::sample::image::decode(&std::fs::read(path).unwrap(), &limits, PX).unwrap())
            .collect()
    };
    let (seen, held_out) = (pictures("train", 200), pictures("test", 50));

    let dir = tempfile::tempdir().unwrap();
    let replay = replay(dir.path(), &seen, 0.0);
    let config = LearningConfig {
        batch: 64,
        warmup_steps: 50,
        learning_rate: 2e-3,
        precision: Precision::Fp32,
        ..Default::default()
    };
    let publication = PublicationConfig {
        first_candidate_steps: 1_000,
        ..Default::default()
    };
    let running = Running::start(dir.path(), &replay, config, publication);
    while running.candidates.lock().is_empty() {
        let state = running.thread.state();
        assert!(!matches!(state.activity, Activity::Failed(_)), "{state:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    running.thread.join();
    let candidate = running.candidates.lock().remove(0);
    let learnt = view_retrieval(
        &Embedder::open(&SPEC, None, &candidate.teacher, Device::Cpu).unwrap(),
        &held_out,
    );
    let random = view_retrieval(&Embedder::random(&SPEC, None, 1, Device::Cpu).unwrap(), &held_out);
    println!(
        "view retrieval among {} pictures never seen: {learnt:.3}, random encoder {random:.3}",
        held_out.len()
    );
    assert!(learnt > 1.5 * random, "{learnt} against {random}");
}
