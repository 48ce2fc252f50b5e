//! TLS for whoever is not on this machine: the certificate and its key, read from files, and read again while connections go on.
//! Invariant: a certificate is shown only with a key that fits it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::access::{AccessError, Readers, read_private};
use crate::limits::PRIVATE_FILE_BYTES_MAX;

/// Certificate or key can not be used: what, and what next.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The key's file.
    #[error(transparent)]
    Key(#[from] AccessError),
    /// A file that is not what it should be.
    #[error("{} is {why}", path.display())]
    Odd {
        /// The file.
        path: PathBuf,
        /// What it is.
        why: String,
    },
    /// The two do not fit, or are of a kind that is not known.
    #[error("the certificate {} can not be used: {source}", path.display())]
    Refused {
        /// The certificate.
        path: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
}

impl TlsError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Key(error @ (AccessError::Exposed { .. } | AccessError::Foreign { .. })) => error.hint(),
            Self::Key(_) | Self::Odd { .. } => {
                "name PEM files: the certificate with those between it and its authority in server.tls_certificate, its key in server.tls_key"
                    .to_owned()
            }
            Self::Refused { .. } => "the key must be the certificate's own: RSA, ECDSA (P-256, P-384) or Ed25519".to_owned(),
        }
    }
}

/// The certificate that connections are answered with.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// One can not be read, is no PEM, or they do not fit.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: ArcSwap::from_pointee(read(certificate, key)?),
        })
    }

    /// Reads both files again, for the connections to come.
    ///
    /// # Errors
    /// As [`load`](Self::load); the old certificate stays then.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(read(&self.certificate, &self.key)?));
        Ok(())
    }

    /// What agrees upon TLS with the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let odd = |path: &Path, why: String| TlsError::Odd {
        path: path.to_owned(),
        why,
    };
    let size = std::fs::metadata(certificate)
        .map_err(|error| odd(certificate, format!("not readable: {error}")))?
        .len();
    if size > PRIVATE_FILE_BYTES_MAX {
        return Err(odd(certificate, "too large for a certificate".to_owned()));
    }
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| odd(certificate, format!("no certificate in PEM: {error}")))?;
    if chain.is_empty() {
        return Err(odd(certificate, "no certificate in PEM".to_owned()));
    }
    // What is wrong with a key is not said: it would be a part of it.
    let key = PrivateKeyDer::from_pem_slice(&read_private(key, Readers::Group)?)
        .map_err(|_| odd(key, "no private key in PEM".to_owned()))?;
    let refused = |source| TlsError::Refused {
        path: certificate.to_owned(),
        source,
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(refused)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// The files of a new certificate for localhost.
    fn files(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        (certificate, key)
    }

    #[test]
    fn a_certificate_is_taken_with_its_own_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let ((a, a_key), (_, b_key)) = (files(folder.path(), "a"), files(folder.path(), "b"));
        let tls = Tls::load(&a, &a_key).unwrap();
        assert!(matches!(Tls::load(&a, &b_key), Err(TlsError::Refused { .. })));
        for (certificate, key) in [(&a_key, &a_key), (&a, &a), (&folder.path().join("none"), &a_key)] {
            let error = Tls::load(certificate, key).err().unwrap();
            assert!(
                !error.to_string().contains("PRIVATE") && !error.hint().is_empty(),
                "{error}"
            );
        }
        fs::set_permissions(&a_key, fs::Permissions::from_mode(0o644)).unwrap();
        let error = tls.reload().unwrap_err();
        assert!(error.hint().contains("chmod 600"), "{}", error.hint());
    }
}
