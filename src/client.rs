//! The client of a running daemon: JSON over HTTP, by TCP, TLS or the daemon's socket, and errors that say what, where and
//! what next.
//! Always true: no proxy is asked and no redirect followed: what is meant for a daemon goes to it alone.

mod connect;

use std::future::poll_fn;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::access::Secret;
use crate::serve::problem::Problem;
use connect::{Failed, Place};

/// Where a daemon listens unless it is told otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8642";

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// How long a question that the daemon is too busy for, or not ready for, is asked again.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a download may take.
const DOWNLOAD_MAX: Duration = Duration::from_secs(6 * 3_600);

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is none that a daemon could have.
    #[error("`{0}` is not the URL of a daemon")]
    Url(String),
    /// The certificates that are to be trusted can not be read.
    #[error("{} is {why}", path.display())]
    Ca {
        /// Their file.
        path: PathBuf,
        /// What it is.
        why: String,
    },
    /// It does not show a certificate that is trusted.
    #[error("{url} is not trusted: {why}")]
    Untrusted {
        /// Where.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody answers there.
    #[error("no curiod answers at {url}: {why}")]
    Unreachable {
        /// Where.
        url: String,
        /// What the system said.
        why: String,
    },
    /// The daemon says why not.
    #[error("{}: {}", .0.title, .0.detail)]
    Problem(Box<Problem>),
    /// The connection broke, or the answer is none of curiod's.
    #[error("{url} did not answer as curiod does: {why}")]
    Odd {
        /// Where.
        url: String,
        /// What came instead.
        why: String,
    },
}

/// Why a file was not copied.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// It did not come.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It could not be written here.
    #[error("the file can not be written: {0}")]
    Write(std::io::Error),
}

impl ClientError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Url(_) => Some(format!(
                "give one like {DEFAULT_URL}, https://HOST:8642 or unix:/run/curiod/curiod.sock with --url or CURIOD_URL"
            )),
            Self::Ca { .. } => Some("name a file of certificates (PEM) with --ca or CURIOD_CA".to_owned()),
            Self::Untrusted { .. } => Some(
                "name the certificate's authority, or itself where it has none, with --ca or CURIOD_CA, and ask by a name that is in it"
                    .to_owned(),
            ),
            Self::Unreachable { .. } => {
                Some("start it with `curiod run`, or say where it is with --url or CURIOD_URL".to_owned())
            }
            Self::Problem(problem) => problem.hint.clone(),
            Self::Odd { .. } => Some("is it curiod that listens there? Its log says more".to_owned()),
        }
    }
}

/// A daemon somewhere.
pub struct Client {
    place: Place,
    url: String,
    key: Option<Secret>,
    runtime: Runtime,
}

impl Client {
    /// The daemon at this URL: `http://HOST:PORT`, `https://HOST:PORT`, or `unix:PATH` of its socket. Nothing is sent yet.
    ///
    /// # Errors
    /// It is no such URL.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        Self::with(url, None, None)
    }

    /// The same, with the file of the certificates that are trusted (default: the system's) and the key to ask with.
    ///
    /// # Errors
    /// It is no such URL, or the certificates can not be read.
    pub fn with(url: &str, ca: Option<&Path>, key: Option<Secret>) -> Result<Self, ClientError> {
        let url = url.trim_end_matches('/').to_owned();
        let place = Place::of(&url, ca)?;
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok(Self {
            place,
            key,
            runtime: runtime.map_err(|error| ClientError::Odd {
                url: url.clone(),
                why: error.to_string(),
            })?,
            url,
        })
    }

    /// Where the daemon is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Reads a path.
    pub fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.get_as(path)
    }

    /// Reads a path into a type.
    pub fn get_as<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let bytes = self.ask(Method::GET, path, None)?;
        serde_json::from_slice(&bytes).map_err(|error| self.odd(error))
    }

    /// Copies what is at a path, such as a file of a generation, to where it is to be; how many bytes. It may take longer
    /// than an answer, and no longer than six hours.
    pub fn download(&self, path: &str, into: &mut impl Write) -> Result<u64, DownloadError> {
        self.runtime.block_on(async {
            let copied = tokio::time::timeout(DOWNLOAD_MAX, self.copy(path, into)).await;
            copied.unwrap_or_else(|_| {
                Err(self
                    .odd(format!("it took more than {} s", DOWNLOAD_MAX.as_secs()))
                    .into())
            })
        })
    }

    async fn copy(&self, path: &str, into: &mut impl Write) -> Result<u64, DownloadError> {
        let began = tokio::time::timeout(ANSWER_MAX, self.send(Method::GET, path, None)).await;
        let (answer, driver) = began.unwrap_or_else(|_| Err(self.late()))?;
        let (status, mut body) = (answer.status(), Body::new(answer.into_body()));
        if !status.is_success() {
            let bytes = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await;
            return Err(self.refused(status, &bytes.map_err(|error| self.odd(error))?).into());
        }
        let mut copied = 0;
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            // What is no data is a trailer, which says nothing here.
            if let Ok(bytes) = frame.map_err(|error| self.odd(error))?.into_data() {
                into.write_all(&bytes).map_err(DownloadError::Write)?;
                copied += bytes.len() as u64;
            }
        }
        driver.abort();
        Ok(copied)
    }

    /// Reads a path whose answer is no JSON: its bytes.
    pub fn get_for_bytes(&self, path: &str) -> Result<Vec<u8>, ClientError> {
        self.ask(Method::GET, path, None)
    }

    /// Asks a question; asks again for a while where the daemon says that it may be answered soon.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let bytes = self.post_for_bytes(path, body)?;
        serde_json::from_slice(&bytes).map_err(|error| self.odd(error))
    }

    /// As [`post`](Self::post), for an answer that is no JSON: its bytes.
    pub fn post_for_bytes(&self, path: &str, body: &Value) -> Result<Vec<u8>, ClientError> {
        let started = Instant::now();
        let body = serde_json::to_vec(body).map_err(|error| self.odd(error))?;
        loop {
            let answer = self.ask(Method::POST, path, Some(&body));
            let Err(ClientError::Problem(problem)) = &answer else {
                return answer;
            };
            let Some(pause) = problem.retry_after_s.map(|seconds| Duration::from_secs(seconds.max(1))) else {
                return answer;
            };
            if started.elapsed().saturating_add(pause) > PATIENCE {
                return answer;
            }
            std::thread::sleep(pause);
        }
    }

    /// The body of a success; of anything else what it says.
    fn ask(&self, method: Method, path: &str, body: Option<&[u8]>) -> Result<Vec<u8>, ClientError> {
        let (status, bytes) = self.runtime.block_on(async {
            tokio::time::timeout(ANSWER_MAX, self.exchange(method, path, body))
                .await
                .unwrap_or_else(|_| Err(self.late()))
        })?;
        if status.is_success() {
            return Ok(bytes);
        }
        Err(self.refused(status, &bytes))
    }

    /// What an answer that is no success says.
    fn refused(&self, status: StatusCode, bytes: &[u8]) -> ClientError {
        match serde_json::from_slice(bytes) {
            Ok(problem) => ClientError::Problem(Box::new(problem)),
            Err(_) => self.odd(format!("HTTP status {status}")),
        }
    }

    fn late(&self) -> ClientError {
        self.odd(format!("no answer within {} s", ANSWER_MAX.as_secs()))
    }

    /// One request on a connection of its own, and its whole answer.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<(StatusCode, Vec<u8>), ClientError> {
        let (answer, driver) = self.send(method, path, body).await?;
        let status = answer.status();
        let bytes = axum::body::to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX).await;
        driver.abort();
        Ok((status, bytes.map_err(|error| self.odd(error))?.to_vec()))
    }

    /// Sends a request on a connection of its own: its answer's head, and what drives the connection until it is aborted or over.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<(Response<Incoming>, JoinHandle<hyper::Result<()>>), ClientError> {
        let connection = self.place.connect().await.map_err(|failed| match failed {
            Failed::Unreachable(why) => ClientError::Unreachable {
                url: self.url.clone(),
                why,
            },
            Failed::Untrusted(why) => ClientError::Untrusted {
                url: self.url.clone(),
                why,
            },
            Failed::Odd(why) => self.odd(why),
        })?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.place.host())
            .header(header::USER_AGENT, concat!("curiod/", env!("CARGO_PKG_VERSION")));
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.reveal()));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Body::empty, |bytes| Body::from(bytes.to_vec()));
        let request = request.body(body).map_err(|error| self.odd(error))?;
        let (mut sender, driver) = http1::handshake(TokioIo::new(connection))
            .await
            .map_err(|error| self.odd(error))?;
        // Ends with the runtime, or with its connection.
        let driver = tokio::spawn(driver);
        let answer = sender.send_request(request).await.map_err(|error| self.odd(error))?;
        Ok((answer, driver))
    }

    fn odd(&self, why: impl ToString) -> ClientError {
        ClientError::Odd {
            url: self.url.clone(),
            why: why.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    use super::*;
    use crate::serve::problem::Kind;

    #[test]
    fn an_answer_that_asks_for_an_eternity_of_patience_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let head = BufReader::new(stream.try_clone().unwrap()).lines();
            assert!(head.map_while(Result::ok).any(|line| line.is_empty()));
            let problem = Problem::new(Kind::NotReady, "never").retry_after(u64::MAX);
            let body = serde_json::to_string(&problem).unwrap();
            let length = body.len();
            write!(stream, "HTTP/1.1 503 Busy\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
            // Closing with bytes unread would take the answer back.
            std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        });
        let answer = client.post("/api/v1/novelty", &Value::Null);
        assert!(matches!(answer, Err(ClientError::Problem(_))), "{answer:?}");
        drop(client);
        server.join().unwrap();
    }
}
