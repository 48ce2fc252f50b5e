//! Files that hold keys: read only where nobody else can read or change them, and changed whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::process::geteuid;

use super::{Key, KeyError, KeyName, Keys, Secret};
use crate::durable::{self, DurableError};
use crate::limits::PRIVATE_FILE_BYTES_MAX;

/// Where systemd puts the credentials of a service (`LoadCredential=`).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Who may read a private file beside its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Nobody.
    Owner,
    /// Its group, as the keys of certificates often are kept.
    Group,
}

/// A file of keys that can not be used: what, and what next.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The system does not give it.
    #[error("failed to read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read or change it.
    #[error("{} has mode {mode:04o}: others than its owner can read or change it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode's last twelve bits.
        mode: u32,
    },
    /// It is somebody else's.
    #[error("{} belongs to user {owner}, who could change it", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
    },
    /// It is no file, or too large for one of keys.
    #[error("{} is no file of keys: {why}", path.display())]
    Odd {
        /// The file.
        path: PathBuf,
        /// What it is.
        why: &'static str,
    },
    /// A line that is no key.
    #[error("line {line} of {}: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        source: KeyError,
    },
    /// No key has this name.
    #[error("{} has no key called {name}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// It could not be written.
    #[error(transparent)]
    Unwritten(#[from] DurableError),
}

impl AccessError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "make it with `curiod keys new --name NAME --scope read --file FILE`, or mend the path".to_owned()
            }
            Self::Unreadable { .. } => "make it readable for this user, and for nobody else".to_owned(),
            Self::Exposed { path, .. } => format!("chmod 600 '{}'", path.display()),
            Self::Foreign { path, .. } => format!("chown it to the user that reads it, or to root: {}", path.display()),
            Self::Odd { .. } => "name the file that `curiod keys new --file` wrote".to_owned(),
            Self::Line { .. } => "mend or delete the line; `curiod keys new` writes a good one".to_owned(),
            Self::Unknown { .. } => "`curiod keys list --file FILE` lists the names".to_owned(),
            Self::Unwritten(_) => "check the folder's permissions and the disk".to_owned(),
        }
    }
}

/// The bytes of a file that nobody but its readers may see, and nobody but its owner change.
///
/// # Errors
/// It can not be read, is larger than a file of keys, belongs to another user than this one and root (whom no owner is foreign
/// to), or its mode lets others in.
pub fn read_private(path: &Path, readers: Readers) -> Result<Vec<u8>, AccessError> {
    let unreadable = |source| AccessError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let odd = |why| AccessError::Odd {
        path: path.to_owned(),
        why,
    };
    // A pipe of this name must not make the daemon wait for its writer.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
        .map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(odd("it is no regular file"));
    }
    let mode = metadata.mode() & 0o7777;
    // systemd keeps credentials in a folder of the service's own, and lets it in by an ACL, which shows as its group's.
    let is_credential =
        std::env::var_os(CREDENTIALS).is_some_and(|folder| !folder.is_empty() && path.starts_with(folder));
    let exposing = match readers {
        Readers::Owner if !is_credential => 0o077,
        _ => 0o027,
    };
    if mode & exposing != 0 {
        return Err(AccessError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    // Root keeps other users' files for them, and is told which.
    let (owner, reader) = (metadata.uid(), geteuid().as_raw());
    if ![0, owner].contains(&reader) && owner != 0 {
        return Err(AccessError::Foreign {
            path: path.to_owned(),
            owner,
        });
    }
    let mut bytes = Vec::new();
    Read::take(&mut file, PRIVATE_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > PRIVATE_FILE_BYTES_MAX {
        return Err(odd("it is too large"));
    }
    Ok(bytes)
}

/// The keys of a daemon.
///
/// # Errors
/// As [`read_private`]; or a line is no key.
pub fn read_keys(path: &Path) -> Result<Keys, AccessError> {
    Keys::parse(&read_text(path)?).map_err(|(line, source)| AccessError::Line {
        path: path.to_owned(),
        line,
        source,
    })
}

/// The key of a client, alone in its file.
///
/// # Errors
/// As [`read_private`]; or there is not one word in it.
pub fn read_secret(path: &Path) -> Result<Secret, AccessError> {
    let text = read_text(path)?;
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(word), None) if word.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Secret(word.to_owned())),
        _ => Err(AccessError::Odd {
            path: path.to_owned(),
            why: "a client's file holds the key itself and nothing else",
        }),
    }
}

fn read_text(path: &Path) -> Result<String, AccessError> {
    String::from_utf8(read_private(path, Readers::Owner)?).map_err(|_| AccessError::Odd {
        path: path.to_owned(),
        why: "it is no text",
    })
}

/// Adds a key to a file, which is made where there is none.
///
/// # Errors
/// The file can not be used as it is, has the name already, or can not be written; it is unchanged then.
pub fn add(path: &Path, key: &Key) -> Result<(), AccessError> {
    let _turn = Turn::take(path)?;
    let mut text = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        _ => read_text(path)?,
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text += &format!("{key}\n");
    replace(path, &text)
}

/// Takes a key out of a file; comments and other keys stay as they are.
///
/// # Errors
/// As [`add`]; or no key has this name.
pub fn revoke(path: &Path, name: &KeyName) -> Result<(), AccessError> {
    let _turn = Turn::take(path)?;
    let text = read_text(path)?;
    let is_its = |line: &&str| line.split_ascii_whitespace().next() == Some(&name.0);
    let kept: String = text
        .lines()
        .filter(|line| !is_its(line))
        .map(|line| format!("{line}\n"))
        .collect();
    if kept.lines().count() == text.lines().count() {
        return Err(AccessError::Unknown {
            path: path.to_owned(),
            name: name.to_string(),
        });
    }
    replace(path, &kept)
}

/// Writes the file anew, checked, readable for its owner alone, who stays the one that it had.
fn replace(path: &Path, text: &str) -> Result<(), AccessError> {
    Keys::parse(text).map_err(|(line, source)| AccessError::Line {
        path: path.to_owned(),
        line,
        source,
    })?;
    // A link stays one: what it leads to is written.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let owner = fs::metadata(path).ok().map(|metadata| (metadata.uid(), metadata.gid()));
    let temp = durable::temp_beside(path);
    let written = write_private(&temp, text, owner).map_err(durable::failed("write", path));
    let replaced = written.and_then(|()| durable::rename(&temp, path));
    if replaced.is_err() {
        let _ = fs::remove_file(&temp); // The first error is the one to tell.
    }
    Ok(replaced?)
}

/// A new file that its owner alone can read from the moment it is there.
fn write_private(path: &Path, text: &str, owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    if let Some((user, group)) = owner.filter(|(user, _)| *user != geteuid().as_raw()) {
        fchown(&file, Some(user), Some(group))?;
    }
    file.sync_all()
}

/// The right to change the files of a folder, while others that ask for it wait.
struct Turn {
    _folder: File,
}

impl Turn {
    fn take(path: &Path) -> Result<Self, AccessError> {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let taken = File::open(folder).and_then(|folder| {
            flock(&folder, FlockOperation::LockExclusive)?;
            Ok(folder)
        });
        let folder = taken.map_err(durable::failed("lock", folder))?;
        Ok(Self { _folder: folder })
    }
}
