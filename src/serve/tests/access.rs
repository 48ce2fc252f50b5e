//! Who is let in: keys and their scopes on every surface, the admin socket, other hosts; and what every answer bears.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::site::{Answer, Site, post_head, wait_until};
use crate::access::{Key, Keys, Secret};
use crate::config::{ReplayConfig, ServerConfig};

/// A site whose daemon has a key for each of these scopes, which is also its name.
struct Guarded {
    site: Site,
    secrets: Vec<(&'static str, Secret)>,
}

impl Guarded {
    fn with(names: &[(&'static str, &str)]) -> Self {
        let site = Site::new();
        let mut lines = String::new();
        let mut secrets = Vec::new();
        for (name, scopes) in names {
            let secret = Secret::new().unwrap();
            lines += &format!("{}\n", Key::of(name.parse().unwrap(), scopes.parse().unwrap(), &secret));
            secrets.push((*name, secret));
        }
        site.state.let_in(Keys::parse(&lines).unwrap());
        Self { site, secrets }
    }

    fn new() -> Self {
        Self::with(&[
            ("reader", "read"),
            ("labeller", "label"),
            ("metrics", "metrics"),
            ("admin", "admin"),
        ])
    }

    fn secret(&self, name: &str) -> &str {
        self.secrets
            .iter()
            .find(|(other, _)| *other == name)
            .unwrap()
            .1
            .reveal()
    }

    /// Asks with a line of the head.
    fn ask(&self, method: &str, path: &str, line: &str) -> Answer {
        let body = if method == "POST" { "{}" } else { "" };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{line}\r\n",
            body.len()
        );
        self.site.send(&head, body.as_bytes())
    }

    fn ask_as(&self, name: &str, method: &str, path: &str) -> Answer {
        self.ask(
            method,
            path,
            &format!("Authorization: Bearer {}\r\n", self.secret(name)),
        )
    }
}

/// A route of each kind.
const ROUTES: [(&str, &str, &str); 8] = [
    ("GET", "/api/v1/status", "read"),
    ("GET", "/api/v1/events/none", "read"),
    ("POST", "/api/v1/embed", "read"),
    ("GET", "/v1/models", "read"),
    ("POST", "/embed", "read"),
    ("GET", "/v2", "read"),
    ("GET", "/metrics", "metrics"),
    ("POST", "/api/v1/quarantine/retry", "admin"),
];

#[test]
fn a_key_opens_what_its_scopes_name_and_nothing_else() {
    let guarded = Guarded::new();
    for (method, path, scope) in ROUTES {
        for (name, may) in [
            ("reader", scope == "read"),
            ("labeller", false),
            ("metrics", scope == "metrics"),
            ("admin", true),
        ] {
            let answer = guarded.ask_as(name, method, path);
            assert_eq!(
                ![401, 403].contains(&answer.status),
                may,
                "{name} {method} {path}: {answer:?}"
            );
            if !may {
                assert_eq!(answer.status, 403);
                let challenge = answer.header("www-authenticate").unwrap();
                assert!(challenge.contains(&format!("scope=\"{scope}\"")), "{challenge}");
                assert!(
                    String::from_utf8_lossy(&answer.body).contains(&format!("`{scope}`")),
                    "{answer:?}"
                );
            }
        }
        for line in [
            "",
            "Authorization: Bearer curiod_wrong\r\n",
            "Authorization: Basic YTpi\r\n",
        ] {
            let answer = guarded.ask(method, path, line);
            assert_eq!(answer.status, 401, "{method} {path} {line}");
            assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer realm="));
        }
    }
}

#[test]
fn each_surface_refuses_in_its_own_words() {
    let guarded = Guarded::new();
    let bodies = |method: &str, path: &str| -> [Value; 2] {
        [guarded.ask(method, path, ""), guarded.ask_as("metrics", method, path)].map(|answer| answer.json())
    };
    let said = |text: &Value| text.as_str().is_some_and(|text| !text.is_empty());
    let [unknown, short] = bodies("GET", "/v1/models");
    assert_eq!(unknown["error"]["code"], "invalid_api_key");
    assert_eq!(short["error"]["code"], "missing_scope");
    assert!(said(&unknown["error"]["message"]) && said(&short["error"]["message"]));
    for body in bodies("POST", "/embed") {
        assert!(said(&body["error"]) && body["error_type"] == "Validation", "{body}");
    }
    for body in bodies("POST", "/v2/models/pictures/infer") {
        assert!(said(&body["error"]) && body.as_object().unwrap().len() == 1, "{body}");
    }
    assert_eq!(guarded.ask("GET", "/api/v1/status", "").problem(), "unauthorized");
    assert_eq!(
        guarded.ask_as("metrics", "GET", "/api/v1/status").problem(),
        "missing-scope"
    );
}

#[test]
fn probes_the_page_and_the_description_are_open_and_say_nothing_of_what_is_held() {
    let guarded = Guarded::new();
    for path in [
        "/livez",
        "/readyz",
        "/",
        "/dashboard/dashboard.js",
        "/dashboard.css",
        "/openapi.json",
        "/v2/health/live",
    ] {
        assert_eq!(guarded.ask("GET", path, "").status, 200, "{path}");
    }
    assert_ne!(guarded.ask("GET", "/health", "").status, 401);
    assert_eq!(guarded.ask("POST", "/", "").status, 401);
    for path in ["/nowhere", "/api/v1/samples/1", "/api/v1/events"] {
        assert_eq!(guarded.ask("GET", path, "").status, 401, "{path}");
    }
}

#[test]
fn a_key_in_the_headers_of_other_servers_clients_is_taken_and_two_are_not() {
    let guarded = Guarded::new();
    let key = guarded.secret("reader");
    for line in [
        format!("X-Api-Key: {key}\r\n"),
        format!("api-key: {key}\r\n"),
        format!("authorization: bearer {key}\r\n"),
    ] {
        assert_eq!(guarded.ask("GET", "/api/v1/status", &line).status, 200, "{line}");
    }
    let twice = format!("X-Api-Key: {key}\r\nAuthorization: Bearer {key}\r\n");
    assert_eq!(guarded.ask("GET", "/api/v1/status", &twice).status, 401);
    assert_eq!(guarded.ask("GET", &format!("/api/v1/status?key={key}"), "").status, 401);
}

#[test]
fn a_refused_request_is_refused_before_its_body_is_read() {
    let guarded = Guarded::new();
    // Told, never sent: the refusal must not wait for it.
    let head = post_head("/api/v1/embed", "application/json", 1 << 20);
    assert_eq!(guarded.site.send(&head, b"").problem(), "unauthorized");
}

#[test]
fn without_keys_all_is_answered_but_what_changes_the_daemons_state() {
    let site = Site::new();
    assert_eq!(site.get("/api/v1/status").status, 200);
    assert_eq!(site.get("/metrics").status, 200);
    let asked = json!({ "all": true });
    for path in ["/api/v1/quarantine/retry", "/api/v1/quarantine/drop"] {
        let refused = site.post(path, &asked);
        assert_eq!(refused.problem(), "missing-scope");
        assert!(
            refused.json()["hint"].as_str().unwrap().contains("unix:"),
            "{refused:?}"
        );
        assert_eq!(site.post_as_admin(path, &asked).status, 200, "{path}");
    }
}

#[test]
fn over_the_socket_everything_is_answered_without_a_key_and_at_the_limit_too() {
    let guarded = Guarded::new();
    let _all = guarded.site.state.requests.try_acquire_many(256).unwrap();
    for (method, path, _) in ROUTES {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
        );
        let answer = guarded.site.send_over_socket(&head, b"{}");
        let is_refused = String::from_utf8_lossy(&answer.body).contains("server.concurrency_max");
        assert!(
            ![401, 403].contains(&answer.status) && !is_refused,
            "{path}: {answer:?}"
        );
    }
    assert_eq!(guarded.ask_as("admin", "GET", "/api/v1/status").problem(), "overloaded");
}

#[test]
fn keys_that_are_gone_open_nothing() {
    let guarded = Guarded::new();
    assert_eq!(guarded.ask_as("reader", "GET", "/api/v1/status").status, 200);
    guarded.site.state.let_in(Keys::default());
    assert_eq!(guarded.ask_as("reader", "GET", "/api/v1/status").status, 401);
    assert_eq!(guarded.ask_as("admin", "GET", "/api/v1/status").status, 401);
}

#[test]
fn events_are_told_no_more_once_other_keys_hold() {
    let guarded = Guarded::new();
    let mut stream = guarded.site.connect();
    let key = guarded.secret("reader");
    let head = format!("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let followers = || guarded.site.state.events.receiver_count();
    wait_until("the follower", || followers() == 1);
    let same = guarded.site.state.keys.load_full().unwrap();
    guarded.site.state.let_in(Keys::clone(&same));
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(followers(), 1, "the same keys ended it");
    guarded.site.state.let_in(Keys::default());
    wait_until("the end of the events", || followers() == 0);
}

#[test]
fn other_hosts_are_answered_where_the_configuration_names_them() {
    let config = ServerConfig {
        hosts: vec!["curiod.lan".to_owned()],
        ..ServerConfig::default()
    };
    let site = Site::with(config, ReplayConfig::default());
    let ask = |headers: &str| {
        let head = format!("GET /api/v1/status HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
        site.send(&head, b"")
    };
    assert_eq!(ask("Host: curiod.lan:8642\r\n").status, 200);
    assert_eq!(ask("Host: curiod.lan\r\nOrigin: https://curiod.lan\r\n").status, 200);
    assert_eq!(
        ask("Host: curiod.lan\r\nOrigin: https://evil.lan\r\n").problem(),
        "foreign-origin"
    );
    assert_eq!(ask("Host: evil.lan\r\n").problem(), "misdirected-request");
}

#[test]
fn every_answer_forbids_to_sniff_frame_and_share_it() {
    let guarded = Guarded::new();
    let answers = [
        guarded.ask("GET", "/", ""),
        guarded.ask("GET", "/livez", ""),
        guarded.ask("GET", "/api/v1/status", ""),
        guarded.ask_as("reader", "GET", "/api/v1/status"),
        guarded.ask_as("reader", "GET", "/nowhere"),
        guarded.ask_as("reader", "DELETE", "/api/v1/status"),
        guarded.ask("GET", "/v1/models", "Origin: https://evil.example\r\n"),
    ];
    for answer in answers {
        let policy = answer.header("content-security-policy").unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
        assert!(
            !answer.head.to_ascii_lowercase().contains("access-control-"),
            "{}",
            answer.head
        );
    }
}

#[test]
fn the_page_keeps_its_key_in_its_tab_alone() {
    let site = Site::new();
    let text = |path: &str| String::from_utf8(site.get(path).body).unwrap();
    let page = text("/");
    assert!(
        page.contains("id=\"key-form\"") && page.contains("type=\"password\""),
        "{page}"
    );
    let scripts = [
        "dashboard",
        "page",
        "api",
        "elements",
        "stream",
        "pictures",
        "lists",
        "events",
    ];
    let scripts = scripts.map(|name| text(&format!("/dashboard/{name}.js"))).concat();
    assert!(scripts.contains("sessionStorage"));
    for elsewhere in ["localStorage", "document.cookie", "indexedDB", "new EventSource"] {
        assert!(!scripts.contains(elsewhere), "the page uses {elsewhere}");
    }
}
