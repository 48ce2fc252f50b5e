//! Copies that are trained on labels, over real sockets: when they answer, when they do not, and what a new generation means.

use std::io::Cursor;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use serde_json::{Value, json};

use super::site::{Site, base64, wait_until};
use crate::clock::Timestamp;
use crate::ids::SourceHash;
use crate::replay::NewSource;
use crate::rng;
use crate::sample::Content;
use crate::sample::image::{ImageLimits, decode};

/// A picture's file: fine stripes, upright where the number is even, else lying, and noise. A fresh network hardly tells which.
fn stripes(number: u64) -> Vec<u8> {
    let mut rng = rng::for_step(11, number, 0);
    let shift = rng::below(&mut rng, 8) as u64;
    let mut rgb = Vec::new();
    for y in 0..32 {
        for x in 0..32 {
            let along = if number.is_multiple_of(2) { x } else { y };
            let level = if ((along + shift) / 2).is_multiple_of(2) {
                90
            } else {
                150
            };
            rgb.extend([0, 1, 2].map(|_| (level + rng::below(&mut rng, 90)) as u8));
        }
    }
    let mut png = Cursor::new(Vec::new());
    PngEncoder::new(&mut png)
        .write_image(&rgb, 32, 32, ExtendedColorType::Rgb8)
        .unwrap();
    png.into_inner()
}

fn class(number: u64) -> &'static str {
    if number.is_multiple_of(2) { "upright" } else { "lying" }
}

/// Pictures in the buffer, each with its label, and a first generation that answers.
fn labelled(site: &Site, count: u64) {
    let limits = ImageLimits {
        pixels_max: 1_000_000,
        side_px_max: 4_096,
    };
    let source = |number: u64| {
        let file = stripes(number);
        NewSource {
            hash: SourceHash::of(&file),
            path: format!("{number}.png").into_bytes(),
            bytes: file.len() as u64,
            taken_at: Timestamp(0),
            samples: vec![Content::Image(decode(&file, &limits, 32).unwrap()).encode()],
        }
    };
    let _ = site.replay.insert((0..count).map(source).collect()).unwrap();
    let first = site.publish(1);
    site.wait_for(first, count);
    let items: Vec<Value> = (0..count)
        .map(|number| json!({ "path": format!("{number}.png"), "label": class(number) }))
        .collect();
    let kept = site.post("/api/v1/labels", &json!({ "items": items }));
    assert_eq!(kept.json()["added"], count, "{kept:?}");
}

fn state_of(site: &Site) -> String {
    let heads = site.get("/api/v1/heads").json();
    heads["heads"][0]["finetune"]["state"]
        .as_str()
        .unwrap_or("none")
        .to_owned()
}

#[test]
fn a_copy_answers_where_it_is_better_and_each_new_generation_has_its_own_before_it_answers() {
    let site = Site::new();
    labelled(&site, 96);
    let head = site.post("/api/v1/heads", &json!({ "finetune": true }));
    assert_eq!(head.status, 200, "{head:?}");
    assert_eq!(head.json()["finetune"], json!({ "state": "training" }));
    let new: Vec<String> = (200..230).map(|number| base64(&stripes(number))).collect();
    let asked = |site: &Site| {
        let answer = site.post("/api/v1/classify", &json!({ "images": new }));
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        let results = answer["results"].as_array().unwrap().clone();
        let right = (200..230)
            .zip(results)
            .filter(|(number, result)| result["label"] == class(*number));
        (answer, right.count())
    };
    // The classifier of the network's own vectors answers meanwhile.
    assert_eq!(asked(&site).0["finetuned"], false);
    wait_until("the copy", || state_of(&site) != "training");
    let finetune = site.get("/api/v1/heads").json()["heads"][0]["finetune"].clone();
    assert_eq!(finetune["state"], "answers", "{finetune}");
    let share = |key: &str| finetune[key].as_f64().unwrap();
    assert!(
        share("accuracy") > share("frozen_accuracy") && share("gained") > share("lost"),
        "{finetune}"
    );
    assert_eq!(finetune["samples"], 96);
    let (answer, right) = asked(&site);
    assert!(right >= 27 && answer["finetuned"] == true, "{right} of 30: {answer}");

    // Samples are embedded again by the copy: their vectors in the index are none of its own.
    let ids = json!({ "ids": (1..=20).collect::<Vec<u64>>() });
    let of_ids = site.post("/api/v1/classify", &ids).json();
    assert_eq!(
        (of_ids["finetuned"].clone(), of_ids["results"].as_array().unwrap().len()),
        (json!(true), 20)
    );
    let absent = site.post("/api/v1/classify", &json!({ "ids": [1, 99_999] }));
    assert_eq!(
        (absent.problem().as_str(), absent.json()["item"].clone()),
        ("not-found", json!(1))
    );

    // While the next generation's copy is trained the one before goes on answering.
    let second = site.publish(2);
    wait_until("the second generation to answer", || {
        let (answer, _) = asked(&site);
        let is_second = answer["generation"] == second;
        if is_second {
            assert_ne!(state_of(&site), "training", "it answered before its copy was trained");
        }
        is_second
    });

    // Asked for without one, it goes, and the memory of it too.
    let head = site.post("/api/v1/heads", &json!({})).json();
    assert_eq!(head["finetune"], Value::Null);
    assert_eq!(asked(&site).0["finetuned"], false);
}

#[test]
fn labels_that_mean_nothing_change_no_answer_and_a_fifth_set_gets_no_copy() {
    let site = Site::new();
    labelled(&site, 40);
    let by_lot = |set: &str| -> Value {
        let class = |number: u64| {
            if rng::below(&mut rng::for_step(3, number, 0), 2) == 0 {
                "a"
            } else {
                "b"
            }
        };
        let items: Vec<Value> = (0..40)
            .map(|number| json!({ "path": format!("{number}.png"), "label": class(number) }))
            .collect();
        json!({ "set": set, "items": items })
    };
    for set in ["one", "two", "three", "four", "five"] {
        assert_eq!(site.post("/api/v1/labels", &by_lot(set)).json()["added"], 40);
        let answer = site.post("/api/v1/heads", &json!({ "set": set, "finetune": true }));
        match set {
            "five" => assert_eq!(answer.problem(), "unprocessable"),
            _ => assert_eq!(answer.status, 200, "{answer:?}"),
        }
    }
    wait_until("all four copies", || {
        let heads = site.get("/api/v1/heads").json();
        let heads = heads["heads"].as_array().unwrap().clone();
        heads.iter().all(|head| head["finetune"]["state"] != "training")
    });
    let heads = site.get("/api/v1/heads").json();
    for head in heads["heads"].as_array().unwrap() {
        assert_eq!(head["finetune"]["state"], "no_better", "{head}");
    }
    let answer = site
        .post("/api/v1/classify", &json!({ "set": "one", "ids": [1] }))
        .json();
    assert_eq!(answer["finetuned"], false);
}
