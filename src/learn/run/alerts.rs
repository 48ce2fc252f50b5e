//! What a step said of its samples: their priorities, and what somebody should look at.
//! Invariant: of one source an outlier is told once, as long as it is among the last [`SOURCES_MAX`] that were told.

use tracing::warn;

use super::Loop;
use crate::curiosity::{Alert, Scored};
use crate::ids::SourceHash;
use crate::learn::LearnError;
use crate::learn::thread::Candidate;
use crate::replay::{Evidence, SampleInfo};

/// Sources whose outliers were told that are remembered. Full: the one told first may be told again.
const SOURCES_MAX: usize = 256;

impl<Deliver: Fn(Candidate)> Loop<Deliver> {
    /// What the teacher and the step said of samples becomes their priorities.
    pub(super) fn take_in(&mut self, scored: &[Scored], evidence: &[Evidence]) -> Result<(), LearnError> {
        let alerts = self.cursors.curiosity.observe(scored);
        let scores: Vec<_> = scored.iter().map(|scored| (scored.id, scored.score)).collect();
        self.replay.score(&scores);
        let curiosity = &mut self.cursors.curiosity;
        self.replay.report(evidence, |known| curiosity.judge(known))?;
        for alert in alerts {
            self.alert(&alert);
        }
        Ok(())
    }

    fn alert(&mut self, alert: &Alert) {
        let (Alert::Drift { sample, .. } | Alert::Outlier { sample, .. }) = alert;
        // One that was evicted meanwhile has no path any more; the alert stays true.
        let info = self.replay.info(*sample);
        let (stream, path) = (&self.setup.stream, info.as_ref().map(|info| info.path.as_str()));
        match alert {
            Alert::Drift { signal, .. } => {
                warn!(%stream, sample = sample.0, path, signal = signal.as_str(),
                    hint = "look at what arrives now (curiod sample ID, the dashboard): a camera moved, a sensor broke, or a new season; the learner follows by itself",
                    "the stream has changed: {alert}");
                self.shared.state.lock().drift = Some(alert.to_string());
                self.shifted_at = Some(self.learner.steps());
            }
            Alert::Outlier { .. } => {
                if let Some(info) = &info
                    && !first_time(&mut self.told_sources, info.source)
                {
                    return;
                }
                warn!(%stream, sample = sample.0, path,
                    hint = "look at it (curiod sample ID): it may be damaged, or the first of something new",
                    "an outlier arrived: {alert}");
            }
        }
        self.shared.tell_alert(alert, info.as_ref());
    }
}

fn first_time(told: &mut std::collections::VecDeque<SourceHash>, source: SourceHash) -> bool {
    if told.contains(&source) {
        return false;
    }
    told.push_back(source);
    if told.len() > SOURCES_MAX {
        told.pop_front();
    }
    true
}

impl crate::learn::thread::Shared {
    fn tell_alert(&self, alert: &Alert, info: Option<&SampleInfo>) {
        if let Some(tell) = &*self.on_alert.lock() {
            tell(alert, info);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_told_once_and_what_is_remembered_is_bounded() {
        let mut told = std::collections::VecDeque::new();
        let of = |number: usize| {
            SourceHash(
                [number as u8, (number >> 8) as u8]
                    .repeat(16)
                    .try_into()
                    .unwrap_or([0; 32]),
            )
        };
        assert!((0..SOURCES_MAX).all(|number| first_time(&mut told, of(number))));
        assert!(!first_time(&mut told, of(0)));
        assert!(first_time(&mut told, of(SOURCES_MAX)) && told.len() == SOURCES_MAX);
        assert!(first_time(&mut told, of(0)));
    }
}
