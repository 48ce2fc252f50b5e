//! The service manager's view: it is told that the daemon is alive for as long as every part moves, and no longer.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::harness::{Site, curiod};

/// The unit's `WatchdogSec`, shortened. Half of it is how long a part may stand still.
const WATCHDOG: Duration = Duration::from_secs(8);

/// A service manager that listens to one daemon.
struct ServiceManager {
    socket: UnixDatagram,
}

impl ServiceManager {
    /// Starts the site's daemon, with this fault.
    fn start(site: &mut Site, fault: &str) -> Self {
        let path = site.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut command = curiod();
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        if !fault.is_empty() {
            command.env("CURIOD_FAULT", fault);
        }
        site.spawn_as(command);
        Self { socket }
    }

    /// How often it was told since it was last asked that the daemon is alive.
    fn alive(&self) -> usize {
        let mut text = [0; 4096];
        let mut told = 0;
        while let Ok(len) = self.socket.recv(&mut text) {
            told += usize::from(text[..len].windows(10).any(|words| words == b"WATCHDOG=1"));
        }
        told
    }
}

/// How many times the log says this.
fn said(site: &Site, what: &str) -> usize {
    site.log().matches(what).count()
}

const DOES_NOT_MOVE: &str = "does not move";

/// With this fault, the service manager is told nothing more once the part does not move, and the log names it.
fn is_missed(fault: &str, part: &str) {
    let mut site = Site::new();
    site.drop_pictures(0..8);
    let manager = ServiceManager::start(&mut site, fault);
    site.wait_for("the part to be named", |site| {
        // A socket that nobody reads is full after a few messages, and the daemon waits.
        manager.alive();
        (said(site, DOES_NOT_MOVE) > 0).then_some(())
    });
    let (line, before) = (site.log(), said(&site, DOES_NOT_MOVE));
    let line = line.lines().find(|line| line.contains(DOES_NOT_MOVE)).unwrap();
    assert!(line.contains(part) && line.contains("hint"), "{line}");
    manager.alive();
    site.wait_for("two more looks", |site| {
        (said(site, DOES_NOT_MOVE) >= before + 2).then_some(())
    });
    assert_eq!(manager.alive(), 0, "{}", site.log());
    site.kill();
}

#[test]
fn a_watch_that_hangs_is_missed() {
    is_missed("ingest.look:3:stall", "the thread watch-pictures of the ingest");
}

#[test]
fn a_commit_that_hangs_is_missed() {
    is_missed("ingest.insert:1:stall", "the thread commit-pictures of the ingest");
}

#[test]
fn a_decoder_that_hangs_is_missed_after_longer_than_any_file_takes() {
    is_missed("ingest.decode:2:stall", "the thread decode-pictures-");
}

#[test]
fn a_server_that_does_not_answer_is_missed() {
    let mut site = Site::new();
    let manager = ServiceManager::start(&mut site, "serve.alive:1+:stall");
    let what = "the server does not answer";
    site.wait_for("the silence to be told", |site| (said(site, what) > 0).then_some(()));
    manager.alive();
    std::thread::sleep(WATCHDOG);
    assert_eq!(manager.alive(), 0, "{}", site.log());
    site.kill();
}

#[test]
fn an_idle_or_paused_daemon_is_alive_and_so_is_one_whose_buffer_refuses() {
    for (more, fault, paused) in [
        ("", "", false),
        ("[stream.ingest]\ndisk_reserve_bytes = 9000000000000000000\n", "", true),
        ("", "ingest.insert:1+:enospc", true),
    ] {
        let mut site = Site::with(more);
        site.drop_pictures(0..2);
        let manager = ServiceManager::start(&mut site, fault);
        site.wait_for("its state", |site| {
            let stream = site.stream()?;
            let is_idle = stream["sources_accepted"] == 2;
            (if paused {
                stream["ingest_paused"].is_string()
            } else {
                is_idle
            })
            .then_some(())
        });
        // Told at half the time that a part may stand still, or the same: four times is longer than that.
        manager.alive();
        for _ in 0..4 {
            while manager.alive() == 0 {
                std::thread::sleep(Duration::from_millis(100));
                assert_eq!(said(&site, DOES_NOT_MOVE), 0, "{}", site.log());
            }
        }
        assert_eq!(site.stop(), Some(0));
    }
}
