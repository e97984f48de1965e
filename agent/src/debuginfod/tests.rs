//! Servers of each kind, from one that has the file to those that hang or send without end.

use super::*;
use ::tests::condition::wait_for;
use ::tests::http::serve;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

const ELF: &[u8] = b"\x7fELF, or so it says";
const LIMITS: Limits = Limits {
    at_a_time: 2,
    bytes: 1 << 20,
    connect: Duration::from_secs(10),
    silence: Duration::from_millis(200),
    all: Duration::from_secs(10),
};

fn id(text: &str) -> Arc<str> {
    text.into()
}

struct Scene {
    directory: TempDir,
    metrics: DebuginfodMetrics,
    debuginfod: Debuginfod,
}

impl Scene {
    /// With servers of these addresses.
    fn new(addresses: &[&str]) -> Self {
        Self::again(tempfile::tempdir().unwrap(), addresses)
    }

    /// Another start of the agent.
    fn again(directory: TempDir, addresses: &[&str]) -> Self {
        let url = |address: &&str| Url::parse(&format!("http://{address}/at/")).unwrap();
        let servers: Vec<Url> = addresses.iter().map(url).collect();
        let metrics = DebuginfodMetrics::default();
        let path = directory.path().join("debug");
        let debuginfod = Debuginfod::with(&servers, &path, metrics.clone(), LIMITS).unwrap();
        Self {
            directory,
            metrics,
            debuginfod,
        }
    }

    /// Wants a file until one more ended so.
    fn ends(&self, build_id: &str, outcome: Outcome) {
        let before = self.metrics.of(outcome);
        assert!(self.file(build_id).is_none());
        self.debuginfod.want(&id(build_id));
        wait_for("the end of a fetch", || {
            (self.metrics.of(outcome) > before).then_some(())
        });
    }

    fn file(&self, build_id: &str) -> Option<Vec<u8>> {
        let mut file = self.debuginfod.shelf.file(&id(build_id))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    /// What is on disk, by name, in bytes.
    fn on_disk(&self) -> Vec<(String, u64)> {
        let files = std::fs::read_dir(self.directory.path().join("debug")).unwrap();
        let files = files.map(|file| {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            (name, file.metadata().unwrap().len())
        });
        files.collect()
    }
}

fn reply(stream: &mut TcpStream, status: &str, body: &[u8]) {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    // Who asked may have gone.
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
}

/// A server that has one file, and counts what it is asked.
fn one_file() -> (String, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let address = serve(move |path, stream| {
        count.fetch_add(1, Ordering::Relaxed);
        match path {
            "/at/buildid/aa01/debuginfo" => reply(stream, "200 OK", ELF),
            _ => reply(stream, "404 Not Found", b"not here"),
        }
    });
    (address, asked)
}

/// A file comes once, in a shape that the worker can open, and is there at the next start.
#[test]
fn a_file_comes_and_stays() {
    let (server, asked) = one_file();
    let scene = Scene::new(&[&server]);
    scene.ends("aa01", Outcome::Found);
    assert_eq!(scene.file("aa01").as_deref(), Some(ELF));
    assert_eq!(
        scene.on_disk(),
        [("aa01.debug".to_owned(), ELF.len() as u64)]
    );
    let path = scene.directory.path().join("debug/aa01.debug");
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    let scene = Scene::again(scene.directory, &[&server]);
    assert_eq!(scene.file("aa01").as_deref(), Some(ELF));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

/// What no server has is not asked for again, nor after the next start, for a day.
#[test]
fn what_is_missing_is_remembered_for_a_day() {
    let (server, asked) = one_file();
    let scene = Scene::new(&[&server]);
    scene.ends("bb01", Outcome::Missing);
    scene.debuginfod.want(&id("bb01"));
    let scene = Scene::again(scene.directory, &[&server]);
    assert!(scene.file("bb01").is_none());
    scene.debuginfod.want(&id("bb01"));
    // What is asked for later comes later.
    scene.ends("bb02", Outcome::Missing);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let marker = scene.directory.path().join("debug/bb01.debug");
    let age = SystemTime::now() - MISSING - Duration::from_secs(1);
    File::open(marker).unwrap().set_modified(age).unwrap();
    let scene = Scene::again(scene.directory, &[&server]);
    scene.ends("bb01", Outcome::Missing);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

/// A file that turns out not to be the right one is missing, and counted once.
#[test]
fn what_is_refused_is_missing() {
    let (server, asked) = one_file();
    let scene = Scene::new(&[&server]);
    scene.ends("aa01", Outcome::Found);
    for _ in 0..3 {
        scene.debuginfod.shelf.refuse(&id("aa01"));
    }
    scene.debuginfod.want(&id("aa01"));
    let scene = Scene::again(scene.directory, &[&server]);
    assert!(scene.file("aa01").is_none());
    scene.debuginfod.want(&id("aa01"));
    scene.ends("bb01", Outcome::Missing);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

/// Servers are asked in their order: what the first does not have comes from the next.
#[test]
fn another_server_has_it() {
    let (server, _) = one_file();
    let empty = serve(|_, stream| reply(stream, "404 Not Found", b""));
    let scene = Scene::new(&[&empty, &server]);
    scene.ends("aa01", Outcome::Found);
    scene.ends("bb01", Outcome::Missing);
}

/// A server that hangs, closes, or has trouble costs its own files, is left alone for a while, and says nothing about what it has.
#[test]
fn servers_that_fail_are_left_alone() {
    type Answer = fn(&mut TcpStream);
    let answers: [Answer; 4] = [
        |stream| {
            let _ = stream.read(&mut [0; 1]);
        },
        |_| {},
        |stream| reply(stream, "503 Service Unavailable", b""),
        |stream| {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n\x7fELF";
            stream.write_all(head).unwrap();
        },
    ];
    for answer in answers {
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let failing = serve(move |_, stream| {
            count.fetch_add(1, Ordering::Relaxed);
            answer(stream);
        });
        let (server, _) = one_file();
        let scene = Scene::new(&[&failing, &server]);
        scene.ends("bb01", Outcome::Failed);
        assert_eq!(scene.on_disk(), []);
        scene.ends("aa01", Outcome::Found);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}

/// What is no ELF file, or has no end, is not kept, and not asked for again.
#[test]
fn what_cannot_be_used_is_not_kept() {
    let server = serve(|path, stream| {
        if path.contains("dd01") {
            reply(stream, "200 OK", b"<html>Please log in</html>");
        } else if path.contains("dd02") {
            reply(stream, "200 OK", b"");
        } else if path.contains("dd03") {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n";
            let _ = stream.write_all(head.as_bytes());
        } else {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n\x7fELF");
            while stream.write_all(&[0; 65536]).is_ok() {}
        }
    });
    let scene = Scene::new(&[&server]);
    for build_id in ["dd01", "dd02", "dd03", "dd04"] {
        scene.ends(build_id, Outcome::Missing);
    }
    assert_eq!(scene.on_disk().len(), 4);
    assert!(scene.on_disk().iter().all(|(_, bytes)| *bytes == 0));
}
