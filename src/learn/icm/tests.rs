//! Learning from transitions against what it promises: who gets a gradient, what is not trained, what curiosity is left with.

use std::path::Path;
use std::sync::Arc;

use tch::Device;
use tch::nn::VarStore;

use super::super::checkpoint::{Checkpoints, Cursors};
use super::*;
use crate::clock::Timestamp;
use crate::config::{
    CuriosityConfig, LearningConfig, ObjectiveKind, Precision, PublicationConfig, ReplayConfig, SamplerKind,
};
use crate::ids::{SampleId, SourceHash};
use crate::learn::{Batch, DrivenLearner, LearnSetup, Learner, LearnerSetup, Shown, StepReport, measure_scales};
use crate::model::{Curiosity, Embedder, EncoderSpec, StateRows, initialise, weights};
use crate::replay::{NewSource, ReplayBuffer};
use crate::rng::Rng;
use crate::sample::{Action, Content, Transition};
use crate::torch;

const BATCH: usize = 64;

const SPEC: TransitionSpec = TransitionSpec {
    state_dims: 6,
    actions: 4,
    width: 64,
    features: 32,
};

/// A cart on a rail that is pushed to either side; the last number of its state is noise of every step, and the one before it a
/// channel that is switched to another at random by the actions 2 and 3.
fn transitions(count: usize, choices: usize, seed: u64) -> Vec<Transition> {
    let mut rng = rng::for_step(seed, 1, 1);
    let normal = |rng: &mut Rng| ((0..12).map(|_| rng::unit(rng)).sum::<f64>() - 6.0) as f32;
    let mut state = vec![0.0f32; 4];
    let step = |t: usize| {
        let choice = rng::below(&mut rng, choices);
        let (place, speed) = (state[0], state[1]);
        let push = if choice.is_multiple_of(2) { -0.1 } else { 0.1 };
        let speed = 0.9 * (speed + push - 0.05 * place);
        let channel = match choice {
            2.. => rng::unit(&mut rng) as f32,
            _ => state[2],
        };
        let next = vec![place + speed, speed, channel, normal(&mut rng)];
        let state = std::mem::replace(&mut state, next.clone());
        Transition {
            episode: 0,
            t: t as u64,
            state,
            action: Action::Discrete(choice as u32),
            next_state: next,
        }
    };
    (0..count).map(step).collect()
}

fn contents(transitions: &[Transition]) -> Vec<Content> {
    transitions.iter().cloned().map(Content::Transition).collect()
}

fn setup(spec: TransitionSpec) -> LearnerSetup {
    LearnerSetup {
        config: LearningConfig {
            objective: ObjectiveKind::Icm,
            batch: BATCH,
            warmup_steps: 20,
            learning_rate: 4e-3,
            precision: Precision::Fp32,
            ..LearningConfig::default()
        },
        spec: EncoderSpec::Transition(spec),
        tokenizer: None,
        batch: BATCH,
        device: Device::Cpu,
    }
}

/// A learner whose scales are those of these transitions.
fn learner(spec: TransitionSpec, transitions: &[Transition]) -> Learner {
    let learner = Learner::new(setup(spec)).unwrap();
    learner
        .scale(&measure_scales(transitions.iter().cloned(), &spec))
        .unwrap();
    learner
}

/// The batch of a step, drawn evenly.
fn batch(contents: &[Content], spec: &TransitionSpec, step: u64) -> Batch {
    let mut rng = rng::for_step(9, step, 0);
    let drawn: Vec<usize> = (0..BATCH).map(|_| rng::below(&mut rng, contents.len())).collect();
    Batch {
        step,
        ids: drawn.iter().map(|at| SampleId(*at as u64)).collect(),
        weights: vec![1.0; BATCH],
        replayed: vec![1.0; BATCH],
        shown: Shown::Transitions(StateRows::of(drawn.iter().map(|at| &contents[*at]), spec).unwrap()),
        to_score: Vec::new(),
    }
}

fn steps(learner: &mut Learner, contents: &[Content], until: u64) -> Vec<StepReport> {
    let EncoderSpec::Transition(spec) = learner.setup.spec else {
        panic!("no network of states")
    };
    (learner.steps()..until)
        .map(|step| learner.step(batch(contents, &spec, step), 0.0).unwrap())
        .collect()
}

/// The teacher, as it would be published with its heads.
fn published(learner: &Learner) -> Embedder {
    let (_, teacher) = learner.weights().unwrap();
    let heads = learner.decoders().unwrap().unwrap().teacher;
    let embedder = Embedder::open(&learner.setup.spec, None, &teacher, Device::Cpu).unwrap();
    embedder.with_decoder(&heads).unwrap()
}

fn curiosity(learner: &Learner, transitions: &[Transition]) -> Vec<Curiosity> {
    let contents = contents(transitions);
    let samples: Vec<&Content> = contents.iter().collect();
    published(learner).curiosity(&samples).unwrap().unwrap()
}

fn mean(of: &[Curiosity], what: impl Fn(&Curiosity) -> f32) -> f64 {
    of.iter().map(|it| f64::from(what(it))).sum::<f64>() / of.len() as f64
}

fn views(contents: &[Content], spec: &TransitionSpec, device: Device) -> Views {
    let (states, actions) = StateRows::of(contents.iter(), spec).unwrap().tensors(device).unwrap();
    let count = contents.len() as i64;
    Views {
        input: Input::States(states),
        hidden: Some(super::super::show::Hidden::Actions(actions)),
        samples: Tensor::arange(count, (Kind::Int64, device)),
        weights: Tensor::ones([count], (Kind::Float, device)),
        seed: 0,
        step: 0,
    }
}

const CPU: Numerics = Numerics {
    device: Device::Cpu,
    bf16: false,
};

#[test]
fn the_encoder_learns_by_the_inverse_task_alone_and_every_trained_variable_gets_a_gradient() {
    let (encoder, heads) = (VarStore::new(Device::Cpu), VarStore::new(Device::Cpu));
    let icm = Icm::new(StateNetwork::new(&encoder.root(), &SPEC), &SPEC, &heads.root());
    let mut mixed = contents(&transitions(40, 4, 1));
    for content in mixed.iter_mut().skip(20) {
        if let Content::Transition(transition) = content {
            transition.action = Action::Real(vec![transition.state[0], 0.5]);
        }
    }
    for variables in [&encoder, &heads] {
        initialise(variables, 0).unwrap();
    }
    let views = views(&mixed, &SPEC, Device::Cpu);
    let gradients = |loss: &Tensor| -> Vec<(String, Tensor)> {
        for variable in encoder
            .trainable_variables()
            .iter_mut()
            .chain(&mut heads.trainable_variables())
        {
            variable.zero_grad();
        }
        loss.backward();
        let mut named: Vec<_> = encoder.variables().into_iter().collect();
        named.extend(
            heads
                .variables()
                .into_iter()
                .map(|(name, it)| (format!("heads.{name}"), it)),
        );
        named.retain(|(_, variable)| variable.requires_grad());
        named.sort_by(|a, b| a.0.cmp(&b.0));
        named.into_iter().map(|(name, it)| (name, it.grad().copy())).collect()
    };
    let whole = gradients(&icm.loss(&views, CPU).unwrap().total);
    for (name, gradient) in &whole {
        assert!(
            gradient.defined() && gradient.abs().sum(Kind::Float).double_value(&[]) > 0.0,
            "{name}"
        );
    }
    let (states, actions) = views.states().unwrap();
    let (before, after) = halves(&icm.network.features(states));
    let told = icm.dynamics.told(&before, &after);
    let inverse = gradients(&(INVERSE_SHARE * icm.dynamics.inverse_errors(&told, actions).mean(Kind::Float)));
    let pairs = whole
        .iter()
        .zip(&inverse)
        .filter(|((name, _), _)| !name.starts_with("heads."));
    for ((name, whole), (_, inverse)) in pairs {
        let apart = (whole - inverse).abs().max().double_value(&[]);
        assert!(apart < 1e-6, "{name} has {apart} of the forward task");
    }
}

#[test]
fn what_is_known_costs_nothing() {
    let variables = VarStore::new(Device::Cpu);
    let dynamics = Dynamics::new(&variables.root(), &SPEC);
    initialise(&variables, 0).unwrap();
    let features = Tensor::from_slice(&[0.5f32, -1.0, 2.0, 0.25]).view([2, 2]);
    let expected = Tensor::stack(&[&features, &features], 0);
    let errors = Vec::<f32>::try_from(dynamics.forward_errors(&expected, &features).view(-1)).unwrap();
    assert_eq!(errors, [0.0; 4]);
    assert_eq!(
        Vec::<f32>::try_from(dynamics.disagreement(&expected)).unwrap(),
        [0.0; 2]
    );
}

#[test]
fn the_scale_is_not_trained_and_survives_a_checkpoint_shrinking_and_publication() {
    torch::set_threads(1);
    let transitions = transitions(300, 4, 2);
    let contents = contents(&transitions);
    let mut learner = learner(SPEC, &transitions);
    let scale_of = |bytes: &[u8]| {
        let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
        ["scale.weight", "scale.bias"].map(|name| file.tensor(name).unwrap().data().to_vec())
    };
    let set = scale_of(&learner.weights().unwrap().0);
    assert_ne!(set, scale_of(&Learner::new(setup(SPEC)).unwrap().weights().unwrap().0));
    // A random encoder beside it sees states by the same scale.
    let spec = EncoderSpec::Transition(SPEC);
    let all: Vec<&Content> = contents.iter().collect();
    let embedded = |embedder: Embedder| embedder.embed(&all).unwrap();
    let beside = embedded(Embedder::random_beside(&spec, None, &learner.weights().unwrap().1, 7, Device::Cpu).unwrap());
    let scales = measure_scales(transitions.iter().cloned(), &SPEC);
    assert_eq!(
        beside,
        embedded(Embedder::random_scaled(&spec, &scales, 7, Device::Cpu).unwrap())
    );
    assert_ne!(beside, embedded(Embedder::random(&spec, None, 7, Device::Cpu).unwrap()));
    steps(&mut learner, &contents, 5);
    learner.shrink_and_perturb().unwrap();
    let (student, teacher) = learner.weights().unwrap();
    assert_eq!((scale_of(&student), scale_of(&teacher)), (set.clone(), set.clone()));

    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(dir.path(), 1).unwrap();
    checkpoints.save(&learner, &Cursors::default()).unwrap();
    let expected = steps(&mut learner, &contents, 10);
    let (mut resumed, _) = checkpoints.restore(&setup(SPEC)).unwrap();
    assert!(!resumed.is_unscaled());
    assert_eq!(steps(&mut resumed, &contents, 10), expected);
    assert_eq!(resumed.weights().unwrap(), learner.weights().unwrap());
    assert_eq!(
        resumed.decoders().unwrap().unwrap().teacher,
        learner.decoders().unwrap().unwrap().teacher
    );
    assert!(
        expected
            .iter()
            .all(|report| report.evidence.iter().all(|evidence| evidence.error >= 0.0))
    );
}

#[test]
fn the_same_steps_give_the_same_weights_and_a_failed_one_changes_nothing() {
    torch::set_threads(1);
    let transitions = transitions(300, 4, 3);
    let contents = contents(&transitions);
    let of = |learner: &Learner| (learner.weights().unwrap(), weights::export(&learner.heads).unwrap());
    let run = || {
        let mut learner = learner(SPEC, &transitions);
        steps(&mut learner, &contents, 6);
        learner
    };
    let mut one = run();
    assert_eq!(of(&one), of(&run()));
    let before = of(&one);
    let mut poison = batch(&contents, &SPEC, 6);
    poison.weights = vec![f32::NAN; BATCH];
    assert!(one.step(poison, 0.0).unwrap().loss.is_nan());
    assert_eq!(of(&one), before);
}

/// The start is taken after a few steps, when the unit of errors has been measured.
#[test]
fn curiosity_for_learnt_noise_vanishes_while_its_error_stays() {
    torch::set_threads(1);
    let transitions = transitions(2_000, 4, 4);
    let contents = contents(&transitions);
    let mut learner = learner(SPEC, &transitions);
    let noisy = |curious: Vec<Curiosity>| -> Vec<Curiosity> {
        let of = curious.into_iter().zip(&transitions);
        let switched = of.filter(|(_, transition)| matches!(transition.action, Action::Discrete(2..)));
        switched.map(|(curious, _)| curious).collect()
    };
    steps(&mut learner, &contents, 20);
    let start = noisy(curiosity(&learner, &transitions));
    steps(&mut learner, &contents, 1_500);
    let all = curiosity(&learner, &transitions);
    let end = noisy(all.clone());
    let rewards = [&start, &end].map(|of| mean(of, |it| it.reward));
    let errors = [&start, &end].map(|of| mean(of, |it| it.error));
    println!(
        "rewards {rewards:?}, errors {errors:?}, actions told {}",
        mean(&all, |it| it.action)
    );
    assert!(rewards[1] < 0.1 * rewards[0], "{rewards:?}");
    assert!(errors[1] > 0.25, "{errors:?}");
    assert!(mean(&all, |it| it.action) > 0.9);
}

#[test]
fn heads_disagree_about_what_is_new_and_agree_about_what_is_learnt() {
    torch::set_threads(1);
    let known = transitions(1_000, 2, 5);
    let contents = contents(&known);
    let mut learner = learner(SPEC, &known);
    steps(&mut learner, &contents, 800);
    let mut new = known.clone();
    for transition in &mut new {
        transition.action = Action::Discrete(3);
    }
    let far: Vec<Transition> = known
        .iter()
        .cloned()
        .map(|mut transition| {
            transition.state[0] += 20.0;
            transition.next_state[0] += 20.0;
            transition
        })
        .collect();
    let reward = |of: &[Transition]| mean(&curiosity(&learner, of), |it| it.reward);
    let (learnt, action, place) = (reward(&known), reward(&new), reward(&far));
    println!("learnt {learnt}, a new action {action}, a new place {place}");
    assert!(
        action > 3.0 * learnt && place > 3.0 * learnt,
        "{learnt} {action} {place}"
    );
}

#[test]
fn real_actions_are_told_too() {
    torch::set_threads(1);
    let mut transitions = transitions(1_000, 2, 6);
    let mut rng = rng::for_step(7, 0, 0);
    for transition in &mut transitions {
        let push = rng::unit(&mut rng) as f32 * 40.0 - 20.0;
        transition.next_state[1] = transition.state[1] + 0.01 * push;
        transition.action = Action::Real(vec![push]);
    }
    let contents = contents(&transitions);
    let mut learner = learner(SPEC, &transitions);
    steps(&mut learner, &contents, 600);
    let told = mean(&curiosity(&learner, &transitions), |it| it.action);
    assert!(told > 0.8, "{told}");
}

#[test]
fn a_network_without_heads_has_no_curiosity_and_with_them_a_transition_takes_less_than_a_millisecond() {
    torch::set_threads(1);
    let spec = TransitionSpec {
        state_dims: 256,
        actions: 32,
        width: 128,
        features: 64,
    };
    let transitions = transitions(64, 4, 8);
    let contents = contents(&transitions);
    let samples: Vec<&Content> = contents.iter().collect();
    let learner = learner(spec, &transitions);
    let (student, _) = learner.weights().unwrap();
    let bare = Embedder::open(&learner.setup.spec, None, &student, Device::Cpu).unwrap();
    assert_eq!(bare.curiosity(&samples).unwrap(), None);
    let rows = bare.embed(&samples).unwrap();
    assert_eq!(rows.len(), 64 * 128);
    for row in rows.chunks(128) {
        assert!((row.iter().map(|it| it * it).sum::<f32>() - 1.0).abs() < 1e-4);
    }
    let embedder = published(&learner);
    let mut each: Vec<_> = (0..21)
        .map(|_| {
            let start = std::time::Instant::now();
            embedder.curiosity(&samples).unwrap();
            start.elapsed() / 64
        })
        .collect();
    each.sort();
    println!("{:?} a transition", each[10]);
    assert!(each[10] < std::time::Duration::from_millis(1), "{each:?}");
}

#[test]
fn a_new_stream_measures_its_scales_before_it_learns() {
    let dir = tempfile::tempdir().unwrap();
    let config = ReplayConfig {
        draws_per_sample: 0.5,
        draws_per_sample_min: 0.5,
        ..ReplayConfig::default()
    };
    let (replay, _) = ReplayBuffer::open(&dir.path().join("replay"), &config, 0).unwrap();
    let transitions = transitions(1_100, 4, 9);
    let bytes: Vec<Vec<u8>> = contents(&transitions).iter().map(Content::encode).collect();
    let mut hashes = (0..u8::MAX).map(|number| SourceHash::of(&[number]));
    let source = NewSource {
        hash: hashes.find(|hash| !hash.in_exam()).unwrap(),
        path: b"cart.jsonl".to_vec(),
        bytes: 1,
        taken_at: Timestamp(0),
        samples: bytes,
    };
    replay.insert(vec![source]).unwrap();
    let LearnerSetup { config, spec, .. } = setup(SPEC);
    let setup = LearnSetup {
        stream: "carts".parse().unwrap(),
        config,
        curiosity: CuriosityConfig::default(),
        publication: PublicationConfig::default(),
        sampler: SamplerKind::Prioritized,
        spec,
        tokenizer: None,
        scales: None,
        device: Device::Cpu,
        learn_threads: 1,
        augment_threads: 1,
        disk_reserve_bytes: 0,
        checkpoints: dir.path().join("checkpoints"),
        published_step: 0,
    };
    let mut driven = DrivenLearner::new(setup, Arc::new(replay)).unwrap();
    driven.learn_until(3).unwrap();
    assert_eq!(driven.steps(), 3);
    let (student, _) = driven.weights().unwrap();
    let expected = learner(SPEC, &transitions).weights().unwrap().0;
    let scale = |bytes: &[u8]| {
        let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
        file.tensor("scale.weight").unwrap().data().to_vec()
    };
    assert_eq!(scale(&student), scale(&expected));
}

/// The transitions of a file of the shared data; None where it is absent.
fn shared(name: &str) -> Option<Vec<Transition>> {
    let folder = std::env::var_os("CURIOD_TEST_DATA")?;
    let text = std::fs::read_to_string(Path::new(&folder).join("transitions").join(name)).ok()?;
    let numbers = |value: &serde_json::Value| -> Vec<f32> {
        let numbers = value.as_array().unwrap().iter();
        numbers.map(|number| number.as_f64().unwrap() as f32).collect()
    };
    let rows = text.lines().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        Transition {
            episode: row["episode"].as_u64().unwrap(),
            t: row["t"].as_u64().unwrap(),
            state: numbers(&row["state"]),
            action: match &row["action"] {
                serde_json::Value::Array(_) => Action::Real(numbers(&row["action"])),
                choice => Action::Discrete(choice.as_u64().unwrap() as u32),
            },
            next_state: numbers(&row["next_state"]),
        }
    });
    Some(rows.collect())
}

#[test]
fn what_was_done_to_a_cart_with_a_pole_is_told_after_a_short_training() {
    torch::set_threads(1);
    let Some(transitions) = shared("cartpole.jsonl") else {
        return;
    };
    let spec = TransitionSpec {
        state_dims: 256,
        actions: 32,
        width: 128,
        features: 64,
    };
    let (known, held_out) = transitions.split_at(16_000);
    let mut learner = learner(spec, known);
    steps(&mut learner, &contents(known), 600);
    let curious = curiosity(&learner, &held_out[..2_000]);
    let told = mean(&curious, |it| it.action);
    println!("{told} of the actions told, error {}", mean(&curious, |it| it.error));
    assert!(told > 0.9, "{told}");
}
