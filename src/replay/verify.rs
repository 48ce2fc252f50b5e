//! Verification: every record is read, and ledger, catalogue and segments are compared.
//! Invariant: nothing in the buffer's folder changes; the catalogue is opened as a copy, for sled writes when it opens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::ids::SampleId;

use super::catalogue::Catalogue;
use super::contents::Contents;
use super::entries::LedgerItem;
use super::log::Content;
use super::pending::LedgerKey;
use super::record::SourceMeta;
use super::recovery;
use super::redo::{Redo, Start};
use super::types::ReplayError;

/// Findings of one kind that are written out; the rest is counted.
const FINDINGS_MAX: usize = 100;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VerifyReport {
    /// Whether everything is as it should be. A torn tail and a stale catalogue are: the next open sees to them.
    pub ok: bool,
    /// Segment files.
    pub segments: u64,
    /// Live samples, exam included; every one was read.
    pub samples: u64,
    /// Live samples held out for the exam.
    pub exam_samples: u64,
    /// Bytes of their contents.
    pub bytes: u64,
    /// Sources taken, for life.
    pub sources: u64,
    /// Paths whose content had been taken under another path.
    pub duplicates: u64,
    /// Files in quarantine.
    pub quarantined: u64,
    /// Bytes of batches that were never acknowledged; the next open cuts them off.
    pub torn_bytes: u64,
    /// Records that can not be believed.
    pub bad_records: Vec<BadRecordReport>,
    /// Where ledger, catalogue and segments contradict each other; the first hundred.
    pub contradictions: Vec<String>,
    /// How many contradictions there are.
    pub contradictions_total: u64,
}

/// A record that can not be believed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BadRecordReport {
    /// Its segment.
    pub path: PathBuf,
    /// Where it starts.
    pub offset: u64,
    /// The sample's id, where that can be believed.
    pub sample: Option<u64>,
    /// What is wrong with it.
    pub why: String,
}

/// Verifies the buffer in `dir`.
pub(super) fn verify(dir: &Path) -> Result<VerifyReport, ReplayError> {
    let (segments_dir, catalogue_dir) = recovery::folders(dir);
    let no_identity = || super::segment::Identity { uid: 0, seed: 0 };
    let segments = recovery::find_segments(&segments_dir, false, no_identity)?;
    let mut redo = Redo::new(&segments, Contents::default(), Start::default(), None);
    redo.run()?;
    let truth = redo.finish();

    let mut report = VerifyReport {
        segments: segments.sizes().len() as u64,
        samples: truth.contents.samples.len() as u64,
        exam_samples: truth.contents.exam.len() as u64,
        bytes: truth.contents.bytes,
        sources: truth.contents.state.totals.sources,
        duplicates: truth.contents.state.duplicates,
        quarantined: truth.contents.quarantine.len() as u64,
        torn_bytes: truth.torn_bytes,
        ..VerifyReport::default()
    };
    for (number, bad) in &truth.bad {
        report.bad_records.push(BadRecordReport {
            path: segments.path(*number),
            offset: bad.offset,
            sample: bad.id,
            why: bad.why.to_owned(),
        });
    }
    for (id, slot) in &truth.contents.samples {
        let Some(segment) = segments.get(slot.location.segment) else {
            continue;
        };
        if let Content::Damaged(why) = segments.read_sample(&segment.file, *id, slot.location)? {
            report.bad_records.push(BadRecordReport {
                path: segments.path(slot.location.segment),
                offset: u64::from(slot.location.offset),
                sample: Some(*id),
                why: why.to_owned(),
            });
        }
    }
    compare_ledger(&truth.contents, &mut report);
    if catalogue_dir.exists() {
        let copy = CatalogueCopy::of(&catalogue_dir)?;
        compare_catalogue(&copy.0, &segments, &truth.contents, &mut report)?;
    }
    report.ok = report.bad_records.is_empty() && report.contradictions_total == 0;
    Ok(report)
}

impl VerifyReport {
    fn contradiction(&mut self, what: String) {
        self.contradictions_total += 1;
        if self.contradictions.len() < FINDINGS_MAX {
            self.contradictions.push(what);
        }
    }
}

/// Every live sample must be one of a source of the ledger, and every id of one source only.
fn compare_ledger(truth: &Contents, report: &mut VerifyReport) {
    let mut sources: BTreeMap<u64, u64> = BTreeMap::new();
    for source in truth.pending.sources.values() {
        if sources.insert(source.first.0, source.end()).is_some() {
            report.contradiction(format!("two sources begin with sample {}", source.first));
        }
    }
    let mut end_before = 0;
    for (first, end) in &sources {
        if *first < end_before {
            report.contradiction(format!("sample {first} belongs to two sources"));
        }
        end_before = *end;
    }
    for id in truth.samples.keys() {
        let source = sources.range(..=id).next_back();
        if source.is_none_or(|(_, end)| id >= end) {
            report.contradiction(format!("sample {} belongs to no source of the ledger", SampleId(*id)));
        }
    }
}

/// The catalogue, brought up to the log's end as an open would, must say what the segments say.
fn compare_catalogue(
    dir: &Path,
    segments: &super::log::Segments,
    truth: &Contents,
    report: &mut VerifyReport,
) -> Result<(), ReplayError> {
    let loaded = Catalogue::open(dir).and_then(|catalogue| {
        let loaded = recovery::load(&catalogue, dir, segments)?;
        Ok((catalogue, loaded))
    });
    let (catalogue, (contents, start)) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            report.contradiction(format!(
                "the catalogue can not be used, the next open rebuilds it: {error}"
            ));
            return Ok(());
        }
    };
    let mut redo = Redo::new(segments, contents, start, Some(&catalogue));
    redo.run()?;
    let followed = redo.finish().contents;
    for (id, slot) in &truth.samples {
        match followed.samples.get(id) {
            None => report.contradiction(format!("sample {id} is in the segments, not in the catalogue")),
            Some(other) if other.location != slot.location || other.exam != slot.exam => {
                report.contradiction(format!("sample {id} is elsewhere than the catalogue says"));
            }
            Some(_) => {}
        }
    }
    for id in followed.samples.keys().filter(|id| !truth.samples.contains_key(id)) {
        report.contradiction(format!("sample {id} is in the catalogue, not in the segments"));
    }
    compare_ledgers(&catalogue, &followed, truth, report)?;
    if followed.quarantine != truth.quarantine {
        report.contradiction("the catalogue lists other files in quarantine than the segments".to_owned());
    }
    Ok(())
}

/// What the catalogue and the log after its mark say of sources and duplicates must be what the segments say.
fn compare_ledgers(
    catalogue: &Catalogue,
    followed: &Contents,
    truth: &Contents,
    report: &mut VerifyReport,
) -> Result<(), ReplayError> {
    let mut sources = BTreeMap::new();
    let mut duplicates = BTreeMap::new();
    if let Some(mark) = catalogue.mark()? {
        catalogue.each_ledger(&mark, |item| match item {
            LedgerItem::Source(source) => drop(sources.insert(source.hash, source)),
            LedgerItem::Duplicate(key, number) => drop(duplicates.insert(key, number)),
        })?;
    }
    let newer = followed.pending.sources.iter();
    sources.extend(newer.map(|(hash, source)| (*hash, source.clone())));
    duplicates.extend(&followed.pending.duplicates);
    for (hash, source) in &truth.pending.sources {
        let same = |other: &SourceMeta| {
            let totals = source.totals;
            SourceMeta {
                totals,
                ..other.clone()
            } == *source
        };
        let key = LedgerKey::Source(source.first.0);
        let place = followed.place(key).or_else(|| catalogue.place(key))?;
        if !sources.get(hash).is_some_and(same) || place.as_ref() != truth.pending.places.get(&key) {
            report.contradiction(format!(
                "the source {hash} is not in the catalogue as it is in the segments"
            ));
        }
    }
    for hash in sources.keys().filter(|hash| !truth.pending.sources.contains_key(hash)) {
        report.contradiction(format!("the source {hash} is in the catalogue, not in the segments"));
    }
    for (key, number) in &truth.pending.duplicates {
        if duplicates.get(key) != Some(number) {
            report.contradiction(format!(
                "a duplicate of {} is not in the catalogue as it is in the segments",
                key.0
            ));
        }
    }
    Ok(())
}

/// A copy of the catalogue in the system's folder for temporary files, deleted at the end.
struct CatalogueCopy(PathBuf);

impl CatalogueCopy {
    fn of(dir: &Path) -> Result<Self, ReplayError> {
        use std::hash::BuildHasher;
        let unique = std::hash::RandomState::new().hash_one(dir);
        let copy = Self(std::env::temp_dir().join(format!("curiod-verify-{unique:016x}")));
        copy_folder(dir, &copy.0)?;
        Ok(copy)
    }
}

impl Drop for CatalogueCopy {
    fn drop(&mut self) {
        // What stays behind is in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), ReplayError> {
    std::fs::create_dir_all(to).map_err(ReplayError::io("create", to))?;
    for item in std::fs::read_dir(from).map_err(ReplayError::io("list", from))? {
        let item = item.map_err(ReplayError::io("list", from))?;
        let (path, target) = (item.path(), to.join(item.file_name()));
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            std::fs::copy(&path, &target).map_err(ReplayError::io("copy", &path))?;
        }
    }
    Ok(())
}
