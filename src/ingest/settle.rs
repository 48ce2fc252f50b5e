//! Which files are whole: those that have not changed for a while.
//! No disk and no clock of its own; the watch looks and tells.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::file::FileRef;
use super::inbox::Look;

/// What can be said about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It has been still for long enough.
    Still,
    /// It will be due again.
    Waiting,
    /// Too many files are waiting; a scan must find it again.
    Full,
}

/// A file that has not been still for long enough.
#[derive(Debug)]
struct Waiting {
    look: Look,
    /// Since when it has looked like this, by our own clock.
    since: Instant,
    /// Whether it stands in `due` already.
    is_scheduled: bool,
}

/// The files that changed a moment ago.
#[derive(Debug)]
pub(super) struct Settling {
    quiet: Duration,
    max: usize,
    waiting: HashMap<FileRef, Waiting>,
    /// By the moment at which they are to be looked at again; the number tells files of one moment apart.
    due: BTreeMap<(Instant, u64), FileRef>,
    next: u64,
}

impl Settling {
    /// A file is still when nothing about it changed for `quiet`; at most `max` files wait.
    pub(super) fn new(quiet: Duration, max: usize) -> Self {
        Self {
            quiet,
            max,
            waiting: HashMap::new(),
            due: BTreeMap::new(),
            next: 0,
        }
    }

    /// A file looks like this now; its filesystem's clock may differ from ours, `wall_ns`.
    pub(super) fn look(&mut self, file: &FileRef, look: Look, now: Instant, wall_ns: i128) -> Settled {
        let age_ns = wall_ns - look.changed_ns;
        let quiet_ns = self.quiet.as_nanos() as i128; // A setting in milliseconds; far below 2^127.
        if age_ns >= quiet_ns {
            self.forget(file);
            return Settled::Still;
        }
        let is_full = self.waiting.len() >= self.max;
        let waiting = match self.waiting.get_mut(file) {
            Some(waiting) => waiting,
            None if is_full => return Settled::Full,
            None => self.waiting.entry(file.clone()).or_insert(Waiting {
                look,
                since: now,
                is_scheduled: false,
            }),
        };
        if waiting.look != look {
            (waiting.look, waiting.since) = (look, now);
        }
        // Seen unchanged for long enough by our own clock, whatever the file's says.
        if now.duration_since(waiting.since) >= self.quiet {
            self.forget(file);
            return Settled::Still;
        }
        if !std::mem::replace(&mut waiting.is_scheduled, true) {
            let known_quiet = Duration::from_nanos(u64::try_from(age_ns).unwrap_or(0));
            let at = (waiting.since + self.quiet).min(now + self.quiet.saturating_sub(known_quiet));
            self.due.insert((at, self.next), file.clone());
            self.next += 1;
        }
        Settled::Waiting
    }

    /// The files to be looked at again.
    pub(super) fn due(&mut self, now: Instant) -> Vec<FileRef> {
        let later = self.due.split_off(&(now, u64::MAX));
        let due: Vec<FileRef> = std::mem::replace(&mut self.due, later).into_values().collect();
        for file in &due {
            if let Some(waiting) = self.waiting.get_mut(file) {
                waiting.is_scheduled = false;
            }
        }
        due
    }

    /// When the next file is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    /// The file is gone, or its writer was seen to close it.
    pub(super) fn forget(&mut self, file: &FileRef) {
        self.waiting.remove(file);
    }
}

#[cfg(test)]
mod tests {
    use super::super::inbox::Kind;
    use super::*;
    use crate::replay::SeenFile;

    const MS: i128 = 1_000_000;

    fn look(size: u64, changed_ms: i128) -> Look {
        Look {
            kind: Kind::File,
            seen: SeenFile {
                dev: 1,
                inode: 1,
                size,
                mtime_ns: changed_ms * MS,
            },
            changed_ns: changed_ms * MS,
        }
    }

    #[test]
    fn an_old_file_is_still_and_a_young_one_is_due_when_it_will_be() {
        let mut settling = Settling::new(Duration::from_millis(500), 10);
        let (file, start) = (FileRef::new(0, "a"), Instant::now());
        assert_eq!(settling.look(&file, look(1, 0), start, 500 * MS), Settled::Still);
        assert_eq!(settling.look(&file, look(1, 300), start, 500 * MS), Settled::Waiting);
        assert_eq!(settling.next_due(), Some(start + Duration::from_millis(300)));
        assert!(settling.due(start).is_empty());
        assert_eq!(settling.due(start + Duration::from_millis(300)), [file]);
    }

    #[test]
    fn a_file_that_grows_waits_on() {
        let mut settling = Settling::new(Duration::from_millis(500), 10);
        let (file, start) = (FileRef::new(0, "a"), Instant::now());
        for step in 0..10u32 {
            let now_ms = i128::from(step) * 400;
            let now = start + Duration::from_millis(400) * step;
            assert_eq!(
                settling.look(&file, look(step.into(), now_ms), now, now_ms * MS),
                Settled::Waiting
            );
        }
    }

    #[test]
    fn a_file_of_the_future_is_still_once_our_own_clock_says_so() {
        let mut settling = Settling::new(Duration::from_millis(500), 10);
        let (file, start) = (FileRef::new(0, "a"), Instant::now());
        assert_eq!(settling.look(&file, look(1, 1_000_000), start, 0), Settled::Waiting);
        let later = start + Duration::from_millis(500);
        assert_eq!(
            settling.look(&file, look(1, 1_000_000), later, 500 * MS),
            Settled::Still
        );
    }

    #[test]
    fn too_many_files_are_left_to_the_scan() {
        let mut settling = Settling::new(Duration::from_millis(500), 1);
        let start = Instant::now();
        assert_eq!(
            settling.look(&FileRef::new(0, "a"), look(1, 0), start, 0),
            Settled::Waiting
        );
        assert_eq!(
            settling.look(&FileRef::new(0, "b"), look(1, 0), start, 0),
            Settled::Full
        );
    }
}
