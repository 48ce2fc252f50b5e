//! Recovery: from the files of a store, whatever a crash left of them, to an open store.
//! Invariant: the segments are the truth. A catalogue that contradicts them, or itself, is moved aside and rebuilt.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs::OpenOptions;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, RwLock};
use tracing::{error, info, warn};

use crate::clock::{Clock, SystemClock};
use crate::config::ReplayConfig;
use crate::ids::SampleId;
use crate::limits::SEGMENT_BYTES_MAX;

use super::carried::Carried;
use super::catalogue::{self, Catalogue};
use super::cause::Cause;
use super::compaction::Cleaner;
use super::contents::{Contents, Slot};
use super::curator::Curator;
use super::entries::Mark;
use super::log::{Log, Segment, Segments};
use super::looking;
use super::redo::{Redo, Start};
use super::segment::{self, BadRecord, HEADER_LEN, Identity, Location};
use super::store::{Marks, Memory, Store};
use super::types::{OpenReport, ReplayError};

/// A segment below this many bytes is not sealed, however small the buffer.
const SEGMENT_BYTES_MIN: u64 = 256 << 10;

/// Where a store keeps its segments and its catalogue.
pub(super) fn folders(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("segments"), dir.join("catalogue"))
}

/// What to do when a damaged segment could not be sealed.
const DAMAGE_SAID: &str = "look at the disk; the next start names the same damage again, and tries again";

/// Opens a store, or makes an empty one.
pub(super) fn open(dir: &Path, config: &ReplayConfig, seed: u64) -> Result<(Store, OpenReport), ReplayError> {
    let started = Instant::now();
    let (segments_dir, catalogue_dir) = folders(dir);
    std::fs::create_dir_all(&segments_dir).map_err(ReplayError::io("create", &segments_dir))?;
    segment::sync_dir(dir)?;
    delete_unfinished_segment(&segments_dir)?;
    let segments = Arc::new(find_segments(&segments_dir, true, || Identity {
        uid: std::hash::RandomState::new().hash_one(0),
        seed,
    })?);

    let mut carried = Carried::default();
    let (catalogue, contents, start, rebuilt) = match open_catalogue(&catalogue_dir, &segments, &mut carried) {
        Ok((catalogue, contents, start)) => (catalogue, contents, start, None),
        // It is whole, only not ours, or not now: rebuilding would cost what only it knows.
        Err(in_use @ ReplayError::InUse { .. }) => return Err(in_use),
        Err(ReplayError::Io { source, action, path }) if is_no_damage(&source) => {
            return Err(ReplayError::Io { source, action, path });
        }
        Err(error) => {
            let why = match error {
                ReplayError::Catalogue { detail, .. } => detail,
                other => other.to_string(),
            };
            let aside = catalogue::move_aside(&catalogue_dir, SystemClock.now())?;
            error!(
                why,
                moved_to = %aside.display(),
                hint = "nothing to do: it is rebuilt from the segments, and files whose samples are lost are taken again \
                        if they still are in the inbox",
                "moved a catalogue aside that could not be used"
            );
            let catalogue = Catalogue::open(&catalogue_dir)?;
            (catalogue, Contents::default(), Start::default(), Some(why))
        }
    };
    let mut redo = Redo::new(&segments, contents, start, Some(&catalogue));
    redo.run()?;
    let tail = redo.finish();

    let mut contents = tail.contents;
    if rebuilt.is_some() {
        carried.add_to(&mut contents);
    }
    let quarantined_records = tail.bad.len() as u64;
    let damaged = damaged_samples(&contents, &tail.bad);
    contents.state.next_seq = contents.state.next_seq.max(tail.next_seq);
    let active = match tail.last {
        Some(last) => last.cut(&segments)?,
        None => None,
    };
    for unsealed in tail.unsealed {
        if let Err(error) = unsealed.seal(&segments) {
            warn!(%error, hint = DAMAGE_SAID, "failed to seal a damaged segment");
        }
    }
    let last_number = segments.sizes().last().map_or(0, |(number, _)| *number);
    let segment_bytes = (config.bytes_max / 64).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    let mut log = Log::new(
        Arc::clone(&segments),
        active,
        last_number,
        contents.state.next_seq,
        segment_bytes,
    );
    if quarantined_records > 0
        && let Err(error) = log.seal()
    {
        warn!(%error, hint = DAMAGE_SAID, "failed to seal a damaged segment");
    }
    let cleaner = Cleaner::beginning_with(first_to_clean(&contents, &segments, log.active_number()));
    let curator = Curator::new(config, segments.identity.seed, &mut contents);
    let mut memory = Memory::new(contents, curator);
    for id in damaged {
        memory.bury(id, Cause::Damaged);
    }
    let places = memory.unseen(looking::AT_OPEN);
    for (id, hash) in looking::hashes(&segments, &places) {
        memory.show(id, hash);
    }
    while memory.evict_one() {}
    let report = OpenReport {
        samples: memory.contents.samples.len() as u64,
        sources: memory.contents.state.totals.sources,
        bytes: memory.contents.bytes,
        rebuilt,
        torn_bytes: tail.torn_bytes,
        quarantined_records,
        elapsed: started.elapsed(),
    };
    memory.bad_records = quarantined_records;
    let store = Store {
        segments,
        log: Mutex::new(log),
        memory: Mutex::new(memory),
        changed: Condvar::new(),
        catalogue_bytes: catalogue.disk_bytes().into(),
        checkpointing: Mutex::new(Marks {
            durable: catalogue.mark()?,
            begun: None,
        }),
        catalogue: RwLock::new(Some(catalogue)),
        cleaner: Mutex::new(cleaner),
    };
    if report.rebuilt.is_some() {
        store.checkpoint_if(true)?;
    }
    let report = OpenReport {
        elapsed: started.elapsed(),
        ..report
    };
    info!(
        samples = report.samples,
        sources = report.sources,
        bytes = report.bytes,
        torn_bytes = report.torn_bytes,
        elapsed_ms = report.elapsed.as_millis() as u64,
        "opened the replay buffer"
    );
    Ok((store, report))
}

/// Whether an error is the surroundings' and says nothing about what is in a file.
fn is_no_damage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    let in_the_way = [
        ErrorKind::StorageFull,
        ErrorKind::QuotaExceeded,
        ErrorKind::PermissionDenied,
        ErrorKind::ReadOnlyFilesystem,
    ];
    let too_many_files = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
    in_the_way.contains(&error.kind())
        || too_many_files
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// The sealed segments that may hold copies of samples that moved on: the one of which a part was copied, and those in
/// which nothing counts but what says what is gone. Oldest first.
fn first_to_clean(contents: &Contents, segments: &Segments, active: Option<u32>) -> VecDeque<u32> {
    let bytes = |of: &BTreeMap<u32, u64>, number: &u32| of.get(number).copied().unwrap_or(0);
    let is_emptied = |number: &u32| bytes(&contents.live_bytes, number) <= bytes(&contents.gone_bytes, number);
    let numbers = segments.sizes().into_iter().map(|(number, _)| number);
    numbers
        .filter(|number| Some(*number) != active && (*number == contents.state.cleaning || is_emptied(number)))
        .collect()
}

/// A crash while a segment was created leaves it without a whole header, and without any batch.
fn delete_unfinished_segment(dir: &Path) -> Result<(), ReplayError> {
    if let Some((_, path)) = segment::list(dir)?.last_key_value() {
        let len = std::fs::metadata(path).map_err(ReplayError::io("look at", path))?.len();
        if len < HEADER_LEN {
            std::fs::remove_file(path).map_err(ReplayError::io("delete", path))?;
            segment::sync_dir(dir)?;
            warn!(segment = %path.display(),
                hint = "none: a kill or a power cut leaves it; nothing acknowledged was in it",
                "deleted a segment whose creation was interrupted");
        }
    }
    Ok(())
}

/// Opens the segments' files. Their identity is that of the first header that can be read, or `new` if there is none.
pub(super) fn find_segments(dir: &Path, write: bool, new: impl FnOnce() -> Identity) -> Result<Segments, ReplayError> {
    let mut identity = None;
    let mut found = Vec::new();
    let mut damaged = Vec::new();
    for (number, path) in segment::list(dir)? {
        let file = OpenOptions::new().read(true).write(write).open(&path);
        let file = file.map_err(ReplayError::io("open", &path))?;
        let bytes = file.metadata().map_err(ReplayError::io("look at", &path))?.len();
        let header = segment::read_header(&file, &path)?;
        if !header.is_whole {
            damaged.push((number, path.clone()));
        }
        match (header.identity, identity) {
            (Some(theirs), Some(ours)) if theirs != ours => {
                return Err(ReplayError::Format {
                    path,
                    detail: "it belongs to another replay buffer; move it away".to_owned(),
                });
            }
            (Some(_), _) if header.number != Some(number) => {
                return Err(ReplayError::Format {
                    path,
                    detail: "its header says another number; give it its name back, or move it away".to_owned(),
                });
            }
            (Some(theirs), _) => identity = Some(theirs),
            (None, _) => {}
        }
        found.push((number, Arc::new(file), bytes));
    }
    let identity = match (identity, found.is_empty()) {
        (Some(identity), _) => identity,
        (None, true) => new(),
        (None, false) => {
            return Err(ReplayError::Format {
                path: dir.to_owned(),
                detail: "no segment in it has a header that can be read; restore one from a backup".to_owned(),
            });
        }
    };
    for (number, path) in damaged {
        let file = found.iter().find(|(found, ..)| *found == number);
        match file
            .filter(|_| write)
            .map(|(_, file, _)| segment::write_header(file, &path, number, identity))
        {
            Some(Ok(())) => warn!(
                segment = %path.display(),
                hint = "look at the disk's health; no record is lost by it",
                "wrote the damaged header of a segment anew"
            ),
            Some(Err(error)) => warn!(
                %error,
                hint = "look at the disk; no record is lost by it, and the next start tries again",
                "failed to write the damaged header of a segment anew"
            ),
            None => warn!(
                segment = %path.display(),
                hint = "the next start of the daemon writes it anew",
                "found a segment with a damaged header"
            ),
        }
    }
    let segments = Segments::new(dir, identity);
    for (number, file, bytes) in found {
        segments.insert(number, Segment { file, bytes });
    }
    Ok(segments)
}

fn open_catalogue(
    dir: &Path,
    segments: &Segments,
    carried: &mut Carried,
) -> Result<(Catalogue, Contents, Start), ReplayError> {
    let catalogue = Catalogue::open(dir)?;
    match load(&catalogue, dir, segments) {
        Ok((contents, start)) => Ok((catalogue, contents, start)),
        Err(error) => {
            *carried = Carried::from(&catalogue, segments.identity.uid);
            Err(error)
        }
    }
}

/// What the catalogue says, and where the log goes on after it.
pub(super) fn load(catalogue: &Catalogue, dir: &Path, segments: &Segments) -> Result<(Contents, Start), ReplayError> {
    let mut contents = Contents::default();
    let wrong = |detail: String| ReplayError::Catalogue {
        path: dir.to_owned(),
        detail,
    };
    let Some(mark) = catalogue.mark()? else {
        return if segments.sizes().is_empty() {
            Ok((contents, Start::default()))
        } else {
            Err(wrong(
                "it is empty or of another version, and there are segments".to_owned(),
            ))
        };
    };
    check_mark(&mark, segments).map_err(wrong)?;
    let loaded = &mut contents;
    let mut files = Vec::new();
    let sizes = segments.sizes().into_iter().collect();
    let mut absent = None;
    catalogue.each_entry(
        &mark,
        |id, kept| {
            absent = absent.or_else(|| beyond(&sizes, kept.location));
            loaded.load_sample(id, kept);
        },
        |entry, location| files.push((entry, location)),
    )?;
    for (entry, location) in files {
        absent = absent.or_else(|| beyond(&sizes, location));
        contents.load_quarantined(entry, location);
    }
    catalogue.each_signals(|id, signals| {
        contents.load_signals(id, signals);
    })?;
    catalogue.each_score(|id, score| {
        contents.load_score(id, score);
    })?;
    catalogue.each_look(|id, look| {
        contents.load_look(id, look);
    })?;
    // The ledger stays on the disk; reading it through finds out whether it is whole.
    contents.listed.keys = catalogue.each_ledger(&mark, |_| ())?;
    contents.listed.places = catalogue.each_place(&mark, |location| {
        absent = absent.or_else(|| beyond(&sizes, location));
        contents.keep(location);
    })?;
    if let Some(Location { segment, offset, .. }) = absent {
        return Err(wrong(format!(
            "a record that it knows, at byte {offset} of segment {segment}, is not there any more"
        )));
    }
    for (segment, bytes) in catalogue.gone_bytes()? {
        contents.keep_gone(segment, bytes);
    }
    contents.state = mark.state;
    let start = Start {
        segment: mark.segment,
        offset: mark.offset,
    };
    Ok((contents, start))
}

fn check_mark(mark: &Mark, segments: &Segments) -> Result<(), String> {
    if mark.uid != segments.identity.uid {
        return Err("it belongs to another replay buffer".to_owned());
    }
    let last = segments.sizes().last().map_or(0, |(number, _)| *number);
    match segments.get(mark.segment) {
        Some(segment) if mark.offset <= segment.bytes => Ok(()),
        // The log was about to open this segment.
        None if mark.segment == last + 1 && mark.offset == HEADER_LEN => Ok(()),
        _ => Err(format!(
            "its mark is at byte {} of segment {}, which is not there",
            mark.offset, mark.segment
        )),
    }
}

/// Samples that the catalogue has and whose records can not be believed.
fn damaged_samples(contents: &Contents, bad: &[(u32, BadRecord)]) -> Vec<SampleId> {
    let places: HashSet<(u32, u64)> = bad.iter().map(|(number, bad)| (*number, bad.offset)).collect();
    let is_bad = |slot: &Slot| places.contains(&(slot.location.segment, u64::from(slot.location.offset)));
    if places.is_empty() {
        return Vec::new();
    }
    let samples = contents.samples.iter().filter(|(_, slot)| is_bad(slot));
    samples.map(|(id, _)| SampleId(*id)).collect()
}

/// The place of a record, if the segments do not reach that far.
fn beyond(sizes: &BTreeMap<u32, u64>, location: Location) -> Option<Location> {
    let end = u64::from(location.offset) + u64::from(location.len);
    let there = sizes.get(&location.segment).is_some_and(|bytes| end <= *bytes);
    (!there).then_some(location)
}
