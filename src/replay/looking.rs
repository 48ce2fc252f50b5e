//! Looking: finds out what samples show that came without that being known: those of an import, of a catalogue that was
//! lost, of a version that did not look.
//! Invariant: a sample that was looked at is not looked at again; one that can not be read is left to who reads it next.

use crate::ids::SampleId;
use crate::sample::perceptual;

use super::log::{Content, Segments};
use super::segment::Location;
use super::store::{Memory, Store};

/// Samples that are looked at while a buffer opens: all that may have come after the last checkpoint of a killed one, so
/// that it draws as if it had not been killed. What is more is looked at while it runs.
pub(super) const AT_OPEN: usize = 8_192;

/// Samples of one turn: for so long other work of the thread waits.
const AT_ONCE: usize = 256;

impl Store {
    /// Looks at some of the samples that wait for it; `false` if none did.
    pub(super) fn look(&self) -> bool {
        let places = self.memory.lock().unseen(AT_ONCE);
        let hashes = hashes(&self.segments, &places);
        let mut memory = self.memory.lock();
        for (id, hash) in hashes {
            memory.show(id, hash);
        }
        !places.is_empty()
    }
}

impl Memory {
    /// Takes up to `most` of the samples that wait to be looked at.
    pub(super) fn unseen(&mut self, most: usize) -> Vec<(SampleId, Location)> {
        let most = most.min(self.unseen.len());
        let places = self.unseen.drain(..most);
        let samples = &self.contents.samples;
        places
            .filter_map(|id| Some((id, samples.get(&id.0)?.location)))
            .collect()
    }

    /// It is known what a sample shows, unless it is gone.
    pub(super) fn show(&mut self, id: SampleId, hash: Option<u64>) {
        let look = self.curator.look_of(hash);
        if self.contents.set_look(id, look) {
            self.curator.show(id, Some(look));
        }
    }
}

/// The perceptual hashes of samples. Those that have moved meanwhile, or can not be read, are left out.
pub(super) fn hashes(segments: &Segments, places: &[(SampleId, Location)]) -> Vec<(SampleId, Option<u64>)> {
    let read = |(id, location): &(SampleId, Location)| {
        let segment = segments.get(location.segment)?;
        match segments.read_sample(&segment.file, id.0, *location) {
            Ok(Content::Whole(content)) => Some((*id, perceptual::of_encoded(&content))),
            // Who draws it, or cleans its segment, names it.
            Ok(Content::Damaged(_)) | Err(_) => None,
        }
    };
    places.iter().filter_map(read).collect()
}
