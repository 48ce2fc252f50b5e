//! The main job: pictures in, a model and its answers out.

use std::fs;

use crate::harness::{Site, picture};

#[test]
fn pictures_dropped_in_the_folder_are_learnt_and_become_searchable() {
    let mut site = Site::new();
    site.drop_pictures(0..60);
    site.start();
    site.wait_until("generation", 1);
    let stream = site.wait_until("index_covered", 60);
    assert_eq!(stream["sources_accepted"], 60);
    assert_eq!(stream["samples"], 60);
    assert_eq!(stream["index_total"], 60);
    assert!(stream["step"].as_u64().unwrap() >= 5);

    // One that arrives later, while training runs, is found too, and is its own nearest neighbour.
    site.drop_file("later/new one.png", &picture(999));
    site.wait_until("index_covered", 61);
    let file = site.path("in/later/new one.png");
    let found = site
        .json(&["search", "--file", file.to_str().unwrap(), "--k", "5"])
        .unwrap();
    let hits = found["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 5);
    assert_eq!(hits[0]["path"], "later/new one.png");
    assert!(hits[0]["score"].as_f64().unwrap() > 0.999, "{found}");
    let scores: Vec<f64> = hits.iter().map(|hit| hit["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");

    // Narrowed to where it came from it is found alone, and to times before all of this nothing is.
    let narrowed = |by: [&str; 2]| {
        let found = site.json(&[&["search", "--file", file.to_str().unwrap()], &by[..]].concat());
        found.unwrap()["hits"].as_array().unwrap().clone()
    };
    let later = narrowed(["--source", "later/*"]);
    assert_eq!((later.len(), &later[0]["path"]), (1, &hits[0]["path"]));
    assert_eq!(narrowed(["--before", "2001-01-01T00:00:00Z"]).len(), 0);
    assert_eq!(narrowed(["--after", "2001-01-01T00:00:00Z"]).len(), 10);

    let embedded = site.json(&["embed", "--file", file.to_str().unwrap()]).unwrap();
    let vector = embedded["embeddings"][0].as_array().unwrap();
    assert_eq!(vector.len() as u64, embedded["dim"].as_u64().unwrap());
    let norm: f64 = vector.iter().map(|x| x.as_f64().unwrap().powi(2)).sum();
    assert!((norm - 1.0).abs() < 1e-4, "the vector has length {}", norm.sqrt());
    assert!(embedded["space"].is_string());

    let novelty = site.json(&["novelty", "--file", file.to_str().unwrap()]).unwrap();
    let quantile = novelty["results"][0]["novelty"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&quantile), "{novelty}");
}

#[test]
fn a_published_generation_is_whole_on_disk() {
    let mut site = Site::new();
    site.drop_pictures(0..40);
    site.start();
    site.wait_until("generation", 1);
    assert_eq!(site.stop(), Some(0));
    let latest = site.path("state/registry/pictures/latest");
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(latest.join("curiod.json")).unwrap()).unwrap();
    assert!(manifest["generation"].as_u64().unwrap() >= 1);
    for (name, hash) in manifest["files"].as_object().unwrap() {
        let bytes = fs::read(latest.join(name)).unwrap();
        assert_eq!(blake3::hash(&bytes).to_hex().as_str(), hash.as_str().unwrap(), "{name}");
    }
    for name in ["model.safetensors", "config.json"] {
        assert!(manifest["files"][name].is_string(), "curiod.json does not name {name}");
    }
}

#[test]
fn the_same_picture_twice_is_one_source() {
    let mut site = Site::new();
    site.drop_pictures(0..3);
    site.drop_file("copy.png", &picture(1));
    site.start();
    let stream = site.wait_until("sources_duplicate", 1);
    assert_eq!(stream["sources_duplicate"], 1);
    assert_eq!(site.wait_until("sources_accepted", 3)["samples"], 3);
}

#[test]
fn after_move_the_inbox_is_empty_and_nothing_is_lost() {
    let mut site = Site::with("[stream.ingest]\nafter = \"move\"\n");
    site.drop_pictures(0..10);
    site.drop_file("sub/broken.png", b"\x89PNG\r\n\x1a\nnot a picture");
    site.start();
    site.wait_until("sources_accepted", 10);
    site.wait_until("sources_quarantined", 1);
    site.wait_for("the inbox to be empty", |site| {
        crate::harness::files_below(&site.path("in")).is_empty().then_some(())
    });
    assert_eq!(
        crate::harness::files_below(&site.path("state/streams/pictures/done")).len(),
        10
    );
    assert_eq!(
        crate::harness::files_below(&site.path("state/streams/pictures/quarantine")),
        ["sub/broken.png"]
    );
}

#[test]
fn two_streams_learn_side_by_side_and_are_asked_by_name() {
    let mut site = Site::with("[[stream]]\nname = \"second\"\nmodality = \"image\"\ninbox = [\"in2\"]\n");
    fs::create_dir(site.path("in2")).unwrap();
    site.drop_pictures(0..40);
    for number in 100..140 {
        fs::write(site.path("in2").join(format!("{number}.png")), picture(number)).unwrap();
    }
    site.start();
    site.wait_until("generation", 1);
    site.wait_for("the second stream to publish", |site| {
        let status = site.json(&["status"])?;
        let second = status["streams"]
            .as_array()?
            .iter()
            .find(|stream| stream["name"] == "second")?
            .clone();
        (second["generation"].as_u64()? >= 1 && second["index_covered"] == 40).then_some(())
    });
    let file = site.path("in2/100.png");
    let found = site
        .json(&[
            "search",
            "--model",
            "second",
            "--file",
            file.to_str().unwrap(),
            "--k",
            "1",
        ])
        .unwrap();
    assert_eq!(found["hits"][0]["path"], "100.png");
    // Without a name it is not clear which of the two is meant.
    let refused = site.client(&["search", "--file", file.to_str().unwrap()]);
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("pictures") && said.contains("second"), "{said}");
}

#[test]
fn a_stream_that_learns_to_inpaint_shows_what_it_expects_in_the_middle_of_a_picture() {
    let mut site = Site::with("[stream.learning]\nobjective = \"inpaint\"\ninpaint_adversarial = true\n");
    site.drop_pictures(0..40);
    site.start();
    site.wait_until("generation", 1);
    let (file, out) = (site.path("query.png"), site.path("filled.png"));
    fs::write(&file, picture(7)).unwrap();
    let done = site.client(&["inpaint", file.to_str().unwrap(), out.to_str().unwrap()]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let filled = image::load_from_memory(&fs::read(&out).unwrap()).unwrap();
    assert_eq!((filled.width(), filled.height()), (32, 32));
    let manifest = fs::read(site.path("state/registry/pictures/latest/curiod.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert!(manifest["files"]["decoder.safetensors"].is_string(), "{manifest}");
}
