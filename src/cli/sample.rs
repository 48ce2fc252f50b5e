//! `curiod sample`: what is known of one sample.

use clap::Args;
use serde_json::Value;

use super::failure::Failure;
use super::output::{bytes, print, print_json, visible};
use super::{Connection, Format};
use crate::ids::StreamName;

/// The flags of `curiod sample`.
#[derive(Args, Clone, Debug)]
pub struct SampleArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    /// The sample's stream [default: the only one]
    #[arg(long, value_name = "STREAM")]
    stream: Option<StreamName>,
    /// The sample
    id: u64,
}

/// `curiod sample`.
pub fn sample(args: &SampleArgs) -> Result<(), Failure> {
    let stream = args.stream.as_ref().map(|stream| format!("?stream={stream}"));
    let path = format!("/api/v1/samples/{}{}", args.id, stream.unwrap_or_default());
    let answer = args.connection.client()?.get(&path)?;
    if args.format.json {
        return print_json(&answer);
    }
    print(&described(&answer))
}

fn described(sample: &Value) -> String {
    let number = |name: &str, decimals: usize| match sample[name].as_f64() {
        Some(value) => format!("{value:.decimals$}"),
        None => "-".to_owned(),
    };
    let word = |name: &str| sample[name].as_str().unwrap_or("?").to_owned();
    let scored = match sample["scored_at"].as_u64() {
        Some(step) => format!(
            "{} under fixed views, scored at step {step}; quantile {}",
            number("fixed_error", 4),
            number("rank", 3)
        ),
        None => "not scored yet".to_owned(),
    };
    let progress = match sample["cluster"].as_u64() {
        Some(cluster) => format!(
            "{} in cluster {cluster}; its error counts {}",
            number("progress", 5),
            number("guard", 2)
        ),
        None => "-".to_owned(),
    };
    let mut lines = vec![
        ("file", word("path")),
        ("source", word("source")),
        (
            "taken",
            format!("{}, {}", word("taken_at"), bytes(sample["bytes"].as_u64().unwrap_or(0))),
        ),
        ("visits", sample["visits"].to_string()),
        ("error", format!("{} at the newest visit", number("error", 4))),
        ("score", scored),
        ("novelty", format!("quantile {}", number("novelty", 3))),
        ("progress", progress),
        (
            "priority",
            format!(
                "{}, drawn with probability {}",
                number("priority", 3),
                number("probability", 7)
            ),
        ),
    ];
    if sample["exam"] == true {
        lines.push(("exam", "held out: it is never trained on".to_owned()));
    }
    if sample["junk"] == true {
        lines.push(("junk", "hard for ever, so its error counts nothing".to_owned()));
    }
    let mut text = format!("sample {} of {}\n", sample["id"], visible(&word("stream")));
    for (name, said) in lines {
        text += &format!("  {name:<9} {}\n", visible(&said));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_sample_is_described_whatever_is_known_of_it() {
        let new = json!({ "id": 7, "stream": "pictures", "path": "a\u{1b}.png", "source": "ab", "taken_at": "2026",
            "bytes": 12, "exam": false, "visits": 0, "error": null, "scored_at": null, "cluster": null, "priority": 1.5,
            "probability": 0.01 });
        let text = described(&new);
        assert!(
            text.starts_with("sample 7 of pictures\n") && text.contains("not scored yet"),
            "{text}"
        );
        assert!(
            text.contains("1.500, drawn with probability 0.0100000") && !text.contains('\u{1b}'),
            "{text}"
        );
        let mut known = new;
        for (name, value) in [
            ("scored_at", json!(40)),
            ("cluster", json!(3)),
            ("junk", json!(true)),
            ("exam", json!(true)),
        ] {
            known[name] = value;
        }
        let text = described(&known);
        for said in ["scored at step 40", "cluster 3", "counts nothing", "held out"] {
            assert!(text.contains(said), "{said} is missing in {text}");
        }
    }
}
