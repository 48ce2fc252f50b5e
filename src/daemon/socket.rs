//! The admin socket: who may connect to its file may ask everything.
//! Invariant: the file of a daemon that lives is never replaced; that of one that was killed is.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::process::umask;

use crate::config::Config;
use crate::socket::{SOCKET_NAME, SocketPath};

/// Its owner and its group may connect.
const MODE: u32 = 0o660;

/// The admin socket can not be made: what, and what next.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A daemon answers there.
    #[error("another curiod answers at the socket {path}")]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("{path} is no socket, and is left as it is")]
    Other {
        /// What it is.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("failed to make the admin socket {path}: {source}")]
    Refused {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SocketError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Taken { .. } => "stop that one first, or set another server.socket",
            Self::Other { .. } => "move it away, or set another server.socket",
            Self::Refused { .. } => {
                "make its folder, writable for this user, or set server.socket to a path in one that is"
            }
        }
    }
}

/// Where a daemon of this configuration has its socket.
pub fn socket_path(config: &Config) -> PathBuf {
    if let Some(path) = &config.server.socket {
        return path.clone();
    }
    let runtime = std::env::var_os("RUNTIME_DIRECTORY").filter(|folders| !folders.is_empty());
    let folder = runtime.and_then(|folders| std::env::split_paths(&folders).next());
    folder.unwrap_or_else(|| config.state_dir.clone()).join(SOCKET_NAME)
}

/// The file of a socket that is listened on; removed when dropped, if it still is this one.
pub(super) struct AdminSocket {
    path: PathBuf,
    inode: (u64, u64),
}

impl AdminSocket {
    /// Makes the file and listens. To be called before other threads run: the process's mask of modes is narrowed meanwhile, so
    /// that nobody else can connect in between.
    pub(super) fn listen(path: &Path) -> Result<(Self, UnixListener), SocketError> {
        let refused = |source| SocketError::Refused {
            path: path.to_owned(),
            source,
        };
        clear(path)?;
        let reached = SocketPath::to(path).map_err(refused)?;
        let before = umask(Mode::from_raw_mode(0o777 & !MODE));
        let bound = UnixListener::bind(reached.as_path());
        umask(before);
        let listener = bound.map_err(refused)?;
        // The mask of modes does not widen what a folder's default ACL narrows.
        fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let metadata = fs::symlink_metadata(path).map_err(refused)?;
        let socket = Self {
            path: path.to_owned(),
            inode: (metadata.dev(), metadata.ino()),
        };
        Ok((socket, listener))
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path).map(|metadata| (metadata.dev(), metadata.ino()));
        if found.is_ok_and(|found| found == self.inode) {
            let _ = fs::remove_file(&self.path); // The next daemon replaces one that is left.
        }
    }
}

/// Removes the file of a daemon that was killed.
fn clear(path: &Path) -> Result<(), SocketError> {
    let refused = |source| SocketError::Refused {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(SocketError::Other { path: path.to_owned() }),
        Ok(_) => {}
    }
    let reached = SocketPath::to(path).map_err(refused)?;
    match UnixStream::connect(reached.as_path()) {
        Ok(_) => Err(SocketError::Taken { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(refused),
        Err(error) => Err(refused(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_socket_is_left_and_a_dead_one_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let (socket, listener) = AdminSocket::listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        assert!(matches!(AdminSocket::listen(&path), Err(SocketError::Taken { .. })));
        // As a kill leaves it: the file is there, and nobody listens.
        std::mem::forget(socket);
        drop(listener);
        let (again, _listener) = AdminSocket::listen(&path).unwrap();
        drop(again);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        fs::write(&path, "mine").unwrap();
        let error = AdminSocket::listen(&path).err().unwrap();
        assert!(matches!(error, SocketError::Other { .. }) && error.hint().contains("server.socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_socket_that_another_daemon_made_since_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let (first, listener) = AdminSocket::listen(&path).unwrap();
        drop(listener);
        fs::rename(&path, folder.path().join("moved.sock")).unwrap();
        let (_second, _listener) = AdminSocket::listen(&path).unwrap();
        drop(first);
        assert!(path.exists());
    }
}
