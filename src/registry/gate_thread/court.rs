//! What is done with a candidate: it is judged whole and then mixed with the published weights, and published or not; the best
//! generation answers again where the published one is found worse.
//! Invariant: whatever happens to a candidate is recorded, and what is published was on the disk when it was judged.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tracing::{error, info, warn};

use super::{Candidate, GateStream, panic_text};
use crate::clock::Clock;
use crate::gate::{Accepted, Gate, GateError, Hearing, Incumbent, Network, SHARES, Submission, Verdict};
use crate::ids::Generation;
use crate::model::text::Tokenizer;
use crate::model::{Decoders, weights};
use crate::registry::{Provenance, Published, Registry, RegistryError, Staged, VerdictRecord, Weights};

/// A stream and its judge.
pub(super) struct Court {
    pub(super) stream: GateStream,
    pub(super) gate: Gate,
    pub(super) clock: Arc<dyn Clock>,
}

/// What became of a candidate.
pub(super) enum Outcome {
    Published(Published),
    Rejected,
    Failed,
    Panicked,
    /// The daemon is stopping; nothing was decided.
    Stopped,
}

/// Why a candidate was neither published nor rejected.
#[derive(Debug, thiserror::Error)]
enum HearingError {
    #[error(transparent)]
    Gate(#[from] GateError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Court {
    /// Judges a candidate and publishes it when it is accepted; never panics.
    pub(super) fn hear(&mut self, candidate: Candidate) -> (Outcome, VerdictRecord) {
        let started = Instant::now();
        let (stream, step) = (self.stream.name.clone(), candidate.provenance.step);
        let mut record = VerdictRecord {
            at: String::new(),
            step,
            generation: None,
            reason: String::new(),
            seconds: 0.0,
            exam: None,
            fell_back_to: None,
        };
        // What is torn by a panic is thrown away: the staged weights by their drop, the judge below.
        let heard = catch_unwind(AssertUnwindSafe(|| self.judge_and_publish(candidate, &mut record)));
        let outcome = match heard {
            Ok(Ok(Some(published))) => {
                record.generation = Some(published.generation);
                Outcome::Published(published)
            }
            Ok(Ok(None)) => {
                info!(%stream, step, reason = record.reason, "rejected a candidate");
                Outcome::Rejected
            }
            Ok(Err(HearingError::Gate(GateError::Stopped))) => return (Outcome::Stopped, record),
            Ok(Err(why)) => {
                error!(%stream, step, %why,
                    hint = "look at the disk (space, owner) and the memory; the next candidate follows by itself",
                    "failed to judge or publish a candidate; the old generation serves on");
                record.reason = format!("failed: {why}");
                Outcome::Failed
            }
            Err(panic) => {
                let why = panic_text(panic.as_ref());
                error!(%stream, step, why,
                    hint = "please report it with this log; the next candidate follows by itself",
                    "the gate panicked on a candidate; the old generation serves on");
                record.reason = format!("failed: the gate panicked: {why}");
                self.gate.forget();
                Outcome::Panicked
            }
        };
        record.at = self.clock.now().to_rfc3339();
        record.seconds = started.elapsed().as_secs_f64();
        if let Err(error) = self.stream.registry.record(record.clone()) {
            warn!(%stream, step, %error,
                hint = "look at the disk (space, owner); the verdict holds",
                "failed to keep a verdict");
        }
        (outcome, record)
    }

    fn judge_and_publish(
        &mut self,
        candidate: Candidate,
        record: &mut VerdictRecord,
    ) -> Result<Option<Published>, HearingError> {
        let registry = Arc::clone(&self.stream.registry);
        let Candidate { provenance, weights } = candidate;
        let published = registry.latest().as_ref().map(incumbent).transpose()?;
        let best = registry.best().as_ref().map(incumbent).transpose()?;
        let hearing = Hearing {
            trial: self.trial(),
            labelled: (self.stream.labelled)(),
            ..Hearing::default()
        };
        let (staged, whole) = submission(&registry, provenance.clone(), &weights)?;
        drop(weights); // From here on only what was on the disk counts.
        let verdict = self.gate.judge(&whole, published.as_ref(), best.as_ref(), &hearing)?;
        record.reason = verdict.reason().to_owned();
        record.exam = Some(verdict.report().clone());
        let rejected = match verdict {
            Verdict::Accepted(accepted) => return Ok(Some(registry.publish(staged, accepted)?)),
            Verdict::Rejected(rejected) => rejected,
        };
        drop(staged);
        if let Some(published) = published.filter(|published| rejected.is_mixable() && is_comparable(&whole, published))
        {
            let passed = self.judge_mixtures(&provenance, &whole, &published, best.as_ref(), hearing)?;
            if let Some((staged, accepted)) = passed {
                record.reason = accepted.reason().to_owned();
                record.exam = Some(accepted.report().clone());
                return Ok(Some(registry.publish(staged, accepted)?));
            }
            record.reason += &format!("; nor did a mixture with generation {} pass", published.generation);
        }
        // What somebody pinned answers whatever is found.
        if let Some(best) = rejected.fall_back().filter(|_| registry.pinned().is_none()) {
            self.fall_back(best, record)?;
        }
        Ok(None)
    }

    /// The mixture with the largest share of the candidate that passes, if any does.
    fn judge_mixtures(
        &mut self,
        provenance: &Provenance,
        whole: &Submission,
        published: &Incumbent,
        best: Option<&Incumbent>,
        mut hearing: Hearing,
    ) -> Result<Option<(Staged, Accepted)>, HearingError> {
        for share in SHARES.into_iter().filter(|share| *share < 1.0) {
            hearing.share = share;
            let mixed = mixture(whole, published, share)?;
            let (staged, mixed) = submission(&self.stream.registry, provenance.clone(), &mixed)?;
            let verdict = self.gate.judge(&mixed, Some(published), best, &hearing)?;
            if let Verdict::Accepted(accepted) = verdict {
                return Ok(Some((staged, accepted)));
            }
        }
        Ok(None)
    }

    /// Has the best generation answer again, since the published one was found to be worse.
    fn fall_back(&self, best: Generation, record: &mut VerdictRecord) -> Result<(), RegistryError> {
        self.stream.registry.roll_back(Some(best))?;
        record.fell_back_to = Some(best);
        record.reason += &format!("; the published generation was found to be worse than {best}, which answers again");
        warn!(stream = %self.stream.name, generation = %best,
            hint = "none: look at both with curiod models show; curiod models pin keeps one of them whatever comes",
            "rolled back to the best generation: the published one is worse on what has arrived since");
        Ok(())
    }

    /// Which candidate this is since the last publication, from 1, as far as verdicts are kept.
    fn trial(&self) -> u64 {
        let verdicts = self.stream.registry.verdicts();
        let since = verdicts.iter().rev().take_while(|verdict| verdict.generation.is_none());
        1 + since.filter(|verdict| verdict.exam.is_some()).count() as u64
    }
}

/// Weights on disk, and as they are read back from there for the gate.
fn submission(
    registry: &Registry,
    provenance: Provenance,
    weights: &Weights,
) -> Result<(Staged, Submission), HearingError> {
    let staged = registry.stage(provenance, weights)?;
    let submission = Submission {
        step: staged.provenance().step,
        encoder: staged.provenance().encoder,
        tokenizer: staged.tokenizer().cloned(),
        student: staged.weights(Network::Student)?,
        teacher: staged.weights(Network::Teacher)?,
        decoders: staged.decoders()?,
    };
    Ok((staged, submission))
}

/// Whether a number of the one means what it means in the other.
fn is_comparable(candidate: &Submission, published: &Incumbent) -> bool {
    let vocabulary = |tokenizer: &Option<Tokenizer>| tokenizer.as_ref().map(|tokenizer| tokenizer.json().to_vec());
    candidate.encoder == published.encoder
        && vocabulary(&candidate.tokenizer) == vocabulary(&published.tokenizer)
        && candidate.decoders.is_some() == published.decoder.is_some()
}

/// The weights on the way from the published model's to each of the candidate's networks.
fn mixture(candidate: &Submission, published: &Incumbent, share: f64) -> Result<Weights, GateError> {
    let mix = |own: &[u8]| weights::mix(&published.weights, own, share);
    let decoders = match (&candidate.decoders, &published.decoder) {
        (Some(own), Some(decoder)) => Some(Decoders {
            student: weights::mix(decoder, &own.student, share)?,
            teacher: weights::mix(decoder, &own.teacher, share)?,
        }),
        _ => None,
    };
    Ok(Weights {
        student: mix(&candidate.student)?,
        teacher: mix(&candidate.teacher)?,
        decoders,
        tokenizer: candidate.tokenizer.clone(),
    })
}

fn incumbent(published: &Published) -> Result<Incumbent, RegistryError> {
    Ok(Incumbent {
        generation: published.generation,
        step: published.manifest.provenance.step,
        encoder: published.manifest.provenance.encoder,
        tokenizer: published.tokenizer()?,
        weights: published.weights()?,
        decoder: published.decoder()?,
    })
}
