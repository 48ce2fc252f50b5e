//! What few labels are worth: a network learns without them from CIFAR-10, from photos of trash, or from short queries; then 10,
//! 20 and 50 of what it learnt from get labels, once those that `label-queue` finds typical and once as many by lot, and a
//! classifier of them is asked about what was never seen. Last 1 % of the labels, by lot, where that is 10 or more.
//!
//!   CURIOD_TEST_DATA=... cargo bench --bench labels -- [pictures|photos|texts] [--steps N] [--draws 10] [--threads 1] [--out DIR]
//!       [--set KEY=VALUE]
//!
//! A few minutes on one thread, nearly all of them for learning. `--set learning.init=DIR --steps 0` begins with a published
//! folder instead. Prints the curve, and writes it to DIR as NAME.svg.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that can not go on stops where it is"
)]

mod labelled;

use std::path::{Path, PathBuf};

use clap::Parser;
use curiod::labels::{Pool, typical};
use curiod::plot::{Axis, Line, Panel, Unit, lines};
use labelled::{Embedded, Part, Spread};

/// Labels that are given.
const BUDGETS: [usize; 3] = [10, 20, 50];

#[derive(Parser)]
struct Flags {
    /// `pictures`, `photos`, `texts`, or all where nothing is named
    parts: Vec<String>,
    /// Steps of learning without labels
    #[arg(long)]
    steps: Option<u64>,
    /// Times that labels are chosen, by lot and with another seed of the clusters
    #[arg(long, default_value_t = 10)]
    draws: u64,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(long)]
    set: Vec<String>,
    /// A folder for NAME.svg
    #[arg(long)]
    out: Option<PathBuf>,
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
    let (archive, network) = (&learnt.archive, learnt.network());
    let (known, asked) = (
        Embedded::of(&network, &archive.stream),
        Embedded::of(&network, &archive.asks),
    );
    println!(
        "\n{}: {} learnt from without labels, {} steps, {:.0} s; {} asked, {} classes; accuracy in %, mean ± standard deviation of {}",
        part.name,
        archive.stream.len(),
        learnt.steps,
        learnt.took.as_secs_f64(),
        archive.asks.len(),
        archive.labels.len(),
        flags.draws
    );
    println!(
        "{:>7} {:>16} {:>16} {:>22}",
        "labels", "typical", "by lot", "classes had, typical"
    );
    let (mut of_typical, mut of_lot) = (Vec::new(), Vec::new());
    for budget in BUDGETS {
        let chosen: Vec<Vec<usize>> = (0..flags.draws).map(|seed| typical_of(&known, budget, seed)).collect();
        let by_lot: Vec<Vec<usize>> = (0..flags.draws).map(|seed| known.by_lot(budget, seed)).collect();
        let classes: usize = chosen.iter().map(|rows| classes_of(&known, rows)).sum();
        let accuracies =
            |choices: &[Vec<usize>]| -> Vec<f64> { choices.iter().map(|rows| known.accuracy(rows, &asked)).collect() };
        let (typical, lot) = (Spread::of(&accuracies(&chosen)), Spread::of(&accuracies(&by_lot)));
        println!(
            "{budget:>7} {typical:>16} {lot:>16} {:>22.1}",
            classes as f64 / flags.draws as f64
        );
        of_typical.push((budget as f64, typical.mean));
        of_lot.push((budget as f64, lot.mean));
    }
    let one_percent = known.labels.len() / 100;
    if one_percent >= BUDGETS[0] {
        let draws: Vec<Vec<usize>> = (0..flags.draws).map(|seed| known.by_lot(one_percent, seed)).collect();
        let accuracies: Vec<f64> = draws.iter().map(|rows| known.accuracy(rows, &asked)).collect();
        let spread = Spread::of(&accuracies);
        println!("{one_percent:>7} {:>16} {spread:>16} (1 %)", "");
        of_lot.push((one_percent as f64, spread.mean));
    }
    if let Some(folder) = &flags.out {
        let panel = Panel {
            y: Axis {
                label: "accuracy",
                unit: Unit::Share,
            },
            lines: vec![
                Line {
                    name: "typical",
                    points: of_typical,
                },
                Line {
                    name: "by lot",
                    points: of_lot,
                },
            ],
            marks: None,
        };
        let x = Axis {
            label: "labels",
            unit: Unit::Number,
        };
        let title = format!("What few labels are worth: {}", part.name);
        let svg = lines(&title, x, &[panel]).expect("a plot");
        std::fs::create_dir_all(folder).expect("the folder");
        std::fs::write(folder.join(format!("{}.svg", part.name)), svg).expect("the plot's file");
    }
}

/// As many typical rows, of as many as the daemon would choose from, by lot.
fn typical_of(known: &Embedded, count: usize, seed: u64) -> Vec<usize> {
    let pool = known.by_lot(Pool::room(0, count), seed + 1_000);
    let candidates = pool.iter().map(|row| known.row(*row)).collect();
    let chosen = typical(
        &Pool {
            candidates,
            labelled: Vec::new(),
        },
        count,
        seed,
    );
    chosen.into_iter().map(|(at, _)| pool[at]).collect()
}

fn classes_of(known: &Embedded, rows: &[usize]) -> usize {
    rows.iter()
        .map(|row| known.labels[*row])
        .collect::<std::collections::BTreeSet<_>>()
        .len()
}
