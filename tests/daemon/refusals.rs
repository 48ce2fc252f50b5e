//! What can not work is refused in one line: what, where, and what next, with the exit code that says which kind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use crate::harness::{Site, curiod};

/// The daemon did not start, ended with this code, and said why as one event of its log that holds these words and a hint;
/// nothing else of that is on stderr.
pub(crate) fn not_started(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    let events: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let errors: Vec<_> = events.iter().filter(|event| event["level"] == "ERROR").collect();
    let [error] = errors[..] else {
        panic!("not one error: {said}")
    };
    assert_eq!(error["message"], "failed to run the daemon");
    assert_eq!(error["exit_code"], code);
    let told = format!(
        "{} {}",
        error["error"].as_str().unwrap(),
        error["hint"].as_str().unwrap()
    );
    for word in words {
        assert!(told.contains(word), "{told:?} does not say {word:?}");
    }
    assert!(
        !error["hint"].as_str().unwrap().is_empty() && !told.contains("hint:"),
        "{told}"
    );
}

/// The command failed with this code, and said an error that holds these words, and a hint; no panic, no backtrace.
fn refused(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
    assert!(said.contains("error: ") && said.contains("hint: "), "{said:?}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_bad_configuration_is_refused_by_line_and_key() {
    let site = Site::with("[stream.learning]\nbatch = \"many\"\n");
    let output = curiod()
        .args(["run", "--config"])
        .arg(site.path("curiod.toml"))
        .output()
        .unwrap();
    not_started(&output, 78, &["batch", "curiod.toml"]);
    let output = curiod()
        .arg("check-config")
        .arg(site.path("curiod.toml"))
        .output()
        .unwrap();
    refused(&output, 78, &["batch", "curiod.toml"]);
    let output = curiod().args(["check-config", "no such file"]).output().unwrap();
    refused(&output, 78, &["no such file"]);
}

#[test]
fn weights_that_learning_can_not_continue_from_are_refused_at_the_start() {
    let site = Site::with("[stream.learning]\nencoder = \"vit_tiny\"\ninit = \"weights\"\n");
    fs::create_dir(site.path("weights")).unwrap();
    let config = r#"{"architecture": "vit_small_patch16_224"}"#;
    fs::write(site.path("weights/config.json"), config).unwrap();
    fs::write(site.path("weights/model.safetensors"), b"not looked at").unwrap();
    let output = curiod()
        .args(["run", "--config"])
        .arg(site.path("curiod.toml"))
        .output()
        .unwrap();
    let words = [
        "learning can not continue from",
        "vit_small_patch16_224",
        "`learning.init`",
    ];
    not_started(&output, 1, &words);
}

#[test]
fn a_generation_of_a_newer_curiod_is_refused_with_the_remedy_for_that() {
    let site = Site::new();
    let folder = site.path("state/registry/pictures/000001");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("curiod.json"), r#"{"format_version": 99}"#).unwrap();
    let output = curiod()
        .args(["run", "--config"])
        .arg(site.path("curiod.toml"))
        .output()
        .unwrap();
    not_started(&output, 1, &["000001", "99", "run the curiod that wrote it"]);
}

#[test]
fn the_shipped_configuration_is_accepted() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config/curiod.toml");
    let output = curiod().args(["check-config", shipped]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_occupied_port_is_refused() {
    let site = Site::new();
    let address = site.url().replace("http://", "");
    let _taken = std::net::TcpListener::bind(&address).unwrap();
    let output = curiod()
        .args(["run", "--config"])
        .arg(site.path("curiod.toml"))
        .output()
        .unwrap();
    not_started(&output, 1, &[&address, "server.bind"]);
}

#[test]
fn a_missing_inbox_is_refused() {
    let site = Site::new();
    fs::remove_dir(site.path("in")).unwrap();
    let output = curiod()
        .args(["run", "--config"])
        .arg(site.path("curiod.toml"))
        .output()
        .unwrap();
    not_started(&output, 78, &[site.path("in").to_str().unwrap()]);
}

#[test]
fn a_state_directory_that_can_not_be_written_is_refused() {
    let site = Site::new();
    fs::write(site.path("state"), "a file, not a folder").unwrap();
    let output = curiod()
        .args(["run", "--config"])
        .arg(site.path("curiod.toml"))
        .output()
        .unwrap();
    not_started(&output, 1, &[site.path("state").to_str().unwrap()]);
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused() {
    let mut site = Site::new();
    site.start();
    let output = curiod()
        .args(["run", "--bind", "127.0.0.1:0", "--modality", "image", "--inbox"])
        .arg(site.path("in"))
        .arg("--state")
        .arg(site.path("state"))
        .output()
        .unwrap();
    not_started(&output, 1, &["in use", &site.pid().to_string(), "state_dir"]);
    assert_eq!(site.stop(), Some(0));
}

#[test]
fn cuda_where_there_is_none_is_refused_and_not_replaced_by_the_cpu() {
    let site = Site::new();
    let output = curiod()
        .args(["run", "--config"])
        .arg(site.path("curiod.toml"))
        .env("CURIOD__DEVICE__KIND", "cuda")
        .output()
        .unwrap();
    not_started(&output, 78, &["cuda", "device.libtorch_dir"]);
}

#[test]
fn auto_where_there_is_no_cuda_runs_on_the_cpu_and_warns_of_it() {
    let mut site = Site::with("[device]\nkind = \"auto\"\nlibtorch_dir = \"in\"\n");
    site.start();
    assert_eq!(site.stop(), Some(0));
    let log = site.log();
    let chosen = log.lines().find(|line| line.contains("chose the device")).expect(&log);
    for word in ["WARN", "\"device\":\"cpu\"", "reason", "device.libtorch_dir"] {
        assert!(chosen.contains(word), "{chosen}");
    }
}

#[test]
fn a_daemon_that_is_not_there_is_code_69() {
    let site = Site::new();
    for arguments in [&["status"][..], &["models", "list"], &["quarantine", "list", "--json"]] {
        refused(&site.client(arguments), 69, &[&site.url()]);
    }
}

#[test]
fn files_that_are_neither_pictures_nor_texts_are_refused_by_auto_before_the_daemon_starts() {
    let site = Site::new();
    site.drop_file("program", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0");
    let output = curiod()
        .args(["run", "--inbox"])
        .arg(site.path("in"))
        .arg("--state")
        .arg(site.path("state"))
        .output()
        .unwrap();
    not_started(&output, 78, &["--modality image, text, series or transition"]);
}

#[test]
fn a_missing_libtorch_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (command, engine) = (folder.path().join("curiod"), folder.path().join("curiod-engine"));
    fs::copy(env!("CARGO_BIN_EXE_curiod"), &command).unwrap();
    let output = Command::new(&command).arg("doctor").output().unwrap();
    refused(&output, 1, &["curiod-engine"]);

    // An engine that looks for libtorch where none is.
    let mut program = fs::read(env!("CARGO_BIN_EXE_curiod-engine")).unwrap();
    let end = find(&program, b":$ORIGIN\0");
    let start = end - program[..end].iter().rev().position(|byte| *byte == 0).unwrap();
    program[start..end].fill(b'x');
    fs::write(&engine, program).unwrap();
    fs::set_permissions(&engine, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(&command)
        .arg("doctor")
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .unwrap();
    refused(&output, 1, &["libtorch_cpu.so", "LD_LIBRARY_PATH"]);
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    let found = bytes.windows(what.len()).position(|window| window == what);
    found.expect("the engine's own list of folders")
}
