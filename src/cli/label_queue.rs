//! `curiod label-queue`: which samples to label next, for people, tables and Label Studio.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::failure::Failure;
use super::labels::SetArgs;
use super::output::{print, print_json, table, visible};
use super::{Connection, Format};

/// How samples are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Strategy {
    /// Those that stand for many: for the first labels
    Typical,
    /// Those that cover all there is
    Diverse,
    /// Those that the classifier wavers about
    Uncertain,
    /// Those that are like nothing else
    Novel,
    /// In turns a typical one, an uncertain one where there is a classifier, and a novel one
    Mixed,
}

/// As what the queue is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Written {
    /// A table with an empty column `label`, to be filled in and given to `curiod labels import`
    Csv,
    /// A JSON object a line
    Jsonl,
    /// Tasks that Label Studio imports
    LabelStudio,
}

/// The flags of `curiod label-queue`.
#[derive(Args, Clone, Debug)]
pub struct LabelQueueArgs {
    /// How they are chosen
    #[arg(long, value_name = "STRATEGY", default_value = "typical")]
    strategy: Strategy,
    /// How many
    #[arg(long, short, value_name = "N", default_value_t = 50)]
    n: usize,
    /// As what they are written [default: a table for people]
    #[arg(long = "format", value_name = "FORMAT", conflicts_with = "json")]
    written: Option<Written>,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// `curiod label-queue`.
pub fn label_queue(args: &LabelQueueArgs) -> Result<(), Failure> {
    let strategy = args
        .strategy
        .to_possible_value()
        .map(|value| value.get_name().to_owned());
    let asked = json!({ "stream": args.set.stream, "set": args.set.set, "strategy": strategy, "n": args.n });
    let client = args.connection.client()?;
    let answer = client.post("/api/v1/label-queue", &asked)?;
    if args.format.json {
        return print_json(&answer);
    }
    let samples = answer["samples"].as_array().map_or(&[][..], Vec::as_slice);
    match args.written {
        None => {
            print(&shown(samples))?;
            if answer["by_lot"] == true {
                print(&format!("chosen from {} samples, taken by lot\n", answer["considered"]))?;
            }
            Ok(())
        }
        Some(Written::Csv) => print(&as_csv(samples, client.url())?),
        Some(Written::Jsonl) => print(&samples.iter().map(|sample| format!("{sample}\n")).collect::<String>()),
        Some(Written::LabelStudio) => {
            let mut tasks = Vec::with_capacity(samples.len());
            for sample in samples {
                let path = word(&sample["url"]);
                let picture = match path.contains("/picture?") {
                    true => Some(client.get_for_bytes(&path)?),
                    false => None,
                };
                tasks.push(task(sample, &answer, client.url(), picture.as_deref()));
            }
            print_json(&tasks)
        }
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn score(sample: &Value) -> String {
    sample["score"]
        .as_f64()
        .map_or("?".to_owned(), |score| format!("{score:.4}"))
}

fn shown(samples: &[Value]) -> String {
    let row = |sample: &Value| {
        let text: String = visible(&word(&sample["text"])).chars().take(60).collect();
        [
            sample["id"].to_string(),
            word(&sample["strategy"]),
            score(sample),
            word(&sample["path"]),
            text,
        ]
    };
    let rows: Vec<_> = samples.iter().map(row).collect();
    table([">sample", "chosen as", ">score", "path", "text"], &rows)
}

fn as_csv(samples: &[Value], url: &str) -> Result<String, Failure> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let failed =
        |error: &dyn std::fmt::Display| Failure::new(Failure::FAILED, format!("failed to write the table: {error}"));
    let head = ["id", "label", "path", "strategy", "score", "url", "text"];
    table.write_record(head).map_err(|error| failed(&error))?;
    for sample in samples {
        let row = [
            sample["id"].to_string(),
            String::new(),
            word(&sample["path"]),
            word(&sample["strategy"]),
            score(sample),
            format!("{url}{}", word(&sample["url"])),
            word(&sample["text"]),
        ];
        table.write_record(row).map_err(|error| failed(&error))?;
    }
    let bytes = table.into_inner().map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

/// A task of Label Studio: `$image` or `$text` of its labelling interface, of other kinds of data `$content`, a URL of the sample
/// as JSON. A picture is in the task itself: the daemon lets no browser show its pictures on another site's page.
fn task(sample: &Value, queue: &Value, url: &str, picture: Option<&[u8]>) -> Value {
    let seen_at = format!("{url}{}", word(&sample["url"]));
    let data = match (picture, sample["text"].as_str()) {
        (Some(png), _) => json!({ "image": format!("data:image/png;base64,{}", STANDARD.encode(png)) }),
        (None, Some(text)) => json!({ "text": text }),
        (None, None) => json!({ "content": seen_at }),
    };
    json!({
        "data": data,
        "meta": {
            "stream": queue["stream"],
            "set": queue["set"],
            "sample": sample["id"],
            "path": sample["path"],
            "url": seen_at,
            "strategy": sample["strategy"],
            "score": sample["score"],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_a_table_to_fill_in_and_tasks_for_label_studio() {
        let queue = json!({ "stream": "pictures", "set": "default" });
        let picture = json!({ "id": 7, "path": "a,\"b\".png", "strategy": "typical", "score": 2.5,
            "url": "/api/v1/samples/7/picture?stream=pictures" });
        let text = json!({ "id": 8, "path": "a.txt", "strategy": "novel", "score": 1, "url": "/api/v1/samples/8/text?stream=t",
            "text": "a\nb" });
        let table = as_csv(&[picture.clone(), text.clone()], "http://127.0.0.1:1").unwrap();
        let expected = "id,label,path,strategy,score,url,text\n\
            7,,\"a,\"\"b\"\".png\",typical,2.5000,http://127.0.0.1:1/api/v1/samples/7/picture?stream=pictures,\n\
            8,,a.txt,novel,1.0000,http://127.0.0.1:1/api/v1/samples/8/text?stream=t,\"a\nb\"\n";
        assert_eq!(table, expected);
        let of_picture = task(&picture, &queue, "http://h", Some(b"png"));
        let of_text = task(&text, &queue, "http://h", None);
        assert_eq!(of_picture["data"], json!({ "image": "data:image/png;base64,cG5n" }));
        assert_eq!(
            of_picture["meta"]["url"],
            "http://h/api/v1/samples/7/picture?stream=pictures"
        );
        assert_eq!(
            (&of_text["data"], &of_text["meta"]["sample"]),
            (&json!({ "text": "a\nb" }), &json!(8))
        );
    }
}
