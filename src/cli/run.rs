//! `curiod run`: the daemon, from a file or from a folder and good defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{self, Config, ConfigError};
use crate::sample::Modality;
use crate::sample::image::Format;
use crate::sample::series::{self, SeriesLimits};
use crate::sample::text::{self, TextLimits};
use crate::sample::transition::{self, TransitionLimits};

/// The flags of `curiod run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The configuration file. Without it, --inbox is all that is needed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["inbox", "state", "bind", "modality"], required_unless_present = "inbox")]
    pub config: Option<PathBuf>,
    /// A folder to watch. May be given several times.
    #[arg(long, value_name = "DIR")]
    pub inbox: Vec<PathBuf>,
    /// The folder that holds everything the daemon knows [default: $STATE_DIRECTORY, else $XDG_STATE_HOME/curiod, else
    /// ~/.local/state/curiod]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Where to listen [default: 127.0.0.1:8642]
    #[arg(long, value_name = "ADDR")]
    pub bind: Option<SocketAddr>,
    /// The kind of data. `auto` looks at the first files in the inbox.
    #[arg(long, value_enum, default_value = "auto")]
    pub modality: ModalityChoice,
}

/// What `--modality` takes.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModalityChoice {
    /// Look at the first files.
    Auto,
    /// Pictures.
    Image,
    /// Texts.
    Text,
    /// Series of numbers.
    Series,
    /// Transitions.
    Transition,
}

/// Files that `auto` looks at.
const LOOK_AT_FILES: usize = 64;
/// Bytes of each that tell its type, and how much more is read of one that begins with one of these: Parquet, zip, gzip.
const LOOK_AT_BYTES: u64 = 256 << 10;
const LOOK_AT_WHOLE_BYTES: u64 = 64 << 20;
const WHOLE: [&[u8]; 3] = [b"PAR1", b"PK\x03\x04", b"\x1f\x8b"];

/// What a compressed file may expand to while its type is looked for.
const LOOK_AT_EXPANDED: u64 = 64 << 20;

impl RunArgs {
    /// The configuration that the flags and the environment ask for.
    pub fn compose(&self) -> Result<Config, ConfigError> {
        if let Some(file) = &self.config {
            return config::compose(file, config::environment());
        }
        let inboxes = self.inbox.iter().map(|inbox| absolute(inbox)).collect::<Vec<_>>();
        let modality = match self.modality {
            ModalityChoice::Image => Modality::Image,
            ModalityChoice::Text => Modality::Text,
            ModalityChoice::Series => Modality::Series,
            ModalityChoice::Transition => Modality::Transition,
            ModalityChoice::Auto => tell_modality(&inboxes)?,
        };
        let state = self
            .state
            .clone()
            .or_else(default_state_dir)
            .ok_or_else(|| ConfigError {
                what: "there is no place for the state: neither STATE_DIRECTORY, XDG_STATE_HOME nor HOME is set"
                    .to_owned(),
                hint: "give a folder with --state".to_owned(),
            })?;
        let mut table = toml::Table::new();
        if let Some(bind) = self.bind {
            let server = toml::Table::from_iter([("bind".to_owned(), toml::Value::String(bind.to_string()))]);
            table.insert("server".to_owned(), server.into());
        }
        written(table, &state, default_name(modality), modality, &inboxes)
    }
}

/// The configuration of a state without a file: what [`RunArgs`] gives a stream of this name. It watches nothing: below its inbox there
/// can be no file.
pub fn bare(state: &Path, stream: &str, modality: Modality) -> Result<Config, ConfigError> {
    written(
        toml::Table::new(),
        state,
        stream,
        modality,
        &[PathBuf::from("/dev/null")],
    )
}

/// Written as the file a user would write, so that both ways are one: same defaults, same environment, same checks.
fn written(
    mut table: toml::Table,
    state: &Path,
    name: &str,
    modality: Modality,
    inboxes: &[PathBuf],
) -> Result<Config, ConfigError> {
    table.insert("state_dir".to_owned(), in_utf8(&absolute(state))?);
    let inboxes = inboxes
        .iter()
        .map(|inbox| in_utf8(inbox))
        .collect::<Result<Vec<_>, _>>()?;
    let stream = toml::Table::from_iter([
        ("name".to_owned(), toml::Value::String(name.to_owned())),
        ("modality".to_owned(), toml::Value::String(modality.to_string())),
        ("inbox".to_owned(), inboxes.into()),
    ]);
    table.insert("stream".to_owned(), vec![toml::Value::Table(stream)].into());
    config::parse(
        &table.to_string(),
        "of the command line",
        Path::new("/"),
        config::environment(),
    )
}

/// The name of the one stream of a daemon without a configuration file.
fn default_name(modality: Modality) -> &'static str {
    match modality {
        Modality::Image => "pictures",
        Modality::Text => "texts",
        Modality::Series => "series",
        Modality::Transition => "transitions",
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn in_utf8(path: &Path) -> Result<toml::Value, ConfigError> {
    path.to_str()
        .map(|text| toml::Value::String(text.to_owned()))
        .ok_or_else(|| ConfigError {
            what: format!("the folder {} has a name that is not UTF-8", path.display()),
            hint: "give a folder whose path is UTF-8; the files in it may have any name".to_owned(),
        })
}

/// Where the state is when nobody says.
pub fn default_state_dir() -> Option<PathBuf> {
    let folder = |variable: &str| {
        std::env::var_os(variable)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    folder("STATE_DIRECTORY")
        .or_else(|| Some(folder("XDG_STATE_HOME")?.join("curiod")))
        .or_else(|| Some(folder("HOME")?.join(".local/state/curiod")))
}

/// The modality of the first files, by their content: of pictures where one is, else what most of them are. An empty inbox is
/// taken for one of pictures; files of which none is anything that is learnt from are refused rather than quarantined one by one.
fn tell_modality(inboxes: &[PathBuf]) -> Result<Modality, ConfigError> {
    let mut looked_at = 0;
    // The likelier comes first among equals: rows of transitions hold words too, and a table of words holds numbers.
    let mut seen = [(Modality::Transition, 0), (Modality::Text, 0), (Modality::Series, 0)];
    let mut folders = inboxes.to_vec();
    while let Some(folder) = folders.pop() {
        // A folder that can not be read is named when the stream starts.
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && looked_at < LOOK_AT_FILES {
                let Some(bytes) = beginning(&entry.path()).filter(|bytes| !bytes.is_empty()) else {
                    continue;
                };
                looked_at += 1;
                if Format::of(&bytes).is_ok() {
                    return Ok(Modality::Image);
                }
                let is = |modality| is_of(modality, &entry.path(), &bytes);
                if let Some((_, count)) = seen.iter_mut().find(|(modality, _)| is(*modality)) {
                    *count += 1;
                }
            }
        }
        if looked_at >= LOOK_AT_FILES {
            break;
        }
    }
    if looked_at == 0 {
        return Ok(Modality::Image);
    }
    match seen.iter().rev().max_by_key(|(_, count)| *count) {
        Some((modality, count)) if *count > 0 => Ok(*modality),
        _ => Err(ConfigError {
            what: format!(
                "none of the first {looked_at} files in the inbox is a picture, a text, a series or a file of transitions, and \
                 curiod learns from no other"
            ),
            hint: "point --inbox at a folder of such files, or say --modality image, text, series or transition to quarantine \
                   the rest"
                .to_owned(),
        }),
    }
}

/// Whether the beginning of a file is of this kind of data: texts, series or transitions.
fn is_of(modality: Modality, path: &Path, bytes: &[u8]) -> bool {
    let is_array = bytes.starts_with(b"\x93NUMPY");
    let is_sound = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WAVE");
    if is_array || is_sound {
        return modality == Modality::Series;
    }
    let expansion_max = LOOK_AT_EXPANDED;
    match modality {
        Modality::Transition => {
            let limits = TransitionLimits {
                expansion_max,
                ..TransitionLimits::default()
            };
            transition::cut(path, bytes, &limits).is_ok()
        }
        Modality::Text => {
            let limits = TextLimits {
                expansion_max,
                ..TextLimits::default()
            };
            text::cut(path, bytes, None, &limits).is_ok()
        }
        _ => {
            let limits = SeriesLimits {
                expansion_max,
                ..SeriesLimits::default()
            };
            series::cut(path, bytes, &limits).is_ok()
        }
    }
}

/// The beginning of a file, or all of one that can not be told by its beginning.
fn beginning(path: &Path) -> Option<Vec<u8>> {
    let mut file = std::fs::File::open(path).ok()?;
    let mut bytes = Vec::new();
    let mut read_up_to = |most: u64, bytes: &mut Vec<u8>| {
        std::io::Read::read_to_end(&mut std::io::Read::take(&mut file, most), bytes).ok()
    };
    read_up_to(LOOK_AT_BYTES, &mut bytes)?;
    if WHOLE.iter().any(|magic| bytes.starts_with(magic)) {
        read_up_to(LOOK_AT_WHOLE_BYTES, &mut bytes)?;
    }
    Some(bytes)
}
