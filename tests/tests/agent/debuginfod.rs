//! Debug files from a server.

use fixtures::Program;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use tests::agent::Agent;
use tests::condition::wait_for;
use tests::http::serve;
use tests::machine::{Machine, skipped};
use tests::stacks::Frame;

/// A stripped copy of a program while it runs, under a name of its own.
struct Stripped(Child);

impl Stripped {
    fn start(directory: &Path, program: Program, name: &str) -> Self {
        let stripped = directory.join(name);
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(&stripped).arg(program.path());
        assert!(strip.status().unwrap().success());
        Self(Command::new(stripped).arg("1000").spawn().unwrap())
    }

    fn frames(&self, agent: &Agent) -> Vec<Frame> {
        let path = format!("/api/profile?seconds=1&pid={}", self.0.id());
        let stacks = agent.stacks(&path).stacks.into_iter();
        stacks.flat_map(|stack| stack.frames).collect()
    }
}

impl Drop for Stripped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn agent(cache: &Path, server: &str) -> Agent {
    Agent::start(&[
        &format!("--cache-dir={}", cache.display()),
        &format!("--debuginfod-url=http://{server}"),
    ])
}

fn outcome(agent: &Agent, outcome: &str) -> f64 {
    agent.metric(&format!(
        "thermograph_debuginfod_files_total{{outcome=\"{outcome}\"}}"
    ))
}

fn is_named(frames: &[Frame]) -> bool {
    let is_hot =
        |frame: &Frame| frame.name == "hot_a" && frame.line > 0 && frame.file.ends_with("shares.c");
    frames.iter().any(is_hot)
}

/// A stripped program gets functions and lines from the server that has its debug file, and the next start of the agent has them from its
/// own disk. What the server does not have stays as it was.
#[test]
fn a_stripped_program_gets_its_names() {
    if skipped("a_stripped_program_gets_its_names") {
        return;
    }
    let _machine = Machine::alone();
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    let image = fs::read(Program::SharesC.path()).unwrap();
    let build_id: String = {
        use object::Object;
        let file = object::File::parse(&*image).unwrap();
        let id = file.build_id().unwrap().unwrap();
        id.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let wanted = format!("/buildid/{build_id}/debuginfo");
    let image = Arc::new(image);
    let server = serve(move |path, stream| {
        let (status, body) = match path == wanted {
            true => ("200 OK", &image[..]),
            false => ("404 Not Found", &b"not found"[..]),
        };
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
    });
    let program = Stripped::start(directory.path(), Program::SharesC, "stripped");
    let _other = Stripped::start(directory.path(), Program::SharesCpp, "other");
    let running = agent(&cache, &server);
    wait_for("names by the server's file", || {
        is_named(&program.frames(&running)).then_some(())
    });
    assert_eq!(outcome(&running, "found"), 1.0);
    wait_for("a file that the server lacks", || {
        (outcome(&running, "missing") > 0.0).then_some(())
    });
    assert_eq!(outcome(&running, "refused"), 0.0);
    drop(running);
    let dead = serve(|_, _| {});
    let running = agent(&cache, &dead);
    assert!(is_named(&program.frames(&running)));
    assert_eq!(outcome(&running, "found"), 0.0);
}

/// A server that hangs costs names that are not there anyway, and one that lies is not believed.
#[test]
fn servers_that_hang_or_lie_cost_nothing() {
    if skipped("servers_that_hang_or_lie_cost_nothing") {
        return;
    }
    let _machine = Machine::alone();
    let directory = tempfile::tempdir().unwrap();
    let program = Stripped::start(directory.path(), Program::SharesC, "stripped");
    let other = fs::read(Program::SharesCpp.path()).unwrap();
    let lies = serve(move |_, stream| {
        let _ = stream.write_all(&[b"HTTP/1.1 200 OK\r\n\r\n", &other[..]].concat());
    });
    let hangs = serve(|_, _| std::thread::park());
    for (server, is_refused) in [(&hangs, false), (&lies, true)] {
        let cache = directory.path().join(server.replace(':', "-"));
        let agent = agent(&cache, server);
        let frames = program.frames(&agent);
        assert!(
            frames
                .iter()
                .any(|frame| frame.name.starts_with("stripped+0x"))
        );
        if is_refused {
            wait_for("a refusal", || {
                program.frames(&agent);
                (outcome(&agent, "refused") > 0.0).then_some(())
            });
        } else {
            program.frames(&agent);
        }
        let frames = program.frames(&agent);
        assert!(
            frames
                .iter()
                .any(|frame| frame.name.starts_with("stripped+0x"))
        );
        assert!(!frames.iter().any(|frame| frame.name == "hot_a"));
        for reason in ["hung", "died", "lied", "not_started"] {
            let name = format!("thermograph_workers_failed_total{{reason=\"{reason}\"}}");
            assert_eq!(agent.metric(&name), 0.0, "{reason}");
        }
    }
}
