//! Generations as files, beside each other, and gone.

use std::io::{Read, Write};

use serde_json::{Value, json};

use super::site::{Answer, Site, base64, network, picture, read_answer};
use crate::registry::layout::MANIFEST_FILE;

impl Site {
    /// A request with more headers.
    fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        self.send(&head, b"")
    }
}

fn of(name: &str) -> String {
    format!("/api/v1/models/pictures/latest/files/{name}")
}

#[test]
fn a_generations_folder_is_copied_file_by_file_each_with_its_hash() {
    let site = Site::new();
    let generation = site.publish(1);
    let listed = site.get("/api/v1/models/pictures/latest/files");
    assert_eq!((listed.status, listed.header("curiod-generation")), (200, Some("1")));
    let listed = listed.json();
    assert_eq!(listed["generation"], generation);
    let files = listed["files"].as_array().unwrap();
    let names: Vec<&str> = files.iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(names, [MANIFEST_FILE, "config.json", "model.safetensors"]);
    let folder = site.folder.path().join("registry/000001");
    for file in files {
        let name = file["path"].as_str().unwrap();
        let answer = site.get(&format!("/api/v1/models/pictures/{generation}/files/{name}"));
        assert_eq!(
            (answer.status, answer.body.len() as u64),
            (200, file["bytes"].as_u64().unwrap())
        );
        assert_eq!(answer.body, std::fs::read(folder.join(name)).unwrap());
        let hash = blake3::hash(&answer.body).to_hex();
        assert_eq!(file["blake3"], hash.as_str());
        assert_eq!(answer.header("etag"), Some(format!("\"{hash}\"").as_str()));
        assert_eq!(
            answer.header("content-length"),
            Some(answer.body.len().to_string().as_str())
        );
        assert_eq!(answer.header("curiod-space"), listed["space"].as_str());
    }
}

#[test]
fn a_file_is_told_of_without_its_bytes_to_who_asks_for_its_head_or_has_it() {
    let site = Site::new();
    site.publish(1);
    let whole = site.get(&of("model.safetensors"));
    let tag = whole.header("etag").unwrap().to_owned();
    let head = site.ask("HEAD", &of("model.safetensors"), "Range: bytes=0-9\r\n");
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["etag", "content-length", "content-type", "accept-ranges"] {
        assert_eq!(head.header(name), whole.header(name), "{name}");
    }
    for known in [
        tag.clone(),
        format!("\"other\", {tag}"),
        format!("W/{tag}"),
        "*".to_owned(),
    ] {
        let answer = site.ask("GET", &of("model.safetensors"), &format!("If-None-Match: {known}\r\n"));
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{known}");
        assert_eq!(answer.header("etag"), Some(tag.as_str()));
    }
    let answer = site.ask("GET", &of("model.safetensors"), "If-None-Match: \"other\"\r\n");
    assert_eq!((answer.status, answer.body.len()), (200, whole.body.len()));
}

#[test]
fn a_download_that_broke_off_is_gone_on_with_by_its_ranges() {
    let site = Site::new();
    site.publish(1);
    let whole = site.get(&of("model.safetensors"));
    let (tag, length) = (whole.header("etag").unwrap(), whole.body.len());
    let cut = length / 3;
    let part = |range: String, condition: &str| {
        site.ask(
            "GET",
            &of("model.safetensors"),
            &format!("Range: bytes={range}\r\nIf-Range: {condition}\r\n"),
        )
    };
    let (first, rest) = (part(format!("0-{}", cut - 1), tag), part(format!("{cut}-"), tag));
    assert_eq!((first.status, rest.status), (206, 206));
    let range = format!("bytes {cut}-{}/{length}", length - 1);
    assert_eq!(rest.header("content-range"), Some(range.as_str()));
    assert_eq!(rest.header("content-length"), Some((length - cut).to_string().as_str()));
    assert_eq!([first.body, rest.body].concat(), whole.body);
    let last = part("-5".to_owned(), tag);
    assert_eq!((last.status, last.body.as_slice()), (206, &whole.body[length - 5..]));
    // Of another file it would be a part of nothing.
    assert_eq!(part("5-".to_owned(), "\"other\"").status, 200);
    let beyond = part(format!("{length}-"), tag);
    assert_eq!(
        (beyond.status, beyond.problem()),
        (416, "unsatisfiable-range".to_owned())
    );
    assert_eq!(
        beyond.header("content-range"),
        Some(format!("bytes */{length}").as_str())
    );
}

#[test]
fn no_path_leads_to_a_file_that_the_manifest_does_not_name() {
    let site = Site::new();
    site.publish(1);
    std::fs::write(site.folder.path().join("registry/000001/secret"), "nobody's").unwrap();
    for path in [
        "secret",
        "../high_water",
        "..%2Fhigh_water",
        "%2e%2e/high_water",
        "./model.safetensors",
        "x/../model.safetensors",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "model.safetensors%00",
        "model.safetensors/",
        "MODEL.SAFETENSORS",
        "%ff",
    ] {
        let answer = site.get(&of(path));
        assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
        answer.problem();
    }
    let unknown = [
        "/api/v1/models/nobody/1/files",
        "/api/v1/models/pictures/9/files",
        "/api/v1/models/pictures/x/files",
    ];
    for path in unknown {
        assert_eq!(site.get(path).problem(), "not-found", "{path}");
    }
}

#[test]
fn a_download_of_a_generation_that_is_dropped_meanwhile_ends_whole_and_the_next_one_is_told() {
    let site = Site::new();
    site.publish(1);
    let path = "/api/v1/models/pictures/1/files/model.safetensors";
    let mut stream = site.connect();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut begun = [0; 1];
    stream.read_exact(&mut begun).unwrap();
    site.publish(2);
    site.publish(3);
    assert!(!site.folder.path().join("registry/000001").exists());
    let rest = read_answer(&mut stream);
    assert_eq!(rest.body, network(1));
    assert_eq!(site.get(path).problem(), "gone");
}

#[test]
fn downloads_beyond_their_number_are_refused_and_heads_are_not() {
    let site = Site::new();
    site.publish(1);
    let all = site.state.downloads.available_permits() as u32;
    let permits = site.state.downloads.try_acquire_many(all).unwrap();
    let refused = site.get(&of("model.safetensors"));
    assert_eq!((refused.status, refused.problem()), (503, "overloaded".to_owned()));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(site.ask("HEAD", &of("model.safetensors"), "").status, 200);
    drop(permits);
    assert_eq!(site.get(&of("model.safetensors")).status, 200);
    // Once they are through, their places are free again.
    super::site::wait_until("the places of downloads", || {
        site.state.downloads.available_permits() as u32 == all
    });
}

#[test]
fn a_generation_agrees_with_itself_and_less_with_another() {
    let site = Site::new();
    let ids = site.insert(0..80);
    site.publish(1);
    site.wait_for(site.publish(2), 80);
    let diff = |query: &str| site.get(&format!("/api/v1/models/pictures/diff?{query}")).json();
    let same = diff("from=2&to=latest");
    assert_eq!(
        (&same["samples"], &same["samples_asked"], &same["neighbours"]),
        (&json!(80), &json!(1000), &json!(10))
    );
    assert_eq!(
        (&same["overlap"]["mean"], &same["overlap"]["min"]),
        (&json!(1.0), &json!(1.0))
    );
    assert!(same["structure"].as_f64().unwrap() > 0.999_999, "{same}");

    let other = diff("");
    assert_eq!(
        (&other["from"]["generation"], &other["to"]["generation"]),
        (&json!(1), &json!(2))
    );
    assert_ne!(other["from"]["space"], other["to"]["space"]);
    let number = |value: &Value| value.as_f64().unwrap();
    let mean = number(&other["overlap"]["mean"]);
    assert!((0.0..0.999).contains(&mean), "{other}");
    let spread = ["min", "p10", "p50", "p90", "max"].map(|key| number(&other["overlap"][key]));
    assert!(spread.is_sorted(), "{other}");
    assert!(number(&other["structure"]) < 0.999, "{other}");
    let drop = number(&other["structure_drop"]) + number(&other["structure"]);
    assert!((drop - 1.0).abs() < 1e-9, "{other}");
    let moved = other["moved"].as_array().unwrap();
    assert_eq!((moved.len(), number(&moved[0]["overlap"])), (10, spread[0]));
    assert!(moved.is_sorted_by(|a, b| number(&a["overlap"]) <= number(&b["overlap"])));
    for moved in moved {
        let at = ids.iter().position(|id| moved["id"] == id.0).unwrap();
        assert_eq!(moved["path"], format!("{at}.png"));
    }
    assert_eq!(diff("seed=3&samples=20"), diff("seed=3&samples=20"));
    let few = diff("samples=20&moved=0");
    assert_eq!(
        (&few["samples"], few["moved"].as_array().unwrap().len()),
        (&json!(20), 0)
    );
}

#[test]
fn queries_are_answered_while_generations_are_compared() {
    let site = Site::new();
    site.insert(0..600);
    site.publish(1);
    site.wait_for(site.publish(2), 600);
    std::thread::scope(|scope| {
        let comparing = scope.spawn(|| site.get("/api/v1/models/pictures/diff"));
        super::site::wait_until("the comparison to begin", || {
            site.state.diffs.available_permits() == 0 || comparing.is_finished()
        });
        let mut answered = 0;
        while !comparing.is_finished() {
            assert_eq!(site.search(7, 1).json()["hits"][0]["path"], "7.png");
            answered += 1;
        }
        let diff = comparing.join().unwrap().json();
        assert_eq!(diff["samples"], 600, "{diff}");
        assert!(answered > 1, "{answered} queries were answered meanwhile");
    });
}

#[test]
fn a_comparison_that_can_not_be_made_says_why() {
    let site = Site::new();
    assert_eq!(site.get("/api/v1/models/pictures/diff").problem(), "not-ready");
    site.publish(1);
    assert_eq!(
        site.get("/api/v1/models/pictures/diff").problem(),
        "not-found",
        "nothing was before"
    );
    site.publish(2);
    assert_eq!(
        site.get("/api/v1/models/pictures/diff").problem(),
        "not-ready",
        "no samples"
    );
    site.insert(0..5);
    for (query, problem) in [
        ("from=9", "not-found"),
        ("to=x", "not-found"),
        ("samples=2", "unprocessable"),
        ("samples=2001", "unprocessable"),
        ("moved=101", "unprocessable"),
        ("samples=many", "malformed-request"),
        ("seed=-1", "malformed-request"),
        ("k=3", "malformed-request"),
    ] {
        let answer = site.get(&format!("/api/v1/models/pictures/diff?{query}"));
        assert_eq!(answer.problem(), problem, "{query}");
    }
    let permit = site.state.diffs.try_acquire().unwrap();
    assert_eq!(site.get("/api/v1/models/pictures/diff").problem(), "overloaded");
    drop(permit);
    let few = site.get("/api/v1/models/pictures/diff").json();
    assert_eq!((&few["samples"], &few["neighbours"]), (&json!(5), &json!(4)));
}

#[test]
fn a_retired_generation_is_gone_on_every_route() {
    let site = Site::new();
    site.insert(0..5);
    for seed in 1..4 {
        site.publish_painter(seed);
    }
    let image = base64(&picture(1));
    let questions = [
        ("embed", json!({ "images": [image] })),
        ("search", json!({ "image": image })),
        ("search", json!({ "vector": [1.0], "space": "0123456789abcdef" })),
        ("novelty", json!({ "images": [image] })),
        ("novelty", json!({ "top": 3 })),
        ("novelty/series", json!({ "series": [[1.0, 2.0]] })),
        ("inpaint", json!({ "image": image })),
        ("fill", json!({ "text": "the [MASK]" })),
    ];
    for (route, mut question) in questions {
        question["model"] = json!("pictures@1");
        let answer = site.post(&format!("/api/v1/{route}"), &question);
        assert_eq!((answer.status, answer.problem()), (410, "gone".to_owned()), "{route}");
    }
    for path in [
        "1",
        "1/files",
        "1/files/model.safetensors",
        "1/files/curiod.json",
        "diff?from=1",
        "diff?to=1&from=2",
    ] {
        let answer = site.get(&format!("/api/v1/models/pictures/{path}"));
        assert_eq!((answer.status, answer.problem()), (410, "gone".to_owned()), "{path}");
    }
}

#[test]
fn a_vector_finds_what_it_was_made_of_in_its_own_space_alone() {
    let site = Site::new();
    site.insert(0..12);
    site.wait_for(site.publish(1), 12);
    let embedded = site
        .post("/api/v1/embed", &json!({ "images": [base64(&picture(4))] }))
        .json();
    let (vector, space) = (&embedded["embeddings"][0], &embedded["space"]);
    let search = |question: Value| site.post("/api/v1/search", &question);
    let found = search(json!({ "vector": vector, "space": space, "k": 3 }));
    assert_eq!(found.status, 200, "{found:?}");
    let hits = found.json()["hits"].clone();
    assert_eq!(hits[0]["path"], "4.png");
    assert_eq!(hits, site.search(4, 3).json()["hits"]);
    // Its length says nothing.
    let long: Vec<f64> = vector
        .as_array()
        .unwrap()
        .iter()
        .map(|value| 1e3 * value.as_f64().unwrap())
        .collect();
    assert_eq!(
        search(json!({ "vector": long, "space": space })).json()["hits"][0]["path"],
        "4.png"
    );

    let zeros = vec![0.0; long.len()];
    let mut huge = zeros.clone();
    huge[0] = 1e300;
    for wrong in [
        json!({ "vector": vector }),
        json!({ "vector": [1.0, 0.0], "space": space }),
        json!({ "vector": [], "space": space }),
        json!({ "vector": zeros, "space": space }),
        json!({ "vector": huge, "space": space }),
        json!({ "vector": vector, "space": space, "id": 1 }),
        json!({ "space": space }),
    ] {
        let answer = search(wrong.clone());
        assert!([400, 422].contains(&answer.status), "{answer:?} for {wrong}");
        answer.problem();
    }
    let other = json!("0123456789abcdef");
    let image = base64(&picture(4));
    for question in [
        json!({ "vector": vector, "space": other }),
        json!({ "image": image, "space": other }),
    ] {
        let answer = search(question);
        assert_eq!((answer.status, answer.problem()), (409, "other-space".to_owned()));
    }
    // What was right is wrong once another generation answers.
    site.wait_for(site.publish(2), 12);
    let answer = search(json!({ "vector": vector, "space": space }));
    assert_eq!((answer.status, answer.problem()), (409, "other-space".to_owned()));
    let answer = search(json!({ "model": "pictures@1", "vector": vector, "space": space }));
    assert_eq!((answer.status, answer.problem()), (410, "gone".to_owned()));
}
