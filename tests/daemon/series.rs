//! Series: dropped, learnt, asked about step by step, killed and resumed, and published for others to load.

use std::f64::consts::TAU;
use std::fs;

use serde_json::{Value, json};

use crate::harness::Site;

/// A table of so many minutes: a wave with a season of 24 steps, another variable, a value that is missing, one that is a word.
/// `odd`: the step at which the wave leaps.
fn table(steps: u32, odd: Option<u32>) -> String {
    let row = |step: u32| {
        let leap = if odd.is_some_and(|odd| (odd..odd + 6).contains(&step)) {
            30.0
        } else {
            0.0
        };
        let wave = (TAU * f64::from(step) / 24.0).sin() + 0.01 * f64::from(step % 7) + leap;
        let other = match step {
            10 => String::new(),
            20 => "broken".to_owned(),
            _ => format!("{:.3}", 100.0 + f64::from(step % 24)),
        };
        format!(
            "2024-03-{:02} {:02}:{:02}:00,{wave:.4},{other}\n",
            1 + step / 1_440,
            step / 60 % 24,
            step % 60
        )
    };
    let rows: String = (0..steps).map(row).collect();
    format!("time,wave,other\n{rows}")
}

#[test]
fn series_dropped_in_the_folder_are_learnt_searched_and_what_leaps_is_novel() {
    let mut site = Site::of("series", "series");
    site.drop_file("sensor.csv", table(2_400, None).as_bytes());
    site.drop_file("page.csv", b"<!DOCTYPE html><title>Not found</title>");
    site.start();
    site.wait_until("generation", 1);
    let stream = site.wait_until("index_covered", 36);
    assert_eq!(
        (&stream["modality"], &stream["samples"]),
        (&"series".into(), &37.into())
    );
    assert_eq!(site.quarantined().keys().collect::<Vec<_>>(), ["page.csv"]);
    assert!(site.log().contains("passed over rows of a file"), "{}", site.log());

    // A window is its own nearest neighbour, and what was missing is said to be.
    let content = site.get("/api/v1/samples/1/content").unwrap();
    assert_eq!((&content["modality"], &content["start"]), (&"series".into(), &0.into()));
    assert_eq!(content["series"][1][10], Value::Null);
    assert_eq!(content["series"][0].as_array().unwrap().len(), 128);
    let found = site
        .post("/api/v1/search", &json!({ "series": content["series"], "k": 1 }))
        .unwrap();
    assert!(found["hits"][0]["score"].as_f64().unwrap() > 0.9999, "{found}");
    assert!(site.post("/api/v1/embed", &json!({ "texts": ["no series"] })).is_none());
    assert!(
        site.post("/api/v1/embed", &json!({ "series": [[[1, 2], [3]]] }))
            .is_none()
    );

    // Every step is said, in order, with its time; none before the 100 that are needed; the leap is the most novel.
    let file = site.path("asked.csv");
    fs::write(&file, table(1_200, Some(903))).unwrap();
    let (csv, plot) = (site.path("novelty.csv"), site.path("novelty.svg"));
    let answer = site
        .json(&[
            "novelty",
            "--series",
            file.to_str().unwrap(),
            "--csv",
            csv.to_str().unwrap(),
            "--plot",
            plot.to_str().unwrap(),
        ])
        .unwrap();
    let steps = answer["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 1_200);
    assert!(steps.iter().enumerate().all(|(at, step)| step["at"] == at));
    assert_eq!(steps[1]["time"], 1_709_251_260_000u64);
    assert!(steps[..100].iter().all(|step| step["novelty"] == 0.0));
    let evidence = |step: &Value| step["evidence"].as_f64().unwrap();
    let most = (0..1_200)
        .max_by(|a, b| evidence(&steps[*a]).total_cmp(&evidence(&steps[*b])))
        .unwrap();
    assert!((903..920).contains(&most), "{most}: {}", steps[most]);
    assert!(steps[most]["novelty"].as_f64().unwrap() > 0.99);
    assert_eq!(steps[most]["alarm"], steps[most]["evidence"]);
    let csv = fs::read_to_string(csv).unwrap();
    assert_eq!(csv.lines().count(), 1_201);
    assert!(csv.starts_with("step,time,value_0,value_1,expected_0,expected_1,error,novelty,evidence,alarm\n"));
    assert!(fs::read_to_string(plot).unwrap().contains("<svg"));
}

#[test]
fn a_stream_of_series_that_is_killed_goes_on_and_its_folder_is_whole() {
    let mut site = Site::of("series", "series");
    site.drop_file("one.csv", table(2_400, None).as_bytes());
    site.start();
    let before = site.wait_until("generation", 1)["step"].as_u64().unwrap();
    site.wait_for_checkpoint("series");
    site.kill();
    site.drop_file("two.csv", table(2_000, Some(500)).as_bytes());
    site.start();
    site.wait_until("sources_accepted", 2);
    site.wait_until("step", before + 1);
    assert_eq!(site.stop(), Some(0));
    let latest = site.path("state/registry/series/latest");
    let json = |name: &str| -> Value { serde_json::from_slice(&fs::read(latest.join(name)).unwrap()).unwrap() };
    for (name, hash) in json("curiod.json")["files"].as_object().unwrap() {
        let bytes = fs::read(latest.join(name)).unwrap();
        assert_eq!(blake3::hash(&bytes).to_hex().as_str(), hash.as_str().unwrap(), "{name}");
    }
    assert_eq!(json("config.json")["architecture"], "curiod_patch_transformer");
    assert!(latest.join("decoder.safetensors").is_file());
}
