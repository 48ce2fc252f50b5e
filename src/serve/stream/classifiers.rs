//! The classifiers of a stream's generations: when they are fitted.
//! Invariant: a generation replaces another only with its classifiers, and none is fitted for one that is about to be replaced.

use std::sync::Arc;

use tracing::{error, warn};

use super::{Inner, StreamServing};
use crate::ids::{Generation, SampleId};
use crate::labels::{HeadKind, SetName};
use crate::limits::TUNED_SETS_MAX;
use crate::registry::Published;
use crate::serve::heads::{self, Fitted, Heads, Tuned};
use crate::serve::stream::Served;
use crate::serve::tuning::{self, Tuning};
use crate::tune::Stop;

impl StreamServing {
    /// The samples of the set with the most labels that the index holds, each with its class: what the gate checks candidates on.
    /// None where nothing answers yet. Reads the ledger.
    pub fn labelled(&self) -> Vec<(SampleId, u32)> {
        let setup = &self.inner.setup;
        let largest = setup.labels.sets().into_values().max_by_key(|set| set.labels().len());
        let (Some(served), Some(set)) = (self.current(), largest) else {
            return Vec::new();
        };
        match heads::held(&set, &setup.replay, &served.index) {
            Ok((held, _)) => held.iter().map(|labelled| (labelled.id, labelled.class)).collect(),
            Err(error) => {
                warn!(stream = %setup.stream, %error,
                    hint = "look at the disk; the gate judges without them",
                    "the labels' samples could not be looked up");
                Vec::new()
            }
        }
    }

    /// Fits a classifier of a set of labels for the generation that answers, and remembers to fit it for each that follows; a copy
    /// of the network, where one is asked for, is trained after that, on a thread of its own. None where no generation is
    /// searchable with its classifiers yet.
    pub(in crate::serve) fn fit_head(
        &self,
        set: &SetName,
        kind: HeadKind,
    ) -> Result<Option<(Published, Arc<Fitted>)>, heads::HeadError> {
        let inner = &self.inner;
        let labels = &inner.setup.labels;
        let (served, fitted) = {
            let _fitting = inner.fitting.lock();
            let Some(served) = self.current().filter(|served| served.is_searchable()) else {
                return Ok(None);
            };
            let Some(before) = served.heads.load_full() else {
                return Ok(None);
            };
            let finetuned = labels.heads().into_iter();
            let others = finetuned.filter(|(other, kind)| other != set && *kind == HeadKind::Finetuned);
            if kind == HeadKind::Finetuned && others.count() >= TUNED_SETS_MAX {
                return Err(heads::HeadError::TooManyCopies);
            }
            let fitted = heads::fit(&inner.setup, &served, set, &inner.stopping)?;
            let fitted = Arc::new(Fitted {
                tuning: (kind == HeadKind::Finetuned).then_some(Tuning::Training),
                ..fitted
            });
            labels.keep_head(set, kind)?;
            let mut after = Heads::clone(&before);
            after.insert(set.clone(), Ok(Arc::clone(&fitted)));
            served.heads.store(Some(Arc::new(after)));
            (served, fitted)
        };
        if kind == HeadKind::Finetuned {
            inner.begin_tuning(&served, set);
        }
        Ok(Some((served.published.clone(), fitted)))
    }
}

impl Inner {
    /// The index of a generation is complete. Its classifiers are fitted, on a thread of their own so that its encoder can go
    /// on, and then it answers; one that answers already is searchable at once.
    pub(super) fn covered(self: &Arc<Self>, generation: Generation) {
        let running = self.build.lock().running.clone();
        let Some(served) = running.filter(|running| running.published.generation == generation) else {
            return;
        };
        let answers = self.answers(&served);
        if answers {
            self.finish(generation);
        }
        // Asked under the lock, so that no classifier is asked for in between.
        if let Some(_fitting) = self.fitting.try_lock()
            && self.setup.labels.heads().is_empty()
        {
            served.heads.store(Some(Arc::default()));
            if !answers {
                self.finish(generation);
            }
            return;
        }
        let inner = Arc::clone(self);
        let fit = {
            let served = Arc::clone(&served);
            move || inner.fit_heads(&served, answers)
        };
        if let Err(error) = self.start_thread(generation, fit) {
            error!(stream = %self.setup.stream, %error,
                hint = "raise the limit of threads (ulimit -u, TasksMax= of the unit), then fit the classifiers again: curiod heads fit",
                "failed to start a thread that fits classifiers; the generation answers without them");
            served
                .heads
                .store(Some(Arc::new(heads::none_fitted(&self.setup.labels))));
            if !answers {
                self.finish(generation);
            }
        }
    }

    /// Fits the classifiers of a generation, and lets it answer. Copies are trained before, while another generation answers; those
    /// of one that answers already are trained last, for its classifiers can answer without them.
    fn fit_heads(self: &Arc<Self>, served: &Arc<Served>, answers: bool) {
        let mut tuned = Tuned::new();
        if !answers {
            for (set, kind) in self.setup.labels.heads() {
                if kind == HeadKind::Finetuned
                    && let Some(tuning) = self.tune(served, &set)
                {
                    tuned.insert(set, tuning);
                }
            }
        }
        let heads = {
            let _fitting = self.fitting.lock();
            let heads = Arc::new(heads::fit_all(&self.setup, served, tuned, &self.stopping));
            served.heads.store(Some(Arc::clone(&heads)));
            if !answers {
                self.finish(served.published.generation);
            }
            heads
        };
        for (set, fitted) in heads.iter() {
            if let Ok(fitted) = fitted {
                self.tune_answering(served, set, fitted);
            }
        }
    }

    /// Trains a copy for a set of the generation that answers, on a thread of its own.
    fn begin_tuning(self: &Arc<Self>, served: &Arc<Served>, set: &SetName) {
        let Some(fitted) = served.heads.load_full().and_then(|heads| heads.get(set)?.clone().ok()) else {
            return;
        };
        let inner = Arc::clone(self);
        let tune = {
            let (served, set, fitted) = (Arc::clone(served), set.clone(), Arc::clone(&fitted));
            move || inner.tune_answering(&served, &set, &fitted)
        };
        if let Err(error) = self.start_thread(served.published.generation, tune) {
            error!(stream = %self.setup.stream, %error,
                hint = "raise the limit of threads (ulimit -u, TasksMax= of the unit), then: curiod heads fit --finetune",
                "failed to start a thread that trains a copy");
            let failed = Tuning::Failed("no thread could be started for it".to_owned());
            self.install(served, set, &fitted, failed);
        }
    }

    /// Trains the copy that a head waits for, if it does.
    fn tune_answering(&self, served: &Arc<Served>, set: &SetName, fitted: &Fitted) {
        if matches!(fitted.tuning, Some(Tuning::Training))
            && let Some(tuning) = self.tune(served, set)
        {
            self.install(served, set, fitted, tuning);
        }
    }

    /// Trains a copy; one at a time. None where nobody wants it any more.
    fn tune(&self, served: &Arc<Served>, set: &SetName) -> Option<Tuning> {
        let _turn = self.tuning.lock();
        let is_given_up = || {
            let is_prepared = || {
                let build = self.build.lock();
                build
                    .running
                    .as_ref()
                    .is_some_and(|running| Arc::ptr_eq(running, served))
            };
            self.setup.labels.heads().get(set) != Some(&HeadKind::Finetuned) || !(self.answers(served) || is_prepared())
        };
        let stop = Stop {
            stopping: &self.stopping,
            is_given_up: &is_given_up,
        };
        let (tuning, threads) = tuning::tune(&self.setup, served, set, stop)?;
        self.threads.lock().extend(threads);
        Some(tuning)
    }

    /// What came of training a copy is known. Of a head that was fitted again meanwhile nothing is said.
    fn install(&self, served: &Served, set: &SetName, fitted: &Fitted, tuning: Tuning) {
        let _fitting = self.fitting.lock();
        let Some(before) = served.heads.load_full() else { return };
        let Some(Ok(now)) = before.get(set) else { return };
        if !matches!(now.tuning, Some(Tuning::Training)) || now.at != fitted.at {
            return;
        }
        let tuned = Fitted {
            tuning: Some(tuning),
            ..Fitted::clone(now)
        };
        let mut after = Heads::clone(&before);
        after.insert(set.clone(), Ok(Arc::new(tuned)));
        served.heads.store(Some(Arc::new(after)));
    }

    fn answers(&self, served: &Arc<Served>) -> bool {
        let current = self.current.load();
        current.as_ref().is_some_and(|current| Arc::ptr_eq(current, served))
    }

    fn start_thread(&self, generation: Generation, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let name = format!("heads-{}-{generation}", self.setup.stream);
        let thread = std::thread::Builder::new().name(name).spawn(work)?;
        let mut threads = self.threads.lock();
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }
}
