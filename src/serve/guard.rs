//! What every request passes before its route: who may ask, how many at once, how long; and what every answer bears.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::debug;

use super::AppState;
use super::admission::{self, OverSocket};
use super::problem::{Kind, Problem};
use super::surfaces::Surface;
use super::unread::Unread;

/// Headers of every answer: nothing of it may be framed, sniffed, or shown inside another site; pages load only what
/// comes from here. CORS headers are absent: pages of other sites can not read an answer.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// What stands for a path without a route.
pub(super) const NO_ROUTE: &str = "other";

/// What must answer when everything else is at its limit.
const PROBES: [&str; 6] = [
    "/livez",
    "/readyz",
    "/metrics",
    "/health",
    "/v2/health/live",
    "/v2/health/ready",
];

/// The outermost layer: measures, bounds, guards.
pub(super) async fn guard(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let surface = Surface::of(&method, request.uri().path());
    // A path is a label only where it is a route's: anything else would be as many labels as there are typing errors.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or(NO_ROUTE.to_owned(), |path| path.as_str().to_owned());
    let is_over_socket = request.extensions().get::<OverSocket>().is_some();
    let request = request.map(Unread::wrap);
    let refused = match refuse(&state, &request) {
        Some(problem) => Some(problem.into_response()),
        None => admission::refuse(&state, &method, &route, request.headers(), is_over_socket),
    };
    let mut response = match refused {
        Some(refusal) => refusal,
        None => admit(&state, request, next, is_over_socket).await,
    };
    // What axum itself says of a path that is no text.
    if response.status() == StatusCode::BAD_REQUEST && !is_problem(&response) {
        response = Problem::new(Kind::MalformedRequest, "the path can not be read").into_response();
    }
    if let Some(surface) = surface {
        surface.say(&mut response);
    }
    let took = started.elapsed();
    let status = response.status().as_u16();
    state.http_metrics.observe(&route, status, took);
    debug!(%method, route, status, took_ms = took.as_millis() as u64, "answered a request");
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

fn is_problem(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind == "application/problem+json")
}

/// Lets a request in where there is room. Probes and whoever comes over the admin socket find some always: what is at its limit
/// must be seen and mended.
async fn admit(state: &AppState, request: Request, next: Next, is_over_socket: bool) -> Response {
    let is_probe = is_over_socket || PROBES.contains(&request.uri().path());
    let _permit = match state.requests.try_acquire() {
        Ok(permit) => Some(permit),
        Err(_) if is_probe => None,
        Err(_) => {
            let detail = format!(
                "{} requests are being answered, as many as `server.concurrency_max` allows",
                state.config.concurrency_max
            );
            return Problem::new(Kind::Overloaded, detail).retry_after(1).into_response();
        }
    };
    let patience = Duration::from_secs(state.config.request_timeout_s);
    match tokio::time::timeout(patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            Kind::Timeout,
            format!("no answer within {} s (`server.request_timeout_s`)", patience.as_secs()),
        )
        .retry_after(5)
        .into_response(),
    }
}

/// A page of another site can make a browser send a request here, under a name of its own that resolves to this machine
/// (DNS rebinding) or straight to the address. The first shows in `Host`, the second in `Origin`.
fn refuse(state: &AppState, request: &Request) -> Option<Problem> {
    let host = match named_host(request.uri(), request.headers()) {
        Some(host) if is_ours(&host, state.bound, &state.config.hosts) => host,
        Some(host) => {
            let detail = format!(
                "this daemon answers for {} and for localhost, not for `{host}`",
                state.bound
            );
            let problem = Problem::new(Kind::MisdirectedRequest, detail);
            return Some(problem.hint("if that name is this daemon's, its administrator adds it to `server.hosts`"));
        }
        None => {
            return Some(Problem::new(
                Kind::MalformedRequest,
                "the request has no readable Host header",
            ));
        }
    };
    let origin = request.headers().get(header::ORIGIN)?;
    let from = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.parse::<Uri>().ok())
        .and_then(|origin| origin.authority().map(|authority| authority.as_str().to_owned()));
    if from.as_deref() == Some(&host) {
        return None;
    }
    let detail = format!("the page of {origin:?} may not ask {host}");
    Some(Problem::new(Kind::ForeignOrigin, detail).hint("ask from a program, or from this daemon's own page"))
}

fn named_host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    if let Some(authority) = uri.authority() {
        return Some(authority.as_str().to_owned());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().map(str::to_owned),
        _ => None,
    }
}

/// Whether a `Host` is this machine, the address that is listened on, or one of the names of `server.hosts`. Where every
/// address of the machine is listened on any address is: DNS rebinding needs a name.
fn is_ours(host: &str, bound: SocketAddr, hosts: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(address, _)| address),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    match name.parse::<IpAddr>() {
        Ok(address) => {
            let is_named = || hosts.iter().any(|host| host.parse() == Ok(address));
            address.is_loopback() || address == bound.ip() || bound.ip().is_unspecified() || is_named()
        }
        Err(_) => {
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            let is_named = || hosts.iter().any(|host| host.eq_ignore_ascii_case(&name));
            name == "localhost" || name.ends_with(".localhost") || is_named()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [&str; 6] = [
        "localhost",
        "LOCALHOST:8642",
        "127.0.0.1:1",
        "127.3.2.1",
        "[::1]:8642",
        "curiod.localhost",
    ];

    const FOREIGN: [&str; 6] = [
        "evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "",
        "[::2]:80",
        "127.0.0.1.evil.example",
    ];

    #[test]
    fn only_names_of_this_machine_are_ours() {
        let bound = SocketAddr::from(([127, 0, 0, 1], 8642));
        for ours in OURS {
            assert!(is_ours(ours, bound, &[]), "{ours} was refused");
        }
        for foreign in FOREIGN {
            assert!(!is_ours(foreign, bound, &[]), "{foreign} was taken");
        }
    }

    #[test]
    fn names_that_the_configuration_gives_are_ours_and_no_others() {
        let hosts = ["curiod.lan".to_owned(), "10.0.0.1".to_owned()];
        let bound = SocketAddr::from(([10, 0, 0, 7], 8642));
        for ours in ["curiod.lan", "CURIOD.lan.:443", "10.0.0.1:8642", "10.0.0.7:1"]
            .iter()
            .chain(&OURS)
        {
            assert!(is_ours(ours, bound, &hosts), "{ours} was refused");
        }
        for foreign in [
            "evil.example",
            "lan",
            "a.curiod.lan",
            "curiod.lan.evil.example",
            "10.0.0.2",
        ] {
            assert!(!is_ours(foreign, bound, &hosts), "{foreign} was taken");
        }
    }

    #[test]
    fn where_every_address_is_listened_on_each_is_ours_and_no_name_is() {
        let bound = SocketAddr::from(([0, 0, 0, 0], 8642));
        for ours in ["10.0.0.1:8642", "[2001:db8::1]:8642", "localhost"] {
            assert!(is_ours(ours, bound, &[]), "{ours} was refused");
        }
        for foreign in ["evil.example", "", "10.0.0.1.evil.example"] {
            assert!(!is_ours(foreign, bound, &[]), "{foreign} was taken");
        }
    }
}
