//! A busy daemon, all that was dropped on it, and what must hold whatever happened to it.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{PATIENCE, Site, curiod, files_below, picture};

/// Pictures that are dropped at a time.
const PICTURES: u32 = 20;

/// A daemon and what was dropped on it so far.
pub(crate) struct World {
    pub(crate) site: Site,
    pictures: u32,
    /// Pictures that were dropped once more under another name, and files that are none; as many of each.
    odd: u32,
    /// The newest checkpoint and generation that were seen.
    step: u64,
    generation: u64,
}

impl World {
    /// A daemon whose buffer is so small that it evicts, compacts and drops generations all the time.
    pub(crate) fn new() -> Self {
        Self {
            site: Site::with("[stream.ingest]\nafter = \"move\"\n[stream.replay]\nbytes_max = 1048576\n"),
            pictures: 0,
            odd: 0,
            step: 0,
            generation: 0,
        }
    }

    /// Drops pictures, one of them again under another name, and a file that is none.
    pub(crate) fn drop_some(&mut self) {
        self.site.drop_pictures(self.pictures..self.pictures + PICTURES);
        let odd = self.odd;
        self.site.drop_file(&format!("again{odd}.png"), &picture(self.pictures));
        let mut torn = picture(1_000_000 + odd);
        torn.truncate(torn.len() / 2);
        torn.extend_from_slice(&odd.to_le_bytes());
        self.site.drop_file(&format!("torn{odd}.png"), &torn);
        self.pictures += PICTURES;
        self.odd += 1;
    }

    /// Starts the daemon with a fault, and drops files until it dies of it.
    pub(crate) fn dies_at(&mut self, order: &str) {
        let died = self.dies_within(order, PATIENCE);
        assert!(died, "{order}: the daemon lived; log:\n{}", self.site.log());
    }

    /// Starts the daemon with a fault, and drops files until it dies of it, or is killed because it took too long.
    pub(crate) fn dies_within(&mut self, order: &str, patience: Duration) -> bool {
        println!("{order}");
        self.site.spawn_with_fault(order);
        let start = Instant::now();
        let died = loop {
            if let Some(status) = self.site.ended() {
                let log = self.site.log();
                assert_eq!(
                    status.signal(),
                    Some(9),
                    "{order}: the daemon ended by itself; log:\n{log}"
                );
                break true;
            }
            if start.elapsed() > patience {
                self.site.kill();
                break false;
            }
            self.drop_some();
            std::thread::sleep(Duration::from_millis(200));
        };
        self.nothing_went_back(order);
        died
    }

    /// Starts the daemon, drops files, and kills it at this moment.
    pub(crate) fn dies_after(&mut self, moment: Duration) {
        println!("killed after {} ms", moment.as_millis());
        self.site.spawn();
        self.drop_some();
        std::thread::sleep(moment);
        self.site.kill();
        self.nothing_went_back("killed at a random moment");
    }

    /// Checkpoints and generations only grow, and what is published is whole.
    pub(crate) fn nothing_went_back(&mut self, after: &str) {
        let (step, generation) = (newest_checkpoint(&self.site), newest_generation(&self.site));
        assert!(
            step >= self.step,
            "{after}: checkpoints went back from step {} to {step}",
            self.step
        );
        assert!(
            generation >= self.generation,
            "{after}: generations went back from {} to {generation}",
            self.generation
        );
        (self.step, self.generation) = (step, generation);
        registry_is_whole(&self.site);
    }

    /// Starts the daemon without a fault, looks for every dropped file, and stops it.
    pub(crate) fn finds_everything(&mut self) {
        self.site.start();
        let site = &self.site;
        site.wait_until("sources_accepted", self.pictures.into());
        site.wait_until("sources_duplicate", self.odd.into());
        site.wait_until("sources_quarantined", self.odd.into());
        site.wait_for("the inbox to be empty", |site| {
            files_below(&site.path("in")).is_empty().then_some(())
        });
        let stream = site.wait_until("step", self.step + 1);
        let covered = stream["samples"].as_u64().unwrap();
        site.wait_until("index_covered", covered.min(1_000));
        assert_eq!(stream["sources_accepted"], self.pictures, "{stream}");
        assert_eq!(stream["sources_duplicate"], self.odd, "{stream}");
        assert_eq!(stream["sources_quarantined"], self.odd, "{stream}");
        assert_eq!(self.site.stop(), Some(0));

        let files = |folder: &str| files_below(&self.site.path(folder)).len() as u32;
        assert_eq!(files("state/streams/pictures/done"), self.pictures + self.odd);
        assert_eq!(files("state/streams/pictures/quarantine"), self.odd);
        let verified = verify(&self.site);
        assert_eq!(verified["sources"], self.pictures, "{verified}");
        assert_eq!(verified["ok"], true, "{verified}");
        self.nothing_went_back("in the end");
    }
}

/// `curiod replay verify` of the stopped daemon's stream.
pub(crate) fn verify(site: &Site) -> Value {
    let output = curiod()
        .args(["replay", "verify", "--json", "--config"])
        .arg(site.path("curiod.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["streams"][0].clone()
}

/// Every generation that has its final name is complete, and the aliases point at generations.
pub(crate) fn registry_is_whole(site: &Site) {
    let registry = site.path("state/registry/pictures");
    for entry in fs::read_dir(&registry).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.chars().all(|c| c.is_ascii_digit()) {
            let manifest: Value = serde_json::from_slice(&fs::read(entry.path().join("curiod.json")).unwrap()).unwrap();
            assert_eq!(manifest["generation"].as_u64(), name.parse().ok());
            for (file, hash) in manifest["files"].as_object().unwrap() {
                let bytes = fs::read(entry.path().join(file)).unwrap();
                assert_eq!(
                    blake3::hash(&bytes).to_hex().as_str(),
                    hash.as_str().unwrap(),
                    "{name}/{file}"
                );
            }
        } else if entry.file_type().unwrap().is_symlink() && !name.starts_with('.') {
            let target = fs::canonicalize(entry.path()).unwrap_or_else(|error| panic!("alias {name}: {error}"));
            assert!(
                target.join("model.safetensors").is_file(),
                "alias {name} leads to {}",
                target.display()
            );
        }
    }
}

pub(crate) fn newest_generation(site: &Site) -> u64 {
    let names = fs::read_dir(site.path("state/registry/pictures"))
        .into_iter()
        .flatten()
        .flatten();
    names
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .max()
        .unwrap_or(0)
}

pub(crate) fn newest_checkpoint(site: &Site) -> u64 {
    let names = fs::read_dir(site.path("state/streams/pictures/checkpoints"))
        .into_iter()
        .flatten()
        .flatten();
    names
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok())
        .max()
        .unwrap_or(0)
}

/// Random numbers, from `CURIOD_TEST_SEED` or a new seed, which is printed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        Self::of(0)
    }

    /// One of several beside each other.
    pub(crate) fn of(number: u32) -> Self {
        let seed = std::env::var("CURIOD_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed: u32 = seed.unwrap_or_else(std::process::id);
        println!("CURIOD_TEST_SEED={seed}");
        Self((u64::from(number) << 32 | u64::from(seed)) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
