//! Foreign files are read in a process of their own, which may hang or die of them and has nothing to lose.
//!
//! ```text
//! agent                                          worker, without privileges
//! cache ── missing addresses, the open file ──►  symbols in its tables, then debug information
//!       ◄── names, then lines and inlines ─────
//! ```
//!
//! The worker is the agent's own program, started through `/proc/self/exe` at first need, with one end of a pair of sockets
//! for its standard input. There is one request at a time, so what it died of or hangs in is certain. What it says is
//! as foreign as the files that it read: every length, index and sum is checked before it counts.

mod answer;
mod child;
mod client;
mod confine;
mod message;
mod refusals;
mod serve;
mod share;
mod socket;

pub use child::Launch;
pub use client::{WorkerFault, WorkerStats};
pub use serve::{ServeError, serve};

pub(crate) use client::Client;
pub(crate) use message::MOST_ADDRESSES;
