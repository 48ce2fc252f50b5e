//! How a command fails: an exit code, and lines that say what, where and what next.

use std::process::ExitCode;

use crate::access::AccessError;
use crate::client::ClientError;
use crate::config::ConfigError;
use crate::daemon::log;
use crate::torch::TorchError;

/// What to do where the configured device can not be used.
pub const DEVICE_HINT: &str = "set device.libtorch_dir to the torch/lib folder of a CUDA PyTorch 2.11 and check the driver with \
    nvidia-smi, or set device.kind to \"cpu\" or \"auto\"";

/// A command that did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    code: u8,
    /// What, and where.
    what: String,
    /// What next.
    hint: Option<String>,
    /// Whether it is in the log, where whoever looks for it looks.
    is_logged: bool,
}

impl Failure {
    /// The daemon, or the command, failed.
    pub const FAILED: u8 = 1;
    /// The command line makes no sense.
    pub const USAGE: u8 = 2;
    /// No daemon answers (`EX_UNAVAILABLE` of sysexits.h).
    pub const UNREACHABLE: u8 = 69;
    /// The configuration can not be used (`EX_CONFIG` of sysexits.h).
    pub const CONFIG: u8 = 78;

    /// A failure with this exit code.
    pub fn new(code: u8, what: impl ToString) -> Self {
        Self {
            code,
            what: what.to_string(),
            hint: None,
            is_logged: false,
        }
    }

    /// With what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Makes it an event of the log, where a program reads that; then it is not told once more.
    pub fn logged(mut self) -> Self {
        self.is_logged = log::takes_last_words();
        if self.is_logged {
            let (exit_code, hint) = (self.code, self.hint.as_deref().unwrap_or_default());
            tracing::error!(error = self.what, hint, exit_code, "failed to run the daemon");
        }
        self
    }

    /// Tells it on stderr, unless the log did.
    pub fn report(&self) -> ExitCode {
        if !self.is_logged {
            eprintln!("error: {}", self.what);
            if let Some(hint) = &self.hint {
                eprintln!("hint: {hint}");
            }
        }
        ExitCode::from(self.code)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Url(_) | ClientError::Ca { .. } => Self::USAGE,
            ClientError::Unreachable { .. } => Self::UNREACHABLE,
            ClientError::Untrusted { .. } | ClientError::Problem(_) | ClientError::Odd { .. } => Self::FAILED,
        };
        Self {
            code,
            what: error.to_string(),
            hint: error.hint(),
            is_logged: false,
        }
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        Self::new(Self::FAILED, &error).hint(error.hint())
    }
}

impl From<TorchError> for Failure {
    fn from(error: TorchError) -> Self {
        Self::new(Self::CONFIG, error).hint(DEVICE_HINT)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Self::CONFIG, &error.what).hint(error.hint)
    }
}
