//! `curiod run`, `doctor`, `check-config`, `config`: what works on this machine's files, not over HTTP.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::config::{CheckArgs, ConfigCommand};
use super::failure::{DEVICE_HINT, Failure};
use super::output::print;
use super::run::RunArgs;
use super::{Format, doctor};
use crate::config::{self, Config};
use crate::daemon::{self, DaemonError, StreamError};
use crate::ingest::IngestError;

/// The flags of `curiod doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Look at what this configuration needs, not at the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        let (code, hint) = match &error {
            DaemonError::Lock(error) => (Self::FAILED, error.hint().to_owned()),
            DaemonError::Torch(_) => (Self::CONFIG, DEVICE_HINT.to_owned()),
            DaemonError::Bind { .. } => {
                (Self::FAILED, "stop what listens there (curiod status tells if it is a curiod), or set another server.bind (--bind without a file)".to_owned())
            }
            DaemonError::Credentials(error) => (Self::CONFIG, error.hint()),
            DaemonError::Socket(error) => (Self::FAILED, error.hint().to_owned()),
            DaemonError::Stream { source: source @ StreamError::Ingest(IngestError::Inbox { .. }), .. } => {
                (Self::CONFIG, source.hint().to_owned())
            }
            DaemonError::Stream { source, .. } => (Self::FAILED, source.hint().to_owned()),
            DaemonError::Fault(_) => (Self::CONFIG, "unset CURIOD_FAULT".to_owned()),
            DaemonError::System { .. } => (Self::FAILED, "check the limits of this user (ulimit -a)".to_owned()),
        };
        Self::new(code, error).hint(hint)
    }
}

/// `curiod run`.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    // First of all, so that what is wrong with the configuration is in the log too.
    daemon::log::start();
    let ran = args.compose().map_err(Failure::from).and_then(|config| {
        let args = args.clone();
        Ok(daemon::run(config, move || args.compose())?)
    });
    ran.map_err(Failure::logged)
}

/// `curiod check-config`.
pub fn check_config(args: &CheckArgs) -> Result<(), Failure> {
    print(&super::config::check(args)?)
}

/// `curiod config`.
pub fn config(command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Schema => {
            let schema = serde_json::to_string_pretty(&config::schema());
            print(&(schema.map_err(|error| Failure::new(Failure::FAILED, error))? + "\n"))
        }
    }
}

/// `curiod doctor`.
pub fn doctor(args: &DoctorArgs) -> Result<(), Failure> {
    let config = match &args.config {
        Some(file) => config::compose(file, config::environment())?,
        None => Config {
            state_dir: super::run::default_state_dir().unwrap_or_default(),
            ..Config::default()
        },
    };
    let checks = doctor::examine(&config);
    if args.format.json {
        print(&(json!(checks).to_string() + "\n"))?;
    } else {
        for check in &checks {
            let word = match check.outcome {
                doctor::Outcome::Ok => "ok      ",
                doctor::Outcome::Warning => "warning ",
                doctor::Outcome::Failed => "FAILED  ",
            };
            print(&format!("{word}{:<10} {}\n", check.name, check.found))?;
            if !check.hint.is_empty() {
                print(&format!("                   hint: {}\n", check.hint))?;
            }
        }
    }
    match checks
        .iter()
        .filter(|check| check.outcome == doctor::Outcome::Failed)
        .count()
    {
        0 => Ok(()),
        failed => Err(Failure::new(Failure::FAILED, format!("{failed} checks failed")).hint("see their hints above")),
    }
}
