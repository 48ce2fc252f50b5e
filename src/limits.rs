//! Every bound that is not a setting, and what happens at it.

/// One source in this many is held out for the exam.
pub const EXAM_ONE_IN: u64 = 50;

/// Paths waiting between the notify callback and the scan. Full: a rescan is due; the disk is the backlog.
pub const NOTIFY_QUEUE_MAX: usize = 1_024;

/// Files waiting for a decode worker. Full: the scan waits.
pub const DECODE_QUEUE_MAX: usize = 256;

/// Decoded sources waiting to be made durable. Full: the decode workers wait.
pub const COMMIT_QUEUE_MAX: usize = 1_024;

/// Bytes of the samples of those sources: where each is large, fewer may wait.
pub const COMMIT_QUEUE_BYTES_MAX: usize = 64 << 20;

/// Bytes that decoding one picture may take at its peak, whatever the pixel limits say. More: rejected.
pub const DECODE_BYTES_MAX: u64 = 1 << 30;

/// Bytes that a picture's metadata (colour profile, texts) may unpack to. More: it is not unpacked.
pub const METADATA_BYTES_MAX: u64 = 16 << 20;

/// Bytes of a file, or of decoding it, above which it is handled alone: one such at a time in the whole process, so
/// that memory is bounded by one large picture and not by as many as there are workers.
pub const DECODE_SMALL_BYTES_MAX: u64 = 32 << 20;

/// Files waiting until they have been still for long enough. Full: the next scan finds the rest.
pub const SETTLING_MAX: usize = 16_384;

/// Folders below an inbox, one inside the other. Deeper ones are skipped, counted.
pub const INBOX_DEPTH_MAX: usize = 256;

/// Ignored and skipped paths that are told apart, so that each is counted once. Full: further ones are not counted.
pub const PASSED_OVER_MAX: usize = 65_536;

/// Files that could not be read, moved or deleted, and wait for a change or a better moment. Full: the rest is tried at
/// each scan.
pub const PUT_OFF_MAX: usize = 65_536;

/// Sources made durable by one write and one fdatasync.
pub const COMMIT_BATCH_MAX: usize = 1_024;

/// Batches ready for the learner: one in use, one ready. Full: the prefetcher waits.
pub const BATCH_QUEUE_MAX: usize = 2;

/// Candidates waiting for the gate. A newer one replaces it, counted.
pub const CANDIDATE_QUEUE_MAX: usize = 1;

/// Requests waiting for a stream's encoder. Full: 429 and Retry-After.
pub const ENCODE_QUEUE_MAX: usize = 256;

/// Pixels of one pass of an encoder that answers queries: a query waits for at most one pass of index work before its
/// own. 64 pictures of 64 x 64.
pub const ENCODE_PASS_PIXELS_MAX: usize = 64 * 64 * 64;

/// Older generations of a stream that are loaded at once. One more: the one that was asked for longest ago goes.
pub const OLDER_ENCODERS_MAX: usize = 2;

/// Sets of labels of a stream that have copies of its network trained on them: each is a network in memory. More are refused.
pub const TUNED_SETS_MAX: usize = 4;

/// Pictures of all requests that are decoded at once. Full: the next waits.
pub const QUERY_DECODES_MAX: usize = 2;

/// Hits of one search; more is answered 422.
pub const SEARCH_HITS_MAX: usize = 1_000;

/// Threads that help all searches together, beside those that ask; one core is left. Full: a search is done by the thread that asks.
pub const SEARCH_HELPERS_MAX: usize = 4;

/// Bytes of the pattern that a search narrows sources by; more is answered 422.
pub const SOURCE_PATTERN_BYTES_MAX: usize = 256;

/// Samples that a search leaves out by name; more is answered 422.
pub const SEARCH_EXCLUDED_MAX: usize = 10_000;

/// Connections held at once. Full: the next waits in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 512;

/// Bytes of all request bodies held at once. Full: 503 and Retry-After.
pub const REQUESTS_BYTES_MAX: usize = 256 << 20;

/// Bytes of a request's head; a longer one is answered 431.
pub const HEAD_BYTES_MAX: usize = 64 << 10;

/// Seconds in which a request's head must arrive, and that a connection may be idle; then it is closed.
pub const HEAD_TIMEOUT_S: u64 = 60;

/// Connections held at once by the admin socket, beside the others. Full: the next waits in the kernel's queue.
pub const SOCKET_CONNECTIONS_MAX: usize = 32;

/// Seconds in which TLS must be agreed upon; then the connection is closed.
pub const HANDSHAKE_TIMEOUT_S: u64 = 10;

/// Access keys of a daemon. A file with more is refused.
pub const KEYS_MAX: usize = 1_024;

/// Bytes of a file that holds keys or certificates; a larger one is refused.
pub const PRIVATE_FILE_BYTES_MAX: u64 = 1 << 20;
/// Files of generations that are downloaded at once. Full: 503 and Retry-After.
pub const DOWNLOADS_MAX: usize = 16;

/// Clients that follow `events` at once; more are answered 503.
pub const EVENT_CLIENTS_MAX: usize = 32;

/// Events kept for a client that is slower than they come; it is told how many it missed.
pub const EVENT_QUEUE_MAX: usize = 1_024;

const _: () = assert!(
    COMMIT_BATCH_MAX <= COMMIT_QUEUE_MAX,
    "a commit can not take more than its queue holds"
);
const _: () = assert!(EXAM_ONE_IN >= 2, "something must be left to train on");

/// Files listed in a stream's quarantine. Full: the oldest entry leaves the list, still counted.
pub const QUARANTINE_ENTRIES_MAX: usize = 65_536;

/// Bytes at which a segment of the replay buffer is sealed and the next one begun.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// Bytes that one step of compaction copies. More is left to the next step, so that inserts wait little.
pub const COMPACTION_STEP_BYTES_MAX: u64 = 8 << 20;

/// Evicted samples of which it is remembered why. Full: of the oldest it is known only that they are gone.
pub const FATES_MAX: usize = 4_096;

/// Ids of evicted samples that are remembered. Full: who follows the buffer compares all ids instead.
pub const EVICTED_IDS_MAX: usize = 65_536;
