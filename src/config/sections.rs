//! The sections of the configuration: one typed struct each, with its defaults.
//! Every key is documented here once; `config/curiod.toml` and the JSON schema say the same.

mod learning;

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use learning::{EncoderKind, LearningConfig, ObjectiveKind, Precision};

/// Which device the tensors live on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// CUDA where the configured libtorch has it, else the CPU; the choice is logged.
    Auto,
    /// The CPU.
    #[default]
    Cpu,
    /// CUDA, or an error that says what is missing.
    Cuda,
}

/// `[device]`: where tensors are computed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceConfig {
    /// `cpu`, `cuda` or `auto`.
    pub kind: DeviceChoice,
    /// The folder that holds `libtorch_cuda.so` (a PyTorch 2.11 `torch/lib`). Read only when `kind` is not `cpu`.
    pub libtorch_dir: Option<PathBuf>,
}

/// `[server]`: the HTTP server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Where to listen. An address that is not loopback wants `keys_file`, and TLS or `plaintext`.
    #[schemars(with = "String")]
    pub bind: SocketAddr,
    /// Names, and addresses, by which clients call this daemon beside `localhost` and the address it listens on. Requests for other
    /// hosts are refused.
    pub hosts: Vec<String>,
    /// The access keys, as `curiod keys new` writes them; the file is its owner's alone. Where it is given, every request wants a key.
    pub keys_file: Option<PathBuf>,
    /// The certificate (PEM), and those between it and its authority. Where it is given, every connection is by TLS.
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key (PEM); nobody but its owner and group may read it.
    pub tls_key: Option<PathBuf>,
    /// Listen on an address that is not loopback without TLS: keys and data go over the network in the clear.
    pub plaintext: bool,
    /// The admin socket. Default: `curiod.sock` in the service's runtime folder, else in `state_dir`.
    pub socket: Option<PathBuf>,
    /// Bytes of one request's body; more is answered 413.
    pub body_bytes_max: usize,
    /// Things that one request asks about; more is answered 413.
    pub items_max: usize,
    /// Requests handled at once; more are answered 503.
    pub concurrency_max: usize,
    /// Seconds after which a request is answered 504.
    pub request_timeout_s: u64,
    /// The number format of the costly operations of published networks of pictures and texts: fp32, bf16, or auto: bf16 where the
    /// hardware multiplies it natively.
    pub precision: Precision,
    /// Samples up to which a search compares with all of a stream's. Above it may look into a few cells of the index, where it is
    /// measured that they hold 98 % of the nearest; where they do not it compares with all.
    pub exact_search_samples_max: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 8642)),
            hosts: Vec::new(),
            keys_file: None,
            tls_certificate: None,
            tls_key: None,
            plaintext: false,
            socket: None,
            body_bytes_max: 64 << 20,
            items_max: 256,
            concurrency_max: 256,
            request_timeout_s: 30,
            precision: Precision::Fp32,
            exact_search_samples_max: 200_000,
        }
    }
}

/// `[threads]`: who gets the cores. 0 asks for a share of the cores that the machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ThreadConfig {
    /// Decode workers of each stream. 0: a quarter of the cores, 1 to 8.
    pub decode: usize,
    /// Threads that augment pictures, each stream. 0: a quarter of the cores, 1 to 16.
    pub augment: usize,
    /// Threads of one training operation. 0: all cores, 1 to 16; they yield to ingest and queries.
    pub learn: usize,
    /// Threads of one serving operation. 0: 1. A large pass has those of all lanes while no other lane is at work.
    pub serve: usize,
    /// Passes for queries that run at once on the CPU, each with the network once more in memory. 0: all cores, 1 to 2.
    pub lanes: usize,
}

impl ThreadConfig {
    /// Decode workers of each stream.
    pub fn decode(&self) -> usize {
        chosen(self.decode, cores() / 4, 8)
    }

    /// Threads that augment, each stream.
    pub fn augment(&self) -> usize {
        chosen(self.augment, cores() / 4, 16)
    }

    /// Threads of one training operation.
    pub fn learn(&self) -> usize {
        chosen(self.learn, cores(), 16)
    }

    /// Threads of one serving operation.
    pub fn serve(&self) -> usize {
        chosen(self.serve, 1, 1)
    }

    /// Passes for queries that run at once on the CPU.
    pub fn lanes(&self) -> usize {
        chosen(self.lanes, cores(), 2)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn chosen(asked: usize, share: usize, most: usize) -> usize {
    if asked == 0 { share.clamp(1, most) } else { asked }
}

/// What becomes of a file once its samples are durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum After {
    /// It stays where it is.
    #[default]
    Leave,
    /// It is moved to `done_dir`, a rejected one to `quarantine_dir`.
    Move,
    /// It is deleted; a rejected one is moved to `quarantine_dir`, for nothing is deleted unread.
    Delete,
}

/// `[ingest]`: how files are taken from the inboxes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IngestConfig {
    /// What becomes of a file once its samples are durable: `leave`, `move` or `delete`.
    pub after: After,
    /// Where `after = "move"` puts files. Default: `STATE/streams/NAME/done`.
    pub done_dir: Option<PathBuf>,
    /// Where rejected files are put by `move` and `delete`. Default: `STATE/streams/NAME/quarantine`.
    pub quarantine_dir: Option<PathBuf>,
    /// A file whose writer was not seen to close it is whole when it has not changed for this many milliseconds.
    pub settle_ms: u64,
    /// Seconds between two scans of the inbox, which find what no event told.
    pub rescan_s: u64,
    /// Look for changes by scanning alone, as network filesystems need.
    pub poll: bool,
    /// Bytes of one file; a larger one is quarantined as `limits`.
    pub file_bytes_max: u64,
    /// Pixels of one picture; a larger one is quarantined as `limits` (as `bomb` when the file is far smaller than its pixels), before any is decoded.
    pub image_pixels_max: u64,
    /// Pixels of one side of a picture.
    pub image_side_px_max: u32,
    /// The field of JSON lines, or the column of a table, that holds the text. Default: the first with a usual name (text,
    /// content, body, message, ...), else the longest.
    pub text_field: Option<String>,
    /// Characters of one passage: longer documents are cut between paragraphs, sentences or words.
    pub passage_chars_max: usize,
    /// Characters at the end of a passage that begin the next one too.
    pub passage_overlap_chars: usize,
    /// Steps of one window of a series. The network sees up to 2,048 patches of 8 steps of it: the newest of the first variables, so
    /// that of 1,024 steps it sees 16 variables.
    pub window_steps: usize,
    /// Steps from the start of one window to the start of the next; 0: half a window.
    pub window_stride_steps: usize,
    /// The column of a series that holds the time. Default: the first with a usual name (timestamp, time, date, ...) or whose
    /// values are times.
    pub time_column: Option<String>,
    /// The columns of a series that are its variables. Default: every one that holds numbers.
    pub value_columns: Vec<String>,
    /// Free bytes on the state's disk below which nothing more is taken until twice as much is free; below half of them the
    /// learner writes no checkpoints until all of them are.
    pub disk_reserve_bytes: u64,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            after: After::Leave,
            done_dir: None,
            quarantine_dir: None,
            settle_ms: 500,
            rescan_s: 60,
            poll: false,
            file_bytes_max: 256 << 20,
            image_pixels_max: 100_000_000,
            image_side_px_max: 32_768,
            text_field: None,
            passage_chars_max: 600,
            passage_overlap_chars: 60,
            window_steps: 128,
            window_stride_steps: 0,
            time_column: None,
            value_columns: Vec::new(),
            disk_reserve_bytes: 1 << 30,
        }
    }
}

/// Which sample is evicted when the replay buffer is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RemoverKind {
    /// By lot: every sample ever taken is kept with the same probability (Vitter 1985, algorithm R).
    Reservoir,
    /// As `reservoir`, but what lies nearer to another in teacher space than three quarters of what is usual goes first: noise, a
    /// camera that sees nothing, a kind whose samples are all alike.
    #[default]
    Distinct,
    /// Of the closest pair in teacher space, among a random part of the samples, the one with less to teach (MinRed,
    /// Purushwalkam et al. 2022).
    MinRedundancy,
    /// The oldest.
    Fifo,
}

/// Which samples are replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SamplerKind {
    /// Every sample with the same probability.
    #[default]
    Uniform,
    /// Half by priority, half uniform.
    Prioritized,
}

/// What is done with pictures that show the same: compressed again, scaled, brightened, cut a little at their edges. Of texts
/// only those that are the same file are known for the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NearDuplicates {
    /// All are kept and searchable while there is room; then all but one go first. Together they are replayed about as
    /// often as one.
    #[default]
    Collapse,
    /// They are samples as all others.
    Keep,
}

/// `[replay]`: the replay buffer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayConfig {
    /// Bytes of samples kept, exam included; more are evicted. The disk holds up to 1.45 times as much.
    pub bytes_max: u64,
    /// Samples kept, exam included; more are evicted. What is known of each is in RAM, up to
    /// 3.5 KiB with its row of the index. 0: as many as `bytes_max` allows.
    pub samples_max: usize,
    /// Which sample is evicted: `distinct`, `reservoir`, `min_redundancy` or `fifo`.
    pub remover: RemoverKind,
    /// What is done with near-duplicates: `collapse` or `keep`.
    pub near_duplicates: NearDuplicates,
    /// Which samples are replayed: `uniform` or `prioritized`.
    pub sampler: SamplerKind,
    /// Share of each batch that is drawn from the newest samples, 0 to 1.
    pub recent_share: f64,
    /// How many of the newest samples are `recent`.
    pub recent_samples: usize,
    /// How often a sample is replayed, on average, for each sample that arrives. When what has arrived has been
    /// replayed this often the learner sleeps until more arrives. 0: never sleep.
    pub draws_per_sample: f64,
    /// The same where nothing is left to learn: the draws that an arrival is granted lie between the two and follow learning
    /// progress and surprise.
    pub draws_per_sample_min: f64,
}

impl ReplayConfig {
    /// Draws that each arrival is granted: the least and the most. (0, 0): any number.
    pub fn draws(&self) -> (f64, f64) {
        (
            self.draws_per_sample_min.min(self.draws_per_sample),
            self.draws_per_sample,
        )
    }
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self {
            bytes_max: 8 << 30,
            samples_max: 500_000,
            remover: RemoverKind::Distinct,
            near_duplicates: NearDuplicates::Collapse,
            sampler: SamplerKind::Uniform,
            recent_share: 0.25,
            recent_samples: 1_024,
            draws_per_sample: 200.0,
            draws_per_sample_min: 20.0,
        }
    }
}

/// What novelty is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoveltyKind {
    /// The distance to the nearest neighbours in teacher space.
    #[default]
    Neighbours,
    /// The error of a network that learns to predict a random one (Burda et al. 2018). Needs no teacher that has learnt.
    RandomNetwork,
}

/// `[curiosity]`: the signals that alerts and replay are steered by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CuriosityConfig {
    /// What novelty is: `neighbours` or `random_network`.
    pub novelty: NoveltyKind,
}

/// `[publication]`: when a candidate is made and judged, and what is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PublicationConfig {
    /// Steps before the first candidate, so that a new stream can be queried soon.
    pub first_candidate_steps: u64,
    /// Steps between two candidates at first; the distance grows by a quarter of the steps done.
    pub candidate_steps: u64,
    /// Exam samples that the gate compares models on, at most.
    pub exam_samples_max: usize,
    /// Points (hundredths) by which the lower confidence bound of the difference to the published model may be below 0.
    pub margin_points: f64,
    /// One-sided confidence that, of all candidates that are judged until one is published, none that is worse by more than the
    /// margin passes, 0.5 to 1.
    pub confidence: f64,
    /// Generations kept, the published one and the best included.
    pub generations_kept: usize,
}

impl Default for PublicationConfig {
    fn default() -> Self {
        Self {
            first_candidate_steps: 50,
            candidate_steps: 200,
            exam_samples_max: 1_024,
            margin_points: 0.5,
            confidence: 0.95,
            generations_kept: 10,
        }
    }
}
