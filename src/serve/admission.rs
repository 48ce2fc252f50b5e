//! Who may ask what: whoever comes over the admin socket may ask everything, others what the scopes of their key allow.
//! Invariant: a route that is not read only, and that no list here names, is an administrator's; where there are keys nothing but
//! what says no more than that a daemon is there is answered without one.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use tracing::info;

use super::AppState;
use super::guard::NO_ROUTE;
use super::problem::{Kind, Problem};
use crate::access::{self, KeyName, Scope};

/// A mark on requests that came over the admin socket, whose file's mode says who may.
#[derive(Clone, Copy, Debug)]
pub(super) struct OverSocket;

/// What is read without a key: whether the daemon is there and ready, what its API is, and the page, which asks for a key itself.
const OPEN: &[&str] = &[
    "/",
    "/dashboard/{script}",
    "/dashboard.css",
    "/livez",
    "/readyz",
    "/openapi.json",
    "/health",
    "/v2/health/live",
    "/v2/health/ready",
];

/// Questions: what is sent is looked at, and nothing is changed.
const QUESTIONS: &[&str] = &[
    "/",
    "/api/v1/embed",
    "/api/v1/search",
    "/api/v1/novelty",
    "/api/v1/novelty/series",
    "/api/v1/inpaint",
    "/api/v1/fill",
    "/api/v1/classify",
    "/api/v1/label-queue",
    "/v1/embeddings",
    "/embed",
    "/v2/models/{model}/infer",
    "/v2/models/{model}/versions/{version}/infer",
];

/// What teaches the daemon labels.
const LABELS: &[&str] = &["/api/v1/labels", "/api/v1/heads"];

/// Headers that hold a key alone, as clients of other servers send it.
const KEY_HEADERS: &[&str] = &["x-api-key", "api-key"];

/// The scope that a route asks for; none where it is open.
fn needed(method: &Method, route: &str) -> Option<Scope> {
    let is_read = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    match route {
        _ if is_read && OPEN.contains(&route) => None,
        "/metrics" => Some(Scope::Metrics),
        // Whoever may read is told that there is no such path.
        _ if is_read || route == NO_ROUTE || QUESTIONS.contains(&route) => Some(Scope::Read),
        _ if LABELS.contains(&route) => Some(Scope::Label),
        // It is told which methods there are; nothing is done.
        _ if !has_method(route, method) => Some(Scope::Read),
        // What changes the daemon's state, and whatever was forgotten in these lists.
        _ => Some(Scope::Admin),
    }
}

/// Whether a route has a method, as far as routes are known.
fn has_method(route: &str, method: &Method) -> bool {
    static METHODS: LazyLock<HashMap<&'static str, &'static [&'static str]>> = LazyLock::new(|| {
        super::routes()
            .into_iter()
            .map(|(path, methods, _)| (path, methods))
            .collect()
    });
    METHODS
        .get(route)
        .is_none_or(|methods| methods.iter().any(|known| method.as_str().eq_ignore_ascii_case(known)))
}

/// Refuses whoever may not ask this; `route` is the path with its parameters' names, or what stands for unknown ones.
pub(super) fn refuse(
    state: &AppState,
    method: &Method,
    route: &str,
    headers: &HeaderMap,
    is_over_socket: bool,
) -> Option<Response> {
    let scope = needed(method, route)?;
    if is_over_socket {
        tell_if_admin(scope, method, route, "the socket");
        return None;
    }
    let Some(keys) = state.keys.load_full() else {
        return (scope == Scope::Admin).then(|| without_keys().into_response());
    };
    let key = match presented(headers) {
        Ok(Some(presented)) => keys.find(presented),
        Ok(None) => return Some(unauthorized("this daemon answers whoever has a key", false)),
        Err(problem) => return Some(unauthorized(problem, true)),
    };
    match key {
        None => Some(unauthorized("this daemon does not know the key", true)),
        Some(key) if key.scopes.allow(scope) => {
            tell_if_admin(scope, method, route, &key.name.to_string());
            None
        }
        Some(key) => Some(forbidden(&key.name, scope)),
    }
}

fn tell_if_admin(scope: Scope, method: &Method, route: &str, by: &str) {
    if scope == Scope::Admin {
        info!(%method, route, by, "let an administrator's call through");
    }
}

/// The one key of a request.
fn presented(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    let bearers = headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .map(|value| value.to_str().ok().and_then(access::bearer));
    let alone = KEY_HEADERS
        .iter()
        .flat_map(|name| headers.get_all(*name))
        .map(|value| value.to_str().ok());
    let mut keys = bearers.chain(alone);
    match (keys.next(), keys.next()) {
        (None, _) => Ok(None),
        (Some(Some(key)), None) => Ok(Some(key)),
        (Some(None), None) => {
            Err("the request's key can not be read: `Authorization` holds `Bearer`, a space and the key")
        }
        (Some(_), Some(_)) => Err("the request has more than one key"),
    }
}

/// 401, and the header that says how to ask (RFC 6750, section 3).
fn unauthorized(detail: &str, was_presented: bool) -> Response {
    let problem = Problem::new(Kind::Unauthorized, detail).hint(
        "send `Authorization: Bearer KEY`; the command line takes --key-file or CURIOD_KEY_FILE, and `curiod keys new` makes keys",
    );
    let challenge = match was_presented {
        true => HeaderValue::from_static(r#"Bearer realm="curiod", error="invalid_token""#),
        false => HeaderValue::from_static(r#"Bearer realm="curiod""#),
    };
    challenged(problem, challenge)
}

/// 403 to a key without the scope.
fn forbidden(key: &KeyName, scope: Scope) -> Response {
    let problem = Problem::new(
        Kind::MissingScope,
        format!("the key `{key}` lacks the scope `{scope}`, which this asks for"),
    )
    .hint(match scope {
        Scope::Admin => "ask with a key that has it, or over the daemon's socket, as `curiod` does on its machine",
        _ => "ask with a key that has it; `curiod keys new` makes keys",
    });
    let challenge = format!(r#"Bearer realm="curiod", error="insufficient_scope", scope="{scope}""#);
    challenged(
        problem,
        HeaderValue::from_str(&challenge).unwrap_or(HeaderValue::from_static("Bearer")),
    )
}

/// 403 to an administrator's call where there are no keys: on a socket of the network nobody can be told from anybody.
fn without_keys() -> Problem {
    Problem::new(
        Kind::MissingScope,
        "this changes the daemon's state, and without keys only the daemon's socket takes it",
    )
    .hint("leave --url and CURIOD_URL out, so that `curiod` finds the socket, or name it: CURIOD_URL=unix:STATE/curiod.sock; or make an admin key (`curiod keys new`, server.keys_file)")
}

fn challenged(problem: Problem, challenge: HeaderValue) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::routes;

    /// What changes the daemon's state.
    const ADMIN: &[&str] = &[
        "/api/v1/quarantine/retry",
        "/api/v1/quarantine/drop",
        "/api/v1/models/{stream}/rollback",
        "/api/v1/models/{stream}/pin",
    ];

    #[test]
    fn every_route_that_is_not_read_only_says_its_scope_and_every_list_names_routes() {
        let routes = routes();
        let writes: Vec<&str> = [QUESTIONS, LABELS, ADMIN].concat();
        for (path, methods, _) in &routes {
            let is_read = methods.iter().all(|method| ["get", "head"].contains(method));
            assert!(
                is_read || writes.contains(path),
                "{path} is in no list: is it a question, or an administrator's?"
            );
        }
        for path in OPEN.iter().chain(&writes) {
            assert!(routes.iter().any(|(route, ..)| route == path), "{path} is no route");
        }
    }

    #[test]
    fn what_no_list_names_is_an_administrators_unless_it_is_read() {
        assert_eq!(needed(&Method::GET, "/livez"), None);
        assert_eq!(needed(&Method::HEAD, "/api/v1/status"), Some(Scope::Read));
        assert_eq!(needed(&Method::GET, "/metrics"), Some(Scope::Metrics));
        assert_eq!(needed(&Method::POST, "/"), Some(Scope::Read));
        assert_eq!(needed(&Method::GET, "/"), None);
        assert_eq!(needed(&Method::POST, NO_ROUTE), Some(Scope::Read));
        // Where there is no such method nothing can be changed by it.
        assert_eq!(needed(&Method::POST, "/livez"), Some(Scope::Read));
        assert_eq!(needed(&Method::DELETE, "/api/v1/status"), Some(Scope::Read));
        for (method, route) in [
            (Method::POST, "/api/v1/quarantine/drop"),
            (Method::POST, "/api/v1/models/{stream}/pin"),
            (Method::PUT, "/api/v1/a-route-to-come"),
        ] {
            assert_eq!(needed(&method, route), Some(Scope::Admin), "{method} {route}");
        }
    }

    #[test]
    fn a_key_is_taken_from_one_header_and_no_more() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            pairs
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
                .collect::<HeaderMap>()
        };
        for (pairs, key) in [
            (&[("authorization", "Bearer a")][..], Ok(Some("a"))),
            (&[("x-api-key", "a")], Ok(Some("a"))),
            (&[("api-key", "a")], Ok(Some("a"))),
            (&[("cookie", "key=a")], Ok(None)),
        ] {
            assert_eq!(presented(&headers(pairs)), key);
        }
        for pairs in [
            &[("authorization", "Basic YTpi")][..],
            &[("authorization", "Bearer a"), ("api-key", "a")],
            &[("x-api-key", "a"), ("api-key", "b")],
        ] {
            assert!(presented(&headers(pairs)).is_err(), "{pairs:?}");
        }
        let mut twice = headers(&[("authorization", "Bearer a")]);
        twice.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        assert!(presented(&twice).is_err());
    }
}
