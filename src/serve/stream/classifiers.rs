//! The classifiers of a stream's generations: when they are fitted.
//! Invariant: a generation replaces another only with its classifiers, and none is fitted for one that is about to be replaced.

use std::sync::Arc;

use tracing::{error, warn};

use super::{Inner, StreamServing};
use crate::ids::{Generation, SampleId};
use crate::labels::SetName;
use crate::registry::Published;
use crate::serve::heads::{self, Fitted, Heads};

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

    /// Fits a classifier of a set of labels for the generation that answers, and remembers to fit it for each that follows. None
    /// where no generation is searchable with its classifiers yet.
    pub(in crate::serve) fn fit_head(
        &self,
        set: &SetName,
    ) -> Result<Option<(Published, Arc<Fitted>)>, heads::HeadError> {
        let inner = &self.inner;
        let _fitting = inner.fitting.lock();
        let Some(served) = self.current().filter(|served| served.is_searchable()) else {
            return Ok(None);
        };
        let Some(before) = served.heads.load_full() else {
            return Ok(None);
        };
        let fitted = Arc::new(heads::fit(&inner.setup, &served, set, &inner.stopping)?);
        inner.setup.labels.keep_head(set)?;
        let mut after = Heads::clone(&before);
        after.insert(set.clone(), Ok(Arc::clone(&fitted)));
        served.heads.store(Some(Arc::new(after)));
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
        let answers = self
            .current
            .load()
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, &served));
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
            move || {
                let _fitting = inner.fitting.lock();
                served
                    .heads
                    .store(Some(Arc::new(heads::fit_all(&inner.setup, &served, &inner.stopping))));
                if !answers {
                    inner.finish(generation);
                }
            }
        };
        let name = format!("heads-{}-{generation}", self.setup.stream);
        match std::thread::Builder::new().name(name).spawn(fit) {
            Ok(thread) => self.threads.lock().push(thread),
            Err(error) => {
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
    }
}
