//! The disk, as everything that promises durability uses it: a few operations, each with a name at which a test lets the
//! disk refuse, the process die, or the power fail.
//! Invariant: without `CURIOD_FAULT` in the environment an operation is its system call and nothing else.
//!
//! `CURIOD_FAULT` is a list of `POINT:NTH:ACTION`, separated by commas. At the NTH time (from 1) that an operation of that
//! name begins: `kill` ends the process as SIGKILL does; `torn` does so after half of a write; `cut` does so after
//! everything that was not synced is lost or, by chance, kept in part; `enospc` and `eio` let the operation fail;
//! `short` lets a write fail after its first half; it and `torn` are for points that end in `.write`. `stall` lets the thread
//! hang for ever, at these and at [`STALLS`]. `NTH+` means every
//! time from then on, `NTH%` every NTH time.

mod faults;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod reserve;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use faults::{Faults, Step};
pub use reserve::{DiskGate, free_bytes};

/// Every name at which a fault can be ordered, in the order of the data's way.
pub const POINTS: [&str; 30] = [
    "ingest.insert",
    "replay.segment.create",
    "replay.segment.write",
    "replay.segment.sync",
    "replay.sync_dir",
    "replay.append.write",
    "replay.append.sync",
    "replay.append.done",
    "replay.cut",
    "ingest.acknowledge",
    "ingest.remember",
    "catalogue.ledger",
    "catalogue.samples",
    "catalogue.done",
    "compaction.copy",
    "compaction.unlink",
    "compaction.sync_dir",
    "checkpoint.name",
    "publish.number",
    "publish.name",
    "publish.aliases",
    "index.flip",
    "labels.write",
    "labels.sync",
    "labels.cut",
    "durable.create",
    "durable.write",
    "durable.sync",
    "durable.rename",
    "durable.sync_dir",
];

/// Says why `CURIOD_FAULT` can not be obeyed, and whether it is set at all.
pub fn ordered() -> Result<bool, String> {
    Faults::get().map(|faults| faults.is_some())
}

/// A step that is no disk operation of this room begins.
pub fn point(at: &'static str) -> io::Result<()> {
    begin(at).map(drop)
}

/// Every name at which a part of the daemon can be made to hang, and nothing else: what hangs there is no operation that
/// could fail.
pub const STALLS: [&str; 3] = ["ingest.look", "ingest.decode", "serve.alive"];

/// A piece of work begins at which a test may let the thread hang.
pub fn stall(at: &'static str) {
    debug_assert!(STALLS.contains(&at), "{at} is not in the list");
    if let Ok(Some(faults)) = Faults::get() {
        // Nothing but to hang can be ordered here.
        let _ = faults.begin(at);
    }
}

/// A new file for reading and writing; fails where the name is taken.
pub fn create_new(at: &'static str, path: &Path) -> io::Result<File> {
    let step = begin(at)?;
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    step.created(path);
    Ok(file)
}

/// A new file for writing, in the place of what had its name.
pub fn create(at: &'static str, path: &Path) -> io::Result<File> {
    let step = begin(at)?;
    let file = File::create(path)?;
    step.created(path);
    Ok(file)
}

/// Writes all of `bytes` at a place of the file that is at `path`.
pub fn write_at(at: &'static str, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
    let step = begin(at)?;
    step.writing(path, offset);
    let half = &bytes[..bytes.len() / 2];
    step.halve(|| file.write_all_at(half, offset))?;
    file.write_all_at(bytes, offset)
}

/// Makes a file's content durable, and its metadata as far as they are needed to read it.
pub fn sync(at: &'static str, file: &File, path: &Path) -> io::Result<()> {
    let step = begin(at)?;
    file.sync_data()?;
    step.synced(path);
    Ok(())
}

/// Cuts a file, and makes that durable.
pub fn cut(at: &'static str, file: &File, path: &Path, len: u64) -> io::Result<()> {
    let step = begin(at)?;
    file.set_len(len).and_then(|()| file.sync_all())?;
    step.synced(path);
    Ok(())
}

/// Gives a file, folder or link another name.
pub fn rename(at: &'static str, from: &Path, to: &Path) -> io::Result<()> {
    let step = begin(at)?;
    let replaced = step.about_to_replace(to);
    fs::rename(from, to)?;
    step.renamed(from, to, replaced);
    Ok(())
}

/// Deletes a file's name.
pub fn remove_file(at: &'static str, path: &Path) -> io::Result<()> {
    begin(at)?;
    fs::remove_file(path)
}

/// Makes the names in a folder durable.
pub fn sync_dir(at: &'static str, dir: &Path) -> io::Result<()> {
    let step = begin(at)?;
    File::open(dir)?.sync_all()?;
    step.synced_dir(dir);
    Ok(())
}

fn begin(at: &'static str) -> io::Result<Step> {
    debug_assert!(POINTS.contains(&at), "{at} is not in the list");
    // What can not be obeyed was refused when the daemon started.
    match Faults::get() {
        Ok(Some(faults)) => faults.begin(at),
        _ => Ok(Step::default()),
    }
}
