//! `curiod quarantine`: the files that could not be taken, and why; read again, or forgotten.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{print, print_json, table, visible};
use super::{Connection, Format};

/// The flags of `curiod quarantine`, which without a word lists.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct QuarantineArgs {
    #[command(subcommand)]
    command: Option<QuarantineCommand>,
    #[command(flatten)]
    list: ListArgs,
}

/// What to do with them.
#[derive(Subcommand, Clone, Debug)]
pub enum QuarantineCommand {
    /// Every file in quarantine
    List(ListArgs),
    /// Have files read again, and taken if they are good now. Those that were moved are moved back to the inbox
    Retry(HandleArgs),
    /// Forget files. They stay where they are, and are not read again while they do not change
    Drop(HandleArgs),
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

/// The flags of `curiod quarantine retry` and `drop`.
#[derive(Args, Clone, Debug)]
pub struct HandleArgs {
    /// Files: each by its path as the list has it, or by the hash of its content, of which the first eight digits will do
    #[arg(value_name = "ID|PATH", required_unless_present = "all", conflicts_with = "all")]
    files: Vec<String>,
    /// All of the stream's
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    /// The stream; may be left out where there is one
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
}

/// `curiod quarantine`.
pub fn quarantine(args: &QuarantineArgs) -> Result<(), Failure> {
    match &args.command {
        None => list(&args.list),
        Some(QuarantineCommand::List(args)) => list(args),
        Some(QuarantineCommand::Retry(args)) => handle(args, "retry"),
        Some(QuarantineCommand::Drop(args)) => handle(args, "drop"),
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
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
    let id = |entry: &Value| {
        entry["source"]
            .as_str()
            .map_or("-", |hash| hash.get(..16).unwrap_or(hash))
            .to_owned()
    };
    let row = |entry: &Value| {
        let [at, stream, path, bytes, reason, detail] =
            ["at", "stream", "path", "bytes", "reason", "detail"].map(|key| text(&entry[key]));
        [at, stream, id(entry), path, bytes, reason, detail]
    };
    let rows: Vec<_> = entries.as_array().into_iter().flatten().map(row).collect();
    print(&table(
        ["at", "stream", "id", "path", ">bytes", "reason", "detail"],
        &rows,
    ))
}

fn handle(args: &HandleArgs, what: &str) -> Result<(), Failure> {
    let asked = json!({ "stream": args.stream, "files": args.files, "all": args.all });
    let answer = args
        .connection
        .client()?
        .post(&format!("/api/v1/quarantine/{what}"), &asked)?;
    let files = answer["files"].as_array().map(Vec::as_slice).unwrap_or_default();
    if args.format.json {
        print_json(&answer)?;
    } else {
        for file in files {
            print(&(sentence(file) + "\n"))?;
        }
        if files.is_empty() {
            print("nothing is in quarantine\n")?;
        }
    }
    match files.iter().filter(|file| file["done"] == "stuck").count() {
        0 => Ok(()),
        stuck => Err(Failure::new(Failure::FAILED, format!("{stuck} files stay in the list"))
            .hint("the daemon's log says why; often the inbox can not be written to")),
    }
}

/// What became of a file, for people.
fn sentence(file: &Value) -> String {
    let path = visible(file["path"].as_str().unwrap_or_default());
    let place = file["file"].as_str().map(visible);
    match (file["done"].as_str().unwrap_or_default(), place) {
        ("retried", Some(place)) => {
            format!("{path}: is read again, as {place}; `curiod quarantine` lists it again if it is still bad")
        }
        ("gone", _) => format!("{path}: its file is gone; it left the list"),
        ("stuck", _) => format!("{path}: could not be moved back; it stays in the list"),
        ("dropped", Some(place)) => format!("{path}: left the list; its file stays at {place}, and is yours to delete"),
        ("dropped", None) => format!("{path}: left the list; its file is not where it was"),
        (done, _) => format!("{path}: {done}"),
    }
}
