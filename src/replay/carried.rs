//! Carried over: what only a catalogue knew that can not be used any more, so that a rebuild costs less.
//! Invariant: nothing here is needed; what can not be read is left out.

use crate::ids::SampleId;

use super::catalogue::Catalogue;
use super::contents::Contents;
use super::pending::{Look, Signals};
use super::record::State;
use super::types::Score;

/// What could be read.
#[derive(Default)]
pub(super) struct Carried {
    state: State,
    signals: Vec<(SampleId, Signals)>,
    scores: Vec<(SampleId, Score)>,
    looks: Vec<(SampleId, Look)>,
}

impl Carried {
    /// Reads a catalogue, if it is that of the store `uid`.
    pub(super) fn from(catalogue: &Catalogue, uid: u64) -> Self {
        let mut carried = Self::default();
        let Ok(Some(mark)) = catalogue.mark() else {
            return carried;
        };
        if mark.uid != uid {
            return carried;
        }
        carried.state = mark.state;
        // Those before one that can not be read are as good as all of them.
        let _ = catalogue.each_signals(|id, signals| carried.signals.push((id, signals)));
        let _ = catalogue.each_score(|id, score| carried.scores.push((id, score)));
        let _ = catalogue.each_look(|id, look| carried.looks.push((id, look)));
        carried
    }

    /// Adds it to contents that the segments gave. No id is given out twice, whatever was lost.
    pub(super) fn add_to(self, contents: &mut Contents) {
        let (theirs, ours) = (self.state, &mut contents.state);
        ours.totals = ours.totals.max(theirs.totals);
        ours.next_id = ours.next_id.max(theirs.next_id);
        ours.next_seq = ours.next_seq.max(theirs.next_seq);
        ours.duplicates = ours.duplicates.max(theirs.duplicates);
        ours.drawn = ours.drawn.max(theirs.drawn);
        ours.quarantine_unlisted = ours.quarantine_unlisted.max(theirs.quarantine_unlisted);
        for (id, signals) in self.signals {
            contents.set_signals(id, signals);
        }
        for (id, score) in self.scores {
            contents.set_score(id, score);
        }
        for (id, look) in self.looks {
            contents.set_look(id, look);
        }
    }
}
