//! `curiod heads` and `curiod classify`: classifiers that are fitted from labels, and what they say.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::failure::Failure;
use super::labels::SetArgs;
use super::output::{print, print_json, table};
use super::query::{Items, ModelArg, ask_for};
use super::{Connection, Format};
use crate::ids::StreamName;

/// What to do with classifiers.
#[derive(Subcommand, Clone, Debug)]
pub enum HeadsCommand {
    /// Fit a classifier from a set of labels; it is fitted again for each new generation before that answers
    Fit(FitArgs),
    /// The classifiers, and how good they are
    List(ListArgs),
}

/// The flags of `curiod heads fit`.
#[derive(Args, Clone, Debug)]
pub struct FitArgs {
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// The flags of `curiod heads list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// The stream [default: the only one]
    #[arg(long, value_name = "STREAM")]
    stream: Option<StreamName>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// The flags of `curiod classify`.
#[derive(Args, Clone, Debug)]
pub struct ClassifyArgs {
    /// Files, each with one sample of the stream's kind; - reads one from stdin
    #[arg(value_name = "FILE", required_unless_present_any = ["text", "id"])]
    files: Vec<PathBuf>,
    /// A text. Several may be given
    #[arg(long, value_name = "TEXT", num_args = 1..)]
    text: Vec<String>,
    /// A sample. Several may be given
    #[arg(long, value_name = "SAMPLE", num_args = 1.., conflicts_with_all = ["files", "text"])]
    id: Vec<u64>,
    /// The set of labels
    #[arg(long, value_name = "SET", default_value = "default")]
    set: String,
    /// How many classes of each
    #[arg(long, value_name = "N", default_value_t = 1)]
    top: usize,
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// `curiod heads`.
pub fn heads(command: &HeadsCommand) -> Result<(), Failure> {
    match command {
        HeadsCommand::Fit(args) => {
            let asked = json!({ "stream": args.set.stream, "set": args.set.set });
            let answer = args.connection.client()?.post("/api/v1/heads", &asked)?;
            shown(args.format, &answer, std::slice::from_ref(&answer))
        }
        HeadsCommand::List(args) => {
            let stream = args.stream.as_ref().map(|stream| format!("?stream={stream}"));
            let answer = args
                .connection
                .client()?
                .get(&format!("/api/v1/heads{}", stream.unwrap_or_default()))?;
            shown(
                args.format,
                &answer,
                answer["heads"].as_array().map_or(&[], Vec::as_slice),
            )
        }
    }
}

fn shown(format: Format, answer: &Value, heads: &[Value]) -> Result<(), Failure> {
    if format.json {
        return print_json(answer);
    }
    let rows: Vec<_> = heads.iter().map(row).collect();
    let head = [
        "set",
        ">generation",
        ">classes",
        ">samples",
        ">accuracy %",
        ">95 %",
        ">calibration error",
        "note",
    ];
    print(&table(head, &rows))
}

fn row(head: &Value) -> [String; 8] {
    let tested = &head["tested"];
    let percent = |key: &str| tested[key].as_f64().map(|share| format!("{:.1}", 100.0 * share));
    let range = percent("accuracy_low").zip(percent("accuracy_high"));
    let error = tested["calibration_error_after"]
        .as_f64()
        .or(tested["calibration_error"].as_f64());
    let note = match head["failure"].as_str() {
        Some(why) => format!("not fitted: {why}"),
        None if head["stale"] == true => "labels have changed since: fit it again".to_owned(),
        None if tested.is_null() => "not tested: too few labels a class".to_owned(),
        None => String::new(),
    };
    [
        head["set"].as_str().unwrap_or("?").to_owned(),
        head["generation"].to_string(),
        head["classes"]
            .as_object()
            .map_or("-".to_owned(), |classes| classes.len().to_string()),
        head["samples"]
            .as_u64()
            .map_or("-".to_owned(), |samples| samples.to_string()),
        percent("accuracy").unwrap_or("-".to_owned()),
        range.map_or("-".to_owned(), |(low, high)| format!("{low} to {high}")),
        error.map_or("-".to_owned(), |error| format!("{error:.3}")),
        note,
    ]
}

/// `curiod classify`.
pub fn classify(args: &ClassifyArgs) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let mut asked = args.model.asked();
    asked.insert("set".to_owned(), json!(args.set));
    asked.insert("top".to_owned(), json!(args.top));
    let (answer, names) = if args.id.is_empty() {
        let items = Items::read(&args.files, &args.text)?;
        let answer = ask_for(&client, "/api/v1/classify", &asked, &items, "results")?;
        (answer, items.names)
    } else {
        asked.insert("ids".to_owned(), json!(args.id));
        let answer = client.post("/api/v1/classify", &Value::Object(asked))?;
        (answer, args.id.iter().map(|id| format!("sample {id}")).collect())
    };
    if args.format.json {
        return print_json(&answer);
    }
    let results = answer["results"].as_array().map_or(&[][..], Vec::as_slice);
    let mut rows = Vec::new();
    for (name, result) in names.iter().zip(results) {
        for class in result["classes"].as_array().into_iter().flatten() {
            let probability = class["probability"]
                .as_f64()
                .map_or("?".to_owned(), |p| format!("{p:.3}"));
            rows.push([
                probability,
                class["label"].as_str().unwrap_or("?").to_owned(),
                name.clone(),
            ]);
        }
    }
    print(&table([">probability", "label", "of"], &rows))
}
