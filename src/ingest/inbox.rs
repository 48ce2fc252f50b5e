//! An inbox, opened: files below it are looked at, opened and moved through its folder's descriptor, never by a path
//! that somebody could redirect.
//! Always true: nothing outside the inbox is opened, no symlink is followed, and no open can hang.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::replay::SeenFile;

/// A watched folder.
#[derive(Debug)]
pub(crate) struct Inbox {
    root: PathBuf,
    /// Nothing while the folder is gone.
    folder: RwLock<Option<Arc<OwnedFd>>>,
    /// Whether the folder, when it was last there, was where a filesystem is mounted: then the folder below, which shows
    /// when that is unmounted, is not the inbox.
    is_mount: AtomicBool,
}

/// What a path below the inbox names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symlink, pipe, socket or device.
    Other,
}

/// A file's state at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) kind: Kind,
    pub(super) seen: SeenFile,
    /// Nanoseconds since 1970 of the newest change of content, name or mode. Nobody can set it back.
    pub(super) changed_ns: i128,
}

/// Why a file could not be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// It is not there any more.
    Gone,
    /// It is no regular file inside the inbox.
    NotRegular,
    /// It may not be read.
    Permission(io::Error),
    /// The disk failed.
    Io(io::Error),
}

impl Inbox {
    /// Opens the folder.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let root = std::path::absolute(root)?;
        let folder = open_root(&root)?;
        Ok(Self {
            is_mount: AtomicBool::new(is_mount(&folder)),
            root,
            folder: RwLock::new(Some(Arc::new(folder))),
        })
    }

    /// Its path, absolute.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the folder that was opened is still the one that its path names.
    pub(super) fn is_there(&self) -> bool {
        let Some(folder) = self.folder.read().clone() else {
            return false;
        };
        let same = |a: Stat, b: Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        matches!(
            (rustix::fs::fstat(&folder), rustix::fs::stat(&self.root)),
            (Ok(opened), Ok(named)) if same(opened, named)
        )
    }

    /// Whether the folder was gone when it was last looked for.
    pub(super) fn is_gone(&self) -> bool {
        self.folder.read().is_none()
    }

    /// Lets go of a folder that is gone.
    pub(super) fn close(&self) {
        *self.folder.write() = None;
    }

    /// Opens the folder that the path names now, unless what was mounted there is missing.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let folder = open_root(&self.root)?;
        let is_mount = is_mount(&folder);
        if self.is_mount.fetch_or(is_mount, Ordering::Relaxed) && !is_mount {
            return Err(io::Error::other("what was mounted there is not mounted"));
        }
        *self.folder.write() = Some(Arc::new(folder));
        Ok(())
    }

    /// Looks at a path without following a symlink at its end.
    pub(super) fn look(&self, path: &Path) -> Result<Look, OpenError> {
        let folder = self.folder()?;
        let stat = rustix::fs::statat(folder, path, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Look::of(&stat))
    }

    /// Opens a regular file for reading.
    pub(super) fn open_file(&self, path: &Path) -> Result<(std::fs::File, Look), OpenError> {
        // Without waiting: a pipe that nobody writes to must not hold a worker.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = beneath(self.folder()?.as_ref(), path, flags)?;
        let look = Look::of(&rustix::fs::fstat(&file)?);
        if look.kind != Kind::File {
            return Err(OpenError::NotRegular);
        }
        Ok((std::fs::File::from(file), look))
    }

    /// Opens a folder below the inbox; an empty path is the inbox itself.
    pub(super) fn open_folder(&self, path: &Path) -> Result<OwnedFd, OpenError> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        beneath(self.folder()?.as_ref(), path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    fn folder(&self) -> Result<Arc<OwnedFd>, OpenError> {
        self.folder.read().clone().ok_or(OpenError::Gone)
    }
}

impl Look {
    pub(super) fn of(stat: &Stat) -> Self {
        // The fields' types differ between architectures; all fit.
        let ns = |seconds: i128, nanoseconds: i128| seconds * 1_000_000_000 + nanoseconds;
        let mtime_ns = ns(stat.st_mtime as i128, stat.st_mtime_nsec as i128);
        let ctime_ns = ns(stat.st_ctime as i128, stat.st_ctime_nsec as i128);
        Self {
            kind: match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Folder,
                _ => Kind::Other,
            },
            seen: SeenFile {
                dev: stat.st_dev,
                inode: stat.st_ino,
                size: stat.st_size.max(0) as u64,
                mtime_ns,
            },
            changed_ns: mtime_ns.max(ctime_ns),
        }
    }
}

impl From<Errno> for OpenError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT | Errno::NOTDIR => Self::Gone,
            // A symlink on the way, a way out of the inbox, a socket, a device without a driver.
            Errno::LOOP | Errno::XDEV | Errno::NXIO | Errno::NODEV => Self::NotRegular,
            Errno::ACCESS | Errno::PERM => Self::Permission(error.into()),
            _ => Self::Io(error.into()),
        }
    }
}

fn open_root(root: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, root, flags, Mode::empty())?)
}

/// Whether a filesystem is mounted at a folder. A kernel before 5.8 does not tell: no.
fn is_mount(folder: &OwnedFd) -> bool {
    rustix::fs::statx(folder, "", AtFlags::EMPTY_PATH, StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Opens a path that stays below the folder and crosses no symlink.
fn beneath(folder: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, OpenError> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(folder, path, flags, Mode::empty(), resolve) {
        Ok(file) => Ok(file),
        // A kernel before 5.6, or a sandbox that does not know the call and forbids it.
        Err(Errno::NOSYS | Errno::PERM) => step_by_step(folder, path, flags),
        // Something was renamed meanwhile; the kernel could not tell whether the path stayed below.
        Err(Errno::AGAIN) => step_by_step(folder, path, flags),
        Err(error) => Err(error.into()),
    }
}

/// The same by hand: each folder on the way is opened by itself, and none may be a symlink.
fn step_by_step(folder: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, OpenError> {
    let mut names: Vec<&OsStr> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            _ => return Err(OpenError::NotRegular),
        }
    }
    let last = names.pop().unwrap_or(OsStr::new("."));
    let mut at: Option<OwnedFd> = None;
    for name in names {
        let here = at.as_ref().map_or(folder.as_fd(), AsFd::as_fd);
        let way = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at = Some(rustix::fs::openat(here, name, way, Mode::empty())?);
    }
    let here = at.as_ref().map_or(folder.as_fd(), AsFd::as_fd);
    Ok(rustix::fs::openat(here, last, flags, Mode::empty())?)
}

/// Whether a name says that somebody is still at work on the file: dot-files and the names that browsers and copiers
/// give to what is not yet whole.
pub(super) fn is_unfinished_name(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let ends = |end: &[u8]| name.len() >= end.len() && name[name.len() - end.len()..].eq_ignore_ascii_case(end);
    name.starts_with(b".") || [&b".part"[..], b".tmp", b".crdownload", b"~"].into_iter().any(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_inbox_is_opened_either_way() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        let root = dir.path().join("in");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(root.join("sub/a"), "a").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
        std::os::unix::fs::symlink("..", root.join("up")).unwrap();
        let inbox = Inbox::open(&root).unwrap();
        let folder = inbox.folder().unwrap();
        type Opener = fn(&OwnedFd, &Path, OFlags) -> Result<OwnedFd, OpenError>;
        for open in [beneath as Opener, step_by_step as Opener] {
            let opens = |path: &str| open(&folder, Path::new(path), OFlags::RDONLY | OFlags::NOFOLLOW).is_ok();
            assert!(opens("sub/a"));
            for out in ["../secret", "sub/../../secret", "link", "up/secret", "/etc/passwd"] {
                assert!(!opens(out), "{out} was opened");
            }
        }
    }

    #[test]
    fn opening_a_pipe_returns_at_once_and_gives_nothing() {
        let dir = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(CWD, dir.path().join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let inbox = Inbox::open(dir.path()).unwrap();
        assert!(matches!(inbox.open_file(Path::new("pipe")), Err(OpenError::NotRegular)));
    }

    #[test]
    fn unfinished_names_are_known() {
        for name in [".a.jpg", "a.part", "a.PART", "a.tmp", "a.crdownload", "a.jpg~"] {
            assert!(is_unfinished_name(OsStr::new(name)), "{name}");
        }
        for name in ["a.jpg", "part", "tmp.png", "a.parts"] {
            assert!(!is_unfinished_name(OsStr::new(name)), "{name}");
        }
    }
}
