//! The buffer against a plain model of it in RAM, under random operations, kills and losses of the catalogue.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::config::RemoverKind;
use crate::rng::below;

const CAPACITY: u64 = 300_000;
const SAMPLES: usize = 70;
/// Above a fifth of the samples, which is what counts.
const RECENT_ASKED: usize = 20;
const RECENT: usize = SAMPLES / 5;

#[derive(Clone, Debug)]
enum Operation {
    /// Sources by number, their samples' sizes, and whether under a second path.
    Insert(Vec<(u64, usize, bool)>),
    Quarantine(u8),
    DropQuarantine(u8),
    Draw(usize),
    Report(usize),
    /// How many of the oldest are scored, and of how many clusters they are.
    Score(usize, u8),
    Compact,
    Checkpoint,
    Close,
    Kill,
    LoseCatalogue,
    /// A kill after so many of the segments that wait for it were deleted, and the catalogue lost.
    KillAmongDeletions(usize),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let source = (0u64..400, 1usize..12_000, prop::bool::weighted(0.2));
    let operation = prop_oneof![
        8 => prop::collection::vec(source, 1..24).prop_map(Operation::Insert),
        1 => (0u8..8).prop_map(Operation::Quarantine),
        1 => (0u8..8).prop_map(Operation::DropQuarantine),
        2 => (1usize..40).prop_map(Operation::Draw),
        2 => (1usize..20).prop_map(Operation::Report),
        2 => (1usize..100, 1u8..30).prop_map(|(n, clusters)| Operation::Score(n, clusters)),
        2 => Just(Operation::Compact),
        2 => Just(Operation::Checkpoint),
        1 => Just(Operation::Close),
        2 => Just(Operation::Kill),
        1 => Just(Operation::LoseCatalogue),
        2 => (0usize..4).prop_map(Operation::KillAmongDeletions),
    ];
    prop::collection::vec(operation, 1..60)
}

/// What a buffer with the remover `fifo` must be.
#[derive(Default)]
struct Model {
    /// number -> path and id.
    sources: BTreeMap<u64, (Vec<u8>, SampleId)>,
    duplicates: BTreeSet<(u64, Vec<u8>)>,
    /// Live samples: number, size, exam.
    live: BTreeMap<SampleId, (u64, usize, bool)>,
    quarantine: BTreeSet<u8>,
    visits: BTreeMap<SampleId, u32>,
    /// Every sample there ever was: number and size.
    born: BTreeMap<SampleId, (u64, usize)>,
}

impl Model {
    fn insert(&mut self, number: u64, bytes: usize, path: Vec<u8>, exam: bool) -> Inserted {
        if let Some((first_path, id)) = self.sources.get(&number) {
            if *first_path == path {
                return Inserted::Accepted { ids: vec![*id] };
            }
            self.duplicates.insert((number, path));
            return Inserted::Duplicate;
        }
        let id = SampleId(self.sources.len() as u64 + 1);
        self.sources.insert(number, (path, id));
        self.live.insert(id, (number, bytes, exam));
        self.born.insert(id, (number, bytes));
        Inserted::Accepted { ids: vec![id] }
    }

    fn bytes(&self, exam_only: bool) -> u64 {
        let counted = self.live.values().filter(|(.., exam)| *exam || !exam_only);
        counted.map(|(_, bytes, _)| *bytes as u64).sum()
    }

    fn evict(&mut self) {
        let oldest = |model: &Self, exam: bool| model.live.iter().find(|(_, live)| live.2 == exam).map(|(id, _)| *id);
        let exam = |model: &Self| model.live.values().filter(|live| live.2).count();
        while self.bytes(true) > CAPACITY / 10 || exam(self) > SAMPLES / 10 {
            let id = oldest(self, true).unwrap();
            self.live.remove(&id);
        }
        while self.bytes(false) > CAPACITY || self.live.len() > SAMPLES {
            let id = oldest(self, false).or_else(|| oldest(self, true)).unwrap();
            self.live.remove(&id);
        }
    }

    /// What a uniform draw must give.
    fn draw(&self, n: usize, recent_share: f64, rng: &mut crate::rng::Rng) -> Vec<SampleId> {
        let ids: Vec<_> = self
            .live
            .iter()
            .filter(|(_, live)| !live.2)
            .map(|(id, _)| *id)
            .collect();
        let newest = (n as f64 * recent_share).round() as usize;
        let pick = |turn| match turn < newest {
            true => ids[ids.len() - 1 - below(rng, RECENT.min(ids.len()))],
            false => ids[below(rng, ids.len())],
        };
        if ids.is_empty() {
            Vec::new()
        } else {
            (0..n).map(pick).collect()
        }
    }
}

/// A number's source; every tenth is of the exam.
fn numbered(number: u64, bytes: usize) -> NewSource {
    if number.is_multiple_of(10) {
        exam_source(number, bytes)
    } else {
        source(number, bytes)
    }
}

fn check(buffer: &ReplayBuffer, model: &Model) {
    let live = everything(buffer);
    let expected = |(id, (number, bytes, _)): (&SampleId, &(u64, usize, bool))| (*id, content(*number, *bytes));
    assert_eq!(live, model.live.iter().map(expected).collect());
    let counts = buffer.counts();
    assert_eq!(counts.bytes, model.bytes(false));
    assert_eq!(
        counts.exam_samples,
        model.live.values().filter(|live| live.2).count() as u64
    );
    assert_eq!(counts.sources_accepted, model.sources.len() as u64);
    assert_eq!(counts.sources_duplicate, model.duplicates.len() as u64);
    let quarantine: BTreeSet<_> = buffer.quarantined().into_iter().map(|entry| entry.path).collect();
    assert_eq!(quarantine, model.quarantine.iter().map(u8::to_string).collect());
    assert!(
        model
            .sources
            .keys()
            .all(|number| buffer.knows(&numbered(*number, 0).hash))
    );
}

fn config_of(remover: RemoverKind) -> ReplayConfig {
    ReplayConfig {
        remover,
        recent_samples: RECENT_ASKED,
        samples_max: SAMPLES,
        ..config(CAPACITY)
    }
}

/// Makes a checkpoint, and keeps the segments that it deletes, but for the first few, in a folder.
fn checkpoint_and_keep_the_emptied(buffer: &ReplayBuffer, deleted: usize, folder: &Path) {
    while buffer.store.compact().unwrap() {}
    let emptied = buffer.store.cleaner.lock().emptied();
    std::fs::create_dir_all(folder.join("segments")).unwrap();
    for number in emptied.into_iter().skip(deleted) {
        let kept = folder.join("segments").join(segment::file_name(number));
        // The keeper may have deleted it meanwhile.
        let _ = std::fs::copy(buffer.store.segments.path(number), kept);
    }
    buffer.checkpoint().unwrap();
}

/// Runs the operations on a buffer; after each, `check`.
fn run(operations: Vec<Operation>, config: &ReplayConfig, check: impl Fn(&ReplayBuffer, &Model, bool)) {
    let mut dir = tempfile::tempdir().unwrap();
    let mut buffer = open(dir.path(), config);
    let mut model = Model::default();
    for (step, operation) in operations.into_iter().enumerate() {
        let mut reopened = false;
        match operation {
            Operation::Insert(batch) => {
                let new = batch.into_iter().map(|(number, bytes, second)| NewSource {
                    path: format!("{number}{}.png", if second { " again" } else { "" }).into_bytes(),
                    ..numbered(number, bytes)
                });
                let new: Vec<_> = new.collect();
                let expected: Vec<_> = new
                    .iter()
                    .map(|source| {
                        let number = source.taken_at.0 as u64;
                        model.insert(
                            number,
                            source.bytes as usize,
                            source.path.clone(),
                            source.hash.in_exam(),
                        )
                    })
                    .collect();
                model.evict();
                assert_eq!(buffer.insert(new).unwrap(), expected);
            }
            Operation::Quarantine(path) => {
                buffer.record_quarantine(quarantined(&path.to_string())).unwrap();
                model.quarantine.insert(path);
            }
            Operation::DropQuarantine(path) => {
                assert_eq!(
                    buffer.drop_quarantine(&path.to_string()).unwrap(),
                    model.quarantine.remove(&path)
                );
            }
            Operation::Draw(n) => {
                let draw = buffer.draw(n, &mut for_step(1, step as u64, 0)).unwrap();
                let ids: Vec<_> = draw.samples.iter().map(|drawn| drawn.id).collect();
                if config.remover == RemoverKind::Fifo {
                    assert_eq!(
                        ids,
                        model.draw(n, config.recent_share, &mut for_step(1, step as u64, 0))
                    );
                }
                assert!(ids.iter().all(|id| buffer.info(*id).is_some_and(|info| !info.exam)));
            }
            Operation::Report(n) => {
                let ids = buffer.ids_after(None, n);
                for id in &ids {
                    *model.visits.entry(*id).or_default() += 1;
                }
                buffer
                    .report(
                        &ids.iter()
                            .map(|id| Evidence { id: *id, error: 0.5 })
                            .collect::<Vec<_>>(),
                        judge,
                    )
                    .unwrap();
                assert!(
                    ids.iter()
                        .all(|id| buffer.info(*id).unwrap().visits == model.visits[id])
                );
            }
            Operation::Score(n, clusters) => {
                let place = |id: &SampleId| {
                    let mut place = [0; EMBEDDING_DIM];
                    place[usize::from(id.0 as u8 % clusters)] = 127;
                    Embedding(place)
                };
                let ids = buffer.ids_after(None, n);
                let score = |id: &SampleId| Score {
                    error: 0.5,
                    embedding: place(id),
                    step: step as u64,
                };
                buffer.score(&ids.iter().map(|id| (*id, score(id))).collect::<Vec<_>>());
            }
            Operation::Compact => {
                buffer.store.compact().unwrap();
            }
            Operation::Checkpoint => buffer.checkpoint().unwrap(),
            Operation::Close => {
                buffer.close().unwrap();
                buffer = open(dir.path(), config);
                assert!(
                    model
                        .visits
                        .iter()
                        .all(|(id, visits)| buffer.info(*id).is_none_or(|info| info.visits == *visits))
                );
                reopened = true;
            }
            Operation::Kill | Operation::LoseCatalogue | Operation::KillAmongDeletions(_) => {
                let killed = tempfile::tempdir().unwrap();
                if let Operation::KillAmongDeletions(deleted) = operation {
                    checkpoint_and_keep_the_emptied(&buffer, deleted, killed.path());
                }
                // Between the operations nothing is written but by the keeper, which is waited for here.
                let turn = buffer.store.checkpointing.lock();
                let cleaner = buffer.store.cleaner.lock();
                copy(dir.path(), killed.path());
                drop((turn, cleaner));
                drop(buffer);
                if !matches!(operation, Operation::Kill) {
                    std::fs::remove_dir_all(killed.path().join("catalogue")).unwrap();
                }
                buffer = open(killed.path(), config);
                dir = killed;
                model.visits = model
                    .visits
                    .keys()
                    .filter_map(|id| Some((*id, buffer.info(*id)?.visits)))
                    .collect();
                reopened = true;
            }
        }
        check(&buffer, &model, reopened);
    }
    buffer.close().unwrap();
    let report = ReplayBuffer::verify(dir.path()).unwrap();
    assert!(report.ok, "{report:?}");
}

fn check_bounds(live: &BTreeMap<SampleId, Vec<u8>>, counts: &Counts) {
    let bytes: usize = live.values().map(Vec::len).sum();
    assert_eq!((live.len() as u64, bytes as u64), (counts.samples, counts.bytes));
    assert!(counts.bytes <= CAPACITY && live.len() <= SAMPLES, "{counts:?}");
    assert!(counts.exam_samples as usize <= SAMPLES / 10, "{counts:?}");
}

fn is_exam(model: &Model, id: SampleId) -> bool {
    model.born[&id].0.is_multiple_of(10)
}

/// As many cases as the environment asks for, few if it does not: each opens a store many times.
fn few_cases() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: if asked { default.cases } else { 24 },
        ..default
    }
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn a_buffer_is_its_model(operations in operations()) {
        run(operations, &config_of(RemoverKind::Fifo), |buffer, model, _| check(buffer, model));
    }

    /// Which samples it keeps is for other tests. Here: as many as its bounds allow, the newest of them all, each with
    /// the content it came with.
    #[test]
    fn a_buffer_that_evicts_the_redundant_is_within_its_bounds(operations in operations()) {
        run(operations, &config_of(RemoverKind::MinRedundancy), |buffer, model, _| {
            let live = everything(buffer);
            let counts = buffer.counts();
            check_bounds(&live, &counts);
            let newest = model.sources.values().map(|(_, id)| *id).filter(|id| !is_exam(model, *id)).max();
            assert!(newest.is_none_or(|id| live.contains_key(&id)), "the newest is not there");
            for (id, found) in &live {
                let (number, bytes) = model.born[id];
                assert_eq!(*found, content(number, bytes));
            }
        });
    }

    #[test]
    fn a_reservoir_keeps_the_lowest_keys(operations in operations()) {
        run(operations, &config_of(RemoverKind::Reservoir), |buffer, model, _| {
            let live = everything(buffer);
            check_bounds(&live, &buffer.counts());
            let training: Vec<_> = model.sources.iter().filter(|(number, _)| *number % 10 != 0).map(|(_, source)| source.1).collect();
            let kept: Vec<_> = live.keys().filter(|id| training.contains(id)).collect();
            let oldest_new = kept.iter().rev().nth(RECENT - 1).map_or(0, |id| id.0);
            let key = |id: SampleId| Reservoir::key_of(7, id);
            let lowest_gone = training.iter().filter(|id| !live.contains_key(id)).map(|id| key(*id)).min();
            for id in kept.iter().filter(|id| id.0 < oldest_new) {
                assert!(lowest_gone.is_none_or(|gone| key(**id) < gone), "sample {id} outlived a lower key");
            }
            for (id, found) in &live {
                let (number, bytes) = model.born[id];
                assert_eq!(*found, content(number, bytes));
            }
        });
    }
}
