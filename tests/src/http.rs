//! HTTP as far as the tests speak it: one request, on a connection of its own.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// What a server has answered.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Head, in lower case.
    pub head: String,
    /// Body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body of a reply that is no error.
    pub fn good(self) -> Vec<u8> {
        assert_eq!(self.status, 200, "{}", self.text());
        self.body
    }

    /// The same in JSON.
    pub fn json(self) -> Value {
        serde_json::from_slice(&self.good()).unwrap()
    }

    /// The body as text, whatever the status.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// `GET path` at `address`, host and port.
pub fn get(address: &str, path: &str) -> Reply {
    read(ask(address, path))
}

/// The same, without the answer.
pub fn ask(address: &str, path: &str) -> TcpStream {
    send(address, &format!("GET {path} HTTP/1.1\r\n"), b"")
}

/// `POST path` at `address` with a body in JSON.
pub fn post(address: &str, path: &str, body: &Value) -> Reply {
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n"
    );
    read(send(address, &head, body.as_bytes()))
}

fn send(address: &str, head: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("{head}host: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    stream
}

fn read(mut stream: TcpStream) -> Reply {
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let end = reply.windows(4).position(|at| at == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(reply[..end].to_vec())
        .unwrap()
        .to_lowercase();
    assert!(!head.contains("transfer-encoding"), "not read here: {head}");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply {
        status,
        head,
        body: reply[end + 4..].to_vec(),
    }
}

/// A server for the life of this process, which has the path of each request answered on a thread of its own. Returns its address, host
/// and port.
pub fn serve(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), Arc::clone(&answer));
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let first = lines.next().unwrap().unwrap();
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                answer(first.split(' ').nth(1).unwrap(), &mut stream);
            });
        }
    });
    address
}
