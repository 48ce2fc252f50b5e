//! `curiod fill`: which words a model expects where a text hides them.

use clap::Args;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{print, print_json, visible};
use super::query::ModelArg;
use super::{Connection, Format};

/// The flags of `curiod fill`.
#[derive(Args, Clone, Debug)]
pub struct FillArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    model: ModelArg,
    /// How many words for each
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    /// A text in which `[MASK]` stands for each hidden word
    text: String,
}

/// `curiod fill`.
pub fn fill(args: &FillArgs) -> Result<(), Failure> {
    let mut asked = args.model.asked();
    asked.insert("text".to_owned(), json!(args.text));
    asked.insert("top".to_owned(), json!(args.top));
    let answer = args.connection.client()?.post("/api/v1/fill", &Value::Object(asked))?;
    if args.format.json {
        return print_json(&answer);
    }
    let mut text = String::new();
    for (at, words) in answer["masks"].as_array().into_iter().flatten().enumerate() {
        let words = words.as_array().into_iter().flatten().map(|word| {
            let share = 100.0 * word["probability"].as_f64().unwrap_or(f64::NAN);
            format!("{} {share:.1} %", visible(word["word"].as_str().unwrap_or("?")))
        });
        text += &format!("{}: {}\n", at + 1, words.collect::<Vec<_>>().join(", "));
    }
    print(&text)
}
