//! The keeper: the thread that cleans segments and makes checkpoints while nobody waits.
//! Invariant: it holds no state; ending it at any moment loses nothing.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use tracing::error;

use super::store::Store;
use super::types::ReplayError;

/// How often it looks whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The longest time between two checkpoints of a store that changes.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);

/// A checkpoint is due after this many batches: fewer cost ingest, more make opening slow.
const CHECKPOINT_BATCHES: u64 = 40;

/// Turns of looking at samples before other work has its turn.
const LOOKS_AT_ONCE: usize = 8;

/// How long it leaves a store alone after an error.
const AFTER_ERROR: Duration = Duration::from_secs(5);

/// The running thread.
pub(super) struct Keeper {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Starts the thread.
    pub(super) fn start(store: Arc<Store>) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(1);
        let thread = std::thread::Builder::new().name("replay".to_owned()).spawn(move || {
            let mut wait = LOOK_EVERY;
            let mut checkpointed = Instant::now();
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                wait = match tend(&store, &mut checkpointed, || !stopped.is_empty()) {
                    Ok(()) => LOOK_EVERY,
                    Err(error) => {
                        // A catalogue that stays failed was named once, and is in the state and the metrics.
                        if !store.catalogue_failed() {
                            error!(%error, hint = "free space on the disk of state_dir and look at its health; no sample is lost", "failed to tend the replay buffer; trying again");
                        }
                        AFTER_ERROR
                    }
                };
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread after its current step. What it panicked with, if it did.
    pub(super) fn stop(self) -> std::thread::Result<()> {
        // The channel has room for this one message, unless the thread is gone already.
        let _ = self.stop.try_send(());
        self.thread.join()
    }
}

fn tend(store: &Store, checkpointed: &mut Instant, stopped: impl Fn() -> bool) -> Result<(), ReplayError> {
    if store.catalogue_failed() {
        store.reopen_catalogue()?;
    }
    for _ in 0..LOOKS_AT_ONCE {
        if stopped() || !store.look() {
            break;
        }
    }
    while !stopped() && store.compact()? {
        if store.much_emptied() {
            break;
        }
    }
    let due = store.memory.lock().batches >= CHECKPOINT_BATCHES
        || checkpointed.elapsed() >= CHECKPOINT_EVERY
        || store.much_emptied();
    if due {
        store.checkpoint()?;
        *checkpointed = Instant::now();
    }
    Ok(())
}
