//! A server on a socket of its own, with a buffer and a registry below a temporary folder.

use std::io::{Cursor, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use serde_json::{Value, json};
use tch::Device;
use tch::nn::VarStore;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::clock::{SystemClock, Timestamp};
use crate::config::{IngestConfig, ReplayConfig, ServerConfig};
use crate::gate::{Accepted, Network};
use crate::ids::{SampleId, SourceHash};
use crate::ingest::{Ingest, IngestSetup};
use crate::labels::LabelStore;
use crate::model::{Architecture, Decoder, Decoders, EncoderSpec, ImageSpec, initialise, weights};
use crate::registry::{Provenance, Registry, Weights};
use crate::replay::{Inserted, NewSource, ReplayBuffer};
use crate::rng;
use crate::sample::image::{ImageLimits, decode};
use crate::sample::{Content, Cutting, Modality};
use crate::serve::{
    AppState, Event, Listener, ServingSetup, StreamHandle, StreamServing, Streams, admin_router, router, serve,
};
use crate::status::{Status, StreamStatus, example};

/// A small network: the tests are about what is around it.
pub(super) const SPEC: EncoderSpec = EncoderSpec::Image(ImageSpec {
    architecture: Architecture::ResnetTiny,
    image_px: 32,
});

const LIMITS: ImageLimits = ImageLimits {
    pixels_max: 1_000_000,
    side_px_max: 4_096,
};

pub(super) struct Site {
    pub(super) replay: Arc<ReplayBuffer>,
    pub(super) registry: Arc<Registry>,
    pub(super) serving: Arc<StreamServing>,
    pub(super) state: Arc<AppState>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) runtime: Runtime,
    _ingest: Ingest,
    pub(super) folder: tempfile::TempDir,
}

/// What came back for a request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// As they came.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?} is not JSON"))
    }

    /// The problem's name, checked to be a whole one.
    pub(super) fn problem(&self) -> String {
        assert!(
            self.header("content-type") == Some("application/problem+json"),
            "{self:?}"
        );
        let json = self.json();
        assert_eq!(json["status"], self.status);
        assert!(json["title"].is_string() && json["detail"].is_string(), "{json}");
        json["type"]
            .as_str()
            .unwrap()
            .strip_prefix("urn:curiod:problem:")
            .unwrap()
            .to_owned()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl Site {
    pub(super) fn new() -> Self {
        Self::with(ServerConfig::default(), ReplayConfig::default())
    }

    pub(super) fn with(config: ServerConfig, replay: ReplayConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (replay, _) = ReplayBuffer::open(&folder.path().join("replay"), &replay, 0).unwrap();
        let registry = Registry::open(&folder.path().join("registry"), 2, Arc::new(SystemClock)).unwrap();
        let (replay, registry) = (Arc::new(replay), Arc::new(registry));
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (stop, stopped) = watch::channel(false);
        let labels = Arc::new(LabelStore::open(&folder.path().join("labels")).unwrap());
        let serving = Arc::new(StreamServing::start(ServingSetup {
            stream: "pictures".parse().unwrap(),
            replay: Arc::clone(&replay),
            registry: Arc::clone(&registry),
            labels: Arc::clone(&labels),
            clock: Arc::new(SystemClock),
            device: Device::Cpu,
            threads: 1,
            lanes: 2,
            bf16: false,
            exact_rows_max: 200_000,
            on_serving: Box::new(|_| {}),
        }));
        let status = {
            let (replay, serving) = (Arc::clone(&replay), Arc::clone(&serving));
            Box::new(move || status(&replay, &serving))
        };
        let state = Arc::new(AppState::new(
            config,
            listener.local_addr().unwrap(),
            status,
            tokio::sync::broadcast::channel(64).0,
            stopped.clone(),
        ));
        std::fs::create_dir(folder.path().join("in")).unwrap();
        let setup = IngestSetup {
            stream: "pictures".parse().unwrap(),
            inboxes: vec![folder.path().join("in")],
            state_dir: folder.path().join("state"),
            config: IngestConfig {
                settle_ms: 50,
                disk_reserve_bytes: 0,
                ..IngestConfig::default()
            },
            cutting: Cutting::small_pictures(SPEC.image_px()),
            decode_threads: 1,
        };
        let ingest = Ingest::start(setup, Arc::clone(&replay), Arc::new(SystemClock), Arc::new(|_| {})).unwrap();
        let handle = StreamHandle {
            failures: Box::new(Default::default),
            labels,
            modality: Modality::Image,
            replay: Arc::clone(&replay),
            registry: Arc::clone(&registry),
            serving: Arc::clone(&serving),
            quarantine: ingest.quarantine(),
            cutting: Cutting::small_pictures(SPEC.image_px()),
        };
        let streams: Streams = [("pictures".parse().unwrap(), Arc::new(handle))].into();
        state.streams.store(Arc::new(streams));
        state.ready.store(true, Ordering::Release);
        runtime.spawn(serve(listener, router(Arc::clone(&state)), stopped.clone()));
        let socket = {
            let _inside = runtime.enter();
            UnixListener::bind(folder.path().join("socket")).unwrap()
        };
        let socket = Listener::Socket(socket);
        runtime.spawn(serve(socket, admin_router(Arc::clone(&state)), stopped));
        Self {
            replay,
            registry,
            serving,
            state,
            stop,
            runtime,
            _ingest: ingest,
            folder,
        }
    }

    /// Puts pictures into the buffer; picture n is the file `n.png`.
    pub(super) fn insert(&self, numbers: std::ops::Range<u64>) -> Vec<SampleId> {
        let sources = numbers.map(|number| {
            let file = picture(number);
            NewSource {
                hash: SourceHash::of(&file),
                path: format!("{number}.png").into_bytes(),
                bytes: file.len() as u64,
                taken_at: Timestamp(number as i64 * 1_000),
                samples: vec![Content::Image(decode(&file, &LIMITS, SPEC.image_px()).unwrap()).encode()],
            }
        });
        let inserted = self.replay.insert(sources.collect()).unwrap();
        let ids = inserted.into_iter().flat_map(|inserted| match inserted {
            Inserted::Accepted { ids } => ids,
            Inserted::Duplicate => Vec::new(),
        });
        ids.collect()
    }

    /// Publishes a network with the weights of a seed; its generation.
    pub(super) fn publish(&self, seed: u64) -> u64 {
        self.publish_bytes(&network(seed))
    }

    /// Publishes these bytes as weights; their generation.
    pub(super) fn publish_bytes(&self, bytes: &[u8]) -> u64 {
        self.publish_with(bytes, None)
    }

    /// Publishes a network and a decoder with the weights of a seed; their generation.
    pub(super) fn publish_painter(&self, seed: u64) -> u64 {
        let variables = VarStore::new(Device::Cpu);
        let EncoderSpec::Image(spec) = SPEC else {
            panic!("it is of pictures")
        };
        let _ = Decoder::new(&variables.root(), &spec);
        initialise(&variables, seed).unwrap();
        let decoder = weights::export(&variables).unwrap();
        let decoders = Decoders {
            student: decoder,
            teacher: Vec::new(),
        };
        self.publish_with(&network(seed), Some(&decoders))
    }

    fn publish_with(&self, bytes: &[u8], decoders: Option<&Decoders>) -> u64 {
        let provenance = Provenance {
            stream: "pictures".parse().unwrap(),
            step: 50,
            watermark: SampleId(0),
            loss: None,
            encoder: SPEC,
        };
        let staged = self
            .registry
            .stage(
                provenance,
                &Weights {
                    student: bytes.to_vec(),
                    teacher: bytes.to_vec(),
                    decoders: decoders.cloned(),
                    tokenizer: None,
                },
            )
            .unwrap();
        let accepted = Accepted::for_tests(Network::Student, bytes, true);
        let published = self.registry.publish(staged, accepted).unwrap();
        let generation = published.generation.0;
        self.serving.follow_registry();
        generation
    }

    /// Waits until this generation answers with an index of so many samples.
    pub(super) fn wait_for(&self, generation: u64, covered: u64) {
        wait_until(&format!("generation {generation} to cover {covered}"), || {
            let state = self.serving.state();
            let is_searchable = self.serving.current().is_some_and(|served| served.is_searchable());
            is_searchable && state.generation.is_some_and(|g| g.0 == generation) && state.index_covered == covered
        });
    }

    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.state.bound).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.send(
            &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
            b"",
        )
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_bytes(path, "application/json", body.to_string().as_bytes())
    }

    pub(super) fn post_bytes(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        self.send(&post_head(path, content_type, body.len()), body)
    }

    /// The same over the admin socket.
    pub(super) fn post_as_admin(&self, path: &str, body: &Value) -> Answer {
        let body = body.to_string();
        self.send_over_socket(&post_head(path, "application/json", body.len()), body.as_bytes())
    }

    /// Sends bytes over the admin socket and reads until the server closes.
    pub(super) fn send_over_socket(&self, head: &str, body: &[u8]) -> Answer {
        let mut stream = UnixStream::connect(self.folder.path().join("socket")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        read_answer(&mut stream)
    }

    /// Sends bytes and reads until the server closes.
    pub(super) fn send(&self, head: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        read_answer(&mut stream)
    }

    /// Searches by a picture's file.
    pub(super) fn search(&self, number: u64, k: u64) -> Answer {
        self.post("/api/v1/search", &json!({ "image": base64(&picture(number)), "k": k }))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        self.serving.stop();
    }
}

/// The head of a request with a body.
pub(super) fn post_head(path: &str, content_type: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    )
}

pub(super) fn read_answer(stream: &mut impl Read) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("an answer has a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head,
        body: bytes[end + 4..].to_vec(),
    }
}

/// The daemon's status, as far as these tests need it.
fn status(replay: &ReplayBuffer, serving: &StreamServing) -> Status {
    let (counts, state) = (replay.counts(), serving.state());
    Status {
        version: "test".to_owned(),
        uptime_s: 1.0,
        streams: vec![StreamStatus {
            samples: counts.samples,
            generation: state.generation,
            space: state.space,
            index_covered: state.index_covered,
            index_total: state.index_total,
            step: 12,
            steps_per_s: 2.0,
            first_candidate_steps: 50,
            ..example("pictures")
        }],
    }
}

/// The weights of a network that has learnt nothing.
pub(super) fn network(seed: u64) -> Vec<u8> {
    let variables = VarStore::new(Device::Cpu);
    let _encoder = SPEC.build(&variables.root());
    initialise(&variables, seed).unwrap();
    weights::export(&variables).unwrap()
}

/// A picture's file: 40 x 40 pixels of four colours in blobs, of a fixed seed.
pub(super) fn picture(number: u64) -> Vec<u8> {
    let mut rng = rng::for_step(number, 0, 0);
    let colours: Vec<[u8; 3]> = (0..25)
        .map(|_| [0; 3].map(|_: u8| rng::below(&mut rng, 256) as u8))
        .collect();
    let rgb: Vec<u8> = (0..1_600)
        .flat_map(|at| colours[at / 40 / 8 * 5 + at % 40 / 8])
        .collect();
    let mut png = Cursor::new(Vec::new());
    PngEncoder::new(&mut png)
        .write_image(&rgb, 40, 40, ExtendedColorType::Rgb8)
        .unwrap();
    png.into_inner()
}

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Waits for the world to become so; fails when it does not within a time that no machine needs.
pub(super) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "waited in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An event about nothing much.
pub(super) fn event(number: u64) -> Event {
    Event::Accepted {
        stream: "pictures".parse().unwrap(),
        path: format!("{number}.png"),
        samples: vec![SampleId(number)],
    }
}
