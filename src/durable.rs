//! Writing that survives a kill and a power cut: whole or absent, never half.
//! Invariant: when a function here has returned, what it did is on the disk under its final name; when it was
//! interrupted, the final name holds what it held before, and at most a `.tmp-*` name is left over.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk;

/// First part of the names that are swept when their folder is opened again.
pub const TEMP_PREFIX: &str = ".tmp-";

/// What could not be done, to which file, and why.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} {}: {source}", path.display())]
pub struct DurableError {
    /// The verb: `write`, `rename`, `link`.
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

/// Names the action and the path of a system error.
pub fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DurableError {
    let path = path.to_owned();
    move |source| DurableError { action, path, source }
}

/// Replaces a file: a temporary name in the same folder, fsync, rename, fsync of the folder.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), DurableError> {
    let temp = temp_beside(path);
    let written = write_and_sync(&temp, bytes).map_err(failed("write", path));
    let replaced = written.and_then(|()| disk::rename("durable.rename", &temp, path).map_err(failed("replace", path)));
    if replaced.is_err() {
        let _ = fs::remove_file(&temp); // The first error is the one to tell; a leftover is swept at the next open.
    }
    replaced.and_then(|()| sync_dir(parent(path)))
}

/// A file that is written little by little, and has its final name only once it is whole. Dropped before
/// [`FileWriter::finish`] it leaves nothing.
pub struct FileWriter {
    file: File,
    temp: PathBuf,
    path: PathBuf,
    written: u64,
    is_finished: bool,
}

impl FileWriter {
    /// Begins a file that will be at `path`, in the place of what is there.
    pub fn create(path: &Path) -> Result<Self, DurableError> {
        let temp = temp_beside(path);
        Ok(Self {
            file: disk::create("durable.create", &temp).map_err(failed("write", path))?,
            temp,
            path: path.to_owned(),
            written: 0,
            is_finished: false,
        })
    }

    /// Gives the file its final name, durably.
    pub fn finish(mut self) -> Result<(), DurableError> {
        disk::sync("durable.sync", &self.file, &self.temp).map_err(failed("write", &self.path))?;
        disk::rename("durable.rename", &self.temp, &self.path).map_err(failed("replace", &self.path))?;
        self.is_finished = true;
        sync_dir(parent(&self.path))
    }
}

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        disk::write_at("durable.write", &self.file, &self.temp, bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = fs::remove_file(&self.temp); // What failed before this is the error to tell.
        }
    }
}

/// Writes a new file and syncs it, but not its folder: for folders that are not yet under their final name, which
/// [`publish_dir`] syncs.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), DurableError> {
    write_and_sync(path, bytes).map_err(failed("write", path))
}

/// Gives a complete folder its final name: fsync of every file in it and of itself, rename, fsync of the parent.
/// Fails without any change when the final name is taken.
pub fn publish_dir(from: &Path, to: &Path) -> Result<(), DurableError> {
    for entry in fs::read_dir(from).map_err(failed("list", from))? {
        let path = entry.map_err(failed("list", from))?.path();
        File::open(&path)
            .and_then(|file| disk::sync("durable.sync", &file, &path))
            .map_err(failed("sync", &path))?;
    }
    sync_dir(from)?;
    if fs::symlink_metadata(to).is_ok() {
        return Err(failed("create", to)(io::ErrorKind::AlreadyExists.into()));
    }
    disk::rename("durable.rename", from, to).map_err(failed("create", to))?;
    sync_dir(parent(to))
}

/// Moves a file or folder within one filesystem, and syncs both folders.
pub fn rename(from: &Path, to: &Path) -> Result<(), DurableError> {
    disk::rename("durable.rename", from, to).map_err(failed("rename", from))?;
    sync_dir(parent(to))?;
    if parent(from) != parent(to) {
        sync_dir(parent(from))?;
    }
    Ok(())
}

/// Points a symbolic link at a target in one step: whoever reads it sees the old target or the new one.
pub fn point(link: &Path, target: &Path) -> Result<(), DurableError> {
    let temp = temp_beside(link);
    symlink(target, &temp).map_err(failed("link", link))?;
    if let Err(source) = disk::rename("durable.rename", &temp, link) {
        let _ = fs::remove_file(&temp); // As above: the rename's error is the one to tell.
        return Err(failed("link", link)(source));
    }
    sync_dir(parent(link))
}

/// Removes a folder so that it is never seen half removed: renamed to a temporary name, then deleted.
pub fn remove_dir(path: &Path) -> Result<(), DurableError> {
    let temp = temp_beside(path);
    rename(path, &temp)?;
    fs::remove_dir_all(&temp).map_err(failed("remove", path))
}

/// Makes the names in a folder durable.
pub fn sync_dir(path: &Path) -> Result<(), DurableError> {
    disk::sync_dir("durable.sync_dir", path).map_err(failed("sync", path))
}

/// Removes what interrupted calls left in a folder. Returns how many names went.
pub fn sweep(dir: &Path) -> Result<usize, DurableError> {
    let mut swept = 0;
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let entry = entry.map_err(failed("list", dir))?;
        if !entry.file_name().to_string_lossy().starts_with(TEMP_PREFIX) {
            continue;
        }
        let path = entry.path();
        let is_dir = entry.file_type().map_err(failed("inspect", &path))?.is_dir();
        let removed = if is_dir {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(failed("remove", &path))?;
        swept += 1;
    }
    Ok(swept)
}

/// Of the folders in `dir` whose names begin so, keeps the one that got its name last; deletes the others, and gives them.
pub fn keep_newest(dir: &Path, prefix: &str) -> Result<Vec<PathBuf>, DurableError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let entry = entry.map_err(failed("list", dir))?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let metadata = entry.metadata().map_err(failed("inspect", &entry.path()))?;
            // A rename is a change of the folder itself, not of its content.
            found.push(((metadata.ctime(), metadata.ctime_nsec()), entry.path()));
        }
    }
    found.sort();
    found.pop();
    let old: Vec<_> = found.into_iter().map(|(_, path)| path).collect();
    for path in &old {
        fs::remove_dir_all(path).map_err(failed("remove", path))?;
    }
    Ok(old)
}

/// A name in the same folder that nobody else has: [`TEMP_PREFIX`], process, count, and the final name.
pub fn temp_beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!("{TEMP_PREFIX}{}-{count}-{name}", std::process::id()))
}

fn write_and_sync(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk::create("durable.create", path)?;
    disk::write_at("durable.write", &file, path, bytes, 0)?;
    disk::sync("durable.sync", &file, path)
}

/// The folder of a path; the current one for a bare name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_file(&path, b"old").unwrap();
        write_file(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_written_little_by_little_is_there_when_it_is_whole_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_file(&path, b"old").unwrap();
        let mut given_up = FileWriter::create(&path).unwrap();
        given_up.write_all(b"ha").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(given_up);
        let mut file = FileWriter::create(&path).unwrap();
        file.write_all(b"ne").unwrap();
        file.write_all(b"w").unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_names_the_file_and_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::create_dir(&path).unwrap(); // A folder can not be replaced by a file.
        let error = write_file(&path, b"new").unwrap_err().to_string();
        assert!(error.contains("failed to replace") && error.contains("/a"), "{error}");
        assert!(path.is_dir());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_moves_to_its_new_target_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("latest");
        point(&link, Path::new("000001")).unwrap();
        point(&link, Path::new("000002")).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("000002"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_never_takes_a_name_that_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        assert!(publish_dir(&from, &to).is_err());
        assert!(from.is_dir());
    }

    #[test]
    fn a_sweep_takes_leftovers_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".tmp-1-0-000001")).unwrap();
        fs::write(dir.path().join(".tmp-1-0-000001/model.safetensors"), b"half").unwrap();
        symlink("gone", dir.path().join(".tmp-1-1-latest")).unwrap();
        fs::write(dir.path().join("kept"), b"whole").unwrap();
        assert_eq!(sweep(dir.path()).unwrap(), 2);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
