//! Labels, classifiers of them and queues, over real sockets.

use std::collections::BTreeSet;
use std::io::Cursor;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use serde_json::{Value, json};

use super::site::{Site, base64, picture, wait_until};
use crate::clock::Timestamp;
use crate::ids::{SampleId, SourceHash};
use crate::replay::{Inserted, NewSource};
use crate::rng;
use crate::sample::image::{ImageLimits, decode};
use crate::sample::{Content, ImageTile};

const LIMITS: ImageLimits = ImageLimits {
    pixels_max: 1_000_000,
    side_px_max: 4_096,
};

/// A picture's file of noise: red where the number is even, else blue.
fn coloured(number: u64) -> Vec<u8> {
    let mut rng = rng::for_step(number, 7, 0);
    let mut noise = |base: usize| (base + rng::below(&mut rng, 60)) as u8;
    let pixel = |noise: &mut dyn FnMut(usize) -> u8| match number % 2 {
        0 => [noise(180), noise(20), noise(20)],
        _ => [noise(20), noise(20), noise(180)],
    };
    let rgb: Vec<u8> = (0..1_024).flat_map(|_| pixel(&mut noise)).collect();
    let mut png = Cursor::new(Vec::new());
    PngEncoder::new(&mut png)
        .write_image(&rgb, 32, 32, ExtendedColorType::Rgb8)
        .unwrap();
    png.into_inner()
}

/// Inserts sources of one picture each; the ids of their samples.
fn insert(site: &Site, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<SampleId> {
    let source = |(path, file): (String, Vec<u8>)| NewSource {
        hash: SourceHash::of(&file),
        path: path.into_bytes(),
        bytes: file.len() as u64,
        taken_at: Timestamp(0),
        samples: vec![Content::Image(decode(&file, &LIMITS, 32).unwrap()).encode()],
    };
    let inserted = site.replay.insert(files.into_iter().map(source).collect()).unwrap();
    let ids = inserted.into_iter().flat_map(|inserted| match inserted {
        Inserted::Accepted { ids } => ids,
        Inserted::Duplicate => Vec::new(),
    });
    ids.collect()
}

fn coloureds(site: &Site, numbers: std::ops::Range<u64>) -> Vec<SampleId> {
    insert(site, numbers.map(|number| (format!("{number}.png"), coloured(number))))
}

fn label(site: &Site, items: Value) -> Value {
    let answer = site.post("/api/v1/labels", &json!({ "items": items }));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn colour(number: u64) -> &'static str {
    if number.is_multiple_of(2) { "red" } else { "blue" }
}

#[test]
fn a_label_is_given_by_sample_by_path_or_by_hash_and_each_failure_is_named() {
    let site = Site::new();
    let ids = coloureds(&site, 0..4);
    let to_come = SourceHash::of(&coloured(9)).to_string();
    let kept = label(
        &site,
        json!([
            { "sample": ids[0], "label": "red" },
            { "path": "1.png", "label": "blue" },
            { "source": SourceHash::of(&coloured(2)).to_string(), "label": "red" },
            { "source": to_come, "label": "blue" },
            { "sample": 999, "label": "red" },
            { "path": "nowhere.png", "label": "red" },
            { "source": "abc", "label": "red" },
            { "sample": ids[3], "label": "" },
            { "sample": ids[3], "path": "3.png", "label": "blue" },
            { "path": "3.png", "part": 1, "label": "blue" },
            { "label": "blue" },
        ]),
    );
    assert_eq!((&kept["added"], &kept["to_come"]), (&json!(4), &json!(1)), "{kept}");
    let failed: Vec<u64> = kept["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["item"].as_u64().unwrap())
        .collect();
    assert_eq!(failed, [4, 5, 6, 7, 8, 9, 10], "{kept}");
    let again = label(
        &site,
        json!([{ "path": "0.png", "label": "red" }, { "path": "1.png", "label": null }]),
    );
    assert_eq!(
        (&again["unchanged"], &again["removed"]),
        (&json!(1), &json!(1)),
        "{again}"
    );

    let all = site.get("/api/v1/labels?max=2").json();
    assert_eq!(
        all["sets"],
        json!([{ "set": "default", "labels": 3, "classes": 2, "head": false }])
    );
    assert_eq!(all["classes"], json!({ "blue": 1, "red": 2 }));
    let rest = site
        .get(&format!("/api/v1/labels?after={}", all["next"].as_str().unwrap()))
        .json();
    let listed = |answer: &Value| answer["labels"].as_array().unwrap().clone();
    let labels = [listed(&all), listed(&rest)].concat();
    let paths: BTreeSet<String> = labels.iter().map(|label| label["path"].to_string()).collect();
    assert_eq!(paths, ["\"0.png\"", "\"2.png\"", "null"].map(str::to_owned).into());
    assert_eq!((labels.len(), &rest["next"]), (3, &Value::Null));
}

#[test]
fn what_is_no_request_for_labels_changes_nothing() {
    let site = Site::new();
    coloureds(&site, 0..2);
    let many: Vec<Value> = (0..10_001).map(|_| json!({ "sample": 1, "label": "a" })).collect();
    for (route, body, problem) in [
        ("labels", json!({ "items": [{ "sample": 1 }] }), "malformed-request"),
        (
            "labels",
            json!({ "items": [{ "sample": 1, "label": 3 }] }),
            "malformed-request",
        ),
        (
            "labels",
            json!({ "items": [{ "sample": -1, "label": "a" }] }),
            "malformed-request",
        ),
        (
            "labels",
            json!({ "set": "No!", "items": [{ "sample": 1, "label": "a" }] }),
            "unprocessable",
        ),
        ("labels", json!({ "stream": "else", "items": [] }), "not-found"),
        ("labels", json!({ "items": many }), "too-large"),
        ("heads", json!({}), "not-ready"),
        ("classify", json!({ "texts": ["a"] }), "not-ready"),
        ("label-queue", json!({ "n": 0 }), "unprocessable"),
        ("label-queue", json!({ "n": 1_001 }), "unprocessable"),
        ("label-queue", json!({ "strategy": "best" }), "malformed-request"),
        ("label-queue", json!({}), "not-ready"),
    ] {
        let answer = site.post(&format!("/api/v1/{route}"), &body);
        assert_eq!(answer.problem(), problem, "{route}");
    }
    for query in ["max=0", "max=10001", "after=x", "sets=a"] {
        assert_eq!(
            site.get(&format!("/api/v1/labels?{query}")).problem(),
            "malformed-request",
            "{query}"
        );
    }
    assert_eq!(site.get("/api/v1/labels").json()["labels"], json!([]));
}

#[test]
fn a_few_labels_make_a_classifier_that_every_new_generation_has_before_it_answers() {
    let site = Site::new();
    let ids = coloureds(&site, 0..40);
    let first = site.publish(1);
    site.wait_for(first, 40);
    assert_eq!(
        site.post("/api/v1/classify", &json!({ "ids": [ids[0]] })).problem(),
        "no-head"
    );
    assert_eq!(site.post("/api/v1/heads", &json!({})).problem(), "unprocessable");
    label(&site, json!([{ "sample": ids[0], "label": "red" }]));
    let one_class = site.post("/api/v1/heads", &json!({}));
    assert_eq!(one_class.problem(), "unprocessable");
    assert!(one_class.json()["detail"].as_str().unwrap().contains("two classes"));

    label(&site, json!([{ "sample": ids[1], "label": "blue" }]));
    let head = site.post("/api/v1/heads", &json!({})).json();
    assert_eq!(
        (&head["samples"], &head["tested"], &head["temperature"]),
        (&json!(2), &Value::Null, &json!(1.0)),
        "{head}"
    );
    let right = |answer: &Value| {
        let results = answer["results"].as_array().unwrap();
        let right = (40..60)
            .zip(results)
            .filter(|(number, result)| result["label"] == colour(*number));
        assert!(
            results.iter().all(|result| {
                let sum: f64 = result["classes"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|class| class["probability"].as_f64().unwrap())
                    .sum();
                (sum - 1.0).abs() < 1e-9 && result["probability"].as_f64().unwrap() >= 0.5
            }),
            "{answer}"
        );
        right.count()
    };
    let new: Vec<String> = (40..60).map(|number| base64(&coloured(number))).collect();
    let answer = site
        .post("/api/v1/classify", &json!({ "images": new, "top": 2 }))
        .json();
    assert!(right(&answer) >= 18, "{answer}");

    let items: Vec<Value> = (0..40)
        .map(|number| json!({ "sample": ids[number as usize], "label": colour(number) }))
        .collect();
    label(&site, json!(items));
    let listed = || site.get("/api/v1/heads").json()["heads"][0].clone();
    assert_eq!(listed()["stale"], true);
    let second = site.publish(2);
    wait_until("the second generation to answer", || {
        // From one to the other there is never an answer without a classifier, nor one of two generations.
        let answer = site.post("/api/v1/classify", &json!({ "images": new, "top": 2 }));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(right(&answer.json()) >= 18);
        assert_eq!(
            answer.header("curiod-generation"),
            Some(answer.json()["generation"].to_string().as_str())
        );
        answer.json()["generation"] == second
    });
    let head = listed();
    assert_eq!(
        (&head["generation"], &head["samples"], &head["stale"]),
        (&json!(second), &json!(40), &json!(false)),
        "{head}"
    );
    assert_eq!(head["classes"], json!({ "blue": 20, "red": 20 }));
    assert_eq!(head["tested"]["samples"], 40);
    assert!(head["tested"]["accuracy"].as_f64().unwrap() > 0.9, "{head}");
    assert_eq!(
        site.post("/api/v1/classify", &json!({ "model": "pictures@1", "images": new }))
            .problem(),
        "gone"
    );
}

#[test]
fn a_label_of_a_file_that_is_yet_to_come_counts_when_it_has_come() {
    let site = Site::new();
    let ids = coloureds(&site, 0..6);
    let generation = site.publish(1);
    site.wait_for(generation, 6);
    let hash = SourceHash::of(&coloured(7)).to_string();
    label(
        &site,
        json!([{ "sample": ids[0], "label": "red" }, { "source": hash, "part": 0, "label": "blue" }]),
    );
    assert_eq!(site.post("/api/v1/heads", &json!({})).problem(), "unprocessable");
    coloureds(&site, 7..8);
    site.wait_for(generation, 7);
    let head = site.post("/api/v1/heads", &json!({})).json();
    assert_eq!(
        (&head["samples"], &head["labels_unheld"]),
        (&json!(2), &json!(0)),
        "{head}"
    );
}

#[test]
fn a_queue_holds_nothing_twice_nothing_labelled_and_one_of_what_shows_the_same() {
    let site = Site::new();
    let ids = site.insert(0..60);
    // The same pictures again, a little darker: other files that show the same.
    let darker = (0..20).map(|number| {
        let Content::Image(tile) = Content::Image(decode(&picture(number), &LIMITS, 32).unwrap()) else {
            unreachable!()
        };
        let rgb: Vec<u8> = tile.rgb.iter().map(|value| value - value / 30).collect();
        (
            format!("dark-{number}.png"),
            crate::serve::read::png(&ImageTile { rgb, ..tile }).unwrap(),
        )
    });
    let copies = insert(&site, darker);
    let generation = site.publish(1);
    site.wait_for(generation, 80);
    label(
        &site,
        json!([{ "sample": ids[3], "label": "a" }, { "sample": ids[33], "label": "b" }]),
    );
    assert_eq!(
        site.post("/api/v1/label-queue", &json!({ "strategy": "uncertain" }))
            .problem(),
        "no-head"
    );
    site.post("/api/v1/heads", &json!({}));
    for strategy in ["typical", "diverse", "uncertain", "novel", "mixed"] {
        let queue = site
            .post("/api/v1/label-queue", &json!({ "strategy": strategy, "n": 100 }))
            .json();
        let samples = queue["samples"].as_array().unwrap();
        let queued: BTreeSet<u64> = samples.iter().map(|sample| sample["id"].as_u64().unwrap()).collect();
        assert_eq!(queued.len(), samples.len(), "{strategy}: twice");
        assert!(
            !queued.contains(&ids[3].0) && !queued.contains(&ids[33].0),
            "{strategy}: it has a label"
        );
        assert!(
            !queued.contains(&copies[3].0),
            "{strategy}: it shows what a labelled one shows"
        );
        // Those of the exam are not looked at for near-duplicates.
        let both = (0..20)
            .filter(|n| queued.contains(&ids[*n].0) && queued.contains(&copies[*n].0))
            .count();
        assert!(both <= 3, "{strategy}: {both} that show the same");
        assert!(
            samples.len() >= 58 && queue["considered"] == samples.len(),
            "{strategy}: {queue}"
        );
        assert_eq!(
            (&queue["held"], &queue["labelled"], &queue["by_lot"]),
            (&json!(80), &json!(2), &json!(false))
        );
        let few = site
            .post("/api/v1/label-queue", &json!({ "strategy": strategy, "n": 3 }))
            .json();
        assert_eq!(few["samples"].as_array().unwrap().len(), 3, "{strategy}");
        let url = samples[0]["url"].as_str().unwrap();
        assert_eq!(site.get(url).status, 200, "{strategy}: {url}");
    }
    let mixed = site
        .post("/api/v1/label-queue", &json!({ "strategy": "mixed", "n": 6 }))
        .json();
    let chosen: Vec<&str> = mixed["samples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["strategy"].as_str().unwrap())
        .collect();
    assert_eq!(
        chosen,
        ["typical", "uncertain", "novel", "typical", "uncertain", "novel"]
    );
}
