//! Training on the CPU, against PyTorch eager and lightly, in turns on the same cores: the raw step, the whole pipeline from
//! kept pictures to learnt weights, and what a step costs beside its arithmetic.
//!
//!   CURIOD_TEST_PYTHON=.../python CURIOD_TEST_DATA=... cargo bench --bench training [-- step|pipeline|texts|upkeep]
//!
//! The network is `resnet_tiny` at 64 px, batch 128, two views; 2 threads. Without CURIOD_TEST_PYTHON the peers are left
//! out, without CURIOD_TEST_DATA the pictures are drawn from a formula and nothing is compared with lightly.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that can not go on stops where it is"
)]

mod training_sides;
mod turns;

use std::path::Path;
use std::process::Command;

use curiod::learn::augment::Recipe;
use tempfile::TempDir;
use training_sides::texts::{PASSAGES, Words};
use training_sides::{BATCH, PX, Start};
use turns::{Rounds, Side, peers, spread};

const STEP_TURN_S: f64 = 3.0;
const PIPELINE_TURN_S: f64 = 8.0;
const ROUNDS: usize = 7;
/// Steps over which memory is watched, after those that fill every buffer and cache.
const UPKEEP_STEPS: u32 = 1_000;
const SETTLE_STEPS: u32 = 200;

fn main() {
    if let Some(arguments) = turns::side_arguments() {
        return training_sides::run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let parts: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let python = peers::python();
    let pictures = pictures();
    for (part, measure) in [
        ("step", step as Measure),
        ("pipeline", pipeline),
        ("texts", texts),
        ("upkeep", upkeep),
    ] {
        if parts.is_empty() || parts.iter().any(|asked| asked == part) {
            measure(python.as_deref(), pictures.as_ref().map(TempDir::path));
        }
    }
}

type Measure = fn(python: Option<&str>, pictures: Option<&Path>);

/// One optimiser update on views that are there already.
fn step(python: Option<&str>, _: Option<&Path>) {
    println!("training step, {BATCH} pictures x 2 views of {PX} px; median of {ROUNDS} turns (least to most)");
    let start = Start::write();
    for precision in ["fp32", "bf16"] {
        let ours = format!("curiod {precision}");
        let mut sides = vec![Side::ours(&ours, &["step", precision])];
        if let Some(python) = python {
            for layout in ["contiguous", "channels_last"] {
                let name = format!("PyTorch eager {precision} {layout}");
                sides.push(peers::peer(
                    &name,
                    python,
                    "step.py",
                    &start.peer_arguments(precision, layout, "2"),
                ));
            }
        }
        for side in &sides {
            println!(
                "  {:<44} loss of step 10 from the same weights and views {}",
                side.name, side.ready["loss"]
            );
        }
        let rounds = Rounds::take(&mut sides, STEP_TURN_S, ROUNDS);
        rounds.print("steps/s", 1.0);
        for peer in 1..sides.len() {
            rounds.print_ratio(0, peer, Some(1.0));
        }
    }
}

/// Pictures, views and steps, all on the same two cores.
fn pipeline(python: Option<&str>, pictures: Option<&Path>) {
    let (Some(python), Some(pictures)) = (python, pictures) else {
        println!("the pipeline is compared with lightly only with CURIOD_TEST_PYTHON and CURIOD_TEST_DATA");
        return;
    };
    println!("pipeline, 32 px JPEGs to views of {PX} px, batch {BATCH}; median of {ROUNDS} turns (least to most)");
    let start = Start::write();
    let recipe = peers::simclr_transform(&Recipe::for_px(PX)).to_string();
    let folder = pictures.to_string_lossy().into_owned();
    let lightly = |precision: &str, layout: &str| {
        // One thread beside two workers: with two, the three processes wait for each other's cores and it is slower.
        let mut arguments = start.peer_arguments(precision, layout, "1");
        arguments.extend(["--workers", "2", "--recipe", &recipe, "--pictures", &folder].map(String::from));
        peers::peer(
            &format!("lightly + DataLoader(2) {precision}"),
            python,
            "pipeline.py",
            &arguments,
        )
    };
    let mut sides = vec![
        Side::ours("curiod fp32", &["pipeline", "fp32", &folder]),
        Side::ours("curiod bf16", &["pipeline", "bf16", &folder]),
        lightly("fp32", "contiguous"),
        lightly("bf16", "channels_last"),
    ];
    let rounds = Rounds::take(&mut sides, PIPELINE_TURN_S, ROUNDS);
    rounds.print("pictures/s", f64::from(BATCH));
    rounds.print_ratio(0, 2, Some(1.2));
    rounds.print_ratio(1, 2, Some(2.0));
    rounds.print_ratio(1, 3, None);
}

/// Masked language modelling of texts that are kept, against Hugging Face's loop on blocks of the same tokens.
fn texts(python: Option<&str>, _: Option<&Path>) {
    let Some(data) = std::env::var_os("CURIOD_TEST_DATA") else {
        println!("texts are learnt only with CURIOD_TEST_DATA");
        return;
    };
    let file = Path::new(&data).join("text/newsgroups/newsgroups.jsonl");
    let name = file.to_string_lossy().into_owned();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    println!(
        "masked language modelling, bert_tiny, {} rows of at most 128 tokens a step, 30% hidden; median of {ROUNDS} turns (least to most)",
        2 * PASSAGES
    );
    for precision in ["fp32", "bf16"] {
        let mut sides = vec![Side::ours(&format!("curiod {precision}"), &["texts", precision, &name])];
        if let Some(python) = python {
            let arguments = Words::read(&file).peer_arguments(folder.path(), precision);
            let name = format!("transformers {precision}");
            sides.push(peers::peer(&name, python, "mlm.py", &arguments));
        }
        let rounds = Rounds::take(&mut sides, PIPELINE_TURN_S, ROUNDS);
        rounds.print("tokens/s", 1.0);
        if sides.len() > 1 {
            rounds.print_ratio(0, 1, Some(1.2));
        }
    }
}

/// What a long run costs beside its arithmetic: page faults, memory, the optimiser.
fn upkeep(_: Option<&str>, pictures: Option<&Path>) {
    println!("upkeep of the pipeline over {UPKEEP_STEPS} steps, bf16, checkpoints included");
    let folder = pictures.map(|folder| folder.to_string_lossy().into_owned());
    let arguments: Vec<&str> = ["pipeline", "bf16"].into_iter().chain(folder.as_deref()).collect();
    let mut pipeline = Side::ours("curiod bf16", &arguments);
    pipeline.turn(SETTLE_STEPS);
    const EVERY: u32 = 20;
    let mut resident = Vec::new();
    let process = pipeline.ready["process"].as_u64().expect("a side says its process");
    let faults = minor_faults(process);
    for done in (0..=UPKEEP_STEPS).step_by(EVERY as usize) {
        resident.push((f64::from(done), resident_mib(process)));
        if done < UPKEEP_STEPS {
            pipeline.turn(EVERY);
        }
    }
    let faults = (minor_faults(process) - faults) as f64 / f64::from(UPKEEP_STEPS);
    println!("  minor page faults: {faults:.0} a step, target 25000");
    let (first, last) = (resident[0].1, resident[resident.len() - 1].1);
    println!(
        "  resident memory: {first:.1} MiB at first, {last:.1} MiB at last, slope {:.2} MiB per 1,000 steps, target 1",
        slope(&resident) * 1e3
    );
    drop(pipeline);

    for precision in ["fp32", "bf16"] {
        let mut sides = [
            Side::ours("step", &["step", precision]),
            Side::ours("optimiser", &["optimiser"]),
        ];
        let shares: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let step = sides[0].turn(10);
                100.0 * step / sides[1].turn(200)
            })
            .collect();
        let (low, median, high) = spread(&shares);
        println!("  optimiser and teacher: {median:.2}% of a step in {precision} ({low:.2} to {high:.2}), target 3%");
    }
}

/// Minor page faults of a process so far.
fn minor_faults(process: u64) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process is there");
    // The name in brackets may hold spaces; the tenth field is the eighth after it.
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    fields
        .split_whitespace()
        .nth(7)
        .and_then(|field| field.parse().ok())
        .expect("a number of faults")
}

/// Resident memory of a process.
fn resident_mib(process: u64) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process is there");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a line of resident memory");
    line.trim()
        .trim_end_matches(" kB")
        .parse::<f64>()
        .expect("a number of KiB")
        / 1024.0
}

/// The slope of the line through these points that has the least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (mean_x, mean_y) = (
        points.iter().map(|p| p.0).sum::<f64>() / n,
        points.iter().map(|p| p.1).sum::<f64>() / n,
    );
    let along: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    along / points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>()
}

/// The training pictures of CIFAR-10 in a folder of folders in memory; None without CURIOD_TEST_DATA.
fn pictures() -> Option<TempDir> {
    let archive = Path::new(&std::env::var_os("CURIOD_TEST_DATA")?).join("images/cifar10/cifar10.tar");
    let folder = tempfile::Builder::new()
        .prefix("curiod-bench-")
        .tempdir_in("/dev/shm")
        .expect("memory takes files");
    let status = Command::new("tar")
        .arg("-xf")
        .arg(&archive)
        .arg("-C")
        .arg(folder.path())
        .args(["--strip-components=1", "train"])
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{} can be unpacked",
        archive.display()
    );
    Some(folder)
}
