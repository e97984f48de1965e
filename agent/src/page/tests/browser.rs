//! The page in a real browser.

use super::server::Server;
use super::synthetic::store;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use tests::browser::Browser;

const WIDTH: u32 = 1440;
const HEIGHT: u32 = 900;

/// Intervals over the last `minutes`, the latest still going on; seconds since 1970.
fn up_to_now(minutes: i64) -> Vec<i64> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    (1..=minutes * 4)
        .rev()
        .map(|back| now - 15 * back)
        .collect()
}

fn browser(test: &str) -> Option<Browser> {
    if Browser::installed().is_none() {
        eprintln!("SKIPPED: {test}: no chromium is installed");
        return None;
    }
    Some(Browser::start(WIDTH, HEIGHT).unwrap())
}

#[test]
fn shots() {
    let Some(mut browser) = browser("shots") else {
        return;
    };
    let server = Server::start(store(&up_to_now(40)));
    browser
        .open(&format!("http://{}/", server.address))
        .unwrap();
    browser
        .wait_for("document.querySelectorAll('#owners li').length > 2")
        .unwrap();
    let [x, y, width, _] = browser.bounds("#flamegraph").unwrap();
    browser.hover(x + width * 0.5, y + 90.0).unwrap();
    browser
        .screenshot(Path::new("/tmp/shot-light.png"))
        .unwrap();
    browser.prefer("dark").unwrap();
    browser.hover(x + width * 0.5, y + 95.0).unwrap();
    browser.key("/").unwrap();
    browser.type_text("serde|tcp").unwrap();
    browser
        .wait_for("document.querySelector('#matched').innerText")
        .unwrap();
    browser.screenshot(Path::new("/tmp/shot-dark.png")).unwrap();
    eprintln!("{:#?}", browser.seen());
}
