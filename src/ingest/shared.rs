//! What the threads of one ingest share.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Sender;
use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::file::FileRef;
use super::inbox::Inbox;
use super::pulse::Pulse;
use super::watch::Hint;
use super::{IngestCounters, IngestEvent, IngestSetup, Pause};
use crate::clock::Clock;
use crate::limits::{PASSED_OVER_MAX, PUT_OFF_MAX};
use crate::replay::ReplayBuffer;

/// The state of one ingest.
pub(super) struct Shared {
    pub(super) setup: IngestSetup,
    pub(super) inboxes: Vec<Inbox>,
    pub(super) done_dir: PathBuf,
    pub(super) quarantine_dir: PathBuf,
    pub(super) replay: Arc<ReplayBuffer>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) is_stopping: AtomicBool,
    pub(super) is_pause_asked: AtomicBool,
    pub(super) needs_rescan: Arc<AtomicBool>,
    /// Our own folders where they lie below an inbox: what is in them is not new.
    ours: Vec<FileRef>,
    on_event: Arc<dyn Fn(IngestEvent) + Send + Sync>,
    hints: Sender<Hint>,
    /// The files on their way; true where one changed meanwhile and must be looked at again.
    in_flight: Mutex<HashMap<FileRef, bool>>,
    /// Why the disk lets nothing be taken, and why the replay buffer does.
    disk_is_low: Mutex<Option<String>>,
    store_failed: Mutex<Option<String>>,
    ignored: Mutex<HashSet<u64>>,
    skipped: Mutex<HashSet<u64>>,
    /// Folders that can not be read.
    closed: Mutex<HashSet<u64>>,
    /// Files that could not be read, moved or deleted, with the moment of their last change: tried again when that
    /// differs, and at each regular scan.
    put_off: Mutex<HashMap<FileRef, i128>>,
    /// Whether the last file could not be moved or deleted.
    is_acknowledging_failed: AtomicBool,
    /// Hashes of the paths in quarantine, so that the ledger is asked only about files that may be in it.
    quarantined: Mutex<HashSet<u64>>,
    failed: Mutex<Option<String>>,
    pub(super) pulses: Pulses,
}

/// The pulses of the threads.
pub(super) struct Pulses {
    pub(super) watch: Pulse,
    pub(super) commit: Pulse,
    pub(super) decode: Vec<Pulse>,
}

impl Shared {
    pub(super) fn new(
        setup: IngestSetup,
        inboxes: Vec<Inbox>,
        replay: Arc<ReplayBuffer>,
        clock: Arc<dyn Clock>,
        on_event: Arc<dyn Fn(IngestEvent) + Send + Sync>,
        hints: Sender<Hint>,
    ) -> Self {
        let folder =
            |configured: &Option<PathBuf>, name| configured.clone().unwrap_or_else(|| setup.state_dir.join(name));
        let quarantined = replay
            .quarantined()
            .iter()
            .map(|entry| fingerprint(&entry.path))
            .collect();
        let done_dir = folder(&setup.config.done_dir, "done");
        let quarantine_dir = folder(&setup.config.quarantine_dir, "quarantine");
        let ours = [&done_dir, &quarantine_dir, &setup.state_dir]
            .into_iter()
            .flat_map(|folder| below_inboxes(folder, &inboxes))
            .collect();
        let pulses = Pulses {
            watch: Pulse::default(),
            commit: Pulse::default(),
            decode: (0..setup.decode_threads.max(1)).map(|_| Pulse::default()).collect(),
        };
        Self {
            done_dir,
            quarantine_dir,
            ours,
            setup,
            inboxes,
            replay,
            clock,
            is_stopping: AtomicBool::new(false),
            is_pause_asked: AtomicBool::new(false),
            needs_rescan: Arc::new(AtomicBool::new(true)),
            on_event,
            hints,
            in_flight: Mutex::default(),
            disk_is_low: Mutex::default(),
            store_failed: Mutex::default(),
            ignored: Mutex::default(),
            skipped: Mutex::default(),
            closed: Mutex::default(),
            put_off: Mutex::default(),
            is_acknowledging_failed: AtomicBool::new(false),
            quarantined: Mutex::new(quarantined),
            failed: Mutex::default(),
            pulses,
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Whether a path lies in one of our own folders.
    pub(super) fn is_ours(&self, file: &FileRef) -> bool {
        let holds = |folder: &FileRef| folder.inbox == file.inbox && file.path.starts_with(&folder.path);
        self.ours.iter().any(holds)
    }

    pub(super) fn tell(&self, event: IngestEvent) {
        (self.on_event)(event);
    }

    /// Sends a hint to the watch. Full: a scan finds what the hint would have told.
    pub(super) fn hint(&self, hint: Hint) {
        if self.hints.try_send(hint).is_err() {
            self.needs_rescan.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn hint_sender(&self) -> Sender<Hint> {
        self.hints.clone()
    }

    /// Notes that a file is on its way; false if it was already, and then it is looked at again afterwards.
    pub(super) fn set_off(&self, file: &FileRef) -> bool {
        let mut in_flight = self.in_flight.lock();
        match in_flight.get_mut(file) {
            Some(again) => {
                *again = true;
                false
            }
            None => {
                in_flight.insert(file.clone(), false);
                true
            }
        }
    }

    /// Notes that a file has arrived, or will not.
    pub(super) fn arrived(&self, file: &FileRef) {
        if self.in_flight.lock().remove(file) == Some(true) {
            self.hint(Hint::Changed(file.clone()));
        }
    }

    /// Counts a path whose name says that it is unfinished.
    pub(super) fn ignored(&self, file: &FileRef) {
        count_once(&self.ignored, file);
    }

    /// Counts a path that is no regular file.
    pub(super) fn skipped(&self, file: &FileRef, why: &'static str) {
        if count_once(&self.skipped, file) {
            info!(stream = %self.setup.stream, path = ?file.path, why, "skipped a path");
        }
    }

    /// Says that a folder can not be read, once until it can.
    pub(super) fn closed(&self, folder: &FileRef, error: &std::io::Error) {
        if count_once(&self.closed, folder) {
            warn!(
                stream = %self.setup.stream, folder = %self.inboxes[folder.inbox].root().join(&folder.path).display(), %error,
                hint = "let the daemon's user read and enter it (chmod, chown, setfacl); every scan tries it again, the rest is watched",
                "a folder can not be read"
            );
        }
    }

    /// Notes that a folder can be read.
    pub(super) fn opened(&self, folder: &FileRef) {
        let mut closed = self.closed.lock();
        if !closed.is_empty() && closed.remove(&fingerprint(folder)) {
            info!(stream = %self.setup.stream, folder = ?folder.path, "a folder can be read again");
        }
    }

    /// Remembers a file that could not be read, moved or deleted, as it was then.
    pub(super) fn put_off(&self, file: &FileRef, changed_ns: i128) {
        let mut put_off = self.put_off.lock();
        if put_off.len() < PUT_OFF_MAX {
            put_off.insert(file.clone(), changed_ns);
        }
    }

    /// Whether a file was put off and has not changed since.
    pub(super) fn is_put_off(&self, file: &FileRef, changed_ns: i128) -> bool {
        self.put_off.lock().get(file) == Some(&changed_ns)
    }

    /// Lets every file that was put off be tried again.
    pub(super) fn forget_put_off(&self) {
        self.put_off.lock().clear();
    }

    /// Says that files can not be moved or deleted, once, and that they can be again.
    pub(super) fn tell_of_acknowledging(&self, file: &FileRef, error: Option<&std::io::Error>) {
        let stream = &self.setup.stream;
        let had_failed = self.is_acknowledging_failed.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !had_failed => warn!(
                %stream, path = ?file.path, %error,
                hint = "let the daemon's user write the file's folder; under the unit see ReadWritePaths=",
                "failed to move or delete a taken file; it stays in the inbox and is tried again, as are others"
            ),
            None if had_failed => info!(%stream, path = ?file.path, "taken files can be moved or deleted again"),
            _ => {}
        }
    }

    /// Notes that a path is in quarantine; whether it was already.
    pub(super) fn note_quarantined(&self, path: &str) -> bool {
        !self.quarantined.lock().insert(fingerprint(path))
    }

    /// Whether a path may be in quarantine.
    pub(super) fn may_be_quarantined(&self, path: &str) -> bool {
        self.quarantined.lock().contains(&fingerprint(path))
    }

    /// Notes that a path is no longer in quarantine.
    pub(super) fn note_unquarantined(&self, path: &str) {
        self.quarantined.lock().remove(&fingerprint(path));
    }

    /// Why nothing is to be taken, if nothing is.
    pub(super) fn paused(&self) -> Option<Pause> {
        let pause = |by| move |why| Pause { by, why };
        let asked = self.is_pause_asked.load(Ordering::Relaxed);
        let asked = asked.then(|| pause("request")("paused by request".to_owned()));
        asked
            .or_else(|| self.disk_is_low.lock().clone().map(pause("disk")))
            .or_else(|| self.store_failed.lock().clone().map(pause("buffer")))
    }

    /// Why it works no more, if it does not.
    pub(super) fn failed(&self) -> Option<String> {
        self.failed.lock().clone()
    }

    /// Notes what the disk lets happen.
    pub(super) fn set_disk_is_low(&self, why: Option<String>) {
        *self.disk_is_low.lock() = why;
    }

    /// Notes whether the replay buffer takes what it is given.
    pub(super) fn set_store_failed(&self, why: Option<String>) {
        *self.store_failed.lock() = why;
    }

    pub(super) fn counters(&self) -> IngestCounters {
        let counts = self.replay.counts();
        IngestCounters {
            accepted: counts.sources_accepted,
            duplicate: counts.sources_duplicate,
            quarantined: counts.sources_quarantined,
            ignored: self.ignored.lock().len() as u64,
            skipped: self.skipped.lock().len() as u64,
            queued: self.in_flight.lock().len() as u64,
            paused: self.paused(),
            inboxes: self
                .inboxes
                .iter()
                .map(|inbox| (inbox.root().to_owned(), !inbox.is_gone()))
                .collect(),
            needs_rescan: self.needs_rescan.load(Ordering::Relaxed),
            failed: self.failed(),
        }
    }

    /// Runs a thread's work. A panic is caught, named and counted, and the whole ingest stops: its threads depend
    /// on each other, and what is on the disk is safe there.
    pub(super) fn guard(&self, thread: &str, work: impl FnOnce(&Self)) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(self))) {
            let what = panic_message(&*panic);
            error!(stream = %self.setup.stream, thread, what,
                hint = "please report it with this log; restart the daemon to take files again, none is lost",
                "a thread panicked; the ingest stopped");
            *self.failed.lock() = Some(format!("the thread {thread} panicked: {what}"));
            self.is_stopping.store(true, Ordering::Relaxed);
        }
    }

    /// Logs what the ledger could not do. The ledger's cache only saves work: a file is read again, not lost.
    pub(super) fn ledger_failed(&self, what: &'static str, error: &crate::replay::ReplayError) {
        warn!(stream = %self.setup.stream, what, %error,
            hint = "look at the disk of state_dir (space, health) and restart if it goes on; files are read again, none is lost",
            "the ledger failed");
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("setup", &self.setup)
            .finish_non_exhaustive()
    }
}

/// Where a folder lies below the inboxes, by any of the names of both.
fn below_inboxes(folder: &Path, inboxes: &[Inbox]) -> Vec<FileRef> {
    let names = |path: &Path| [std::path::absolute(path), path.canonicalize()].into_iter().flatten();
    let mut found = Vec::new();
    for (index, inbox) in inboxes.iter().enumerate() {
        for (root, folder) in
            names(inbox.root()).flat_map(|root| names(folder).map(move |folder| (root.clone(), folder)))
        {
            if let Ok(below) = folder.strip_prefix(&root) {
                found.push(FileRef::new(index, below));
            }
        }
    }
    found
}

/// What a panic said.
pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

fn fingerprint(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Whether the file was counted now for the first time.
fn count_once(counted: &Mutex<HashSet<u64>>, file: &FileRef) -> bool {
    let mut counted = counted.lock();
    counted.len() < PASSED_OVER_MAX && counted.insert(fingerprint(file))
}
