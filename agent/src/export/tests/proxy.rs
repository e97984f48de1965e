//! Proxies, which the environment names: in a process of its own, because it must not change under the other tests of this one.

use super::*;
use crate::export::client::PushClient;
use crate::export::retry::{Decision, decide};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

/// Tells the child process where to push to.
const CHILD_URL: &str = "THERMOGRAPH_TEST_PROXY_URL";

/// A proxy that tells the first line of each request. It opens tunnels to `target`, whatever it is asked for, and answers other requests as
/// a server would that stores.
fn proxy(target: Option<String>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut client = stream.unwrap();
            let mut request = BufReader::new(client.try_clone().unwrap());
            let mut line = String::new();
            request.read_line(&mut line).unwrap();
            let is_tunnel = line.starts_with("CONNECT ");
            sender.send(line).unwrap();
            let mut header = String::new();
            while request.read_line(&mut header).unwrap() > 2 {
                header.clear();
            }
            match &target {
                Some(target) if is_tunnel => {
                    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                    tunnel(client, TcpStream::connect(target).unwrap());
                }
                _ => client
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .unwrap(),
            }
        }
    });
    (format!("http://{address}"), lines)
}

fn tunnel(client: TcpStream, server: TcpStream) {
    for (mut from, mut to) in [
        (client.try_clone().unwrap(), server.try_clone().unwrap()),
        (server, client),
    ] {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
    }
}

/// Pushes to `url` from a process with this environment, and demands that it is stored.
fn push_with(environment: &[(&str, &str)], url: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        child.env_remove(name).env_remove(name.to_lowercase());
    }
    let output = child
        .args(["--exact", "export::tests::proxy::child", "--ignored"])
        .envs(environment.iter().copied())
        .env(CHILD_URL, url)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

/// The other process.
#[tokio::test]
#[ignore = "run by the tests below"]
async fn child() {
    let Ok(url) = std::env::var(CHILD_URL) else {
        return;
    };
    let client = PushClient::new(&config(&url)).unwrap();
    let outcome = client.push(Bytes::from_static(b"x")).await;
    assert_eq!(decide(&outcome, 1), Decision::Stored, "{outcome:?}");
}

/// http goes to the proxy as a whole, but for hosts that are excepted.
#[test]
fn http_proxies_are_used() {
    let (url, lines) = proxy(None);
    let path = "push.v1.PusherService/Push";
    for name in ["http_proxy", "HTTP_PROXY", "ALL_PROXY"] {
        push_with(&[(name, &url)], "http://pyroscope.invalid:4040");
        let line = lines.recv().unwrap();
        let expected = format!("POST http://pyroscope.invalid:4040/{path} HTTP/1.1");
        assert_eq!(line.trim_end(), expected);
    }
    let (server, direct) = proxy(None);
    let excepted = [("HTTP_PROXY", url.as_str()), ("NO_PROXY", "127.0.0.0/8")];
    push_with(&excepted, &server);
    assert_eq!(
        direct.recv().unwrap().trim_end(),
        format!("POST /{path} HTTP/1.1")
    );
    assert!(lines.try_recv().is_err());
}

/// https goes through a tunnel, so that the proxy sees nothing.
#[test]
fn https_goes_through_a_tunnel() {
    let directory = tempfile::tempdir().unwrap();
    let Some(()) = https::certificate(directory.path()) else {
        return;
    };
    let port = https::serve(directory.path(), None);
    let (url, lines) = proxy(Some(format!("127.0.0.1:{port}")));
    let roots = directory.path().join("cert.pem");
    let environment = [
        ("HTTPS_PROXY", url.as_str()),
        ("SSL_CERT_FILE", roots.to_str().unwrap()),
    ];
    push_with(&environment, "https://localhost:1");
    assert_eq!(
        lines.recv().unwrap().trim_end(),
        "CONNECT localhost:1 HTTP/1.1"
    );
}
