//! Who may ask the daemon what: keys, TLS, the admin socket, and what is refused before it starts.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Site, curiod};
use crate::refusals::not_started;

/// A site whose `[server]` has these lines too.
fn site_with(server: &str) -> Site {
    let site = Site::new();
    add_to_server(&site, server);
    site
}

pub(crate) fn add_to_server(site: &Site, lines: &str) {
    let file = site.path("curiod.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(file, text.replacen("[ingest]", &format!("{lines}\n[ingest]"), 1)).unwrap();
}

/// Makes a key by command; gives the file that holds it for clients.
pub(crate) fn new_key(site: &Site, name: &str, scopes: &str) -> PathBuf {
    let output = curiod()
        .args(["keys", "new", "--name", name, "--scope", scopes, "--file"])
        .arg(site.path("keys"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let file = site.path(&format!("{name}.key"));
    write_private(&file, &output.stdout);
    file
}

fn write_private(file: &Path, bytes: &[u8]) {
    fs::write(file, bytes).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// GET or POST by curl, with a key if there is one: the status and the body.
fn ask(site: &Site, method: &str, path: &str, key: Option<&Path>) -> (u16, Value) {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "30", "-X", method, "-w", "\n%{http_code}"]);
    if method == "POST" {
        curl.args(["-H", "Content-Type: application/json", "-d", r#"{"all": true}"#]);
    }
    if let Some(key) = key {
        let key = fs::read_to_string(key).unwrap();
        curl.args(["-H", &format!("Authorization: Bearer {}", key.trim())]);
    }
    let output = curl.arg(format!("{}{path}", site.url())).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
}

fn client(arguments: &[&str], key: Option<&Path>) -> Output {
    let mut command = curiod();
    command.args(arguments);
    if let Some(key) = key {
        command.arg("--key-file").arg(key);
    }
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    out + &err
}

fn reload(site: &Site, event: &str) {
    let before = site.log().matches(event).count();
    site.signal("HUP");
    site.wait_for(event, |site| (site.log().matches(event).count() > before).then_some(()));
}

/// A certificate for this machine and its key, written over what is there.
fn make_certificate(site: &Site) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    fs::write(site.path("tls.pem"), made.cert.pem()).unwrap();
    write_private(&site.path("tls.key"), made.signing_key.serialize_pem().as_bytes());
}

const TLS: &str = "tls_certificate = \"tls.pem\"\ntls_key = \"tls.key\"";

#[test]
fn a_key_opens_what_it_is_for_and_is_refused_once_it_is_revoked_and_reloaded() {
    let mut site = site_with("keys_file = \"keys\"");
    let [reader, metrics, admin] = ["read", "metrics", "admin"].map(|scope| new_key(&site, scope, scope));
    site.start();
    let status = |key: Option<&PathBuf>| ask(&site, "GET", "/api/v1/status", key.map(PathBuf::as_path)).0;
    let retry = |key: &PathBuf| ask(&site, "POST", "/api/v1/quarantine/retry", Some(key)).0;
    assert_eq!(
        [None, Some(&reader), Some(&metrics), Some(&admin)].map(status),
        [401, 200, 403, 200]
    );
    assert_eq!([&reader, &metrics, &admin].map(retry), [403, 403, 200]);
    let metrics_of = |key: &PathBuf| ask(&site, "GET", "/metrics", Some(key)).0;
    assert_eq!([&reader, &metrics].map(metrics_of), [403, 200]);

    // The command line says what it needs, and takes it from a file that is nobody else's.
    let at = ["status", "--url", &site.url()];
    let without = client(&at, None);
    assert!(
        !without.status.success() && said(&without).contains("CURIOD_KEY_FILE"),
        "{}",
        said(&without)
    );
    assert!(client(&at, Some(&reader)).status.success());
    fs::set_permissions(&reader, fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = client(&at, Some(&reader));
    assert!(
        !exposed.status.success() && said(&exposed).contains("chmod 600"),
        "{}",
        said(&exposed)
    );

    let revoked = curiod()
        .args(["keys", "revoke", "--name", "read", "--file"])
        .arg(site.path("keys"))
        .output();
    assert!(revoked.unwrap().status.success());
    let later = new_key(&site, "later", "read");
    assert_eq!(
        [&reader, &later].map(|key| status(Some(key))),
        [200, 401],
        "a change held before the reload"
    );
    reload(&site, "read the access keys again");
    assert_eq!([&reader, &later, &admin].map(|key| status(Some(key))), [401, 200, 200]);

    // A file that can not be used changes nothing, and is told.
    fs::set_permissions(site.path("keys"), fs::Permissions::from_mode(0o644)).unwrap();
    reload(&site, "kept the old access keys");
    assert_eq!(status(Some(&later)), 200);

    let listed = curiod()
        .args(["keys", "list", "--file"])
        .arg(site.path("keys"))
        .output()
        .unwrap();
    assert!(said(&listed).contains("chmod 600"), "{}", said(&listed));
    fs::set_permissions(site.path("keys"), fs::Permissions::from_mode(0o600)).unwrap();
    let listed = curiod()
        .args(["keys", "list", "--json", "--file"])
        .arg(site.path("keys"))
        .output()
        .unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed[2], serde_json::json!({ "name": "later", "scopes": ["read"] }));

    assert_eq!(site.stop(), Some(0));
    let kept = site.log() + &fs::read_to_string(site.path("keys")).unwrap();
    for key in [&reader, &metrics, &admin, &later] {
        let key = fs::read_to_string(key).unwrap();
        assert!(
            !kept.contains(key.trim()),
            "a key is in the log or in the daemon's file"
        );
    }
    assert!(
        site.log().contains("let an administrator's call through"),
        "{}",
        site.log()
    );
}

#[test]
fn a_key_made_without_a_file_is_a_line_on_stdout_and_a_key_on_stderr() {
    let output = curiod()
        .args(["keys", "new", "--name", "a", "--scope", "read,label"])
        .output()
        .unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(
        line.starts_with("a read,label blake3:") && line.lines().count() == 1,
        "{line}"
    );
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("curiod_") && !line.contains("curiod_"), "{told}");
    for wrong in [["--name", "A", "--scope", "read"], ["--name", "a", "--scope", "write"]] {
        let output = curiod().args(["keys", "new"]).args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn what_would_let_others_in_is_refused_before_the_daemon_starts() {
    let start = |site: &Site| {
        curiod()
            .args(["run", "--config"])
            .arg(site.path("curiod.toml"))
            .output()
            .unwrap()
    };
    let exposed = |server: &str| {
        let site = site_with(server);
        let file = site.path("curiod.toml");
        let text = fs::read_to_string(&file).unwrap().replacen("127.0.0.1", "0.0.0.0", 1);
        fs::write(file, text).unwrap();
        start(&site)
    };
    not_started(
        &exposed(""),
        78,
        &["not a loopback address", "no keys", "curiod keys new"],
    );
    not_started(&exposed("keys_file = \"keys\""), 78, &["no TLS", "server.plaintext"]);

    let site = site_with("keys_file = \"keys\"");
    not_started(&start(&site), 78, &["server.keys_file", "keys", "curiod keys new"]);
    new_key(&site, "a", "read");
    fs::set_permissions(site.path("keys"), fs::Permissions::from_mode(0o644)).unwrap();
    not_started(&start(&site), 78, &["server.keys_file", "0644", "chmod 600"]);
    write_private(&site.path("keys"), b"a read curiod_this-is-a-key-and-no-hash\n");
    let output = start(&site);
    not_started(&output, 78, &["line 1", "blake3:"]);
    assert!(!said(&output).contains("this-is-a-key"), "{}", said(&output));

    let site = site_with(TLS);
    make_certificate(&site);
    fs::set_permissions(site.path("tls.key"), fs::Permissions::from_mode(0o644)).unwrap();
    not_started(&start(&site), 78, &["tls.key", "0644", "chmod 600"]);
    write_private(&site.path("tls.key"), b"rubbish");
    not_started(&start(&site), 78, &["tls.key", "no private key"]);
}

#[test]
fn credentials_of_systemd_are_taken_though_its_group_is_let_in() {
    let mut site = Site::new();
    fs::create_dir(site.path("credentials")).unwrap();
    let key = new_key(&site, "a", "read");
    fs::rename(site.path("keys"), site.path("credentials/curiod.keys")).unwrap();
    fs::set_permissions(site.path("credentials/curiod.keys"), fs::Permissions::from_mode(0o440)).unwrap();
    let mut command = curiod();
    command
        .env("CREDENTIALS_DIRECTORY", site.path("credentials"))
        .env("CURIOD__SERVER__KEYS_FILE", site.path("credentials/curiod.keys"));
    site.spawn_as(command);
    site.wait_for("the daemon to answer", |site| site.get("/livez").map(|_| ()));
    assert_eq!(ask(&site, "GET", "/api/v1/status", None).0, 401);
    assert_eq!(ask(&site, "GET", "/api/v1/status", Some(&key)).0, 200);
}

#[test]
fn by_tls_a_daemon_is_asked_whose_certificate_is_trusted_and_a_reload_takes_a_new_one() {
    let mut site = site_with(&format!("keys_file = \"keys\"\n{TLS}"));
    let key = new_key(&site, "a", "read");
    make_certificate(&site);
    site.spawn();
    site.wait_for("the daemon to answer", |site| {
        site.admin(&["status"]).status.success().then_some(())
    });

    let url = site.url().replace("http:", "https:");
    let by = |ca: Option<&Path>, url: &str| {
        let mut command = curiod();
        command.args(["status", "--url", url, "--key-file"]).arg(&key);
        if let Some(ca) = ca {
            command.arg("--ca").arg(ca);
        }
        command.output().unwrap()
    };
    let (first, current) = (site.path("first.pem"), site.path("tls.pem"));
    fs::copy(&current, &first).unwrap();
    for url in [&url, &url.replace("127.0.0.1", "localhost")] {
        let output = by(Some(&first), url);
        assert!(output.status.success(), "{url}: {}", said(&output));
    }
    make_certificate(&site);
    let stranger = by(Some(&current), &url);
    assert_eq!(stranger.status.code(), Some(1));
    assert!(
        said(&stranger).contains("is not trusted") && said(&stranger).contains("--ca"),
        "{}",
        said(&stranger)
    );
    let plain = by(None, &site.url());
    assert_eq!(
        plain.status.code(),
        Some(1),
        "a daemon with TLS answered without: {}",
        said(&plain)
    );

    reload(&site, "read the certificate again");
    assert!(by(Some(&current), &url).status.success());
    assert_eq!(by(Some(&first), &url).status.code(), Some(1));

    // A certificate that does not fit its key changes nothing.
    write_private(&site.path("tls.key"), b"rubbish");
    reload(&site, "kept the old certificate");
    assert!(by(Some(&current), &url).status.success());

    // Who says nothing is not waited for.
    let mut silent = TcpStream::connect(site.url().replace("http://", "")).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0, "it was spoken to");
    assert_eq!(site.stop(), Some(0));
}

#[test]
fn the_admin_socket_is_its_groups_and_is_replaced_once_its_daemon_is_dead() {
    let mut site = Site::new();
    site.start();
    let socket = site.path("state/curiod.sock");
    let metadata = fs::symlink_metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);

    // Without keys the network may ask, and change nothing.
    assert_eq!(ask(&site, "GET", "/api/v1/status", None).0, 200);
    let (status, problem) = ask(&site, "POST", "/api/v1/quarantine/drop", None);
    assert_eq!(
        (status, &problem["type"]),
        (403, &Value::from("urn:curiod:problem:missing-scope"))
    );
    let refused = client(&["quarantine", "retry", "--all", "--url", &site.url()], None);
    assert!(
        !refused.status.success() && said(&refused).contains("unix:"),
        "{}",
        said(&refused)
    );
    // The command line finds the socket by itself.
    let found = curiod()
        .args(["quarantine", "retry", "--all"])
        .env("STATE_DIRECTORY", site.path("state"))
        .output()
        .unwrap();
    assert!(found.status.success(), "{}", said(&found));

    // Another daemon does not take it over.
    let other = site_with(&format!("socket = \"{}\"", socket.display()));
    let output = curiod()
        .args(["run", "--config"])
        .arg(other.path("curiod.toml"))
        .output()
        .unwrap();
    not_started(&output, 1, &["another curiod answers", "server.socket"]);

    site.kill();
    assert!(socket.exists());
    site.start();
    assert!(site.admin(&["status"]).status.success());
    assert_eq!(site.stop(), Some(0));
    assert!(!socket.exists());

    fs::write(&socket, "mine").unwrap();
    let output = curiod()
        .args(["run", "--config"])
        .arg(site.path("curiod.toml"))
        .output()
        .unwrap();
    not_started(&output, 1, &["is no socket"]);
    assert_eq!(fs::read_to_string(&socket).unwrap(), "mine");
}

#[test]
fn a_state_may_lie_deeper_than_sockets_reach() {
    let mut site = Site::new();
    let deep = format!("{}/{}", "d".repeat(80), "e".repeat(80));
    let file = site.path("curiod.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        file,
        text.replace("state_dir = \"state\"", &format!("state_dir = \"{deep}\"")),
    )
    .unwrap();
    site.start();
    let socket = format!("unix:{}", site.path(&deep).join("curiod.sock").display());
    let output = client(&["quarantine", "retry", "--all", "--url", &socket], None);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(site.stop(), Some(0));
}
