//! Checkpoints: everything that the next step depends on, in one folder that is whole or absent.
//! Invariant: a folder named `step-*` was complete when it got its name; one that does not match its own hashes now is
//! set aside, with a warning, for the one before it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tch::nn::VarStore;
use tracing::{info, warn};

use super::anchor::Anchor;
use super::decline::Decline;
use super::effort::Effort;
use super::learner::Learner;
use super::surprise::Surprise;
use super::{LearnError, LearnerSetup};
use crate::config::LearningConfig;
use crate::curiosity::Curiosity;
use crate::disk;
use crate::durable::{self, DurableError};
use crate::ids::SampleId;
use crate::model::text::Tokenizer;
use crate::model::{EncoderSpec, Pretrained, weights};
use crate::sample::Modality;

/// The version of the layout that this curiod writes and reads.
const FORMAT_VERSION: u32 = 1;

const FACTS: &str = "learner.json";

/// What texts are read with.
const TOKENIZER: &str = "tokenizer.json";

/// What every version's [`Facts`] begin with.
#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

/// What a checkpoint says beside its tensors.
#[derive(Serialize, Deserialize)]
struct Facts {
    format_version: u32,
    step: u64,
    objective: String,
    #[serde(flatten)]
    spec: EncoderSpec,
    /// blake3 of the section of the configuration.
    settings: String,
    /// Batches and views are functions of the seed and the step: no generator has more state.
    seed: u64,
    rate_share: f64,
    /// The bits of the smoothed loss: as a decimal it could come back a bit off.
    loss_bits: Option<u64>,
    cursors: Cursors,
    /// blake3 of every other file, by its name.
    files: BTreeMap<String, String>,
}

/// Where the loop around the learner is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Cursors {
    /// The step after which the next candidate is made.
    pub(super) next_candidate: u64,
    /// Samples that the learner's steps took, so that a network is given its draws, whatever an earlier one or a step that
    /// a kill undid had drawn.
    pub(super) drawn: u64,
    /// The newest arrival that the teacher was asked about.
    pub(super) sighted: Option<SampleId>,
    /// Running means of errors.
    pub(super) surprise: Surprise,
    /// How many draws arrivals are granted.
    pub(super) effort: Effort,
    /// Whether the network is declining.
    pub(super) decline: Decline,
    /// Whether something is being forgotten.
    pub(super) anchor: Anchor,
    /// What is known of errors, novelty and progress. Absent in checkpoints of before there was any.
    pub(super) curiosity: Curiosity,
}

/// The folder of a stream's checkpoints.
#[derive(Clone, Debug)]
pub(super) struct Checkpoints {
    folder: PathBuf,
    kept: usize,
}

impl Checkpoints {
    /// Opens the folder, makes it if it is missing, and sweeps what an interrupted write left.
    pub(super) fn open(folder: &Path, kept: usize) -> Result<Self, LearnError> {
        fs::create_dir_all(folder).map_err(|source| LearnError::Checkpoint {
            path: folder.to_owned(),
            source,
        })?;
        durable::sweep(folder).map_err(failed)?;
        Ok(Self {
            folder: folder.to_owned(),
            kept,
        })
    }

    /// Writes a checkpoint and drops the oldest beyond those that are kept. One of the same step is already whole.
    pub(super) fn save(&self, learner: &Learner, cursors: &Cursors) -> Result<(), LearnError> {
        let path = self.folder.join(format!("step-{:012}", learner.step));
        if path.exists() {
            return Ok(());
        }
        let staging = durable::temp_beside(&path);
        fs::create_dir(&staging).map_err(|source| LearnError::Checkpoint {
            path: staging.clone(),
            source,
        })?;
        let written = write(&staging, learner, cursors)
            .and_then(|()| {
                disk::point("checkpoint.name").map_err(|error| failed(durable::failed("name", &path)(error)))
            })
            .and_then(|()| durable::publish_dir(&staging, &path).map_err(failed));
        if let Err(error) = written {
            // On a full disk what was written must not stay; what can not be removed is swept at the next start.
            let _ = fs::remove_dir_all(&staging);
            return Err(error);
        }
        for (_, old) in self.list()?.into_iter().skip(self.kept) {
            durable::remove_dir(&old).map_err(failed)?;
        }
        Ok(())
    }

    /// The learner of the newest whole checkpoint that fits the setup, or a new one when there is none.
    pub(super) fn restore(&self, setup: &LearnerSetup) -> Result<(Learner, Cursors), LearnError> {
        self.restored(setup, |_| true)
    }

    /// As [`Checkpoints::restore`], passing over those that were made while the network was collapsing.
    pub(super) fn restore_sound(&self, setup: &LearnerSetup) -> Result<(Learner, Cursors), LearnError> {
        self.restored(setup, |cursors| !cursors.decline.is_suspect())
    }

    fn restored(
        &self,
        setup: &LearnerSetup,
        wanted: impl Fn(&Cursors) -> bool,
    ) -> Result<(Learner, Cursors), LearnError> {
        let restored = self.newest(setup, wanted);
        self.drop_old_set_aside();
        restored
    }

    /// Of what was set aside, for whoever looks into it, the newest of each kind is enough.
    fn drop_old_set_aside(&self) {
        for kind in ["torn-", "other-"] {
            match durable::keep_newest(&self.folder, kind) {
                Ok(dropped) => {
                    for path in dropped {
                        info!(checkpoint = %path.display(), "deleted a checkpoint that was set aside before a newer one");
                    }
                }
                Err(error) => warn!(
                    %error,
                    hint = "let the daemon's user write the folder, or delete all but the newest by hand",
                    "failed to delete checkpoints that were set aside"
                ),
            }
        }
    }

    fn newest(
        &self,
        setup: &LearnerSetup,
        wanted: impl Fn(&Cursors) -> bool,
    ) -> Result<(Learner, Cursors), LearnError> {
        for (step, path) in self.list()? {
            match load(&path, setup) {
                Ok((_, cursors)) if !wanted(&cursors) => {
                    info!(step, checkpoint = %path.display(), "passed over a checkpoint of a collapsing network");
                }
                Ok(restored) => {
                    info!(step, checkpoint = %path.display(), "resumed learning");
                    return Ok(restored);
                }
                Err(Unfit::Other(reason)) => {
                    // Kept under another name: nobody's learning is thrown away by a changed key.
                    let aside = self.folder.join(format!("other-{:012}-{}", step, std::process::id()));
                    warn!(checkpoint = %path.display(), step, reason, aside = %aside.display(),
                        hint = "none if that was meant; else undo the change and give the folder its name step-NUMBER back",
                        "set a checkpoint of another network aside; learning starts anew");
                    durable::rename(&path, &aside).map_err(failed)?;
                }
                Err(Unfit::Torn(reason)) => {
                    // Under another name, or `save` would take it for the whole checkpoint of that step.
                    let aside = self.folder.join(format!("torn-{:012}-{}", step, std::process::id()));
                    warn!(checkpoint = %path.display(), step, reason, aside = %aside.display(),
                        hint = "none: the one before it is resumed; look at the disk's health",
                        "set a torn checkpoint aside");
                    durable::rename(&path, &aside).map_err(failed)?;
                }
                Err(Unfit::Failed(error)) => return Err(error),
            }
        }
        let mut learner = Learner::new(setup.clone())?;
        if let Some(dir) = &setup.config.init {
            let pretrained = Pretrained::read(dir, &setup.spec)?;
            learner.continue_from(&pretrained)?;
            learner.setup.tokenizer = pretrained.tokenizer().cloned();
        }
        Ok((learner, Cursors::default()))
    }

    /// Whether there is none; what can not be listed is told by who needs it.
    pub(super) fn is_empty(&self) -> bool {
        self.list().is_ok_and(|checkpoints| checkpoints.is_empty())
    }

    /// The checkpoints, the newest first.
    fn list(&self) -> Result<Vec<(u64, PathBuf)>, LearnError> {
        let unreadable = |source| LearnError::Checkpoint {
            path: self.folder.clone(),
            source,
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            let step = name.to_str().and_then(|name| name.strip_prefix("step-")?.parse().ok());
            found.extend(step.map(|step: u64| (step, entry.path())));
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }
}

/// Writes every file of a checkpoint into a folder.
fn write(folder: &Path, learner: &Learner, cursors: &Cursors) -> Result<(), LearnError> {
    let mut files = BTreeMap::new();
    for (name, store) in stores(learner) {
        let bytes = weights::export(store)?;
        durable::write_new(&folder.join(name), &bytes).map_err(failed)?;
        files.insert(name.to_owned(), blake3::hash(&bytes).to_hex().to_string());
    }
    if let Some(tokenizer) = &learner.setup.tokenizer {
        durable::write_new(&folder.join(TOKENIZER), tokenizer.json()).map_err(failed)?;
        files.insert(
            TOKENIZER.to_owned(),
            blake3::hash(tokenizer.json()).to_hex().to_string(),
        );
    }
    let facts = Facts {
        format_version: FORMAT_VERSION,
        step: learner.step,
        objective: learner.objective().to_owned(),
        spec: learner.setup.spec,
        settings: settings_hash(&learner.setup.config),
        seed: learner.setup.config.seed,
        rate_share: learner.rate_share,
        loss_bits: learner.loss.map(f64::to_bits),
        cursors: cursors.clone(),
        files,
    };
    let text = serde_json::to_vec_pretty(&facts).map_err(|error| LearnError::Checkpoint {
        path: folder.join(FACTS),
        source: error.into(),
    })?;
    durable::write_new(&folder.join(FACTS), &text).map_err(failed)?;
    Ok(())
}

/// Why a checkpoint is not resumed.
enum Unfit {
    /// It is damaged.
    Torn(String),
    /// It is of another network or objective, or of another version of curiod.
    Other(String),
    /// Nothing is known against it: this machine could not read it, or not hold the network.
    Failed(LearnError),
}

fn load(path: &Path, setup: &LearnerSetup) -> Result<(Learner, Cursors), Unfit> {
    let torn = |error: &dyn std::fmt::Display| Unfit::Torn(format!("{FACTS}: {error}"));
    let text = read(&path.join(FACTS))?;
    let Version { format_version } = serde_json::from_slice(&text).map_err(|error| torn(&error))?;
    if format_version != FORMAT_VERSION {
        return Err(Unfit::Other(format!(
            "its format is version {format_version}, this curiod's is {FORMAT_VERSION}"
        )));
    }
    let facts: Facts = serde_json::from_slice(&text).map_err(|error| torn(&error))?;
    let mut learner = Learner::new(setup.clone()).map_err(Unfit::Failed)?;
    if facts.objective != learner.objective() || !facts.spec.has_variables_of(&setup.spec) {
        return Err(Unfit::Other(format!(
            "it is of {} on {:?}",
            facts.objective, facts.spec
        )));
    }
    for (name, store) in stores(&learner) {
        if (CRITIC.contains(&name) || ALIGNER.contains(&name)) && !facts.files.contains_key(name) {
            info!(checkpoint = %path.display(), name, "this network is new to the checkpoint and starts untrained");
            continue;
        }
        let bytes = checked(&path.join(name), &facts)?;
        // Of `mlm` before its halves were compared by the features themselves.
        let is_gone = |variable: &str| setup.spec.modality() == Modality::Text && variable.contains("projector.");
        weights::load_known(store, &bytes, is_gone).map_err(|error| torn(&error))?;
    }
    if facts.files.contains_key(TOKENIZER) {
        let bytes = checked(&path.join(TOKENIZER), &facts)?;
        learner.setup.tokenizer = Some(Tokenizer::parse(&bytes).map_err(|error| torn(&error))?);
    }
    if facts.settings != settings_hash(&setup.config) || facts.spec != setup.spec {
        info!(checkpoint = %path.display(), "resumed with other settings than the checkpoint was made with");
    }
    learner.step = facts.step;
    learner.rate_share = facts.rate_share;
    learner.loss = facts.loss_bits.map(f64::from_bits);
    Ok((learner, facts.cursors))
}

/// A file of a checkpoint, as its facts say it was written.
fn checked(path: &Path, facts: &Facts) -> Result<Vec<u8>, Unfit> {
    let bytes = read(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if facts.files.get(&*name).map(String::as_str) != Some(blake3::hash(&bytes).to_hex().as_str()) {
        return Err(Unfit::Torn(format!("{name} does not match its hash")));
    }
    Ok(bytes)
}

/// A file of a checkpoint. One that is absent or too short is the checkpoint's fault, any other failure the machine's.
fn read(path: &Path) -> Result<Vec<u8>, Unfit> {
    fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Unfit::Torn(format!("{} is missing", path.display())),
        _ => Unfit::Failed(LearnError::Checkpoint {
            path: path.to_owned(),
            source,
        }),
    })
}

fn settings_hash(config: &LearningConfig) -> String {
    // Numbers, texts and enums always become JSON; were it not so, any two settings would look alike.
    let settings = serde_json::to_vec(config).unwrap_or_default();
    blake3::hash(&settings).to_hex()[..16].to_owned()
}

/// Files of an adversary: a checkpoint that was made without one is whole all the same.
const CRITIC: [&str; 2] = ["critic.safetensors", "critic_optimiser.safetensors"];

/// The files of the alignment with the teacher, which a setting brings and takes away.
const ALIGNER: [&str; 2] = ["aligner.safetensors", "aligner_optimiser.safetensors"];

/// What is saved, by the name of its file.
fn stores(learner: &Learner) -> Vec<(&'static str, &VarStore)> {
    let mut stores = vec![
        ("encoder.safetensors", &learner.encoder),
        ("teacher.safetensors", &learner.teacher),
        ("heads.safetensors", &learner.heads),
        ("optimiser.safetensors", learner.optimiser.state()),
    ];
    stores.extend(
        learner
            .teacher_decoder
            .as_ref()
            .map(|store| ("teacher_decoder.safetensors", store)),
    );
    if let Some(aligner) = &learner.aligner {
        let files = [&aligner.variables, aligner.optimiser.state()];
        stores.extend(ALIGNER.into_iter().zip(files));
    }
    if let Some(critic) = &learner.critic {
        let files = [&critic.variables, critic.optimiser.state()];
        stores.extend(CRITIC.into_iter().zip(files));
    }
    stores
}

fn failed(error: DurableError) -> LearnError {
    LearnError::Checkpoint {
        path: error.path,
        source: error.source,
    }
}

/// What reading `learner.json` promises about any bytes: what is believed is written as one that says the same.
#[cfg(any(test, fuzzing))]
pub fn checkpoint_facts(bytes: &[u8]) {
    let Ok(facts) = serde_json::from_slice::<Facts>(bytes) else {
        return;
    };
    let written = serde_json::to_vec_pretty(&facts);
    let again = written.and_then(|text| serde_json::from_slice::<Facts>(&text));
    let again = again.and_then(serde_json::to_value);
    let same =
        serde_json::to_value(&facts).is_ok_and(|facts| again.is_ok_and(|again| crate::fuzzing::alike(&facts, &again)));
    assert!(same, "{} is not read as it was written", String::from_utf8_lossy(bytes));
}
