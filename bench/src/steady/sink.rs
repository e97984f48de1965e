//! A server that takes what is pushed and keeps it for later.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Listens until this process ends.
pub(super) struct Sink {
    address: SocketAddr,
    taken: Arc<Taken>,
}

/// Bodies of requests.
type Taken = Mutex<Vec<Vec<u8>>>;

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

    /// Bodies of the requests since the last call.
    pub(super) fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner))
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
        let mut body = Vec::new();
        reader.by_ref().take(length).read_to_end(&mut body)?;
        taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(body);
        let mut connection = connection;
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}
