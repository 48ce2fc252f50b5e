//! `curiod embed`, `search` and `novelty`.

use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::output::{print, print_json, table, visible};
use super::over_time::{self, Out};
use super::{Connection, Format};
use crate::client::Client;

/// Files and bytes of one request; more are sent in several.
const REQUEST_FILES_MAX: usize = 64;
const REQUEST_BYTES_MAX: usize = 16 << 20;

/// How often the files are sent afresh because a new generation began to answer between two requests.
const FRESH_STARTS_MAX: usize = 5;

/// The flags of `curiod embed`.
#[derive(Args, Clone, Debug)]
pub struct EmbedArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    model: ModelArg,
    /// A file with one sample of the stream's kind: a picture, a text, a series; - reads it from stdin. Several may be given
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "text")]
    file: Vec<PathBuf>,
    /// A text. Several may be given
    #[arg(long, value_name = "TEXT", num_args = 1..)]
    text: Vec<String>,
}

/// The flags of `curiod search`.
#[derive(Args, Clone, Debug)]
#[command(group(clap::ArgGroup::new("query").required(true).args(["file", "text", "id"])))]
pub struct SearchArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    model: ModelArg,
    /// The neighbours of the one sample in this file; - reads it from stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The neighbours of this text
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// The neighbours of this sample
    #[arg(long, value_name = "SAMPLE")]
    id: Option<u64>,
    /// How many
    #[arg(long, short, value_name = "N", default_value_t = 10)]
    k: usize,
    /// Only samples that arrived then or later, such as 2026-11-26T05:00:00Z
    #[arg(long, value_name = "TIME")]
    after: Option<String>,
    /// Only samples that arrived earlier
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
    /// Only samples of files whose path below the inbox begins with this, or is this where it has * or ?
    #[arg(long, value_name = "PATTERN")]
    source: Option<String>,
    /// Not this sample. Several may be given
    #[arg(long, value_name = "SAMPLE", num_args = 1..)]
    exclude: Vec<u64>,
}

/// The flags of `curiod novelty`.
#[derive(Args, Clone, Debug)]
#[command(group(clap::ArgGroup::new("query").required(true).multiple(true).args(["file", "text", "top", "series"])))]
pub struct NoveltyArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    model: ModelArg,
    /// How new the one sample in this file is; - reads it from stdin. Several may be given
    #[arg(long, value_name = "FILE", num_args = 1..)]
    file: Vec<PathBuf>,
    /// How new this text is. Several may be given
    #[arg(long, value_name = "TEXT", num_args = 1..)]
    text: Vec<String>,
    /// The N most novel samples held
    #[arg(long, value_name = "N", conflicts_with_all = ["file", "text"])]
    top: Option<usize>,
    /// How new each step of the series in this file is, by what the steps before it promised
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "text", "top"])]
    series: Option<PathBuf>,
    #[command(flatten)]
    out: Out,
}

/// Which model.
#[derive(Args, Clone, Debug)]
pub(super) struct ModelArg {
    /// STREAM, STREAM@stable or STREAM@42 [default: the only stream's newest]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
}

impl ModelArg {
    pub(super) fn asked(&self) -> Map<String, Value> {
        self.model
            .iter()
            .map(|model| ("model".to_owned(), json!(model)))
            .collect()
    }
}

/// `curiod embed`.
pub fn embed(args: &EmbedArgs) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let items = Items::read(&args.file, &args.text)?;
    let answer = ask_for(&client, "/api/v1/embed", &args.model.asked(), &items, "embeddings")?;
    if args.format.json {
        return print_json(&answer);
    }
    let mut text = format!(
        "generation {}, space {}, {} numbers each\n",
        answer["generation"],
        word(&answer["space"]),
        answer["dim"]
    );
    for (name, embedding) in items.names.iter().zip(list(&answer["embeddings"])) {
        text += &format!("{name}: {embedding}\n");
    }
    print(&text)
}

/// `curiod search`.
pub fn search(args: &SearchArgs) -> Result<(), Failure> {
    let mut asked = args.model.asked();
    asked.insert("k".to_owned(), json!(args.k));
    match (&args.file, &args.text, args.id) {
        (Some(file), ..) => asked.insert("image".to_owned(), json!(STANDARD.encode(read(file)?))),
        (None, Some(text), _) => asked.insert("text".to_owned(), json!(text)),
        (None, None, id) => asked.insert("id".to_owned(), json!(id)),
    };
    let narrowed = [
        ("after", &args.after),
        ("before", &args.before),
        ("source", &args.source),
    ];
    for (key, text) in narrowed {
        asked.extend(text.iter().map(|text| (key.to_owned(), json!(text))));
    }
    if !args.exclude.is_empty() {
        asked.insert("exclude".to_owned(), json!(args.exclude));
    }
    let answer = args
        .connection
        .client()?
        .post("/api/v1/search", &Value::Object(asked))?;
    if args.format.json {
        return print_json(&answer);
    }
    let rows: Vec<_> = list(&answer["hits"])
        .iter()
        .map(|hit| [number(&hit["score"]), word(&hit["path"]), hit["id"].to_string()])
        .collect();
    print(&table([">score", "path", ">sample"], &rows))
}

/// `curiod novelty`.
pub fn novelty(args: &NoveltyArgs) -> Result<(), Failure> {
    if let Some(series) = &args.series {
        return over_time::series(&args.connection, args.format, &args.model, series, &args.out);
    }
    if args.out.is_given() {
        return Err(Failure::new(Failure::USAGE, "--csv and --plot are for --series"));
    }
    let client = args.connection.client()?;
    let items = Items::read(&args.file, &args.text)?;
    let answer = match args.top {
        Some(top) => {
            let mut asked = args.model.asked();
            asked.insert("top".to_owned(), json!(top));
            client.post("/api/v1/novelty", &Value::Object(asked))?
        }
        None => ask_for(&client, "/api/v1/novelty", &args.model.asked(), &items, "results")?,
    };
    if args.format.json {
        return print_json(&answer);
    }
    let rows: Vec<_> = list(&answer["results"])
        .iter()
        .enumerate()
        .map(|(at, result)| {
            let path = match items.names.get(at) {
                Some(name) => name.clone(),
                None => word(&result["path"]),
            };
            [number(&result["novelty"]), number(&result["distance"]), path]
        })
        .collect();
    print(&table([">novelty", ">distance", "path"], &rows))
}

/// What is asked about: files, then texts.
pub(super) struct Items {
    /// What each is called in the answer.
    pub(super) names: Vec<String>,
    /// Files in base64, then texts.
    sent: Vec<String>,
    /// How many of them are files.
    files: usize,
}

impl Items {
    pub(super) fn read(files: &[PathBuf], texts: &[String]) -> Result<Self, Failure> {
        let mut sent = Vec::with_capacity(files.len() + texts.len());
        for file in files {
            sent.push(STANDARD.encode(read(file)?));
        }
        sent.extend(texts.iter().cloned());
        let names = files.iter().map(|file| file.display().to_string());
        Ok(Self {
            names: names.chain(texts.iter().map(|text| visible(text))).collect(),
            sent,
            files: files.len(),
        })
    }

    /// In requests that the daemon takes: the key that each part stands under, and the part.
    fn parts(&self) -> Vec<(&'static str, &[String])> {
        let (files, texts) = self.sent.split_at(self.files);
        let of = |key: &'static str, sent| {
            let parts: Vec<&[String]> = parts(sent);
            parts
                .into_iter()
                .filter(|part| !part.is_empty())
                .map(move |part| (key, part))
        };
        of("images", files).chain(of("texts", texts)).collect()
    }
}

/// Sends what is asked about beside these settings, in several requests where it is much, and joins what is said of it under `list_name`. All answers
/// are of one generation: when a new one begins to answer in between, everything is sent afresh.
pub(super) fn ask_for(
    client: &Client,
    path: &str,
    settings: &Map<String, Value>,
    items: &Items,
    list_name: &str,
) -> Result<Value, Failure> {
    'afresh: for _ in 0..FRESH_STARTS_MAX {
        let mut joined: Option<Value> = None;
        for (key, part) in items.parts() {
            let mut asked = settings.clone();
            asked.insert(key.to_owned(), json!(part));
            let mut answer = client.post(path, &Value::Object(asked))?;
            match &mut joined {
                None => joined = Some(answer),
                Some(first) if first["generation"] != answer["generation"] => continue 'afresh,
                Some(first) => {
                    if let (Value::Array(all), Value::Array(more)) = (&mut first[list_name], answer[list_name].take()) {
                        all.extend(more);
                    }
                }
            }
        }
        return Ok(joined.unwrap_or_default());
    }
    let what = "new generations came faster than the files could be sent";
    Err(Failure::new(Failure::FAILED, what).hint("send fewer, or name one generation with --model STREAM@GENERATION"))
}

/// Items in the order given, cut where a request would have too many files or bytes.
fn parts(pictures: &[String]) -> Vec<&[String]> {
    let (mut parts, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, picture) in pictures.iter().enumerate() {
        if at > start && (at - start == REQUEST_FILES_MAX || bytes + picture.len() > REQUEST_BYTES_MAX) {
            parts.push(&pictures[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += picture.len();
    }
    parts.push(&pictures[start..]);
    parts
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().lock().read_to_end(&mut bytes),
        false => std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    read.map_err(|error| Failure::new(Failure::FAILED, format!("failed to read {}: {error}", file.display())))?;
    Ok(bytes)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("?").to_owned()
}

fn number(value: &Value) -> String {
    value.as_f64().map_or("?".to_owned(), |number| format!("{number:.4}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_files_are_cut_into_requests_that_the_daemon_takes_and_none_is_lost() {
        let pictures: Vec<String> = (0..200)
            .map(|n| "x".repeat(if n == 70 { REQUEST_BYTES_MAX + 1 } else { n }))
            .collect();
        let parts = parts(&pictures);
        assert!(
            parts
                .iter()
                .all(|part| !part.is_empty() && part.len() <= REQUEST_FILES_MAX)
        );
        assert!(
            parts
                .iter()
                .all(|part| part.len() == 1 || part.iter().map(String::len).sum::<usize>() <= REQUEST_BYTES_MAX)
        );
        assert_eq!(parts.concat(), pictures);
    }
}
