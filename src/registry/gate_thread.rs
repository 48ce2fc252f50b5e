//! The thread `gate`: judges the candidates of every stream, one after the other, and publishes what is accepted.
//! Invariants: at most one candidate of a stream waits, the newest; whatever happens to a candidate is recorded among the
//! stream's verdicts; a panic costs one candidate, never the thread or the generation that is served.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tch::Device;
use tracing::{error, info, warn};

use super::{Provenance, Published, Registry, RegistryError, Staged, VerdictRecord, Weights};
use crate::clock::Clock;
use crate::config::PublicationConfig;
use crate::gate::{Gate, GateError, Hearing, Incumbent, Network, SHARES, Submission, Verdict};
use crate::ids::{SampleId, StreamName};
use crate::model::text::Tokenizer;
use crate::model::{Decoders, weights};
use crate::replay::ReplayBuffer;

/// How much the thread yields to others (0: not at all, 19: most): serving and learning go first.
const NICENESS: i32 = 15;

/// Candidates in a row that are put off because their stream has just changed.
const PUT_OFF_MAX: usize = 2;

/// A stream whose candidates are judged.
pub struct GateStream {
    /// Its name.
    pub name: StreamName,
    /// Where its generations go.
    pub registry: Arc<Registry>,
    /// Where its exam is.
    pub replay: Arc<ReplayBuffer>,
    /// By which numbers it is judged.
    pub config: PublicationConfig,
    /// Samples and their classes, as users say now.
    pub labelled: Box<dyn Fn() -> Vec<(SampleId, u32)> + Send>,
}

/// What the gate has done for a stream since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct GateCounters {
    /// Candidates handed in.
    pub candidates: u64,
    /// Candidates replaced by a newer one before they were judged.
    pub replaced: u64,
    /// Candidates accepted and published.
    pub published: u64,
    /// Candidates rejected.
    pub rejected: u64,
    /// Candidates on which the judgement or the publication failed.
    pub failed: u64,
    /// Of those, by a panic.
    pub panics: u64,
    /// Whether one is being judged now.
    pub judging: bool,
}

/// Called on the gate's thread with each verdict, and with the generation that the candidate became, if it did.
pub type OnVerdict = Arc<dyn Fn(&StreamName, &VerdictRecord, Option<&Published>) + Send + Sync>;

/// The running thread.
pub struct GateThread {
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<()>>,
}

/// Where learners put candidates: a cheap handle.
#[derive(Clone)]
pub struct CandidateSlot(Arc<Mailbox>);

/// One waiting candidate per stream, and the counters.
struct Mailbox {
    slots: Mutex<BTreeMap<StreamName, Slot>>,
    filled: Condvar,
    stop: Arc<AtomicBool>,
}

/// Weights up for publication, as safetensors.
struct Candidate {
    provenance: Provenance,
    weights: Weights,
}

#[derive(Default)]
struct Slot {
    waiting: Option<Candidate>,
    counters: GateCounters,
}

/// A stream and its judge.
struct Court {
    stream: GateStream,
    gate: Gate,
    clock: Arc<dyn Clock>,
}

impl GateThread {
    /// Starts the thread. `device`: where candidates are examined.
    pub fn start(
        streams: Vec<GateStream>,
        device: Device,
        clock: Arc<dyn Clock>,
        on_verdict: OnVerdict,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let slots = streams
            .iter()
            .map(|stream| (stream.name.clone(), Slot::default()))
            .collect();
        let mailbox = Arc::new(Mailbox {
            slots: Mutex::new(slots),
            filled: Condvar::new(),
            stop: Arc::clone(&stop),
        });
        let courts = streams.into_iter().map(|stream| {
            let gate = Gate::new(
                stream.config.clone(),
                device,
                Arc::clone(&stream.replay),
                Arc::clone(&stop),
            );
            let clock = Arc::clone(&clock);
            (stream.name.clone(), Court { stream, gate, clock })
        });
        let mut courts: BTreeMap<_, _> = courts.collect();
        let thread = std::thread::Builder::new().name("gate".to_owned()).spawn({
            let mailbox = Arc::clone(&mailbox);
            move || {
                yield_to_others();
                while let Some((name, candidate)) = mailbox.take() {
                    let Some(court) = courts.get_mut(&name) else { continue };
                    let (outcome, record) = court.hear(candidate);
                    mailbox.count(&name, &outcome);
                    announce(&on_verdict, &name, &outcome, &record);
                }
            }
        })?;
        Ok(Self {
            mailbox,
            thread: Some(thread),
        })
    }

    /// Where learners put candidates.
    pub fn slot(&self) -> CandidateSlot {
        CandidateSlot(Arc::clone(&self.mailbox))
    }

    /// What was done for a stream since the start.
    pub fn counters(&self, stream: &StreamName) -> GateCounters {
        let slots = self.mailbox.slots.lock();
        slots.get(stream).map(|slot| slot.counters).unwrap_or_default()
    }

    /// Breaks off the exam that is being held and ends the thread. The learner's checkpoint keeps the weights.
    pub fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.mailbox.stop.store(true, Ordering::Relaxed);
        drop(self.mailbox.slots.lock()); // Whoever is about to wait has seen the flag or will be woken.
        self.mailbox.filled.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!(
                hint = "please report it with this log; restart the daemon",
                "the gate had died; candidates were no longer judged"
            );
        }
    }
}

impl Drop for GateThread {
    fn drop(&mut self) {
        self.join();
    }
}

impl CandidateSlot {
    /// Puts a candidate up for judgement, in place of an older one of its stream that still waits. Never blocks on the disk or
    /// a tensor. False when the gate knows no such stream.
    pub fn put(&self, provenance: Provenance, weights: Weights) -> bool {
        let mut slots = self.0.slots.lock();
        let Some(slot) = slots.get_mut(&provenance.stream) else {
            return false;
        };
        slot.counters.candidates += 1;
        let candidate = Candidate { provenance, weights };
        if let Some(older) = slot.waiting.replace(candidate) {
            slot.counters.replaced += 1;
            info!(stream = %older.provenance.stream, step = older.provenance.step, "replaced a waiting candidate");
        }
        self.0.filled.notify_one();
        true
    }
}

impl Mailbox {
    /// Waits for a candidate of any stream; none when the thread is to end. Streams take turns by what they were served.
    fn take(&self) -> Option<(StreamName, Candidate)> {
        let mut slots = self.slots.lock();
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            let waiting = slots.iter_mut().filter(|(_, slot)| slot.waiting.is_some());
            let next = waiting.min_by_key(|(_, slot)| slot.counters.judged());
            if let Some((name, slot)) = next
                && let Some(candidate) = slot.waiting.take()
            {
                slot.counters.judging = true;
                return Some((name.clone(), candidate));
            }
            self.filled.wait(&mut slots);
        }
    }

    fn count(&self, name: &StreamName, outcome: &Outcome) {
        let mut slots = self.slots.lock();
        let Some(Slot { counters, .. }) = slots.get_mut(name) else {
            return;
        };
        counters.judging = false;
        match outcome {
            Outcome::Published(_) => counters.published += 1,
            Outcome::Rejected => counters.rejected += 1,
            Outcome::Failed => counters.failed += 1,
            Outcome::Panicked => {
                counters.failed += 1;
                counters.panics += 1;
            }
            Outcome::Stopped => {}
        }
    }
}

impl GateCounters {
    fn judged(&self) -> u64 {
        self.published + self.rejected + self.failed
    }
}

/// What became of a candidate.
enum Outcome {
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
    fn hear(&mut self, candidate: Candidate) -> (Outcome, VerdictRecord) {
        let started = Instant::now();
        let (stream, step) = (self.stream.name.clone(), candidate.provenance.step);
        let mut record = VerdictRecord {
            at: String::new(),
            step,
            generation: None,
            reason: String::new(),
            seconds: 0.0,
            exam: None,
            put_off: false,
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
        if let (Some(steps), Some(published)) = (provenance.steps_since_shift, &published)
            && self.is_put_off(steps)
        {
            record.put_off = true;
            record.reason = format!(
                "put off: the stream changed {steps} steps ago; until {} steps after it generation {} stays",
                self.rest_steps(),
                published.generation
            );
            return Ok(None);
        }
        let best = registry.best().as_ref().map(incumbent).transpose()?;
        let mut hearing = Hearing {
            trial: self.trial(),
            labelled: (self.stream.labelled)(),
            ..Hearing::default()
        };
        let whole = submission(&registry, provenance.clone(), &weights)?;
        drop(weights); // From here on only what was on the disk counts.
        let (staged, submitted) = whole;
        let verdict = self
            .gate
            .judge(&submitted, published.as_ref(), best.as_ref(), &hearing)?;
        record.reason = verdict.reason().to_owned();
        record.exam = Some(verdict.report().clone());
        let rejected = match verdict {
            Verdict::Accepted(accepted) => return Ok(Some(registry.publish(staged, accepted)?)),
            Verdict::Rejected(rejected) => rejected,
        };
        drop(staged);
        let comparable = published
            .as_ref()
            .filter(|published| is_comparable(&submitted, published));
        if let Some(published) = comparable.filter(|_| rejected.is_mixable()) {
            for share in SHARES.into_iter().filter(|share| *share < 1.0) {
                hearing.share = share;
                let mixed = mixture(&submitted, published, share)?;
                let (staged, mixed) = submission(&registry, provenance.clone(), &mixed)?;
                let verdict = self.gate.judge(&mixed, Some(published), best.as_ref(), &hearing)?;
                if let Verdict::Accepted(accepted) = verdict {
                    record.reason = accepted.reason().to_owned();
                    record.exam = Some(accepted.report().clone());
                    return Ok(Some(registry.publish(staged, accepted)?));
                }
            }
            record.reason += &format!("; nor did a mixture with generation {} pass", published.generation);
        }
        if let Some(best) = rejected.fall_back() {
            registry.roll_back(Some(best))?;
            record.fell_back_to = Some(best);
            record.reason +=
                &format!("; the published generation was found to be worse than {best}, which answers again");
            warn!(stream = %self.stream.name, generation = %best,
                hint = "none: look at both with curiod models show; curiod models pin keeps one of them whatever comes",
                "rolled back to the best generation: the published one is worse on what has arrived since");
        }
        Ok(None)
    }

    /// Which candidate this is since the last publication, from 1, as far as verdicts are kept.
    fn trial(&self) -> u64 {
        let verdicts = self.stream.registry.verdicts();
        let since = verdicts.iter().rev().take_while(|verdict| verdict.generation.is_none());
        1 + since.filter(|verdict| verdict.exam.is_some()).count() as u64
    }

    /// Whether a candidate is too early after a change of its stream. Never more than [`PUT_OFF_MAX`] in a row are: a stream that
    /// changes all the time is published too.
    fn is_put_off(&self, steps_since_shift: u64) -> bool {
        let verdicts = self.stream.registry.verdicts();
        let in_a_row = verdicts.iter().rev().take_while(|verdict| verdict.put_off).count();
        steps_since_shift < self.rest_steps() && in_a_row < PUT_OFF_MAX
    }

    /// Steps after a change of the stream before which nothing is published.
    fn rest_steps(&self) -> u64 {
        self.stream.config.candidate_steps / 2
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

/// Tells of a verdict. A listener's panic is its own affair.
fn announce(on_verdict: &OnVerdict, name: &StreamName, outcome: &Outcome, record: &VerdictRecord) {
    let published = match outcome {
        Outcome::Stopped => return,
        Outcome::Published(published) => Some(published),
        Outcome::Rejected | Outcome::Failed | Outcome::Panicked => None,
    };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| on_verdict(name, record, published))) {
        let why = panic_text(panic.as_ref());
        error!(stream = %name, step = record.step, why,
            hint = "please report it with this log; the verdict holds",
            "a listener panicked on a verdict");
    }
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

/// The first line of what a panic said: libtorch's errors go on with a stack.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    text.lines().next().unwrap_or_default().to_owned()
}

/// Lowers this thread's priority and gives its operations one thread each.
fn yield_to_others() {
    crate::torch::set_threads(1);
    // On Linux priorities belong to threads: "this process" is the calling thread.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        warn!(%error,
            hint = "none: only speed suffers; allow setpriority to have it",
            "failed to lower the gate's priority");
    }
}

#[cfg(test)]
mod tests;
