//! Transitions: dropped, learnt, rewarded, killed and resumed.

use std::fs;

use serde_json::{Value, json};

use crate::harness::Site;

/// A point that is pushed left or right between two walls: 40 steps an episode.
fn rows(episodes: std::ops::Range<u32>) -> String {
    let mut rows = String::new();
    for episode in episodes {
        let (mut place, mut speed) = (f64::from(episode % 7) / 7.0 - 0.5, 0.0);
        for t in 0..40 {
            let action = (episode * 31 + t * t * 17 + t) % 2;
            let state = [place, speed];
            speed = 0.9 * speed + if action == 1 { 0.1 } else { -0.1 };
            place = (place + speed).clamp(-1.0, 1.0);
            let row =
                json!({ "episode": episode, "t": t, "state": state, "action": action, "next_state": [place, speed] });
            rows += &format!("{row}\n");
        }
    }
    rows
}

#[test]
fn transitions_dropped_in_the_folder_are_learnt_and_each_is_given_a_reward() {
    let mut site = Site::of("world", "transition");
    let broken = format!("{}{{\"episode\": 9, \"state\": [1], \"action\": 0}}\n", rows(0..20));
    site.drop_file("rollout.jsonl", broken.as_bytes());
    site.drop_file("prose.jsonl", b"{\"text\": \"no transition\"}\n");
    site.start();
    site.wait_until("generation", 1);
    let stream = site.wait_until("index_covered", 800);
    assert_eq!(
        (&stream["modality"], &stream["samples"]),
        (&"transition".into(), &800.into())
    );
    assert_eq!(site.quarantined().keys().collect::<Vec<_>>(), ["prose.jsonl"]);
    assert!(site.log().contains("passed over rows of a file"), "{}", site.log());

    let of = |state: [f64; 2], action: Value, next: [f64; 2]| json!({ "state": state, "action": action, "next_state": next });
    let known = of([0.0, 0.0], json!(1), [0.1, 0.1]);
    let strange = of([0.0, 0.0], json!(1), [-5.0, 40.0]);
    let answer = site
        .post("/api/v1/novelty", &json!({ "transitions": [known, strange] }))
        .unwrap();
    let results = answer["results"].as_array().unwrap();
    let number = |at: usize, key: &str| results[at][key].as_f64().unwrap();
    assert!(
        number(0, "reward").is_finite() && number(0, "reward") >= 0.0,
        "{answer}"
    );
    assert!(number(1, "error") > number(0, "error"), "{answer}");
    assert!(number(1, "novelty") > number(0, "novelty"), "{answer}");
    for bad in [
        of([0.0, 0.0], json!(1_000), [0.0, 0.0]),
        json!({ "state": [1], "action": 0, "next_state": [1, 2] }),
        json!({ "state": [], "action": 0, "next_state": [] }),
    ] {
        assert!(
            site.post("/api/v1/novelty", &json!({ "transitions": [bad] })).is_none(),
            "{bad}"
        );
    }
    // What is still answered: the encoder did not fall.
    assert!(site.post("/api/v1/embed", &json!({ "transitions": [known] })).is_some());

    let file = site.path("asked.jsonl");
    fs::write(&file, rows(30..40)).unwrap();
    let csv = site.path("curiosity.csv");
    let answer = site
        .json(&["curiosity", file.to_str().unwrap(), "--csv", csv.to_str().unwrap()])
        .unwrap();
    assert_eq!(answer["results"].as_array().unwrap().len(), 400);
    let csv = fs::read_to_string(csv).unwrap();
    assert_eq!(csv.lines().count(), 401);
    assert!(csv.lines().nth(1).unwrap().starts_with("30,0,"), "{csv}");
    let content = site.get("/api/v1/samples/1/content").unwrap();
    assert_eq!(
        (&content["modality"], &content["episode"], &content["t"]),
        (&"transition".into(), &0.into(), &0.into())
    );
}

#[test]
fn a_stream_of_transitions_that_is_killed_goes_on_with_its_own_scale() {
    let mut site = Site::of("world", "transition");
    site.drop_file("one.jsonl", rows(0..20).as_bytes());
    site.start();
    let before = site.wait_until("generation", 1)["step"].as_u64().unwrap();
    site.wait_for_checkpoint("world");
    site.kill();
    site.drop_file("two.jsonl", rows(20..30).as_bytes());
    site.start();
    site.wait_until("sources_accepted", 2);
    site.wait_until("step", before + 1);
    assert_eq!(site.stop(), Some(0));
    let latest = site.path("state/registry/world/latest");
    let config: Value = serde_json::from_slice(&fs::read(latest.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["architecture"], "curiod_state_network");
    let weights = fs::read(latest.join("model.safetensors")).unwrap();
    let weights = safetensors::SafeTensors::deserialize(&weights).unwrap();
    let scale = weights.tensor("scale.weight").unwrap();
    let first = f32::from_le_bytes(scale.data()[..4].try_into().unwrap());
    assert!(first > 1.0, "places lie within 1: they are scaled up, not by {first}");
}
