//! The streams that run, and the gate that judges for all of them.
//! Invariant: the gate knows exactly the streams of the roster.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::{error, info};

use super::stream::{Common, Stream, StreamError};
use crate::config::{Config, StreamConfig};
use crate::registry::{GateThread, OnVerdict};
use crate::serve::{Event, Streams};
use crate::status::{Status, StreamStatus};

/// The running streams.
pub(super) struct Roster {
    common: Common,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    streams: Vec<Stream>,
    gate: Option<GateThread>,
}

impl Roster {
    /// Without streams yet.
    pub(super) fn new(common: Common) -> Self {
        Self {
            common,
            running: Mutex::default(),
        }
    }

    /// Starts every stream; on the first that can not be started, stops those that were, and names it.
    pub(super) fn start(&self, config: Config) -> Result<(), (String, StreamError)> {
        let mut streams = Vec::new();
        for stream in config.streams {
            let name = stream.name.to_string();
            match Stream::start(stream, &self.common) {
                Ok(stream) => streams.push(stream),
                Err(error) => {
                    end(streams);
                    return Err((name, error));
                }
            }
        }
        let mut running = self.running.lock();
        running.streams = streams;
        self.seat_gate(&mut running);
        running.streams.iter().for_each(Stream::offer_again);
        Ok(())
    }

    /// Makes the running streams those of a new configuration: stops what is gone or changed, starts what is new or
    /// changed, leaves the rest alone. `show` is given the handles of those that answer queries, before any is stopped
    /// and at the end. Returns the streams that could not be started; None where there was nothing to change.
    pub(super) fn change(
        &self,
        wanted: Vec<StreamConfig>,
        show: impl Fn(Streams),
    ) -> Option<Vec<(String, StreamError)>> {
        let mut running = self.running.lock();
        let unchanged = |stream: &Stream| wanted.contains(&stream.config);
        if running.streams.len() == wanted.len() && running.streams.iter().all(unchanged) {
            return None;
        }
        let (kept, ended): (Vec<_>, Vec<_>) = std::mem::take(&mut running.streams)
            .into_iter()
            .partition(|stream| wanted.contains(&stream.config));
        running.streams = kept;
        show(handles(&running.streams));
        if let Some(gate) = running.gate.take() {
            self.common.candidates.store(None);
            gate.stop();
        }
        for stream in &ended {
            info!(stream = %stream.config.name, "stopping a stream that the configuration changed or dropped");
        }
        end(ended);
        let mut failed = Vec::new();
        for stream in wanted {
            if running.streams.iter().any(|kept| kept.config == stream) {
                continue;
            }
            let name = stream.name.to_string();
            match Stream::start(stream, &self.common) {
                Ok(stream) => running.streams.push(stream),
                Err(error) => failed.push((name, error)),
            }
        }
        self.seat_gate(&mut running);
        // The gate that went took with it what waited.
        running.streams.iter().for_each(Stream::offer_again);
        show(handles(&running.streams));
        Some(failed)
    }

    /// What the server needs of each stream.
    pub(super) fn handles(&self) -> Streams {
        handles(&self.running.lock().streams)
    }

    /// Stops everything, in the order of the flow.
    pub(super) fn stop(&self) {
        let mut running = self.running.lock();
        let streams = std::mem::take(&mut running.streams);
        streams.iter().for_each(Stream::ask_to_stop);
        self.common.candidates.store(None);
        if let Some(gate) = running.gate.take() {
            gate.stop();
        }
        end(streams);
    }

    /// The daemon at a glance.
    pub(super) fn status(&self, uptime: Duration) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: uptime.as_secs_f64(),
            streams: self.streams(),
        }
    }

    /// Each stream at a glance.
    pub(super) fn streams(&self) -> Vec<StreamStatus> {
        let running = self.running.lock();
        let counters = |stream: &Stream| {
            running
                .gate
                .as_ref()
                .map(|gate| gate.counters(&stream.config.name))
                .unwrap_or_default()
        };
        running
            .streams
            .iter()
            .map(|stream| stream.status(counters(stream)))
            .collect()
    }

    /// The daemon in one line, for `systemctl status`.
    pub(super) fn sentence(&self) -> String {
        let streams = self.streams();
        let told = streams.iter().map(|stream| {
            let generation = stream
                .generation
                .map_or("none yet".to_owned(), |generation| generation.to_string());
            format!(
                "{}: {}, {} samples, step {}, generation {generation}",
                stream.name, stream.state, stream.samples, stream.step
            )
        });
        told.collect::<Vec<_>>().join("; ")
    }

    /// Does something with each running stream.
    pub(super) fn each(&self, mut look: impl FnMut(&Stream)) {
        self.running.lock().streams.iter().for_each(&mut look);
    }

    fn seat_gate(&self, running: &mut Running) {
        let serving: std::collections::BTreeMap<_, _> = running
            .streams
            .iter()
            .map(|stream| (stream.config.name.clone(), Arc::clone(&stream.handle.serving)))
            .collect();
        let events = self.common.events.clone();
        let on_verdict: OnVerdict = Arc::new(move |stream, verdict, published| {
            // Nobody follows: nobody misses it.
            let _ = events.send(Event::Verdict {
                stream: stream.clone(),
                accepted: published.is_some(),
                step: verdict.step,
                verdict: verdict.reason.clone(),
            });
            if let Some(serving) = serving.get(stream) {
                serving.follow_registry();
            }
        });
        let courts = running.streams.iter().map(Stream::court).collect();
        match GateThread::start(courts, self.common.device, Arc::clone(&self.common.clock), on_verdict) {
            Ok(gate) => {
                self.common.candidates.store(Some(Arc::new(gate.slot())));
                running.gate = Some(gate);
            }
            Err(error) => {
                error!(%error,
                    hint = "raise the limit of threads (ulimit -u, TasksMax= of the unit), then restart",
                    "failed to start the gate; nothing is published until the daemon is restarted")
            }
        }
    }
}

fn handles(streams: &[Stream]) -> Streams {
    streams
        .iter()
        .map(|stream| (stream.config.name.clone(), Arc::clone(&stream.handle)))
        .collect()
}

/// Ends streams side by side: each waits for its own step and its own disk.
fn end(streams: Vec<Stream>) {
    std::thread::scope(|scope| {
        for stream in streams {
            scope.spawn(move || stream.stop());
        }
    });
}
