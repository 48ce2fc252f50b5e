//! The log: events with fields, to stderr. Text on a terminal, journald's own protocol under systemd, JSON otherwise.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged unless `CURIOD_LOG` says otherwise (the filter language of tracing's `EnvFilter`). sled and notify
/// speak at `info` of what is no news to an administrator.
const DEFAULT_FILTER: &str = "info,sled=warn,notify=warn,hyper=warn";

/// Starts the log; starts no thread. Once; a second call does nothing.
pub fn start() {
    let filter = EnvFilter::try_from_env("CURIOD_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let registry = tracing_subscriber::registry().with(filter);
    // Under systemd stderr is a socket to the journal: there, events keep their fields.
    if stderr_is_the_journal()
        && let Ok(journald) = tracing_journald::layer()
    {
        let _ = registry
            .with(journald.with_field_prefix(Some("CURIOD".to_owned())))
            .try_init();
        return;
    }
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false);
    let _ = if std::io::stderr().is_terminal() {
        registry.with(layer).try_init()
    } else {
        registry.with(layer.json().flatten_event(true)).try_init()
    };
}

/// Whether a last word shall be an event of the log: a program reads the log, and its filter lets errors pass. On a
/// terminal a person reads, for whom it is told as that of any command.
pub fn takes_last_words() -> bool {
    !std::io::stderr().is_terminal() && tracing::enabled!(tracing::Level::ERROR)
}

/// `JOURNAL_STREAM` names the device and inode of the journal's socket; it is stderr only if these are stderr's
/// (systemd.exec(5)).
fn stderr_is_the_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr().as_fd()) else {
        return false;
    };
    named == format!("{}:{}", stat.st_dev, stat.st_ino)
}
