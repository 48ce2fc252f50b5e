//! `curiod models`: the published models.

use std::fmt::Display;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::diff::{DiffArgs, diff};
use super::export::{ExportArgs, export};
use super::failure::Failure;
use super::output::{print, print_json, table};
use super::{Connection, Format};
use crate::ids::{IdError, StreamName};

/// What to do with them.
#[derive(Subcommand, Clone, Debug)]
pub enum ModelsCommand {
    /// Every generation that is kept
    List(ListArgs),
    /// A generation's manifest: where it comes from, and its exam
    Show(ShowArgs),
    /// Have an older generation answer, until a newer one than all is published
    Rollback(RollbackArgs),
    /// Have one generation answer whatever is published
    Pin(PinArgs),
    /// Have the newest generation answer again
    Unpin(UnpinArgs),
    /// Copy a generation to this machine: its folder as it is, or its encoder as ONNX or TorchScript
    #[command(visible_alias = "fetch")]
    Export(ExportArgs),
    /// What another generation changed, by who is near whom
    Diff(DiffArgs),
}

/// The flags of `curiod models list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    /// Of this stream alone, with the gate's last verdicts
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
}

/// The flags of `curiod models show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    /// STREAM, STREAM@stable or STREAM@42
    model: String,
}

/// The flags of `curiod models rollback`.
#[derive(Args, Clone, Debug)]
pub struct RollbackArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    /// The stream
    stream: String,
    /// The generation to go back to [default: the one before the one that answers]
    #[arg(long, value_name = "GENERATION")]
    to: Option<u64>,
}

/// The flags of `curiod models pin`.
#[derive(Args, Clone, Debug)]
pub struct PinArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    /// The stream
    stream: String,
    /// The generation
    generation: u64,
}

/// The flags of `curiod models unpin`.
#[derive(Args, Clone, Debug)]
pub struct UnpinArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    /// The stream
    stream: String,
}

/// `curiod models`.
pub fn models(command: &ModelsCommand) -> Result<(), Failure> {
    match command {
        ModelsCommand::List(args) => list(args),
        ModelsCommand::Show(args) => show(args),
        ModelsCommand::Rollback(args) => decide(&args.connection, &args.format, &args.stream, "rollback", args.to),
        ModelsCommand::Pin(args) => decide(
            &args.connection,
            &args.format,
            &args.stream,
            "pin",
            Some(args.generation),
        ),
        ModelsCommand::Unpin(args) => decide(&args.connection, &args.format, &args.stream, "pin", None),
        ModelsCommand::Export(args) => export(args),
        ModelsCommand::Diff(args) => diff(args),
    }
}

/// Says which generation answers, and shows them all.
fn decide(
    connection: &Connection,
    format: &Format,
    stream: &str,
    what: &str,
    generation: Option<u64>,
) -> Result<(), Failure> {
    let asked = json!({ "generation": generation });
    let answer = connection
        .client()?
        .post(&format!("/api/v1/models/{stream}/{what}"), &asked)?;
    if format.json {
        return print_json(&answer);
    }
    print(&listed(&answer))
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let answer = match &args.stream {
        Some(stream) => client.get(&format!("/api/v1/models/{stream}"))?,
        None => client.get("/api/v1/models")?,
    };
    if args.format.json {
        return print_json(&answer);
    }
    let mut shown = listed(&answer);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let verdicts = answer["verdicts"].as_array().map_or(&[][..], Vec::as_slice);
    if !verdicts.is_empty() {
        let rows: Vec<_> = verdicts
            .iter()
            .map(|verdict| ["at", "step", "reason"].map(|key| text(&verdict[key])))
            .collect();
        shown += &format!("\n{}", table(["judged", ">step", "verdict"], &rows));
    }
    print(&shown)
}

/// A table of generations.
fn listed(answer: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let models = answer["models"].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<_> = models
        .iter()
        .map(|model| {
            let mut names: Vec<&str> = model["aliases"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            for name in ["serving", "pinned", "withdrawn"] {
                names.extend((model[name] == true).then_some(name));
            }
            let kept = model["neighbours_kept"]
                .as_f64()
                .map_or("-".to_owned(), |share| format!("{share:.2}"));
            let kept = if model["major"] == true {
                format!("{kept} (major)")
            } else {
                kept
            };
            let retrieval = model["retrieval"]
                .as_f64()
                .map_or("-".to_owned(), |share| format!("{share:.3}"));
            let [stream, generation, step] = ["stream", "generation", "step"].map(|key| text(&model[key]));
            let [space, created] = ["space", "created_at"].map(|key| text(&model[key]));
            [
                stream,
                generation,
                step,
                retrieval,
                kept,
                space,
                created,
                names.join(", "),
            ]
        })
        .collect();
    table(
        [
            "stream",
            ">generation",
            ">step",
            ">retrieval",
            ">neighbours kept",
            "space",
            "published",
            "names",
        ],
        &rows,
    )
}

fn show(args: &ShowArgs) -> Result<(), Failure> {
    let (stream, version) = parts(&args.model)?;
    let manifest = args
        .connection
        .client()?
        .get(&format!("/api/v1/models/{stream}/{version}"))?;
    if args.format.json {
        return print_json(&manifest);
    }
    let mut rows = Vec::new();
    flatten("", &manifest, &mut rows);
    print(&table(["", ""], &rows))
}

/// A model's name in parts: its stream, and which generation of it.
pub(super) fn parts(model: &str) -> Result<(StreamName, &str), Failure> {
    let (stream, version) = model.split_once('@').unwrap_or((model, "latest"));
    Ok((
        stream.parse().map_err(|error: IdError| unnamed(model, error))?,
        generation(version)?,
    ))
}

/// The name of a generation, as it stands in a path.
pub(super) fn generation(version: &str) -> Result<&str, Failure> {
    match !version.is_empty() && version.chars().all(|c| c.is_ascii_alphanumeric()) {
        true => Ok(version),
        false => Err(unnamed(version, "a generation is a number, latest, stable or previous")),
    }
}

fn unnamed(model: &str, why: impl Display) -> Failure {
    Failure::new(Failure::USAGE, format!("`{model}` names no model: {why}"))
        .hint("give STREAM, STREAM@stable or STREAM@42; `curiod models list` has them")
}

/// A tree as lines: the names on the way to each leaf, and the leaf.
fn flatten(name: &str, value: &Value, rows: &mut Vec<[String; 2]>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                flatten(&name, value, rows);
            }
        }
        Value::String(text) => rows.push([name.to_owned(), text.clone()]),
        other => rows.push([name.to_owned(), other.to_string()]),
    }
}
