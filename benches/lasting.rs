//! Learning that lasts: does what curiod does by itself keep what it learnt where a stream makes that hard? Each stream of
//! `streams/mod.rs` is played through `curiod::backtest` by the arms, at equal compute (curiod's effort may take less), and its
//! report is printed and kept.
//!
//!   CURIOD_TEST_DATA=... cargo bench --bench lasting -- [STREAM...] [--arms A,B] [--arm NAME=KEY=VALUE,...]
//!       [--seeds 3] [--steps N] [--scored N] [--threads 0] [--set KEY=VALUE] [--out DIR]
//!
//! Without a name every stream is played but `steady`, which wants `--set learning.batch=32`. All of them with three seeds take
//! hours; two of these side by side with one thread each do 1.5 times the steps of one with two.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that can not go on stops where it is"
)]

mod streams;

use std::path::{Path, PathBuf};

use clap::Parser;
use curiod::backtest::{self, Arm, BacktestSetup, PlaySetup, Report};
use curiod::config;
use streams::Stream;

/// The arms that are compared where nobody says which.
const ARMS: [&str; 7] = ["random", "pixels", "iid", "naive", "fifo", "reservoir", "curiod"];

/// Pictures of the stream that are known when it is scored.
const KNOWN: usize = 4_000;

#[derive(Parser)]
struct Flags {
    /// Streams by name
    streams: Vec<String>,
    #[arg(long, value_delimiter = ',', default_values = ARMS)]
    arms: Vec<String>,
    #[arg(long)]
    arm: Vec<String>,
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Steps of each arm, in place of the stream's own number
    #[arg(long)]
    steps: Option<u64>,
    #[arg(long)]
    scored: Option<usize>,
    /// Threads of one operation; 0: all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    #[arg(long)]
    set: Vec<String>,
    /// Print what each arm had learnt whenever it was scored
    #[arg(long)]
    curve: bool,
    /// A folder for NAME.json
    #[arg(long)]
    out: Option<PathBuf>,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let flags = Flags::parse();
    let Some(data) = std::env::var_os("CURIOD_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: the streams are made of real pictures; set CURIOD_TEST_DATA");
        return;
    };
    for stream in streams::ALL {
        let is_named = flags.streams.iter().any(|name| name == stream.name);
        if is_named || (flags.streams.is_empty() && !stream.only_named) {
            play(&stream, &flags, &data);
        }
    }
}

fn play(stream: &Stream, flags: &Flags, data: &Path) {
    let archive = (stream.make)(data);
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let file = scratch.path().join("curiod.toml");
    let text = format!(
        "state_dir = {:?}\n[[stream]]\nname = \"s\"\nmodality = \"image\"\ninbox = [{:?}]\n",
        scratch.path().join("state"),
        scratch.path().join("inbox")
    );
    std::fs::write(&file, text).expect("a configuration");
    let mut settings = config::compose(&file, config::environment()).expect("a bare configuration");
    let mut base = settings.streams.remove(0);
    for setting in ["learning.image_px=32"]
        .into_iter()
        .chain(flags.set.iter().map(String::as_str))
    {
        base = base
            .with(setting)
            .unwrap_or_else(|error| panic!("{setting}: {}", error.what));
    }
    let device = curiod::torch::prepare(&settings.device).expect("a device");
    let arms = flags.arms.iter().chain(&flags.arm);
    let setup = BacktestSetup {
        arms: arms
            .map(|text| Arm::parse(text, &base, stream.buffer).expect("an arm"))
            .collect(),
        seeds: flags.seeds,
        play: PlaySetup {
            steps: flags.steps.unwrap_or(stream.steps),
            arrive_together: 64,
            scored_an_experience: flags.scored.unwrap_or(stream.scored),
            device,
            threads: match flags.threads {
                0 => settings.threads.learn(),
                threads => threads,
            },
        },
        known_max: KNOWN,
        scratch: scratch.path().to_owned(),
    };
    println!(
        "\n{}: {}\n{} pictures arrive, {} asked, buffer {}, {} steps, {} threads",
        stream.name,
        stream.what,
        archive.stream.len(),
        archive.asks.len(),
        stream.buffer,
        setup.play.steps,
        setup.play.threads
    );
    let report = backtest::run(&archive, &setup, |arm, seed, moment| {
        eprintln!(
            "{} {arm} seed {seed}: {} arrived, step {}, {:.0} s: knn {:.2} probe {:.2}",
            stream.name,
            moment.arrived,
            moment.step,
            moment.spent.as_secs_f64(),
            100.0 * moment.measured.knn.all,
            100.0 * moment.measured.linear.all,
        );
    })
    .expect("a backtest");
    print(&report);
    for (name, arm) in report.in_order().filter(|_| flags.curve) {
        for point in &arm.curve {
            println!(
                "{name:<14} {:>7} arrived {:>6.0} steps, effort {:.2}, neighbours {:.1}, probe {:.1}",
                point.arrived,
                point.steps,
                point.effort,
                100.0 * point.knn,
                100.0 * point.linear
            );
        }
    }
    if let Some(folder) = &flags.out {
        std::fs::create_dir_all(folder).expect("the folder");
        let text = serde_json::to_vec_pretty(&report).expect("a report is JSON");
        std::fs::write(folder.join(format!("{}.json", stream.name)), text).expect("the report's file");
    }
}

/// One line an arm; accuracies in %, over the seeds.
fn print(report: &Report) {
    println!(
        "{:<14} {:>13} {:>13} {:>12} {:>8} {:>8} {:>9} {:>7} {:>8}  90 % of iid at step",
        "arm", "neighbours", "probe", "less iid", "forgot", "(first)", "unscored", "steps", "seconds"
    );
    for (name, arm) in report.in_order() {
        let percent =
            |spread: &backtest::metrics::Spread| format!("{:.1} ± {:.1}", 100.0 * spread.mean, 100.0 * spread.std);
        let less = arm.knn_less_iid.as_ref();
        println!(
            "{name:<14} {:>13} {:>13} {:>12} {:>8.1} {:>8.1} {:>9.1} {:>7.0} {:>8.0}  {:?}",
            percent(&arm.knn_final),
            percent(&arm.linear_final),
            less.map_or_else(String::new, |less| format!(
                "{:+.1} ± {:.1}",
                100.0 * less.mean,
                100.0 * less.half_width()
            )),
            100.0 * arm.forgetting_max_last.mean,
            100.0 * arm.forgetting_first_last.mean,
            100.0 * arm.unlabelled_share.mean,
            arm.steps.mean,
            arm.seconds.mean,
            arm.steps_to_90_percent.as_deref().unwrap_or_default(),
        );
    }
}
