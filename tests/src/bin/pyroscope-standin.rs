//! Serves the Pyroscope stand-in until it is killed: `pyroscope-standin [ADDRESS]`, 127.0.0.1:4040 unless told otherwise.
//! Prints what is stored and what a real server would have lost, as it comes.

use std::net::SocketAddr;
use std::time::Duration;
use tests::pyroscope::{Limits, Pyroscope};

fn main() -> anyhow::Result<()> {
    let address: SocketAddr = std::env::args()
        .nth(1)
        .as_deref()
        .unwrap_or("127.0.0.1:4040")
        .parse()?;
    let server = Pyroscope::start_at(address, Limits::default());
    println!("{}", server.url());
    let (mut stored, mut lost) = (0, 0);
    loop {
        std::thread::sleep(Duration::from_secs(1));
        for profile in server.stored().iter().skip(stored) {
            println!(
                "stored: {} samples of {:?}",
                profile.profile.sample.len(),
                profile.labels
            );
            stored += 1;
        }
        for loss in server.losses().iter().skip(lost) {
            println!("lost: {loss}");
            lost += 1;
        }
    }
}
