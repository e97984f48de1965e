//! Drives a headless Chromium through its DevTools protocol, to see the page as a person does.
//!
//! The protocol goes over a pair of pipes (`--remote-debugging-pipe`: JSON messages, each ended by a NUL), which takes no
//! port and no WebSocket.

use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// For one answer. A browser on a busy machine takes its time, mostly to start.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
];

const FLAGS: [&str; 12] = [
    "--remote-debugging-pipe",
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
];

/// A browser with one tab. Ends when dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: String,
    last_id: u64,
    seen: Seen,
    // Removed after the browser that writes to it has ended.
    _profile: tempfile::TempDir,
}

/// What the tab did so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Addresses of all requests, in order.
    pub requests: Vec<String>,
    /// Errors and warnings of the console, exceptions, and what a policy blocked.
    pub complaints: Vec<String>,
}

impl Browser {
    /// Name of an installed browser, if there is one.
    pub fn installed() -> Option<&'static str> {
        let path = std::env::var_os("PATH")?;
        let directories: Vec<_> = std::env::split_paths(&path).collect();
        NAMES
            .into_iter()
            .find(|name| directories.iter().any(|path| path.join(name).is_file()))
    }

    /// Starts one with a window of this many pixels.
    pub fn start(width: u32, height: u32) -> anyhow::Result<Self> {
        let name = Self::installed().context("no chromium is installed")?;
        let profile = tempfile::tempdir()?;
        // The browser wants to read from descriptor 3 and write to 4; a shell moves them there.
        let mut child = Command::new("sh")
            .args([
                "-c",
                r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#,
                name,
            ])
            .args(FLAGS)
            .arg(format!("--window-size={width},{height}"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let to = child.stdin.take().context("no pipe to the browser")?;
        let output = child.stdout.take().context("no pipe from the browser")?;
        let (sender, from) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0) {
                let Ok(message) = message else { return };
                let Ok(value) = serde_json::from_slice(&message) else {
                    return;
                };
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            to,
            from,
            session: String::new(),
            last_id: 0,
            seen: Seen::default(),
            _profile: profile,
        };
        browser.attach(width, height)?;
        Ok(browser)
    }

    fn attach(&mut self, width: u32, height: u32) -> anyhow::Result<()> {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.call("Target.attachToTarget", attach)?;
        self.session = session["sessionId"]
            .as_str()
            .context("the browser gave no session")?
            .to_owned();
        for domain in ["Page", "Runtime", "Network", "Log"] {
            self.call(&format!("{domain}.enable"), json!({}))?;
        }
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size)?;
        Ok(())
    }

    /// Goes to `url` and waits until the page with its scripts is loaded.
    pub fn open(&mut self, url: &str) -> anyhow::Result<()> {
        let answer = self.call("Page.navigate", json!({"url": url}))?;
        if let Some(error) = answer["errorText"].as_str() {
            bail!("{url}: {error}");
        }
        self.wait_for("document.readyState === 'complete'")
    }

    /// Value of a JavaScript expression; of a promise, what it resolves to.
    pub fn evaluate(&mut self, expression: &str) -> anyhow::Result<Value> {
        let parameters = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
        });
        let mut answer = self.call("Runtime.evaluate", parameters)?;
        if let Some(exception) = answer.get("exceptionDetails") {
            bail!("{expression}: {exception}");
        }
        Ok(answer["result"]["value"].take())
    }

    /// Text of the element that `selector` finds first; empty if there is none.
    pub fn text(&mut self, selector: &str) -> anyhow::Result<String> {
        let selector = Value::from(selector);
        let text = self.evaluate(&format!(
            "document.querySelector({selector})?.innerText ?? ''"
        ))?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until a JavaScript expression is true.
    pub fn wait_for(&mut self, expression: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // While a page is exchanged for the next, there is nothing to evaluate in.
            let value = self.evaluate(&format!("Boolean({expression})"));
            if matches!(value, Ok(Value::Bool(true))) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "not true in time: {expression} ({value:?}); the page said: {:?}",
                    self.seen.complaints
                );
            }
            std::thread::sleep(POLL);
        }
    }

    /// Left upper corner and size of an element in the window, in pixels.
    pub fn bounds(&mut self, selector: &str) -> anyhow::Result<[f64; 4]> {
        let quoted = Value::from(selector);
        let value = self.evaluate(&format!(
            "(({{x, y, width, height}}) => [x, y, width, height])(document.querySelector({quoted}).getBoundingClientRect())"
        ))?;
        serde_json::from_value(value).with_context(|| format!("{selector} has no bounds"))
    }

    /// Moves the mouse there.
    pub fn hover(&mut self, x: f64, y: f64) -> anyhow::Result<()> {
        self.mouse("mouseMoved", x, y, 0)
    }

    /// Clicks there.
    pub fn click(&mut self, x: f64, y: f64) -> anyhow::Result<()> {
        self.drag((x, y), (x, y))
    }

    /// Clicks into the middle of an element.
    pub fn click_on(&mut self, selector: &str) -> anyhow::Result<()> {
        let [x, y, width, height] = self.bounds(selector)?;
        self.click(x + width / 2.0, y + height / 2.0)
    }

    /// Presses the mouse at one place and lets it go at another.
    pub fn drag(&mut self, from: (f64, f64), to: (f64, f64)) -> anyhow::Result<()> {
        self.mouse("mouseMoved", from.0, from.1, 0)?;
        self.mouse("mousePressed", from.0, from.1, 1)?;
        self.mouse("mouseMoved", to.0, to.1, 1)?;
        self.mouse("mouseReleased", to.0, to.1, 0)
    }

    fn mouse(&mut self, kind: &str, x: f64, y: f64, buttons: u32) -> anyhow::Result<()> {
        let button = if kind == "mouseMoved" && buttons == 0 {
            "none"
        } else {
            "left"
        };
        let event = json!({
            "type": kind, "x": x, "y": y, "button": button, "buttons": buttons, "clickCount": 1,
        });
        self.call("Input.dispatchMouseEvent", event)?;
        Ok(())
    }

    /// Presses a key by its DOM name, such as `Escape` or `/`.
    pub fn key(&mut self, key: &str) -> anyhow::Result<()> {
        let mut down = json!({"type": "keyDown", "key": key});
        if key.chars().count() == 1 {
            down["text"] = Value::from(key);
        }
        self.call("Input.dispatchKeyEvent", down)?;
        self.call(
            "Input.dispatchKeyEvent",
            json!({"type": "keyUp", "key": key}),
        )?;
        Ok(())
    }

    /// Types into what has the focus.
    pub fn type_text(&mut self, text: &str) -> anyhow::Result<()> {
        self.call("Input.insertText", json!({"text": text}))?;
        Ok(())
    }

    /// Shows the page as people see it who like it `light` or `dark`.
    pub fn prefer(&mut self, scheme: &str) -> anyhow::Result<()> {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}))?;
        Ok(())
    }

    /// Lets the page save files into `directory`.
    pub fn save_downloads_to(&mut self, directory: &Path) -> anyhow::Result<()> {
        let parameters = json!({"behavior": "allow", "downloadPath": directory});
        self.call("Browser.setDownloadBehavior", parameters)?;
        Ok(())
    }

    /// Writes what the window shows to `file`, as PNG.
    pub fn screenshot(&mut self, file: &Path) -> anyhow::Result<()> {
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"}))?;
        let data = shot["data"].as_str().context("no screenshot came")?;
        std::fs::write(file, BASE64_STANDARD.decode(data)?)?;
        Ok(())
    }

    /// What the tab did so far.
    pub fn seen(&mut self) -> Seen {
        while let Ok(message) = self.from.try_recv() {
            self.note(&message);
        }
        self.seen.clone()
    }

    fn call(&mut self, method: &str, parameters: Value) -> anyhow::Result<Value> {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = Value::from(self.session.as_str());
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        self.to.write_all(&bytes)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut answer = match self.from.recv_timeout(left) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Timeout) => bail!("{method}: no answer from the browser"),
                Err(RecvTimeoutError::Disconnected) => bail!("{method}: the browser has ended"),
            };
            if answer["id"] != self.last_id {
                self.note(&answer);
                continue;
            }
            if let Some(error) = answer.get("error") {
                bail!("{method}: {error}");
            }
            return Ok(answer["result"].take());
        }
    }

    fn note(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                if let Some(url) = parameters["request"]["url"].as_str() {
                    self.seen.requests.push(url.to_owned());
                }
            }
            Some("Runtime.exceptionThrown") => {
                self.seen.complaints.push(parameters.to_string());
            }
            Some("Runtime.consoleAPICalled")
                if matches!(
                    parameters["type"].as_str(),
                    Some("error" | "warning" | "assert")
                ) =>
            {
                self.seen.complaints.push(parameters["args"].to_string());
            }
            Some("Log.entryAdded")
                if matches!(
                    parameters["entry"]["level"].as_str(),
                    Some("error" | "warning")
                ) =>
            {
                self.seen.complaints.push(parameters["entry"].to_string());
            }
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its helpers end with it. It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
