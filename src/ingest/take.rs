//! The decode workers: open a file, hash it, cut its samples. They change nothing on the disk.

use std::io::Read;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_channel::{Receiver, Sender};
use tracing::{error, warn};

use super::file::FileRef;
use super::inbox::{Look, OpenError};
use super::shared::{Shared, panic_message};
use super::watch::{Hint, Job};
use crate::disk;
use crate::ids::SourceHash;
use crate::sample::image;
use crate::sample::{Content, Pieces, Reason, Rejection};

/// What became of a file that was read: for the commit thread.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) file: FileRef,
    /// The file as it was read.
    pub(super) look: Look,
    /// Nothing where the content was not read to its end.
    pub(super) source: Option<SourceHash>,
    /// Its samples, encoded; none where the replay buffer knows the source.
    pub(super) samples: Result<Vec<Vec<u8>>, Rejection>,
}

/// A worker's thread.
pub(super) fn run(shared: &Shared, worker: usize, jobs: &Receiver<Job>, outcomes: &Sender<Outcome>) {
    let pulse = &shared.pulses.decode[worker];
    while let Ok(Job { file }) = jobs.recv() {
        if shared.is_stopping() {
            shared.arrived(&file);
            continue;
        }
        pulse.beat();
        disk::stall("ingest.decode");
        let taken = take(shared, &file);
        pulse.rest();
        match taken {
            Ok(outcome) if is_premature(shared, &outcome) => look_again(shared, &file),
            Ok(outcome) => {
                if outcomes.send(outcome).is_err() {
                    return; // The commit thread has failed, and said so.
                }
            }
            Err(Untaken::Changed) => look_again(shared, &file),
            Err(Untaken::Gone) => shared.arrived(&file),
            Err(Untaken::NotRegular) => {
                shared.skipped(&file, "not a regular file");
                shared.arrived(&file);
            }
        }
    }
}

/// Why a file was neither taken nor rejected.
#[derive(Debug)]
enum Untaken {
    Gone,
    NotRegular,
    /// It changed while it was read.
    Changed,
}

/// Whether the verdict came too early: a file that looks broken but changed a moment ago may be in the middle of
/// being written by somebody who closes it between two writes.
fn is_premature(shared: &Shared, outcome: &Outcome) -> bool {
    let settle_ns = i128::from(shared.setup.config.settle_ms) * 1_000_000;
    let age_ns = i128::from(shared.clock.now().0) * 1_000_000 - outcome.look.changed_ns;
    // A file from the future was waited for by the watch; only the recent past is in doubt, of which the clock's last
    // millisecond may look like the future.
    matches!(&outcome.samples, Err(rejection) if !rejection.reason.transient())
        && (-1_000_000..settle_ns).contains(&age_ns)
}

fn look_again(shared: &Shared, file: &FileRef) {
    shared.arrived(file);
    shared.hint(Hint::Changed(file.clone()));
}

fn take(shared: &Shared, file: &FileRef) -> Result<Outcome, Untaken> {
    let inbox = &shared.inboxes[file.inbox];
    let config = &shared.setup.config;
    let (mut opened, look) = match inbox.open_file(&file.path) {
        Ok(opened) => opened,
        Err(OpenError::Gone) => return Err(Untaken::Gone),
        Err(OpenError::NotRegular) => return Err(Untaken::NotRegular),
        Err(OpenError::Permission(error)) => {
            let detail = format!("the file may not be read: {error}; it is tried again when its mode changes");
            return unread(shared, file, Rejection::new(Reason::Permission, detail));
        }
        Err(OpenError::Io(error)) => return unread(shared, file, Rejection::new(Reason::Io, error.to_string())),
    };
    let outcome = |source, samples| Outcome {
        file: file.clone(),
        look,
        source,
        samples,
    };
    if look.seen.size > config.file_bytes_max {
        let (bytes, max) = (look.seen.size, config.file_bytes_max);
        let detail = format!("the file has {bytes} bytes, limit is {max}; raise ingest.file_bytes_max to take it");
        return Ok(outcome(None, Err(Rejection::new(Reason::Limits, detail))));
    }
    let _turn = image::turn(look.seen.size);
    // The size is at most the limit of a setting; one byte more shows a file that grows.
    let mut bytes = Vec::with_capacity(look.seen.size as usize + 1);
    if let Err(error) = opened.by_ref().take(look.seen.size + 1).read_to_end(&mut bytes) {
        return Ok(outcome(None, Err(Rejection::new(Reason::Io, error.to_string()))));
    }
    let after = rustix::fs::fstat(opened.as_fd()).map(|stat| Look::of(&stat));
    if bytes.len() as u64 != look.seen.size || after != Ok(look) {
        return Err(Untaken::Changed);
    }
    let source = SourceHash::of(&bytes);
    if shared.replay.knows(&source) {
        return Ok(outcome(Some(source), Ok(Vec::new())));
    }
    let cut = guarded(shared, file, || shared.setup.cutting.cut(&file.path, &bytes));
    let samples = cut.map(|pieces| {
        tell_faults(shared, file, &pieces);
        pieces.contents.iter().map(Content::encode).collect()
    });
    Ok(outcome(Some(source), samples))
}

/// Names what of a source was passed over; the rest of it is taken.
fn tell_faults(shared: &Shared, file: &FileRef, pieces: &Pieces) {
    let Some(first) = pieces.faults.first() else { return };
    warn!(stream = %shared.setup.stream, path = ?file.path, rows = pieces.faults_total, first = first.at, reason = %first.reason,
        detail = first.detail, hint = "none: the other rows are taken; mend them and drop the file again to have these too",
        "passed over rows of a file");
}

/// A decoder's panic is a verdict on the one file, not the end of the worker.
fn guarded<T>(shared: &Shared, file: &FileRef, decode: impl FnOnce() -> Result<T, Rejection>) -> Result<T, Rejection> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| {
        let what = panic_message(&*panic);
        error!(stream = %shared.setup.stream, path = ?file.path, what, hint = "please report the file; it is in quarantine, the daemon goes on", "a decoder panicked");
        Err(Rejection::new(
            Reason::DecoderPanic,
            format!("the decoder panicked: {what}"),
        ))
    })
}

/// A file that could not be opened, as far as it can be told from outside.
fn unread(shared: &Shared, file: &FileRef, rejection: Rejection) -> Result<Outcome, Untaken> {
    match shared.inboxes[file.inbox].look(&file.path) {
        Ok(look) => Ok(Outcome {
            file: file.clone(),
            look,
            source: None,
            samples: Err(rejection),
        }),
        Err(_) => Err(Untaken::Gone),
    }
}
