//! `curiod demo`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::failure::Failure;
use crate::demo::{DemoError, DemoSetup, run};

/// The flags of `curiod demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// A folder of photos
    #[arg(long, value_name = "DIR")]
    pictures: PathBuf,
    /// How long to learn
    #[arg(long, value_name = "MINUTES", default_value_t = 3.0)]
    minutes: f64,
    /// Leave the daemon running
    #[arg(long)]
    keep: bool,
    /// Seed of the crops and of the learner
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print the measurements as JSON at the end
    #[arg(long)]
    json: bool,
}

/// `curiod demo`.
pub fn demo(args: &DemoArgs) -> Result<(), Failure> {
    if !(0.1..=600.0).contains(&args.minutes) {
        return Err(
            Failure::new(Failure::USAGE, format!("--minutes {} is out of bounds", args.minutes))
                .hint("give 0.1 to 600"),
        );
    }
    let setup = DemoSetup {
        pictures: args.pictures.clone(),
        duration: Duration::from_secs_f64(args.minutes * 60.0),
        keep: args.keep,
        seed: args.seed,
        json: args.json,
    };
    run(&setup).map_err(|error| {
        let hint = match &error {
            DemoError::TooFewPhotos { .. } => "give a folder of photos with --pictures, or DATA=/path to make demo",
            DemoError::Io { .. } => "check the folder and the temporary folder (TMPDIR)",
            _ => "the daemon's log says more",
        };
        Failure::new(Failure::FAILED, error).hint(hint)
    })
}
