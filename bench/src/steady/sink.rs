//! A server that takes what is pushed and forgets it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Listens until this process ends.
pub(super) struct Sink {
    address: SocketAddr,
    taken: Arc<Taken>,
}

#[derive(Default)]
struct Taken {
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Sink {
    pub(super) fn open() -> anyhow::Result<Sink> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let sink = Sink {
            address: listener.local_addr()?,
            taken: Arc::default(),
        };
        let taken = Arc::clone(&sink.taken);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let taken = Arc::clone(&taken);
                // That whoever pushes hangs up is no error.
                std::thread::spawn(move || serve(&connection, &taken));
            }
        });
        Ok(sink)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests and bytes of their bodies until now.
    pub(super) fn taken(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.taken.requests), read(&self.taken.bytes))
    }
}

/// Answers one request after another with 200.
fn serve(connection: &TcpStream, taken: &Taken) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection);
    loop {
        let mut length = 0;
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
            line.clear();
        }
        if line.is_empty() {
            return Ok(());
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        taken.requests.fetch_add(1, Ordering::Relaxed);
        taken.bytes.fetch_add(length, Ordering::Relaxed);
        let mut connection = connection;
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}
