//! Quarantine: the list of rejected files, what an operator does about them, and how the list stays true.
//! Always true: an entry leaves the list when its file is taken or gone, or when somebody drops it; no file is deleted.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use super::acknowledge::{move_file, name_apart};
use super::file::FileRef;
use super::inbox::{Kind, OpenError};
use super::shared::Shared;
use super::watch::Hint;
use crate::ids::SourceHash;
use crate::limits::COMMIT_BATCH_MAX;
use crate::replay::QuarantineEntry;

/// Digits of a hash that name a file as well as its path does.
const HASH_DIGITS_MIN: usize = 8;

/// A stream's quarantine, for whoever answers an operator.
#[derive(Clone, Debug)]
pub struct Quarantine(Arc<Shared>);

/// What became of a file in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handled {
    /// Its entry, as it was.
    pub entry: QuarantineEntry,
    /// Where the file is now; none where it is gone.
    pub file: Option<PathBuf>,
    /// What was done.
    pub done: Done,
}

/// What was done about a file in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It left the list and is read again; its new verdict comes soon.
    Retried,
    /// It left the list, for its file is gone.
    Gone,
    /// It could not be moved back to the inbox: it stays in the list, and the log says why.
    Stuck,
    /// It left the list; its file stays where it is.
    Dropped,
}

impl Quarantine {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The entries that are meant: each by its path, its content's hash or the first eight digits or more of that. The
    /// first that means none is the error.
    pub fn find(&self, wanted: &[String]) -> Result<Vec<QuarantineEntry>, String> {
        let entries = self.0.replay.quarantined();
        let mut is_wanted = vec![false; entries.len()];
        for text in wanted {
            let mut is_found = false;
            for (entry, is_wanted) in entries.iter().zip(&mut is_wanted) {
                if means(text, entry) {
                    (*is_wanted, is_found) = (true, true);
                }
            }
            if !is_found {
                return Err(text.clone());
            }
        }
        let found = entries.into_iter().zip(is_wanted);
        Ok(found
            .filter_map(|(entry, is_wanted)| is_wanted.then_some(entry))
            .collect())
    }

    /// Every entry.
    pub fn all(&self) -> Vec<QuarantineEntry> {
        self.0.replay.quarantined()
    }

    /// Has rejected files read again. Those that were moved to quarantine are moved back.
    pub fn retry(&self, entries: Vec<QuarantineEntry>) -> Vec<Handled> {
        let handled = entries
            .chunks(COMMIT_BATCH_MAX)
            .flat_map(|entries| retry(&self.0, entries));
        let handled = handled.collect();
        self.0.forget_put_off();
        // Names that are no UTF-8 can not be told from their entries; a scan finds those files.
        self.0.needs_rescan.store(true, Ordering::Relaxed);
        handled
    }

    /// Forgets entries. Their files stay where they are, and are not read again while they do not change.
    pub fn drop_entries(&self, entries: Vec<QuarantineEntry>) -> Vec<Handled> {
        let forget_some = |entries: &[QuarantineEntry]| {
            let files: Vec<Option<PathBuf>> = entries.iter().map(|entry| file_of(&self.0, entry)).collect();
            let done = match forget(&self.0, entries) {
                true => Done::Dropped,
                false => Done::Stuck,
            };
            let handled = entries.iter().cloned().zip(files);
            handled
                .map(|(entry, file)| Handled { entry, file, done })
                .collect::<Vec<_>>()
        };
        entries.chunks(COMMIT_BATCH_MAX).flat_map(forget_some).collect()
    }
}

fn means(text: &str, entry: &QuarantineEntry) -> bool {
    let is_hash = text.len() >= HASH_DIGITS_MIN && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hash = || entry.source.map(|source| source.to_string());
    text == entry.path || is_hash && hash().is_some_and(|hash| hash.starts_with(&text.to_ascii_lowercase()))
}

/// Where a rejected file is, as far as that can be told. First the inboxes are looked at, then the folder: a file on its
/// way from one to the other is seen.
fn file_of(shared: &Shared, entry: &QuarantineEntry) -> Option<PathBuf> {
    match in_inboxes(shared, &entry.path).ok()?.first() {
        Some(file) => Some(path_of(shared, file)),
        None => Some(folder_of(shared, entry).join(in_folder(shared, entry).ok()??)),
    }
}

fn path_of(shared: &Shared, file: &FileRef) -> PathBuf {
    shared.inboxes[file.inbox].root().join(&file.path)
}

/// The files of this path; an error where that can not be told now.
fn in_inboxes(shared: &Shared, path: &str) -> Result<Vec<FileRef>, ()> {
    // A character that stands for bytes that are no UTF-8: the file has another name.
    if path.contains(char::REPLACEMENT_CHARACTER) {
        return Err(());
    }
    let mut found = Vec::new();
    for (number, inbox) in shared.inboxes.iter().enumerate() {
        match inbox.look(Path::new(path)) {
            Ok(look) if look.kind == Kind::File => found.push(FileRef::new(number, path)),
            Ok(_) => {}
            Err(OpenError::Gone) if inbox.is_there() => {}
            Err(_) => return Err(()),
        }
    }
    Ok(found)
}

/// The folder in the quarantine folder where the entry's file is, if it was moved.
fn folder_of(shared: &Shared, entry: &QuarantineEntry) -> PathBuf {
    let parent = Path::new(&entry.path).parent().unwrap_or(Path::new(""));
    shared.quarantine_dir.join(parent)
}

/// The name that the entry's file has in its folder: its own, or where that was taken one with its hash, and then with
/// a number. The very content that was rejected comes first, then what has its hash in its name: it was repaired there.
fn in_folder(shared: &Shared, entry: &QuarantineEntry) -> io::Result<Option<OsString>> {
    let Some(name) = Path::new(&entry.path).file_name() else {
        return Ok(None);
    };
    let folder = folder_of(shared, entry);
    let apart = first_name_apart(name, entry.source);
    let is_file = |kept: &OsString| std::fs::symlink_metadata(folder.join(kept)).is_ok_and(|file| file.is_file());
    let mut kept: Vec<OsString> = [apart.clone(), name.to_owned()].into_iter().filter(is_file).collect();
    kept.dedup();
    let has_its_size = |kept: &OsString| {
        let file = std::fs::symlink_metadata(folder.join(kept));
        file.is_ok_and(|file| file.len() == entry.bytes)
    };
    // A large folder is not listed for each of its files: only where this one may have been given a number.
    if !matches!(kept.as_slice(), [only] if has_its_size(only)) {
        let is_its = |kept: &OsString| unnumbered(kept) == apart;
        kept.extend(names(&folder)?.into_iter().filter(is_its).filter(is_file));
        kept.sort();
        kept.dedup();
        kept.sort_by_key(|kept| kept == name);
    }
    if kept.len() < 2 {
        return Ok(kept.pop());
    }
    let is_as_rejected = |kept: &&OsString| is_as_rejected(&folder.join(kept), entry);
    Ok(kept.iter().find(is_as_rejected).or(kept.first()).cloned())
}

/// Whether the file's content is the one that was rejected, as far as that is known.
fn is_as_rejected(file: &Path, entry: &QuarantineEntry) -> bool {
    if !std::fs::symlink_metadata(file).is_ok_and(|file| file.len() == entry.bytes) {
        return false;
    }
    let Some(source) = entry.source else { return true };
    let mut hasher = blake3::Hasher::new();
    let hashed = std::fs::File::open(file).and_then(|mut file| io::copy(&mut file, &mut hasher));
    hashed.is_ok() && hasher.finalize().as_bytes() == &source.0
}

/// The first name beside one that is taken, without a number.
fn first_name_apart(name: &OsStr, source: Option<SourceHash>) -> OsString {
    match source {
        Some(_) => name_apart(name, source, 1),
        None => name.to_owned(),
    }
}

/// The name without the number that a further file of the name was given: `photo-0123-3.jpg` becomes `photo-0123.jpg`.
fn unnumbered(name: &OsStr) -> OsString {
    let path = Path::new(name);
    let stem = path.file_stem().unwrap_or(name).as_bytes();
    let digits = stem.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let Some(stem) = stem[..stem.len() - digits].strip_suffix(b"-").filter(|_| digits > 0) else {
        return name.to_owned();
    };
    let mut bytes = stem.to_vec();
    if let Some(extension) = path.extension() {
        bytes.push(b'.');
        bytes.extend_from_slice(extension.as_bytes());
    }
    OsString::from_vec(bytes)
}

/// The names in a folder; none where there is no such folder.
fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn retry(shared: &Shared, entries: &[QuarantineEntry]) -> Vec<Handled> {
    let mut handled = Vec::new();
    let mut moved = Vec::new();
    for entry in entries {
        match move_back(shared, entry) {
            Ok(file) => {
                moved.push(entry.clone());
                handled.push((file, Done::Gone));
            }
            Err(error) => {
                warn!(stream = %shared.setup.stream, path = ?entry.path, %error,
                    hint = "let the daemon's user write both folders; under the unit see ReadWritePaths=",
                    "failed to move a file back to the inbox");
                handled.push((None, Done::Stuck));
            }
        }
    }
    let is_forgotten = forget(shared, &moved);
    let finish = |(entry, (moved_to, done)): (&QuarantineEntry, (Option<PathBuf>, Done))| {
        let here = in_inboxes(shared, &entry.path).unwrap_or_default();
        let file = moved_to.or_else(|| here.first().map(|file| path_of(shared, file)));
        let done = match done {
            Done::Gone if !is_forgotten => Done::Stuck,
            Done::Gone if file.is_some() => Done::Retried,
            done => done,
        };
        if done == Done::Retried {
            for file in here {
                if let Err(error) = shared.replay.forget_seen(&file.key(&shared.inboxes)) {
                    shared.ledger_failed("forget a file", &error);
                }
                shared.hint(Hint::Whole(file));
            }
        }
        let entry = entry.clone();
        Handled { entry, file, done }
    };
    entries.iter().zip(handled).map(finish).collect()
}

/// Takes entries off the list, with one durable write.
fn forget(shared: &Shared, entries: &[QuarantineEntry]) -> bool {
    if let Err(error) = shared.replay.drop_quarantines(entries) {
        shared.ledger_failed("drop quarantine entries", &error);
        return false;
    }
    for QuarantineEntry { path, .. } in entries {
        if shared.replay.quarantine_entry(path).is_none() {
            shared.note_unquarantined(path);
        }
    }
    true
}

/// Moves a file from the quarantine folder to where it came from: the first inbox, if there are several. Where it is
/// now; none where it was not in the folder.
fn move_back(shared: &Shared, entry: &QuarantineEntry) -> io::Result<Option<PathBuf>> {
    let path = Path::new(&entry.path);
    let parent = path.parent().unwrap_or(Path::new(""));
    let (Some(name), Some(inbox)) = (path.file_name(), shared.inboxes.first()) else {
        return Ok(None);
    };
    let Some(kept) = in_folder(shared, entry)? else {
        return Ok(None);
    };
    let folder = std::fs::File::open(folder_of(shared, entry))?.into();
    let target = inbox.root().join(parent);
    move_file(&folder, &kept, &target, name, entry.source).map(Some)
}

/// Whether the file of a path that is in quarantine still lies in the quarantine folder.
pub(super) fn is_in_folder(shared: &Shared, path: &str) -> bool {
    let entry = shared.replay.quarantine_entry(path);
    entry.is_some_and(|entry| !matches!(in_folder(shared, &entry), Ok(None)))
}

/// Takes the entries off the list whose files are gone: from the inboxes, and from the quarantine folder.
pub(super) fn forget_gone(shared: &Shared) {
    // All inboxes before any folder: a file on its way from one to the other is seen.
    let mut gone = shared.replay.quarantined();
    gone.retain(|entry| in_inboxes(shared, &entry.path).is_ok_and(|files| files.is_empty()));
    // Each folder is listed once, with the names as they would be without numbers.
    let mut folders: HashMap<PathBuf, Option<HashSet<OsString>>> = HashMap::new();
    gone.retain(|entry| {
        let Some(name) = Path::new(&entry.path).file_name() else {
            return false;
        };
        let kept = folders.entry(folder_of(shared, entry)).or_insert_with_key(|folder| {
            let names = names(folder).ok()?;
            Some(names.iter().map(|name| unnumbered(name)).chain(names.clone()).collect())
        });
        // A folder that can not be listed says nothing.
        kept.as_ref()
            .is_some_and(|kept| !kept.contains(name) && !kept.contains(&first_name_apart(name, entry.source)))
    });
    for gone in gone.chunks(COMMIT_BATCH_MAX) {
        if !forget(shared, gone) {
            return; // The next regular scan tries again.
        }
        for entry in gone {
            // Should a file of this path come back as it was, it is read, and told, again.
            for inbox in 0..shared.inboxes.len() {
                let key = FileRef::new(inbox, &entry.path).key(&shared.inboxes);
                if let Err(error) = shared.replay.forget_seen(&key) {
                    shared.ledger_failed("forget a file that is gone", &error);
                }
            }
            info!(stream = %shared.setup.stream, path = ?entry.path, "forgot a rejected file that is gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_sets_files_of_one_name_apart_is_seen_through() {
        let plain = |name: &str| unnumbered(OsStr::new(name)).into_string().unwrap();
        assert_eq!(plain("photo-0123456789abcdef-3.jpg"), "photo-0123456789abcdef.jpg");
        assert_eq!(plain("photo-12"), "photo");
        for other in ["photo.jpg", "photo3.jpg", "photo-.jpg", "-"] {
            assert_eq!(plain(other), other);
        }
        for source in [None, Some(SourceHash::of(b"x"))] {
            for count in 2..5 {
                let name = OsStr::new("photo.jpg");
                assert_eq!(
                    unnumbered(&name_apart(name, source, count)),
                    first_name_apart(name, source)
                );
            }
        }
    }

    #[test]
    fn an_entry_is_named_by_its_path_or_by_enough_of_its_hash() {
        let source = SourceHash::of(b"x");
        let entry = QuarantineEntry {
            path: "a/b.png".to_owned(),
            source: Some(source),
            reason: "corrupt".to_owned(),
            detail: String::new(),
            bytes: 1,
            at: crate::clock::Timestamp(0),
        };
        let hash = source.to_string();
        assert!(means("a/b.png", &entry) && means(&hash, &entry) && means(&hash[..8].to_uppercase(), &entry));
        assert!(!means("b.png", &entry) && !means(&hash[..7], &entry) && !means("", &entry));
    }
}
