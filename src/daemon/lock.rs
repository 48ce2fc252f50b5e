//! One daemon per state directory.
//! Invariant: whoever holds a [`StateLock`] is the only daemon that writes below the directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The version of the lock file, and with it of the state directory's outline, that this curiod writes and knows.
const FORMAT_VERSION: u32 = 1;

/// Bytes of the lock file that are read.
const FILE_BYTES_MAX: u64 = 1_024;

/// What stands before the version in the lock file's second line; the first is the process.
const VERSION_KEY: &str = "format_version ";

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
    /// A newer curiod has run with the directory.
    #[error(
        "the lock file {path} was written by a newer curiod: its format is version {found}, this one knows version {FORMAT_VERSION}"
    )]
    Newer {
        /// The lock file.
        path: PathBuf,
        /// Its version.
        found: u32,
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
            Self::Newer { .. } => {
                "run the curiod that used this state last, or a newer one, or give this one another `state_dir` (--state without a configuration file)"
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
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
        let mut bytes = Vec::new();
        // What can not be read tells neither holder nor version, and is written anew.
        let _ = Read::take(&file, FILE_BYTES_MAX).read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        match locked {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LockError::Held {
                    path: state_dir.to_owned(),
                    holder: text.lines().next().unwrap_or_default().to_owned(),
                });
            }
            Err(error) => return Err(unusable(&path, error.into())),
        }
        let version = text
            .lines()
            .find_map(|line| line.strip_prefix(VERSION_KEY)?.parse().ok());
        if let Some(found) = version.filter(|found| *found > FORMAT_VERSION) {
            return Err(LockError::Newer { path, found });
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}\n{VERSION_KEY}{FORMAT_VERSION}", std::process::id()))
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
    fn a_state_that_a_newer_curiod_used_is_refused_and_left_as_it_is() {
        let state = tempfile::tempdir().unwrap();
        let lock = state.path().join("lock");
        std::fs::write(&lock, "17\nformat_version 2\n").unwrap();
        let refused = StateLock::take(state.path()).unwrap_err();
        assert!(
            refused.to_string().contains("version 2") && refused.to_string().contains("/lock"),
            "{refused}"
        );
        assert_eq!(std::fs::read_to_string(&lock).unwrap(), "17\nformat_version 2\n");
        // One from before there were versions, and one that is none.
        for older in ["17\n", "rubbish"] {
            std::fs::write(&lock, older).unwrap();
            drop(StateLock::take(state.path()).unwrap());
            let written = std::fs::read_to_string(&lock).unwrap();
            assert_eq!(written, format!("{}\nformat_version 1\n", std::process::id()));
        }
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
