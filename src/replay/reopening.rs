//! Reopening: a catalogue that failed while the store is open is opened again, for sled refuses every call after one
//! write that failed, be the disk full for a moment only.
//! Invariant: what a checkpoint did not make durable waits in RAM, so that a catalogue with the last durable mark, or with
//! the one that was begun after it, is as good as the one that failed. Any other is not used.

use std::panic::{AssertUnwindSafe, catch_unwind};

use parking_lot::{MappedRwLockReadGuard, RwLockReadGuard};
use tracing::{error, info};

use super::catalogue::Catalogue;
use super::recovery;
use super::store::Store;
use super::types::ReplayError;

impl Store {
    /// The catalogue, unless it failed and is not open again.
    pub(super) fn catalogue(&self) -> Result<MappedRwLockReadGuard<'_, Catalogue>, ReplayError> {
        RwLockReadGuard::try_map(self.catalogue.read(), Option::as_ref).map_err(|_| ReplayError::Catalogue {
            path: self.catalogue_dir(),
            detail: "it failed, and is not open again".to_owned(),
        })
    }

    /// Whether the catalogue failed and is not open again.
    pub(super) fn catalogue_failed(&self) -> bool {
        self.catalogue.read().as_ref().is_none_or(Catalogue::has_failed)
    }

    /// Opens a catalogue that failed again. After an error it may be tried again.
    pub(super) fn reopen_catalogue(&self) -> Result<(), ReplayError> {
        let marks = self.checkpointing.lock();
        let dir = self.catalogue_dir();
        if let Some(failed) = self.catalogue.write().take() {
            error!(
                catalogue = %dir.display(),
                hint = "see to it that the disk has room and no errors; it is opened again by itself, and nothing \
                        acknowledged is lost",
                "the catalogue failed: no file is taken until it is open again"
            );
            // sled may panic when it can not write what it still holds; all of that is in RAM here, too.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(failed)));
        }
        let catalogue = Catalogue::open(&dir)?;
        let mark = catalogue.mark()?;
        if mark != marks.durable && mark != marks.begun {
            return Err(ReplayError::Catalogue {
                path: dir,
                detail: "it is not the one that failed; restart the daemon, which rebuilds it".to_owned(),
            });
        }
        *self.catalogue.write() = Some(catalogue);
        info!("the catalogue is open again");
        Ok(())
    }

    fn catalogue_dir(&self) -> std::path::PathBuf {
        let dir = &self.segments.dir;
        recovery::folders(dir.parent().unwrap_or(dir)).1
    }
}
