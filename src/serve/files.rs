//! `GET /api/v1/models/{stream}/{generation}/files`: a generation's folder, file by file, for whoever wants it on another machine.
//! Always true: only the manifest and the files that it names are given; the bytes of one answer are of one generation, for a file of
//! it never changes, and one that is open can be read to its end whatever becomes of its name.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::byte_range::Part;
use super::choice::{self, Version};
use super::problem::{Kind, Problem};
use super::query::signed_by;
use super::{AppState, StreamHandle, blocking};
use crate::ids::{Generation, Space, StreamName};
use crate::registry::Published;
use crate::registry::layout::MANIFEST_FILE;

/// Bytes that are read at a time.
const CHUNK_BYTES: u64 = 256 << 10;

/// Chunks of one download that wait for its client. Full: reading waits.
const CHUNKS_MAX: usize = 2;

/// How long a client may take for one of them; then the download is broken off.
const STALL_MAX: Duration = Duration::from_secs(60);

/// The files of a generation.
#[derive(Serialize, JsonSchema)]
pub(super) struct Files {
    /// The stream.
    stream: StreamName,
    /// The generation: what an alias names may change between two requests, this does not.
    #[schemars(with = "u64")]
    generation: Generation,
    /// Its space.
    #[schemars(with = "String")]
    space: Space,
    /// The manifest, then the files that it names.
    files: Vec<FileOf>,
}

/// A file of a generation.
#[derive(Serialize, JsonSchema)]
struct FileOf {
    /// Its name in the generation's folder, and below this route.
    path: String,
    /// Its size.
    bytes: u64,
    /// Its blake3 hash, in hexadecimal; also its `ETag`.
    blake3: String,
}

/// A file that is open.
struct Opened {
    published: Published,
    file: File,
    bytes: u64,
    hash: String,
}

/// `GET /api/v1/models/{stream}/{generation}/files`.
pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    Path((stream, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (stream, handle) = choice::stream(&state, Some(&stream))?;
    let version = Version::parse(&version)?;
    blocking(move || {
        let published = choice::published(&handle, version)?;
        let names = std::iter::once(MANIFEST_FILE).chain(published.manifest.files.keys().map(String::as_str));
        let files = names.map(|name| {
            let opened = open(&handle, &published, name)?;
            Ok(FileOf {
                path: name.to_owned(),
                bytes: opened.bytes,
                blake3: opened.hash,
            })
        });
        let answer = Files {
            stream,
            generation: published.generation,
            space: published.space.clone(),
            files: files.collect::<Result<_, Problem>>()?,
        };
        Ok(signed_by(&published, Json(answer)))
    })
    .await?
}

/// `GET` and `HEAD /api/v1/models/{stream}/{generation}/files/{path}`.
pub(super) async fn file(
    State(state): State<Arc<AppState>>,
    Path((stream, version, path)): Path<(String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (_, handle) = choice::stream(&state, Some(&stream))?;
    let version = Version::parse(&version)?;
    let opened = blocking(move || {
        let published = choice::published(&handle, version)?;
        open(&handle, &published, &path)
    });
    let opened = opened.await??;
    let tag = format!("\"{}\"", opened.hash);
    if is_known(&headers, &tag) {
        return Ok(described(&opened, &tag, StatusCode::NOT_MODIFIED.into_response()));
    }
    let part = match method {
        Method::GET => Part::asked(&headers, &tag, opened.bytes),
        _ => Part::Whole,
    };
    let (status, from, to) = match part {
        Part::Whole => (StatusCode::OK, 0, opened.bytes),
        Part::Bytes { from, to } => (StatusCode::PARTIAL_CONTENT, from, to),
        Part::None => {
            let detail = format!(
                "the file has {} bytes, and none of those that were asked for",
                opened.bytes
            );
            let mut refused = Problem::new(Kind::UnsatisfiableRange, detail).into_response();
            set(
                &mut refused,
                header::CONTENT_RANGE,
                &format!("bytes */{}", opened.bytes),
            );
            return Ok(refused);
        }
    };
    let body = match method {
        Method::HEAD => Body::empty(),
        _ => {
            let permit = Arc::clone(&state.downloads).try_acquire_owned();
            let permit = permit.map_err(|_| {
                Problem::new(Kind::Overloaded, "as many files are being downloaded as may be at once").retry_after(5)
            })?;
            streamed(
                opened.file.try_clone().map_err(|error| unreadable(&error))?,
                from..to,
                permit,
            )
        }
    };
    let mut answer = described(&opened, &tag, (status, body).into_response());
    set(&mut answer, header::CONTENT_LENGTH, &(to - from).to_string());
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {from}-{}/{}", to - 1, opened.bytes);
        set(&mut answer, header::CONTENT_RANGE, &range);
    }
    Ok(answer)
}

/// Opens a file that the manifest names, or the manifest. One that is gone because its generation was dropped a moment ago is told
/// so.
fn open(handle: &StreamHandle, published: &Published, name: &str) -> Result<Opened, Problem> {
    let files = &published.manifest.files;
    let known = files.get(name);
    if known.is_none() && name != MANIFEST_FILE {
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        let detail = format!("generation {} has no file `{name}`", published.generation);
        return Err(Problem::new(Kind::NotFound, detail).hint(format!("it has {MANIFEST_FILE}, {}", names.join(", "))));
    }
    let opened = File::open(published.dir.join(name)).and_then(|file| {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        // The manifest is small, and names no hash of itself.
        let hash = match known {
            Some(hash) => hash.clone(),
            None => {
                let mut hasher = blake3::Hasher::new();
                io::copy(&mut &file, &mut hasher)?;
                hasher.finalize().to_hex().to_string()
            }
        };
        Ok(Opened {
            published: published.clone(),
            bytes: metadata.len(),
            file,
            hash,
        })
    });
    opened.map_err(|error| match handle.registry.is_retired(published.generation) {
        true => choice::missing(handle, published.generation),
        false => unreadable(&error),
    })
}

fn unreadable(error: &io::Error) -> Problem {
    Problem::new(Kind::Internal, format!("the file can not be read: {error}"))
        .hint("look at the disk; a restart sets a damaged generation aside")
}

/// Whether whoever asks has these bytes: `If-None-Match` names them, or anything.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).iter();
    let tags = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','));
    tags.map(|known| known.trim())
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// The answer with what is said of the file whatever of it is given.
fn described(opened: &Opened, tag: &str, answer: Response) -> Response {
    let mut answer = signed_by(&opened.published, answer);
    set(&mut answer, header::ETAG, tag);
    set(&mut answer, header::ACCEPT_RANGES, "bytes");
    set(&mut answer, header::CONTENT_TYPE, "application/octet-stream");
    // Kept by who asked, who asks again whether it is the same.
    set(&mut answer, header::CACHE_CONTROL, "private, no-cache");
    answer
}

fn set(answer: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// These bytes of a file, read as they are taken. What can not be read, or is not taken in time, breaks the connection: the client
/// sees that it has less than was promised.
fn streamed(file: File, range: std::ops::Range<u64>, permit: OwnedSemaphorePermit) -> Body {
    let (chunks, taken) = mpsc::channel::<io::Result<Bytes>>(CHUNKS_MAX);
    tokio::spawn(async move {
        let (file, mut at) = (Arc::new(file), range.start);
        while at < range.end {
            let (read, count) = (Arc::clone(&file), CHUNK_BYTES.min(range.end - at));
            let chunk = tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; count as usize];
                read.read_exact_at(&mut bytes, at).map(|()| Bytes::from(bytes))
            });
            let chunk = chunk.await.unwrap_or_else(|error| Err(io::Error::other(error)));
            let is_whole = chunk.is_ok();
            let sent = tokio::time::timeout(STALL_MAX, chunks.send(chunk)).await;
            if !is_whole || !matches!(sent, Ok(Ok(()))) {
                break;
            }
            at += count;
        }
        drop(permit);
    });
    Body::from_stream(ReceiverStream::new(taken))
}
