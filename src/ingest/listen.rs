//! Listening: the system tells what changes in the inboxes' folders, each of which the scan asks to be heard when it enters it.
//! Always true: a folder that can not be heard keeps no other from being heard. It is asked for again by every scan, so that
//! what refused it (a permission, a limit of the system) need only go away.

use std::path::Path;
use std::sync::atomic::Ordering;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RemoveKind, RenameMode};
use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher};
use rustix::io::Errno;
use tracing::{info, warn};

use super::file::FileRef;
use super::shared::Shared;
use super::watch::Hint;
use crate::config::After;

/// The ears of one ingest.
pub(super) struct Listener<'a> {
    shared: &'a Shared,
    /// None until the first scan, where only scans are wanted, and while the system gives none.
    watcher: Option<RecommendedWatcher>,
    /// What refused a folder since the scan began.
    refused: bool,
    /// Whether that was told. It is told once, until a whole scan has met no refusal.
    is_told: bool,
}

impl<'a> Listener<'a> {
    /// Hears nothing yet.
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            watcher: None,
            refused: false,
            is_told: false,
        }
    }

    /// Forgets every folder: what the paths name may be others now. The next scan asks for all of them.
    pub(super) fn forget(&mut self) {
        self.watcher = None;
    }

    /// A scan of everything begins: it asks for each folder that it enters.
    pub(super) fn scan_begins(&mut self) {
        self.refused = false;
        if self.watcher.is_none() && !self.shared.setup.config.poll {
            match watcher(self.shared) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => self.refuse(None, &error),
            }
        }
    }

    /// The scan has been everywhere.
    pub(super) fn scan_ends(&mut self) {
        if self.is_told && !self.refused {
            self.is_told = false;
            info!(stream = %self.shared.setup.stream, "changes are told by the system again, in every folder");
        }
    }

    /// Asks to hear what changes in a folder. Before the folder is listed, so that nothing is between the list and the first
    /// event.
    pub(super) fn hear(&mut self, folder: &FileRef) {
        let Some(watcher) = &mut self.watcher else { return };
        let path = self.shared.inboxes[folder.inbox].root().join(&folder.path);
        let Err(error) = watcher.watch(&path, RecursiveMode::NonRecursive) else {
            return;
        };
        match (&error.kind, errno(&error)) {
            // The scan, which may not read it either, names it.
            (_, Some(Errno::ACCESS | Errno::PERM)) => {}
            (ErrorKind::PathNotFound, _) | (_, Some(Errno::NOENT | Errno::NOTDIR)) => {}
            _ => self.refuse(Some(&path), &error),
        }
    }

    fn refuse(&mut self, folder: Option<&Path>, error: &notify::Error) {
        self.refused = true;
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        let hint = match (&error.kind, errno(error)) {
            (ErrorKind::MaxFilesWatch, _) => {
                "raise the limit: sysctl fs.inotify.max_user_watches=1048576; it is tried again by every scan"
            }
            (_, Some(Errno::MFILE | Errno::NFILE)) => {
                "raise the limits: sysctl fs.inotify.max_user_instances=1024, LimitNOFILE= of the unit; it is tried again by every scan"
            }
            _ => "set ingest.poll = true if this filesystem tells no changes; it is tried again by every scan",
        };
        warn!(
            stream = %self.shared.setup.stream, folder = folder.map(|folder| folder.display().to_string()), %error,
            rescan_s = self.shared.setup.config.rescan_s, hint,
            "the system does not tell what changes in some folders; new files there are found by scans"
        );
    }
}

fn errno(error: &notify::Error) -> Option<Errno> {
    match &error.kind {
        ErrorKind::Io(error) => Errno::from_io_error(error),
        _ => None,
    }
}

/// A watcher of no folder yet, whose events become hints for the watch.
fn watcher(shared: &Shared) -> notify::Result<RecommendedWatcher> {
    let roots: Vec<_> = shared.inboxes.iter().map(|inbox| inbox.root().to_owned()).collect();
    let hints = shared.hint_sender();
    let stays = shared.setup.config.after == After::Leave;
    let missed = std::sync::Arc::clone(&shared.needs_rescan);
    let place = move |path: &Path| {
        let found = roots
            .iter()
            .enumerate()
            .find_map(|(inbox, root)| Some((inbox, path.strip_prefix(root).ok()?)));
        found.map(|(inbox, below)| FileRef::new(inbox, below))
    };
    let on_event = move |event: notify::Result<notify::Event>| {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            _ => return missed.store(true, Ordering::Relaxed),
        };
        let as_hint: fn(FileRef) -> Hint = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Hint::Whole,
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Hint::Whole,
            EventKind::Create(CreateKind::File | CreateKind::Folder) => Hint::Changed,
            EventKind::Modify(ModifyKind::Metadata(_)) => Hint::Changed,
            // Our own moves and deletions make these too; only a ledger of files that stay wants to know.
            EventKind::Remove(RemoveKind::File) if stays => Hint::Gone,
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) if stays => Hint::Gone,
            // Writes in progress, opens and reads say nothing that a later event does not.
            _ => return,
        };
        for file in event.paths.iter().filter_map(|path| place(path)) {
            if !file.path.as_os_str().is_empty() && hints.try_send(as_hint(file)).is_err() {
                missed.store(true, Ordering::Relaxed);
            }
        }
    };
    RecommendedWatcher::new(on_event, notify::Config::default().with_follow_symlinks(false))
}
