//! Published models elsewhere: exported from a living daemon, whole, and in the hands of onnxruntime and PyTorch the daemon's vectors.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Site, files_below, picture};
use crate::python::python;

/// Below this cosine two vectors of one sample are not the same vector.
const COSINE_MIN: f64 = 0.9999;

/// The program that docs/MODELS.md shows.
fn program() -> String {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/MODELS.md")).unwrap();
    let (_, rest) = text.split_once("```python\n").unwrap();
    rest.split_once("```\n").unwrap().0.to_owned()
}

/// What that program says of these samples by an exported model.
fn asked(python: &Path, site: &Site, model: &Path, samples: &Value) -> Vec<Vec<f64>> {
    let file = site.path("embed.py");
    fs::write(&file, program()).unwrap();
    let mut asking = Command::new(python)
        .arg(file)
        .arg(model)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = asking.stdin.take().unwrap();
    stdin.write_all(samples.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = asking.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A site whose generations follow each other slowly, so that the first is kept while it is asked about.
fn started(site: Site) -> Site {
    started_with(site, 300)
}

fn started_with(mut site: Site, candidate_steps: u32) -> Site {
    let file = site.path("curiod.toml");
    let text = fs::read_to_string(&file).unwrap();
    let slower = format!("\ncandidate_steps = {candidate_steps}\n");
    fs::write(&file, text.replace("\ncandidate_steps = 10\n", &slower)).unwrap();
    site.start();
    site
}

/// What an encoder is written as, the file that it is in, and the package that runs it.
const FORMATS: [(&str, &str, &str); 2] = [
    ("onnx", "model.onnx", "onnxruntime"),
    ("torchscript", "model.pt", "torch"),
];

/// Exports the first generation in every format, and compares what each file makes of samples with what the daemon does. `packages`:
/// what the program needs beside what runs the file; `question`: the same samples as `embed` takes them.
fn compare(site: &Site, stream: &str, packages: &str, samples: &Value, question: Value) {
    let generation = site.wait_until("generation", 1)["generation"].as_u64().unwrap();
    let model = format!("{stream}@{generation}");
    for (format, file, _) in FORMATS {
        let out = site.path(format);
        let out_name = out.to_str().unwrap();
        let written = site
            .json(&["models", "export", &model, "--format", format, "--out", out_name])
            .unwrap();
        assert_eq!(written["generation"], generation);
        let names: Vec<&str> = written["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| file["path"].as_str().unwrap())
            .collect();
        assert_eq!(files_below(&out), names);
        assert!(names.contains(&file) && names.contains(&"config.json"), "{names:?}");
    }
    let mut question = question;
    question["model"] = json!(model);
    let answer = site.post("/api/v1/embed", &question).unwrap();
    assert_eq!(answer["generation"], generation);
    let ours: Vec<Vec<f64>> = serde_json::from_value(answer["embeddings"].clone()).unwrap();
    assert_eq!(ours.len(), samples.as_array().unwrap().len());
    for (format, _, package) in FORMATS {
        let Some(python) = python(&format!("{packages}, {package}")) else {
            continue;
        };
        let theirs = asked(&python, site, &site.path(format), samples);
        assert_eq!(theirs.len(), ours.len());
        for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            let cosine = dot(ours, theirs) / (dot(ours, ours) * dot(theirs, theirs)).sqrt();
            println!("{stream} {format} {at}: {cosine:.6}");
            assert!(cosine > COSINE_MIN, "{stream} {format} {at}: {cosine}");
            assert!(
                (dot(theirs, theirs) - 1.0).abs() < 1e-4,
                "{stream} {format} {at} is not of unit length"
            );
        }
    }
}

#[test]
fn an_exported_model_of_pictures_gives_the_daemons_vectors() {
    let site = started(Site::new());
    site.drop_pictures(0..60);
    let files: Vec<PathBuf> = [(700, 48, 40), (701, 32, 32), (702, 33, 71), (703, 200, 130)]
        .map(|(number, width, height)| {
            let path = site.path(&format!("{number}.png"));
            let picture = image::load_from_memory(&picture(number)).unwrap();
            let resized = picture.resize_exact(width, height, image::imageops::FilterType::Triangle);
            resized.save(&path).unwrap();
            path
        })
        .into();
    let base64 = |path: &PathBuf| {
        let output = Command::new("base64").arg("-w0").arg(path).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let images: Vec<String> = files.iter().map(base64).collect();
    compare(
        &site,
        "pictures",
        "numpy, PIL",
        &json!(files),
        json!({ "images": images }),
    );
}

#[test]
fn an_exported_model_of_texts_gives_the_daemons_vectors() {
    let site = started(Site::of_texts());
    let row =
        |number: u32| format!("{{\"text\": \"The cat number {number} went to the barn before the rain came.\"}}\n");
    site.drop_file("rows.jsonl", (0..60).map(row).collect::<String>().as_bytes());
    let long = "rain before the barn ".repeat(40);
    let texts = json!([
        "The cat went to the barn.",
        "Un été à Paris, 夏天 \u{1f600}",
        "rain",
        long
    ]);
    compare(&site, "texts", "numpy, tokenizers", &texts, json!({ "texts": texts }));
}

#[test]
fn an_exported_model_of_series_gives_the_daemons_vectors() {
    let site = started(Site::of("series", "series"));
    let row = |step: u32| format!("{},{}\n", f64::from(step % 24), (f64::from(step) * 0.3).sin());
    site.drop_file(
        "sensor.csv",
        format!("a,b\n{}", (0..3_000).map(row).collect::<String>()).as_bytes(),
    );
    let wave = |step: u32| json!((f64::from(step) * 0.3).sin());
    let gap = |step: u32| if step % 11 < 4 { Value::Null } else { wave(step) };
    let windows = json!([
        [
            (0..128).map(wave).collect::<Vec<_>>(),
            (0..128).map(gap).collect::<Vec<_>>()
        ],
        [(0..61).map(gap).collect::<Vec<_>>()],
        [
            [4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0],
            [1e12, 2e12, null, 3e12, 1.0, 0.0, -5.0, 2.0, 8.0]
        ],
    ]);
    compare(&site, "series", "numpy", &windows, json!({ "series": windows }));
}

#[test]
fn an_exported_model_of_transitions_gives_the_daemons_vectors() {
    let site = started(Site::of("world", "transition"));
    let state = |number: u32| [(f64::from(number) * 0.7).sin(), 100.0 + f64::from(number % 13)];
    let row = |number: u32| {
        let row = json!({ "episode": number / 40, "t": number % 40, "state": state(number), "action": number % 2, "next_state": state(number + 1) });
        format!("{row}\n")
    };
    site.drop_file("rollout.jsonl", (0..800).map(row).collect::<String>().as_bytes());
    let one = |number: u32| json!({ "state": state(number), "action": 1, "next_state": state(number + 5) });
    let transitions: Vec<Value> = (0..5).map(one).collect();
    compare(
        &site,
        "world",
        "numpy",
        &json!(transitions),
        json!({ "transitions": transitions }),
    );
}

#[test]
fn a_generation_is_copied_whole_and_takes_the_place_of_nothing() {
    let site = started(Site::new());
    site.drop_pictures(0..40);
    let generation = site.wait_until("generation", 1)["generation"].as_u64().unwrap();
    let (model, out) = (format!("pictures@{generation}"), site.path("copy"));
    let export = |command: &str, more: &[&str]| site.client(&[&["models", command, &model], more].concat());
    fs::create_dir(&out).unwrap();
    let out_name = out.to_str().unwrap();
    let copied = export("fetch", &["--out", out_name]);
    assert!(copied.status.success(), "{copied:?}");
    assert!(String::from_utf8_lossy(&copied.stdout).starts_with(&format!("wrote generation {generation} of pictures")));
    let original = site.path(&format!("state/registry/pictures/{generation:06}"));
    assert_eq!(files_below(&out), files_below(&original));
    for name in files_below(&out) {
        assert_eq!(
            fs::read(out.join(&name)).unwrap(),
            fs::read(original.join(&name)).unwrap(),
            "{name}"
        );
    }

    let refuses = |more: &[&str], path: &Path| {
        let refused = export("export", more);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains("is there already") && said.contains("hint: "), "{said}");
        assert!(path.exists());
    };
    refuses(&["--out", out_name], &out);
    for (format, name, _) in FORMATS {
        let file = site.path(name);
        let more = ["--format", format, "--out", file.to_str().unwrap()];
        assert!(export("export", &more).status.success());
        let first = fs::read(&file).unwrap();
        refuses(&more, &file);
        assert_eq!(fs::read(&file).unwrap(), first);
    }
    // One that fails leaves nothing behind.
    for (wrong, code) in [
        ("pictures@999", 1),
        ("nobody", 1),
        ("pictures@a b", 2),
        ("../x", 2),
        ("pictures@", 2),
    ] {
        let refused = site.client(&["models", "export", wrong, "--out", site.path("no").to_str().unwrap()]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(code), "{wrong}: {said}");
        assert!(said.contains("hint: "), "{wrong}: {said}");
    }
    let left: Vec<String> = fs::read_dir(site.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".tmp-") || name == "no")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn two_generations_are_compared_by_who_is_near_whom() {
    let site = started_with(Site::new(), 60);
    site.drop_pictures(0..60);
    let latest = site.wait_until("generation", 2)["generation"].as_u64().unwrap();
    let (from, to) = (format!("pictures@{}", latest - 1), latest.to_string());
    let diff = site
        .json(&["models", "diff", &from, &to, "--samples", "50", "--moved", "3"])
        .unwrap();
    assert_ne!(diff["from"]["space"], diff["to"]["space"]);
    assert_eq!((&diff["samples"], &diff["neighbours"]), (&json!(50), &json!(10)));
    let mean = diff["overlap"]["mean"].as_f64().unwrap();
    assert!(mean > 0.0 && mean <= 1.0, "{diff}");
    assert_eq!(diff["moved"].as_array().unwrap().len(), 3);
    let table = site.client(&["models", "diff", &from, &from]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("neighbours kept of 10, mean") && table.contains("1.000"),
        "{table}"
    );
    let refused = site.client(&["models", "diff", "pictures@1", "others@2"]);
    assert_eq!(refused.status.code(), Some(2));
}
