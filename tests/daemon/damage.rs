//! Damaged files in the state of a stopped daemon: each is found at the next start, named, and repaired or set aside, and
//! the rest goes on. What was published and is whole is served as before, number for number.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Site, files_below, picture};
use crate::world::{newest_checkpoint, newest_generation, registry_is_whole};

const PICTURES: u32 = 330;

/// What can happen to a file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    /// One bit is another at this share of the file.
    Flip(f64),
    /// Only the first half is left.
    Halve,
    /// Nothing is left.
    Empty,
    /// The file is gone.
    Remove,
}
use Harm::{Empty, Flip, Halve, Remove};

impl Harm {
    fn befall(self, path: &Path) {
        if path.is_symlink() {
            return fs::remove_file(path).unwrap();
        }
        let mut bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        match self {
            Flip(share) if !bytes.is_empty() => {
                let at = ((bytes.len() - 1) as f64 * share) as usize;
                bytes[at] ^= 0x10;
            }
            Flip(_) => {}
            Halve => bytes.truncate(bytes.len() / 2),
            Empty => bytes.clear(),
            Remove => return fs::remove_file(path).unwrap(),
        }
        fs::write(path, bytes).unwrap();
    }
}

const SEGMENTS: &str = "state/streams/pictures/replay/segments";
const CATALOGUE: &str = "state/streams/pictures/replay/catalogue";
const CHECKPOINTS: &str = "state/streams/pictures/checkpoints";
const REGISTRY: &str = "state/registry/pictures";

/// A site whose daemon has learnt, published twice and stopped, and a copy of its state to come back to.
struct Ruin {
    site: Site,
    /// The vector of one picture in each published generation.
    vectors: BTreeMap<u64, Vec<f64>>,
    step: u64,
    generation: u64,
    /// Pictures that were dropped so far.
    pictures: u32,
    /// Damages of which the log said nothing, with what it said.
    unnamed: Vec<String>,
}

impl Ruin {
    fn new() -> Self {
        let mut site = Site::with("[stream.replay]\nbytes_max = 16777216\n");
        site.drop_pictures(0..PICTURES);
        site.start();
        site.wait_until("sources_accepted", PICTURES.into());
        site.wait_until("generation", 2);
        site.wait_for("two checkpoints", |site| {
            (files_of(site, CHECKPOINTS).len() >= 10).then_some(())
        });
        assert_eq!(site.stop(), Some(0));
        let (step, generation) = (newest_checkpoint(&site), newest_generation(&site));
        let mut ruin = Self {
            site,
            vectors: BTreeMap::new(),
            step,
            generation,
            pictures: PICTURES,
            unnamed: Vec::new(),
        };
        copy(&ruin.site.path("state"), &ruin.site.path("whole"));
        // Serve each generation alone: what is newer is taken away.
        for number in (1..=generation).rev().filter(|number| *number + 2 > generation) {
            ruin.site.start();
            let (served, vector) = ruin.vector();
            assert_eq!(served, number);
            ruin.vectors.insert(number, vector);
            ruin.site.kill();
            fs::remove_dir_all(ruin.site.path("state")).unwrap();
            copy(&ruin.site.path("whole"), &ruin.site.path("state"));
            fs::remove_dir_all(ruin.site.path(REGISTRY).join(format!("{number:06}"))).unwrap();
        }
        ruin
    }

    fn all_is_named(&self) {
        assert!(
            self.unnamed.is_empty(),
            "the log does not name:\n{}",
            self.unnamed.join("\n")
        );
    }

    /// The vector of one picture, and the generation that made it.
    fn vector(&self) -> (u64, Vec<f64>) {
        let file = self.site.path("in/00007.png");
        self.site.wait_for("an embedding", |site| {
            let answer = site.json(&["embed", "--file", file.to_str()?])?;
            let numbers = answer["embeddings"][0].as_array().unwrap_or_else(|| panic!("{answer}"));
            Some((
                answer["generation"].as_u64().unwrap_or_else(|| panic!("{answer}")),
                numbers.iter().map(|number| number.as_f64().unwrap()).collect(),
            ))
        })
    }

    /// Puts the whole state back, damages these files, starts the daemon, and looks whether all goes on.
    fn survives(&mut self, harms: &[(PathBuf, Harm)]) {
        let what = format!("{harms:?}");
        println!("{what}");
        let log_before = self.site.log().len();
        let _ = fs::remove_dir_all(self.site.path("state"));
        copy(&self.site.path("whole"), &self.site.path("state"));
        for (file, harm) in harms {
            harm.befall(&self.site.path("state").join(file));
        }
        self.site.start();
        let ready = self.site.wait_for("the daemon to be ready", |site| {
            let answer = site.get("/readyz")?;
            (!answer.to_string().contains("not ready")).then_some(answer)
        });
        let (served, vector) = self.vector();
        if let Some(known) = self.vectors.get(&served) {
            let off = vector.iter().zip(known).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(
                off < 1e-5,
                "{what}: generation {served} gives another vector, off by {off}; {ready}"
            );
        } else {
            assert!(served > self.generation, "{what}: generation {served} is served");
        }
        let new = picture(self.pictures);
        self.site.drop_file(&format!("{:05}.png", self.pictures), &new);
        let path = format!("{:05}.png", self.pictures);
        self.pictures += 1;
        self.site.wait_for("the new picture to be found", |site| {
            (site.nearest(&new)? == path).then_some(())
        });
        let checkpoint_is_damaged = harms.iter().any(|(file, _)| file.starts_with(state_path(CHECKPOINTS)));
        let stream = self.site.wait_for("the learner to go on", |site| {
            let stream = site.stream()?;
            (stream["step"].as_u64()? > 0 && matches!(stream["state"].as_str()?, "learning" | "bored"))
                .then_some(stream)
        });
        if !checkpoint_is_damaged {
            assert!(
                stream["step"].as_u64() >= Some(self.step),
                "{what}: learning began anew: {stream}"
            );
        }
        assert_eq!(stream["serving_failure"], Value::Null, "{what}: {stream}");
        let log = self.site.log()[log_before..].to_owned();
        assert!(!log.contains("panicked"), "{what}: {log}");
        let unnamed = harms.iter().filter(|(file, _)| !names(&log, file));
        self.unnamed.extend(unnamed.map(|harm| format!("{harm:?}:\n{log}")));
        assert_eq!(self.site.stop(), Some(0), "{what}");
        registry_is_whole(&self.site);
    }
}

/// Whether a log names a damaged file, or the folder that was set aside for it.
fn names(log: &str, file: &Path) -> bool {
    let name = file.file_name().unwrap().to_str().unwrap();
    let folder = file.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let catalogue = file.starts_with(state_path(CATALOGUE)) && log.contains("replay/catalogue");
    // Of a generation and a checkpoint the folder is named.
    let folder = !matches!(folder, "pictures" | "segments" | "catalogue") && log.contains(folder);
    // Of segments that are gone there is a number only.
    let number = name
        .trim_start_matches("seg-")
        .trim_end_matches(".dat")
        .trim_start_matches('0');
    let gone = log.contains(&format!("of segment {number},"));
    log.contains(name) || folder || catalogue || gone
}

fn state_path(path: &str) -> &str {
    path.strip_prefix("state/").unwrap()
}

/// The files below a folder of the whole state, as paths below the state.
fn files_of(site: &Site, folder: &str) -> Vec<PathBuf> {
    let files = files_below(&site.path(folder)).into_iter();
    files.map(|file| Path::new(state_path(folder)).join(file)).collect()
}

fn copy(from: &Path, to: &Path) {
    assert!(
        Command::new("cp")
            .arg("-a")
            .args([from, to])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn damaged_segments_checkpoints_and_generations_are_named_and_the_rest_goes_on() {
    let mut ruin = Ruin::new();
    let segments = files_of(&ruin.site, SEGMENTS);
    assert!(segments.len() >= 4, "{segments:?}");
    println!("{:?}", files_of(&ruin.site, CATALOGUE));
    let newest = segments.last().unwrap();
    let checkpoint = Path::new(state_path(CHECKPOINTS)).join(format!("step-{:012}", ruin.step));
    let generation = Path::new(state_path(REGISTRY)).join(format!("{:06}", ruin.generation));
    let at = |folder: &Path, file: &str| folder.join(file);
    let flip_first = Flip(0.0);
    ruin.survives(&[
        (segments[0].clone(), flip_first),
        (at(&checkpoint, "encoder.safetensors"), Flip(0.5)),
        (at(&generation, "model.safetensors"), Flip(0.9)),
    ]);
    ruin.survives(&[
        (segments[0].clone(), Empty),
        (newest.clone(), Halve),
        (at(&checkpoint, "learner.json"), Halve),
        (at(&generation, "curiod.json"), Empty),
    ]);
    ruin.survives(&[
        (segments[1].clone(), Halve),
        (at(&checkpoint, "optimiser.safetensors"), Empty),
        (at(&generation, "config.json"), Flip(0.5)),
    ]);
    ruin.survives(&[
        (segments[1].clone(), Remove),
        (at(&checkpoint, "heads.safetensors"), Remove),
        (at(&generation, "model.safetensors"), Empty),
    ]);
    ruin.survives(&[
        (newest.clone(), Empty),
        (at(&checkpoint, "teacher.safetensors"), Halve),
        (at(&generation, "curiod.json"), Flip(0.3)),
    ]);
    // Not of `blobs/` and of files that say nothing: what changes nothing need not be said.
    ruin.survives(&[(in_catalogue("db"), Flip(0.3)), (in_registry("high_water"), Flip(0.0))]);
    ruin.survives(&[(in_catalogue("conf"), Empty), (in_registry("latest"), Remove)]);
    ruin.all_is_named();
}

fn in_catalogue(file: &str) -> PathBuf {
    Path::new(state_path(CATALOGUE)).join(file)
}

fn in_registry(file: &str) -> PathBuf {
    Path::new(state_path(REGISTRY)).join(file)
}

mod soak {
    use super::*;

    #[test]
    #[ignore = "takes minutes; make soak runs it"]
    fn every_file_of_the_state_damaged_in_every_way_is_named_and_the_rest_goes_on() {
        let mut ruin = Ruin::new();
        let whole = Path::new("state");
        let files = files_below(&ruin.site.path("state"));
        let of_interest = |file: &&String| !file.ends_with("/lock") && **file != "lock" && !file.contains("/blobs/");
        for file in files.iter().filter(of_interest) {
            if fs::metadata(ruin.site.path("state").join(file)).is_err() && !whole.join(file).exists() {
                continue;
            }
            for harm in [Flip(0.0), Flip(0.02), Flip(0.5), Flip(1.0), Halve, Empty, Remove] {
                ruin.survives(&[(PathBuf::from(file), harm)]);
            }
        }
        ruin.all_is_named();
    }
}
