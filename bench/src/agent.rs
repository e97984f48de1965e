//! The agent while it is measured: asked over its page, as anybody would.

use crate::capture::Capture;
use crate::launched::Launched;
use anyhow::{Context, ensure};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The agent reads its counters once a second.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);
/// How long naming what was captured may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// Which binary, and the port that its page may take.
#[derive(Clone, Debug)]
pub(crate) struct Binary {
    pub(crate) program: PathBuf,
    pub(crate) port: u16,
}

/// An agent that is ready, pushing nowhere.
pub(crate) struct Agent {
    launched: Launched,
    port: u16,
}

impl Agent {
    /// Starts it at so many samples a second and CPU; `None` where there is no such binary.
    pub(crate) fn start(binary: &Binary, hertz: u32) -> anyhow::Result<Option<Agent>> {
        Agent::start_with(binary, hertz, |_, _| {})
    }

    /// The same with a directory of unwind tables of its own, in which there are none.
    pub(crate) fn start_afresh(binary: &Binary, hertz: u32) -> anyhow::Result<Option<Agent>> {
        Agent::start_with(binary, hertz, |command, files| {
            command.arg("--cache-dir").arg(files.join("tables"));
        })
    }

    /// The same as the first, pushing to `url`.
    pub(crate) fn start_pushing(
        binary: &Binary,
        hertz: u32,
        url: &str,
    ) -> anyhow::Result<Option<Agent>> {
        Agent::start_with(binary, hertz, |command, _| {
            command.args(["--pyroscope-url", url]);
        })
    }

    fn start_with(
        binary: &Binary,
        hertz: u32,
        change: impl FnOnce(&mut Command, &Path),
    ) -> anyhow::Result<Option<Agent>> {
        let port = binary.port;
        let launched = Launched::start(format!("thermograph agent, {hertz} Hz"), |files| {
            let mut command = Command::new(&binary.program);
            command
                .args(["agent", "--listen", &format!("127.0.0.1:{port}")])
                .args(["-F", &hertz.to_string(), "--data-dir"])
                .arg(files);
            change(&mut command, files);
            command
        })?;
        let Some(mut launched) = launched else {
            return Ok(None);
        };
        launched.wait_until_ready(|_| get(port, "/healthz").is_ok())?;
        Ok(Some(Agent { launched, port }))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.launched.pid()
    }

    /// Samples that it has counted until now. It reads its counters once a second, so this waits until it has done so
    /// again: two readings would else be off by a second of samples.
    pub(crate) fn samples_until_now(&self) -> anyhow::Result<u64> {
        let (begin, before) = (Instant::now(), self.samples()?);
        while begin.elapsed() < PUBLISHED_WITHIN {
            let now = self.samples()?;
            if now > before {
                return Ok(now);
            }
            std::thread::sleep(PAUSE);
        }
        // Nothing ran on the whole host meanwhile.
        Ok(before)
    }

    /// What it says of itself, in Prometheus's format.
    pub(crate) fn metrics(&self) -> anyhow::Result<String> {
        let metrics =
            get(self.port, "/metrics").context("the agent does not answer on its port")?;
        Ok(String::from_utf8_lossy(&metrics).into_owned())
    }

    /// Sum of a counter over its labels, by its name on /metrics.
    pub(crate) fn counter(&self, name: &str) -> anyhow::Result<f64> {
        let metrics = self.metrics()?;
        let values = metrics.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        Ok(values
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }

    /// The stacks of all processes for `seconds` from now on.
    pub(crate) fn capture(&self, seconds: u64) -> anyhow::Result<Capture> {
        let profile = get(self.port, &format!("/api/profile?seconds={seconds}"))
            .context("the agent captures nothing")?;
        Capture::read(&profile)
    }

    fn samples(&self) -> anyhow::Result<u64> {
        Ok(self.counter("thermograph_samples_total")? as u64)
    }
}

/// The body that 127.0.0.1:`port` answers a GET for `path` with; an error for any status but 200.
fn get(port: u16, path: &str) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let body = answer.split_off(end.context("an answer that is not HTTP")? + 4);
    let head = String::from_utf8_lossy(&answer);
    ensure!(
        head.split(' ').nth(1) == Some("200"),
        "{path} answered {}: {}",
        head.lines().next().unwrap_or_default(),
        String::from_utf8_lossy(&body)
    );
    Ok(body)
}
