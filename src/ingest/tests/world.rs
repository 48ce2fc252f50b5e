//! A temporary inbox with a real replay buffer behind it.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock::SystemClock;
use crate::config::{IngestConfig, ReplayConfig};
use crate::ingest::{Ingest, IngestCounters, IngestEvent, IngestSetup};
use crate::replay::{QuarantineEntry, ReplayBuffer};
use crate::sample::image::ImageLimits;
use crate::sample::{Content, Cutting, ImageTile};

/// Far longer than anything here takes; a test that waits in vain fails after it.
const PATIENCE: Duration = Duration::from_secs(60);

/// An inbox, and what watches it.
pub(super) struct World {
    dir: tempfile::TempDir,
    pub(super) config: IngestConfig,
    pub(super) ingest: Option<Ingest>,
    pub(super) replay: Option<Arc<ReplayBuffer>>,
    events: Arc<Mutex<Vec<IngestEvent>>>,
}

impl World {
    /// A running ingest with settings fit for tests, changed by `change`.
    pub(super) fn with(change: impl FnOnce(&mut IngestConfig)) -> Self {
        let mut config = IngestConfig {
            settle_ms: 300,
            rescan_s: 1,
            disk_reserve_bytes: 0,
            ..IngestConfig::default()
        };
        change(&mut config);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("in")).unwrap();
        let mut world = Self {
            dir,
            config,
            ingest: None,
            replay: None,
            events: Arc::default(),
        };
        world.start();
        world
    }

    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn start(&mut self) {
        let state = self.path("state");
        std::fs::create_dir_all(&state).unwrap();
        let (replay, _) = ReplayBuffer::open(&state.join("replay"), &ReplayConfig::default(), 0).unwrap();
        let replay = Arc::new(replay);
        let setup = IngestSetup {
            stream: "test".parse().unwrap(),
            inboxes: vec![self.inbox()],
            state_dir: state,
            config: self.config.clone(),
            cutting: Cutting::Pictures {
                limits: ImageLimits {
                    pixels_max: self.config.image_pixels_max,
                    side_px_max: self.config.image_side_px_max,
                },
                image_px: 32,
            },
            decode_threads: 2,
        };
        let events = Arc::clone(&self.events);
        let on_event = Arc::new(move |event| events.lock().push(event));
        self.ingest = Some(Ingest::start(setup, Arc::clone(&replay), Arc::new(SystemClock), on_event).unwrap());
        self.replay = Some(replay);
    }

    pub(super) fn stop(&mut self) {
        if let Some(ingest) = self.ingest.take() {
            ingest.stop();
        }
        if let Some(replay) = self.replay.take() {
            Arc::into_inner(replay).unwrap().close().unwrap();
        }
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(super) fn inbox(&self) -> PathBuf {
        self.path("in")
    }

    /// Writes a file into the inbox and closes it.
    pub(super) fn drop_file(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        let path = self.inbox().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(super) fn replay(&self) -> &ReplayBuffer {
        self.replay.as_ref().unwrap()
    }

    pub(super) fn counters(&self) -> IngestCounters {
        self.ingest.as_ref().unwrap().counters()
    }

    /// Accepted, duplicate, quarantined.
    pub(super) fn verdicts(&self) -> (u64, u64, u64) {
        let counters = self.counters();
        (counters.accepted, counters.duplicate, counters.quarantined)
    }

    /// Waits until the world is so, and nothing is on its way.
    pub(super) fn wait(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) || self.counters().queued > 0 {
            assert!(
                begun.elapsed() < PATIENCE,
                "waited in vain: {what}; {:?}",
                self.counters()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn wait_for(&self, accepted: u64, duplicate: u64, quarantined: u64) {
        let wanted = (accepted, duplicate, quarantined);
        self.wait(&format!("{wanted:?}"), |world| world.verdicts() == wanted);
    }

    /// Lets two more scans pass, so that what would be taken wrongly had its chance.
    pub(super) fn let_scans_pass(&self) {
        for _ in 0..2 {
            self.ingest.as_ref().unwrap().rescan();
            self.wait("a scan", |world| !world.counters().needs_rescan);
        }
        // Longer than a file needs to settle.
        std::thread::sleep(Duration::from_millis(self.config.settle_ms * 2));
        self.wait("nothing on its way", |_| true);
    }

    pub(super) fn events(&self) -> Vec<IngestEvent> {
        self.events.lock().clone()
    }

    /// How often a file was said to be put into quarantine.
    pub(super) fn times_told(&self) -> usize {
        let events = self.events.lock();
        let is_told = |event: &&IngestEvent| matches!(event, IngestEvent::Quarantined(_));
        events.iter().filter(is_told).count()
    }

    pub(super) fn quarantined(&self) -> Vec<QuarantineEntry> {
        self.replay().quarantined()
    }

    /// Every tile in the buffer.
    pub(super) fn tiles(&self) -> Vec<ImageTile> {
        let ids = self.replay().ids_after(None, usize::MAX);
        ids.iter()
            .map(
                |id| match Content::decode(&self.replay().read(*id).unwrap().unwrap()).unwrap() {
                    Content::Image(tile) => tile,
                    other => panic!("{other:?} is no picture"),
                },
            )
            .collect()
    }

    /// The first red value of every tile: what [`picture`] was made from.
    pub(super) fn shades(&self) -> Vec<u8> {
        let mut shades: Vec<u8> = self.tiles().iter().map(|tile| tile.rgb[0]).collect();
        shades.sort_unstable();
        shades
    }
}

/// A small PNG; others for other numbers.
pub(super) fn picture(number: u32) -> Vec<u8> {
    let [_, high, middle, low] = number.to_be_bytes();
    let pixels = ::image::RgbImage::from_fn(8, 8, |x, _| ::image::Rgb([low, middle, high.wrapping_add(x as u8)]));
    let mut bytes = Cursor::new(Vec::new());
    pixels.write_to(&mut bytes, ::image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// The files of a folder and the folders below it, by their paths below it.
pub(super) fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}
