//! One daemon per state directory.
//! Invariant: whoever holds a [`StateLock`] is the only daemon that writes below the directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The lock on a state directory; given back when dropped, and by the kernel when the process dies.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

/// A state directory that can not be used: what, and what next.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon holds the directory.
    #[error("{path} is in use by another curiod (process {holder})")]
    Held {
        /// The state directory.
        path: PathBuf,
        /// The process that wrote the lock file last, as it wrote it.
        holder: String,
    },
    /// The directory or its lock file can not be made or opened.
    #[error("the state directory {path} can not be used: {source}")]
    Unusable {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl LockError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Held { .. } => {
                "stop that one first, or give this one another `state_dir` (--state without a configuration file)"
            }
            Self::Unusable { .. } => {
                "make it writable for this user, or give another `state_dir` (--state without a configuration file)"
            }
        }
    }
}

impl StateLock {
    /// Makes the directory if it is missing and locks it.
    pub fn take(state_dir: &Path) -> Result<Self, LockError> {
        let unusable = |path: &Path, source| LockError::Unusable {
            path: path.to_owned(),
            source,
        };
        std::fs::create_dir_all(state_dir).map_err(|error| unusable(state_dir, error))?;
        let path = state_dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| unusable(&path, error))?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error == rustix::io::Errno::WOULDBLOCK {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                return Err(LockError::Held {
                    path: state_dir.to_owned(),
                    holder: holder.trim().to_owned(),
                });
            }
            return Err(unusable(&path, error.into()));
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| unusable(&path, error))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_and_told_who_holds_the_state() {
        let state = tempfile::tempdir().unwrap();
        let held = StateLock::take(state.path()).unwrap();
        let refused = StateLock::take(state.path()).unwrap_err();
        assert!(
            refused.to_string().contains(&std::process::id().to_string()),
            "{refused}"
        );
        drop(held);
        StateLock::take(state.path()).unwrap();
    }

    #[test]
    fn a_state_directory_that_can_not_be_made_is_named() {
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join("a-file");
        std::fs::write(&file, "").unwrap();
        let refused = StateLock::take(&file.join("state")).unwrap_err();
        assert!(refused.to_string().contains("a-file"), "{refused}");
    }
}
