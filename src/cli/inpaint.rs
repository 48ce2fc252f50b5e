//! `curiod inpaint`: what a model expects where it can not see, for a person to look at.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};

use super::Connection;
use super::failure::Failure;
use super::query::{ModelArg, read};

/// The flags of `curiod inpaint`.
#[derive(Args, Clone, Debug)]
pub struct InpaintArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    model: ModelArg,
    /// A picture; - reads it from stdin
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Where the PNG goes: the square that the model sees, its middle painted from the rest; - writes it to stdout
    #[arg(value_name = "OUT")]
    output: PathBuf,
}

/// `curiod inpaint`.
pub fn inpaint(args: &InpaintArgs) -> Result<(), Failure> {
    let mut asked = args.model.asked();
    asked.insert("image".to_owned(), json!(STANDARD.encode(read(&args.input)?)));
    let png = args
        .connection
        .client()?
        .post_for_bytes("/api/v1/inpaint", &Value::Object(asked))?;
    let written = match args.output == Path::new("-") {
        true => std::io::stdout().lock().write_all(&png),
        false => std::fs::write(&args.output, &png),
    };
    written.map_err(|error| {
        Failure::new(
            Failure::FAILED,
            format!("failed to write {}: {error}", args.output.display()),
        )
    })
}
