//! A running `thermograph agent`, and its page as a browser or `curl` asks it.

use crate::condition::wait_for;
use crate::http::{self, Reply};
use crate::stacks::Stacks;
use crate::thermograph::{Run, Running, binary};
use serde_json::Value;
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

impl Agent {
    /// Starts `thermograph agent ARGS` and waits until it says where its page is.
    pub fn start(args: &[&str]) -> Agent {
        let started = Instant::now();
        let running = Run::new(agent_arguments(args)).start();
        Agent::at(running, started)
    }

    /// The same by way of another program, which `command` is up to the agent's own command line.
    pub fn start_under(mut command: Command, args: &[&str]) -> Agent {
        let started = Instant::now();
        command.arg(binary());
        Agent::at(Run::under(command, agent_arguments(args)).start(), started)
    }

    /// The same for the life of this process: it ends with it, however that ends.
    pub fn start_for_good(args: &[&str]) -> Agent {
        // Its directory is removed at once.
        let arguments = agent_arguments(&[args, &["--spool-size", "0"]].concat());
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
        let (mut running, started) = receiver.recv().unwrap();
        running.remove_directory();
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
        http::get(&self.address, path)
    }

    /// Begins such a request, whose answer nobody reads.
    pub fn ask(&self, path: &str) -> TcpStream {
        http::ask(&self.address, path)
    }

    /// A reply in JSON.
    pub fn json(&self, path: &str) -> Value {
        self.get(path).json()
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

    /// The sum of the lines of `/metrics` that begin with `name`, whatever their labels are.
    pub fn metrics(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.get("/metrics").good()).unwrap();
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let is_it = rest.starts_with(['{', ' ']);
            is_it.then(|| rest.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        });
        values.sum()
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
