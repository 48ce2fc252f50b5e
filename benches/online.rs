//! Learning online: what arrives is judged by the network as it was before, then learnt from. Through the daemon's own buffer and
//! learner.
//!
//!   CURIOD_TEST_DATA=... cargo bench --bench online -- [nab|ett|noisy_tv|regimes|actions]... [--seeds 3] [--window 256]
//!       [--set KEY=VALUE] [--threads 0] [--one-by-one]
//!
//! `nab`: the files of the Numenta Anomaly Benchmark that are there, one after the other as one stream; each row is scored by what
//! the rows before it promised, and the benchmark's rule scores that. `--one-by-one`: a network of its own for each file.
//! `ett`: how much better the last day of windows is foretold than by repeating the day before. `noisy_tv`: where the intrinsic reward of CartPole goes that has two dimensions nobody can learn. `regimes`: when changes of the
//! dynamics are told. `actions`: how often what was done is told from both states.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that can not go on stops where it is"
)]

mod online_sides;

use std::path::PathBuf;

use clap::Parser;

/// The flags of the bench.
#[derive(Parser)]
struct Flags {
    /// What is measured; nothing: all
    sides: Vec<String>,
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Steps of a window of a series
    #[arg(long, default_value_t = 256)]
    window: usize,
    #[arg(long)]
    set: Vec<String>,
    /// Threads of one operation; 0: all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    #[arg(long)]
    one_by_one: bool,
    /// What cargo passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let flags = Flags::parse();
    let Some(data) = std::env::var_os("CURIOD_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: the streams are real; set CURIOD_TEST_DATA");
        return;
    };
    type Side = fn(&Flags, &std::path::Path);
    let sides: [(&str, Side); 5] = [
        ("nab", online_sides::nab::run),
        ("ett", online_sides::ett::run),
        ("noisy_tv", online_sides::transitions::noisy_tv),
        ("regimes", online_sides::transitions::regimes),
        ("actions", online_sides::transitions::actions),
    ];
    for (name, side) in sides {
        if flags.sides.is_empty() || flags.sides.iter().any(|named| named == name) {
            println!("\n{name}");
            side(&flags, &data);
        }
    }
}
