//! What a copy that is trained on labels is worth (`heads fit --finetune`): a network learns without them from CIFAR-10, from photos
//! of trash, or from short queries; then few of what it learnt from get labels, by lot, and what was never seen is asked of a
//! classifier of the network's embeddings, of a copy that was trained together with it, and of the same network trained on these
//! labels from scratch.
//!
//!   CURIOD_TEST_DATA=... cargo bench --bench tuning -- [pictures|photos|texts] [--steps N] [--draws 3] [--labels 100,500,2000]
//!       [--plan EPOCHS,STEPS,RATE] [--threads 2] [--set KEY=VALUE]
//!
//! `--set learning.init=DIR --steps 0` begins with a published folder instead.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that can not go on stops where it is"
)]

mod labelled;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use clap::Parser;
use curiod::labels::{Training, fit, fit_untested};
use curiod::model::{EncoderSpec, initialise, weights};
use curiod::sample::Content;
use curiod::tune::{Copy, Origin, Plan, Stop, train, tune};
use labelled::{Embedded, Learnt, Part, Spread};
use tch::Device;
use tch::nn::VarStore;

/// What has learnt nothing yet has farther to go than a copy.
const FROM_SCRATCH: Plan = Plan {
    epochs: 100,
    steps: (300, 1_000),
    rate: 1e-3,
    head_rate: 1e-2,
};

#[derive(Parser)]
struct Flags {
    /// `pictures`, `photos`, `texts`, or all where nothing is named
    parts: Vec<String>,
    /// Steps of learning without labels
    #[arg(long)]
    steps: Option<u64>,
    /// Times that labels are chosen by lot
    #[arg(long, default_value_t = 3)]
    draws: u64,
    /// How many labels; the first is 1 % where nothing is said
    #[arg(long, value_delimiter = ',')]
    labels: Vec<usize>,
    /// Train copies under another plan, without asking whether they are better: EPOCHS,STEPS,RATE
    #[arg(long, value_delimiter = ',')]
    plan: Vec<f64>,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long)]
    set: Vec<String>,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let flags = Flags::parse();
    let Some(data) = std::env::var_os("CURIOD_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: labels are of real pictures and texts; set CURIOD_TEST_DATA");
        return;
    };
    for part in Part::named(&flags.parts) {
        measure(&part, &flags, &data);
    }
}

fn measure(part: &Part, flags: &Flags, data: &Path) {
    let learnt = part.learn(data, &flags.set, flags.steps, flags.threads);
    let network = learnt.network();
    let known = Embedded::of(&network, &learnt.archive.stream);
    let asked = Embedded::of(&network, &learnt.archive.asks);
    let usual = Plan::of(&learnt.spec);
    let scratch = Learnt {
        weights: fresh(&learnt.spec),
        ..learnt.clone()
    };
    let known_scratch = Embedded::of(&scratch.network(), &learnt.archive.stream);
    println!(
        "\n{}: {} learnt from without labels, {} steps, {:.0} s; {} asked, {} classes; accuracy in %, mean ± standard deviation of {}",
        part.name,
        learnt.archive.stream.len(),
        learnt.steps,
        learnt.took.as_secs_f64(),
        learnt.archive.asks.len(),
        learnt.archive.labels.len(),
        flags.draws
    );
    println!(
        "{:>7} {:>14} {:>14} {:>14} {:>14} {:>14}",
        "labels", "frozen", "copy", "from scratch", "copy answers", "s with tests"
    );
    let one_percent = known.labels.len() / 100;
    let budgets = match flags.labels.is_empty() {
        true => vec![one_percent, 150, 500, 2_000],
        false => flags.labels.clone(),
    };
    for budget in budgets
        .into_iter()
        .filter(|budget| (10..known.labels.len()).contains(budget))
    {
        let (mut frozen, mut tuned, mut from_scratch, mut chosen, mut took) = (vec![], vec![], vec![], 0, 0.0);
        for seed in 0..flags.draws {
            let rows = known.by_lot(budget, seed);
            let of = Drawn::new(&learnt, &known, &rows);
            frozen.push(known.accuracy(&rows, &asked));
            let started = Instant::now();
            let copy = match flags.plan[..] {
                [epochs, most, rate] => of.trained(
                    &Plan {
                        epochs: epochs as usize,
                        steps: (usual.steps.0, most as usize),
                        rate,
                        ..usual
                    },
                    seed,
                ),
                _ => {
                    let chosen_copy = of.tuned(seed);
                    chosen += usize::from(chosen_copy.is_some());
                    chosen_copy.unwrap_or_else(|| of.trained(&usual, seed))
                }
            };
            took += started.elapsed().as_secs_f64();
            tuned.push(of.right(&copy));
            let of = Drawn::new(&scratch, &known_scratch, &rows);
            from_scratch.push(of.right(&of.trained(&FROM_SCRATCH, seed)));
        }
        println!(
            "{budget:>7} {:>14} {:>14} {:>14} {:>14} {:>14.0}",
            Spread::of(&frozen),
            Spread::of(&tuned),
            Spread::of(&from_scratch),
            format!("{chosen} of {}", flags.draws),
            took / flags.draws as f64
        );
    }
}

/// The weights that a network begins with.
fn fresh(spec: &EncoderSpec) -> Vec<u8> {
    let variables = VarStore::new(Device::Cpu);
    let _ = spec.build(&variables.root());
    initialise(&variables, 1).expect("fresh weights");
    weights::export(&variables).expect("fresh weights")
}

/// Labels that were drawn.
struct Drawn<'a> {
    learnt: &'a Learnt,
    contents: Vec<&'a Content>,
    training: Training,
    classes: Vec<u32>,
}

impl<'a> Drawn<'a> {
    fn new(learnt: &'a Learnt, known: &Embedded, rows: &[usize]) -> Self {
        let (training, classes) = known.training(rows);
        let labelled = learnt.archive.stream.iter().filter(|item| item.label.is_some());
        let labelled: Vec<&Content> = labelled.map(|item| &item.content).collect();
        Self {
            learnt,
            contents: rows.iter().map(|row| labelled[*row]).collect(),
            training,
            classes,
        }
    }

    fn read(&self, rows: &[usize]) -> Vec<Option<Content>> {
        rows.iter().map(|row| Some(self.contents[*row].clone())).collect()
    }

    fn origin<'b>(&'b self, weights: &'b [u8]) -> Origin<'b> {
        Origin {
            spec: &self.learnt.spec,
            tokenizer: self.learnt.tokenizer.as_ref(),
            weights,
            device: Device::Cpu,
            bf16: false,
        }
    }

    /// What the daemon would answer with.
    fn tuned(&self, seed: u64) -> Option<Copy> {
        let never = AtomicBool::new(false);
        let stop = Stop {
            stopping: &never,
            is_given_up: &|| false,
        };
        let penalty = fit(&self.training, 0, &never).expect("a head").report().penalty;
        let origin = self.origin(&self.learnt.weights);
        let outcome = tune(
            &origin,
            &self.training,
            &|rows| Ok(self.read(rows)),
            penalty,
            seed,
            stop,
        );
        outcome.expect("an outcome").copy
    }

    /// A copy of the network, trained on all labels.
    fn trained(&self, plan: &Plan, seed: u64) -> Copy {
        let never = AtomicBool::new(false);
        let stop = Stop {
            stopping: &never,
            is_given_up: &|| false,
        };
        let penalty = fit(&self.training, 0, &never).expect("a head").report().penalty;
        let start = fit_untested(&self.training, penalty, &never).expect("a head");
        let all: Vec<usize> = (0..self.contents.len()).collect();
        let origin = self.origin(&self.learnt.weights);
        train(
            (&origin, plan),
            &start,
            &self.training,
            &all,
            &|rows| Ok(self.read(rows)),
            seed,
            stop,
        )
        .expect("a copy")
    }

    /// The share of what is asked that a copy answers rightly.
    fn right(&self, copy: &Copy) -> f64 {
        let origin = self.origin(&copy.weights);
        let network = curiod::model::Embedder::open(origin.spec, origin.tokenizer, origin.weights, origin.device)
            .expect("a copy");
        Embedded::of(&network, &self.learnt.archive.asks).right(&copy.head, &self.classes)
    }
}
