//! `/`: the dashboard, a page that reads nothing but the public API.

use axum::extract::Path;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::problem::{Kind, Problem};

/// The modules of the page's script.
const SCRIPTS: [(&str, &str); 8] = [
    ("dashboard.js", include_str!("dashboard/dashboard.js")),
    ("page.js", include_str!("dashboard/page.js")),
    ("api.js", include_str!("dashboard/api.js")),
    ("elements.js", include_str!("dashboard/elements.js")),
    ("stream.js", include_str!("dashboard/stream.js")),
    ("pictures.js", include_str!("dashboard/pictures.js")),
    ("lists.js", include_str!("dashboard/lists.js")),
    ("events.js", include_str!("dashboard/events.js")),
];

/// `GET /`.
pub(super) async fn page() -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/html; charset=utf-8")],
        include_str!("dashboard/index.html"),
    )
}

/// `GET /dashboard/{script}`.
pub(super) async fn script(Path(name): Path<String>) -> Result<impl IntoResponse, Problem> {
    let found = SCRIPTS.iter().find(|(script, _)| *script == name);
    let (_, text) = found.ok_or_else(|| Problem::new(Kind::NotFound, format!("the page has no script `{name}`")))?;
    Ok(([(CONTENT_TYPE, "text/javascript; charset=utf-8")], *text))
}

/// `GET /dashboard.css`.
pub(super) async fn style() -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/css; charset=utf-8")],
        include_str!("dashboard/dashboard.css"),
    )
}
