//! The registry of a stream: its published models, each an immutable folder, complete or absent.
//! Invariants: a generation enters only with the gate's [`Accepted`]; its number is larger than every number ever
//! given; its files hash to what its manifest says; `latest` always names a whole generation, whenever the process
//! is killed.

mod chosen;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gate_thread;
pub mod layout;
mod manifest;
mod open;
pub mod texts;
mod verdicts;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::{error, info};

use crate::clock::Clock;
use crate::disk;
use crate::durable::{self, DurableError};
use crate::gate::{Accepted, Network};
use crate::ids::{Generation, Space};
use crate::model::text::{Tokenizer, TokenizerError};
use crate::model::{Decoders, EncoderSpec};
use chosen::Chosen;
pub use gate_thread::{CandidateSlot, GateCounters, GateStream, GateThread, OnVerdict};
use layout::{Alias, CONFIG_FILE, DECODER_FILE, HIGH_WATER_FILE, MANIFEST_FILE, MODEL_FILE, VERDICTS_FILE, dir_name};
pub use manifest::{FORMAT_VERSION, Manifest, ManifestError, NEIGHBOURS_KEPT_MINOR, Provenance};
use texts::TOKENIZER_FILE;
use verdicts::VerdictHistory;
pub use verdicts::{VERDICTS_KEPT, VerdictRecord};

/// Why the registry could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The disk refused.
    #[error("the registry could not be changed: {0}")]
    Durable(#[from] DurableError),
    /// A generation, or a file beside them, was written by a newer curiod.
    #[error("failed to open {}: {reason}; install the curiod that wrote it, or move it away", path.display())]
    Newer {
        /// The generation's folder, or the file.
        path: PathBuf,
        /// Which format it has.
        reason: String,
    },
    /// The staged weights are not those that were judged.
    #[error("the staged weights in {} are not the ones the gate accepted; they were not published", dir.display())]
    NotTheJudged {
        /// The staging folder.
        dir: PathBuf,
    },
    /// The vocabulary beside a text model's weights can not be read.
    #[error("the vocabulary of a generation can not be read: {0}")]
    Tokenizer(#[from] TokenizerError),
    /// A generation that should answer is not kept.
    #[error("generation {generation} is not kept")]
    NotKept {
        /// Its number.
        generation: Generation,
    },
    /// A generation that should be rolled back to is not older than the one that answers.
    #[error("generation {generation} is not older than the one that answers")]
    NotBefore {
        /// Its number.
        generation: Generation,
    },
    /// There is no generation to roll back to.
    #[error("there is no older generation to roll back to")]
    NothingBefore,
    /// A published file changed after it was published.
    #[error("{} has changed since it was published; restart curiod, which sets the generation aside", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// A generation: a published model.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its number.
    pub generation: Generation,
    /// Its folder.
    pub dir: PathBuf,
    /// The space of its vectors.
    pub space: Space,
    /// What is known of it.
    pub manifest: Arc<Manifest>,
}

impl Published {
    /// The weights, as safetensors; checked against the manifest at every reading.
    pub fn weights(&self) -> Result<Vec<u8>, RegistryError> {
        self.read(MODEL_FILE)
    }

    /// The weights of what fills holes, checked likewise; None where the generation has none.
    pub fn decoder(&self) -> Result<Option<Vec<u8>>, RegistryError> {
        self.has_decoder().then(|| self.read(DECODER_FILE)).transpose()
    }

    /// What texts are read with, checked likewise; None for a model of pictures.
    pub fn tokenizer(&self) -> Result<Option<Tokenizer>, RegistryError> {
        if !self.manifest.files.contains_key(TOKENIZER_FILE) {
            return Ok(None);
        }
        Ok(Some(Tokenizer::parse(&self.read(TOKENIZER_FILE)?)?))
    }

    /// Whether the generation can fill holes.
    pub fn has_decoder(&self) -> bool {
        self.manifest.files.contains_key(DECODER_FILE)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, RegistryError> {
        let path = self.dir.join(name);
        let bytes = fs::read(&path).map_err(durable::failed("read", &path))?;
        if self.manifest.files.get(name).map(String::as_str) != Some(blake3::hash(&bytes).to_hex().as_str()) {
            return Err(RegistryError::Changed { path });
        }
        Ok(bytes)
    }
}

/// What a candidate brings beside where it comes from; weights as safetensors.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    /// The student's.
    pub student: Vec<u8>,
    /// Its teacher's.
    pub teacher: Vec<u8>,
    /// Those of what says what is hidden, beside either.
    pub decoders: Option<Decoders>,
    /// What texts are read with.
    pub tokenizer: Option<Tokenizer>,
}

/// A candidate's weights on disk, in a folder that nobody serves; removed when dropped.
#[derive(Debug)]
pub struct Staged {
    dir: PathBuf,
    provenance: Provenance,
    tokenizer: Option<Tokenizer>,
}

impl Staged {
    /// What texts are read with.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// Where the weights come from.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// The weights as they are on the disk: what the gate judges.
    pub fn weights(&self, network: Network) -> Result<Vec<u8>, RegistryError> {
        let path = self.path_of(network);
        Ok(fs::read(&path).map_err(durable::failed("read", &path))?)
    }

    /// The weights of its decoders, read back, where it has any.
    pub fn decoders(&self) -> Result<Option<Decoders>, RegistryError> {
        if !self.decoder_path_of(Network::Student).exists() {
            return Ok(None);
        }
        let read = |network| -> Result<Vec<u8>, RegistryError> {
            let path = self.decoder_path_of(network);
            Ok(fs::read(&path).map_err(durable::failed("read", &path))?)
        };
        Ok(Some(Decoders {
            student: read(Network::Student)?,
            teacher: read(Network::Teacher)?,
        }))
    }

    fn path_of(&self, network: Network) -> PathBuf {
        self.dir.join(format!("{network}.safetensors"))
    }

    fn decoder_path_of(&self, network: Network) -> PathBuf {
        self.dir.join(format!("{network}-{DECODER_FILE}"))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.dir.exists() {
            // What stays is swept at the next open.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// The registry of one stream.
pub struct Registry {
    dir: PathBuf,
    /// Generations kept, at least 1.
    kept: usize,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    verdicts: Mutex<VerdictHistory>,
}

/// What is in the registry's folder.
struct State {
    generations: BTreeMap<Generation, Published>,
    /// The best on the exam so far.
    stable: Option<Generation>,
    /// What was decided about who answers.
    chosen: Chosen,
    /// The largest number ever given; 0 before the first.
    high_water: u64,
}

impl Registry {
    /// Opens a stream's registry, making it if it is not there: sweeps what a kill left, sets aside generations whose
    /// files disagree with their manifest, and repairs the aliases.
    pub fn open(dir: &Path, generations_kept: usize, clock: Arc<dyn Clock>) -> Result<Self, RegistryError> {
        let state = open::open(dir, clock.as_ref())?;
        let registry = Self {
            verdicts: Mutex::new(VerdictHistory::open(dir.join(VERDICTS_FILE))?),
            dir: dir.to_owned(),
            kept: generations_kept.max(1),
            clock,
            state: Mutex::new(state),
        };
        registry.drop_old(&mut registry.state.lock());
        Ok(registry)
    }

    /// The stream's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Puts a candidate's weights on disk, synced, where only the gate reads them; those of its decoders, if it has any,
    /// beside them.
    pub fn stage(&self, provenance: Provenance, weights: &Weights) -> Result<Staged, RegistryError> {
        let dir = durable::temp_beside(&self.dir.join("candidate"));
        fs::create_dir(&dir).map_err(durable::failed("create", &dir))?;
        let staged = Staged {
            dir,
            provenance,
            tokenizer: weights.tokenizer.clone(),
        };
        durable::write_new(&staged.path_of(Network::Student), &weights.student)?;
        durable::write_new(&staged.path_of(Network::Teacher), &weights.teacher)?;
        if let Some(decoders) = &weights.decoders {
            durable::write_new(&staged.decoder_path_of(Network::Student), &decoders.student)?;
            durable::write_new(&staged.decoder_path_of(Network::Teacher), &decoders.teacher)?;
        }
        Ok(staged)
    }

    /// Publishes the staged weights that were accepted. When it fails nothing has changed but, at most, that a number
    /// was used up; the staged weights are removed.
    pub fn publish(&self, staged: Staged, accepted: Accepted) -> Result<Published, RegistryError> {
        let chosen = staged.path_of(accepted.network());
        let found = manifest::hash_file(&chosen).map_err(durable::failed("read", &chosen))?;
        if found != accepted.weights_hash() {
            let dir = staged.dir.clone();
            return Err(RegistryError::NotTheJudged { dir });
        }
        let mut state = self.state.lock();
        let generation = Generation(state.high_water + 1);
        let high_water_file = self.dir.join(HIGH_WATER_FILE);
        disk::point("publish.number").map_err(durable::failed("write", &high_water_file))?;
        durable::write_file(&high_water_file, &open::high_water_text(generation))?;
        state.high_water = generation.0;

        let best = accepted.is_best();
        let parent = state.target(Alias::Latest);
        let manifest = self.complete(&staged, accepted, generation, parent)?;
        let dir = self.dir.join(dir_name(generation));
        disk::point("publish.name").map_err(durable::failed("create", &dir))?;
        durable::publish_dir(&staged.dir, &dir)?;

        let published = Published {
            generation,
            dir,
            space: manifest.space.clone(),
            manifest: Arc::new(manifest),
        };
        state.generations.insert(generation, published.clone());
        if best || state.stable.is_none() {
            state.stable = Some(generation);
        }
        info!(%generation, space = %published.space, step = published.manifest.provenance.step,
            network = %published.manifest.network, best, "published a generation");
        // The generation is published from here on: what fails below is repaired at the next open.
        if let Err(error) = open::point_aliases(&self.dir, &state) {
            error!(%generation, %error,
                hint = "look at the disk (space, owner), then restart",
                "failed to move the aliases; they are repaired at the next start");
        }
        self.drop_old(&mut state);
        Ok(published)
    }

    /// Makes the staged folder complete: chosen weights, their decoder if there is one, `config.json` and `curiod.json`.
    fn complete(
        &self,
        staged: &Staged,
        accepted: Accepted,
        generation: Generation,
        parent: Option<Generation>,
    ) -> Result<Manifest, RegistryError> {
        let (model, config) = (staged.dir.join(MODEL_FILE), staged.dir.join(CONFIG_FILE));
        let (chosen, other) = (accepted.network(), accepted.network().other());
        fs::rename(staged.path_of(chosen), &model).map_err(durable::failed("rename", &model))?;
        fs::remove_file(staged.path_of(other)).map_err(durable::failed("remove", &staged.dir))?;
        let encoder = &staged.provenance.encoder;
        durable::write_new(&config, &pretty(&config, &encoder.config_json(staged.tokenizer()))?)?;

        let mut names = vec![MODEL_FILE, CONFIG_FILE];
        let decoder = staged.dir.join(DECODER_FILE);
        if staged.decoder_path_of(chosen).exists() {
            fs::rename(staged.decoder_path_of(chosen), &decoder).map_err(durable::failed("rename", &decoder))?;
            fs::remove_file(staged.decoder_path_of(other)).map_err(durable::failed("remove", &staged.dir))?;
            names.push(DECODER_FILE);
        }
        if let (EncoderSpec::Text(spec), Some(tokenizer)) = (encoder, staged.tokenizer()) {
            for (name, bytes) in texts::files(spec, tokenizer) {
                let path = staged.dir.join(name);
                if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
                    fs::create_dir(folder).map_err(durable::failed("create", folder))?;
                }
                durable::write_new(&path, &bytes)?;
                names.push(name);
            }
        }
        let files = names
            .into_iter()
            .map(|name| {
                let path = staged.dir.join(name);
                Ok((
                    name.to_owned(),
                    manifest::hash_file(&path).map_err(durable::failed("read", &path))?,
                ))
            })
            .collect::<Result<BTreeMap<_, _>, DurableError>>()?;
        let weights = fs::read(&model).map_err(durable::failed("read", &model))?;
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            curiod_version: env!("CARGO_PKG_VERSION").to_owned(),
            generation,
            best: accepted.is_best(),
            parent,
            space: Space::of_weights(&weights),
            dim: staged.provenance.encoder.dim(),
            network: chosen,
            provenance: staged.provenance.clone(),
            created_at: self.clock.now().to_rfc3339(),
            verdict: accepted.reason().to_owned(),
            exam: accepted.into_report(),
            files,
        };
        let path = staged.dir.join(MANIFEST_FILE);
        let text = manifest.text().map_err(|e| durable::failed("write", &path)(e.into()))?;
        durable::write_new(&path, &text)?;
        Ok(manifest)
    }

    /// The generation that is served: the newest whole one that was not rolled back from, or the one that is pinned.
    pub fn latest(&self) -> Option<Published> {
        self.find(Alias::Latest)
    }

    /// The best on the exam so far.
    pub fn best(&self) -> Option<Published> {
        self.find(Alias::Stable)
    }

    /// The generation that an alias names.
    pub fn find(&self, alias: Alias) -> Option<Published> {
        let state = self.state.lock();
        state.generations.get(&state.target(alias)?).cloned()
    }

    /// A generation, if it is kept.
    pub fn get(&self, generation: Generation) -> Option<Published> {
        self.state.lock().generations.get(&generation).cloned()
    }

    /// Whether the number was given but its generation is no longer kept.
    pub fn is_retired(&self, generation: Generation) -> bool {
        let state = self.state.lock();
        (1..=state.high_water).contains(&generation.0) && !state.generations.contains_key(&generation)
    }

    /// Every generation that is kept, oldest first.
    pub fn list(&self) -> Vec<Published> {
        self.state.lock().generations.values().cloned().collect()
    }

    /// Records what became of a candidate.
    pub fn record(&self, verdict: VerdictRecord) -> Result<(), RegistryError> {
        Ok(self.verdicts.lock().push(verdict)?)
    }

    /// The last verdicts, oldest first.
    pub fn verdicts(&self) -> Vec<VerdictRecord> {
        self.verdicts.lock().list()
    }

    /// Drops the oldest generations above the bound; never one that an alias names.
    fn drop_old(&self, state: &mut State) {
        let named: Vec<_> = Alias::ALL.into_iter().filter_map(|alias| state.target(alias)).collect();
        let surplus = state.generations.len().saturating_sub(self.kept);
        let droppable = state.generations.keys().filter(|g| !named.contains(g));
        for generation in droppable.take(surplus).copied().collect::<Vec<_>>() {
            match durable::remove_dir(&self.dir.join(dir_name(generation))) {
                Ok(()) => {
                    state.generations.remove(&generation);
                    info!(%generation, kept = self.kept, "dropped an old generation");
                }
                Err(error) => {
                    error!(%generation, %error,
                        hint = "look at its owner and mode; it is tried again at the next publication",
                        "failed to drop an old generation")
                }
            }
        }
    }
}

impl State {
    /// The generation that an alias should name.
    fn target(&self, alias: Alias) -> Option<Generation> {
        match alias {
            Alias::Latest => {
                let pinned = self
                    .chosen
                    .pinned
                    .filter(|pinned| self.generations.contains_key(pinned));
                pinned.or_else(|| self.standing().next())
            }
            Alias::Previous => {
                let latest = self.target(Alias::Latest)?;
                self.standing().find(|generation| *generation < latest)
            }
            Alias::Stable => self.stable,
        }
    }
}

fn pretty(path: &Path, value: &impl serde::Serialize) -> Result<Vec<u8>, DurableError> {
    serde_json::to_vec_pretty(value).map_err(|e| durable::failed("write", path)(e.into()))
}

#[cfg(test)]
mod tests;
