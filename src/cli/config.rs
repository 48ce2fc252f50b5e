//! `curiod check-config` and `curiod config`: the configuration, without a daemon.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::config::{self, ConfigError};

/// The flags of `curiod check-config`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The configuration file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `curiod config`.
#[derive(Subcommand, Clone, Debug)]
pub enum ConfigCommand {
    /// Print the JSON schema of the configuration file.
    Schema,
}

/// Checks a file; gives what it configures, in words. An inbox that does not exist yet is told, and no error: the file may be
/// checked on another machine.
pub fn check(arguments: &CheckArgs) -> Result<String, ConfigError> {
    let config = config::compose(&arguments.file, config::environment())?;
    let mut said = format!("{}: good\n", arguments.file.display());
    for stream in &config.streams {
        for inbox in &stream.inbox {
            let note = if inbox.is_dir() { "" } else { " (does not exist yet)" };
            said += &format!(
                "  stream `{}` learns from {}s in {}{note}\n",
                stream.name,
                stream.modality,
                inbox.display()
            );
        }
    }
    said += &format!(
        "  state in {}, listens on {}\n",
        config.state_dir.display(),
        config.server.bind
    );
    Ok(said)
}
