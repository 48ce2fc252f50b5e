//! `curiod quarantine`: the files that could not be taken, and why.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::failure::Failure;
use super::output::{print, print_json, table};
use super::{Connection, Format};

/// What to do with them.
#[derive(Subcommand, Clone, Debug)]
pub enum QuarantineCommand {
    /// Every file in quarantine
    List(ListArgs),
}

/// The flags of `curiod quarantine list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    /// Of this stream alone
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
}

/// `curiod quarantine`.
pub fn quarantine(command: &QuarantineCommand) -> Result<(), Failure> {
    let QuarantineCommand::List(args) = command;
    let query = args
        .stream
        .as_ref()
        .map(|stream| format!("?stream={stream}"))
        .unwrap_or_default();
    let entries = args.connection.client()?.get(&format!("/api/v1/quarantine{query}"))?;
    if args.format.json {
        return print_json(&entries);
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows: Vec<_> = entries
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| ["at", "stream", "path", "bytes", "reason", "detail"].map(|key| text(&entry[key])))
        .collect();
    print(&table(["at", "stream", "path", ">bytes", "reason", "detail"], &rows))
}
