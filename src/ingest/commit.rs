//! The commit thread: makes decoded sources durable, a batch at a time, and then acknowledges their files.
//! Always true: a file is touched, or remembered as seen, only after its samples or its quarantine entry are stored.

use std::time::Duration;

use crossbeam_channel::Receiver;
use tracing::{debug, error, warn};

use super::IngestEvent;
use super::acknowledge::{Place, Standing, acknowledge, sweep_copies};
use super::file::FileRef;
use super::quarantine;
use super::shared::Shared;
use super::take::Outcome;
use crate::disk;
use crate::ids::SourceHash;
use crate::limits::COMMIT_BATCH_MAX;
use crate::replay::{FileVerdict, Inserted, NewSource, QuarantineEntry, ReplayError, SeenFile};
use crate::sample::Rejection;

/// Between two attempts to store what the replay buffer would not take.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What is known of a file, to be remembered: its key, its state, its verdict.
type Seen = (Vec<u8>, SeenFile, FileVerdict);

/// The commit thread. Ends when the last worker has.
pub(super) fn run(shared: &Shared, outcomes: &Receiver<Outcome>) {
    // Before anything is acknowledged: this thread makes such copies.
    sweep_copies(shared);
    while let Ok(first) = outcomes.recv() {
        let mut batch = vec![first];
        batch.extend(outcomes.try_iter().take(COMMIT_BATCH_MAX - 1));
        let files: Vec<FileRef> = batch.iter().map(|outcome| outcome.file.clone()).collect();
        commit(shared, batch);
        for file in &files {
            shared.arrived(file);
        }
        shared.pulses.commit.rest();
    }
}

/// A file whose content is good.
struct Good {
    outcome: Outcome,
    source: SourceHash,
}

fn commit(shared: &Shared, batch: Vec<Outcome>) {
    shared.pulses.commit.beat();
    let (mut good, mut sources, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for mut outcome in batch {
        let samples = std::mem::replace(&mut outcome.samples, Ok(Vec::new()));
        match (samples, outcome.source) {
            (Ok(samples), Some(source)) => {
                sources.push(NewSource {
                    hash: source,
                    path: outcome.file.path.as_os_str().as_encoded_bytes().to_vec(),
                    bytes: outcome.look.seen.size,
                    taken_at: shared.clock.now(),
                    samples,
                });
                good.push(Good { outcome, source });
            }
            (Err(rejection), _) => bad.push((outcome, rejection)),
            (Ok(_), None) => unreachable!("samples are cut from content that was hashed"),
        }
    }
    let mut seen = Vec::new();
    if !bad.is_empty() {
        reject(shared, bad, &mut seen);
    }
    if !sources.is_empty() {
        // Nothing when the ingest stops: the files are not acknowledged, and are read again after the next start.
        for (good, inserted) in good.into_iter().zip(insert(shared, sources).unwrap_or_default()) {
            accept(shared, good, inserted, &mut seen);
        }
    }
    let remembered = disk::point("ingest.remember").map_err(ReplayError::io("reach", &shared.setup.state_dir));
    if let Err(error) = remembered.and_then(|()| shared.replay.record_seen(&seen)) {
        shared.ledger_failed("remember files", &error);
    }
}

/// Stores the sources; tries again until it is done, or until the ingest stops.
fn insert(shared: &Shared, sources: Vec<NewSource>) -> Option<Vec<Inserted>> {
    let mut said = false;
    loop {
        // A buffer that refuses is told as such; it is not stuck.
        shared.pulses.commit.beat();
        let inserted = disk::point("ingest.insert").map_err(ReplayError::io("reach", &shared.setup.state_dir));
        match inserted.and_then(|()| shared.replay.insert(sources.clone())) {
            Ok(inserted) => {
                shared.set_store_failed(None);
                return Some(inserted);
            }
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    error!(stream = %shared.setup.stream, %error,
                        hint = "free space on the disk of state_dir, and look at its health; no file is acknowledged meanwhile",
                        "failed to store samples; trying again");
                }
                shared.set_store_failed(Some(error.to_string()));
            }
        }
        std::thread::sleep(RETRY_AFTER);
        if shared.is_stopping() {
            return None;
        }
    }
}

fn accept(shared: &Shared, good: Good, inserted: Inserted, seen: &mut Vec<Seen>) {
    let Good { outcome, source } = good;
    let path = outcome.file.shown();
    let verdict = match &inserted {
        Inserted::Accepted { .. } => FileVerdict::Accepted,
        Inserted::Duplicate => FileVerdict::Duplicate,
    };
    // A file that is good now has left quarantine, unless the rejected one was moved and is still in its folder.
    // Quarantine knows paths below an inbox: the entry may be that of a file of the same path in another one.
    if shared.may_be_quarantined(&path)
        && !is_rejected_elsewhere(shared, &outcome.file)
        && !quarantine::is_in_folder(shared, &path)
    {
        shared.note_unquarantined(&path);
        if let Err(error) = shared.replay.drop_quarantine(&path) {
            shared.ledger_failed("drop a quarantine entry", &error);
        }
    }
    settle_file(shared, &outcome, Standing::Durable, verdict, seen);
    debug!(stream = %shared.setup.stream, path, %source, ?verdict, "took a file");
    shared.tell(match inserted {
        Inserted::Accepted { ids: samples } => IngestEvent::Accepted { path, source, samples },
        Inserted::Duplicate => IngestEvent::Duplicate { path, source },
    });
}

/// Whether a file of the same path below another inbox of the stream was rejected.
fn is_rejected_elsewhere(shared: &Shared, file: &FileRef) -> bool {
    let others = (0..shared.inboxes.len()).filter(|inbox| *inbox != file.inbox);
    others.into_iter().any(|inbox| {
        let other = FileRef::new(inbox, &file.path).key(&shared.inboxes);
        let seen = shared.replay.seen(&other);
        seen.is_some_and(|(_, verdict)| verdict == FileVerdict::Quarantined)
    })
}

fn reject(shared: &Shared, bad: Vec<(Outcome, Rejection)>, seen: &mut Vec<Seen>) {
    let mut news = Vec::new();
    let mut untold = Vec::new();
    let mut told = Vec::new();
    for (outcome, rejection) in bad {
        let entry = QuarantineEntry {
            path: outcome.file.shown(),
            source: outcome.source,
            reason: rejection.reason.as_str().to_owned(),
            detail: rejection.detail,
            bytes: outcome.look.seen.size,
            at: shared.clock.now(),
        };
        let was_told = shared.note_quarantined(&entry.path);
        if !was_told {
            untold.push(entry.path.clone());
        }
        if rejection.reason.transient() {
            shared.put_off(&outcome.file, outcome.look.changed_ns);
            if was_told {
                continue; // Tried again without another word.
            }
        } else if was_told && is_told(shared, &entry, outcome.look.changed_ns) {
            told.push(outcome);
            continue;
        }
        warn!(
            stream = %shared.setup.stream, path = ?entry.path, reason = entry.reason, detail = entry.detail,
            hint = "curiod quarantine list tells it again; mend or replace the file, or let it be", "quarantined a file"
        );
        news.push((outcome, rejection.reason, entry));
    }
    // Judged before as they are now, and then not moved away: nothing is new but that it may succeed now.
    for outcome in told {
        settle_file(shared, &outcome, Standing::Rejected, FileVerdict::Quarantined, seen);
    }
    if news.is_empty() {
        return;
    }
    let entries = news.iter().map(|(_, _, entry)| entry.clone()).collect();
    if let Err(error) = shared.replay.record_quarantines(entries) {
        shared.ledger_failed("record quarantine entries", &error);
        for path in untold {
            shared.note_unquarantined(&path);
        }
        return; // Not acknowledged: the next scan finds the files again.
    }
    for (outcome, reason, entry) in news {
        if !reason.transient() {
            settle_file(shared, &outcome, Standing::Rejected, FileVerdict::Quarantined, seen);
        }
        shared.tell(IngestEvent::Quarantined(entry));
    }
}

/// Whether the list says this of the file as it is now: its entry is no older than the file's last change.
fn is_told(shared: &Shared, entry: &QuarantineEntry, changed_ns: i128) -> bool {
    let told = shared.replay.quarantine_entry(&entry.path);
    told.is_some_and(|told| {
        (told.source, told.bytes, &told.reason) == (entry.source, entry.bytes, &entry.reason)
            && i128::from(told.at.0) * 1_000_000 >= changed_ns
    })
}

/// Acknowledges the file, and remembers it if it stays. One that could not be moved or deleted is tried again with the
/// next regular scan, which finds its content known.
fn settle_file(shared: &Shared, outcome: &Outcome, standing: Standing, verdict: FileVerdict, seen: &mut Vec<Seen>) {
    shared.pulses.commit.beat();
    let acknowledged = disk::point("ingest.acknowledge")
        .and_then(|()| acknowledge(shared, &outcome.file, outcome.look, outcome.source, standing));
    shared.tell_of_acknowledging(&outcome.file, acknowledged.as_ref().err());
    match acknowledged {
        Ok(Place::Inbox) => seen.push((outcome.file.key(&shared.inboxes), outcome.look.seen, verdict)),
        Ok(_) => {}
        Err(_) => shared.put_off(&outcome.file, outcome.look.changed_ns),
    }
}
