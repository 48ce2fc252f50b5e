//! What becomes of a file once its verdict is durable: it stays, is moved, or is deleted.
//! Always true: only the very file that was read is touched, no other file is ever overwritten, and a rejected file is
//! never deleted.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use tracing::{info, warn};

use super::file::FileRef;
use super::inbox::{Look, OpenError};
use super::shared::Shared;
use crate::config::After;
use crate::ids::SourceHash;

/// What a file's verdict lets be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its content is durable.
    Durable,
    /// It is in quarantine.
    Rejected,
}

/// Where a file is after its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Where it was.
    Inbox,
    /// Somewhere else, or nowhere.
    Elsewhere,
}

/// Bytes of a file's name that Linux filesystems allow.
const NAME_BYTES_MAX: usize = 255;

/// Acknowledges a file. `look` is the file as it was read: one that has changed since is left for its next reading.
pub(super) fn acknowledge(
    shared: &Shared,
    file: &FileRef,
    look: Look,
    source: Option<SourceHash>,
    standing: Standing,
) -> io::Result<Place> {
    let target = match (shared.setup.config.after, standing) {
        (After::Leave, _) => return Ok(Place::Inbox),
        (After::Move, Standing::Durable) => Some(&shared.done_dir),
        (After::Move | After::Delete, Standing::Rejected) => Some(&shared.quarantine_dir),
        (After::Delete, Standing::Durable) => None,
    };
    let parent = file.path.parent().unwrap_or(Path::new(""));
    let Some(name) = file.path.file_name() else {
        return Ok(Place::Inbox);
    };
    let folder = match shared.inboxes[file.inbox].open_folder(parent) {
        Ok(folder) => folder,
        Err(OpenError::Gone) => return Ok(Place::Elsewhere),
        Err(OpenError::NotRegular) => return Ok(Place::Inbox),
        Err(OpenError::Permission(error) | OpenError::Io(error)) => return Err(error),
    };
    match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if Look::of(&stat) == look => {}
        Ok(_) => return Ok(Place::Inbox),
        Err(Errno::NOENT) => return Ok(Place::Elsewhere),
        Err(error) => return Err(error.into()),
    }
    match target {
        None => rustix::fs::unlinkat(&folder, name, AtFlags::empty())?,
        Some(target) => {
            move_file(&folder, name, &target.join(parent), name, source)?;
        }
    }
    Ok(Place::Elsewhere)
}

/// Moves a file into a folder, which is made if need be, as `wanted`. Where that name is taken, the source's hash is
/// added to it. Returns where the file is now.
pub(super) fn move_file(
    from: &OwnedFd,
    name: &OsStr,
    to: &Path,
    wanted: &OsStr,
    source: Option<SourceHash>,
) -> io::Result<PathBuf> {
    std::fs::create_dir_all(to)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = rustix::fs::openat(CWD, to, flags, Mode::empty())?;
    let mut renamed = rename_anew(from.as_fd(), name, target.as_fd(), wanted);
    let mut new_name = wanted.to_owned();
    for count in 1.. {
        match renamed {
            Err(Errno::EXIST) => {
                new_name = name_apart(wanted, source, count);
                renamed = rename_anew(from.as_fd(), name, target.as_fd(), &new_name);
            }
            // Another filesystem: the copy gets the name, then the original goes.
            Err(Errno::XDEV) => {
                let (copy, copied) = copy_to(from, name, &target)?;
                let placed = rename_anew(target.as_fd(), &copy, target.as_fd(), &new_name);
                if placed.is_err() {
                    rustix::fs::unlinkat(&target, &copy, AtFlags::empty())?;
                }
                renamed = placed;
                if renamed.is_ok() {
                    rustix::fs::fsync(&target)?;
                    sync_parents(to)?;
                    // A producer may have put another file under the name while this one was copied.
                    if Look::of(&rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?) == copied {
                        rustix::fs::unlinkat(from, name, AtFlags::empty())?;
                    }
                }
            }
            Err(error) => return Err(error.into()),
            Ok(()) => break,
        }
    }
    Ok(to.join(new_name))
}

/// Renames without overwriting.
fn rename_anew(from: BorrowedFd<'_>, name: &OsStr, to: BorrowedFd<'_>, new_name: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(from, name, to, new_name, RenameFlags::NOREPLACE) {
        // A filesystem that can not promise it: a second link fails where the name is taken.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(from, name, to, new_name, AtFlags::empty())?;
            rustix::fs::unlinkat(from, name, AtFlags::empty())
        }
        other => other,
    }
}

/// How the name of a copy that is not whole begins and ends; between them is the hash of the file's name.
const COPY_PREFIX: &str = ".curiod-";
const COPY_ENDING: &str = ".part";

/// Copies a file into a folder of another filesystem, durably, under a name that nobody takes for a whole file.
fn copy_to(from: &OwnedFd, name: &OsStr, to: &OwnedFd) -> io::Result<(OsString, Look)> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut source = File::from(rustix::fs::openat(from, name, read, Mode::empty())?);
    let before = source.metadata()?;
    let look = Look::of(&rustix::fs::fstat(&source)?);
    let mut copy_name = OsString::from(COPY_PREFIX);
    copy_name.push(&blake3::hash(name.as_bytes()).to_hex().as_str()[..32]);
    copy_name.push(COPY_ENDING);
    // What a kill left behind is written anew.
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let mut copy = File::from(rustix::fs::openat(to, &copy_name, write, mode)?);
    io::copy(&mut source, &mut copy)?;
    copy.set_permissions(before.permissions())?;
    if let Ok(modified) = before.modified() {
        copy.set_modified(modified)?;
    }
    copy.sync_all()?;
    let copied = Look::of(&rustix::fs::fstat(&source)?);
    if copied != look {
        rustix::fs::unlinkat(to, &copy_name, AtFlags::empty())?;
        return Err(io::Error::other("the file changed while it was moved"));
    }
    Ok((copy_name, copied))
}

/// Deletes the copies that a kill interrupted, in the folders that files are moved to. What was copied is still in its inbox.
pub(super) fn sweep_copies(shared: &Shared) {
    let is_copy = |name: &OsStr| {
        let name = name.as_bytes();
        name.len() == COPY_PREFIX.len() + 32 + COPY_ENDING.len()
            && name.starts_with(COPY_PREFIX.as_bytes())
            && name.ends_with(COPY_ENDING.as_bytes())
    };
    let mut open = vec![shared.done_dir.clone(), shared.quarantine_dir.clone()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if shared.is_stopping() {
                return;
            }
            shared.pulses.commit.beat();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && is_copy(&entry.file_name()) {
                match std::fs::remove_file(entry.path()) {
                    Ok(()) => {
                        info!(stream = %shared.setup.stream, path = %entry.path().display(), "deleted an interrupted copy")
                    }
                    Err(error) => warn!(
                        stream = %shared.setup.stream, path = %entry.path().display(), %error,
                        hint = "delete it by hand: the file that was copied is in its inbox",
                        "failed to delete an interrupted copy"
                    ),
                }
            }
        }
    }
    shared.pulses.commit.rest();
}

/// Makes the folders above one durable: they may have been made for it. One that can not be opened was not.
fn sync_parents(folder: &Path) -> io::Result<()> {
    for parent in folder.ancestors().skip(1) {
        match File::open(parent) {
            Ok(parent) => parent.sync_all()?,
            Err(_) => break,
        }
    }
    Ok(())
}

/// A name beside one that is taken: `photo.jpg` becomes `photo-0123456789abcdef.jpg`, then `-2` and so on.
pub(super) fn name_apart(name: &OsStr, source: Option<SourceHash>, count: u32) -> OsString {
    let mut tail = Vec::new();
    if let Some(source) = source {
        tail.extend_from_slice(format!("-{:016x}", source.prefix()).as_bytes());
    }
    if count > 1 || source.is_none() {
        tail.extend_from_slice(format!("-{}", count + 1).as_bytes());
    }
    let path = Path::new(name);
    let stem = path.file_stem().unwrap_or(name).as_bytes();
    if let Some(extension) = path.extension() {
        tail.push(b'.');
        tail.extend_from_slice(extension.as_bytes());
    }
    let mut bytes = stem[..stem.len().min(NAME_BYTES_MAX.saturating_sub(tail.len()))].to_vec();
    bytes.extend_from_slice(&tail);
    bytes.truncate(NAME_BYTES_MAX);
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &Path) -> OwnedFd {
        OwnedFd::from(File::open(path).unwrap())
    }

    #[test]
    fn a_moved_file_never_overwrites_another() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(&from).unwrap();
        for content in ["one", "two", "three"] {
            std::fs::write(from.join("a.txt"), content).unwrap();
            move_file(&folder(&from), OsStr::new("a.txt"), &to, OsStr::new("a.txt"), None).unwrap();
        }
        let mut kept: Vec<String> = std::fs::read_dir(&to)
            .unwrap()
            .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        kept.sort();
        assert_eq!(kept, ["one", "three", "two"]);
    }

    #[test]
    fn a_copy_carries_content_time_and_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(&from).unwrap();
        std::fs::create_dir_all(&to).unwrap();
        std::fs::write(from.join("a"), "content").unwrap();
        let (copy, _) = copy_to(&folder(&from), OsStr::new("a"), &folder(&to)).unwrap();
        assert_eq!(std::fs::read_to_string(to.join(&copy)).unwrap(), "content");
        let time = |path: PathBuf| std::fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(from.join("a")), time(to.join(copy)));
    }

    #[test]
    fn a_longest_name_still_fits_with_its_hash() {
        let name = OsString::from("n".repeat(251) + ".txt");
        let apart = name_apart(&name, Some(SourceHash::of(b"x")), 7);
        assert!(apart.len() <= NAME_BYTES_MAX && apart.to_string_lossy().ends_with("-8.txt"));
    }
}
