//! What lets clients in: the keys and the certificate, read at the start and again at each reload.
//! Always true: what can not be read at the start is an error; at a reload the old ones stay, and the log says why.

use std::sync::Arc;

use tracing::{error, info, warn};

use crate::access::{AccessError, Keys, read_keys};
use crate::config::ServerConfig;
use crate::serve::AppState;
use crate::serve::tls::{Tls, TlsError};

/// Keys and certificate of a daemon, as its configuration names them.
pub(super) struct Access {
    config: ServerConfig,
    keys: Option<Keys>,
    tls: Option<Arc<Tls>>,
}

/// Neither keys nor certificate, or not these.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The keys.
    #[error("the access keys (server.keys_file) can not be used: {0}")]
    Keys(#[from] AccessError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl CredentialError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Keys(error) => error.hint(),
            Self::Tls(error) => error.hint(),
        }
    }
}

impl Access {
    /// Reads what the configuration names.
    pub(super) fn load(config: &ServerConfig) -> Result<Self, CredentialError> {
        let tls = match (&config.tls_certificate, &config.tls_key) {
            (Some(certificate), Some(key)) => Some(Arc::new(Tls::load(certificate, key)?)),
            _ => None,
        };
        Ok(Self {
            keys: config.keys_file.as_deref().map(read_keys).transpose()?,
            config: config.clone(),
            tls,
        })
    }

    /// The certificate.
    pub(super) fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// Lets the server ask for the keys that were read.
    pub(super) fn hand_over(&mut self, state: &AppState) {
        if let Some(keys) = self.keys.take() {
            warn_of_none(&keys);
            state.let_in(keys);
        }
    }

    /// Reads keys and certificate again. It waits for the disk.
    pub(super) fn reload(&self, state: &AppState) {
        if let Some(file) = &self.config.keys_file {
            match read_keys(file) {
                Ok(keys) => {
                    info!(keys = keys.len(), "read the access keys again");
                    warn_of_none(&keys);
                    state.let_in(keys);
                }
                Err(error) => {
                    let hint = error.hint();
                    error!(%error, hint, "kept the old access keys: the new ones can not be used");
                }
            }
        }
        if let Some(tls) = &self.tls {
            match tls.reload() {
                Ok(()) => info!("read the certificate again"),
                Err(error) => {
                    let hint = error.hint();
                    error!(%error, hint, "kept the old certificate: the new one can not be used");
                }
            }
        }
    }
}

fn warn_of_none(keys: &Keys) {
    if keys.is_empty() {
        warn!(
            hint = "make one with `curiod keys new`, and reload",
            "there is no access key: only the admin socket is answered"
        );
    }
}
