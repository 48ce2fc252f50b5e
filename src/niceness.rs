//! How much a thread gives way to others.
//! Invariant: a lowered thread is never raised again, and what it starts is as low.

use tracing::warn;

/// Lowers the priority of this thread by so much, and of those that it will start. `whose`: for the log, where that is refused.
pub(crate) fn lower(by: i32, whose: &str) {
    // On Linux priorities belong to threads: "this process" is the calling thread.
    if let Err(error) = rustix::process::setpriority_process(None, by) {
        warn!(%error, whose,
            hint = "none: only speed suffers; allow setpriority to have it",
            "a thread keeps its priority; queries may wait for it");
    }
}
