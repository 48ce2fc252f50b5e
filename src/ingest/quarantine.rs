//! Rejected files, taken again: after a repair, a changed limit, a newer version.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::atomic::Ordering;

use tracing::warn;

use super::acknowledge::{move_file, name_apart};
use super::file::FileRef;
use super::shared::Shared;
use super::watch::Hint;
use crate::replay::QuarantineEntry;

/// Lets the rejected file of this path, or all, be taken again; returns how many were found.
pub(super) fn retry(shared: &Shared, path: Option<&str>) -> usize {
    let entries = shared.replay.quarantined();
    let wanted = entries
        .iter()
        .filter(|entry| path.is_none_or(|path| path == entry.path));
    let found = wanted.filter(|entry| retry_one(shared, entry)).count();
    shared.forget_put_off();
    // Names that are no UTF-8 can not be told from their entries; a scan finds those files.
    shared.needs_rescan.store(true, Ordering::Relaxed);
    found
}

fn retry_one(shared: &Shared, entry: &QuarantineEntry) -> bool {
    let moved_back = move_back(shared, entry);
    let here: Vec<FileRef> = (0..shared.inboxes.len())
        .map(|inbox| FileRef::new(inbox, &entry.path))
        .filter(|file| shared.inboxes[file.inbox].look(&file.path).is_ok())
        .collect();
    if let Err(error) = shared.replay.drop_quarantine(&entry.path) {
        shared.ledger_failed("drop a quarantine entry", &error);
        return false;
    }
    shared.note_unquarantined(&entry.path);
    for file in &here {
        if let Err(error) = shared.replay.forget_seen(&file.key(&shared.inboxes)) {
            shared.ledger_failed("forget a file", &error);
        }
        shared.hint(Hint::Whole(file.clone()));
    }
    moved_back || !here.is_empty()
}

/// Moves a file from the quarantine folder to where it came from: the first inbox, if there are several.
fn move_back(shared: &Shared, entry: &QuarantineEntry) -> bool {
    let path = Path::new(&entry.path);
    let parent = path.parent().unwrap_or(Path::new(""));
    let (Some(name), Some(inbox)) = (path.file_name(), shared.inboxes.first()) else {
        return false;
    };
    let Ok(folder) = std::fs::File::open(shared.quarantine_dir.join(parent)) else {
        return false;
    };
    let folder = folder.into();
    // Where two rejected files had one name, the second carries its hash.
    let apart = name_apart(name, entry.source, 1);
    let Some(kept) = [apart.as_os_str(), name]
        .into_iter()
        .find(|kept| is_entrys(shared, parent, kept, entry))
    else {
        return false;
    };
    match move_file(&folder, kept, &inbox.root().join(parent), entry.source) {
        Ok(_) => true,
        Err(error) => {
            warn!(stream = %shared.setup.stream, path = ?entry.path, %error,
                hint = "let the daemon's user write both folders; under the unit see ReadWritePaths=",
                "failed to move a file back to the inbox");
            false
        }
    }
}

/// Whether the file of this name in the quarantine folder is the entry's.
fn is_entrys(shared: &Shared, parent: &Path, name: &OsStr, entry: &QuarantineEntry) -> bool {
    let file = shared.quarantine_dir.join(parent).join(name);
    std::fs::symlink_metadata(file).is_ok_and(|file| file.is_file() && file.len() == entry.bytes)
}
