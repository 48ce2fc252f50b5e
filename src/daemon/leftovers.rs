//! What nobody uses any more: the folders of streams that left the configuration, and copies that an interrupted
//! `curiod replay verify` left in the system's folder for temporary files.
//! Always true: what a stream has learnt or holds is never deleted, only told of; a copy is deleted when it is so old that no
//! verification can be at work on it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{info, warn};

use crate::config::Config;

/// No verification takes longer.
const COPY_AGE_MIN: Duration = Duration::from_secs(24 * 60 * 60);

/// How the copies' names begin.
const COPY_PREFIX: &str = "curiod-verify-";

/// Looks, on a thread of its own: the folders may be large. Nothing waits for it, and it may die with the process.
pub(super) fn look(config: &Config) {
    let (state_dir, streams) = (config.state_dir.clone(), names(config));
    let work = move || {
        sweep_copies(&std::env::temp_dir());
        tell_of_orphans(&state_dir, &streams);
    };
    if let Err(error) = std::thread::Builder::new().name("leftovers".to_owned()).spawn(work) {
        warn!(%error, hint = "raise the limit of threads (ulimit -u, TasksMax= of the unit)", "failed to look for leftovers");
    }
}

fn names(config: &Config) -> BTreeSet<String> {
    config.streams.iter().map(|stream| stream.name.to_string()).collect()
}

/// Tells of every folder that belonged to a stream which is not in the configuration.
fn tell_of_orphans(state_dir: &Path, streams: &BTreeSet<String>) {
    for kind in ["streams", "registry"] {
        for folder in folders(&state_dir.join(kind)) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if streams.contains(&name) {
                continue;
            }
            let command = format!("rm -r '{}'", folder.display());
            info!(
                stream = name, folder = %folder.display(), bytes = bytes_below(&folder),
                hint = format!("put the stream back into the configuration to use it again, or delete it for ever: {command}"),
                "kept the folder of a stream that is not in the configuration"
            );
        }
    }
}

/// Deletes the copies in this folder that are ours and old.
pub fn sweep_copies(temporary: &Path) {
    let own = rustix::process::geteuid().as_raw();
    for folder in folders(temporary) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(metadata) = folder.symlink_metadata() else {
            continue;
        };
        let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok());
        if name.starts_with(COPY_PREFIX) && metadata.uid() == own && age.is_some_and(|age| age > COPY_AGE_MIN) {
            match fs::remove_dir_all(&folder) {
                Ok(()) => info!(folder = %folder.display(), "deleted what an interrupted verification left"),
                Err(error) => {
                    warn!(folder = %folder.display(), %error, hint = "delete it by hand", "failed to delete what an interrupted verification left");
                }
            }
        }
    }
}

/// The folders in a folder, without links; none where it can not be listed.
fn folders(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// Bytes that the files below a folder take on the disk.
fn bytes_below(folder: &Path) -> u64 {
    let mut open = vec![folder.to_owned()];
    let mut bytes = 0;
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => open.push(entry.path()),
                Ok(metadata) => bytes += metadata.blocks() * 512,
                Err(_) => {}
            }
        }
    }
    bytes
}
