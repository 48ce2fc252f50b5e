//! `curiod doctor`: is this machine ready? Each check names what it found and, where something is wrong, what to do.

use std::path::Path;

use serde::Serialize;

use crate::access::read_keys;
use crate::config::{Config, DeviceChoice};
use crate::serve::tls::Tls;
use crate::torch;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// Works, but not as well as it could.
    Warning,
    /// The daemon would not start, or not work.
    Failed,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
    /// What to do about it; empty where nothing is to be done.
    pub hint: &'static str,
}

/// Every check, for this configuration.
pub fn examine(config: &Config) -> Vec<Check> {
    let mut checks = vec![
        libtorch(),
        processor(),
        device(config),
        state(&config.state_dir),
        port(config),
        access(config),
        inotify(),
    ];
    for stream in &config.streams {
        checks.extend(stream.inbox.iter().map(|inbox| folder(inbox)));
    }
    checks
}

fn check(name: &'static str, outcome: Outcome, found: impl Into<String>, hint: &'static str) -> Check {
    let hint = if outcome == Outcome::Ok { "" } else { hint };
    Check {
        name,
        outcome,
        found: found.into(),
        hint,
    }
}

fn libtorch() -> Check {
    match torch::self_test() {
        Ok(version) => check("libtorch", Outcome::Ok, format!("{version}, computes"), ""),
        Err(error) => check(
            "libtorch",
            Outcome::Failed,
            error.to_string(),
            "run scripts/libtorch.sh and build again",
        ),
    }
}

fn processor() -> Check {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if torch::cpu_multiplies_bf16() {
        return check(
            "processor",
            Outcome::Ok,
            format!("{cores} cores, multiplies bfloat16 natively"),
            "",
        );
    }
    let found = format!("{cores} cores, no native bfloat16: training runs in float32");
    check(
        "processor",
        Outcome::Warning,
        found,
        "nothing to do; a processor with AVX512_BF16 or AMX trains about twice as fast",
    )
}

fn device(config: &Config) -> Check {
    match torch::prepare(&config.device) {
        Ok(device) => check(
            "device",
            Outcome::Ok,
            format!("{device:?} (device.kind = {:?})", config.device.kind).to_lowercase(),
            "",
        ),
        Err(error) => {
            let hint = match config.device.kind {
                DeviceChoice::Cpu => "set device.kind = \"cpu\"",
                _ => "set device.libtorch_dir to the torch/lib of a CUDA PyTorch 2.11, or device.kind = \"cpu\"",
            };
            check("device", Outcome::Failed, error.to_string(), hint)
        }
    }
}

fn state(state_dir: &Path) -> Check {
    let existing = state_dir
        .ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("/"));
    if let Err(error) = rustix::fs::access(existing, rustix::fs::Access::WRITE_OK) {
        let found = format!("{} can not be written: {error}", existing.display());
        return check(
            "state",
            Outcome::Failed,
            found,
            "make it writable for this user, or set state_dir",
        );
    }
    match rustix::fs::statvfs(existing) {
        Ok(disk) => {
            let gib = (disk.f_bavail * disk.f_frsize) as f64 / f64::from(1 << 30);
            let outcome = if gib < 2.0 { Outcome::Warning } else { Outcome::Ok };
            let found = format!("{}, {gib:.1} GiB free", state_dir.display());
            check(
                "state",
                outcome,
                found,
                "ingest pauses below ingest.disk_reserve_bytes: free some room",
            )
        }
        Err(error) => check(
            "state",
            Outcome::Failed,
            format!("{}: {error}", existing.display()),
            "check the disk",
        ),
    }
}

fn port(config: &Config) -> Check {
    match std::net::TcpListener::bind(config.server.bind) {
        Ok(_) => check("port", Outcome::Ok, format!("{} is free", config.server.bind), ""),
        Err(error) => check(
            "port",
            Outcome::Warning,
            format!("{}: {error}", config.server.bind),
            "a running curiod holds it (curiod status), or set server.bind to another",
        ),
    }
}

fn access(config: &Config) -> Check {
    let server = &config.server;
    let keys = server.keys_file.as_deref().map(read_keys).transpose();
    let tls = server.tls_certificate.as_deref().zip(server.tls_key.as_deref());
    let tls = tls.map(|(certificate, key)| Tls::load(certificate, key)).transpose();
    let failed = |error: String| {
        check(
            "access",
            Outcome::Failed,
            error,
            "mend the file that is named (mode 0600, this user's); `curiod keys new` makes keys",
        )
    };
    match (keys, tls) {
        (Err(error), _) => failed(error.to_string()),
        (_, Err(error)) => failed(error.to_string()),
        (Ok(keys), Ok(tls)) => {
            let keys = keys.map_or("no keys, loopback alone".to_owned(), |keys| match keys.len() {
                1 => "1 key".to_owned(),
                count => format!("{count} keys"),
            });
            let tls = if tls.is_some() { "TLS" } else { "no TLS" };
            check("access", Outcome::Ok, format!("{keys}, {tls}"), "")
        }
    }
}

fn inotify() -> Check {
    let read = |name: &str| -> Option<u64> {
        std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}"))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    match (read("max_user_watches"), read("max_user_instances")) {
        (Some(watches), Some(instances)) => {
            let outcome = if watches < 8_192 || instances < 16 {
                Outcome::Warning
            } else {
                Outcome::Ok
            };
            let found = format!("{watches} watches, {instances} instances");
            check(
                "inotify",
                outcome,
                found,
                "raise fs.inotify.max_user_watches by sysctl; until then the rescan finds what no event told",
            )
        }
        _ => check(
            "inotify",
            Outcome::Warning,
            "its limits can not be read",
            "the rescan finds what no event told",
        ),
    }
}

fn folder(inbox: &Path) -> Check {
    match std::fs::read_dir(inbox) {
        Ok(_) => check("inbox", Outcome::Ok, inbox.display().to_string(), ""),
        Err(error) => check(
            "inbox",
            Outcome::Failed,
            format!("{}: {error}", inbox.display()),
            "make the folder, readable for this user",
        ),
    }
}
