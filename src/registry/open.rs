//! Opening a registry: what a kill left is swept, what is broken is set aside and named, aliases are repaired.
//! Always true: after it the folder holds whole generations, and `latest` names the newest of them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use tracing::{error, info, warn};

use super::chosen::Chosen;
use super::layout::{Alias, BROKEN_PREFIX, HIGH_WATER_FILE, dir_name, parse_broken_name, parse_dir_name};
use super::manifest::{Manifest, ManifestError};
use super::{Published, RegistryError, State};
use crate::clock::Clock;
use crate::disk;
use crate::durable::{self, DurableError};
use crate::ids::Generation;

/// Broken generations kept for inspection; the oldest is deleted when another one is set aside.
pub(super) const BROKEN_KEPT: usize = 10;

/// Brings the folder into order and reads what it holds.
pub(super) fn open(dir: &Path, clock: &dyn Clock) -> Result<State, RegistryError> {
    fs::create_dir_all(dir).map_err(durable::failed("create", dir))?;
    let swept = durable::sweep(dir)?;
    if swept > 0 {
        info!(registry = %dir.display(), swept, "swept what an interrupted publication left");
    }
    let number_file = dir.join(HIGH_WATER_FILE);
    let written = read_high_water(&number_file)?;
    let mut high_water = written.unwrap_or(0);
    let mut generations = BTreeMap::new();
    for name in names(dir)? {
        high_water = high_water.max(parse_broken_name(&name).map_or(0, |generation| generation.0));
        let Some(generation) = parse_dir_name(&name) else {
            continue;
        };
        high_water = high_water.max(generation.0);
        let folder = dir.join(&name);
        match Manifest::read(&folder, generation) {
            Ok(manifest) => {
                let published = Published {
                    generation,
                    dir: folder,
                    space: manifest.space.clone(),
                    manifest: manifest.into(),
                };
                generations.insert(generation, published);
            }
            Err(why @ ManifestError::Newer { .. }) => {
                let reason = why.to_string();
                return Err(RegistryError::Newer { path: folder, reason });
            }
            Err(why) => set_aside(dir, generation, &why, clock)?,
        }
    }
    if written.is_none() && high_water > 0 {
        warn!(file = %number_file.display(), generation = high_water,
            hint = "none: no number is given twice while the folders are there",
            "the number file is missing; generations are numbered from the folders");
    }
    let mut state = State {
        generations,
        stable: None,
        chosen: Chosen::read(dir)?,
        high_water,
    };
    state.stable = read_stable(dir, &state);
    state.forget_withdrawn_best();
    point_aliases(dir, &state)?;
    Ok(state)
}

/// Moves a generation that is not whole out of the way, loudly.
fn set_aside(dir: &Path, generation: Generation, why: &ManifestError, clock: &dyn Clock) -> Result<(), DurableError> {
    let name = format!("{BROKEN_PREFIX}{}-{}", dir_name(generation), clock.now().0);
    let aside = free_name(dir, name);
    durable::rename(&dir.join(dir_name(generation)), &dir.join(&aside))?;
    error!(registry = %dir.display(), %generation, %why, set_aside = aside,
        hint = "look at the disk; to have it back, stop the daemon and restore its folder from a backup",
        "set a broken generation aside; the next older whole one is served");
    let mut broken: Vec<_> = names(dir)?
        .into_iter()
        .filter(|n| parse_broken_name(n).is_some())
        .collect();
    broken.sort();
    for name in &broken[..broken.len().saturating_sub(BROKEN_KEPT)] {
        durable::remove_dir(&dir.join(name))?;
        warn!(registry = %dir.display(), name, kept = BROKEN_KEPT,
            hint = "none: the newer ones are kept; look at the disk if generations break often",
            "deleted the oldest broken generation");
    }
    Ok(())
}

/// Makes every alias a link to the generation it should name, and removes the alias of none.
pub(super) fn point_aliases(dir: &Path, state: &State) -> Result<(), DurableError> {
    disk::point("publish.aliases").map_err(durable::failed("link", dir))?;
    for alias in Alias::ALL {
        let link = dir.join(alias.as_str());
        let Some(generation) = state.target(alias) else {
            remove_link(&link)?;
            continue;
        };
        let target = dir_name(generation);
        if fs::read_link(&link).is_ok_and(|current| current == Path::new(&target)) {
            continue;
        }
        durable::point(&link, Path::new(&target))?;
        info!(link = %link.display(), target, "an alias names another generation");
    }
    Ok(())
}

/// The generation that `stable` names, or the newest that was the best when it was published: a kill may have come
/// between a publication and its alias. The newest of all where neither is whole.
fn read_stable(dir: &Path, state: &State) -> Option<Generation> {
    let link = dir.join(Alias::Stable.as_str());
    let named = fs::read_link(&link)
        .ok()
        .and_then(|target| parse_dir_name(target.to_str()?));
    let newest = state.target(Alias::Latest);
    let best = state
        .generations
        .values()
        .rev()
        .find(|published| published.manifest.best);
    let best = best.map(|published| published.generation);
    match named {
        Some(generation) if state.generations.contains_key(&generation) => best.max(Some(generation)),
        Some(generation) => {
            warn!(%generation,
                hint = "look at the disk",
                "the best generation is not whole; the newest takes its place");
            newest
        }
        None => newest,
    }
}

/// The version of `high_water` that this curiod writes, and the newest that it reads.
const HIGH_WATER_VERSION: u32 = 1;

/// What `high_water` holds.
#[derive(Deserialize)]
struct HighWater {
    format_version: u32,
    /// The largest number ever given. Another version may say it otherwise.
    #[serde(default)]
    generation: u64,
}

/// The content of `high_water` when this is the largest number ever given.
pub(super) fn high_water_text(generation: Generation) -> Vec<u8> {
    format!("{{\"format_version\":{HIGH_WATER_VERSION},\"generation\":{generation}}}\n").into_bytes()
}

/// The largest number ever given, as the file says; `None` when there is no file. The folders may say more.
fn read_high_water(path: &Path) -> Result<Option<u64>, RegistryError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound) => return Ok(None),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => String::new(),
        Err(e) => return Err(durable::failed("read", path)(e).into()),
    };
    match serde_json::from_str::<HighWater>(&text) {
        Ok(read) if read.format_version > HIGH_WATER_VERSION => Err(RegistryError::Newer {
            path: path.to_owned(),
            reason: format!(
                "it has format {}; this curiod reads up to {HIGH_WATER_VERSION}",
                read.format_version
            ),
        }),
        Ok(read) => Ok(Some(read.generation)),
        // Before there were versions it was the bare number.
        Err(_) => Ok(Some(text.trim().parse().unwrap_or_else(|_| {
            warn!(file = %path.display(), hint = "none: no number is given twice while the folders are there", "the file holds no number; generations are numbered from the folders");
            0
        }))),
    }
}

fn remove_link(link: &Path) -> Result<(), DurableError> {
    match fs::remove_file(link) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(durable::failed("remove", link)(e)),
    }
}

/// The name, or the first of `name-1`, `name-2` .. that is free.
fn free_name(dir: &Path, name: String) -> String {
    let taken = |name: &String| fs::symlink_metadata(dir.join(name)).is_ok();
    let numbered = (1..).map(|n: u32| format!("{name}-{n}"));
    std::iter::once(name.clone())
        .chain(numbered)
        .find(|n| !taken(n))
        .unwrap_or(name)
}

/// The UTF-8 names in a folder; others are not ours.
fn names(dir: &Path) -> Result<Vec<String>, DurableError> {
    fs::read_dir(dir)
        .map_err(durable::failed("list", dir))?
        .filter_map(|entry| match entry {
            Ok(entry) => entry.file_name().into_string().ok().map(Ok),
            Err(e) => Some(Err(durable::failed("list", dir)(e))),
        })
        .collect()
}
