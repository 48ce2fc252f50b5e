//! One stream: its buffer, its ingest, its learner, what it serves. Started together, stopped in the order of the flow.
//! Invariant: a stream writes only below its own folders of the state directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tch::Device;
use tokio::sync::broadcast;
use tracing::{error, info_span, warn};

use crate::clock::Clock;
use crate::config::{StreamConfig, ThreadConfig};
use crate::curiosity::Alert;
use crate::ids::StreamName;
use crate::ingest::{Ingest, IngestError, IngestEvent, IngestSetup};
use crate::labels::{LabelError, LabelStore};
use crate::learn::{Activity, Candidate, DeviceTurns, LearnError, LearnSetup, LearnerState, LearnerThread, OnAlert};
use crate::model::{EncoderSpec, ModelError};
use crate::registry::{CandidateSlot, GateCounters, GateStream, Provenance, Registry, RegistryError, Weights};
use crate::replay::{ReplayBuffer, ReplayError};
use crate::serve::{Event, PartFailures, ServingSetup, StreamHandle, StreamServing};
use crate::status::{InboxStatus, StreamStatus};

/// A stream that could not be started: why.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Its replay buffer could not be opened.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// Its inboxes could not be watched.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// Its learner could not be started.
    #[error(transparent)]
    Learn(#[from] LearnError),
    /// Its registry could not be opened.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Its labels could not be opened.
    #[error(transparent)]
    Labels(#[from] LabelError),
}

impl StreamError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        const DISK: &str = "free space on the disk, and check the owner and the mode of what it names";
        const THREADS: &str = "check the limits of this user (ulimit -u; TasksMax= of the unit)";
        match self {
            Self::Ingest(IngestError::Inbox { .. }) => {
                "create the folder, readable for this user, or correct `inbox` in the configuration"
            }
            Self::Ingest(IngestError::InboxIsOurs { .. }) => "choose another `inbox`, `done_dir` or `state_dir`",
            Self::Ingest(IngestError::Folder { .. })
            | Self::Learn(LearnError::Checkpoint { .. })
            | Self::Replay(ReplayError::Io { .. })
            | Self::Registry(RegistryError::Durable(_)) => DISK,
            Self::Ingest(IngestError::Thread { .. }) | Self::Learn(LearnError::Thread { .. }) => THREADS,
            Self::Learn(LearnError::Model(ModelError::Pretrained { .. })) => {
                "give `learning.init` a folder of weights for `learning.encoder`, or leave it out"
            }
            Self::Replay(ReplayError::Format { .. }) => {
                "run the curiod that wrote it; if none did, move it out of the stream's folder, or restore a backup"
            }
            Self::Labels(_) => {
                "check the owner, the mode and the free space; a log that another version wrote is used by it alone, or moved away"
            }
            Self::Replay(ReplayError::InUse { .. }) => "end that process; only one may use a state directory",
            Self::Registry(RegistryError::Newer { .. }) => "run the curiod that wrote it, or move it away",
            Self::Replay(_) | Self::Registry(_) | Self::Learn(_) => {
                "restart; if it comes again, look at the buffer with curiod replay verify, and restore a backup"
            }
        }
    }
}

/// What all streams of a daemon share.
pub(super) struct Common {
    pub(super) state_dir: PathBuf,
    pub(super) threads: ThreadConfig,
    pub(super) device: Device,
    /// Whether published networks run in bfloat16.
    pub(super) serve_bf16: bool,
    /// Samples of a stream up to which a search compares with all of them.
    pub(super) exact_search_samples_max: usize,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) turns: Arc<DeviceTurns>,
    pub(super) events: broadcast::Sender<Event>,
    /// Where learners put candidates; replaced when the gate is started anew.
    pub(super) candidates: Arc<ArcSwapOption<CandidateSlot>>,
}

/// A running stream.
pub(super) struct Stream {
    pub(super) config: StreamConfig,
    pub(super) handle: Arc<StreamHandle>,
    ingest: Ingest,
    learner: LearnerThread,
}

/// Where a stream's replay buffer is.
pub fn replay_dir(state_dir: &Path, name: &StreamName) -> PathBuf {
    stream_dir(state_dir, name).join("replay")
}

fn stream_dir(state_dir: &Path, name: &StreamName) -> PathBuf {
    state_dir.join("streams").join(name.as_str())
}

impl Stream {
    /// Opens what the stream knows and starts its threads.
    pub(super) fn start(config: StreamConfig, common: &Common) -> Result<Self, StreamError> {
        let (name, dir) = (config.name.clone(), stream_dir(&common.state_dir, &config.name));
        let spec = EncoderSpec::resolve(config.modality, &config.learning, common.device).map_err(LearnError::from)?;
        let replay = {
            // The buffer and the registry do not know whose they are; what they find is logged as the stream's.
            let _of_the_stream = info_span!("open", stream = %name).entered();
            ReplayBuffer::open(&dir.join("replay"), &config.replay, config.learning.seed)?.0
        };
        let replay = Arc::new(replay);
        let registry = Registry::open(
            &common.state_dir.join("registry").join(name.as_str()),
            config.publication.generations_kept,
            Arc::clone(&common.clock),
        )?;
        let registry = Arc::new(registry);
        let labels = Arc::new(LabelStore::open(&dir.join("labels"))?);
        let serving = Arc::new(StreamServing::start(ServingSetup {
            stream: name.clone(),
            replay: Arc::clone(&replay),
            registry: Arc::clone(&registry),
            labels: Arc::clone(&labels),
            clock: Arc::clone(&common.clock),
            device: common.device,
            threads: common.threads.serve(),
            // A GPU does one pass after the other.
            lanes: if common.device.is_cuda() {
                1
            } else {
                common.threads.lanes()
            },
            bf16: common.serve_bf16,
            exact_rows_max: common.exact_search_samples_max,
            on_serving: {
                let (events, stream) = (common.events.clone(), name.clone());
                Box::new(move |published| {
                    // Nobody follows: nobody misses it.
                    let _ = events.send(Event::Serving {
                        stream: stream.clone(),
                        generation: published.generation,
                        space: published.space.clone(),
                    });
                })
            },
        }));
        let learner = LearnerThread::start(
            LearnSetup {
                stream: name.clone(),
                config: config.learning.clone(),
                curiosity: config.curiosity.clone(),
                publication: config.publication.clone(),
                sampler: config.replay.sampler,
                spec,
                tokenizer: None,
                scales: None,
                device: common.device,
                learn_threads: common.threads.learn(),
                augment_threads: common.threads.augment(),
                disk_reserve_bytes: config.ingest.disk_reserve_bytes,
                checkpoints: dir.join("checkpoints"),
                published_step: registry
                    .latest()
                    .map_or(0, |published| published.manifest.provenance.step),
            },
            Arc::clone(&replay),
            Arc::clone(&common.turns),
            deliver(Arc::clone(&common.candidates)),
        )?;
        learner.on_alert(tell_alert(name.clone(), common.events.clone()));
        let started = Ingest::start(
            IngestSetup {
                stream: name.clone(),
                inboxes: config.inbox.clone(),
                state_dir: dir,
                config: config.ingest.clone(),
                cutting: config.cutting(spec.image_px()),
                decode_threads: common.threads.decode(),
            },
            Arc::clone(&replay),
            Arc::clone(&common.clock),
            tell(name, common.events.clone()),
        );
        let ingest = match started {
            Ok(ingest) => ingest,
            Err(error) => {
                learner.join();
                serving.stop();
                return Err(error.into());
            }
        };
        let failures = {
            let (ingest, learner, replay) = (ingest.failure(), learner.failure(), Arc::clone(&replay));
            move || PartFailures {
                ingest: ingest(),
                learner: learner(),
                replay: replay.failure(),
            }
        };
        let handle = StreamHandle {
            failures: Box::new(failures),
            labels,
            modality: config.modality,
            replay,
            registry,
            serving,
            quarantine: ingest.quarantine(),
            cutting: config.cutting(spec.image_px()),
        };
        Ok(Self {
            config,
            handle: Arc::new(handle),
            ingest,
            learner,
        })
    }

    /// What the gate must know of it.
    pub(super) fn court(&self) -> GateStream {
        GateStream {
            name: self.config.name.clone(),
            registry: Arc::clone(&self.handle.registry),
            replay: Arc::clone(&self.handle.replay),
            config: self.config.publication.clone(),
            labelled: {
                let serving = Arc::clone(&self.handle.serving);
                Box::new(move || serving.labelled())
            },
        }
    }

    /// The gate was seated anew: what was offered to the one before may be lost.
    pub(super) fn offer_again(&self) {
        self.learner.offer_again();
    }

    /// Asks everything that works on it to end, without waiting.
    pub(super) fn ask_to_stop(&self) {
        self.ingest.pause(true);
        self.learner.stop();
    }

    /// Ends it: nothing more is taken, what is decoded is made durable, the step is finished, a checkpoint written.
    pub(super) fn stop(self) {
        self.ask_to_stop();
        self.ingest.stop();
        self.learner.join();
        self.handle.serving.stop();
        // A request that still holds the handle must not write beside the stream that is started next.
        self.handle.labels.close();
        if let Err(error) = self.handle.replay.checkpoint() {
            error!(stream = %self.config.name, %error,
                hint = "look at the disk: its space, owner and health",
                "failed to checkpoint the catalogue; the next start replays the segments");
        }
    }

    /// The ingest's thread that has been at one piece of work for longer than it may, if there is one.
    pub(super) fn stuck_ingest(&self, after: Duration) -> Option<String> {
        self.ingest.stuck(after)
    }

    /// The learner in numbers.
    pub(super) fn learner(&self) -> LearnerState {
        self.learner.state()
    }

    /// The stream at a glance.
    pub(super) fn status(&self, gate: GateCounters) -> StreamStatus {
        let (counts, ingest) = (self.handle.replay.counts(), self.ingest.counters());
        let (learner, serving) = (self.learner.state(), self.handle.serving.state());
        let learner_failure = match &learner.activity {
            Activity::Failed(failure) => Some(failure.clone()),
            _ => None,
        };
        let state = match (&ingest.failed, &learner.activity) {
            (Some(failure), _) | (None, Activity::Failed(failure)) => format!("failed: {failure}"),
            (None, Activity::Learning) => "learning".to_owned(),
            (None, Activity::Waiting) => "waiting".to_owned(),
            (None, Activity::Bored) => "bored".to_owned(),
            (None, Activity::Paused) => "paused".to_owned(),
        };
        StreamStatus {
            name: self.config.name.clone(),
            modality: self.config.modality,
            state,
            sources_accepted: counts.sources_accepted,
            sources_duplicate: counts.sources_duplicate,
            sources_quarantined: counts.sources_quarantined,
            sources_queued: ingest.queued,
            ingest_paused_by: ingest.paused.as_ref().map(|pause| pause.by.to_owned()),
            ingest_paused: ingest.paused.map(|pause| pause.why),
            ingest_failure: ingest.failed,
            inboxes: ingest
                .inboxes
                .into_iter()
                .map(|(path, present)| InboxStatus {
                    path: path.to_string_lossy().into_owned(),
                    present,
                })
                .collect(),
            samples: counts.samples,
            exam_samples: counts.exam_samples,
            newest_sample: self.handle.replay.newest().0,
            near_duplicates: counts.near_duplicates,
            replay_bytes: counts.bytes,
            records_quarantined: counts.quarantined_records,
            replay_disk_bytes: counts.disk_bytes,
            samples_drawn: counts.drawn,
            step: learner.step,
            steps_per_s: learner.steps_per_s,
            duty_cycle: learner.duty_cycle,
            failed_steps: learner.failed_steps,
            checkpoint_failures: learner.checkpoint_failures,
            checkpoint_failure: learner.checkpoint_failure,
            checkpoints_paused: learner.checkpoints_paused,
            learner_failure,
            replay_failure: self.handle.replay.failure(),
            loss: learner.loss,
            rank: learner.health.map(|health| health.rank),
            surprise: learner.surprise,
            progress: learner.progress,
            effort: learner.effort,
            forgotten: learner.forgotten,
            alignment: learner.alignment,
            dormant: learner.health.map(|health| health.dormant),
            collapses: learner.collapses,
            shrinks: learner.shrinks,
            scores: learner.curiosity.scores,
            drift_alerts: learner.curiosity.drifts,
            drift: learner.drift,
            outliers: learner.curiosity.outliers,
            candidates_accepted: gate.published,
            candidates_rejected: gate.rejected,
            verdict: self.handle.registry.verdicts().pop().map(|verdict| verdict.reason),
            first_candidate_steps: self.config.publication.first_candidate_steps,
            generation: serving.generation,
            space: serving.space,
            index_covered: serving.index_covered,
            index_total: serving.index_total,
            index_bytes: serving.index_bytes,
            index_recall: serving.index_recall,
            encode_queue: serving.encode_queue,
            serving_failure: serving.failure,
        }
    }
}

/// Puts candidates before the gate that sits now.
fn deliver(gate: Arc<ArcSwapOption<CandidateSlot>>) -> impl Fn(Candidate) + Send {
    move |candidate| {
        let (stream, step) = (candidate.stream.clone(), candidate.step);
        let provenance = Provenance {
            stream: candidate.stream,
            step,
            watermark: candidate.watermark,
            loss: candidate.loss.filter(|loss| loss.is_finite()),
            encoder: candidate.spec,
        };
        let weights = Weights {
            student: candidate.student,
            teacher: candidate.teacher,
            decoders: candidate.decoders,
            tokenizer: candidate.tokenizer,
        };
        let taken = gate.load().as_ref().is_some_and(|slot| slot.put(provenance, weights));
        if !taken {
            warn!(%stream, step,
                hint = "none in a reload; if it comes again, restart",
                "no gate sits; a candidate was dropped, the next one follows");
        }
    }
}

/// Tells what the learner noticed to whoever follows the events.
fn tell_alert(stream: StreamName, events: broadcast::Sender<Event>) -> OnAlert {
    Box::new(move |alert, info| {
        let (stream, path) = (stream.clone(), info.map(|info| info.path.clone()));
        // Nobody follows: nobody misses it.
        let _ = events.send(match *alert {
            Alert::Drift { signal, change, sample } => Event::Drift {
                stream,
                signal,
                before: change.before,
                since: change.since,
                sample,
                path,
                detail: alert.to_string(),
            },
            Alert::Outlier { sample, rank, novelty } => Event::Outlier {
                stream,
                sample,
                rank,
                novelty,
                path,
            },
        });
    })
}

/// Tells what ingest did to the log and to whoever follows the events.
fn tell(stream: StreamName, events: broadcast::Sender<Event>) -> Arc<dyn Fn(IngestEvent) + Send + Sync> {
    Arc::new(move |event| {
        let stream = stream.clone();
        let event = match event {
            IngestEvent::Accepted { path, samples, .. } => Event::Accepted { stream, path, samples },
            IngestEvent::Duplicate { path, .. } => Event::Duplicate { stream, path },
            IngestEvent::Quarantined(entry) => Event::Quarantined {
                stream,
                path: entry.path,
                reason: entry.reason,
                detail: entry.detail,
            },
            IngestEvent::Paused { reason } => Event::IngestPaused { stream, reason },
            IngestEvent::Resumed => Event::IngestResumed { stream },
            IngestEvent::InboxGone { inbox } => Event::InboxGone {
                stream,
                inbox: inbox.to_string_lossy().into_owned(),
            },
            IngestEvent::InboxBack { inbox } => Event::InboxBack {
                stream,
                inbox: inbox.to_string_lossy().into_owned(),
            },
        };
        // Nobody follows: nobody misses it.
        let _ = events.send(event);
    })
}
