//! The configuration: composed of a file, the environment and the command line, parsed once, then right.
//! Invariant: a [`Config`] that [`compose()`] returned has passed [`Config::validate`]; nothing downstream checks a
//! setting again.

mod access;
mod compose;
mod sections;
mod validate;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use compose::{compose, environment, parse};
pub use sections::*;

use crate::ids::StreamName;
use crate::sample::image::ImageLimits;
use crate::sample::series::SeriesLimits;
use crate::sample::text::TextLimits;
use crate::sample::transition::TransitionLimits;
use crate::sample::{Cutting, Modality};

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The folder that holds everything the daemon knows.
    pub state_dir: PathBuf,
    /// Where tensors are computed.
    pub device: DeviceConfig,
    /// The HTTP server.
    pub server: ServerConfig,
    /// Who gets the cores.
    pub threads: ThreadConfig,
    /// How files are taken, by every stream that does not say otherwise.
    pub ingest: IngestConfig,
    /// The replay buffer, of every stream that does not say otherwise.
    pub replay: ReplayConfig,
    /// The learner, of every stream that does not say otherwise.
    pub learning: LearningConfig,
    /// The signals of curiosity, of every stream that does not say otherwise.
    pub curiosity: CuriosityConfig,
    /// When models are published, by every stream that does not say otherwise.
    pub publication: PublicationConfig,
    /// The streams.
    #[serde(rename = "stream")]
    pub streams: Vec<StreamConfig>,
}

/// `[[stream]]`: a named flow of unlabeled data. A key of its sections that is not given is the top level's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamConfig {
    /// Its name: 1 to 64 of a-z, 0-9, _ and -; first a letter or digit.
    pub name: StreamName,
    /// The kind of its data.
    pub modality: Modality,
    /// The watched folders.
    pub inbox: Vec<PathBuf>,
    /// How files are taken.
    #[serde(default)]
    pub ingest: IngestConfig,
    /// The replay buffer.
    #[serde(default)]
    pub replay: ReplayConfig,
    /// The learner.
    #[serde(default)]
    pub learning: LearningConfig,
    /// The signals of curiosity.
    #[serde(default)]
    pub curiosity: CuriosityConfig,
    /// When models are published.
    #[serde(default)]
    pub publication: PublicationConfig,
}

impl StreamConfig {
    /// How its files are cut into samples, pictures kept at so many pixels.
    pub fn cutting(&self, image_px: u32) -> Cutting {
        match self.modality {
            Modality::Image => Cutting::Pictures {
                limits: ImageLimits {
                    pixels_max: self.ingest.image_pixels_max,
                    side_px_max: self.ingest.image_side_px_max,
                },
                image_px,
            },
            Modality::Text => Cutting::Texts {
                limits: TextLimits {
                    chars_max: self.ingest.passage_chars_max,
                    chars_overlap: self.ingest.passage_overlap_chars,
                    ..TextLimits::default()
                },
                field: self.ingest.text_field.clone(),
            },
            Modality::Series => Cutting::Series(SeriesLimits {
                window_steps: self.ingest.window_steps,
                stride_steps: match self.ingest.window_stride_steps {
                    0 => self.ingest.window_steps / 2,
                    asked => asked,
                },
                time_column: self.ingest.time_column.clone(),
                value_columns: self.ingest.value_columns.clone(),
                ..SeriesLimits::default()
            }),
            Modality::Transition => Cutting::Transitions(TransitionLimits {
                state_dims_max: self.learning.state_dims_max as usize,
                actions_max: self.learning.actions_max as usize,
                ..TransitionLimits::default()
            }),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/lib/curiod"),
            device: DeviceConfig::default(),
            server: ServerConfig::default(),
            threads: ThreadConfig::default(),
            ingest: IngestConfig::default(),
            replay: ReplayConfig::default(),
            learning: LearningConfig::default(),
            curiosity: CuriosityConfig::default(),
            publication: PublicationConfig::default(),
            streams: Vec::new(),
        }
    }
}

/// The JSON schema of the configuration file.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Config)
}

/// A configuration that can not be used: what, where, and what next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct ConfigError {
    /// What is wrong, and where.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

impl ConfigError {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: hint.into(),
        }
    }
}
