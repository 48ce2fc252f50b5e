//! `curiod heads` and `curiod classify`: classifiers that are fitted from labels, and what they say.

use std::path::PathBuf;
use std::time::Duration;

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

/// How often it is asked whether a copy is trained.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The flags of `curiod heads fit`.
#[derive(Args, Clone, Debug)]
pub struct FitArgs {
    #[command(flatten)]
    set: SetArgs,
    /// Also train a copy of the network on the labels, for this generation and each that follows; it answers where
    /// cross-validation finds it better than the classifier of the network's own vectors. It takes minutes, and a network more in
    /// memory
    #[arg(long)]
    finetune: bool,
    /// Do not wait until the copy is trained
    #[arg(long, requires = "finetune")]
    no_wait: bool,
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
        HeadsCommand::Fit(args) => fit(args),
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

fn fit(args: &FitArgs) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let asked = json!({ "stream": args.set.stream, "set": args.set.set, "finetune": args.finetune });
    let mut head = client.post("/api/v1/heads", &asked)?;
    if args.finetune && !args.no_wait {
        eprintln!("training a copy of the network; it goes on if you stop waiting (curiod heads list)");
        let stream = args.set.stream.as_ref().map(|stream| format!("?stream={stream}"));
        let path = format!("/api/v1/heads{}", stream.unwrap_or_default());
        while head["finetune"]["state"] == "training" {
            std::thread::sleep(ASK_EVERY);
            let answer = client.get(&path)?;
            // While a new generation takes over, they are being fitted.
            if answer["fitting"] == true {
                continue;
            }
            let heads = answer["heads"].as_array().into_iter().flatten();
            let found = heads.into_iter().find(|head| head["set"] == args.set.set.as_str());
            head = found.cloned().ok_or_else(|| {
                Failure::new(
                    Failure::FAILED,
                    format!("the labels `{}` were taken back", args.set.set),
                )
            })?;
        }
    }
    shown(args.format, &head, std::slice::from_ref(&head))
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
    let finetune = &head["finetune"];
    // Of what answers.
    let tested = match finetune["state"] == "answers" {
        true => finetune,
        false => &head["tested"],
    };
    let percent = |key: &str| tested[key].as_f64().map(|share| format!("{:.1}", 100.0 * share));
    let range = percent("accuracy_low").zip(percent("accuracy_high"));
    let error = tested["calibration_error_after"]
        .as_f64()
        .or(tested["calibration_error"].as_f64());
    let note = match head["failure"].as_str() {
        Some(why) => format!("not fitted: {why}"),
        None if head["stale"] == true => "labels have changed since: fit it again".to_owned(),
        None if tested.is_null() => "not tested: too few labels a class".to_owned(),
        None => of_copy(finetune),
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

/// What came of training a copy, where one was asked for.
fn of_copy(finetune: &Value) -> String {
    let percent = |key: &str| 100.0 * finetune[key].as_f64().unwrap_or(0.0);
    let compared = || {
        format!(
            "{:.1} %, the network's own vectors {:.1} % of the same {}",
            percent("accuracy"),
            percent("frozen_accuracy"),
            finetune["samples"]
        )
    };
    match finetune["state"].as_str() {
        Some("training") => "a copy is being trained; until then the network's own vectors answer".to_owned(),
        Some("answers") => format!("a copy answers: {}", compared()),
        Some("no_better") => format!("a copy is no better: {}", compared()),
        Some("failed") => format!("no copy: {}", finetune["reason"].as_str().unwrap_or("?")),
        _ => String::new(),
    }
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
