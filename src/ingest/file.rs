//! A file's place: which inbox, and where below it.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::inbox::Inbox;

/// A file below one of the stream's inboxes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileRef {
    /// Which inbox.
    pub(super) inbox: usize,
    /// Where below it; bytes of the filesystem.
    pub(super) path: PathBuf,
}

impl FileRef {
    pub(super) fn new(inbox: usize, path: impl Into<PathBuf>) -> Self {
        Self {
            inbox,
            path: path.into(),
        }
    }

    /// The path for people and for the API: what is no UTF-8 is replaced.
    pub(super) fn shown(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// The key under which the ledger remembers the file: the whole path, so that two inboxes do not mix.
    pub(super) fn key(&self, inboxes: &[Inbox]) -> Vec<u8> {
        ledger_key(inboxes[self.inbox].root(), &self.path)
    }
}

/// The ledger's key of a path below a root.
pub(super) fn ledger_key(root: &Path, path: &Path) -> Vec<u8> {
    root.join(path).as_os_str().as_bytes().to_vec()
}
