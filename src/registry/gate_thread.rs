//! The thread `gate`: judges the candidates of every stream, one after the other, and publishes what is accepted.
//! Invariants: at most one candidate of a stream waits, the newest; whatever happens to a candidate is recorded among the
//! stream's verdicts; a panic costs one candidate, never the thread or the generation that is served.

mod court;

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use tch::Device;
use tracing::{error, info};

use super::{Provenance, Published, Registry, VerdictRecord, Weights};
use crate::clock::Clock;
use crate::config::PublicationConfig;
use crate::gate::Gate;
use crate::ids::{SampleId, StreamName};
use crate::replay::ReplayBuffer;
use court::{Court, Outcome};

/// How much the thread yields to others (0: not at all, 19: most): serving and learning go first.
const NICENESS: i32 = 15;

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

/// Called with each verdict, and with the generation that the candidate became, if it did: on a thread of its own, which has the
/// daemon's priority, for a thread that a listener starts inherits it.
pub type OnVerdict = Arc<dyn Fn(&StreamName, &VerdictRecord, Option<&Published>) + Send + Sync>;

/// The running threads.
pub struct GateThread {
    mailbox: Arc<Mailbox>,
    /// The one that judges, and the one that tells.
    threads: Vec<JoinHandle<()>>,
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
        let (verdicts, heard) = crossbeam_channel::bounded::<(StreamName, Outcome, VerdictRecord)>(0);
        let (tell, told) = crossbeam_channel::bounded(0);
        let telling = std::thread::Builder::new().name("verdicts".to_owned()).spawn(move || {
            for (name, outcome, record) in heard {
                announce(&on_verdict, &name, &outcome, &record);
                // The judge waits for it.
                let _ = tell.send(());
            }
        })?;
        let judging = std::thread::Builder::new().name("gate".to_owned()).spawn({
            let mailbox = Arc::clone(&mailbox);
            move || {
                yield_to_others();
                while let Some((name, candidate)) = mailbox.take() {
                    let Some(court) = courts.get_mut(&name) else { continue };
                    let (outcome, record) = court.hear(candidate);
                    mailbox.count(&name, &outcome);
                    // Whoever tells outlives this thread.
                    if verdicts.send((name, outcome, record)).is_ok() {
                        let _ = told.recv();
                    }
                }
            }
        })?;
        Ok(Self {
            mailbox,
            threads: vec![judging, telling],
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

    /// Breaks off the exam that is being held and ends the threads. The learner's checkpoint keeps the weights.
    pub fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.mailbox.stop.store(true, Ordering::Relaxed);
        drop(self.mailbox.slots.lock()); // Whoever is about to wait has seen the flag or will be woken.
        self.mailbox.filled.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                error!(
                    hint = "please report it with this log; restart the daemon",
                    "the gate had died; candidates were no longer judged"
                );
            }
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
    crate::niceness::lower(NICENESS, "the gate");
}

#[cfg(test)]
mod tests;
