//! `curiod replay`: the replay buffers of a stopped daemon, verified, put into an archive, and filled from one.
//! Invariant: none of these runs beside a daemon on the same state; the lock says so.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::Format;
use super::failure::Failure;
use super::output::{print, visible};
use crate::config::{self, Config, StreamConfig};
use crate::daemon;
use crate::daemon::lock::StateLock;
use crate::durable::FileWriter;
use crate::replay::{ArchiveError, BadRecordReport, ImportReport, ReplayBuffer, export as write_archive};
use crate::sample::{Content, Modality};

/// Bytes that go to or come from an archive at a time.
const ARCHIVE_BUFFER_BYTES: usize = 1 << 20;

/// Records that can not be believed that an export tells one by one; of the others it tells how many.
const BAD_RECORDS_TOLD_MAX: usize = 20;

/// `curiod replay`.
#[derive(Subcommand, Clone, Debug)]
pub enum ReplayCommand {
    /// Read every record of a stopped daemon's buffers, and compare ledger, catalogue and segments; change nothing
    Verify(VerifyArgs),
    /// Write what a stopped daemon's buffer keeps into an archive that tar can read; change nothing
    Export(ExportArgs),
    /// Take what an archive keeps into a stopped daemon's buffer, every source once
    Import(ImportArgs),
}

/// Whose buffers.
#[derive(Args, Clone, Debug)]
struct Place {
    /// The daemon's configuration
    #[arg(long, value_name = "FILE", required_unless_present = "state")]
    config: Option<PathBuf>,
    /// The daemon's state directory, where there is no configuration file
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    state: Option<PathBuf>,
}

/// The flags of `curiod replay verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    format: Format,
}

/// The flags of `curiod replay export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// The archive, which has its name once it is whole; `-` is stdout
    #[arg(value_name = "FILE|-")]
    archive: PathBuf,
    #[command(flatten)]
    place: Place,
    /// The stream; may be left out where there is one
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    #[command(flatten)]
    format: Format,
}

/// The flags of `curiod replay import`.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// The archive; `-` is stdin
    #[arg(value_name = "FILE|-")]
    archive: PathBuf,
    #[command(flatten)]
    place: Place,
    /// The stream; may be left out where there is one. With --state it may be a new one
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    #[command(flatten)]
    format: Format,
}

/// `curiod replay`.
pub fn replay(command: &ReplayCommand) -> Result<(), Failure> {
    match command {
        ReplayCommand::Verify(args) => verify(args),
        ReplayCommand::Export(args) => export(args),
        ReplayCommand::Import(args) => import(args),
    }
}

fn failed(what: impl ToString) -> Failure {
    Failure::new(Failure::FAILED, what)
}

/// A state directory that no daemon runs on, and the buffers in it by their streams' names.
struct Buffers {
    state_dir: PathBuf,
    config: Option<Config>,
    found: Vec<(String, PathBuf)>,
    _lock: StateLock,
}

impl Buffers {
    /// Locks the state. Only who fills it `makes` one that is not there: else a folder that is none is a typing error.
    fn at(place: &Place, makes: bool) -> Result<Self, Failure> {
        let config = match &place.config {
            Some(file) => Some(config::compose(file, config::environment())?),
            None => None,
        };
        let state_dir = match &config {
            Some(config) => config.state_dir.clone(),
            None => place.state.clone().unwrap_or_default(),
        };
        if !makes && !state_dir.is_dir() {
            return Err(failed(format!("{} is no state directory", state_dir.display()))
                .hint("give the one that the daemon was run with"));
        }
        let lock = StateLock::take(&state_dir).map_err(|error| failed(&error).hint(error.hint()))?;
        daemon::sweep_copies(&std::env::temp_dir());
        Ok(Self {
            _lock: lock,
            found: match &config {
                Some(config) => daemon::replay_dirs(config),
                None => streams_below(&state_dir, makes)?,
            },
            state_dir,
            config,
        })
    }

    /// The stream of this name, or the only one.
    fn one(&self, name: Option<&str>) -> Result<(String, PathBuf), Failure> {
        let names: Vec<&str> = self.found.iter().map(|(name, _)| name.as_str()).collect();
        let found = match (name, self.found.as_slice()) {
            (Some(wanted), all) => all.iter().find(|(name, _)| name == wanted),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        found.cloned().ok_or_else(|| {
            let what = match name {
                Some(name) => format!("there is no stream `{name}`"),
                None => "it is not clear which stream is meant".to_owned(),
            };
            failed(what).hint(match names.as_slice() {
                [] => "no daemon has run with this state; name a stream with --stream to import into it".to_owned(),
                names => format!("name one with --stream: {}", names.join(", ")),
            })
        })
    }

    /// The stream to import into, its buffer's folder and its settings. Without a configuration it may be a new one, of
    /// the settings that `curiod run --inbox` gives it.
    fn one_to_fill(&self, name: Option<&str>) -> Result<(StreamConfig, PathBuf), Failure> {
        if let Some(config) = &self.config {
            let (name, dir) = self.one(name)?;
            let stream = config.streams.iter().find(|stream| stream.name.as_str() == name);
            let stream = stream.ok_or_else(|| failed(format!("there is no stream `{name}`")))?;
            return Ok((stream.clone(), dir));
        }
        let name = match name {
            Some(name) => name.to_owned(),
            None => self.one(None)?.0,
        };
        let config = super::run::bare(&self.state_dir, &name, Modality::Image)?;
        let stream = config
            .streams
            .first()
            .ok_or_else(|| failed("no stream is configured"))?;
        let dir = self.state_dir.join("streams").join(stream.name.as_str()).join("replay");
        Ok((stream.clone(), dir))
    }
}

fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let buffers = Buffers::at(&args.place, false)?;
    let (mut reports, mut bad) = (Vec::new(), 0);
    for (name, dir) in &buffers.found {
        let report = ReplayBuffer::verify(dir).map_err(|error| {
            failed(format!("stream `{name}`: {error}")).hint("a stream has a buffer once the daemon has run with it")
        })?;
        bad += usize::from(!report.ok);
        if !args.format.json {
            let verdict = if report.ok { "good" } else { "BAD" };
            print(&format!(
                "stream `{name}`: {verdict}: {} samples of {} sources in {} segments, {} bytes, {} quarantined, {} bad records\n",
                report.samples,
                report.sources,
                report.segments,
                report.bytes,
                report.quarantined,
                report.bad_records.len()
            ))?;
            for contradiction in &report.contradictions {
                print(&format!("  {contradiction}\n"))?;
            }
        }
        let mut report = serde_json::to_value(&report).map_err(failed)?;
        report["stream"] = json!(name);
        reports.push(report);
    }
    if args.format.json {
        print(&(json!({ "streams": reports }).to_string() + "\n"))?;
    }
    match bad {
        0 => Ok(()),
        bad => Err(failed(format!("{bad} buffers are not as they should be")).hint(
            "start the daemon: it makes the catalogue agree with the segments again, sets aside what can not be read, \
             and takes files again whose samples are lost if they still are in the inbox",
        )),
    }
}

fn export(args: &ExportArgs) -> Result<(), Failure> {
    let is_stdout = args.archive == Path::new("-");
    if is_stdout && io::stdout().is_terminal() {
        return Err(
            Failure::new(Failure::USAGE, "an archive is not for a terminal").hint("redirect stdout, or give a file")
        );
    }
    let buffers = Buffers::at(&args.place, false)?;
    let (name, dir) = buffers.one(args.stream.as_deref())?;
    let to = shown(&args.archive, "stdout");
    let bad =
        |error: ArchiveError| failed(format!("failed to export stream `{name}` to {to}: {error}")).hint(error.hint());
    let report = if is_stdout {
        let out = BufWriter::with_capacity(ARCHIVE_BUFFER_BYTES, io::stdout().lock());
        write_archive(&dir, &name, out).map_err(bad)?.1
    } else {
        let refused = |error| failed(error).hint("give a place with room that this user may write to");
        let file = FileWriter::create(&args.archive).map_err(refused)?;
        let out = BufWriter::with_capacity(ARCHIVE_BUFFER_BYTES, file);
        let (out, report) = write_archive(&dir, &name, out).map_err(bad)?;
        let file = out
            .into_inner()
            .map_err(|error| bad(ArchiveError::Write(error.into_error())))?;
        file.finish().map_err(refused)?;
        report
    };
    tell(is_stdout, args.format.json, &report, || {
        format!(
            "exported stream `{name}` to {to}: {} samples of {} sources, {} duplicates, {} bytes of contents\n",
            report.samples, report.sources, report.duplicates, report.bytes
        )
    })?;
    if report.bad_records.is_empty() {
        return Ok(());
    }
    for BadRecordReport { path, offset, why, .. } in report.bad_records.iter().take(BAD_RECORDS_TOLD_MAX) {
        eprintln!("left out: {} at {offset}: {why}", path.display());
    }
    let what = format!(
        "{} damaged records are not in the archive, which is whole otherwise",
        report.bad_records.len()
    );
    Err(failed(what).hint("look at the disk; curiod replay verify says more"))
}

fn import(args: &ImportArgs) -> Result<(), Failure> {
    let from = shown(&args.archive, "stdin");
    // Before the state is touched: a wrong name is the commonest mistake.
    let archive: Box<dyn Read> = if args.archive == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let opened = File::open(&args.archive);
        Box::new(opened.map_err(|error| {
            failed(format!("failed to read {from}: {error}")).hint("give an archive of `curiod replay export`")
        })?)
    };
    let buffers = Buffers::at(&args.place, true)?;
    let (stream, dir) = buffers.one_to_fill(args.stream.as_deref())?;
    let name = &stream.name;
    let replay_failed =
        |error| failed(format!("stream `{name}`: {error}")).hint("curiod replay verify looks into a stream's buffer");
    let (buffer, _) = ReplayBuffer::open(&dir, &stream.replay, stream.learning.seed).map_err(replay_failed)?;
    let check = |content: &[u8]| Content::decode(content).map(drop).map_err(|error| error.to_string());
    let mut report = ImportReport::default();
    let archive = BufReader::with_capacity(ARCHIVE_BUFFER_BYTES, archive);
    let imported = buffer.import(archive, check, &mut report);
    let live = buffer.counts().samples;
    buffer.close().map_err(replay_failed)?;
    let sentence = format!(
        "{} samples of {} new sources; {} sources were known, {} are duplicates; the stream now keeps {live} samples",
        report.samples, report.sources, report.known, report.duplicates
    );
    if let Err(error) = imported {
        let what =
            format!("failed to import {from} into stream `{name}`: {error}; what was whole before is kept: {sentence}");
        return Err(failed(what).hint(error.hint()));
    }
    tell(false, args.format.json, &report, || {
        format!("imported {from} into stream `{name}`: {sentence}\n")
    })
}

/// A path for people; `-` is what it stands for.
fn shown(path: &Path, dash: &str) -> String {
    match path == Path::new("-") {
        true => dash.to_owned(),
        false => visible(&path.display().to_string()),
    }
}

/// Tells what was done, on stderr where stdout is taken.
fn tell(
    is_stdout_taken: bool,
    as_json: bool,
    report: &impl Serialize,
    sentence: impl Fn() -> String,
) -> Result<(), Failure> {
    let text = match as_json {
        true => serde_json::to_string(report).map_err(failed)? + "\n",
        false => sentence(),
    };
    if !is_stdout_taken {
        return print(&text);
    }
    // Nobody listens: the archive is what was asked for.
    let _ = io::stderr().write_all(text.as_bytes());
    Ok(())
}

/// The buffers of every stream that a state directory knows.
fn streams_below(state_dir: &Path, may_lack: bool) -> Result<Vec<(String, PathBuf)>, Failure> {
    let folder = state_dir.join("streams");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if may_lack && error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(failed(format!("failed to read {}: {error}", folder.display()))
                .hint("give the state directory of a daemon"));
        }
    };
    let mut found: Vec<_> = entries
        .flatten()
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                entry.path().join("replay"),
            )
        })
        .collect();
    found.sort();
    Ok(found)
}
