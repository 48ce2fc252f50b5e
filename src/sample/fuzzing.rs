//! What reading texts, series and transitions promises about any bytes; compiled for fuzzers and tests alone.

use std::path::Path;

use super::series::SeriesLimits;
use super::text::TextLimits;
use super::transition::TransitionLimits;
use super::{Content, Cutting, Pieces};

/// Small, so that a fuzzer meets the bounds.
const SAMPLES_MAX: usize = 500;
const EXPANSION_MAX: u64 = 1 << 20;

/// A name may tell what the content can not; the first byte says which stands for it.
const NAMES: [&str; 8] = ["", "a.txt", "a.csv", "a.jsonl", "a.json", "a.parquet", "a.npy", "a.gz"];

/// Passages of a text.
pub fn texts(bytes: &[u8]) {
    let limits = TextLimits {
        chars_max: 64,
        chars_overlap: 8,
        passages_max: SAMPLES_MAX,
        expansion_max: EXPANSION_MAX,
        ..TextLimits::default()
    };
    cut(&Cutting::Texts { limits, field: None }, bytes);
}

/// Windows of a series.
pub fn series(bytes: &[u8]) {
    cut(
        &Cutting::Series(SeriesLimits {
            window_steps: 16,
            stride_steps: 8,
            columns_max: 8,
            windows_max: SAMPLES_MAX,
            values_max: 1 << 16,
            expansion_max: EXPANSION_MAX,
            ..SeriesLimits::default()
        }),
        bytes,
    );
}

/// Transitions.
pub fn transitions(bytes: &[u8]) {
    cut(
        &Cutting::Transitions(TransitionLimits {
            state_dims_max: 8,
            actions_max: 4,
            transitions_max: SAMPLES_MAX,
            expansion_max: EXPANSION_MAX,
            ..TransitionLimits::default()
        }),
        bytes,
    );
}

/// Two readings are one; what comes out is within the limits and reads back; what is refused says why.
fn cut(cutting: &Cutting, bytes: &[u8]) {
    let Some((name, bytes)) = bytes.split_first() else {
        return;
    };
    let name = Path::new(NAMES[usize::from(*name) % NAMES.len()]);
    let encoded = |pieces: &Pieces| pieces.contents.iter().map(Content::encode).collect::<Vec<_>>();
    match (cutting.cut(name, bytes), cutting.cut(name, bytes)) {
        (Ok(pieces), Ok(again)) => {
            let contents = encoded(&pieces);
            assert_eq!(contents, encoded(&again), "two readings differ");
            assert!(
                !contents.is_empty() && contents.len() <= SAMPLES_MAX,
                "{} samples",
                contents.len()
            );
            assert!(pieces.faults.len() as u64 <= pieces.faults_total);
            for content in contents {
                match Content::decode(&content) {
                    Ok(read) => assert!(read.encode() == content && read.modality() == cutting.modality()),
                    Err(error) => panic!("a sample does not read back: {error}"),
                }
            }
        }
        (Err(one), Err(other)) => assert!(one == other && !one.detail.is_empty(), "{one} {other}"),
        (one, other) => panic!("two readings differ: {one:?} {other:?}"),
    }
}
