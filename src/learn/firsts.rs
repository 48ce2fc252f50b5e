//! The first samples of a new stream, on which what a network begins with is fixed: the vocabulary of texts, the scales of
//! transitions.
//! Invariant: what is read of them is a function of the samples that were held, the oldest first.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::run::IDLE;
use super::thread::{LearnSetup, Shared};
use crate::ids::SampleId;
use crate::replay::{Counts, ReplayBuffer};
use crate::sample::Content;

/// How long nothing may have arrived until what there is is enough.
const RESTED: Duration = Duration::from_secs(10);

/// Samples that are read at once.
const CHUNK: usize = 1_024;

/// Waits until the buffer holds what is asked for, or has enough samples to learn from and rests; `false` when the learner is
/// stopped before that.
pub(super) fn wait(
    replay: &ReplayBuffer,
    setup: &LearnSetup,
    shared: &Shared,
    has_all: impl Fn(&Counts) -> bool,
) -> bool {
    let (mut seen, mut since) = (replay.changes(), Instant::now());
    while !shared.stop.load(Ordering::Relaxed) {
        shared.state.lock().alive_at = Some(Instant::now());
        let counts = replay.counts();
        let changes = replay.changes();
        if changes != seen {
            (seen, since) = (changes, Instant::now());
        }
        let has_some = (counts.samples - counts.exam_samples) as usize >= setup.config.samples_min;
        if has_some && (has_all(&counts) || since.elapsed() >= RESTED) {
            return true;
        }
        replay.wait_for_change(changes, IDLE);
    }
    false
}

/// The samples that a buffer holds, the oldest first. One that can not be read is named by the buffer and passed over.
pub(super) fn held(replay: &ReplayBuffer) -> impl Iterator<Item = Content> {
    let mut after: Option<SampleId> = None;
    let chunks = std::iter::from_fn(move || {
        let ids = replay.ids_after(after, CHUNK);
        after = Some(*ids.last()?);
        Some(replay.read_many(&ids).unwrap_or_default())
    });
    chunks.flatten().filter_map(|content| Content::decode(&content?).ok())
}
