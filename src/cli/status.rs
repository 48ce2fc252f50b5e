//! `curiod status` and `curiod streams`.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::failure::Failure;
use super::output::{bytes, print, print_json, table, visible};
use super::{Connection, Format};
use crate::status::{Status, StreamStatus};

/// How often `--watch` looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Clears a terminal and goes to its upper left corner.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// The flags of `curiod status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    /// Show it again every second, until interrupted
    #[arg(long)]
    watch: bool,
}

/// The flags of `curiod streams`.
#[derive(Args, Clone, Debug)]
pub struct StreamsArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// `curiod status`.
pub fn status(args: &StatusArgs) -> Result<(), Failure> {
    let client = args.connection.client()?;
    loop {
        let status: Status = client.get_as("/api/v1/status")?;
        match (args.format.json, args.watch) {
            (true, false) => print_json(&status)?,
            // One line each, so that a program can read them one by one.
            (true, true) => print(&format!("{}\n", serde_json::json!(status)))?,
            (false, false) => print(&described(&status))?,
            (false, true) if std::io::stdout().is_terminal() => print(&format!("{CLEAR}{}", described(&status)))?,
            (false, true) => print(&format!("{}\n", described(&status)))?,
        }
        if !args.watch {
            return works(&status);
        }
        std::thread::sleep(WATCH_EVERY);
    }
}

/// Fails where a part of a stream has failed: a check of the daemon need not read the text.
fn works(status: &Status) -> Result<(), Failure> {
    let failed: Vec<_> = status
        .streams
        .iter()
        .flat_map(|stream| {
            stream
                .failures()
                .map(|(part, _)| format!("{part} of stream `{}`", stream.name))
        })
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let what = format!("the daemon is degraded: {} failed", failed.join(", "));
    Err(Failure::new(Failure::FAILED, what).hint("the log says why (journalctl -u curiod -p err); restart the daemon"))
}

/// `curiod streams`.
pub fn streams(args: &StreamsArgs) -> Result<(), Failure> {
    let answer: Value = args.connection.client()?.get("/api/v1/streams")?;
    if args.format.json {
        return print_json(&answer);
    }
    let streams: Vec<StreamStatus> = serde_json::from_value(answer["streams"].clone())
        .map_err(|error| Failure::new(Failure::FAILED, format!("the daemon's answer can not be read: {error}")))?;
    let rows: Vec<_> = streams
        .iter()
        .map(|stream| {
            let generation = stream
                .generation
                .map_or("-".to_owned(), |generation| generation.to_string());
            let (modality, state) = (stream.modality.to_string(), stream.state.clone());
            [
                stream.name.to_string(),
                modality,
                stream.samples.to_string(),
                stream.step.to_string(),
                generation,
                state,
            ]
        })
        .collect();
    print(&table(
        ["stream", "modality", ">samples", ">step", ">generation", "state"],
        &rows,
    ))
}

fn described(status: &Status) -> String {
    let mut text = format!("curiod {}, up {}\n", status.version, duration(status.uptime_s));
    for stream in &status.streams {
        text += &described_stream(stream);
    }
    text
}

fn described_stream(stream: &StreamStatus) -> String {
    let optional =
        |value: Option<f64>, decimals: usize| value.map_or("-".to_owned(), |value| format!("{value:.decimals$}"));
    let generation = match (&stream.generation, &stream.space) {
        (Some(generation), Some(space)) => {
            let (covered, total) = (stream.index_covered, stream.index_total);
            format!("generation {generation} (space {space}), {covered} of {total} samples searchable")
        }
        _ => format!(
            "no model yet; the first is judged at step {}",
            stream.first_candidate_steps
        ),
    };
    let mut lines = vec![
        (
            "files",
            format!(
                "{} accepted, {} duplicate, {} quarantined, {} waiting",
                stream.sources_accepted, stream.sources_duplicate, stream.sources_quarantined, stream.sources_queued
            ),
        ),
        (
            "samples",
            format!(
                "{} ({} of them exam), {}",
                stream.samples,
                stream.exam_samples,
                bytes(stream.replay_bytes)
            ),
        ),
        (
            "learning",
            format!(
                "{}: step {}, {:.1} steps/s, busy {:.0} %, effort {:.0} %",
                stream.state,
                stream.step,
                stream.steps_per_s,
                100.0 * stream.duty_cycle,
                100.0 * stream.effort
            ),
        ),
        (
            "health",
            format!(
                "loss {}, rank {}, surprise {}, progress {}",
                optional(stream.loss, 3),
                optional(stream.rank, 1),
                optional(stream.surprise, 2),
                optional(stream.progress, 3)
            ),
        ),
        (
            "gate",
            format!(
                "{} accepted, {} rejected since the start",
                stream.candidates_accepted, stream.candidates_rejected
            ),
        ),
        ("serving", generation),
    ];
    lines.extend(stream.verdict.clone().map(|verdict| ("verdict", verdict)));
    lines.extend(stream.drift.clone().map(|drift| ("drift", drift)));
    lines.extend(stream.ingest_paused.clone().map(|why| ("paused", why)));
    let gone = stream.inboxes.iter().filter(|inbox| !inbox.present);
    lines.extend(gone.map(|inbox| ("inbox", format!("{} is gone; mount or make it again", inbox.path))));
    let unsaved = stream
        .checkpoints_paused
        .as_ref()
        .or(stream.checkpoint_failure.as_ref());
    lines.extend(unsaved.cloned().map(|why| ("unsaved", why)));
    lines.extend(
        stream
            .failures()
            .map(|(part, why)| ("failure", format!("{part}: {why}"))),
    );
    let mut text = format!("\n{} ({})\n", stream.name, stream.modality);
    for (name, said) in lines {
        text += &format!("  {name:<9} {}\n", visible(&said));
    }
    text
}

fn duration(seconds: f64) -> String {
    let seconds = seconds as u64;
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
