//! Backtest: an archive with labels, played as a stream through the daemon's own parts, under several settings ("arms"),
//! at the same compute at most: what would curiod have learnt of it, and forgotten?
//! Always true: labels score and never teach; arms of one seed see the same stream in the same order.

mod archive;
mod arms;
mod exam;
mod jsonl;
pub mod metrics;
pub mod nab;
mod play;
mod plot;
pub mod probes;
mod report;

use std::path::PathBuf;

pub use archive::{Archive, ArchiveSetup, Cut, Item};
pub use arms::{Arm, DEFAULT as DEFAULT_ARMS, Sees};
pub use exam::{Exam, Features, Measured, Scores};
pub use play::{Moment, PlaySetup, Played, play, untrained};
pub use report::{ArmReport, Report};

use crate::learn::LearnError;
use crate::model::ModelError;
use crate::replay::ReplayError;

/// Why a backtest could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// What was given can not be used.
    #[error("{what}")]
    Given {
        /// What is wrong, and where.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// A file could not be read or written.
    #[error("failed to {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Learning failed.
    #[error(transparent)]
    Learn(#[from] LearnError),
    /// The replay buffer failed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A network failed.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl BacktestError {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Given {
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &str {
        match self {
            Self::Given { hint, .. } => hint,
            Self::File { .. } => "look at the folder's owner, mode and free space",
            Self::Learn(_) | Self::Replay(_) | Self::Model(_) => {
                "look at the free space of --scratch, and at the settings"
            }
        }
    }
}

/// What is compared on what.
pub struct BacktestSetup {
    /// The sides of the comparison.
    pub arms: Vec<Arm>,
    /// Each arm is played so often, with the seeds `0..seeds`.
    pub seeds: u64,
    /// How each is played.
    pub play: PlaySetup,
    /// Pictures of the stream that are known when it is scored, at most.
    pub known_max: usize,
    /// A folder for buffers and checkpoints; what is made in it is removed.
    pub scratch: PathBuf,
}

/// Plays every arm. `told` hears of each moment: the arm's name, the seed, the moment.
pub fn run(
    archive: &Archive,
    setup: &BacktestSetup,
    mut told: impl FnMut(&str, u64, &Moment),
) -> Result<Report, BacktestError> {
    crate::torch::set_threads(setup.play.threads);
    let exam = Exam::new(archive, setup.known_max);
    let mut played: Vec<Vec<Played>> = setup.arms.iter().map(|_| Vec::new()).collect();
    for seed in 0..setup.seeds {
        for (arm, played) in setup.arms.iter().zip(&mut played) {
            let mut tell = |moment: &Moment| told(&arm.name, seed, moment);
            if !arm.learns() {
                let one = untrained(archive, &exam, arm, seed, setup.play.device)?;
                one.moments.iter().for_each(&mut tell);
                played.push(one);
                continue;
            }
            let scratch = setup.scratch.join(format!("{}-{seed}", arm.name));
            let file = |action, source| BacktestError::File {
                action,
                path: scratch.clone(),
                source,
            };
            std::fs::create_dir_all(&scratch).map_err(|error| file("create", error))?;
            let one = play(archive, &exam, arm, seed, &setup.play, &scratch, &mut tell);
            std::fs::remove_dir_all(&scratch).map_err(|error| file("remove", error))?;
            played.push(one?);
        }
    }
    Ok(Report::new(archive, setup, &played))
}
