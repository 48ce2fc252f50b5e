//! A daemon of texts that is asked over HTTP, for benchmarks: it starts in a folder of its own, which goes with it.
//! Always true: a connection is kept from one request to the next, as clients in service keep theirs.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) struct Daemon {
    child: Mutex<Child>,
    pub(crate) port: u16,
    pub(crate) folder: PathBuf,
}

impl Daemon {
    /// Starts with these lines of configuration, above the one stream `texts`, and this many made-up texts in its inbox.
    pub(crate) fn start(config: &str, texts: usize) -> Self {
        let folder = std::env::temp_dir().join(format!("curiod-bench-{}", std::process::id()));
        fs::create_dir_all(folder.join("in")).expect("a temporary folder can be made");
        let lines: String = (0..texts)
            .map(|number| format!("{}\n", json!({ "text": document(number, 14) })))
            .collect();
        fs::write(folder.join("in/texts.jsonl"), lines).expect("the inbox can be written");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has a number").port();
        let config = format!(
            "state_dir = \"{0}/state\"\n{config}\n[[stream]]\nname = \"texts\"\nmodality = \"text\"\ninbox = [\"{0}/in\"]\n",
            folder.display()
        );
        fs::write(folder.join("curiod.toml"), config).expect("the folder can be written");
        drop(listener);
        let child = Command::new(env!("CARGO_BIN_EXE_curiod"))
            .args(["run", "--config"])
            .arg(folder.join("curiod.toml"))
            .env("CURIOD__SERVER__BIND", format!("127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).expect("the log can be made"))
            .spawn()
            .expect("the daemon starts");
        Self {
            child: Mutex::new(child),
            port,
            folder,
        }
    }

    /// Waits until the stream's status is as it should be.
    pub(crate) fn wait(&self, what: &str, done: impl Fn(&Value) -> bool) {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(900) {
            if self.stream().is_some_and(|stream| done(&stream)) {
                return;
            }
            let ended = self.child.lock().expect("nobody panics with it").try_wait();
            assert!(
                matches!(ended, Ok(None)),
                "the daemon ended; see {}",
                self.folder.display()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("waited a quarter of an hour for {what}; see {}", self.folder.display());
    }

    pub(crate) fn stream(&self) -> Option<Value> {
        let (_, status) = self.get("/api/v1/status").ok()?;
        Some(status["streams"][0].clone())
    }

    pub(crate) fn get(&self, path: &str) -> std::io::Result<(u16, Value)> {
        Connection::try_open(self.port)?.exchange("GET", path, "")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A text of its own for each number, of this many words.
pub(crate) fn document(number: usize, words: usize) -> String {
    const WORDS: [&str; 16] = [
        "river", "engine", "quiet", "market", "signal", "copper", "window", "harvest", "ladder", "velvet", "orbit",
        "pepper", "anchor", "meadow", "ticket", "lantern",
    ];
    let mut seed = number as u64 + 1;
    let words = (0..words).map(|_| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        WORDS[(seed >> 33) as usize % WORDS.len()]
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A connection that is kept.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(port: u16) -> Self {
        Self::try_open(port).expect("the daemon listens")
    }

    pub(crate) fn try_open(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self {
            reader: BufReader::new(stream),
        })
    }

    /// Status and answer.
    pub(crate) fn exchange(&mut self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, Value)> {
        let (status, bytes) = self.bytes(method, path, body)?;
        Ok((status, serde_json::from_slice(&bytes)?))
    }

    /// Status and the answer's bytes.
    pub(crate) fn bytes(&mut self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, Vec<u8>)> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.reader.get_mut().write_all((head + body).as_bytes())?;
        let odd = |what: &str| std::io::Error::other(what.to_owned());
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| odd("no status"))?;
        let mut length = 0;
        loop {
            line.clear();
            self.reader.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().map_err(|_| odd("no length"))?;
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes)?;
        Ok((status, bytes))
    }
}
