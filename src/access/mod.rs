//! Access keys: who may ask what, and how that is written down.
//! Invariant: the daemon and its disk know the hash of a key and never the key; a key is looked for without a branch on it.

mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub use file::{AccessError, Readers, add, read_keys, read_private, read_secret, revoke};

use crate::limits::KEYS_MAX;

/// What a key begins with, so that a search for lost secrets finds it.
const SECRET_PREFIX: &str = "curiod_";

/// Random bytes of a key: nobody tries them all, however quick the hash.
const SECRET_BYTES: usize = 32;

/// Characters of a presented key that are looked at; a longer one is none of ours.
const PRESENTED_CHARS_MAX: usize = 256;

/// What stands before a hash in the file of the keys.
const HASH_PREFIX: &str = "blake3:";

/// Keeps the hashes of keys apart from those of sources.
const HASH_CONTEXT: &str = "curiod 2026 access key";

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Questions, and reading what the daemon holds.
    Read,
    /// Telling the daemon labels.
    Label,
    /// Everything, and what changes the daemon's state.
    Admin,
    /// `/metrics`.
    Metrics,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Read, Self::Label, Self::Admin, Self::Metrics];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Label => "label",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What can not be part of a key's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a name.
    #[error("a key's name is 1 to 64 of a-z, 0-9, _ and -, first a letter or digit")]
    Name,
    /// Not scopes.
    #[error("scopes are some of read, label, admin and metrics, with commas between them and each once")]
    Scopes,
    /// Not a hash.
    #[error("a key's hash is blake3: and 64 hexadecimal digits")]
    Hash,
    /// Not three fields.
    #[error("a line is NAME SCOPES blake3:HASH, as `curiod keys new` writes it")]
    Fields,
    /// A name, or a key, that another line has.
    #[error("another line has the same name or the same key")]
    Twice,
    /// Too many.
    #[error("there are more than {KEYS_MAX} keys")]
    TooMany,
}

/// The scopes of a key: one at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Scope> {
        self.0.iter().copied()
    }

    /// Whether they allow this. `admin` allows everything.
    pub fn allow(&self, scope: Scope) -> bool {
        self.0.contains(&scope) || self.0.contains(&Scope::Admin)
    }
}

impl FromStr for Scopes {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut scopes = BTreeSet::new();
        for name in text.split(',') {
            let scope = Scope::ALL.into_iter().find(|scope| scope.as_str() == name);
            if !scopes.insert(scope.ok_or(KeyError::Scopes)?) {
                return Err(KeyError::Scopes);
            }
        }
        Ok(Self(scopes))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|scope| scope.as_str()).collect();
        f.write_str(&names.join(","))
    }
}

/// The name of a key, which logs and lists call it by: 1 to 64 of a-z, 0-9, _ and -; first a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyName(String);

impl FromStr for KeyName {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_good = text.len() <= 64
            && text.starts_with(is_plain)
            && text.chars().all(|c| is_plain(c) || matches!(c, '_' | '-'));
        is_good.then(|| Self(text.to_owned())).ok_or(KeyError::Name)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key as who presents it has it. It has no `Debug`, and is in no message.
pub struct Secret(String);

impl Secret {
    /// A new key of 256 bits from the system's generator.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new() -> std::io::Result<Self> {
        let mut bytes = [0; SECRET_BYTES];
        let mut filled = 0;
        while filled < SECRET_BYTES {
            filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
        }
        Ok(Self(format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// The key.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its hash. A quick one: what it hides are 256 random bits and no word that somebody thought of, so that a slow one
    /// would hide nothing more, and cost each request its time.
    fn hash(text: &str) -> blake3::Hash {
        blake3::Hash::from_bytes(blake3::derive_key(HASH_CONTEXT, text.as_bytes()))
    }
}

/// A key as the daemon knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// What it is called.
    pub name: KeyName,
    /// What it is for.
    pub scopes: Scopes,
    hash: blake3::Hash,
}

impl Key {
    /// What is kept of a secret.
    pub fn of(name: KeyName, scopes: Scopes, secret: &Secret) -> Self {
        let hash = Secret::hash(&secret.0);
        Self { name, scopes, hash }
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(line: &str) -> Result<Self, KeyError> {
        let mut fields = line.split_ascii_whitespace();
        let (Some(name), Some(scopes), Some(hash), None) = (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(KeyError::Fields);
        };
        let hash = hash.strip_prefix(HASH_PREFIX).ok_or(KeyError::Hash)?;
        Ok(Self {
            name: name.parse()?,
            scopes: scopes.parse()?,
            hash: blake3::Hash::from_hex(hash).map_err(|_| KeyError::Hash)?,
        })
    }
}

/// As its line in the file.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {HASH_PREFIX}{}", self.name, self.scopes, self.hash)
    }
}

/// The keys of a daemon, each name and each key once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// The keys of a file's text: a line each; `#` begins a comment.
    ///
    /// # Errors
    /// The number of the line, from 1, and what is wrong with it. What the line holds is not said: it may be a key.
    pub fn parse(text: &str) -> Result<Self, (usize, KeyError)> {
        let mut keys: Vec<Key> = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let key: Key = line.parse().map_err(|error| (number, error))?;
            if keys
                .iter()
                .any(|other| other.name == key.name || other.hash == key.hash)
            {
                return Err((number, KeyError::Twice));
            }
            if keys.len() == KEYS_MAX {
                return Err((number, KeyError::TooMany));
            }
            keys.push(key);
        }
        Ok(Self(keys))
    }

    /// The key that was presented. How long it takes tells nothing of how near a wrong one is: hashes are compared, in
    /// constant time as `blake3::Hash` promises, and with every key.
    pub fn find(&self, presented: &str) -> Option<&Key> {
        if presented.len() > PRESENTED_CHARS_MAX {
            return None;
        }
        let hash = Secret::hash(presented);
        self.0
            .iter()
            .fold(None, |found, key| if key.hash == hash { Some(key) } else { found })
    }

    /// All of them, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none: then nobody is let in by a key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The key of an `Authorization` header (RFC 6750); nothing where it is of another scheme or no token.
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim_matches(' ');
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && is_token).then_some(token)
}
