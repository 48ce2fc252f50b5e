//! Texts: dropped, learnt, asked, killed and resumed, and published for others to load.

use std::fs;

use crate::harness::Site;

/// Sixty sentences that all differ, as JSON lines.
fn rows(first: u32) -> String {
    let of = |number: u32| {
        let (animal, place) = (
            ["cat", "dog", "heron"][number as usize % 3],
            ["barn", "river", "market"][number as usize / 3 % 3],
        );
        format!("{{\"text\": \"The {animal} number {number} went to the {place} before the rain came down.\"}}\n")
    };
    (first..first + 60).map(of).collect()
}

#[test]
fn texts_dropped_in_the_folder_are_learnt_searched_and_filled_in() {
    let mut site = Site::of_texts();
    let broken = format!("{}{{\"text\": \"cut off", rows(0));
    site.drop_file("rows.jsonl", broken.as_bytes());
    site.drop_file(
        "note.txt",
        "Bring an umbrella to the market. It rains at four.".as_bytes(),
    );
    site.drop_file("noise.txt", &[0, 159, 146, 150, 0, 1, 2, 255]);
    site.start();
    site.wait_until("generation", 1);
    let stream = site.wait_until("index_covered", 61);
    assert_eq!((&stream["samples"], &stream["modality"]), (&61.into(), &"text".into()));
    assert_eq!(site.quarantined().keys().collect::<Vec<_>>(), ["noise.txt"]);
    assert!(site.log().contains("passed over rows of a file"), "{}", site.log());

    // What was dropped is its own nearest neighbour, by its text.
    let said = "Bring an umbrella to the market. It rains at four.";
    let found = site.json(&["search", "--text", said, "--k", "3"]).unwrap();
    assert_eq!(found["hits"][0]["path"], "note.txt", "{found}");
    assert!(found["hits"][0]["score"].as_f64().unwrap() > 0.999, "{found}");
    let file = site.path("in/note.txt");
    let both = || {
        let embedded = site.json(&["embed", "--text", said, "another one"]).unwrap();
        (
            embedded,
            site.json(&["embed", "--file", file.to_str().unwrap()]).unwrap(),
        )
    };
    // A generation may begin to answer between the two.
    let same = std::iter::repeat_with(both).find(|(embedded, of_file)| embedded["generation"] == of_file["generation"]);
    let (embedded, of_file) = same.unwrap();
    assert_eq!(embedded["embeddings"].as_array().unwrap().len(), 2);
    assert_eq!(of_file["embeddings"][0], embedded["embeddings"][0]);

    let filled = site
        .json(&["fill", "The cat went to the [MASK].", "--top", "3"])
        .unwrap();
    let words = filled["masks"][0].as_array().unwrap();
    assert_eq!((filled["masks"].as_array().unwrap().len(), words.len()), (1, 3));
    let chances: Vec<f64> = words.iter().map(|word| word["probability"].as_f64().unwrap()).collect();
    assert!(chances.is_sorted_by(|a, b| a >= b) && chances[0] <= 1.0, "{filled}");
    assert!(site.json(&["fill", "nothing is hidden here"]).is_none());
    assert!(site.json(&["embed", "--text", " "]).is_none());
}

#[test]
fn a_stream_of_texts_that_is_killed_goes_on_with_its_own_vocabulary() {
    let mut site = Site::of_texts();
    site.drop_file("rows.jsonl", rows(0).as_bytes());
    site.start();
    let before = site.wait_until("generation", 1)["step"].as_u64().unwrap();
    site.wait_for_checkpoint("texts");
    let vocabulary = || fs::read(site.path("state/registry/texts/latest/tokenizer.json")).unwrap();
    let first = vocabulary();
    site.kill();
    site.drop_file("more.jsonl", rows(600).as_bytes());
    site.start();
    // The second generation may have been published before the kill: that it goes on is seen by its steps.
    site.wait_until("sources_accepted", 2);
    site.wait_until("step", before + 1);
    assert_eq!(
        fs::read(site.path("state/registry/texts/latest/tokenizer.json")).unwrap(),
        first
    );
}

#[test]
fn a_published_model_of_texts_is_whole_in_the_layout_that_sentence_transformers_reads() {
    let mut site = Site::of_texts();
    site.drop_file("rows.jsonl", rows(0).as_bytes());
    site.start();
    site.wait_until("generation", 1);
    assert_eq!(site.stop(), Some(0));
    let latest = site.path("state/registry/texts/latest");
    let json =
        |name: &str| -> serde_json::Value { serde_json::from_slice(&fs::read(latest.join(name)).unwrap()).unwrap() };
    let files = &json("curiod.json")["files"];
    for (name, hash) in files.as_object().unwrap() {
        let bytes = fs::read(latest.join(name)).unwrap();
        assert_eq!(blake3::hash(&bytes).to_hex().as_str(), hash.as_str().unwrap(), "{name}");
    }
    assert_eq!(json("config.json")["model_type"], "bert");
    assert_eq!(json("1_Pooling/config.json")["pooling_mode_mean_tokens"], true);
    assert_eq!(json("modules.json").as_array().unwrap().len(), 3);
    assert!(files["tokenizer.json"].is_string() && files["1_Pooling/config.json"].is_string());
}
