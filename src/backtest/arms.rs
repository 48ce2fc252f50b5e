//! Arms: what is compared. Each is a whole configuration of a stream, so that it runs through the daemon's own code.
//! Always true: all trained arms have the same network, objective, schedule and most steps; they differ in what is kept,
//! what is replayed, and what is named in their own settings. Only the daemon's own effort may take fewer steps.

use super::BacktestError;
use crate::config::{LearningConfig, NearDuplicates, RemoverKind, ReplayConfig, SamplerKind, StreamConfig};

/// The arms that are run where nobody says which.
pub const DEFAULT: [&str; 8] = [
    "random",
    "pixels",
    "iid",
    "naive",
    "fifo",
    "reservoir",
    "minred",
    "curiod",
];

/// Samples that the naive arm learns from: the newest.
const NAIVE_SAMPLES: usize = 64;

/// What an arm sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    /// Nothing: the network keeps its random weights.
    Nothing,
    /// Nothing, and there is no network: the pictures' own pixels are the features.
    Pixels,
    /// Everything from the first step on, each picture equally often.
    Everything,
    /// What arrives, in its order.
    TheStream,
}

/// One side of the comparison.
#[derive(Clone, Debug)]
pub struct Arm {
    /// What it is called.
    pub name: String,
    /// What it sees.
    pub sees: Sees,
    /// How it keeps, replays and learns.
    pub config: StreamConfig,
}

impl Arm {
    /// An arm by its name; `name=KEY=VALUE,KEY=VALUE` is the daemon with other settings, such as
    /// `uniform=replay.sampler=uniform`. `base` is the daemon's configuration, `buffer` the samples that may be kept.
    pub fn parse(text: &str, base: &StreamConfig, buffer: usize) -> Result<Self, BacktestError> {
        let mut config = StreamConfig {
            replay: ReplayConfig {
                samples_max: buffer,
                ..base.replay.clone()
            },
            ..base.clone()
        };
        if let Some((name, settings)) = text.split_once('=') {
            for setting in settings.split(',') {
                config = config
                    .with(setting)
                    .map_err(|error| BacktestError::new(error.what, error.hint))?;
            }
            return Ok(Self {
                name: name.to_owned(),
                sees: Sees::TheStream,
                config,
            });
        }
        let plain = |config: StreamConfig, remover| StreamConfig {
            learning: LearningConfig {
                alignment_max: 0.0,
                ..config.learning
            },
            replay: ReplayConfig {
                remover,
                sampler: SamplerKind::Uniform,
                draws_per_sample_min: config.replay.draws_per_sample,
                near_duplicates: NearDuplicates::Keep,
                ..config.replay
            },
            ..config
        };
        let (sees, config) = match text {
            "random" => (Sees::Nothing, config),
            "pixels" => (Sees::Pixels, config),
            "iid" => {
                config.replay.samples_max = 0;
                config.replay.recent_share = 0.0;
                (Sees::Everything, plain(config, RemoverKind::Reservoir))
            }
            "naive" => {
                config.replay.recent_share = 1.0;
                config.replay.recent_samples = NAIVE_SAMPLES;
                (Sees::TheStream, plain(config, RemoverKind::Fifo))
            }
            "fifo" => (Sees::TheStream, plain(config, RemoverKind::Fifo)),
            "reservoir" => (Sees::TheStream, plain(config, RemoverKind::Reservoir)),
            "minred" => (Sees::TheStream, plain(config, RemoverKind::MinRedundancy)),
            "curiod" => (Sees::TheStream, config),
            _ => {
                return Err(BacktestError::new(
                    format!("there is no arm `{text}`"),
                    format!(
                        "the arms are {}, or NAME=KEY=VALUE,... for one of your own",
                        DEFAULT.join(", ")
                    ),
                ));
            }
        };
        Ok(Self {
            name: text.to_owned(),
            sees,
            config,
        })
    }

    /// The least share of its steps that an arm takes where nothing is left to learn; 1: they do not follow progress.
    pub fn least_effort(&self) -> f64 {
        match self.config.replay.draws() {
            (_, 0.0) => 1.0,
            (least, most) => least / most,
        }
    }

    /// Whether anything is learnt.
    pub fn learns(&self) -> bool {
        matches!(self.sees, Sees::Everything | Sees::TheStream)
    }
}
