//! `curiod labels`: give labels, take them back, list them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::failure::Failure;
use super::labels_file::{self, By, Item, Reading};
use super::output::{print, print_json, table};
use super::{Connection, Format};
use crate::client::Client;
use crate::ids::{SourceHash, StreamName};

/// Labels of one request; more are sent in several.
const REQUEST_ITEMS_MAX: usize = 5_000;

/// Labels that were not kept, of which it is said why one by one.
const TOLD_MAX: usize = 20;

/// What to do with labels.
#[derive(Subcommand, Clone, Debug)]
pub enum LabelsCommand {
    /// Give a label to samples or files, or take theirs back
    Add(AddArgs),
    /// Give the labels of a folder whose folders are classes, of a CSV file, or of JSON lines
    Import(ImportArgs),
    /// The labels as they are kept
    List(ListArgs),
}

/// Whose labels.
#[derive(Args, Clone, Debug)]
pub(super) struct SetArgs {
    /// The stream [default: the only one]
    #[arg(long, value_name = "STREAM")]
    pub(super) stream: Option<StreamName>,
    /// The set of labels
    #[arg(long, value_name = "SET", default_value = "default")]
    pub(super) set: String,
}

/// The flags of `curiod labels add`.
#[derive(Args, Clone, Debug)]
pub struct AddArgs {
    /// What to label: samples by number, files by their path below the inbox or by their blake3 hash (a path that looks like
    /// a number or a hash is written ./PATH)
    #[arg(value_name = "ID|PATH|HASH", required_unless_present = "file")]
    names: Vec<String>,
    /// The class
    #[arg(
        long,
        value_name = "CLASS",
        required_unless_present = "remove",
        conflicts_with = "remove"
    )]
    label: Option<String>,
    /// Take their labels back instead
    #[arg(long)]
    remove: bool,
    /// A file of this machine, named by its content, which the daemon need not have taken yet. Several may be given
    #[arg(long, value_name = "FILE", num_args = 1..)]
    file: Vec<PathBuf>,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// The flags of `curiod labels import`.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// A folder whose folders are classes; a .csv with a head, or a .jsonl, whose lines name samples by id, path or hash
    #[arg(value_name = "DIR|CSV|JSONL")]
    from: PathBuf,
    /// The column or key with the classes; lines where it is empty are passed over
    #[arg(long, value_name = "NAME", default_value = "label")]
    label_column: String,
    /// By what its lines name samples [default: what they have, in this order: id, hash, path]
    #[arg(long, value_name = "WHAT")]
    by: Option<By>,
    /// The folder that its paths are in: the files there are named by their content
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// The flags of `curiod labels list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    set: SetArgs,
    /// How many, 1 to 10,000
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    max: usize,
    /// What `next` of the answer before said: those that follow
    #[arg(long, value_name = "NEXT")]
    after: Option<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// `curiod labels`.
pub fn labels(command: &LabelsCommand) -> Result<(), Failure> {
    match command {
        LabelsCommand::Add(args) => add(args),
        LabelsCommand::Import(args) => import(args),
        LabelsCommand::List(args) => list(args),
    }
}

fn add(args: &AddArgs) -> Result<(), Failure> {
    let named = args.names.iter().map(|name| (name.clone(), of_name(name)));
    let mut found: Vec<(String, (&str, Value))> = named.collect();
    for file in &args.file {
        found.push((
            file.display().to_string(),
            ("source", json!(labels_file::hash_of(file)?)),
        ));
    }
    let items = found.into_iter().map(|(place, (key, name))| Item {
        place,
        sent: json!({ key: name, "label": args.label }),
    });
    send(
        &args.connection.client()?,
        &args.set,
        &items.collect::<Vec<_>>(),
        args.format,
    )
}

/// What a name on the command line is: a sample, a file's hash, or its path.
fn of_name(name: &str) -> (&'static str, Value) {
    if let Ok(id) = name.parse::<u64>() {
        ("sample", json!(id))
    } else if name.parse::<SourceHash>().is_ok() {
        ("source", json!(name))
    } else {
        ("path", json!(name.strip_prefix("./").unwrap_or(name)))
    }
}

fn import(args: &ImportArgs) -> Result<(), Failure> {
    let reading = Reading {
        by: args.by,
        root: args.root.as_deref(),
        label: &args.label_column,
    };
    let items = labels_file::read(&args.from, &reading)?;
    send(&args.connection.client()?, &args.set, &items, args.format)
}

/// Sends labels, in several requests where they are many, and says what became of them.
fn send(client: &Client, set: &SetArgs, items: &[Item], format: Format) -> Result<(), Failure> {
    const COUNTS: [&str; 5] = ["added", "replaced", "removed", "unchanged", "to_come"];
    let mut counts = [0u64; COUNTS.len()];
    let mut failed: Vec<Value> = Vec::new();
    for items in items.chunks(REQUEST_ITEMS_MAX) {
        let sent: Vec<&Value> = items.iter().map(|item| &item.sent).collect();
        let asked = json!({ "stream": set.stream, "set": set.set, "items": sent });
        let answer = client.post("/api/v1/labels", &asked)?;
        for (count, name) in counts.iter_mut().zip(COUNTS) {
            *count += answer[name].as_u64().unwrap_or(0);
        }
        for refused in answer["failed"].as_array().into_iter().flatten() {
            let at = refused["item"].as_u64().and_then(|at| usize::try_from(at).ok());
            let place = at.and_then(|at| items.get(at)).map_or("?", |item| &item.place);
            failed.push(json!({ "of": place, "detail": refused["detail"] }));
        }
    }
    let [added, replaced, removed, unchanged, to_come] = counts;
    if format.json {
        print_json(
            &json!({ "set": set.set, "added": added, "replaced": replaced, "removed": removed,
            "unchanged": unchanged, "to_come": to_come, "failed": failed }),
        )?;
    } else {
        let mut text =
            format!("{added} labels added, {replaced} replaced, {removed} removed, {unchanged} were so already\n");
        if to_come > 0 {
            text += &format!("{to_come} are of files that are not taken yet: they count when they are\n");
        }
        print(&text)?;
    }
    if failed.is_empty() {
        return Ok(());
    }
    for refused in failed.iter().take(TOLD_MAX) {
        let word = |key: &str| refused[key].as_str().map(super::output::visible).unwrap_or_default();
        eprintln!("{}: {}", word("of"), word("detail"));
    }
    let what = format!("{} of {} labels were not kept", failed.len(), items.len());
    Err(Failure::new(Failure::FAILED, what).hint("all others are; mend these and give them again"))
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let stream = args.set.stream.as_ref().map(|stream| format!("&stream={stream}"));
    let after = args.after.as_ref().map(|after| format!("&after={after}"));
    let path = format!(
        "/api/v1/labels?set={}&max={}{}{}",
        args.set.set,
        args.max,
        stream.unwrap_or_default(),
        after.unwrap_or_default()
    );
    let answer = args.connection.client()?.get(&path)?;
    if args.format.json {
        return print_json(&answer);
    }
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let list = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
    let sets = list("sets");
    let of_set = |set: &Value| {
        [
            text(&set["set"]),
            text(&set["labels"]),
            text(&set["classes"]),
            if set["head"] == true { "yes" } else { "no" }.to_owned(),
        ]
    };
    let sets: Vec<_> = sets.iter().map(of_set).collect();
    let rows: Vec<_> = list("labels")
        .iter()
        .map(|label| ["label", "sample", "part", "path", "source"].map(|key| text(&label[key])))
        .collect();
    let mut shown = table(["set", ">labels", ">classes", "classifier"], &sets);
    shown += &format!("\n{}", table(["label", ">sample", ">part", "path", "source"], &rows));
    if let Some(next) = answer["next"].as_str() {
        shown += &format!("there are more: --after {next}\n");
    }
    print(&shown)
}
