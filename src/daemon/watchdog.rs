//! Does every part move that should? The learners' loops go round, the ingests' threads come to the end of each piece of
//! work, the server answers a request as its users make them (over the admin socket, where all others speak TLS).
//! Always true: a part that failed, is paused or has nothing to do is not stuck: it is told as such elsewhere, and a restart
//! of the daemon would take queries down with it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use tracing::warn;

use super::roster::Roster;
use super::service_manager;
use crate::learn::Activity;
use crate::socket::SocketPath;

/// A part that has not moved for this long is stuck: a step or a write takes seconds, a wait for others' turns less.
const STUCK_AFTER_MAX: Duration = Duration::from_secs(60);

/// How long the server may take for its simplest answer; and how long to wait between two questions.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A part that has not moved for this long is stuck: less where the service manager is less patient.
fn stuck_after() -> Duration {
    service_manager::watchdog_interval().map_or(STUCK_AFTER_MAX, |interval| interval.min(STUCK_AFTER_MAX))
}

/// Looks after the parts.
pub(super) struct Watchdog {
    after: Duration,
    answered_at: Arc<Mutex<Instant>>,
    /// Its end ends the thread that asks the server.
    _stop: Sender<()>,
}

impl Watchdog {
    /// Starts to ask the server there. The thread is not waited for: it may be in the middle of a question.
    pub(super) fn start(server: Probe) -> io::Result<Self> {
        let (after, answered_at) = (stuck_after(), Arc::new(Mutex::new(Instant::now())));
        let (stop, stopped) = bounded::<()>(0);
        let every = after.min(ANSWER_MAX) / 2;
        std::thread::Builder::new().name("ask-server".to_owned()).spawn({
            let answered_at = Arc::clone(&answered_at);
            let mut is_told = false;
            move || {
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(every) {
                    match ask(&server) {
                        Ok(()) => {
                            *answered_at.lock() = Instant::now();
                            is_told = false;
                        }
                        // Told from here: where the server's threads hang, the daemon's main loop may hang with them.
                        Err(error) if answered_at.lock().elapsed() > after && !std::mem::replace(&mut is_told, true) => {
                            warn!(%error, hint = "the service manager restarts it soon; look at the machine's load", "the server does not answer");
                        }
                        Err(_) => {}
                    }
                }
            }
        })?;
        Ok(Self {
            after,
            answered_at,
            _stop: stop,
        })
    }

    /// The first part that does not move, if there is one.
    pub(super) fn stuck(&self, roster: &Roster) -> Option<String> {
        if self.answered_at.lock().elapsed() > self.after {
            return Some("the server".to_owned());
        }
        let mut found = None;
        roster.each(|stream| {
            let learner = stream.learner();
            let has_failed = matches!(learner.activity, Activity::Failed(_));
            let is_late = learner.alive_at.is_some_and(|alive_at| alive_at.elapsed() > self.after);
            if is_late && !has_failed {
                found.get_or_insert(format!("the learner of stream `{}`", stream.config.name));
            }
            if let Some(thread) = stream.stuck_ingest(self.after) {
                found.get_or_insert(format!("the thread {thread} of the ingest"));
            }
        });
        found
    }
}

/// Where the server is asked.
pub(super) enum Probe {
    /// At the address that it listens on.
    Address(SocketAddr),
    /// At its admin socket.
    Socket(PathBuf),
}

/// Asks the server whether it is alive, as anybody can.
fn ask(server: &Probe) -> io::Result<()> {
    match server {
        Probe::Address(address) => {
            let connection = TcpStream::connect_timeout(address, ANSWER_MAX)?;
            connection.set_read_timeout(Some(ANSWER_MAX))?;
            connection.set_write_timeout(Some(ANSWER_MAX))?;
            ask_over(connection, &address.to_string())
        }
        Probe::Socket(path) => {
            let connection = UnixStream::connect(SocketPath::to(path)?.as_path())?;
            connection.set_read_timeout(Some(ANSWER_MAX))?;
            connection.set_write_timeout(Some(ANSWER_MAX))?;
            ask_over(connection, "localhost")
        }
    }
}

fn ask_over(mut connection: impl Read + Write, host: &str) -> io::Result<()> {
    write!(
        connection,
        "GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = [0; 12];
    connection.read_exact(&mut answer)?;
    match &answer {
        b"HTTP/1.1 200" => Ok(()),
        other => Err(io::Error::other(format!(
            "it answered {}",
            String::from_utf8_lossy(other)
        ))),
    }
}
