//! Starts the real daemon as a child, talks to it as its users do, and looks at what it leaves behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a test waits for what must come, however slow the machine. Not a measure of speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// The binary under test.
pub(crate) fn curiod() -> Command {
    without_settings(Command::new(env!("CARGO_BIN_EXE_curiod")))
}

/// The binary under test, started by another program that becomes it; its last argument is the binary.
pub(crate) fn curiod_by(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg(env!("CARGO_BIN_EXE_curiod"));
    without_settings(command)
}

/// The binary under test without root's power over modes; nothing where that can not be had.
pub(crate) fn curiod_held_by_modes() -> Option<Command> {
    if !rustix::process::geteuid().is_root() {
        return Some(curiod());
    }
    let drop = ["--bounding-set", "-dac_override,-dac_read_search", "--"];
    let tried = Command::new("setpriv").args(drop).arg("true").status();
    tried
        .is_ok_and(|status| status.success())
        .then(|| curiod_by("setpriv", &drop))
}

fn without_settings(mut command: Command) -> Command {
    command
        .env_remove("CURIOD_URL")
        .env_remove("CURIOD_KEY_FILE")
        .env_remove("CURIOD_CA")
        .env_remove("RUNTIME_DIRECTORY")
        .env_remove("CREDENTIALS_DIRECTORY")
        .env_remove("CURIOD_LOG")
        .env_remove("CURIOD_FAULT")
        .env_remove("NOTIFY_SOCKET");
    command
}

/// The shared test data, or None after saying that the test is skipped.
pub(crate) fn test_data(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CURIOD_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("{test}: skipped, CURIOD_TEST_DATA does not name the test data");
    }
    folder
}

/// A folder with an inbox, a state and a configuration, and the daemon that runs on them.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    port: u16,
    /// The stream that its status is about.
    name: String,
    child: Option<Child>,
    /// How long this test waits for what must come.
    pub(crate) patience: Duration,
}

impl Site {
    /// A place for a daemon whose stream `pictures` learns in small steps, so that a test sees it publish.
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// The same, with more lines for the configuration, after `[[stream]]`.
    pub(crate) fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        // The port is free now; nobody else on this machine is likely to take it before the daemon does.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let site = Self {
            folder,
            port,
            name: "pictures".to_owned(),
            child: None,
            patience: PATIENCE,
        };
        site.configure(more);
        site
    }

    /// A place for a daemon whose one stream, `texts`, is of texts and learns in small steps.
    pub(crate) fn of_texts() -> Self {
        let site = Self::of("texts", "text");
        let file = site.path("curiod.toml");
        let text = fs::read_to_string(&file).unwrap();
        let text = text.replace(
            "[learning]\n",
            "[learning]\nvocab_size = 600\nvocab_bytes = 2000\ntokens_max = 32\n",
        );
        fs::write(file, text).unwrap();
        site
    }

    /// A place for a daemon whose one stream has this name and is of this kind of data.
    pub(crate) fn of(name: &str, modality: &str) -> Self {
        let mut site = Self::new();
        site.name = name.to_owned();
        let file = site.path("curiod.toml");
        let text = fs::read_to_string(&file).unwrap();
        let text = text.replace(
            "name = \"pictures\"\nmodality = \"image\"",
            &format!("name = \"{name}\"\nmodality = \"{modality}\""),
        );
        fs::write(file, text).unwrap();
        site
    }

    /// Writes the configuration.
    pub(crate) fn configure(&self, more: &str) {
        let text = format!(
            "state_dir = \"state\"\n[server]\nbind = \"127.0.0.1:{}\"\n[ingest]\nsettle_ms = 100\nrescan_s = 2\n\
             disk_reserve_bytes = 0\n[learning]\nbatch = 16\nimage_px = 32\nwarmup_steps = 5\nsamples_min = 16\n\
             checkpoint_s = 1\n[publication]\nfirst_candidate_steps = 5\ncandidate_steps = 10\n\
             [[stream]]\nname = \"pictures\"\nmodality = \"image\"\ninbox = [\"in\"]\n{more}",
            self.port
        );
        fs::write(self.path("curiod.toml"), text).unwrap();
    }

    /// A path in the site's folder.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// The daemon's address.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn start(&mut self) -> &mut Self {
        self.spawn();
        self.wait_for("the daemon to answer", |site| site.get("/livez").map(|_| ()));
        self
    }

    /// Starts the daemon and does not wait.
    pub(crate) fn spawn(&mut self) {
        self.spawn_as(curiod());
    }

    /// Starts the daemon with a fault, and does not wait.
    pub(crate) fn spawn_with_fault(&mut self, order: &str) {
        let mut command = curiod();
        command.env("CURIOD_FAULT", order);
        self.spawn_as(command);
    }

    /// Starts the daemon by a command that becomes it, and does not wait.
    pub(crate) fn spawn_as(&mut self, mut command: Command) {
        assert!(self.child.is_none(), "the daemon runs already");
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let child = command
            .args(["run", "--config"])
            .arg(self.path("curiod.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// The daemon's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends a signal by name, as `kill -NAME` does.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Kills the daemon without a word, wherever it is.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// How the daemon ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        Some(status)
    }

    /// Asks the daemon to stop, and gives its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.take().unwrap().wait().unwrap().code()
    }

    /// The daemon's log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Puts a file into the inbox as a careful writer does: under another name first.
    pub(crate) fn drop_file(&self, name: &str, bytes: &[u8]) {
        let path = self.path("in").join(name);
        let part = path.with_extension("part");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&part, bytes).unwrap();
        fs::rename(part, path).unwrap();
    }

    /// Drops pictures that all differ.
    pub(crate) fn drop_pictures(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.drop_file(&format!("{number:05}.png"), &picture(number));
        }
    }

    /// GET of a path, as JSON where it is JSON, else as text.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "30"])
            .arg(format!("{}{path}", self.url()))
            .output();
        let output = output.expect("curl is installed");
        if !output.status.success() {
            return None;
        }
        let text = String::from_utf8(output.stdout).ok()?;
        Some(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// What a question is answered with; None where it is refused.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Option<Value> {
        let output = Command::new("curl")
            .args([
                "-s",
                "-f",
                "-X",
                "POST",
                "-H",
                "Content-Type: application/json",
                "-d",
                &body.to_string(),
            ])
            .arg(format!("{}{path}", self.url()))
            .output()
            .unwrap();
        output
            .status
            .success()
            .then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// Waits until a stream has a checkpoint.
    pub(crate) fn wait_for_checkpoint(&self, stream: &str) {
        self.wait_for("a checkpoint", |site| {
            let found = fs::read_dir(site.path(&format!("state/streams/{stream}/checkpoints"))).ok()?;
            found
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().starts_with("step-"))
                .then_some(())
        });
    }

    /// Runs a client command and gives what it printed.
    pub(crate) fn client(&self, arguments: &[&str]) -> Output {
        curiod().args(arguments).args(["--url", &self.url()]).output().unwrap()
    }

    /// The same over the daemon's own socket, which takes an administrator's calls too.
    pub(crate) fn admin(&self, arguments: &[&str]) -> Output {
        let socket = format!("unix:{}", self.path("state/curiod.sock").display());
        curiod().args(arguments).args(["--url", &socket]).output().unwrap()
    }

    /// Runs a client command with --json; None unless it succeeded.
    pub(crate) fn json(&self, arguments: &[&str]) -> Option<Value> {
        let output = self.client(&[arguments, &["--json"]].concat());
        output
            .status
            .success()
            .then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// The status of the site's own stream.
    pub(crate) fn stream(&self) -> Option<Value> {
        self.json(&["status"])?["streams"]
            .as_array()?
            .iter()
            .find(|stream| stream["name"] == self.name)
            .cloned()
    }

    /// The rejected files that are listed, by path.
    pub(crate) fn quarantined(&self) -> BTreeMap<String, Value> {
        let listed = self.json(&["quarantine", "list"]).unwrap();
        let entries = listed.as_array().unwrap().iter();
        entries
            .map(|entry| (entry["path"].as_str().unwrap().to_owned(), entry.clone()))
            .collect()
    }

    /// The most memory that the daemon ever held, in MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let peak_kib: Option<u64> = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak_kib.unwrap() / 1024
    }

    /// The path of the nearest picture to this one, its own if it is in the index.
    pub(crate) fn nearest(&self, picture: &[u8]) -> Option<String> {
        let file = self.path("query.png");
        fs::write(&file, picture).unwrap();
        let found = self.json(&["search", "--k", "1", "--file", file.to_str().unwrap()])?;
        Some(found["hits"][0]["path"].as_str()?.to_owned())
    }

    /// Waits until something is there, and gives it. Fails with the log when it does not come.
    pub(crate) fn wait_for<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            if start.elapsed() > self.patience {
                panic!(
                    "waited in vain for {what}; status {:?}; log:\n{}",
                    self.json(&["status"]),
                    self.log()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until a number of the stream's status is at least this.
    pub(crate) fn wait_until(&self, key: &str, least: u64) -> Value {
        self.wait_for(&format!("{key} >= {least}"), |site| {
            site.stream()
                .filter(|stream| stream[key].as_u64().is_some_and(|value| value >= least))
        })
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A PNG picture of its number: blobs and stripes whose places and colours are its own.
pub(crate) fn picture(number: u32) -> Vec<u8> {
    let hash = |salt: u32| {
        number
            .wrapping_mul(2_654_435_761)
            .wrapping_add(salt.wrapping_mul(40_503))
            .rotate_left(salt % 31)
            >> 7
    };
    let image = image::RgbImage::from_fn(48, 40, |x, y| {
        let wave = |salt: u32| {
            let (fx, fy) = (hash(salt) % 13, hash(salt + 1) % 11);
            let phase = (x * fx + y * fy + hash(salt + 2) % 97) % 96;
            (if phase < 48 { phase * 5 } else { (95 - phase) * 5 }) as u8
        };
        image::Rgb([wave(1), wave(5), wave(9)])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// The files below a folder, as paths relative to it, sorted.
pub(crate) fn files_below(folder: &Path) -> Vec<String> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_dir() {
                walk(root, &entry.path(), found);
            } else {
                found.push(entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}
