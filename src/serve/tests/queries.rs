//! Questions and their answers.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::site::{Site, base64, picture, post_head, wait_until};
use crate::config::{RemoverKind, ReplayConfig, ServerConfig};
use crate::curiosity::{Curiosity, Scored};
use crate::ids::SampleId;
use crate::replay::{EMBEDDING_DIM, Embedding, Evidence, Score};

#[test]
fn a_picture_finds_its_own_sample_first() {
    let site = Site::new();
    let ids = site.insert(0..30);
    let generation = site.publish(1);
    site.wait_for(generation, 30);
    for number in [0, 7, 29] {
        let answer = site.search(number, 5);
        let json = answer.json();
        let hits = json["hits"].as_array().unwrap();
        assert_eq!((answer.status, hits.len()), (200, 5), "{json}");
        assert_eq!(hits[0]["path"], format!("{number}.png"));
        assert_eq!(hits[0]["id"], ids[number as usize].0);
        assert!(hits[0]["score"].as_f64().unwrap() > 0.999, "{json}");
        assert!(
            hits.is_sorted_by(|a, b| a["score"].as_f64() >= b["score"].as_f64()),
            "{json}"
        );
        assert_eq!(answer.header("curiod-generation"), Some("1"));
        assert_eq!(answer.header("curiod-space"), json["space"].as_str());
    }
}

#[test]
fn a_sample_is_not_among_its_own_neighbours() {
    let site = Site::new();
    let ids = site.insert(0..20);
    site.wait_for(site.publish(1), 20);
    let json = site.post("/api/v1/search", &json!({ "id": ids[3], "k": 19 })).json();
    let hits = json["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 19);
    assert!(hits.iter().all(|hit| hit["id"] != ids[3].0), "{json}");
    assert_eq!(
        site.post("/api/v1/search", &json!({ "id": 999 })).problem(),
        "not-found"
    );
}

#[test]
fn json_a_files_bytes_and_a_form_are_answered_alike() {
    let site = Site::new();
    site.insert(0..5);
    site.wait_for(site.publish(1), 5);
    let file = picture(3);
    let json = site
        .post(
            "/api/v1/embed",
            &json!({ "model": "pictures", "images": [base64(&file)] }),
        )
        .json();
    assert_eq!(
        json["dim"].as_u64().unwrap() as usize,
        json["embeddings"][0].as_array().unwrap().len()
    );
    assert_eq!(
        site.post_bytes("/api/v1/embed?model=pictures", "image/png", &file)
            .json(),
        json
    );
    assert_eq!(
        site.post_bytes("/api/v1/embed", "application/octet-stream", &file)
            .json(),
        json
    );
    let form = [
        &b"--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\npictures\r\n--x\r\n"[..],
        b"Content-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n",
        &file,
        b"\r\n--x--\r\n",
    ];
    assert_eq!(
        site.post_bytes("/api/v1/embed", "multipart/form-data; boundary=x", &form.concat())
            .json(),
        json
    );
    let url = format!("data:image/png;base64,{}", base64(&file));
    assert_eq!(site.post("/api/v1/embed", &json!({ "images": [url] })).json(), json);
}

#[test]
fn a_new_sample_becomes_searchable_and_an_evicted_one_leaves() {
    let replay = ReplayConfig {
        bytes_max: 40 * 32 * 32 * 3,
        remover: RemoverKind::Fifo,
        ..ReplayConfig::default()
    };
    let site = Site::with(ServerConfig::default(), replay);
    site.insert(0..10);
    let generation = site.publish(1);
    site.wait_for(generation, 10);
    site.insert(10..11);
    site.wait_for(generation, 11);
    assert_eq!(site.search(10, 1).json()["hits"][0]["path"], "10.png");
    for batch in 1..10 {
        site.insert(10 * batch + 1..10 * batch + 11);
    }
    let live = site.replay.counts().samples;
    assert!(live < 60, "{live} samples are held");
    site.wait_for(generation, live);
    // The index may have held as many for a moment, with evicted ones among them.
    let found = || site.search(5, 1_000).json()["hits"].as_array().map_or(0, Vec::len) as u64;
    wait_until("every live sample is found", || found() == live);
    let all = site.search(5, 1_000).json();
    let paths: Vec<&str> = all["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths.len() as u64, live);
    assert!(paths.contains(&"100.png"));
    for id in site.serving.current().unwrap().index.ids() {
        assert!(site.replay.is_live(id), "{id} was evicted and is still in the index");
    }
    let gone = (1..=100).find(|id| !site.replay.is_live(SampleId(*id))).unwrap();
    for path in ["", "/picture"] {
        let answer = site.get(&format!("/api/v1/samples/{gone}{path}"));
        assert_eq!(answer.status, 410);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("was evicted at 20"), "{detail}");
    }
    assert_eq!(site.get("/api/v1/samples/99999").status, 404);
}

#[test]
fn the_model_and_the_index_of_an_answer_are_of_one_space_while_generations_change() {
    let site = Site::new();
    site.insert(0..40);
    site.wait_for(site.publish(1), 40);
    let done = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let ask = |first: u64| {
            let (site, done) = (&site, &done);
            move || {
                let mut seen = std::collections::BTreeMap::new();
                let mut number = first;
                while !done.load(Ordering::Relaxed) || seen.is_empty() {
                    number = (number + 7) % 40;
                    let answer = site.search(number, 1);
                    let json = answer.json();
                    // A vector of one space finds itself in no other.
                    assert_eq!(json["hits"][0]["path"], format!("{number}.png"), "{json}");
                    assert!(json["hits"][0]["score"].as_f64().unwrap() > 0.999, "{json}");
                    let space = seen
                        .entry(json["generation"].as_u64().unwrap())
                        .or_insert(json["space"].clone());
                    assert_eq!(*space, json["space"]);
                }
                seen.len()
            }
        };
        let askers: Vec<_> = (0..3).map(|first| scope.spawn(ask(first))).collect();
        for seed in 2..8 {
            site.wait_for(site.publish(seed), 40);
        }
        done.store(true, Ordering::Relaxed);
        askers.into_iter().map(|asker| asker.join().unwrap()).sum::<usize>()
    });
    assert!(asked > 3, "no flip was seen");
}

#[test]
fn an_older_generation_embeds_but_is_not_searched_and_a_retired_one_is_gone() {
    let site = Site::new();
    site.insert(0..5);
    for seed in 1..=3 {
        site.wait_for(site.publish(seed), 5);
    }
    let ask = |route: &str, model: &str| match route {
        "search" => site.post(
            "/api/v1/search",
            &json!({ "model": model, "image": base64(&picture(1)) }),
        ),
        _ => site.post(
            "/api/v1/embed",
            &json!({ "model": model, "images": [base64(&picture(1))] }),
        ),
    };
    let (newest, older) = (ask("embed", "pictures@3").json(), ask("embed", "pictures@2").json());
    assert_eq!((&newest["generation"], &older["generation"]), (&json!(3), &json!(2)));
    assert_ne!(newest["embeddings"], older["embeddings"]);
    assert_eq!(ask("embed", "pictures@latest").json(), newest);
    assert_eq!(ask("embed", "pictures@previous").json(), older);
    let refused = ask("search", "pictures@2");
    assert_eq!((refused.status, refused.problem()), (410, "gone".to_owned()));
    // Two generations are kept.
    let retired = ask("embed", "pictures@1");
    assert_eq!((retired.status, retired.problem()), (410, "gone".to_owned()));
    for unknown in ["pictures@99", "nobody", "pictures@soon"] {
        assert_eq!(
            (ask("embed", unknown).status, ask("search", unknown).status),
            (404, 404),
            "{unknown}"
        );
    }
}

#[test]
fn before_the_first_generation_a_question_is_told_how_far_learning_is() {
    let site = Site::new();
    site.insert(0..3);
    let answer = site.search(1, 1);
    assert_eq!((answer.status, answer.problem()), (503, "not-ready".to_owned()));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("3 samples") && detail.contains("12 of the 50 steps"),
        "{detail}"
    );
    // 38 steps at 2 a second.
    assert_eq!(answer.header("retry-after"), Some("19"));
    assert_eq!(site.get("/readyz").status, 200);
}

#[test]
fn a_stranger_is_more_novel_than_a_picture_that_is_held() {
    let site = Site::new();
    site.insert(0..60);
    site.wait_for(site.publish(1), 60);
    let ask = |file: &[u8]| {
        let json = site
            .post("/api/v1/novelty", &json!({ "images": [base64(file)] }))
            .json();
        (
            json["results"][0]["novelty"].as_f64().unwrap(),
            json["results"][0]["distance"].as_f64().unwrap(),
        )
    };
    let mut black = std::io::Cursor::new(Vec::new());
    let encoder = image::codecs::png::PngEncoder::new(&mut black);
    image::ImageEncoder::write_image(encoder, &[0; 1_200], 20, 20, image::ExtendedColorType::Rgb8).unwrap();
    let (stranger, held) = (ask(&black.into_inner()), ask(&picture(5)));
    assert!(stranger.0 > held.0 && stranger.1 > held.1, "{stranger:?} {held:?}");
    assert!((0.0..=1.0).contains(&stranger.0) && (0.0..=1.0).contains(&held.0));

    let json = site.post("/api/v1/novelty", &json!({ "top": 7 })).json();
    let top = json["results"].as_array().unwrap();
    assert_eq!(top.len(), 7);
    assert!(
        top.is_sorted_by(|a, b| a["distance"].as_f64() >= b["distance"].as_f64()),
        "{json}"
    );
    assert!(
        top.iter()
            .all(|sample| sample["path"].is_string() && sample["id"].is_u64()),
        "{json}"
    );
}

#[test]
fn what_is_held_can_be_read_back() {
    let site = Site::new();
    let ids = site.insert(0..3);
    site.wait_for(site.publish(1), 3);
    let id = ids[2];
    let sample = site.get(&format!("/api/v1/samples/{id}")).json();
    assert_eq!(
        (&sample["path"], &sample["stream"]),
        (&json!("2.png"), &json!("pictures"))
    );
    let shown = site.get(sample["picture"].as_str().unwrap());
    assert_eq!(shown.header("content-type"), Some("image/png"));
    let tile = image::load_from_memory(&shown.body).unwrap();
    assert_eq!((tile.width(), tile.height()), (32, 32));
    for missing in [
        "/api/v1/samples/999",
        "/api/v1/samples/x",
        "/api/v1/samples/999/picture",
        "/api/v1/models/nobody",
    ] {
        assert_eq!(site.get(missing).problem(), "not-found", "{missing}");
    }
    let models = site.get("/api/v1/models").json();
    assert_eq!(models["models"][0]["serving"], true);
    assert_eq!(models["models"][0]["aliases"], json!(["latest", "stable"]));
    assert_eq!(site.get("/api/v1/models/pictures").json()["models"], models["models"]);
    assert_eq!(
        site.get("/api/v1/models/pictures/1").json()["space"],
        models["models"][0]["space"]
    );
    assert_eq!(site.get("/api/v1/models/pictures/stable").json()["generation"], 1);
    assert_eq!(site.get("/api/v1/models/pictures/7").problem(), "not-found");
    assert_eq!(site.get("/api/v1/quarantine").json(), json!([]));
    assert_eq!(site.get("/api/v1/status").json()["streams"][0]["index_covered"], 3);
    assert_eq!(site.get("/api/v1/streams").json()["streams"][0]["name"], "pictures");
    let metrics = String::from_utf8(site.get("/metrics").body).unwrap();
    assert!(
        metrics.contains("curiod_generation{stream=\"pictures\"} 1\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("route=\"/api/v1/samples/{id}\",status=\"404\""),
        "{metrics}"
    );
}

#[test]
fn the_signals_of_a_sample_are_read_back_with_why_it_is_replayed() {
    let site = Site::new();
    let ids = site.insert(0..20);
    let of = |id: SampleId| site.get(&format!("/api/v1/samples/{id}")).json();
    let new = of(ids[3]);
    for unknown in [
        "error",
        "fixed_error",
        "scored_at",
        "rank",
        "novelty",
        "cluster",
        "progress",
        "guard",
        "junk",
    ] {
        assert!(new[unknown].is_null() && new.get(unknown).is_some(), "{unknown}: {new}");
    }
    let mut curiosity = Curiosity::default();
    for step in 1..=3 {
        let scored: Vec<Scored> = ids.iter().map(|id| scored(*id, step)).collect();
        curiosity.observe(&scored);
        site.replay
            .score(&scored.iter().map(|it| (it.id, it.score)).collect::<Vec<_>>());
        let evidence: Vec<_> = ids.iter().map(|id| Evidence { id: *id, error: 0.25 }).collect();
        site.replay.report(&evidence, |known| curiosity.judge(known)).unwrap();
    }
    let known = of(ids[3]);
    assert_eq!(
        (&known["visits"], &known["error"], &known["scored_at"]),
        (&json!(3), &json!(0.25), &json!(3))
    );
    let number = |name: &str| known[name].as_f64().unwrap_or_else(|| panic!("{name}: {known}"));
    let in_a_share = ["rank", "novelty", "guard", "probability"].map(number);
    assert!(in_a_share.iter().all(|share| (0.0..=1.0).contains(share)), "{known}");
    assert!((number("fixed_error") - 0.5).abs() < 1e-6 && number("cluster") < 256.0 && known["junk"] == false);
    assert!(number("priority") > 0.0 && number("progress").is_finite());
    // Uniform among those that are not of the exam, a quarter of them from the newest, which are all.
    let drawn: Vec<f64> = ids.iter().map(|id| of(*id)["probability"].as_f64().unwrap()).collect();
    assert!((drawn.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{drawn:?}");
}

/// A score of a step: each sample has a place of its own.
fn scored(id: SampleId, step: u64) -> Scored {
    let mut place = [0; EMBEDDING_DIM];
    place[id.0 as usize % EMBEDDING_DIM] = 127;
    let score = Score {
        error: 0.5,
        embedding: Embedding(place),
        step,
    };
    Scored {
        id,
        score,
        fresh: step == 1,
        look: [0.5; 256].into(),
    }
}

#[test]
fn a_file_in_quarantine_is_read_again_or_forgotten_when_asked() {
    let site = Site::new();
    let inbox = site.folder.path().join("in");
    std::fs::write(inbox.join("a.png"), b"rubbish").unwrap();
    std::fs::write(inbox.join("b.png"), b"more rubbish").unwrap();
    let list = || site.get("/api/v1/quarantine").json();
    let listed = |count: usize| {
        wait_until("the list", || list().as_array().unwrap().len() == count);
        list()
    };
    let hash = listed(2)[0]["source"].as_str().unwrap().to_owned();

    for (asked, problem) in [
        (json!({}), "unprocessable"),
        (json!({ "all": true, "files": ["a.png"] }), "unprocessable"),
        (json!({ "files": ["a.png", "c.png"] }), "not-found"),
        (json!({ "stream": "nobody", "all": true }), "not-found"),
        (json!({ "file": "a.png" }), "malformed-request"),
    ] {
        for route in ["/api/v1/quarantine/retry", "/api/v1/quarantine/drop"] {
            assert_eq!(site.post_as_admin(route, &asked).problem(), problem, "{asked}");
        }
    }
    let as_picture = site.send_over_socket(&post_head("/api/v1/quarantine/drop", "image/png", 5), b"a.png");
    assert_eq!(as_picture.problem(), "unsupported-type");
    assert_eq!(listed(2).as_array().unwrap().len(), 2);

    let dropped = site
        .post_as_admin("/api/v1/quarantine/drop", &json!({ "files": ["b.png"] }))
        .json();
    let file = inbox.join("b.png");
    let expected = json!([{ "path": "b.png", "done": "dropped", "file": file.to_str() }]);
    assert_eq!((&dropped["files"], &dropped["stream"]), (&expected, &json!("pictures")));
    assert!(file.exists());
    assert_eq!(listed(1)[0]["path"], "a.png");

    let retried = site
        .post_as_admin("/api/v1/quarantine/retry", &json!({ "files": [&hash[..8]] }))
        .json();
    assert_eq!(retried["files"][0]["done"], "retried");
    listed(1);
    std::fs::remove_file(inbox.join("a.png")).unwrap();
    let gone = site
        .post_as_admin("/api/v1/quarantine/retry", &json!({ "all": true }))
        .json();
    assert_eq!(
        gone["files"],
        json!([{ "path": "a.png", "done": "gone", "file": null }])
    );
    listed(0);
}

#[test]
fn the_middle_of_a_picture_is_painted_and_the_rest_is_left() {
    let site = Site::new();
    site.insert(0..5);
    let generation = site.publish_painter(1);
    site.wait_for(generation, 5);
    let file = picture(3);
    let answer = site.post("/api/v1/inpaint", &json!({ "image": base64(&file) }));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/png")));
    assert_eq!(answer.header("curiod-generation"), Some("1"));
    let painted = image::load_from_memory(&answer.body).unwrap().to_rgb8();
    assert_eq!(painted.dimensions(), (32, 32));
    let limits = crate::sample::image::ImageLimits {
        pixels_max: 1_000_000,
        side_px_max: 4_096,
    };
    let tile = crate::sample::image::decode(&file, &limits, 32).unwrap();
    let seen = crate::sample::image::eval_view(&tile, 32);
    let same: Vec<bool> = painted
        .as_raw()
        .chunks(3)
        .zip(seen.rgb.chunks(3))
        .map(|(painted, seen)| painted == seen)
        .collect();
    let is_middle = |at: usize| (8..24).contains(&(at % 32)) && (8..24).contains(&(at / 32));
    assert!((0..1024).filter(|&at| !is_middle(at)).all(|at| same[at]));
    assert!(
        (0..1024).filter(|&at| is_middle(at) && same[at]).count() < 32,
        "the middle is painted"
    );
    // The file's own bytes are taken as well, and other questions are answered as ever.
    let again = site.post_bytes("/api/v1/inpaint?model=pictures", "image/png", &file);
    assert_eq!(again.body, answer.body);
    assert_eq!(site.search(3, 1).status, 200);
}

#[test]
fn a_generation_that_learnt_no_painting_says_so() {
    let site = Site::new();
    site.insert(0..5);
    site.wait_for(site.publish(1), 5);
    let answer = site.post("/api/v1/inpaint", &json!({ "image": base64(&picture(3)) }));
    assert_eq!((answer.status, answer.problem().as_str()), (409, "no-decoder"));
    assert!(answer.json()["hint"].as_str().unwrap().contains("inpaint"));
    let missing = site.post(
        "/api/v1/inpaint",
        &json!({ "model": "pictures@9", "image": base64(&picture(3)) }),
    );
    assert_eq!(missing.problem(), "not-found");
    assert_eq!(site.post("/api/v1/inpaint", &json!({})).problem(), "unprocessable");
}
