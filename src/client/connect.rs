//! The way to a daemon: what a URL names, and a connection to it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::ClientError;
use crate::socket::SocketPath;

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// The certificates that a Debian trusts, unless `SSL_CERT_FILE` names others as it does for OpenSSL.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Where a daemon is.
pub(super) enum Place {
    /// At an address, by TLS where there is a name to check.
    Address {
        /// Host and port.
        authority: String,
        host: String,
        port: u16,
        tls: Option<(TlsConnector, ServerName<'static>)>,
    },
    /// At its socket.
    Socket(PathBuf),
}

/// Why there is no connection.
pub(super) enum Failed {
    /// Nobody answers.
    Unreachable(String),
    /// Somebody answers whom the certificates do not vouch for.
    Untrusted(String),
    /// Somebody answers who does not speak TLS as a daemon does.
    Odd(String),
}

impl Failed {
    fn of_tls(error: &io::Error) -> Self {
        let refusal = error.get_ref().and_then(|error| error.downcast_ref());
        match refusal {
            Some(rustls::Error::InvalidCertificate(_)) => Self::Untrusted(error.to_string()),
            _ => Self::Odd(error.to_string()),
        }
    }
}

/// A connection of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Place {
    /// What a URL names; `ca` is the file of the certificates that are trusted.
    pub(super) fn of(url: &str, ca: Option<&Path>) -> Result<Self, ClientError> {
        if let Some(path) = url.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Socket(PathBuf::from(path)));
        }
        let wrong = || ClientError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let (authority, is_bare) = (authority.ok_or_else(wrong)?, uri.path() == "/" && uri.query().is_none());
        let (usual_port, is_tls) = match uri.scheme_str() {
            Some("http") => (80, false),
            Some("https") => (443, true),
            _ => return Err(wrong()),
        };
        if !is_bare || authority.host().is_empty() {
            return Err(wrong());
        }
        // An IPv6 address stands in brackets, which are no part of it.
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let tls = match is_tls {
            true => Some((trusting(ca)?, ServerName::try_from(host.clone()).map_err(|_| wrong())?)),
            false => None,
        };
        Ok(Self::Address {
            authority: authority.to_string(),
            port: authority.port_u16().unwrap_or(usual_port),
            host,
            tls,
        })
    }

    /// What the header `Host` says.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Address { authority, .. } => authority,
            Self::Socket(_) => "localhost",
        }
    }

    /// A connection to it.
    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>, Failed> {
        let unreachable = |error: io::Error| Failed::Unreachable(error.to_string());
        let connecting = async {
            match self {
                Self::Socket(path) => {
                    let reached = SocketPath::to(path).map_err(unreachable)?;
                    let stream = UnixStream::connect(reached.as_path()).await.map_err(unreachable)?;
                    Ok(Box::new(stream) as Box<dyn Stream>)
                }
                Self::Address { host, port, tls, .. } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
                    let _ = stream.set_nodelay(true);
                    let Some((connector, name)) = tls else {
                        return Ok(Box::new(stream) as Box<dyn Stream>);
                    };
                    let stream = connector.connect(name.clone(), stream).await;
                    let stream = stream.map_err(|error| Failed::of_tls(&error))?;
                    Ok(Box::new(stream) as Box<dyn Stream>)
                }
            }
        };
        tokio::time::timeout(CONNECT_MAX, connecting).await.unwrap_or_else(|_| {
            Err(Failed::Unreachable(format!(
                "no connection within {} s",
                CONNECT_MAX.as_secs()
            )))
        })
    }
}

/// A connector that trusts the certificates of a file alone.
fn trusting(ca: Option<&Path>) -> Result<TlsConnector, ClientError> {
    let named = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
    let system = || PathBuf::from(named.unwrap_or_else(|| SYSTEM_CA.into()));
    let path = ca.map_or_else(system, Path::to_owned);
    let wrong = |why: String| ClientError::Ca {
        path: path.clone(),
        why,
    };
    let certificates = CertificateDer::pem_file_iter(&path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(format!("no file of certificates: {error}")))?;
    let mut roots = RootCertStore::empty();
    // The system's bundle may hold one that rustls does not know how to read.
    let (taken, _) = roots.add_parsable_certificates(certificates);
    if taken == 0 {
        return Err(wrong("no file of certificates".to_owned()));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(format!("of no use: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_daemons_are_read_and_others_refused() {
        for (url, said) in [
            ("http://127.0.0.1:8642", "127.0.0.1 8642"),
            ("http://[::1]:8642", "::1 8642"),
            ("http://curiod.lan", "curiod.lan 80"),
        ] {
            match Place::of(url, None) {
                Ok(Place::Address {
                    host, port, tls: None, ..
                }) => assert_eq!(format!("{host} {port}"), said),
                _ => panic!("{url} was refused"),
            }
        }
        assert!(
            matches!(Place::of("unix:/a b/c.sock", None), Ok(Place::Socket(path)) if path == Path::new("/a b/c.sock"))
        );
        for url in [
            "",
            "unix:",
            "127.0.0.1:8642",
            "ftp://a",
            "http://",
            "http://a/b",
            "http://a?b",
            "http://user:key@a",
            "http:///a",
        ] {
            assert!(
                matches!(Place::of(url, None), Err(ClientError::Url(_))),
                "{url} was taken"
            );
        }
        let none = Place::of("https://a", Some(Path::new("/dev/null")));
        assert!(matches!(none, Err(ClientError::Ca { .. })));
    }
}
