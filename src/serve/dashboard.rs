//! `/`: the dashboard, a page that reads nothing but the public API.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

/// `GET /`.
pub(super) async fn page() -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/html; charset=utf-8")],
        include_str!("dashboard/index.html"),
    )
}

/// `GET /dashboard.js`.
pub(super) async fn script() -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/javascript; charset=utf-8")],
        include_str!("dashboard/dashboard.js"),
    )
}

/// `GET /dashboard.css`.
pub(super) async fn style() -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/css; charset=utf-8")],
        include_str!("dashboard/dashboard.css"),
    )
}
