//! Requests that are refused, and how.

use std::io::{BufRead, BufReader, Read, Write};

use serde_json::json;

use super::site::{Site, base64, event, picture, read_answer, wait_until};
use crate::config::{ReplayConfig, ServerConfig};

fn small() -> Site {
    let config = ServerConfig {
        body_bytes_max: 20_000,
        items_max: 3,
        concurrency_max: 1,
        ..ServerConfig::default()
    };
    let site = Site::with(config, ReplayConfig::default());
    site.insert(0..3);
    site.wait_for(site.publish(1), 3);
    site
}

#[test]
fn only_hosts_of_this_machine_and_pages_of_this_daemon_are_answered() {
    let site = Site::new();
    let ask = |headers: &str| {
        site.send(
            &format!("GET /api/v1/status HTTP/1.1\r\nConnection: close\r\n{headers}\r\n"),
            b"",
        )
    };
    assert_eq!(ask("Host: localhost:8642\r\n").status, 200);
    assert_eq!(ask("Host: [::1]\r\n").status, 200);
    assert_eq!(ask("Host: evil.example\r\n").problem(), "misdirected-request");
    assert_eq!(ask("Host: localhost\r\nHost: evil.example\r\n").status, 400);
    assert_eq!(ask("Host: localhost:1\r\nOrigin: http://localhost:1\r\n").status, 200);
    assert_eq!(
        ask("Host: localhost:1\r\nOrigin: http://evil.example\r\n").problem(),
        "foreign-origin"
    );
    assert_eq!(ask("Host: localhost:1\r\nOrigin: null\r\n").problem(), "foreign-origin");
    let answer = ask("Host: localhost\r\n");
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert!(
        answer
            .header("content-security-policy")
            .unwrap()
            .starts_with("default-src 'none'")
    );
}

#[test]
fn what_makes_no_sense_is_named() {
    let site = small();
    for path in ["samples/%ff", "models/%ff"] {
        assert_eq!(
            site.get(&format!("/api/v1/{path}")).problem(),
            "malformed-request",
            "{path}"
        );
    }
    let image = base64(&picture(1));
    for (route, body, problem) in [
        ("embed", json!({ "images": [image], "modle": "x" }), "malformed-request"),
        ("embed", json!({ "images": ["not base64!"] }), "malformed-request"),
        ("embed", json!([]), "malformed-request"),
        ("embed", json!({}), "unprocessable"),
        ("embed", json!({ "images": [base64(b"no picture")] }), "unprocessable"),
        ("search", json!({ "image": image, "k": 0 }), "unprocessable"),
        ("search", json!({ "image": image, "k": 1_001 }), "unprocessable"),
        ("search", json!({ "image": image, "k": -1 }), "malformed-request"),
        ("search", json!({ "image": image, "id": 1 }), "unprocessable"),
        ("search", json!({}), "unprocessable"),
        ("novelty", json!({}), "unprocessable"),
        ("novelty", json!({ "top": 0 }), "unprocessable"),
        ("novelty", json!({ "top": 1, "images": [image] }), "unprocessable"),
    ] {
        assert_eq!(
            site.post(&format!("/api/v1/{route}"), &body).problem(),
            problem,
            "{route} {body}"
        );
    }
    assert_eq!(
        site.post_bytes("/api/v1/embed", "application/json", b"{\"images\": [")
            .problem(),
        "malformed-request"
    );
    assert_eq!(site.post_bytes("/api/v1/embed", "text/plain", b"x").status, 415);
    assert_eq!(
        site.post_bytes("/api/v1/embed", "multipart/form-data", b"x").problem(),
        "malformed-request"
    );
    assert_eq!(
        site.post_bytes("/api/v1/search?q=1", "image/png", &picture(1))
            .problem(),
        "malformed-request"
    );
    assert_eq!(
        site.post_bytes("/api/v1/search?k=many", "image/png", &picture(1))
            .problem(),
        "malformed-request"
    );
    assert_eq!(site.get("/nowhere").problem(), "unknown-route");
    let wrong = site.get("/api/v1/embed");
    assert_eq!((wrong.status, wrong.problem()), (405, "method-not-allowed".to_owned()));
    assert!(wrong.header("allow").unwrap().contains("POST"));
}

#[test]
fn a_refused_picture_is_named_with_its_reason() {
    let site = small();
    let torn = &picture(1)[..60];
    let answer = site.post(
        "/api/v1/embed",
        &json!({ "images": [base64(&picture(1)), base64(torn)] }),
    );
    let json = answer.json();
    assert_eq!((answer.status, &json["item"]), (422, &json!(1)), "{json}");
    let by_ingest = site.state.streams.load()[&"pictures".parse().unwrap()]
        .cutting
        .cut(std::path::Path::new(""), torn);
    assert_eq!(json["reason"], by_ingest.unwrap_err().reason.as_str());
}

#[test]
fn more_than_may_come_is_refused_before_it_is_read() {
    let site = small();
    let large = vec![b' '; 1 << 20];
    assert_eq!(
        site.post_bytes("/api/v1/embed", "application/json", &large).problem(),
        "too-large"
    );
    let head =
        "POST /api/v1/embed HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n";
    // Told, never sent: the refusal must not wait for it.
    assert_eq!(
        site.send(&format!("{head}Content-Length: 99999999999\r\n\r\n"), b"")
            .problem(),
        "too-large"
    );
    let chunks = [&b"7d00\r\n"[..], &large[..0x7d00], b"\r\n0\r\n\r\n"].concat();
    assert_eq!(
        site.send(&format!("{head}Transfer-Encoding: chunked\r\n\r\n"), &chunks)
            .problem(),
        "too-large"
    );
    // Of another kind than the stream takes, and nothing in them is right: they are counted before they are read.
    let many = json!({ "texts": [1, 2, 3], "series": [[]] });
    assert_eq!(site.post("/api/v1/embed", &many).problem(), "too-large");
    let images = vec![base64(&picture(1)); 4];
    assert_eq!(
        site.post("/api/v1/embed", &json!({ "images": images })).problem(),
        "too-large"
    );
    assert_eq!(
        site.post("/api/v1/embed", &json!({ "images": images[..3] })).status,
        200
    );
}

#[test]
fn at_its_limit_the_daemon_says_so_and_still_answers_its_probes() {
    let site = small();
    // The one request that may be answered at once, and that does not end.
    let mut slow = site.connect();
    let head = "POST /api/v1/embed HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n";
    slow.write_all(format!("{head}{{").as_bytes()).unwrap();
    wait_until("the limit to be reached", || {
        site.state.requests.available_permits() == 0
    });
    let refused = site.get("/api/v1/status");
    assert_eq!(refused.problem(), "overloaded");
    assert!(refused.header("retry-after").is_some());
    for probe in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(site.get(probe).status, 200, "{probe}");
    }
    slow.write_all(b"}        ").unwrap();
    assert_eq!(read_answer(&mut slow).problem(), "unprocessable");
    wait_until("room", || site.get("/api/v1/status").status == 200);
}

#[test]
fn a_request_that_never_ends_is_cut_off() {
    let config = ServerConfig {
        request_timeout_s: 1,
        ..ServerConfig::default()
    };
    let site = Site::with(config, ReplayConfig::default());
    let head = "POST /api/v1/embed HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n";
    assert_eq!(site.send(head, b"{").problem(), "timeout");
}

#[test]
fn events_arrive_and_end_when_the_daemon_stops() {
    let site = Site::new();
    let mut stream = site.connect();
    stream
        .write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    wait_until("the follower", || site.state.events.receiver_count() == 1);
    for number in 0..3 {
        site.state.events.send(event(number)).unwrap();
    }
    let mut reader = BufReader::new(stream);
    let mut told = Vec::new();
    while told.len() < 3 {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the events ended early");
        if let Some(data) = line.strip_prefix("data: ") {
            told.push(serde_json::from_str::<serde_json::Value>(data).unwrap());
        }
    }
    assert_eq!(
        told[2],
        json!({ "type": "accepted", "stream": "pictures", "path": "2.png", "samples": [2] })
    );
    site.stop.send(true).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
}

#[test]
fn a_client_that_is_slower_than_the_events_is_told_how_many_it_missed() {
    let site = Site::new();
    let mut stream = site.connect();
    stream
        .write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    wait_until("the follower", || site.state.events.receiver_count() == 1);
    // More than the queue and the socket hold together, while nobody reads.
    for number in 0..400_000 {
        site.state.events.send(event(number)).unwrap();
    }
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with("event: missed") {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the events ended early");
    }
}

#[test]
fn the_dashboard_loads_nothing_from_elsewhere() {
    let site = Site::new();
    let mut parts = vec![
        "/".to_owned(),
        "/dashboard.css".to_owned(),
        "/dashboard/dashboard.js".to_owned(),
    ];
    let mut seen = 0;
    while let Some(part) = parts.get(seen).cloned() {
        seen += 1;
        let answer = site.get(&part);
        assert_eq!(answer.status, 200, "{part}");
        let text = String::from_utf8(answer.body).unwrap();
        for imported in text.lines().filter_map(|line| line.strip_prefix("import ")) {
            let (_, module) = imported.split_once(" from './").expect("modules come from beside");
            let module = format!("/dashboard/{}", module.trim_end_matches("';"));
            if !parts.contains(&module) {
                parts.push(module);
            }
        }
        // A namespace is a name, not an address.
        let addresses = text.matches("://").count() - text.matches("http://www.w3.org/").count();
        assert_eq!(addresses, 0, "{part} names an address");
        assert!(
            !text.contains("src=\"//") && !text.contains("href=\"//"),
            "{part} names another host"
        );
    }
    assert!(seen > 5, "the script's modules were not followed");
    assert_eq!(site.get("/dashboard/nothing.js").problem(), "not-found");
}

#[test]
fn the_description_is_served() {
    let site = Site::new();
    assert_eq!(site.get("/openapi.json").json()["openapi"], "3.1.0");
}

#[test]
fn whoever_sends_much_that_nobody_wants_is_told_so_and_not_cut_off() {
    let site = Site::new();
    let much = vec![b' '; 8 << 20];
    for (path, content_type, problem) in [
        ("/nowhere", "application/json", "unknown-route"),
        ("/api/v1/status", "application/json", "method-not-allowed"),
        ("/api/v1/quarantine/drop", "application/json", "missing-scope"),
        ("/api/v1/embed", "text/html", "unsupported-type"),
        ("/api/v1/embed", "application/json", "malformed-request"),
    ] {
        let answer = site.post_bytes(path, content_type, &much);
        assert_eq!(answer.problem(), problem, "{path}");
    }
    let all = site.state.requests.available_permits();
    let _all = site.state.requests.try_acquire_many(all as u32).unwrap();
    let answer = site.post_bytes("/api/v1/embed", "application/json", &much);
    assert_eq!(answer.problem(), "overloaded");
}
