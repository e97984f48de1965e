//! The page in a real browser, as a person uses it.

use super::server::Server;
use super::synthetic::{self, TICK, owner, store};
use crate::profile::Profiles;
use crate::store::{DEFAULT_BUDGET, Store, Stretch};
use pprof_proto::encode::decode;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tests::browser::Browser;

const WIDTH: u32 = 1440;
const HEIGHT: u32 = 900;
/// Height of a frame, pixels.
const ROW: f64 = 20.0;

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64
}

/// Intervals over the last `minutes`; seconds since 1970.
fn up_to_now(minutes: i64) -> Vec<i64> {
    let now = now();
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

fn open(browser: &mut Browser, server: &Server, hash: &str) {
    browser
        .open(&format!("http://{}/{hash}", server.address))
        .unwrap();
    shown(browser, "total");
}

/// Waits until the flame graph is headed by `text`.
fn shown(browser: &mut Browser, text: &str) {
    browser
        .wait_for(&format!(
            "document.querySelector('#crumbs').innerText.includes('{text}')"
        ))
        .unwrap();
}

fn hash(browser: &mut Browser) -> String {
    let hash = browser.evaluate("location.hash").unwrap();
    hash.as_str().unwrap().to_owned()
}

/// Nothing was fetched from elsewhere, nothing blocked by the policy, nothing said on the console.
fn behaved(browser: &mut Browser, server: &Server) {
    let seen = browser.seen();
    let own = format!("http://{}/", server.address);
    assert!(!seen.requests.is_empty());
    for request in &seen.requests {
        let blob = request.starts_with(&format!("blob:{own}"));
        assert!(
            request.starts_with(&own) || blob || request == "about:blank",
            "{request}"
        );
    }
    assert_eq!(seen.complaints, Vec::<String>::new());
}

/// Drawn from the data: hovering tells numbers worked out by hand, a click zooms, Escape and breadcrumbs lead back.
#[test]
fn hover_and_zoom() {
    let Some(mut browser) = browser("hover_and_zoom") else {
        return;
    };
    let server = Server::start(store(&up_to_now(40)));
    open(&mut browser, &server, "");
    let colors = "(() => { const c = document.querySelector('#flamegraph'); \
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; \
        const all = new Set(); for (let i = 0; i < d.length; i += 4) all.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]); \
        return all.size; })()";
    assert!(browser.evaluate(colors).unwrap().as_u64().unwrap() > 20);

    let [x, y, width, _] = browser.bounds("#flamegraph").unwrap();
    let middle = x + width / 2.0;
    browser.hover(middle, y + ROW * 1.5).unwrap();
    let told = browser.text("#tooltip").unwrap();
    // 655 of the 1107 ticks of an interval are below checkout's `_start`.
    for part in ["_start", "self", "0 s", "total", "59.2 %", "/usr/bin/app"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    browser.hover(middle, y + ROW * 2.5).unwrap();
    let told = browser.text("#tooltip").unwrap();
    assert!(
        told.contains("main") && told.contains("src/main.rs:41"),
        "{told}"
    );

    browser.click(middle, y + ROW * 1.5).unwrap();
    shown(&mut browser, "_start");
    assert!(hash(&mut browser).contains("zoom="));
    browser
        .wait_for("document.querySelector('#focused').innerText.startsWith('_start')")
        .unwrap();
    // Zoomed in, checkout's main is as wide as the graph.
    let reaches = Instant::now() + Duration::from_secs(30);
    loop {
        browser.hover(x + width - 5.0, y + ROW * 2.5).unwrap();
        let told = browser.text("#tooltip").unwrap();
        if told.contains("src/main.rs:41") && told.contains("of the zoomed") {
            break;
        }
        assert!(Instant::now() < reaches, "{told}");
    }
    browser.key("Escape").unwrap();
    browser
        .wait_for("!document.querySelector('#crumbs').innerText.includes('_start')")
        .unwrap();
    assert!(!hash(&mut browser).contains("zoom="));
    behaved(&mut browser, &server);
}

/// Arrow keys walk the tree and the focused function is said in words; Enter zooms; the other direction is one click.
#[test]
fn keyboard() {
    let Some(mut browser) = browser("keyboard") else {
        return;
    };
    let server = Server::start(store(&up_to_now(40)));
    open(&mut browser, &server, "");
    browser
        .evaluate("document.querySelector('#flamegraph').focus()")
        .unwrap();
    for key in ["ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown"] {
        browser.key(key).unwrap();
    }
    let focused = browser.text("#focused").unwrap();
    assert!(focused.starts_with("tokio::"), "{focused}");
    browser.key("ArrowUp").unwrap();
    browser.key("ArrowUp").unwrap();
    browser.key("ArrowRight").unwrap();
    let focused = browser.text("#focused").unwrap();
    // nginx's 95 ticks of 1107.
    assert!(
        focused.starts_with("main") && focused.contains("8.58 %"),
        "{focused}"
    );
    browser.key("Enter").unwrap();
    shown(&mut browser, "main");
    browser.click_on("#flame").unwrap();
    assert!(hash(&mut browser).contains("flame=1"));
    browser.click_on("#reset").unwrap();
    browser.wait_for("!location.hash.includes('zoom')").unwrap();
    behaved(&mut browser, &server);
}

/// The share of matching time, each stack once however often it matches; what is no regular expression is itself.
#[test]
fn search() {
    let Some(mut browser) = browser("search") else {
        return;
    };
    let server = Server::start(store(&up_to_now(40)));
    open(&mut browser, &server, "");
    let mut matched = |text: &str, share: &str| {
        browser.key("/").unwrap();
        browser.type_text(text).unwrap();
        browser
            .wait_for(&format!(
                "document.querySelector('#matched').innerText === '{share} matched'"
            ))
            .unwrap();
        browser.key("Escape").unwrap();
        browser
            .wait_for("document.querySelector('#matched').innerText === ''")
            .unwrap();
    };
    // Of 1107 ticks: 225 below serde_json (in 225, twice in 95), 310 with a kernel frame or below one, 1107 all.
    matched("serde_json", "20.3 %");
    matched("^SERDE_JSON::ser::", "20.3 %");
    matched("_\\[k\\]$", "19.4 %");
    matched("libz", "3.16 %");
    matched("checked_mul(", "0 %");
    matched("Vec<u8> as", "11.7 %");
    behaved(&mut browser, &server);
}

/// One owner, then an earlier time by dragging over the chart, change what is drawn; the address keeps it for others.
#[test]
fn owner_and_time() {
    let Some(mut browser) = browser("owner_and_time") else {
        return;
    };
    let server = Server::start(store(&up_to_now(40)));
    open(&mut browser, &server, "");
    let names = browser
        .evaluate("[...document.querySelectorAll('#owners .name')].map((e) => e.textContent)")
        .unwrap();
    assert_eq!(names[1], "checkout");
    assert_eq!(names[5], synthetic::HOSTILE);
    let all = browser.text("#crumbs").unwrap();
    browser.click_on("#owners li:nth-child(3) button").unwrap();
    browser
        .wait_for(&format!(
            "document.querySelector('#crumbs').innerText !== '{all}'"
        ))
        .unwrap();
    assert!(hash(&mut browser).contains("owner="));
    let [x, y, _, _] = browser.bounds("#flamegraph").unwrap();
    browser.hover(x + 300.0, y + ROW * 2.5).unwrap();
    assert!(browser.text("#tooltip").unwrap().contains("PostmasterMain"));

    // In the first half of these 40 minutes only checkout ran.
    let [x, y, width, height] = browser.bounds("#timeline").unwrap();
    let minutes_ago = |minutes: f64| x + width * (1.0 - minutes / 60.0);
    let at = y + height / 2.0;
    browser
        .drag((minutes_ago(38.0), at), (minutes_ago(30.0), at))
        .unwrap();
    browser
        .wait_for("document.querySelector('#empty').hidden === false")
        .unwrap();
    assert!(browser.text("#empty").unwrap().contains("No CPU time here"));
    browser.click_on("#owners li:nth-child(1) button").unwrap();
    browser
        .wait_for("document.querySelector('#empty').hidden === true")
        .unwrap();
    let owners = "document.querySelectorAll('#owners .name').length";
    browser.wait_for(&format!("{owners} === 2")).unwrap();
    // 32 or 33 intervals of 680 ticks in 8 minutes and what a drag cuts on both sides.
    let samples = browser.text("#samples").unwrap().replace(',', "");
    let intervals = samples.parse::<i64>().unwrap() / 680;
    assert!((32..=34).contains(&intervals), "{samples}");

    let link = hash(&mut browser);
    assert!(link.contains("from=") && link.contains("to="));
    browser.open("about:blank").unwrap();
    open(&mut browser, &server, &link);
    assert_eq!(browser.text("#samples").unwrap().replace(',', ""), samples);
    assert_eq!(hash(&mut browser), link);
    browser.click_on("[data-live='3600']").unwrap();
    browser.wait_for(&format!("{owners} === 6")).unwrap();
    behaved(&mut browser, &server);
}

/// Names made to attack whoever looks at them are shown as what they are.
#[test]
fn hostile_names_are_text() {
    let Some(mut browser) = browser("hostile_names_are_text") else {
        return;
    };
    let server = Server::start(store(&up_to_now(40)));
    open(&mut browser, &server, "");
    browser.click_on("#owners li:nth-child(6) button").unwrap();
    browser
        .wait_for("location.hash.includes('owner=')")
        .unwrap();
    shown(&mut browser, "total 2."); // 19 or 20 intervals of 12 ticks
    let [x, y, width, _] = browser.bounds("#flamegraph").unwrap();
    browser.hover(x + width / 2.0, y + ROW * 1.5).unwrap();
    assert!(
        browser
            .text("#tooltip")
            .unwrap()
            .starts_with(synthetic::HOSTILE)
    );
    browser.click(x + width / 2.0, y + ROW * 2.5).unwrap();
    shown(&mut browser, "</script>");
    let images = browser
        .evaluate("document.querySelectorAll('img').length")
        .unwrap();
    assert_eq!(images, 1, "the page's own");
    behaved(&mut browser, &server);
}

/// Both buttons save a profile that is what was shown, or captured.
#[test]
fn downloads() {
    let Some(mut browser) = browser("downloads") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(store(&up_to_now(2)));
    browser.save_downloads_to(directory.path()).unwrap();
    open(&mut browser, &server, "");
    browser.click_on("#download").unwrap();
    let shown = saved(directory.path(), "thermograph-all-");
    let profile = decode(&std::fs::read(&shown).unwrap(), 1 << 20).unwrap();
    let sum: i64 = profile.sample.iter().map(|sample| sample.value[0]).sum();
    let all = 4 * synthetic::checkout_nanos() + 4 * synthetic::interval_nanos();
    assert_eq!(sum, all);
    std::fs::remove_file(shown).unwrap();

    browser.click_on("#record").unwrap();
    let captured = saved(directory.path(), "thermograph-all-1700000000");
    let profile = decode(&std::fs::read(captured).unwrap(), 1 << 20).unwrap();
    assert_eq!(profile.sample[0].value, [1000 * TICK]);
    browser
        .wait_for("document.querySelector('#notice').innerText.includes('1,000 samples, 3 lost')")
        .unwrap();
    behaved(&mut browser, &server);
}

fn saved(directory: &Path, begin: &str) -> PathBuf {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with(begin) && name.ends_with(".pb.gz") {
                return path;
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{begin}* was not saved");
}

/// Before the first window the page says what to wait for; what comes then appears by itself.
#[test]
fn empty_at_first() {
    let Some(mut browser) = browser("empty_at_first") else {
        return;
    };
    let server = Server::start(store(&[]));
    open(&mut browser, &server, "");
    let said = browser.text("#empty").unwrap();
    assert!(said.contains("Waiting for the first window"), "{said}");
    server.store.add_window(Stretch {
        start_unix_nanos: (now() - 5) * 1_000_000_000,
        duration: Duration::from_secs(5),
        lost: 0,
        profiles: Profiles::Encoded(store(&[now() - 5, now() - 5]).profiles(None, 0..i64::MAX)),
    });
    browser
        .wait_for("document.querySelector('#empty').hidden")
        .unwrap();
    behaved(&mut browser, &server);
}

/// Twenty thousand nodes, a thousand deep in one place, are drawn and searched; how fast is printed.
#[test]
fn large_graphs() {
    let Some(mut browser) = browser("large_graphs") else {
        return;
    };
    let start = now() - 30;
    let mut builder = synthetic::builder(start);
    let mut random = 1u32;
    let mut next = |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) % below
    };
    for stack in 0..3000 {
        let depth = if stack == 0 { 990 } else { 5 + next(30) };
        let frames: Vec<_> = (0..depth)
            .rev()
            .map(|level| {
                let choice = next(if level < 3 { 2 } else { 3 });
                let frame = format!("app!module::level{level}::function{choice}");
                synthetic::location(&mut builder, &frame)
            })
            .collect();
        builder.sample(&frames, &[TICK], &[]);
    }
    let large = synthetic::finished(owner("large"), start, builder);
    let host = Arc::new(Store::new(DEFAULT_BUDGET));
    host.add_window(Stretch {
        start_unix_nanos: start * 1_000_000_000,
        duration: Duration::from_secs(15),
        lost: 0,
        profiles: Profiles::Encoded(vec![large]),
    });
    let server = Server::start(host);
    let nodes = server.get("/api/flamegraph").json()["nodes"]
        .as_array()
        .unwrap()
        .len();
    assert!(nodes > 20_000, "{nodes}");
    open(&mut browser, &server, "");
    let spent = browser
        .evaluate(
            "(async () => { const view = document.querySelector('#search'); const times = []; \
             for (const text of ['level7', 'function1', '']) { const begin = performance.now(); view.value = text; \
             view.dispatchEvent(new Event('input')); times.push(performance.now() - begin); } return times; })()",
        )
        .unwrap();
    eprintln!("{nodes} nodes: search and draw took {spent} ms");
    behaved(&mut browser, &server);
}
