//! A running `thermograph agent`, and its page as a browser or `curl` asks it.

use crate::condition::wait_for;
use crate::stacks::Stacks;
use crate::thermograph::{Run, Running, binary};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::mpsc;
use std::time::Instant;

/// An agent that listens on a port of its own; dropping this kills it.
#[derive(Debug)]
pub struct Agent {
    running: Running,
    address: String,
    started: Instant,
}

/// What the page has answered.
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
    /// The body, of a reply that is no error.
    pub fn good(self) -> Vec<u8> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.body
    }

    /// The body as text, whatever the status.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Agent {
    /// Starts `thermograph agent ARGS` and waits until it says where its page is.
    pub fn start(args: &[&str]) -> Agent {
        let started = Instant::now();
        let running = Run::new(agent_arguments(args)).start();
        Agent::at(running, started)
    }

    /// The same for the life of this process: it ends with it, however that ends.
    pub fn start_for_good(args: &[&str]) -> Agent {
        let arguments = agent_arguments(args);
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let started = Instant::now();
            let mut with_us = Command::new("setpriv");
            with_us.args(["--pdeathsig", "KILL"]).arg(binary());
            sender
                .send((Run::under(with_us, arguments).start(), started))
                .unwrap();
            // The kernel takes the thread that starts a process for its parent.
            loop {
                std::thread::park();
            }
        });
        let (running, started) = receiver.recv().unwrap();
        Agent::at(running, started)
    }

    fn at(running: Running, started: Instant) -> Agent {
        let address = wait_for("the agent says where its page is", || {
            let said = running.stderr();
            let line = said
                .lines()
                .find(|line| line.contains("flame graph is at http://"));
            line.and_then(|line| Some(line.rsplit_once("http://")?.1.to_owned()))
        });
        Agent {
            running,
            address,
            started,
        }
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Its process.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Gives its process away.
    pub fn into_running(self) -> Running {
        self.running
    }

    /// One GET request, on a connection of its own.
    pub fn get(&self, path: &str) -> Reply {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        let end = reply.windows(4).position(|at| at == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(reply[..end].to_vec())
            .unwrap()
            .to_lowercase();
        assert!(!head.contains("transfer-encoding"), "{head}");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply {
            status,
            head,
            body: reply[end + 4..].to_vec(),
        }
    }

    /// A reply in JSON.
    pub fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get(path).good()).unwrap()
    }

    /// A profile, which is held against the rules that a server has for it.
    pub fn stacks(&self, path: &str) -> Stacks {
        Stacks::read(&self.get(path).good())
    }

    /// The owners that have a label of this value.
    pub fn owners(&self, label: &str, value: &str) -> Vec<Value> {
        let owners = self.json("/api/owners");
        let of_value = |owner: &&Value| owner["labels"][label] == value;
        owners
            .as_array()
            .unwrap()
            .iter()
            .filter(of_value)
            .cloned()
            .collect()
    }

    /// The value of a line of `/metrics` that begins with `name`; with its labels, if it has any.
    pub fn metric(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.get("/metrics").good()).unwrap();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .parse()
            .unwrap()
    }
}

fn agent_arguments(args: &[&str]) -> Vec<String> {
    let all = ["agent", "--listen", "127.0.0.1:0"].iter().chain(args);
    all.map(|arg| (*arg).to_owned()).collect()
}
