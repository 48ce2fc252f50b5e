//! Ingest: files of the inboxes -> samples in the replay buffer.
//!
//! `watch` finds files and waits until they are whole; `take` workers open, hash and decode them; `commit` makes the
//! samples durable, a batch at a time, and only then acknowledges the files.
//!
//! Always true: the scan of the disk is the truth and events are hints, so nothing is lost when a queue is full; a
//! file is acknowledged only after its samples are durable; a file that can not be taken is named in quarantine and
//! does not stop the rest.

mod acknowledge;
mod commit;
mod file;
mod inbox;
mod listen;
mod pulse;
mod quarantine;
mod scan;
mod settle;
mod shared;
mod take;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::clock::Clock;
use crate::config::IngestConfig;
use crate::ids::{SampleId, SourceHash, StreamName};
use crate::limits::{COMMIT_QUEUE_BYTES_MAX, COMMIT_QUEUE_MAX, DECODE_QUEUE_MAX, NOTIFY_QUEUE_MAX};
use crate::replay::{QuarantineEntry, ReplayBuffer};
use crate::sample::Cutting;
pub use quarantine::{Done, Handled, Quarantine};

use inbox::Inbox;
use shared::Shared;

/// What a stream's ingest is started with.
#[derive(Clone, Debug)]
pub struct IngestSetup {
    /// The stream; names the threads.
    pub stream: StreamName,
    /// The watched folders.
    pub inboxes: Vec<PathBuf>,
    /// The stream's state folder; `done` and `quarantine` are in it where the configuration names no others.
    pub state_dir: PathBuf,
    /// How files are taken.
    pub config: IngestConfig,
    /// How files are cut into samples.
    pub cutting: Cutting,
    /// Decode workers, at least 1.
    pub decode_threads: usize,
}

/// Told to the daemon as it happens, from the ingest's own threads; the receiver must not block.
#[derive(Clone, Debug, PartialEq)]
pub enum IngestEvent {
    /// A source's samples are durable and its file is acknowledged.
    Accepted {
        /// Its path below the inbox.
        path: String,
        /// Its content.
        source: SourceHash,
        /// What was cut from it.
        samples: Vec<SampleId>,
    },
    /// A file's content had been taken before.
    Duplicate {
        /// Its path below the inbox.
        path: String,
        /// Its content.
        source: SourceHash,
    },
    /// A file could not be taken.
    Quarantined(QuarantineEntry),
    /// Nothing is taken for now.
    Paused {
        /// Why.
        reason: String,
    },
    /// Files are taken again.
    Resumed,
    /// An inbox is not there any more.
    InboxGone {
        /// Its path.
        inbox: PathBuf,
    },
    /// An inbox that was gone is there.
    InboxBack {
        /// Its path.
        inbox: PathBuf,
    },
}

/// A stream's ingest in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngestCounters {
    /// Sources taken, for life.
    pub accepted: u64,
    /// Paths whose content had been taken under another path, for life.
    pub duplicate: u64,
    /// Files in quarantine.
    pub quarantined: u64,
    /// Paths passed over since the start because their names say that they are unfinished.
    pub ignored: u64,
    /// Paths passed over since the start that are no regular files: symlinks, pipes, sockets, devices, too deep.
    pub skipped: u64,
    /// Files on their way: waiting, being decoded, being made durable.
    pub queued: u64,
    /// Why nothing is taken, if nothing is.
    pub paused: Option<Pause>,
    /// The inboxes, and whether each is there.
    pub inboxes: Vec<(PathBuf, bool)>,
    /// Whether a scan is due because something may have been missed.
    pub needs_rescan: bool,
    /// Which thread failed, and how. Such an ingest takes nothing more until the daemon is restarted.
    pub failed: Option<String>,
}

/// Why nothing is taken for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Who wants it: `request`, `disk` or `buffer`.
    pub by: &'static str,
    /// Why, and what to do about it.
    pub why: String,
}

/// Why an ingest could not be started.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// An inbox can not be opened.
    #[error(
        "failed to open the inbox {} of stream {stream}: {source}",
        inbox.display()
    )]
    Inbox {
        /// The stream.
        stream: StreamName,
        /// The folder.
        inbox: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder for acknowledged or rejected files can not be made.
    #[error("failed to create the folder {}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An inbox is also a folder that the daemon itself writes to.
    #[error(
        "the inbox {} of stream {stream} is also a folder that the daemon puts files into",
        folder.display()
    )]
    InboxIsOurs {
        /// The stream.
        stream: StreamName,
        /// The folder.
        folder: PathBuf,
    },
    /// A thread can not be started.
    #[error("failed to start the thread {name}: {source}")]
    Thread {
        /// The thread.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A stream's running ingest. Dropping it stops it.
#[derive(Debug)]
pub struct Ingest {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// How many times as long as another piece of work the largest file may take that the limits allow.
const DECODE_PATIENCE: u32 = 10;

/// Decoded sources that may wait: fewer where each is large.
fn commit_queue(cutting: &Cutting) -> usize {
    (COMMIT_QUEUE_BYTES_MAX / cutting.sample_bytes()).clamp(16, COMMIT_QUEUE_MAX)
}

impl Ingest {
    /// Opens the inboxes and starts the threads.
    ///
    /// # Errors
    /// An inbox that is not there, a folder that can not be made.
    pub fn start(
        setup: IngestSetup,
        replay: Arc<ReplayBuffer>,
        clock: Arc<dyn Clock>,
        on_event: Arc<dyn Fn(IngestEvent) + Send + Sync>,
    ) -> Result<Self, IngestError> {
        let inboxes = setup
            .inboxes
            .iter()
            .map(|root| {
                Inbox::open(root).map_err(|source| IngestError::Inbox {
                    stream: setup.stream.clone(),
                    inbox: root.clone(),
                    source,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let config = &setup.config;
        let dirs = [
            config.done_dir.as_ref(),
            config.quarantine_dir.as_ref(),
            Some(&setup.state_dir),
        ];
        for folder in dirs.into_iter().flatten() {
            create_folder(folder)?;
            // An inbox that is our own folder would be passed over whole, without a word.
            let own = folder.canonicalize().ok();
            let is_inbox = |root: &PathBuf| root.canonicalize().ok() == own;
            if setup.inboxes.iter().any(is_inbox) {
                return Err(IngestError::InboxIsOurs {
                    stream: setup.stream,
                    folder: folder.clone(),
                });
            }
        }
        let (hint_sender, hints) = bounded(NOTIFY_QUEUE_MAX);
        let shared = Arc::new(Shared::new(setup, inboxes, replay, clock, on_event, hint_sender));
        let mut ingest = Self {
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        // After `ingest`, so that on a failure they are dropped before it waits for the threads that they keep alive.
        let (job_sender, jobs) = bounded(DECODE_QUEUE_MAX);
        let (outcome_sender, outcomes) = bounded(commit_queue(&shared.setup.cutting));
        let stream = shared.setup.stream.as_str().to_owned();
        ingest.spawn(format!("commit-{stream}"), move |shared| commit::run(shared, &outcomes))?;
        for worker in 0..shared.setup.decode_threads.max(1) {
            let (jobs, outcomes) = (jobs.clone(), outcome_sender.clone());
            ingest.spawn(format!("decode-{stream}-{worker}"), move |shared| {
                take::run(shared, worker, &jobs, &outcomes);
            })?;
        }
        ingest.spawn(format!("watch-{stream}"), move |shared| {
            watch::run(shared, hints, job_sender)
        })?;
        Ok(ingest)
    }

    /// The ingest in numbers.
    pub fn counters(&self) -> IngestCounters {
        self.shared.counters()
    }

    /// Tells why it works no more, if it does not, for as long as anybody asks.
    pub fn failure(&self) -> impl Fn() -> Option<String> + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.failed()
    }

    /// The thread that has been at one piece of work for longer than this, if there is one. To read and decode one large
    /// file may take ten times as long. An ingest that failed, is paused or has nothing to do is not stuck.
    pub fn stuck(&self, after: Duration) -> Option<String> {
        if self.shared.failed().is_some() {
            return None;
        }
        let stream = &self.shared.setup.stream;
        let pulses = &self.shared.pulses;
        let named = [("watch", &pulses.watch), ("commit", &pulses.commit)];
        let named = named.into_iter().find(|(_, pulse)| pulse.is_stuck(after));
        let decode = || {
            pulses
                .decode
                .iter()
                .position(|pulse| pulse.is_stuck(after * DECODE_PATIENCE))
        };
        named
            .map(|(name, _)| format!("{name}-{stream}"))
            .or_else(|| decode().map(|worker| format!("decode-{stream}-{worker}")))
    }

    /// Stops taking files, or goes on; what is on its way is finished.
    pub fn pause(&self, on: bool) {
        self.shared.is_pause_asked.store(on, Ordering::Relaxed);
    }

    /// Scans the inboxes soon.
    pub fn rescan(&self) {
        self.shared.needs_rescan.store(true, Ordering::Relaxed);
    }

    /// The rejected files.
    pub fn quarantine(&self) -> Quarantine {
        Quarantine::new(Arc::clone(&self.shared))
    }

    /// Stops taking, finishes what is decoded, and returns when all threads have ended.
    pub fn stop(self) {
        drop(self);
    }

    fn spawn(&mut self, name: String, work: impl FnOnce(&Shared) + Send + 'static) -> Result<(), IngestError> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn({
                let name = name.clone();
                move || shared.guard(&name, work)
            })
            .map_err(|source| IngestError::Thread { name, source })?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic was caught inside the thread and is named in `failed`.
            let _ = thread.join();
        }
    }
}

fn create_folder(folder: &Path) -> Result<(), IngestError> {
    std::fs::create_dir_all(folder).map_err(|source| IngestError::Folder {
        folder: folder.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
