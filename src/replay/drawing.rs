//! Drawing: what the learner takes from the buffer, and what it says of it afterwards.
//! Invariant: a draw is a function of the live samples, their priorities and the generator; what is said of a sample that is
//! gone is passed over.

use super::ReplayBuffer;
use super::types::{Draw, Drawn, Evidence, ReplayError, Score, Sighted};
use crate::curiosity::{Judgement, Known};
use crate::ids::SampleId;
use crate::rng::Rng;

impl ReplayBuffer {
    /// Draws `n` samples with replacement, none of the exam: `recent_share` of them from the newest, the others by the
    /// sampler. A function of the live ids in their order, their priorities and `rng`.
    pub fn draw(&self, n: usize, rng: &mut Rng) -> Result<Draw, ReplayError> {
        let mut samples = Vec::with_capacity(n);
        while samples.len() < n {
            let (picks, signals) = {
                let mut memory = self.store.memory.lock();
                let memory = &mut *memory;
                let picks = memory.curator.draw(n - samples.len(), rng);
                memory.contents.state.drawn += picks.len() as u64;
                let known = &memory.contents.samples;
                let signals: Vec<(u32, Option<u64>)> = picks
                    .iter()
                    .map(|pick| {
                        let signals = known.get(&pick.id.0).map(|slot| slot.signals);
                        signals.map_or((0, None), |it| (it.visits, it.score.map(|score| score.step)))
                    })
                    .collect();
                (picks, signals)
            };
            if picks.is_empty() {
                break;
            }
            let ids: Vec<_> = picks.iter().map(|pick| pick.id).collect();
            let contents = self.read_many(&ids)?;
            // What was evicted or found damaged since it was picked is picked again.
            samples.extend(picks.iter().zip(signals).zip(contents).filter_map(
                |((pick, (visits, scored_at)), content)| {
                    Some(Drawn {
                        id: pick.id,
                        content: content?,
                        probability: pick.probability,
                        visits,
                        scored_at,
                    })
                },
            ));
        }
        Ok(Draw { samples })
    }

    /// The oldest of the newest samples that came after this one and have no score, `max` at most; a score of a step after
    /// `step`, which a kill undid, is none. The remover can not yet choose any of them.
    pub fn sight(&self, after: Option<SampleId>, step: u64, max: usize) -> Result<Vec<Sighted>, ReplayError> {
        let sighted: Vec<(SampleId, u32)> = {
            let memory = self.store.memory.lock();
            let unscored = |id: SampleId| {
                let signals = memory.contents.samples.get(&id.0)?.signals;
                let is_scored = signals.score.is_some_and(|score| score.step <= step);
                (!is_scored).then_some((id, signals.visits))
            };
            memory
                .curator
                .newest_after(after)
                .filter_map(unscored)
                .take(max)
                .collect()
        };
        let ids: Vec<SampleId> = sighted.iter().map(|(id, _)| *id).collect();
        let contents = self.read_many(&ids)?;
        // What was evicted or found damaged meanwhile has nothing to show.
        let with = sighted.into_iter().zip(contents);
        Ok(with
            .filter_map(|((id, visits), content)| {
                let content = content?;
                Some(Sighted { id, content, visits })
            })
            .collect())
    }

    /// How many samples are the newest, which the remover does not choose from.
    pub fn newest_len(&self) -> usize {
        self.store.memory.lock().curator.newest_after(None).count()
    }

    /// Samples that can be drawn now.
    pub fn drawable(&self) -> usize {
        self.store.memory.lock().curator.len()
    }

    /// Draws that each arrival is granted: the least and the most. (0, 0): any number.
    pub fn draws(&self) -> (f64, f64) {
        self.draws
    }

    /// Samples that arrived for life and were not held out for the exam: what the learner's draws are granted by.
    pub fn arrived(&self) -> u64 {
        self.store.memory.lock().contents.state.totals.inserted_training
    }

    /// Takes over what a step learnt about samples, and the priority that `judge` gives each; those that are gone are
    /// passed over. In RAM now, visits, errors and priorities durable at the next checkpoint: losing seconds of it is fine.
    pub fn report(&self, evidence: &[Evidence], mut judge: impl FnMut(&Known) -> Judgement) -> Result<(), ReplayError> {
        let mut memory = self.store.memory.lock();
        let memory = &mut *memory;
        let newest = memory.contents.state.next_id.saturating_sub(1);
        let held = memory.contents.samples.len().max(1) as f64;
        for Evidence { id, error } in evidence {
            let Some(slot) = memory.contents.samples.get(&id.0) else {
                continue;
            };
            let mut signals = slot.signals;
            signals.visits = signals.visits.saturating_add(1);
            // An error that is no number says nothing: only the visit counts.
            let error = error.is_finite().then_some(*error);
            signals.error = error.unwrap_or(signals.error);
            let judgement = judge(&Known {
                id: *id,
                visits: signals.visits,
                error,
                score: signals.score,
                before: signals.judgement,
                age: newest.saturating_sub(id.0) as f64 / held,
            });
            signals.weight = judgement.priority.weight();
            signals.judgement = Some(judgement);
            memory.contents.set_signals(*id, signals);
            memory.curator.update(*id, judgement.priority);
            memory.curator.note_junk(*id, judgement.junk);
        }
        Ok(())
    }

    /// Forgets what the teacher said of every sample: another network is to learn.
    pub fn forget_scores(&self) {
        self.store.memory.lock().contents.forget_scores();
    }

    /// Takes over what the teacher says of samples; those that are gone are passed over. In RAM now, durable at the next
    /// checkpoint.
    pub fn score(&self, scores: &[(SampleId, Score)]) {
        let mut memory = self.store.memory.lock();
        for (id, score) in scores {
            memory.contents.set_score(*id, *score);
        }
    }
}
