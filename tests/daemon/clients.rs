//! Clients of other servers, as their users have them: they are given the vectors that the native API gives. And tools that
//! hold an API against its own description.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Site, picture};
use crate::python::python;
use crate::security::{add_to_server, new_key};

/// Below this cosine two vectors are not the same vector.
const COSINE_MIN: f64 = 0.99999;

/// Asks by every client that is installed, and fails where one was given other vectors than these.
fn ask_by_all(site: &Site, question: &Value, expected: &[Vec<f64>]) {
    let Some(python) = python("json") else { return };
    let mut asking = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/clients.py"))
        .env("NO_PROXY", "127.0.0.1")
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = asking.stdin.take().unwrap();
    stdin.write_all(question.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = asking.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", site.log());
    let answers: serde_json::Map<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers.len(), 4, "{answers:?}");
    for (client, answer) in &answers {
        let Value::Object(ways) = answer else {
            eprintln!(
                "skipped: {client} is not installed for this Python ({answer}); CURIOD_TEST_PYTHON names another"
            );
            continue;
        };
        for (way, vectors) in ways {
            let vectors: Vec<Vec<f64>> = serde_json::from_value(vectors.clone()).unwrap();
            assert!(
                !vectors.is_empty() && vectors.len() <= expected.len(),
                "{client} by {way}"
            );
            for (vector, expected) in vectors.iter().zip(expected) {
                assert_eq!(vector.len(), expected.len(), "{client} by {way}");
                let cosine = cosine(vector, expected);
                assert!(cosine > COSINE_MIN, "{client} by {way} was given a vector at {cosine}");
            }
        }
    }
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// A site whose generations follow each other slowly, so that the first is kept while it is asked about.
fn slow(mut site: Site) -> Site {
    let file = site.path("curiod.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replace("\ncandidate_steps = 10\n", "\ncandidate_steps = 300\n"),
    )
    .unwrap();
    site.start();
    site
}

/// What the native command is given for these.
fn native(site: &Site, model: &str, items: &[&str]) -> Vec<Vec<f64>> {
    let embedded = site.json(&[&["embed", "--model", model], items].concat()).unwrap();
    serde_json::from_value(embedded["embeddings"].clone()).unwrap()
}

#[test]
fn other_servers_clients_are_given_the_vectors_of_texts() {
    let mut site = slow(Site::of_texts());
    let row =
        |number: u32| format!("{{\"text\": \"The cat number {number} went to the barn before the rain came.\"}}\n");
    site.drop_file("rows.jsonl", (0..60).map(row).collect::<String>().as_bytes());
    let generation = site.wait_until("generation", 1)["generation"].as_u64().unwrap();
    let texts = [
        "The cat went to the barn.",
        "Un été à Paris, 夏天 \u{1f600}",
        "rain rain rain",
    ];
    let expected = native(
        &site,
        &format!("texts@{generation}"),
        &[&["--text"], &texts[..]].concat(),
    );
    let question = json!({ "url": site.url(), "stream": "texts", "generation": generation, "texts": texts });
    ask_by_all(&site, &question, &expected);
    assert_eq!(site.stop(), Some(0));
}

#[test]
fn other_servers_clients_are_given_the_vectors_of_pictures() {
    let mut site = slow(Site::new());
    site.drop_pictures(0..60);
    let generation = site.wait_until("generation", 1)["generation"].as_u64().unwrap();
    let files = [700, 701, 702].map(|number| {
        let path = site.path(&format!("{number}.png"));
        std::fs::write(&path, picture(number)).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let items: Vec<&str> = files.iter().flat_map(|file| ["--file", file.as_str()]).collect();
    let expected = native(&site, &format!("pictures@{generation}"), &items);
    let question = json!({ "url": site.url(), "stream": "pictures", "generation": generation, "pictures": files });
    ask_by_all(&site, &question, &expected);
    assert_eq!(site.stop(), Some(0));
}

/// What schemathesis looks at: that nothing is answered but what `/openapi.json` tells of, and no error of the server's own.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance";

#[test]
fn schemathesis_finds_no_answer_that_openapi_does_not_tell_of() {
    let Some(python) = python("schemathesis") else { return };
    let mut site = Site::of_texts();
    let row = |number: u32| format!("{{\"text\": \"The cat number {number} went home before the rain came.\"}}\n");
    site.drop_file("rows.jsonl", (0..60).map(row).collect::<String>().as_bytes());
    site.start();
    site.wait_until("generation", 1);
    assert_eq!(site.stop(), Some(0));

    // With a key that opens everything, so that everything is asked.
    let key = new_key(&site, "all", "admin");
    add_to_server(&site, "keys_file = \"keys\"");
    site.start();
    let embeds = |site: &Site| {
        let embedded = site.admin(&["embed", "--text", "The cat."]);
        embedded.status.success().then_some(())
    };
    site.wait_for("the generation to answer again", embeds);
    let parameters =
        "[parameters]\nstream = \"texts\"\nmodel = \"texts\"\ngeneration = 1\nversion = \"1\"\n\"path.id\" = 5\n";
    std::fs::write(site.path("schemathesis.toml"), parameters).unwrap();
    let key = std::fs::read_to_string(key).unwrap();
    let output = Command::new(python)
        .current_dir(site.path("."))
        .args(["-m", "schemathesis.cli", "run", "--no-color", "--seed", "1"])
        .args(["--max-examples", "20", "--request-timeout", "60", "--checks", CHECKS])
        // They are streams of events, which do not end.
        .args(["--exclude-path-regex", "alerts|events"])
        .args(["--header", &format!("Authorization: Bearer {}", key.trim())])
        .arg(format!("{}/openapi.json", site.url()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", site.log());
    assert!(said.contains(" passed"), "{said}");
    site.wait_for("the daemon to answer as before", embeds);
    assert!(!site.log().contains("panicked"), "{}", site.log());
    assert_eq!(site.stop(), Some(0));
}

#[test]
fn promtool_finds_nothing_to_say_of_the_metrics() {
    if Command::new("promtool").arg("--version").output().is_err() {
        eprintln!("skipped: there is no promtool (Debian: apt-get install prometheus)");
        return;
    }
    let mut site = Site::new();
    site.drop_pictures(0..20);
    site.drop_file("broken \"name\\.png", b"no picture");
    site.start();
    site.wait_until("generation", 1);
    let metrics = site.get("/metrics").unwrap();
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains("curiod_"), "{metrics}");
    let mut checking = Command::new("promtool")
        .args(["check", "metrics", "--extended"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    checking.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = checking.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    assert_eq!(site.stop(), Some(0));
}
