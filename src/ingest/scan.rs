//! A walk over the inboxes, a few entries at a time: what it has in memory is one open folder a level.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Dir, FileType};

use super::file::FileRef;
use super::inbox::{OpenError, is_unfinished_name};
use super::shared::Shared;
use crate::limits::INBOX_DEPTH_MAX;

/// A folder being walked.
struct Level {
    at: FileRef,
    entries: Dir,
}

/// A walk that has begun.
pub(super) struct Scan {
    levels: Vec<Level>,
    /// Folders still to be walked from their tops.
    tops: Vec<FileRef>,
}

impl Scan {
    /// A walk of these folders.
    pub(super) fn of(tops: Vec<FileRef>) -> Self {
        Self {
            levels: Vec::new(),
            tops,
        }
    }

    /// The next path that may be a file; nothing when the walk is over. `on_folder` is given each folder before it is listed.
    pub(super) fn next(&mut self, shared: &Shared, mut on_folder: impl FnMut(&FileRef)) -> Option<FileRef> {
        loop {
            let Some(level) = self.levels.last_mut() else {
                let top = self.tops.pop()?;
                self.enter(top, shared, &mut on_folder);
                continue;
            };
            let entry = match level.entries.next() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => {
                    shared.closed(&level.at, &error.into());
                    self.levels.pop();
                    continue;
                }
                None => {
                    self.levels.pop();
                    continue;
                }
            };
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let file = FileRef::new(level.at.inbox, level.at.path.join(name));
            if is_unfinished_name(name) {
                shared.ignored(&file);
                continue;
            }
            match entry.file_type() {
                FileType::RegularFile => return Some(file),
                FileType::Directory => self.enter(file, shared, &mut on_folder),
                // Some filesystems do not tell.
                FileType::Unknown => return Some(file),
                _ => shared.skipped(&file, "not a regular file"),
            }
        }
    }

    fn enter(&mut self, at: FileRef, shared: &Shared, on_folder: &mut impl FnMut(&FileRef)) {
        if shared.is_ours(&at) {
            return;
        }
        if self.levels.len() >= INBOX_DEPTH_MAX {
            shared.skipped(&at, "folders too deep");
            return;
        }
        on_folder(&at);
        let folder = shared.inboxes[at.inbox].open_folder(&at.path);
        let listed = folder.and_then(|folder| {
            // A folder that may be listed and not entered has files that nobody can open.
            rustix::fs::statat(&folder, ".", AtFlags::empty())?;
            Ok(Dir::new(folder)?)
        });
        match listed {
            Ok(entries) => {
                shared.opened(&at);
                self.levels.push(Level { at, entries });
            }
            Err(OpenError::Gone) => {}
            Err(OpenError::NotRegular) => shared.skipped(&at, "not a regular folder"),
            Err(OpenError::Permission(error) | OpenError::Io(error)) => shared.closed(&at, &error),
        }
    }
}

/// The tops of all inboxes.
pub(super) fn all_inboxes(shared: &Shared) -> Vec<FileRef> {
    (0..shared.inboxes.len())
        .map(|inbox| FileRef::new(inbox, PathBuf::new()))
        .collect()
}
