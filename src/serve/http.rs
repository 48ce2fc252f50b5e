//! Connections, over the network, by TLS or over the admin socket: accepts them, bounds them, and closes them when the daemon stops.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::tls::Tls;
use crate::limits::{CONNECTIONS_MAX, HANDSHAKE_TIMEOUT_S, HEAD_BYTES_MAX, HEAD_TIMEOUT_S, SOCKET_CONNECTIONS_MAX};

/// How long requests that are being answered when the daemon stops may take.
const FAREWELL_MAX: Duration = Duration::from_secs(3);

/// How long to wait before accepting again when the system has no file descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Where connections come from.
pub enum Listener {
    /// The network, in the clear.
    Plain(TcpListener),
    /// The network, by TLS.
    Tls(TcpListener, Arc<Tls>),
    /// A unix socket.
    Socket(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Plain(listener)
    }
}

/// A connection, before anything is said.
enum Connection {
    Plain(TcpStream),
    Tls(TcpStream, TlsAcceptor),
    Socket(UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Connection> {
        Ok(match self {
            Self::Plain(listener) => Connection::Plain(listener.accept().await?.0),
            Self::Tls(listener, tls) => Connection::Tls(listener.accept().await?.0, tls.acceptor()),
            Self::Socket(listener) => Connection::Socket(listener.accept().await?.0),
        })
    }

    fn connections_max(&self) -> usize {
        match self {
            Self::Plain(_) | Self::Tls(..) => CONNECTIONS_MAX,
            Self::Socket(_) => SOCKET_CONNECTIONS_MAX,
        }
    }
}

/// Serves until `stop` turns true, then lets the requests that are being answered end.
pub async fn serve(listener: impl Into<Listener>, router: Router, mut stop: watch::Receiver<bool>) {
    let listener = listener.into();
    let room = Arc::new(Semaphore::new(listener.connections_max()));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            // Never closed, so that only a permit can come.
            let permit = room.clone().acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (connection, permit) = tokio::select! {
            () = stopped(&mut stop) => break,
            (accepted, permit) = accepted => match accepted {
                Ok(connection) => (connection, permit),
                Err(error) => {
                    warn!(%error,
                        hint = "raise the limit of open files (ulimit -n, LimitNOFILE= of the unit)",
                        "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            },
        };
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            let _permit = permit;
            converse(connection, router, stop).await;
        });
    }
    drop(listener);
    let farewell = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL_MAX, farewell).await.is_err() {
        warn!(
            hint = "none: their clients may ask again",
            "closed connections whose requests did not end"
        );
    }
}

/// Agrees upon TLS where it is asked for, then answers.
async fn converse(connection: Connection, router: Router, mut stop: watch::Receiver<bool>) {
    match connection {
        Connection::Plain(stream) => {
            let _ = stream.set_nodelay(true);
            answer(stream, router, stop).await;
        }
        Connection::Socket(stream) => answer(stream, router, stop).await,
        Connection::Tls(stream, acceptor) => {
            let _ = stream.set_nodelay(true);
            let patience = Duration::from_secs(HANDSHAKE_TIMEOUT_S);
            let agreed = tokio::select! {
                () = stopped(&mut stop) => return,
                agreed = tokio::time::timeout(patience, acceptor.accept(stream)) => agreed,
            };
            match agreed {
                Ok(Ok(stream)) => answer(stream, router, stop).await,
                Ok(Err(error)) => debug!(%error, "a connection did not agree upon TLS"),
                Err(_) => debug!("a connection took too long to agree upon TLS"),
            }
        }
    }
}

async fn answer<S>(stream: S, router: Router, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HEAD_TIMEOUT_S))
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection broke");
    }
}

/// Ends when the daemon stops; also when whoever could say so is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
