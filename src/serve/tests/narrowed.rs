//! Searches that are narrowed.

use serde_json::{Value, json};

use super::site::{Answer, Site, base64, picture};

/// Thirty pictures, taken a second after each other from the start of 1970, called `0.png` to `29.png`.
fn site() -> Site {
    let site = Site::new();
    site.insert(0..30);
    site.wait_for(site.publish(1), 30);
    site
}

fn search(site: &Site, narrowed: Value) -> Answer {
    let mut asked = json!({ "image": base64(&picture(12)), "k": 30 });
    let (Value::Object(asked), Value::Object(narrowed)) = (&mut asked, narrowed) else {
        unreachable!("both are objects")
    };
    asked.extend(narrowed);
    site.post("/api/v1/search", &Value::Object(asked.clone()))
}

fn paths(answer: &Answer) -> Vec<String> {
    let hits = &answer.json()["hits"];
    hits.as_array()
        .unwrap_or_else(|| panic!("{hits}"))
        .iter()
        .map(|hit| hit["path"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_narrowed_search_finds_in_the_same_order_what_passes_and_nothing_else() {
    let site = site();
    let all = paths(&search(&site, json!({})));
    assert_eq!(all.len(), 30);
    let number = |path: &str| path.trim_end_matches(".png").parse::<u64>().unwrap();
    let cases: [(Value, &dyn Fn(u64) -> bool); 5] = [
        (json!({ "after": "1970-01-01T00:00:10Z" }), &|number| number >= 10),
        (json!({ "before": "1970-01-01T01:00:10+01:00" }), &|number| number < 10),
        (json!({ "source": "1" }), &|number| number == 1 || number / 10 == 1),
        (json!({ "source": "?2*" }), &|number| [12, 22].contains(&number)),
        (
            json!({ "after": "1970-01-01T00:00:05Z", "before": "1970-01-01T00:00:20Z", "source": "*2.png" }),
            &|number| number == 12,
        ),
    ];
    for (narrowed, passes) in cases {
        let expected: Vec<&String> = all.iter().filter(|path| passes(number(path))).collect();
        assert_eq!(
            paths(&search(&site, narrowed.clone())).iter().collect::<Vec<_>>(),
            expected,
            "{narrowed}"
        );
    }
}

#[test]
fn a_sample_that_is_left_out_is_not_found_and_others_take_its_place() {
    let site = site();
    let hits = search(&site, json!({ "k": 5 })).json()["hits"].clone();
    let left_out = json!([hits[0]["id"], hits[2]["id"]]);
    let found = search(&site, json!({ "k": 3, "exclude": left_out })).json();
    assert_eq!(found["hits"], json!([hits[1], hits[3], hits[4]]));
}

#[test]
fn a_url_narrows_a_search_by_a_files_bytes() {
    let site = site();
    let found = |query: &str| {
        let path = format!("/api/v1/search?k=30&{query}");
        site.post_bytes(&path, "image/png", &picture(12))
    };
    assert_eq!(paths(&found("source=12&after=1970-01-01T00:00:00Z")), ["12.png"]);
    assert_eq!(found("source=").problem(), "unprocessable");
}

#[test]
fn what_can_not_be_narrowed_to_is_refused() {
    let site = site();
    for narrowed in [
        json!({ "after": "yesterday" }),
        json!({ "after": "1970-01-02T00:00:00Z", "before": "1970-01-01T00:00:00Z" }),
        json!({ "source": "x".repeat(300) }),
        json!({ "exclude": vec![1; 10_001] }),
    ] {
        assert_eq!(search(&site, narrowed).problem(), "unprocessable");
    }
    assert_eq!(search(&site, json!({ "after": 5 })).problem(), "malformed-request");
}
