//! The daemon's socket: what it is called, and how it is reached: a path may be as long as the file system lets it, where the system's calls take 107 bytes.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The name of a daemon's admin socket where its configuration gives none.
pub const SOCKET_NAME: &str = "curiod.sock";

/// Bytes of a path that the system takes (`sun_path` of unix(7), with its end).
const PATH_BYTES_MAX: usize = 107;

/// A path to a socket that the system takes, good as long as this lives.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    _folder: Option<File>,
}

impl SocketPath {
    /// A way to this path: itself, or through its folder, which is held open.
    ///
    /// # Errors
    /// The folder of a long path can not be opened.
    pub fn to(path: &Path) -> io::Result<Self> {
        if path.as_os_str().as_bytes().len() <= PATH_BYTES_MAX {
            return Ok(Self {
                path: path.to_owned(),
                _folder: None,
            });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let folder = File::open(parent)?;
        Ok(Self {
            path: Path::new("/proc/self/fd")
                .join(folder.as_raw_fd().to_string())
                .join(name),
            _folder: Some(folder),
        })
    }

    /// The path to give to the system.
    pub fn as_path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_socket_may_lie_deeper_than_the_systems_calls_reach() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(90)).join("e".repeat(90));
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("curiod.sock");
        assert!(UnixListener::bind(&path).is_err(), "the system takes such paths by now");
        let _listener = UnixListener::bind(SocketPath::to(&path).unwrap().as_path()).unwrap();
        UnixStream::connect(SocketPath::to(&path).unwrap().as_path()).unwrap();
    }
}
