//! Ordered faults, and the record of what a power cut would lose.
//! Invariant: only what was written, created or renamed through this room and not synced since is ever lost. What sled
//! writes is not recorded: it is always behind the log, as after a kill.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use parking_lot::Mutex;
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rustix::io::Errno;
use tracing::warn;

use super::{POINTS, STALLS};

/// The variable of the environment that orders faults.
const VARIABLE: &str = "CURIOD_FAULT";

/// The faults that were ordered, and what happened so far.
pub(super) struct Faults {
    orders: Vec<Order>,
    seen: Mutex<HashMap<&'static str, u64>>,
    losses: Mutex<Vec<Loss>>,
}

pub(super) struct Order {
    at: String,
    nth: u64,
    repeats: Repeats,
    action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeats {
    /// At the nth time only.
    Never,
    /// Every time from the nth on.
    Always,
    /// Every nth time.
    EveryNth,
}

impl Order {
    fn is_due(&self, at: &str, count: u64) -> bool {
        let now = match self.repeats {
            Repeats::Never => count == self.nth,
            Repeats::Always => count >= self.nth,
            Repeats::EveryNth => count.is_multiple_of(self.nth),
        };
        now && self.at == at
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Kill,
    Torn,
    Cut,
    Short,
    Stall,
    Fail(Errno),
}

/// What a power cut may undo.
enum Loss {
    /// Bytes of a file beyond its length at the time of the last sync.
    Content { path: PathBuf, durable_len: u64 },
    /// A file's name.
    Created { path: PathBuf },
    /// A name that was changed, and what had the new one before.
    Renamed {
        from: PathBuf,
        to: PathBuf,
        replaced: Option<Replaced>,
    },
}

/// What a rename replaced.
pub(super) enum Replaced {
    File(Vec<u8>),
    Link(PathBuf),
}

/// An operation under way.
#[derive(Default)]
pub(super) struct Step {
    faults: Option<&'static Faults>,
    /// What a write is to suffer.
    half: Option<Action>,
}

impl Faults {
    /// The faults that the environment orders, if any.
    pub(super) fn get() -> Result<Option<&'static Self>, String> {
        static FAULTS: OnceLock<Result<Option<Faults>, String>> = OnceLock::new();
        let faults = FAULTS.get_or_init(|| match std::env::var(VARIABLE) {
            Err(_) => Ok(None),
            Ok(text) => parse(&text).map(|orders| {
                Some(Self {
                    orders,
                    seen: Mutex::default(),
                    losses: Mutex::default(),
                })
            }),
        });
        faults.as_ref().map(Option::as_ref).map_err(Clone::clone)
    }

    /// Counts a passage and obeys the orders for it.
    pub(super) fn begin(&'static self, at: &'static str) -> io::Result<Step> {
        let count = {
            let mut seen = self.seen.lock();
            let count = seen.entry(at).or_default();
            *count += 1;
            *count
        };
        let order = self.orders.iter().find(|order| order.is_due(at, count));
        let mut step = Step {
            faults: Some(self),
            half: None,
        };
        let action = order.map(|order| order.action);
        if let Some(action) = action {
            warn!(at, count, ?action, "let an operation fail, as ordered");
        }
        match action {
            None => {}
            Some(Action::Kill) => die(),
            Some(Action::Cut) => self.cut_power(count),
            Some(Action::Stall) => loop {
                std::thread::park();
            },
            Some(Action::Fail(errno)) => return Err(errno.into()),
            Some(action) => step.half = Some(action),
        }
        Ok(step)
    }

    /// Undoes, newest first, what was not synced: each by chance whole, in part, or not at all; then dies.
    fn cut_power(&self, seed: u64) -> ! {
        // Nobody may record a sync while losses are chosen: whoever waits here never returns.
        let mut losses = self.losses.lock();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ u64::from(std::process::id()));
        while let Some(loss) = losses.pop() {
            if rng.next_u32() % 3 == 0 {
                continue; // The system happened to have written it.
            }
            // What can not be undone was undone with its folder.
            let _ = match loss {
                Loss::Content { path, durable_len } => truncate(&path, durable_len, &mut rng),
                Loss::Created { path } => fs::remove_file(path),
                Loss::Renamed { from, to, replaced } => {
                    rebase(&mut losses, &to, &from);
                    undo_rename(&from, &to, replaced)
                }
            };
        }
        die()
    }
}

impl Step {
    fn record(&self, change: impl FnOnce(&mut Vec<Loss>)) {
        if let Some(faults) = self.faults {
            change(&mut faults.losses.lock());
        }
    }

    /// A file's name is new.
    pub(super) fn created(&self, path: &Path) {
        self.record(|losses| losses.push(Loss::Created { path: path.to_owned() }));
    }

    /// A file gets bytes from `offset` on.
    pub(super) fn writing(&self, path: &Path, offset: u64) {
        self.record(|losses| {
            let known = losses
                .iter()
                .any(|loss| matches!(loss, Loss::Content { path: known, .. } if known == path));
            if !known {
                losses.push(Loss::Content {
                    path: path.to_owned(),
                    durable_len: offset,
                });
            }
        });
    }

    /// Half of a write, if that is what was ordered.
    pub(super) fn halve(&self, write_half: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.half {
            None => Ok(()),
            Some(action) => {
                write_half()?;
                if action == Action::Torn {
                    die();
                }
                Err(Errno::NOSPC.into())
            }
        }
    }

    /// A file's content is durable.
    pub(super) fn synced(&self, path: &Path) {
        self.record(|losses| losses.retain(|loss| !matches!(loss, Loss::Content { path: known, .. } if known == path)));
    }

    /// What a rename is about to replace, if a power cut might have to bring it back.
    pub(super) fn about_to_replace(&self, to: &Path) -> Option<Replaced> {
        self.faults?;
        let link = fs::read_link(to).map(Replaced::Link);
        link.or_else(|_| fs::read(to).map(Replaced::File)).ok()
    }

    /// A name was changed.
    pub(super) fn renamed(&self, from: &Path, to: &Path, replaced: Option<Replaced>) {
        self.record(|losses| {
            rebase(losses, from, to);
            losses.push(Loss::Renamed {
                from: from.to_owned(),
                to: to.to_owned(),
                replaced,
            });
        });
    }

    /// The names in a folder are durable.
    pub(super) fn synced_dir(&self, dir: &Path) {
        self.record(|losses| {
            losses.retain(|loss| match loss {
                Loss::Content { .. } => true,
                Loss::Created { path: name } | Loss::Renamed { to: name, .. } => name.parent() != Some(dir),
            });
        });
    }
}

/// What is lost under one name is lost under the other now.
fn rebase(losses: &mut [Loss], from: &Path, to: &Path) {
    for loss in losses {
        let (Loss::Content { path, .. } | Loss::Created { path } | Loss::Renamed { to: path, .. }) = loss;
        if let Ok(below) = path.strip_prefix(from) {
            *path = if below.as_os_str().is_empty() {
                to.to_owned()
            } else {
                to.join(below)
            };
        }
    }
}

/// Leaves what was durable and, by chance, a part of what followed.
fn truncate(path: &Path, durable_len: u64, rng: &mut Xoshiro256PlusPlus) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let lost = file.metadata()?.len().saturating_sub(durable_len);
    let kept = if rng.next_u32().is_multiple_of(2) {
        0
    } else {
        rng.next_u64() % (lost + 1)
    };
    file.set_len(durable_len + kept)
}

fn undo_rename(from: &Path, to: &Path, replaced: Option<Replaced>) -> io::Result<()> {
    fs::rename(to, from)?;
    match replaced {
        None => Ok(()),
        Some(Replaced::File(bytes)) => fs::write(to, bytes),
        Some(Replaced::Link(target)) => std::os::unix::fs::symlink(target, to),
    }
}

/// Ends the process as SIGKILL from outside does: nothing is flushed, nothing is unwound.
fn die() -> ! {
    loop {
        // It can not fail for the own process; were it to, there is nothing better than to try again.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

pub(super) fn parse(text: &str) -> Result<Vec<Order>, String> {
    text.split(',').map(parse_order).collect()
}

fn parse_order(text: &str) -> Result<Order, String> {
    let wrong = |why: &str| format!("{VARIABLE}: `{text}` {why}; it is POINT:NTH:ACTION, for tests only");
    let mut parts = text.split(':');
    let (Some(at), Some(nth), Some(action), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(wrong("has not three parts"));
    };
    if !POINTS.contains(&at) && !STALLS.contains(&at) {
        return Err(wrong("names no point"));
    }
    let (nth, repeats) = match (nth.strip_suffix('+'), nth.strip_suffix('%')) {
        (Some(nth), _) => (nth, Repeats::Always),
        (_, Some(nth)) => (nth, Repeats::EveryNth),
        (None, None) => (nth, Repeats::Never),
    };
    let action = match action {
        "kill" => Action::Kill,
        "torn" => Action::Torn,
        "cut" => Action::Cut,
        "short" => Action::Short,
        "stall" => Action::Stall,
        "enospc" => Action::Fail(Errno::NOSPC),
        "eio" => Action::Fail(Errno::IO),
        _ => return Err(wrong("has no known action")),
    };
    if STALLS.contains(&at) && action != Action::Stall {
        return Err(wrong("asks for what can not happen there"));
    }
    if matches!(action, Action::Torn | Action::Short) && !at.ends_with(".write") {
        return Err(wrong("tears what is no write"));
    }
    Ok(Order {
        at: at.to_owned(),
        nth: nth.parse().map_err(|_| wrong("has no number"))?,
        repeats,
        action,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults() -> &'static Faults {
        Box::leak(Box::new(Faults {
            orders: Vec::new(),
            seen: Mutex::default(),
            losses: Mutex::default(),
        }))
    }

    fn step(faults: &'static Faults) -> Step {
        faults.begin("durable.write").unwrap()
    }

    fn lost(faults: &Faults) -> Vec<String> {
        let losses = faults.losses.lock();
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let tell = |loss: &Loss| match loss {
            Loss::Content { path, durable_len } => format!("content of {} beyond {durable_len}", name(path)),
            Loss::Created { path } => format!("name {}", name(path)),
            Loss::Renamed { from, to, .. } => format!("rename of {} to {}", name(from), name(to)),
        };
        losses.iter().map(tell).collect()
    }

    #[test]
    fn what_was_written_and_not_synced_may_be_lost_and_nothing_else() {
        let faults = faults();
        let file = Path::new("/d/a");
        step(faults).created(file);
        step(faults).writing(file, 0);
        step(faults).writing(file, 10);
        assert_eq!(lost(faults), ["name a", "content of a beyond 0"]);
        step(faults).synced(file);
        assert_eq!(lost(faults), ["name a"]);
        step(faults).synced_dir(Path::new("/d"));
        step(faults).writing(file, 20);
        assert_eq!(lost(faults), ["content of a beyond 20"]);
    }

    #[test]
    fn a_renamed_folder_takes_what_is_not_synced_in_it_along() {
        let faults = faults();
        step(faults).writing(Path::new("/d/temp/model"), 0);
        step(faults).renamed(Path::new("/d/temp"), Path::new("/d/final"), None);
        step(faults).synced(Path::new("/d/final/model"));
        assert_eq!(lost(faults), ["rename of temp to final"]);
        step(faults).synced_dir(Path::new("/d"));
        assert!(lost(faults).is_empty());
    }

    #[test]
    fn orders_that_can_not_be_obeyed_are_refused_with_a_sentence() {
        for (text, why) in [
            ("durable.write", "three parts"),
            ("nowhere:1:kill", "names no point"),
            ("durable.write:x:kill", "no number"),
            ("durable.write:1:explode", "no known action"),
            ("durable.sync:1:torn", "no write"),
        ] {
            let error = parse(text).err().unwrap();
            assert!(error.contains(why) && error.contains(text), "{error}");
        }
        let orders = parse("durable.write:2+:enospc,replay.append.write:1:cut").unwrap();
        assert_eq!(orders[0].action, Action::Fail(Errno::NOSPC));
        assert_eq!(orders[1].action, Action::Cut);
        let due = |order: &Order| -> Vec<u64> { (1..7).filter(|count| order.is_due(&order.at, *count)).collect() };
        assert_eq!((due(&orders[0]), due(&orders[1])), (vec![2, 3, 4, 5, 6], vec![1]));
        assert_eq!(due(&parse("durable.write:3%:eio").unwrap()[0]), [3, 6]);
        assert!(!orders[0].is_due("durable.sync", 2));
    }
}
