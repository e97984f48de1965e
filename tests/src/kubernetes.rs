//! A stand-in of Kubernetes' API server, with a certificate of its own, and what a pod is given to reach it.

use crate::machine::skip;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// What the service account's token is.
pub const TOKEN: &str = "first";

/// How long a client may take to ask.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that lists pods, page by page, to whoever shows the token.
#[derive(Debug)]
pub struct ApiServer {
    port: u16,
    service_account: TempDir,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    pages: Vec<String>,
    /// Heads of the requests that came.
    requests: Mutex<Vec<String>>,
    ends: AtomicBool,
}

impl ApiServer {
    /// Starts one that answers `continue=N` with the N-th of `pages`, and what does not ask so with the first; none, with a line that says so,
    /// where there is no openssl to make a certificate.
    pub fn start(test: &str, pages: &[&str]) -> Option<ApiServer> {
        let directory = tempfile::tempdir().unwrap();
        let config = certificate(test, directory.path())?;
        fs::write(directory.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let listener = TcpListener::bind("localhost:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            pages: pages.iter().map(|page| (*page).to_owned()).collect(),
            requests: Mutex::default(),
            ends: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.ends.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                serving.answer(StreamOwned::new(session, stream));
            }
        });
        Some(ApiServer {
            port,
            service_account: directory,
            shared,
            thread: Some(thread),
        })
    }

    /// Its port on `localhost`, which its certificate is for.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Directory of `token` and `ca.crt`.
    pub fn service_account(&self) -> &Path {
        self.service_account.path()
    }

    /// Heads of the requests that came so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for ApiServer {
    /// Nobody listens there when this returns.
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("localhost", self.port));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn answer(&self, mut stream: StreamOwned<ServerConnection, TcpStream>) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read(&mut byte).unwrap_or(0) == 0 {
                return;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let (status, body) = self.reply(&head);
        self.requests.lock().unwrap().push(head);
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        // Whoever asked may be gone.
        let _ = stream.write_all((head + body).as_bytes());
        stream.conn.send_close_notify();
        let _ = stream.flush();
    }

    fn reply(&self, head: &str) -> (&str, &str) {
        if !head.starts_with("GET /api/v1/pods?") {
            return ("404 Not Found", "");
        }
        if !head.contains(&format!("authorization: Bearer {TOKEN}\r\n")) {
            return ("401 Unauthorized", "");
        }
        let after = head.split_once("continue=").map_or("0", |(_, after)| after);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let page = after[..digits].parse().ok();
        match page.and_then(|page: usize| self.pages.get(page)) {
            Some(page) => ("200 OK", page),
            None => ("410 Gone", ""),
        }
    }
}

/// Makes `ca.crt` in `directory`, and what a server needs to show it.
fn certificate(test: &str, directory: &Path) -> Option<Arc<ServerConfig>> {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext"])
        .args(["subjectAltName=DNS:localhost", "-addext"])
        .args(["basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "ca.crt"])
        .current_dir(directory)
        .output();
    let Ok(made) = made else {
        skip(test, "openssl is not installed");
        return None;
    };
    assert!(made.status.success(), "{made:?}");
    // An error means that another part of the process was first, with the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain = vec![CertificateDer::from_pem_file(directory.join("ca.crt")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(directory.join("key.pem")).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Some(Arc::new(config))
}
