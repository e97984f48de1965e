//! The page's files, embedded in the binary.

use super::Shared;
use axum::Router;
use axum::http::header;
use axum::routing::get;
use std::sync::Arc;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const FILES: [(&str, &str, &str); 13] = [
    ("/", HTML, include_str!("assets/index.html")),
    ("/style.css", CSS, include_str!("assets/style.css")),
    ("/icon.svg", SVG, include_str!("assets/icon.svg")),
    ("/app.js", SCRIPT, include_str!("assets/app.js")),
    ("/api.js", SCRIPT, include_str!("assets/api.js")),
    ("/colors.js", SCRIPT, include_str!("assets/colors.js")),
    (
        "/flamegraph.js",
        SCRIPT,
        include_str!("assets/flamegraph.js"),
    ),
    ("/format.js", SCRIPT, include_str!("assets/format.js")),
    ("/graph.js", SCRIPT, include_str!("assets/graph.js")),
    ("/owners.js", SCRIPT, include_str!("assets/owners.js")),
    ("/state.js", SCRIPT, include_str!("assets/state.js")),
    ("/timeline.js", SCRIPT, include_str!("assets/timeline.js")),
    ("/tooltip.js", SCRIPT, include_str!("assets/tooltip.js")),
];

pub(super) fn routes() -> Router<Arc<Shared>> {
    FILES
        .into_iter()
        .fold(Router::new(), |router, (path, content_type, text)| {
            let file = move || async move { ([(header::CONTENT_TYPE, content_type)], text) };
            router.route(path, get(file))
        })
}
