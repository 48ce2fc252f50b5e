//! The watch: finds files by events and by scans, waits until they are whole, and hands them to the decode workers.
//! Always true: an event only says where to look. A file is taken on what the disk says, and whatever no event told
//! is found by the next scan.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender};
use tracing::{info, warn};

use super::file::FileRef;
use super::inbox::{Kind, Look, OpenError, is_unfinished_name};
use super::listen::Listener;
use super::quarantine;
use super::scan::{Scan, all_inboxes};
use super::settle::{Settled, Settling};
use super::shared::Shared;
use super::{IngestEvent, Pause};
use crate::disk::{self, DiskGate, free_bytes};
use crate::limits::{INBOX_DEPTH_MAX, NOTIFY_QUEUE_MAX, SETTLING_MAX};

/// Where to look.
#[derive(Clone, Debug)]
pub(super) enum Hint {
    /// Its writer closed it, or it was moved here: it is whole.
    Whole(FileRef),
    /// Something about it changed.
    Changed(FileRef),
    /// It is not there any more.
    Gone(FileRef),
}

/// A file to be taken.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) file: FileRef,
}

/// How often the inboxes, the disk and the pause are looked at.
const TICK: Duration = Duration::from_millis(250);

/// How long a paused watch sleeps between two looks at whether it is to go on or to stop.
const PAUSED_STEP: Duration = Duration::from_millis(50);

/// Entries of a scan between two looks at the hints, so that a new file need not wait for the end of a long scan.
const SCAN_STEP: usize = 256;

/// Two scans are at least this far apart, however many events were lost.
const SCAN_GAP_MIN: Duration = Duration::from_millis(200);

/// A regular scan waits this many times as long as the last one took, so that a large inbox costs few per cent of
/// a core.
const SCAN_REST: u32 = 20;

/// The watch's thread.
pub(super) fn run(shared: &Shared, hints: Receiver<Hint>, jobs: Sender<Job>) {
    let config = &shared.setup.config;
    let mut watch = Watch {
        shared,
        hints,
        jobs,
        settling: Settling::new(Duration::from_millis(config.settle_ms), SETTLING_MAX),
        folders: VecDeque::new(),
        listener: Listener::new(shared),
        gate: DiskGate::of_ingest(config.disk_reserve_bytes),
        was_paused: None,
        scan: None,
        scan_began: Instant::now(),
        rest_until: Instant::now(),
        scan_due: Instant::now(),
        next_tick: Instant::now(),
    };
    watch.run();
}

struct Watch<'a> {
    shared: &'a Shared,
    hints: Receiver<Hint>,
    jobs: Sender<Job>,
    settling: Settling,
    /// New folders, to be scanned at the given moment: what was put into one before it was watched made no event.
    folders: VecDeque<(Instant, FileRef)>,
    listener: Listener<'a>,
    gate: DiskGate,
    was_paused: Option<Pause>,
    scan: Option<Scan>,
    scan_began: Instant,
    /// No scan begins before, not even one that is needed.
    rest_until: Instant,
    /// When the next regular scan begins.
    scan_due: Instant,
    next_tick: Instant,
}

impl Watch<'_> {
    fn run(&mut self) {
        while !self.shared.is_stopping() {
            self.shared.pulses.watch.beat();
            let now = Instant::now();
            if now >= self.next_tick {
                self.tick();
                self.next_tick = now + TICK;
            }
            if self.was_paused.is_some() {
                // The disk is the backlog: what is told meanwhile is found by a scan.
                self.shared.needs_rescan.store(true, Ordering::Relaxed);
                self.hints.try_iter().for_each(drop);
                std::thread::sleep(PAUSED_STEP);
                continue;
            }
            self.begin_scan(now);
            self.step_scan();
            for file in self.settling.due(now) {
                self.consider(file, false);
            }
            while self.folders.front().is_some_and(|(at, _)| *at <= now) {
                if let Some((_, folder)) = self.folders.pop_front() {
                    self.scan_folder(folder);
                }
            }
            self.take_hints();
        }
    }

    /// Waits for hints, no longer than until something else is due, and follows those that are there.
    fn take_hints(&mut self) {
        let now = Instant::now();
        let mut until = self.next_tick.min(self.scan_due.max(self.rest_until));
        if self.scan.is_some() || self.shared.needs_rescan.load(Ordering::Relaxed) && now >= self.rest_until {
            until = now;
        }
        let due = [self.settling.next_due(), self.folders.front().map(|(at, _)| *at)];
        let until = due.into_iter().flatten().fold(until, Instant::min);
        match self.hints.recv_deadline(until) {
            Ok(hint) => self.follow(hint),
            Err(RecvTimeoutError::Timeout) => return,
            // The ingest holds a sender for as long as this thread runs.
            Err(RecvTimeoutError::Disconnected) => return,
        }
        for _ in 0..NOTIFY_QUEUE_MAX {
            match self.hints.try_recv() {
                Ok(hint) => self.follow(hint),
                Err(_) => break,
            }
        }
    }

    fn follow(&mut self, hint: Hint) {
        match hint {
            Hint::Whole(file) => self.consider(file, true),
            Hint::Changed(file) => self.consider(file, false),
            Hint::Gone(file) => {
                self.settling.forget(&file);
                if matches!(self.shared.inboxes[file.inbox].look(&file.path), Err(OpenError::Gone)) {
                    let key = file.key(&self.shared.inboxes);
                    if let Err(error) = self.shared.replay.forget_seen(&key) {
                        self.shared.ledger_failed("forget a file that is gone", &error);
                    }
                }
            }
        }
    }

    /// Looks at a path and hands it on if it is a whole file that is not yet known.
    fn consider(&mut self, file: FileRef, is_whole: bool) {
        self.shared.pulses.watch.beat();
        disk::stall("ingest.look");
        if self.shared.is_ours(&file) {
            return;
        }
        if file.path.iter().any(is_unfinished_name) {
            self.shared.ignored(&file);
            return;
        }
        let look = match self.shared.inboxes[file.inbox].look(&file.path) {
            Ok(look) => look,
            Err(OpenError::Gone) => return self.settling.forget(&file),
            // Its folder may be listed, not entered; the scan says so.
            Err(OpenError::Permission(_)) => return,
            Err(_) => return self.shared.skipped(&file, "can not be looked at"),
        };
        match look.kind {
            Kind::Other => return self.shared.skipped(&file, "not a regular file"),
            Kind::Folder => {
                let again = Instant::now() + Duration::from_millis(self.shared.setup.config.settle_ms);
                if self.folders.len() < NOTIFY_QUEUE_MAX {
                    self.folders.push_back((again, file.clone()));
                } else {
                    self.shared.needs_rescan.store(true, Ordering::Relaxed);
                }
                return self.scan_folder(file);
            }
            Kind::File => {}
        }
        if file.path.iter().count() > INBOX_DEPTH_MAX {
            return self.shared.skipped(&file, "folders too deep");
        }
        if self.is_known(&file, look) {
            return self.settling.forget(&file);
        }
        if is_whole {
            self.settling.forget(&file);
        } else {
            let wall_ns = i128::from(self.shared.clock.now().0) * 1_000_000;
            match self.settling.look(&file, look, Instant::now(), wall_ns) {
                Settled::Still => {}
                Settled::Waiting => return,
                Settled::Full => return self.shared.needs_rescan.store(true, Ordering::Relaxed),
            }
        }
        if self.shared.set_off(&file) {
            self.hand_on(file);
        }
    }

    fn is_known(&self, file: &FileRef, look: Look) -> bool {
        let seen = self.shared.replay.seen(&file.key(&self.shared.inboxes));
        seen.is_some_and(|(before, _)| before == look.seen) || self.shared.is_put_off(file, look.changed_ns)
    }

    /// Gives a file to the workers; waits while they are busy.
    fn hand_on(&mut self, file: FileRef) {
        let mut job = Job { file };
        loop {
            self.shared.pulses.watch.beat();
            if self.shared.is_stopping() {
                return self.shared.arrived(&job.file);
            }
            if self.was_paused.is_some() {
                std::thread::sleep(PAUSED_STEP);
            } else {
                job = match self.jobs.send_timeout(job, TICK) {
                    Ok(()) => return,
                    Err(SendTimeoutError::Timeout(job)) => job,
                    Err(SendTimeoutError::Disconnected(job)) => return self.shared.arrived(&job.file),
                };
            }
            self.look_after();
        }
    }

    /// Scans a folder that has just appeared, at once.
    fn scan_folder(&mut self, folder: FileRef) {
        let mut scan = Scan::of(vec![folder]);
        while let Some(file) = scan.next(self.shared, |folder| self.listener.hear(folder)) {
            if self.shared.is_stopping() {
                return;
            }
            self.consider(file, false);
        }
    }

    fn begin_scan(&mut self, now: Instant) {
        let is_needed = self.shared.needs_rescan.load(Ordering::Relaxed) && now >= self.rest_until;
        if self.scan.is_none() && (is_needed || now >= self.scan_due) {
            // Before the walk, so that what is missed during it asks for another.
            self.shared.needs_rescan.store(false, Ordering::Relaxed);
            if now >= self.scan_due {
                self.shared.forget_put_off();
                quarantine::forget_gone(self.shared);
            }
            self.scan_began = now;
            self.listener.scan_begins();
            self.scan = Some(Scan::of(all_inboxes(self.shared)));
        }
    }

    fn step_scan(&mut self) {
        let Some(mut scan) = self.scan.take() else { return };
        for _ in 0..SCAN_STEP {
            match scan.next(self.shared, |folder| self.listener.hear(folder)) {
                Some(file) => self.consider(file, false),
                None => {
                    let (now, took) = (Instant::now(), self.scan_began.elapsed());
                    let regular = Duration::from_secs(self.shared.setup.config.rescan_s);
                    self.rest_until = now + took.max(SCAN_GAP_MIN);
                    self.scan_due = now + regular.max(took * SCAN_REST);
                    self.listener.scan_ends();
                    return;
                }
            }
            if self.shared.is_stopping() {
                return;
            }
        }
        self.scan = Some(scan);
    }

    fn tick(&mut self) {
        self.look_after();
        for index in 0..self.shared.inboxes.len() {
            self.look_after_inbox(index);
        }
    }

    /// Looks at the disk and at the wish to pause, and says what changed.
    fn look_after(&mut self) {
        match free_bytes(&self.shared.setup.state_dir) {
            Ok(free) => self.shared.set_disk_is_low(self.gate.judge(free)),
            Err(error) => {
                warn!(folder = %self.shared.setup.state_dir.display(), %error,
                    hint = "is the filesystem of state_dir still mounted?",
                    "failed to ask the disk for its free space");
            }
        }
        let paused = self.shared.paused();
        match (&self.was_paused, &paused) {
            (None, Some(Pause { by, why: reason })) => {
                let stream = &self.shared.setup.stream;
                match *by {
                    // As at every stop: nothing is wrong.
                    "request" => info!(%stream, reason, "paused the ingest"),
                    _ => {
                        warn!(%stream, reason, hint = "the reason says what to free or mend; it goes on by itself", "paused the ingest")
                    }
                }
                self.shared.tell(IngestEvent::Paused { reason: reason.clone() });
            }
            (Some(_), None) => {
                info!(stream = %self.shared.setup.stream, "resumed the ingest");
                self.shared.tell(IngestEvent::Resumed);
            }
            _ => {}
        }
        self.was_paused = paused;
    }

    fn look_after_inbox(&mut self, index: usize) {
        let inbox = &self.shared.inboxes[index];
        if inbox.is_there() {
            return;
        }
        let (stream, path) = (&self.shared.setup.stream, inbox.root().to_owned());
        let was_known = inbox.is_gone();
        inbox.close();
        let came_back = inbox.reopen();
        if !was_known {
            let why = match &came_back {
                Ok(()) => "another folder has its name".to_owned(),
                Err(error) => error.to_string(),
            };
            warn!(
                %stream, inbox = %path.display(), why,
                hint = "mount or make it again, readable for the daemon's user: nothing is lost, and it is watched again by itself; \
                        if it shall be no inbox any more, take it out of the configuration and reload",
                "the inbox is gone"
            );
            self.shared.tell(IngestEvent::InboxGone { inbox: path.clone() });
        }
        if came_back.is_ok() {
            info!(%stream, inbox = %path.display(), "the inbox is back");
            self.listener.forget();
            self.shared.needs_rescan.store(true, Ordering::Relaxed);
            self.shared.tell(IngestEvent::InboxBack { inbox: path });
        }
    }
}
