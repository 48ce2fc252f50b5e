//! `curiod run`, `doctor`, `check-config`, `config`, `replay`: what works on this machine's files, not over HTTP.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::config::{CheckArgs, ConfigCommand};
use super::failure::Failure;
use super::output::print;
use super::run::RunArgs;
use super::{Format, doctor};
use crate::config::{self, Config};
use crate::daemon::lock::StateLock;
use crate::daemon::{self, DaemonError, StreamError};
use crate::ingest::IngestError;
use crate::replay::ReplayBuffer;

/// The flags of `curiod doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Look at what this configuration needs, not at the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// `curiod replay`.
#[derive(Subcommand, Clone, Debug)]
pub enum ReplayCommand {
    /// Read every record of a stopped daemon's buffers, and compare ledger, catalogue and segments; change nothing
    Verify(VerifyArgs),
}

/// The flags of `curiod replay verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// The daemon's configuration
    #[arg(long, value_name = "FILE", required_unless_present = "state")]
    config: Option<PathBuf>,
    /// The daemon's state directory, where there is no configuration file
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    state: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        let (code, hint) = match &error {
            DaemonError::Lock(error) => (Self::FAILED, error.hint().to_owned()),
            DaemonError::Torch(_) => (
                Self::CONFIG,
                "set device.libtorch_dir to the torch/lib folder of a CUDA PyTorch 2.11 and check the driver with nvidia-smi, or set \
                 device.kind to \"cpu\" or \"auto\"".to_owned(),
            ),
            DaemonError::Bind { .. } => {
                (Self::FAILED, "stop what listens there (curiod status tells if it is a curiod), or set another server.bind (--bind without a file)".to_owned())
            }
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

/// `curiod replay`.
pub fn replay(command: &ReplayCommand) -> Result<(), Failure> {
    let ReplayCommand::Verify(args) = command;
    let state_dir;
    let buffers = match (&args.config, &args.state) {
        (Some(file), _) => {
            let config = config::compose(file, config::environment())?;
            state_dir = config.state_dir.clone();
            daemon::replay_dirs(&config)
        }
        (None, state) => {
            state_dir = state.clone().unwrap_or_default();
            streams_below(&state_dir)?
        }
    };
    if !state_dir.is_dir() {
        return Err(Failure::new(
            Failure::FAILED,
            format!("{} is no state directory", state_dir.display()),
        )
        .hint("give the one that the daemon was run with"));
    }
    let _lock =
        StateLock::take(&state_dir).map_err(|error| Failure::new(Failure::FAILED, &error).hint(error.hint()))?;
    daemon::sweep_copies(&std::env::temp_dir());
    let (mut reports, mut bad) = (Vec::new(), 0);
    for (name, dir) in buffers {
        let report = ReplayBuffer::verify(&dir).map_err(|error| {
            Failure::new(Failure::FAILED, format!("stream `{name}`: {error}"))
                .hint("a stream has a buffer once the daemon has run with it")
        })?;
        bad += usize::from(!report.ok);
        if !args.format.json {
            let verdict = if report.ok { "good" } else { "BAD" };
            print(&format!(
                "stream `{name}`: {verdict}: {} samples of {} sources in {} segments, {} bytes, {} quarantined, {} bad records\n",
                report.samples,
                report.sources,
                report.segments,
                report.bytes,
                report.quarantined,
                report.bad_records.len()
            ))?;
            for contradiction in &report.contradictions {
                print(&format!("  {contradiction}\n"))?;
            }
        }
        let mut report = serde_json::to_value(&report).map_err(|error| Failure::new(Failure::FAILED, error))?;
        report["stream"] = json!(name);
        reports.push(report);
    }
    if args.format.json {
        print(&(json!({ "streams": reports }).to_string() + "\n"))?;
    }
    match bad {
        0 => Ok(()),
        bad => Err(
            Failure::new(Failure::FAILED, format!("{bad} buffers are not as they should be")).hint(
                "start the daemon: it makes the catalogue agree with the segments again, sets aside what can not be read, \
                 and takes files again whose samples are lost if they still are in the inbox",
            ),
        ),
    }
}

/// The buffers of every stream that a state directory knows.
fn streams_below(state_dir: &std::path::Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let folder = state_dir.join("streams");
    let entries = std::fs::read_dir(&folder).map_err(|error| {
        Failure::new(Failure::FAILED, format!("failed to read {}: {error}", folder.display()))
            .hint("give the state directory of a daemon")
    })?;
    let mut found: Vec<_> = entries
        .flatten()
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                entry.path().join("replay"),
            )
        })
        .collect();
    found.sort();
    Ok(found)
}
