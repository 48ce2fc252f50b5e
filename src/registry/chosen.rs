//! Which generations may answer, as the gate or a person decided it: those that were rolled back from are passed over, and one may be
//! pinned.
//! Invariant: the file is replaced as a whole; one that is missing or damaged stands for "the newest", and is named.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::layout::{Alias, CHOSEN_FILE};
use super::{Published, Registry, RegistryError, State, open};
use crate::durable;
use crate::ids::Generation;

/// The version of the file that this curiod writes, and the newest that it reads.
const FORMAT_VERSION: u32 = 1;

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chosen {
    format_version: u32,
    /// Generations that were rolled back from. They are kept as others are, and asked for by number.
    #[serde(default)]
    pub(super) withdrawn: BTreeSet<Generation>,
    /// The one that answers, whatever is newer.
    #[serde(default)]
    pub(super) pinned: Option<Generation>,
}

impl Chosen {
    /// What the folder's file says.
    pub(super) fn read(dir: &Path) -> Result<Self, RegistryError> {
        let path = dir.join(CHOSEN_FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(durable::failed("read", &path)(e).into()),
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(read) if read.format_version > FORMAT_VERSION => Err(RegistryError::Newer {
                reason: format!(
                    "it has format {}; this curiod reads up to {FORMAT_VERSION}",
                    read.format_version
                ),
                path,
            }),
            Ok(read) => Ok(read),
            Err(error) => {
                warn!(file = %path.display(), %error,
                    hint = "roll back or pin again (curiod models rollback, pin), if the newest generation should not answer",
                    "what was rolled back or pinned can not be read; the newest generation answers");
                Ok(Self::default())
            }
        }
    }

    fn write(&mut self, dir: &Path) -> Result<(), RegistryError> {
        self.format_version = FORMAT_VERSION;
        let path = dir.join(CHOSEN_FILE);
        let mut text = serde_json::to_vec(self).map_err(|e| durable::failed("write", &path)(e.into()))?;
        text.push(b'\n');
        Ok(durable::write_file(&path, &text)?)
    }
}

impl Registry {
    /// Has an older generation answer: `to`, or the one before that which answers. All newer ones are passed over from now on,
    /// until one is published that is newer still; a pin is taken away. The generation that answers then.
    pub fn roll_back(&self, to: Option<Generation>) -> Result<Published, RegistryError> {
        let mut state = self.state.lock();
        let current = state.target(Alias::Latest);
        let Some(to) = to.or_else(|| state.target(Alias::Previous)) else {
            return Err(RegistryError::NothingBefore);
        };
        let target = state
            .generations
            .get(&to)
            .cloned()
            .ok_or(RegistryError::NotKept { generation: to })?;
        if current.is_none_or(|current| current <= to) {
            return Err(RegistryError::NotBefore { generation: to });
        }
        let mut chosen = state.chosen.clone();
        chosen.pinned = None;
        chosen.withdrawn.remove(&to);
        chosen
            .withdrawn
            .extend(state.generations.keys().copied().filter(|newer| *newer > to));
        self.choose(&mut state, chosen)?;
        info!(generation = %to, "rolled back: newer generations are passed over");
        Ok(target)
    }

    /// Has this generation answer until the pin is taken away (`None`), whatever is published meanwhile. The generation that answers
    /// then, if there is any.
    pub fn pin(&self, generation: Option<Generation>) -> Result<Option<Published>, RegistryError> {
        let mut state = self.state.lock();
        if let Some(generation) = generation.filter(|generation| !state.generations.contains_key(generation)) {
            return Err(RegistryError::NotKept { generation });
        }
        let chosen = Chosen {
            pinned: generation,
            ..state.chosen.clone()
        };
        self.choose(&mut state, chosen)?;
        info!(generation = generation.map(|g| g.0), "pinned, or took the pin away");
        Ok(state
            .target(Alias::Latest)
            .and_then(|latest| state.generations.get(&latest).cloned()))
    }

    /// The generation that is pinned.
    pub fn pinned(&self) -> Option<Generation> {
        self.state.lock().chosen.pinned
    }

    /// Whether a generation was rolled back from.
    pub fn is_withdrawn(&self, generation: Generation) -> bool {
        self.state.lock().chosen.withdrawn.contains(&generation)
    }

    /// Writes what was decided, and lets the aliases follow.
    fn choose(&self, state: &mut State, mut chosen: Chosen) -> Result<(), RegistryError> {
        let is_kept = |generation: &Generation| state.generations.contains_key(generation);
        chosen.withdrawn.retain(is_kept);
        chosen.write(&self.dir)?;
        state.chosen = chosen;
        state.forget_withdrawn_best();
        Ok(open::point_aliases(&self.dir, state)?)
    }
}

impl State {
    /// The generations that may answer, the newest first.
    pub(super) fn standing(&self) -> impl Iterator<Item = Generation> {
        let generations = self.generations.keys().rev().copied();
        generations.filter(|generation| !self.chosen.withdrawn.contains(generation))
    }

    /// Where the best so far was rolled back from, the newest of the others that was the best in its time takes its place.
    pub(super) fn forget_withdrawn_best(&mut self) {
        if self.stable.is_none_or(|stable| self.chosen.withdrawn.contains(&stable)) {
            let was_best = |generation: &Generation| self.generations[generation].manifest.best;
            let best = self.standing().find(was_best).or_else(|| self.standing().next());
            self.stable = best;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{open, publish, target};
    use super::*;

    fn latest(registry: &Registry) -> u64 {
        registry.latest().unwrap().generation.0
    }

    #[test]
    fn after_a_roll_back_newer_generations_are_passed_over_until_one_is_published_over_a_restart_too() {
        let dir = tempfile::tempdir().unwrap();
        let registry = open(dir.path());
        for (weights, best) in [(b"one", true), (b"two", true), (b"six", true)] {
            publish(&registry, weights, best);
        }
        assert_eq!(registry.roll_back(None).unwrap().generation, Generation(2));
        let registry = open(dir.path());
        assert_eq!(
            (latest(&registry), registry.best().unwrap().generation),
            (2, Generation(2))
        );
        assert_eq!(target(dir.path(), "latest").as_deref(), Some("000002"));
        assert_eq!(target(dir.path(), "previous").as_deref(), Some("000001"));
        assert!(registry.is_withdrawn(Generation(3)) && registry.get(Generation(3)).is_some());

        let four = publish(&registry, b"four", false);
        assert_eq!((latest(&registry), four.manifest.parent), (4, Some(Generation(2))));
        assert_eq!(target(dir.path(), "previous").as_deref(), Some("000002"));
        assert_eq!(
            registry.roll_back(Some(Generation(2))).unwrap().generation,
            Generation(2)
        );
        assert_eq!(latest(&open(dir.path())), 2);
    }

    #[test]
    fn a_roll_back_to_what_is_not_kept_or_not_older_is_refused_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let registry = open(dir.path());
        assert!(matches!(registry.roll_back(None), Err(RegistryError::NothingBefore)));
        publish(&registry, b"one", true);
        publish(&registry, b"two", true);
        let refused = |to| registry.roll_back(to).unwrap_err().to_string();
        assert!(refused(Some(Generation(7))).contains("generation 7 is not kept"));
        assert!(refused(Some(Generation(2))).contains("not older"));
        assert_eq!(latest(&registry), 2);
        assert!(!dir.path().join(CHOSEN_FILE).exists());
    }

    #[test]
    fn a_pinned_generation_answers_and_is_kept_whatever_is_published_until_the_pin_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let registry = open(dir.path());
        publish(&registry, b"one", true);
        publish(&registry, b"two", true);
        assert_eq!(
            registry.pin(Some(Generation(1))).unwrap().unwrap().generation,
            Generation(1)
        );
        for weights in [b"aaa", b"bbb", b"ccc", b"ddd"] {
            publish(&registry, weights, false);
        }
        let registry = open(dir.path());
        assert_eq!((latest(&registry), registry.pinned()), (1, Some(Generation(1))));
        assert_eq!(registry.pin(None).unwrap().unwrap().generation, Generation(6));
        assert_eq!(latest(&open(dir.path())), 6);
        assert!(matches!(
            registry.pin(Some(Generation(99))),
            Err(RegistryError::NotKept { .. })
        ));
    }

    #[test]
    fn a_damaged_file_stands_for_the_newest_and_a_newer_curiods_stops_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let registry = open(dir.path());
        publish(&registry, b"one", true);
        publish(&registry, b"two", true);
        registry.roll_back(None).unwrap();
        fs::write(dir.path().join(CHOSEN_FILE), "{\"format_version\":1,\"withd").unwrap();
        assert_eq!(latest(&open(dir.path())), 2);
        fs::write(dir.path().join(CHOSEN_FILE), "{\"format_version\":2}").unwrap();
        let clock = std::sync::Arc::new(crate::clock::SystemClock);
        assert!(matches!(
            Registry::open(dir.path(), 3, clock),
            Err(RegistryError::Newer { .. })
        ));
    }
}
