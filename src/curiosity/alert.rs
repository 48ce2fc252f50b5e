//! Alerts: what somebody should look at, and how it is said.

use serde::{Deserialize, Serialize};

use super::Change;
use crate::ids::SampleId;

/// Which signal changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// The quantile of the error of what is seen for the first time.
    Error,
    /// The quantile of its novelty.
    Novelty,
    /// The law by which states follow each other: the error of easy transitions over how much their states change.
    Law,
}

impl Signal {
    /// Its name in alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Novelty => "novelty",
            Self::Law => "law",
        }
    }
}

/// Something that somebody should look at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Alert {
    /// What arrives is not what it was.
    Drift {
        /// The signal that shows it.
        signal: Signal,
        /// Its mean before and since, as quantiles of the stream; of the law the error itself.
        change: Change,
        /// The sample that made it certain.
        sample: SampleId,
    },
    /// A sample is like nothing else and badly understood.
    Outlier {
        /// The sample.
        sample: SampleId,
        /// The quantile of its error.
        rank: f64,
        /// The quantile of its novelty.
        novelty: f64,
    },
}

impl std::fmt::Display for Alert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Drift { signal, change, .. } => {
                let Change { before, since } = change;
                let kind = match (signal, since > before) {
                    (Signal::Error, true) => "harder",
                    (Signal::Error, false) => "easier",
                    (Signal::Novelty, true) => "newer",
                    (Signal::Novelty, false) => "more familiar",
                    (Signal::Law, _) => {
                        return write!(
                            f,
                            "states follow each other by another law than they did (easy transitions are {since:.2} of their change \
                             off, before {before:.2})"
                        );
                    }
                };
                let signal = signal.as_str();
                write!(
                    f,
                    "what arrives is {kind} than it was (mean quantile of its {signal} {since:.2}, before {before:.2})"
                )
            }
            Self::Outlier { sample, rank, novelty } => write!(
                f,
                "sample {sample} is like nothing else held (quantile of its novelty {novelty:.4}) and hardly understood \
                 (of its error {rank:.4})"
            ),
        }
    }
}
