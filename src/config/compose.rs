//! From a file and the environment to one configuration.
//! Precedence: a stream's own key, then `CURIOD__SECTION__KEY` of the environment, then the file's section, then the default.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, ConfigError};

/// The sections that a stream inherits key by key.
const INHERITED: [&str; 5] = ["ingest", "replay", "learning", "curiosity", "publication"];

/// What an environment variable that overrides a key begins with.
const ENVIRONMENT_PREFIX: &str = "CURIOD__";

/// The environment's variables; one that is not text can not be a setting and is passed over.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The configuration that this file and these environment variables make, checked. Relative paths in it are relative
/// to the file's folder.
pub fn compose(file: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        ConfigError::new(
            format!("failed to read the configuration {}: {error}", file.display()),
            "give an existing file with --config, or none and an inbox with --inbox",
        )
    })?;
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    parse(&text, &file.display().to_string(), folder, environment)
}

/// [`compose`] for the text of a file that is called `name` and lies in `folder`.
pub fn parse(
    text: &str,
    name: &str,
    folder: &Path,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    // Read the text as it stands first: only these errors know their line.
    toml::from_str::<Config>(text).map_err(|error| refused(name, &error))?;
    let mut table: Table = toml::from_str(text).map_err(|error| refused(name, &error))?;
    for (variable, value) in environment {
        if let Some(path) = variable.strip_prefix(ENVIRONMENT_PREFIX) {
            set(&mut table, path, &value).map_err(|why| {
                ConfigError::new(
                    format!("the environment variable {variable} {why}"),
                    "it is CURIOD__SECTION__KEY, for example CURIOD__SERVER__BIND=127.0.0.1:8642",
                )
            })?;
        }
    }
    inherit(&mut table);
    let mut config = Config::deserialize_from(table).map_err(|error| {
        ConfigError::new(
            format!(
                "the configuration {name} with the environment's CURIOD__ variables: {}",
                first_line(&error)
            ),
            "run `curiod config schema` for every key and its type",
        )
    })?;
    resolve_paths(&mut config, folder);
    config.validate()?;
    Ok(config)
}

impl Config {
    fn deserialize_from(table: Table) -> Result<Self, toml::de::Error> {
        serde::Deserialize::deserialize(Value::Table(table))
    }
}

impl super::StreamConfig {
    /// This stream with one setting changed, `SECTION.KEY=VALUE`, the value written as in TOML; text needs no quotes. The
    /// result is checked.
    pub fn with(&self, setting: &str) -> Result<Self, ConfigError> {
        let wrong = |why: String| {
            ConfigError::new(
                format!("the setting `{setting}` {why}"),
                "it is SECTION.KEY=VALUE, for example replay.sampler=uniform",
            )
        };
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| wrong("has no value".to_owned()))?;
        let mut table = Table::try_from(self).map_err(|error| wrong(error.to_string()))?;
        set(&mut table, &key.replace('.', "__"), value).map_err(&wrong)?;
        let changed: Self = serde::Deserialize::deserialize(Value::Table(table))
            .map_err(|error: toml::de::Error| wrong(format!("can not be: {}", first_line(&error))))?;
        changed.validate()?;
        Ok(changed)
    }
}

fn refused(name: &str, error: &toml::de::Error) -> ConfigError {
    ConfigError::new(
        format!(
            "the configuration {name} can not be used: {}",
            error.to_string().trim_end()
        ),
        "run `curiod config schema` for every key and its type",
    )
}

fn first_line(error: &toml::de::Error) -> String {
    error.message().lines().next().unwrap_or_default().to_owned()
}

/// Sets `SECTION__KEY` to a value written as in TOML; text needs no quotes.
fn set(table: &mut Table, path: &str, value: &str) -> Result<(), String> {
    let path = path.to_ascii_lowercase();
    let mut keys: Vec<&str> = path.split("__").collect();
    let last = keys.pop().filter(|key| !key.is_empty()).ok_or("names no key")?;
    let mut at = table;
    for key in keys {
        let next = at.entry(key).or_insert_with(|| Value::Table(Table::new()));
        at = next
            .as_table_mut()
            .ok_or_else(|| format!("goes through `{key}`, which is no section"))?;
    }
    let parsed = toml::from_str::<Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut t| t.remove("value"));
    at.insert(
        last.to_owned(),
        parsed.unwrap_or_else(|| Value::String(value.to_owned())),
    );
    Ok(())
}

/// Gives each stream the keys of the top level's sections that it does not set itself.
fn inherit(table: &mut Table) {
    let sections: Vec<(&str, Table)> = INHERITED
        .iter()
        .filter_map(|name| Some((*name, table.get(*name)?.as_table()?.clone())))
        .collect();
    let Some(streams) = table.get_mut("stream").and_then(Value::as_array_mut) else {
        return;
    };
    for stream in streams.iter_mut().filter_map(Value::as_table_mut) {
        for (name, section) in &sections {
            let own = stream.entry(*name).or_insert_with(|| Value::Table(Table::new()));
            let Some(own) = own.as_table_mut() else { continue };
            for (key, value) in section {
                own.entry(key.as_str()).or_insert_with(|| value.clone());
            }
        }
    }
}

fn resolve_paths(config: &mut Config, folder: &Path) {
    let resolve = |path: &mut PathBuf| {
        if path.is_relative() {
            *path = folder.join(&*path);
        }
    };
    resolve(&mut config.state_dir);
    config.learning.init.iter_mut().for_each(resolve);
    config.device.libtorch_dir.iter_mut().for_each(resolve);
    let server = &mut config.server;
    for path in [
        &mut server.keys_file,
        &mut server.tls_certificate,
        &mut server.tls_key,
        &mut server.socket,
    ] {
        path.iter_mut().for_each(resolve);
    }
    for stream in &mut config.streams {
        stream.inbox.iter_mut().for_each(resolve);
        stream.ingest.done_dir.iter_mut().for_each(resolve);
        stream.ingest.quarantine_dir.iter_mut().for_each(resolve);
        stream.learning.init.iter_mut().for_each(resolve);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "[[stream]]\nname = \"a\"\nmodality = \"image\"\ninbox = [\"in\"]\n";

    fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        parse(text, "curiod.toml", Path::new("/etc/curiod"), environment)
    }

    #[test]
    fn a_stream_inherits_what_it_does_not_say() {
        let text =
            format!("[replay]\nbytes_max = 5000000\nrecent_share = 0.5\n{STREAM}[stream.replay]\nrecent_share = 0.1\n");
        let config = read(&text, &[]).unwrap();
        assert_eq!(config.streams[0].replay.bytes_max, 5_000_000);
        assert_eq!(config.streams[0].replay.recent_share, 0.1);
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let text = format!("[server]\nbind = \"127.0.0.1:1\"\n{STREAM}");
        let set = [
            ("CURIOD__SERVER__BIND", "127.0.0.1:2"),
            ("CURIOD__LEARNING__SEED", "7"),
            ("HOME", "/x"),
        ];
        let config = read(&text, &set).unwrap();
        assert_eq!(config.server.bind.port(), 2);
        assert_eq!(config.streams[0].learning.seed, 7);
    }

    #[test]
    fn relative_paths_are_relative_to_the_file() {
        let config = read(&format!("state_dir = \"state\"\n{STREAM}"), &[]).unwrap();
        assert_eq!(config.state_dir, Path::new("/etc/curiod/state"));
        assert_eq!(config.streams[0].inbox, [Path::new("/etc/curiod/in")]);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = read("state_dir = \"/s\"\n[server]\nbnid = 1\n", &[]).unwrap_err();
        assert!(
            error.what.contains("bnid") && error.what.contains("line 3"),
            "{}",
            error.what
        );
        let error = read(STREAM, &[("CURIOD__SERVER__BNID", "1")]).unwrap_err();
        assert!(error.what.contains("bnid"), "{}", error.what);
    }

    #[test]
    fn the_shipped_configuration_says_the_defaults() {
        let shipped = include_str!("../../config/curiod.toml");
        let config = read(shipped, &[]).unwrap();
        let mut plain = Config {
            streams: config.streams.clone(),
            ..Config::default()
        };
        plain.streams[0] = crate::config::StreamConfig {
            ingest: plain.ingest.clone(),
            replay: plain.replay.clone(),
            learning: plain.learning.clone(),
            curiosity: plain.curiosity.clone(),
            publication: plain.publication.clone(),
            ..plain.streams[0].clone()
        };
        assert_eq!(config, plain, "config/curiod.toml and the defaults disagree");
    }

    #[test]
    fn the_shipped_configuration_documents_every_key() {
        let shipped = include_str!("../../config/curiod.toml");
        let sections = serde_json::to_value(Config::default()).unwrap();
        for (section, keys) in sections.as_object().unwrap() {
            for key in keys
                .as_object()
                .into_iter()
                .flat_map(|keys| keys.keys())
                .chain([section])
            {
                let named = shipped.lines().any(|line| {
                    let line = line.trim_start_matches(['#', ' ']);
                    line.starts_with(&format!("{key} =")) || line.contains(&format!("[{key}]"))
                });
                assert!(named, "config/curiod.toml does not document `{section}.{key}`");
            }
        }
    }
}
