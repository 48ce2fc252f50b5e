//! The daemon: takes the lock, starts the streams, serves, obeys signals, and leaves everything as it can be resumed.
//! Invariant: what the service manager is told is true: ready when queries are answered, alive while the server answers and every
//! learner and every ingest moves.

mod access;
mod leftovers;
pub mod lock;
pub mod log;
mod roster;
mod service_manager;
mod socket;
mod stream;
mod watchdog;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::clock::SystemClock;
use crate::config::{Config, ConfigError};
use crate::disk;
use crate::learn::DeviceTurns;
use crate::limits::EVENT_QUEUE_MAX;
use crate::serve::{AppState, Listener, admin_router, router, serve};
use crate::torch::{self, TorchError};
use access::{Access, CredentialError};
pub use leftovers::sweep_copies;
use lock::{LockError, StateLock};
use roster::Roster;
use socket::AdminSocket;
pub use socket::{SocketError, socket_path};
use stream::Common;
pub use stream::{StreamError, replay_dir};
use watchdog::{Probe, Watchdog};

/// How long the daemon waits between two looks at how its parts are.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Threads of the HTTP server: it moves messages, others do the work.
const SERVER_THREADS: usize = 2;

/// Why the daemon did not start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The state directory can not be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The device can not be used.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// The address can not be listened on.
    #[error("failed to listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The keys or the certificate can not be used.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The admin socket can not be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A stream could not be started.
    #[error("stream `{stream}`: {source}")]
    Stream {
        /// Its name.
        stream: String,
        /// Why.
        source: StreamError,
    },
    /// Faults that can not be obeyed.
    #[error("{0}")]
    Fault(String),
    /// The system refused what every daemon needs: threads, signals.
    #[error("failed to {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A reload that takes longer is taken for stuck.
const RELOAD_TIME_MAX: Duration = Duration::from_secs(600);

/// Runs the daemon until it is asked to stop. The log has been started.
/// `reread` composes the configuration again for a reload.
pub fn run(config: Config, reread: impl Fn() -> Result<Config, ConfigError> + Send) -> Result<(), DaemonError> {
    // Before anything else: libtorch reads its settings once, and no thread may run while they are written.
    let device = torch::prepare(&config.device)?;
    if disk::ordered().map_err(DaemonError::Fault)? {
        warn!(
            hint = "unset CURIOD_FAULT",
            "CURIOD_FAULT is set: this daemon will fail on purpose; it is for tests"
        );
    }
    let system = |what| move |source| DaemonError::System { what, source };
    let _lock = StateLock::take(&config.state_dir)?;
    let address = config.server.bind;
    let listener = std::net::TcpListener::bind(address).map_err(|source| DaemonError::Bind { address, source })?;
    let bound = listener.local_addr().map_err(system("read the bound address"))?;
    let mut access = Access::load(&config.server)?;
    let socket = socket_path(&config);
    let (_socket_file, admin) = AdminSocket::listen(&socket)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SERVER_THREADS)
        .thread_name("serve")
        .enable_all()
        .build()
        .map_err(system("start the server's threads"))?;
    let (stop, stopped) = watch::channel(false);
    let common = Common {
        state_dir: config.state_dir.clone(),
        threads: config.threads.clone(),
        device,
        serve_bf16: torch::uses_bf16(config.server.precision, device),
        exact_search_samples_max: config.server.exact_search_samples_max,
        clock: Arc::new(SystemClock),
        turns: Arc::new(DeviceTurns::default()),
        events: broadcast::channel(EVENT_QUEUE_MAX).0,
        candidates: Arc::new(ArcSwapOption::empty()),
    };
    let events = common.events.clone();
    let roster = Arc::new(Roster::new(common));
    let state = Arc::new(AppState::new(
        config.server.clone(),
        bound,
        {
            let (roster, started) = (Arc::clone(&roster), Instant::now());
            Box::new(move || roster.status(started.elapsed()))
        },
        events,
        stopped.clone(),
    ));
    access.hand_over(&state);
    let probe = match access.tls() {
        None => Probe::Address(bound),
        Some(_) => Probe::Socket(socket.clone()),
    };
    // The server answers while the streams are opened, which may take a while: alive, not ready.
    let mut server = runtime.spawn({
        let (app, admin_app) = (router(Arc::clone(&state)), admin_router(Arc::clone(&state)));
        let tls = access.tls();
        async move {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let listener = match tls {
                Some(tls) => Listener::Tls(listener, tls),
                None => Listener::Plain(listener),
            };
            let admin = Listener::Socket(tokio::net::UnixListener::from_std(admin)?);
            tokio::join!(serve(listener, app, stopped.clone()), serve(admin, admin_app, stopped));
            Ok::<(), std::io::Error>(())
        }
    });
    let signals = {
        let _inside = runtime.enter();
        Signals::listen()?
    };
    let started = roster
        .start(config.clone())
        .map_err(|(stream, source)| DaemonError::Stream { stream, source });
    let outcome = started.and_then(|()| {
        state.streams.store(Arc::new(roster.handles()));
        state.ready.store(true, Ordering::Release);
        service_manager::ready();
        leftovers::look(&config);
        info!(version = env!("CARGO_PKG_VERSION"), address = %bound, socket = %socket.display(), state = %config.state_dir.display(), "started");
        let parts = Parts {
            roster: Arc::clone(&roster),
            state: Arc::clone(&state),
            access: Arc::new(access),
        };
        runtime.block_on(obey(&parts, probe, signals, &mut server, config, reread))
    });
    state.ready.store(false, Ordering::Release);
    service_manager::stopping();
    info!("stopping");
    let _ = stop.send(true);
    // Connections end while the streams do.
    roster.stop();
    if !server.is_finished()
        && let Ok(Err(error)) = runtime.block_on(server)
    {
        error!(%error, hint = "please report it with its error; nothing durable is lost", "the server ended badly");
    }
    // Work for clients that hung up may still go on; nobody waits for it.
    runtime.shutdown_timeout(Duration::from_millis(500));
    info!("stopped");
    outcome
}

/// What the daemon is told from outside. Listened for before the streams are opened: a signal that comes meanwhile is
/// obeyed as soon as they are.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn listen() -> Result<Self, DaemonError> {
        let listen = |kind| {
            signal(kind).map_err(|source| DaemonError::System {
                what: "listen for signals",
                source,
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            reload: listen(SignalKind::hangup())?,
        })
    }
}

/// What a reload changes.
struct Parts {
    roster: Arc<Roster>,
    state: Arc<AppState>,
    access: Arc<Access>,
}

/// Obeys signals until one asks to stop, or the server ends.
async fn obey(
    parts: &Parts,
    probe: Probe,
    mut signals: Signals,
    server: &mut JoinHandle<std::io::Result<()>>,
    mut config: Config,
    reread: impl Fn() -> Result<Config, ConfigError>,
) -> Result<(), DaemonError> {
    let watchdog = Watchdog::start(probe).map_err(|source| DaemonError::System {
        what: "start the watchdog's thread",
        source,
    })?;
    let every = service_manager::watchdog_interval().map_or(LOOK_EVERY, |interval| interval.min(LOOK_EVERY));
    let mut look = tokio::time::interval(every);
    let mut reload: Option<(Instant, Reload<'_>)> = None;
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return Ok(()),
            _ = signals.interrupt.recv() => return Ok(()),
            ended = &mut *server => {
                let source = match ended {
                    Ok(Err(error)) => error,
                    Ok(Ok(())) => std::io::Error::other("it ended by itself"),
                    Err(panic) => std::io::Error::other(panic),
                };
                return Err(DaemonError::System { what: "serve", source });
            }
            _ = signals.reload.recv(), if reload.is_none() => {
                service_manager::reloading();
                reload = Some((Instant::now(), Box::pin(read_again(parts, config.clone(), &reread))));
            }
            taken = ended(&mut reload), if reload.is_some() => {
                (config, reload) = (taken, None);
                service_manager::ready();
            }
            // A reload holds the streams; it may take a while, not for ever.
            _ = look.tick() => if let Some((since, _)) = &reload {
                if since.elapsed() < RELOAD_TIME_MAX {
                    service_manager::alive();
                }
            } else {
                service_manager::status(&parts.roster.sentence());
                match watchdog.stuck(&parts.roster) {
                    None => service_manager::alive(),
                    Some(part) => warn!(part, hint = "the service manager restarts it soon, and nothing acknowledged is lost; look at what that part uses: disk, device, memory", "does not move; the service manager is not told that the daemon is alive"),
                }
            }
        }
    }
}

/// A reload under way.
type Reload<'a> = Pin<Box<dyn Future<Output = Config> + 'a>>;

async fn ended(reload: &mut Option<(Instant, Reload<'_>)>) -> Config {
    match reload {
        Some((_, reload)) => reload.await,
        None => std::future::pending().await,
    }
}

/// Takes a changed configuration over, as far as that goes without a restart; gives the one that holds now.
async fn read_again(parts: &Parts, old: Config, reread: &impl Fn() -> Result<Config, ConfigError>) -> Config {
    // Whatever the configuration is by now: a key that was revoked is refused from here on.
    let (access, state) = (Arc::clone(&parts.access), Arc::clone(&parts.state));
    if let Err(error) = tokio::task::spawn_blocking(move || access.reload(&state)).await {
        error!(%error, hint = "please report it with this log", "failed to read keys and certificate again; restart the daemon");
    }
    let new = match reread() {
        Ok(new) => new,
        Err(error) => {
            error!(
                error = error.what,
                hint = error.hint,
                "kept the running configuration: the new one can not be used"
            );
            return old;
        }
    };
    let mut is_same = true;
    for (key, changed) in [
        ("state_dir", new.state_dir != old.state_dir),
        ("device", new.device != old.device),
        ("server", new.server != old.server),
        ("threads", new.threads != old.threads),
    ] {
        is_same &= !changed;
        if changed {
            warn!(
                key,
                hint = "restart when convenient, or undo the change",
                "changed in the configuration; it takes a restart of the daemon to hold"
            );
        }
    }
    // Streams are stopped and opened: work for a thread that may block.
    let (roster, state) = (Arc::clone(&parts.roster), Arc::clone(&parts.state));
    let streams = new.streams.clone();
    let taken =
        tokio::task::spawn_blocking(move || roster.change(streams, |handles| state.streams.store(Arc::new(handles))));
    match taken.await {
        Ok(None) if is_same => info!("kept the running configuration: the new one is the same"),
        Ok(None) => {}
        Ok(Some(failed)) if failed.is_empty() => info!("took over the configuration"),
        Ok(Some(failed)) => {
            for (stream, error) in failed {
                let hint = error.hint();
                error!(stream, %error, hint, "failed to start a stream of the new configuration; it is off until the next reload");
            }
        }
        Err(error) => error!(%error, hint = "please report it with this log", "the reload failed; restart the daemon"),
    }
    Config {
        streams: new.streams,
        ingest: new.ingest,
        replay: new.replay,
        learning: new.learning,
        curiosity: new.curiosity,
        publication: new.publication,
        ..old
    }
}

/// Where a stream of this configuration keeps its buffer.
pub fn replay_dirs(config: &Config) -> Vec<(String, PathBuf)> {
    config
        .streams
        .iter()
        .map(|stream| (stream.name.to_string(), replay_dir(&config.state_dir, &stream.name)))
        .collect()
}
