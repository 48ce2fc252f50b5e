//! Who can reach the daemon, and what that asks for.

use std::net::IpAddr;

use super::{ConfigError, ServerConfig};

/// Names of `server.hosts`: each request's `Host` is compared with all of them.
const HOSTS_MAX: usize = 256;

impl ServerConfig {
    /// Refuses an address that others reach where anybody could ask, or listen in.
    pub(super) fn validate_access(&self) -> Result<(), ConfigError> {
        let is_exposed = !self.bind.ip().is_loopback();
        if is_exposed && self.keys_file.is_none() {
            return Err(ConfigError::new(
                format!(
                    "server.bind = \"{}\" is not a loopback address, and there are no keys: anybody who reaches it could ask",
                    self.bind
                ),
                "make keys with `curiod keys new` and name their file in server.keys_file, or listen on 127.0.0.1 or [::1]",
            ));
        }
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            return Err(ConfigError::new(
                "one of server.tls_certificate and server.tls_key is given without the other",
                "give both, or neither",
            ));
        }
        if is_exposed && self.tls_certificate.is_none() && !self.plaintext {
            return Err(ConfigError::new(
                format!(
                    "server.bind = \"{}\" is not a loopback address, and there is no TLS: keys and data would go over the network in \
                     the clear",
                    self.bind
                ),
                "set server.tls_certificate and server.tls_key; or server.plaintext = true where the network itself keeps secrets \
                 (a VPN, a proxy beside the daemon)",
            ));
        }
        if self.hosts.len() > HOSTS_MAX {
            return Err(ConfigError::new(
                format!("server.hosts names {} hosts, more than {HOSTS_MAX}", self.hosts.len()),
                "name those that clients use",
            ));
        }
        match self.hosts.iter().find(|host| !is_host(host)) {
            Some(host) => Err(ConfigError::new(
                format!("server.hosts has \"{host}\", which is no host's name"),
                "write names or addresses alone, without scheme, port or *: \"curiod.example.org\"",
            )),
            None => Ok(()),
        }
    }
}

fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        (1..=63).contains(&label.len()) && label.chars().all(is_plain)
    };
    host.parse::<IpAddr>().is_ok() || (host.len() <= 253 && host.split('.').all(is_label))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn server(change: impl Fn(&mut ServerConfig)) -> Result<(), ConfigError> {
        let mut server = ServerConfig {
            bind: "192.0.2.1:8642".parse().unwrap(),
            keys_file: Some(PathBuf::from("/keys")),
            tls_certificate: Some(PathBuf::from("/tls.pem")),
            tls_key: Some(PathBuf::from("/tls.key")),
            ..ServerConfig::default()
        };
        change(&mut server);
        server.validate_access()
    }

    #[test]
    fn an_address_that_others_reach_wants_keys_and_tls_or_the_word_that_it_may_be_plain() {
        let without_tls = |server: &mut ServerConfig| (server.tls_certificate, server.tls_key) = (None, None);
        server(|_| ()).unwrap();
        for bind in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"] {
            let bind = bind.parse().unwrap();
            let no_keys = server(|server| (server.bind, server.keys_file) = (bind, None)).unwrap_err();
            assert!(
                no_keys.what.contains("no keys") && no_keys.hint.contains("curiod keys new"),
                "{no_keys:?}"
            );
        }
        let no_tls = server(without_tls).unwrap_err();
        assert!(
            no_tls.what.contains("in the clear") && no_tls.hint.contains("server.plaintext"),
            "{no_tls:?}"
        );
        server(|server| {
            without_tls(server);
            server.plaintext = true;
        })
        .unwrap();
        server(|server| {
            without_tls(server);
            (server.bind, server.keys_file) = ("[::1]:1".parse().unwrap(), None);
        })
        .unwrap();
        assert!(server(|server| server.tls_key = None).is_err());
    }

    #[test]
    fn hosts_are_names_or_addresses_and_nothing_else() {
        for host in ["curiod", "curiod.example.org", "my_host-2", "10.0.0.1", "2001:db8::1"] {
            server(|server| server.hosts = vec![host.to_owned()]).unwrap();
        }
        for host in [
            "",
            "*",
            "*.example.org",
            "http://a",
            "a:80",
            "a..b",
            "a.",
            "[::1]",
            "a b",
            "\u{fc}",
        ] {
            assert!(
                server(|server| server.hosts = vec![host.to_owned()]).is_err(),
                "{host:?}"
            );
        }
        assert!(server(|server| server.hosts = vec!["a".to_owned(); HOSTS_MAX + 1]).is_err());
    }
}
