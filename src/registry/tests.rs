//! Sentences about the registry, read off its folder.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::clock::{ScriptedClock, Timestamp};
use crate::ids::SampleId;
use crate::model::{Architecture, Decoders, EncoderSpec, ImageSpec};
use crate::rng;

pub(super) fn open(dir: &Path) -> Registry {
    try_open(dir).unwrap()
}

fn try_open(dir: &Path) -> Result<Registry, RegistryError> {
    Registry::open(dir, 3, Arc::new(ScriptedClock::at(Timestamp(1_700_000_000_000))))
}

fn stage(registry: &Registry, step: u64, weights: &[u8]) -> Staged {
    let provenance = Provenance {
        stream: "pictures".parse().unwrap(),
        step,
        watermark: SampleId(7),
        loss: Some(1.5),
        encoder: EncoderSpec::Image(ImageSpec {
            architecture: Architecture::ResnetTiny,
            image_px: 64,
        }),
    };
    registry
        .stage(
            provenance,
            &Weights {
                student: weights.to_vec(),
                teacher: b"the teacher's weights".to_vec(),
                ..Weights::default()
            },
        )
        .unwrap()
}

pub(super) fn publish(registry: &Registry, weights: &[u8], best: bool) -> Published {
    let staged = stage(registry, 50, weights);
    registry
        .publish(staged, Accepted::for_tests(Network::Student, weights, best))
        .unwrap()
}

fn numbers(registry: &Registry) -> Vec<u64> {
    registry.list().iter().map(|p| p.generation.0).collect()
}

pub(super) fn target(dir: &Path, alias: &str) -> Option<String> {
    let target = fs::read_link(dir.join(alias)).ok()?;
    target.to_str().map(str::to_owned)
}

/// Names in the folder that are neither generations, aliases nor the registry's own files.
fn strangers(dir: &Path) -> Vec<String> {
    let own = [
        "latest",
        "stable",
        "previous",
        HIGH_WATER_FILE,
        VERDICTS_FILE,
        layout::CHOSEN_FILE,
    ];
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| layout::parse_dir_name(name).is_none() && !own.contains(&name.as_str()))
        .collect()
}

fn flip_a_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_published_model_is_complete_and_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let registry = open(dir.path());
    let published = publish(&registry, b"weights", true);
    let folder = dir.path().join("000001");
    assert_eq!(published.dir, folder);
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), b"weights");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);

    let config: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["num_classes"], 0);
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("curiod.json")).unwrap()).unwrap();
    assert_eq!(manifest["generation"], 1);
    assert_eq!(manifest["step"], 50);
    assert_eq!(manifest["watermark"], 7);
    assert_eq!(manifest["network"], "student");
    assert_eq!(manifest["space"], Space::of_weights(b"weights").as_str());
    let expected = blake3::hash(b"weights").to_hex().to_string();
    assert_eq!(manifest["files"]["model.safetensors"], expected.as_str());

    let again = open(dir.path()).latest().unwrap();
    assert_eq!(again.manifest, published.manifest);
    assert_eq!(again.weights().unwrap(), b"weights");
    assert!(strangers(dir.path()).is_empty());
}

#[test]
fn a_decoder_is_published_with_its_own_network_and_checked_at_every_reading() {
    let dir = tempfile::tempdir().unwrap();
    let registry = open(dir.path());
    let provenance = stage(&registry, 50, b"s").provenance().clone();
    let decoders = Decoders {
        student: b"paints for the student".to_vec(),
        teacher: b"paints for the teacher".to_vec(),
    };
    let staged = registry
        .stage(
            provenance,
            &Weights {
                student: b"student".to_vec(),
                teacher: b"teacher".to_vec(),
                decoders: Some(decoders.clone()),
                tokenizer: None,
            },
        )
        .unwrap();
    let accepted = Accepted::for_tests(Network::Teacher, b"teacher", true);
    let published = registry.publish(staged, accepted).unwrap();
    assert_eq!(published.weights().unwrap(), b"teacher");
    assert_eq!(published.decoder().unwrap().unwrap(), decoders.teacher);
    assert_eq!(fs::read_dir(&published.dir).unwrap().count(), 4);
    assert_eq!(open(dir.path()).latest().unwrap().manifest, published.manifest);

    flip_a_byte(&published.dir.join("decoder.safetensors"));
    assert!(matches!(published.decoder(), Err(RegistryError::Changed { .. })));
    assert!(open(dir.path()).latest().is_none(), "it is set aside");
    let plain = publish(&open(dir.path()), b"weights", true);
    assert!(!plain.has_decoder() && plain.decoder().unwrap().is_none());
}

#[test]
fn aliases_name_the_newest_the_one_before_and_the_best() {
    let dir = tempfile::tempdir().unwrap();
    let registry = open(dir.path());
    assert!(registry.latest().is_none());
    publish(&registry, b"a", true);
    assert_eq!(target(dir.path(), "latest").as_deref(), Some("000001"));
    assert_eq!(target(dir.path(), "stable").as_deref(), Some("000001"));
    assert_eq!(target(dir.path(), "previous"), None);
    publish(&registry, b"b", true);
    let third = publish(&registry, b"c", false);
    let expected = [("latest", "000003"), ("previous", "000002"), ("stable", "000002")];
    for (alias, generation) in expected {
        assert_eq!(target(dir.path(), alias).as_deref(), Some(generation), "{alias}");
        assert!(dir.path().join(alias).join("model.safetensors").is_file());
    }
    assert_eq!(third.manifest.parent, Some(Generation(2)));
    let again = open(dir.path());
    assert_eq!(again.best().map(|p| p.generation), Some(Generation(2)));
}

#[test]
fn the_last_ones_are_kept_and_the_best_is_never_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let registry = open(dir.path());
    for n in 0..6u8 {
        publish(&registry, &[n], n == 1);
    }
    assert_eq!(numbers(&registry), [2, 5, 6]);
    assert_eq!(numbers(&open(dir.path())), [2, 5, 6]);
    assert!(registry.is_retired(Generation(4)));
    assert!(!registry.is_retired(Generation(7)) && !registry.is_retired(Generation(0)));
    assert!(strangers(dir.path()).is_empty());
}

#[test]
fn numbers_only_grow_whatever_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let registry = open(dir.path());
    publish(&registry, b"a", true);
    publish(&registry, b"b", true);
    // The newest breaks: it is set aside, and its number is not given again.
    flip_a_byte(&dir.path().join("000002/model.safetensors"));
    assert_eq!(publish(&open(dir.path()), b"c", true).generation, Generation(3));
    // Every generation is removed by hand.
    for name in ["000001", "000003"] {
        fs::remove_dir_all(dir.path().join(name)).unwrap();
    }
    let registry = open(dir.path());
    assert!(registry.latest().is_none() && target(dir.path(), "latest").is_none());
    assert_eq!(publish(&registry, b"d", true).generation, Generation(4));
    // The file is lost: the folders still say enough.
    fs::write(dir.path().join(HIGH_WATER_FILE), "rubbish").unwrap();
    assert_eq!(publish(&open(dir.path()), b"e", true).generation, Generation(5));
}

#[test]
fn a_generation_whose_files_disagree_is_set_aside_and_the_next_older_one_is_served() {
    for file in ["model.safetensors", "config.json", "curiod.json"] {
        let dir = tempfile::tempdir().unwrap();
        let registry = open(dir.path());
        publish(&registry, b"old", true);
        publish(&registry, b"new", true);
        flip_a_byte(&dir.path().join("000002").join(file));

        let registry = open(dir.path());
        assert_eq!(registry.latest().unwrap().weights().unwrap(), b"old", "{file}");
        assert_eq!(target(dir.path(), "latest").as_deref(), Some("000001"));
        assert_eq!(target(dir.path(), "stable").as_deref(), Some("000001"));
        assert_eq!(strangers(dir.path()), ["broken-000002-1700000000000"]);
    }
}

#[test]
fn a_missing_file_and_a_folder_under_another_number_are_broken_too() {
    let dir = tempfile::tempdir().unwrap();
    let registry = open(dir.path());
    publish(&registry, b"a", true);
    publish(&registry, b"b", true);
    fs::remove_file(dir.path().join("000002/config.json")).unwrap();
    fs::create_dir(dir.path().join("000007")).unwrap();
    for file in ["model.safetensors", "config.json", "curiod.json"] {
        fs::copy(
            dir.path().join("000001").join(file),
            dir.path().join("000007").join(file),
        )
        .unwrap();
    }
    assert_eq!(numbers(&open(dir.path())), [1]);
    assert_eq!(strangers(dir.path()).len(), 2);
    assert_eq!(publish(&open(dir.path()), b"c", true).generation, Generation(8));
}

#[test]
fn weights_that_change_while_the_daemon_runs_are_not_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let registry = open(dir.path());
    let published = publish(&registry, b"weights", true);
    flip_a_byte(&published.dir.join("model.safetensors"));
    let error = published.weights().unwrap_err().to_string();
    assert!(error.contains("000001/model.safetensors has changed"), "{error}");
}

#[test]
fn a_generation_of_a_newer_curiod_stops_the_start_and_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    publish(&open(dir.path()), b"a", true);
    let path = dir.path().join("000001/curiod.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"format_version\": 2", "\"format_version\": 3")).unwrap();
    let error = try_open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("000001") && error.contains("format 3"), "{error}");
    assert!(path.is_file());
}

#[test]
fn a_manifest_of_which_a_digit_was_changed_is_set_aside_and_one_without_a_checksum_is_read() {
    let dir = tempfile::tempdir().unwrap();
    publish(&open(dir.path()), b"a", true);
    let path = dir.path().join("000001/curiod.json");
    let text = fs::read_to_string(&path).unwrap();
    let before = text.split(",\n  \"crc32c\"").next().unwrap();
    let old = format!("{before}\n}}").replace("\"format_version\": 2", "\"format_version\": 1");
    fs::write(&path, old).unwrap();
    assert_eq!(open(dir.path()).list().len(), 1);
    let changed = text.replace("\"step\": 50", "\"step\": 51");
    assert_ne!(changed, text);
    fs::write(&path, changed).unwrap();
    assert!(open(dir.path()).list().is_empty());
}

#[test]
fn weights_that_are_not_the_judged_ones_are_not_published() {
    let dir = tempfile::tempdir().unwrap();
    let registry = open(dir.path());
    let staged = stage(&registry, 50, b"weights");
    let accepted = Accepted::for_tests(Network::Student, b"other weights", true);
    let error = registry.publish(staged, accepted).unwrap_err();
    assert!(matches!(error, RegistryError::NotTheJudged { .. }));
    assert!(registry.list().is_empty() && strangers(dir.path()).is_empty());
}

#[test]
fn a_publication_that_fails_leaves_the_old_generation_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let registry = open(dir.path());
    publish(&registry, b"old", true);
    // The next number's folder is in the way.
    fs::create_dir(dir.path().join("000002")).unwrap();
    let staged = stage(&registry, 60, b"new");
    let accepted = Accepted::for_tests(Network::Student, b"new", true);
    assert!(registry.publish(staged, accepted).is_err());
    assert_eq!(registry.latest().unwrap().weights().unwrap(), b"old");
    assert_eq!(target(dir.path(), "latest").as_deref(), Some("000001"));
    assert!(strangers(dir.path()).is_empty());
    assert_eq!(publish(&registry, b"newer", true).generation, Generation(3));
}

#[test]
fn what_a_kill_during_publish_leaves_is_swept_and_the_old_generation_serves() {
    let dir = tempfile::tempdir().unwrap();
    publish(&open(dir.path()), b"old", true);
    // Killed before the rename: a staging folder, complete or half, and a number used up.
    let staging = dir.path().join(".tmp-1-0-candidate");
    fs::create_dir(&staging).unwrap();
    fs::write(staging.join("model.safetensors"), b"hal").unwrap();
    fs::write(dir.path().join(HIGH_WATER_FILE), "2").unwrap();
    // Killed between two aliases: one temporary link, one alias that points at nothing, one that is gone.
    std::os::unix::fs::symlink("000002", dir.path().join(".tmp-1-1-latest")).unwrap();
    fs::remove_file(dir.path().join("latest")).unwrap();
    std::os::unix::fs::symlink("000002", dir.path().join("latest")).unwrap();
    fs::remove_file(dir.path().join("stable")).unwrap();

    let registry = open(dir.path());
    assert_eq!(registry.latest().unwrap().weights().unwrap(), b"old");
    assert_eq!(target(dir.path(), "latest").as_deref(), Some("000001"));
    assert_eq!(target(dir.path(), "stable").as_deref(), Some("000001"));
    assert!(strangers(dir.path()).is_empty());
    assert_eq!(publish(&registry, b"new", true).generation, Generation(3));
}

const CHILD_DIR: &str = "CURIOD_TEST_REGISTRY";

/// Not a test of its own: the process that the next test kills.
#[test]
#[ignore = "run by a_process_killed_while_it_publishes_leaves_the_registry_whole"]
fn publishes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let registry = open(Path::new(&dir));
    for n in 0u64.. {
        let weights = n.to_le_bytes().repeat(1 << 15);
        println!("published {}", publish(&registry, &weights, n % 3 == 0).generation);
    }
}

#[test]
fn a_process_killed_while_it_publishes_leaves_the_registry_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut moments = rng::for_step(1, 0, 0);
    let mut acknowledged = 0;
    for _ in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "registry::tests::publishes_until_it_is_killed",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: String| {
            // The harness may print before the first line's own words.
            let number = line.rsplit_once("published ").and_then(|(_, n)| n.parse().ok());
            acknowledged = number.unwrap_or(acknowledged);
            number.is_some()
        };
        while !note(lines.next().unwrap().unwrap()) {}
        std::thread::sleep(Duration::from_micros(rng::below(&mut moments, 40_000) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.map_while(Result::ok).for_each(|line| _ = note(line));

        let registry = open(dir.path());
        let latest = registry.latest().unwrap();
        // One more than was heard of may have been published: the kill came before the word.
        assert!(
            (acknowledged..=acknowledged + 1).contains(&latest.generation.0),
            "{acknowledged} {latest:?}"
        );
        assert_eq!(latest.weights().unwrap().len(), 8 << 15);
        assert_eq!(target(dir.path(), "latest"), Some(dir_name(latest.generation)));
        assert!(registry.list().len() <= 4 && strangers(dir.path()).is_empty());
        acknowledged = latest.generation.0;
    }
    assert!(acknowledged >= 20);
}

#[test]
fn a_number_file_of_a_newer_curiod_stops_the_start_and_one_without_a_version_is_read() {
    let dir = tempfile::tempdir().unwrap();
    publish(&open(dir.path()), b"a", true);
    let path = dir.path().join(HIGH_WATER_FILE);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{\"format_version\":1,\"generation\":1}\n"
    );
    fs::write(&path, "41").unwrap();
    assert_eq!(publish(&open(dir.path()), b"b", true).generation.0, 42);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{\"format_version\":1,\"generation\":42}\n"
    );
    let newer = "{\"format_version\":2,\"numbers\":[42]}";
    fs::write(&path, newer).unwrap();
    let error = try_open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("high_water") && error.contains("format 2"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), newer);
}
