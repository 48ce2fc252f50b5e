//! The client of a running daemon: JSON over HTTP, and errors that say what, where and what next.

use std::io;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::Agent;
use ureq::http::Uri;

use crate::serve::problem::Problem;

/// Where a daemon listens unless it is told otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8642";

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long a question that the daemon is too busy for, or not ready for, is asked again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is none that a daemon could have.
    #[error("`{0}` is not the URL of a daemon")]
    Url(String),
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

impl ClientError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Url(_) => Some(format!("give one like {DEFAULT_URL} with --url or CURIOD_URL")),
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
    agent: Agent,
    url: String,
}

impl Client {
    /// The daemon at this URL. Nothing is sent yet.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let url = url.trim_end_matches('/');
        let is_http = url
            .parse::<Uri>()
            .is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
        if !is_http {
            return Err(ClientError::Url(url.to_owned()));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_MAX))
            .timeout_connect(Some(CONNECT_MAX))
            // A proxy of the environment would see what is meant for this machine.
            .proxy(None)
            .max_redirects(0)
            .user_agent(concat!("curiod/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            agent: config.into(),
            url: url.to_owned(),
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
        self.understood(self.agent.get(format!("{}{path}", self.url)).call())
    }

    /// Reads a path whose answer is no JSON: its bytes.
    pub fn get_for_bytes(&self, path: &str) -> Result<Vec<u8>, ClientError> {
        self.bytes(self.agent.get(format!("{}{path}", self.url)).call())
    }

    /// Asks a question; asks again for a while where the daemon says that it may be answered soon.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let bytes = self.post_for_bytes(path, body)?;
        serde_json::from_slice(&bytes).map_err(|error| self.odd(error))
    }

    /// As [`post`](Self::post), for an answer that is no JSON: its bytes.
    pub fn post_for_bytes(&self, path: &str, body: &Value) -> Result<Vec<u8>, ClientError> {
        let started = Instant::now();
        loop {
            let answer = self.bytes(self.agent.post(format!("{}{path}", self.url)).send_json(body));
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

    fn understood<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, ClientError> {
        serde_json::from_slice(&self.bytes(answer)?).map_err(|error| self.odd(error))
    }

    /// The body of a success; of anything else what it says.
    fn bytes(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Vec<u8>, ClientError> {
        let mut answer = answer.map_err(|error| self.failed(error))?;
        let status = answer.status();
        let bytes = answer
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_vec()
            .map_err(|error| self.odd(error))?;
        if status.is_success() {
            return Ok(bytes);
        }
        match serde_json::from_slice(&bytes) {
            Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
            Err(_) => Err(self.odd(format!("HTTP status {status}"))),
        }
    }

    fn failed(&self, error: ureq::Error) -> ClientError {
        use ureq::Timeout;
        let is_broken = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
            )
        };
        match &error {
            ureq::Error::Io(broken) if is_broken(broken) => self.odd(error),
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve)
            | ureq::Error::Io(_)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed => ClientError::Unreachable {
                url: self.url.clone(),
                why: error.to_string(),
            },
            _ => self.odd(error),
        }
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
    use std::io::{BufRead, BufReader, Write};
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
