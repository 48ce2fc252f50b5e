//! `curiod models export`: a generation on this machine, as the daemon has it, as ONNX or as TorchScript.
//! Always true: every file is what the manifest says, by its hash; what is written has its name once it is whole, and takes the place
//! of nothing.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{self, print, print_json};
use super::{Connection, Format, models};
use crate::client::{Client, DownloadError};
use crate::durable::{self, DurableError};
use crate::ids::{Generation, StreamName};
use crate::model::onnx::onnx;
use crate::model::torchscript::torchscript;
use crate::registry::Manifest;
use crate::registry::layout::{CONFIG_FILE, MANIFEST_FILE, MODEL_FILE};

/// Bytes of a manifest.
const MANIFEST_BYTES_MAX: usize = 16 << 20;

/// What a generation is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// The folder as the daemon has it: weights, configuration, manifest, and the vocabulary of texts
    Safetensors,
    /// The encoder for ONNX Runtime and others, with its configuration and the vocabulary of texts
    Onnx,
    /// The encoder for libtorch and PyTorch, with its configuration and the vocabulary of texts
    Torchscript,
}

/// An encoder in a file of its own.
struct EncoderFile {
    name: &'static str,
    /// What the name of a file ends in that is wanted without a folder.
    ending: &'static str,
    /// Writes it of a generation's manifest and its weights; an error in words.
    written: fn(&Manifest, Vec<u8>) -> Result<Vec<u8>, String>,
}

impl ExportFormat {
    /// None where the generation is copied as it is.
    fn encoder_file(self) -> Option<EncoderFile> {
        match self {
            Self::Safetensors => None,
            Self::Onnx => Some(EncoderFile {
                name: "model.onnx",
                ending: "onnx",
                written: |manifest, weights| {
                    onnx(
                        &manifest.provenance.encoder,
                        weights,
                        &about(manifest),
                        manifest.generation.0,
                    )
                    .map_err(|error| error.to_string())
                },
            }),
            Self::Torchscript => Some(EncoderFile {
                name: "model.pt",
                ending: "pt",
                written: |manifest, weights| {
                    torchscript(&manifest.provenance.encoder, weights, &about(manifest))
                        .map_err(|error| error.to_string())
                },
            }),
        }
    }
}

/// The flags of `curiod models export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Format,
    /// STREAM, STREAM@stable or STREAM@42
    model: String,
    /// What to write
    #[arg(long, value_enum, default_value_t = ExportFormat::Safetensors)]
    format: ExportFormat,
    /// The folder to make; or a file: of ONNX one whose name ends in .onnx, of TorchScript in .pt
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
}

/// What `/files` answers.
#[derive(Deserialize)]
struct Files {
    stream: StreamName,
    generation: Generation,
}

/// A folder that is being filled, and goes when it is not given its name.
struct Making {
    dir: PathBuf,
}

impl Drop for Making {
    fn drop(&mut self) {
        if self.dir.exists() {
            // What it was left for is the error to tell.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

pub(super) fn export(args: &ExportArgs) -> Result<(), Failure> {
    let encoder = args.format.encoder_file();
    // The name of the only file, where only one is wanted.
    let alone = encoder
        .as_ref()
        .filter(|encoder| args.out.extension().is_some_and(|ending| ending == encoder.ending))
        .map(|encoder| encoder.name);
    must_be_free(&args.out, alone.is_some())?;
    let making = Making {
        dir: durable::temp_beside(&args.out),
    };
    fs::create_dir(&making.dir).map_err(|error| unwritten(&args.out, &error))?;
    let client = args.connection.client()?;
    let generation = Fetching::begin(&client, &args.model)?;
    let manifest = &generation.manifest;
    match encoder {
        None => {
            write(&making.dir.join(MANIFEST_FILE), &generation.text)?;
            for name in manifest.files.keys() {
                generation.fetch(&client, name, &making.dir)?;
            }
        }
        Some(encoder) => {
            let beside = manifest
                .files
                .keys()
                .filter(|name| alone.is_none() && goes_with_it(name));
            for name in beside.map(String::as_str).chain([MODEL_FILE]) {
                generation.fetch(&client, name, &making.dir)?;
            }
            let weights = making.dir.join(MODEL_FILE);
            let bytes = fs::read(&weights).map_err(|error| unwritten(&weights, &error))?;
            fs::remove_file(&weights).map_err(|error| unwritten(&weights, &error))?;
            let model = (encoder.written)(manifest, bytes).map_err(|error| {
                Failure::new(Failure::FAILED, format!("generation {}: {error}", manifest.generation))
            })?;
            write(&making.dir.join(encoder.name), &model)?;
        }
    }
    let written = match alone {
        Some(file) => vec![(file.to_owned(), fs::metadata(making.dir.join(file)))],
        None => files_of(&making.dir),
    };
    let written: Vec<(String, u64)> = written
        .into_iter()
        .map(|(name, metadata)| (name, metadata.map_or(0, |metadata| metadata.len())))
        .collect();
    name(&making.dir, &args.out, alone)?;
    let bytes: u64 = written.iter().map(|(_, bytes)| bytes).sum();
    if args.output.json {
        let files: Vec<Value> = written
            .iter()
            .map(|(path, bytes)| json!({ "path": path, "bytes": bytes }))
            .collect();
        return print_json(&json!({
            "stream": manifest.provenance.stream, "generation": manifest.generation, "space": manifest.space,
            "out": args.out, "files": files,
        }));
    }
    print(&format!(
        "wrote generation {} of {} to {}: {} in {} {}\n",
        manifest.generation,
        manifest.provenance.stream,
        args.out.display(),
        output::bytes(bytes),
        written.len(),
        if written.len() == 1 { "file" } else { "files" },
    ))
}

/// A generation whose manifest is here.
struct Fetching {
    manifest: Manifest,
    /// The manifest as it came.
    text: Vec<u8>,
    /// Where its files are.
    path: String,
}

impl Fetching {
    /// Asks which generation the name names, and for its manifest. From here on it is that one, whatever is published meanwhile.
    fn begin(client: &Client, model: &str) -> Result<Self, Failure> {
        let (stream, version) = models::parts(model)?;
        let files: Files = client.get_as(&format!("/api/v1/models/{stream}/{version}/files"))?;
        let path = format!("/api/v1/models/{}/{}/files", files.stream, files.generation);
        let mut text = Bounded(Vec::new());
        client
            .download(&format!("{path}/{MANIFEST_FILE}"), &mut text)
            .map_err(|error| told(MANIFEST_FILE, error))?;
        let manifest = Manifest::parse(&text.0, files.generation)
            .map_err(|error| Failure::new(Failure::FAILED, format!("the manifest can not be used: {error}")))?;
        Ok(Self {
            manifest,
            text: text.0,
            path,
        })
    }

    /// Copies a file of it into a folder; an error where it is not what the manifest says.
    fn fetch(&self, client: &Client, name: &str, into: &Path) -> Result<(), Failure> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        let parts = Path::new(name).components();
        if !name.chars().all(is_plain) || !parts.into_iter().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Failure::new(
                Failure::FAILED,
                format!("the manifest names `{name}`, which is no name of curiod's"),
            ));
        }
        let path = into.join(name);
        let folder = path.parent().unwrap_or(into);
        fs::create_dir_all(folder).map_err(|error| unwritten(folder, &error))?;
        let file = File::create_new(&path).map_err(|error| unwritten(&path, &error))?;
        let mut hashed = Hashed {
            file,
            hasher: blake3::Hasher::new(),
        };
        client
            .download(&format!("{}/{name}", self.path), &mut hashed)
            .map_err(|error| told(name, error))?;
        hashed.file.sync_all().map_err(|error| unwritten(&path, &error))?;
        let found = hashed.hasher.finalize().to_hex();
        if self.manifest.files.get(name).map(String::as_str) != Some(found.as_str()) {
            let what = format!("`{name}` is not what the manifest says: its blake3 hash is {found}");
            return Err(Failure::new(Failure::FAILED, what).hint("ask again; if it comes again, restart the daemon"));
        }
        Ok(())
    }
}

/// A file on its way, and the hash of what it holds so far.
struct Hashed {
    file: File,
    hasher: blake3::Hasher,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Bytes in memory, not more than a manifest has.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MANIFEST_BYTES_MAX {
            return Err(io::Error::other(format!("it has more than {MANIFEST_BYTES_MAX} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What an encoder's file says of the generation, beside how it is asked.
fn about(manifest: &Manifest) -> Vec<(&'static str, String)> {
    vec![
        ("stream", manifest.provenance.stream.to_string()),
        ("generation", manifest.generation.to_string()),
        ("space", manifest.space.to_string()),
        ("step", manifest.provenance.step.to_string()),
        ("created_at", manifest.created_at.clone()),
    ]
}

/// Whether whoever runs an encoder's file needs it too.
fn goes_with_it(name: &str) -> bool {
    name == CONFIG_FILE || name == "special_tokens_map.json" || name.starts_with("tokenizer")
}

/// An error where something is there already. An empty folder is nothing.
fn must_be_free(out: &Path, is_file: bool) -> Result<(), Failure> {
    let is_empty = || fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    if fs::symlink_metadata(out).is_err() || (!is_file && is_empty()) {
        return Ok(());
    }
    let what = format!("{} is there already", out.display());
    Err(Failure::new(Failure::USAGE, what).hint("name another, or remove it first"))
}

/// Gives what was made its name: the folder, or of what is in it a file alone.
fn name(made: &Path, out: &Path, alone: Option<&str>) -> Result<(), Failure> {
    let named = match alone {
        Some(file) => durable::rename(&made.join(file), out),
        None => {
            if out.is_dir() {
                // Fails where something came into it meanwhile.
                fs::remove_dir(out).map_err(|error| unwritten(out, &error))?;
            }
            durable::publish_dir(made, out)
        }
    };
    named.map_err(|error: DurableError| Failure::new(Failure::FAILED, error))
}

/// The files below a folder, by their names in it.
fn files_of(dir: &Path) -> Vec<(String, io::Result<fs::Metadata>)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned();
                found.push((name, entry.metadata()));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    durable::write_new(path, bytes).map_err(|error| Failure::new(Failure::FAILED, error))
}

fn told(name: &str, error: DownloadError) -> Failure {
    match error {
        DownloadError::Client(error) => error.into(),
        DownloadError::Write(error) => Failure::new(Failure::FAILED, format!("failed to write `{name}`: {error}")),
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Failure::FAILED, format!("failed to write {}: {error}", path.display()))
        .hint("look at the folder's owner and mode, and at the room on its disk")
}
