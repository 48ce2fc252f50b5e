//! Which generation answers when somebody rolls back or pins, while the buffer and older generations stay as they are.

use serde_json::{Value, json};

use super::site::{Site, base64, picture};

const MODELS: &str = "/api/v1/models/pictures";

/// Two generations, as many as are kept; the last one answers.
fn two() -> Site {
    let site = Site::new();
    site.insert(0..30);
    for seed in 1..=2 {
        let generation = site.publish(seed);
        site.wait_for(generation, 30);
    }
    site
}

fn decide(site: &Site, what: &str, generation: Option<u64>) -> Value {
    let answer = site.post_as_admin(&format!("{MODELS}/{what}"), &json!({ "generation": generation }));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[test]
fn a_roll_back_has_the_generation_before_answer_until_a_newer_one_is_published() {
    let site = two();
    let told = decide(&site, "rollback", None);
    let withdrawn: Vec<bool> = told["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["withdrawn"].as_bool().unwrap())
        .collect();
    assert_eq!(withdrawn, [false, true]);
    site.wait_for(1, 30);
    assert_eq!(site.search(5, 1).json()["generation"], 1);
    // What was rolled back from is kept, and embeds.
    let asked = json!({ "model": "pictures@2", "images": [base64(&picture(1))] });
    assert_eq!(site.post("/api/v1/embed", &asked).json()["generation"], 2);
    let three = site.publish(3);
    site.wait_for(three, 30);
}

#[test]
fn a_pinned_generation_answers_whatever_is_published_until_the_pin_is_taken_away() {
    let site = two();
    decide(&site, "pin", Some(1));
    site.wait_for(1, 30);
    site.publish(3);
    site.insert(30..40);
    // Were the new one prepared, it would answer when this is covered.
    site.wait_for(1, 40);
    let listed = site.get("/api/v1/models").json();
    let models = listed["models"].as_array().unwrap();
    let of = |generation: u64| models.iter().find(|model| model["generation"] == generation).unwrap();
    assert!(of(1)["pinned"] == true && of(1)["serving"] == true && of(3)["serving"] == false);
    decide(&site, "pin", None);
    site.wait_for(3, 40);
}

#[test]
fn whoever_may_not_and_what_can_not_be_changes_nothing() {
    let site = two();
    let asked = json!({ "generation": 1 });
    for what in ["rollback", "pin"] {
        assert_eq!(
            site.post(&format!("{MODELS}/{what}"), &asked).problem(),
            "missing-scope"
        );
    }
    for (what, body, problem) in [
        ("rollback", json!({ "generation": 2 }), "unprocessable"),
        ("rollback", json!({ "generation": 9 }), "not-found"),
        ("pin", json!({ "generation": 9 }), "not-found"),
        ("pin", json!({ "generation": "one" }), "malformed-request"),
        ("pin", json!({ "generations": 1 }), "malformed-request"),
    ] {
        let answer = site.post_as_admin(&format!("{MODELS}/{what}"), &body);
        assert_eq!(answer.problem(), problem, "{what} {body}");
    }
    let wrong = site.get(&format!("{MODELS}/pin/1"));
    assert_eq!(wrong.status, 404);
    assert_eq!(site.search(5, 1).json()["generation"], 2);
}
