//! Sentences about the replay buffer: each test looks at what a reader of the buffer, or of its files, can see.

#![allow(
    clippy::single_range_in_vec_init,
    reason = "a list of one range of sources is what is meant"
)]

mod archive;
mod capacity;
mod damage;
mod draws;
mod healing;
mod kills;
mod ledger;
mod model;
mod near_duplicates;
mod origin;
mod redundancy;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::clock::Timestamp;
use crate::config::ReplayConfig;
use crate::curiosity::{Judgement, Known, Priority, Wish};
use crate::ids::{SampleId, SourceHash};
use crate::rng::for_step;

use super::*;

/// A source that is not of the exam, with one sample of `bytes` bytes that no other number gives.
fn source(number: u64, bytes: usize) -> NewSource {
    source_of(hash_of(number, false), number, bytes)
}

/// A source of the exam.
fn exam_source(number: u64, bytes: usize) -> NewSource {
    source_of(hash_of(number, true), number, bytes)
}

/// A priority that grows with the error and falls with the visits.
fn judge(known: &Known) -> Judgement {
    let error = f64::from(known.error.unwrap_or(1.0));
    let wish = Wish {
        visits: known.visits,
        guard: 1.0,
        rank: error / (1.0 + error),
        age: known.age,
    };
    Judgement {
        rank: wish.rank as f32,
        novelty: None,
        cluster: None,
        progress: 0.0,
        guard: 1.0,
        junk: false,
        priority: Priority::of(&wish, None),
    }
}

fn sources(numbers: std::ops::Range<u64>, bytes: usize) -> Vec<NewSource> {
    numbers.map(|number| source(number, bytes)).collect()
}

fn source_of(hash: SourceHash, number: u64, bytes: usize) -> NewSource {
    NewSource {
        hash,
        path: format!("{number}.png").into_bytes(),
        bytes: bytes as u64,
        taken_at: Timestamp(number as i64),
        samples: vec![content(number, bytes)],
    }
}

fn hash_of(number: u64, exam: bool) -> SourceHash {
    let mut tries = (0u64..).map(|attempt| SourceHash::of(&[number.to_le_bytes(), attempt.to_le_bytes()].concat()));
    tries.find(|hash| hash.in_exam() == exam).expect("one in fifty is")
}

/// Bytes that do not compress and that differ for each number.
fn content(number: u64, bytes: usize) -> Vec<u8> {
    use rand_core::RngCore;
    let mut content = vec![0; bytes];
    for_step(number, 0, 0).fill_bytes(&mut content);
    // Of no kind: what looked like a passage would be held out by its document.
    content.iter_mut().take(1).for_each(|first| *first = 0);
    content
}

fn config(bytes_max: u64) -> ReplayConfig {
    ReplayConfig {
        bytes_max,
        ..ReplayConfig::default()
    }
}

fn open(dir: &Path, config: &ReplayConfig) -> ReplayBuffer {
    ReplayBuffer::open(dir, config, 7).expect("it opens").0
}

/// Opens a buffer whose catalogue must be found whole.
fn reopen(dir: &Path, config: &ReplayConfig) -> ReplayBuffer {
    let (buffer, report) = ReplayBuffer::open(dir, config, 7).expect("it opens");
    assert_eq!(report.rebuilt, None);
    buffer
}

/// Every live sample and its content.
fn everything(buffer: &ReplayBuffer) -> BTreeMap<SampleId, Vec<u8>> {
    let ids = buffer.ids_after(None, usize::MAX);
    let contents = buffer.read_many(&ids).expect("it reads");
    ids.into_iter()
        .zip(contents)
        .filter_map(|(id, content)| Some((id, content?)))
        .collect()
}

/// The files of a buffer as a kill at this moment would leave them.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.path().is_dir() {
            copy(&item.path(), &target);
        } else {
            std::fs::copy(item.path(), target).unwrap();
        }
    }
}

/// The newest segment's file.
fn newest_segment(dir: &Path) -> PathBuf {
    let segments = segment::list(&dir.join("segments")).unwrap();
    segments.into_values().last().expect("there is one")
}

fn quarantined(path: &str) -> QuarantineEntry {
    QuarantineEntry {
        path: path.to_owned(),
        source: Some(SourceHash::of(path.as_bytes())),
        reason: "truncated".to_owned(),
        detail: "the file ends after 3 of 9 rows".to_owned(),
        bytes: 99,
        at: Timestamp(1_700_000_000_123),
    }
}
