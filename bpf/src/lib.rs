//! Kernel programs, their maps and perf events, and safe access to them.
//!
//! [`Profiler`] loads the programs, which count stacks in the kernel, and hands out what they counted, window by
//! window. [`Sideband`] tells what became of processes and their mappings meanwhile. Neither knows names or owners.

mod counters;
pub mod cpus;
mod error;
mod lists;
mod options;
mod piece;
mod pieces;
mod pod;
mod profiler;
pub mod sideband;
mod stacks;
mod support;
mod tables;
mod ticks;
pub mod unwind;
mod unwinder;
mod view;
mod window;
mod word;

#[allow(
    unreachable_pub,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    clippy::expect_used,
    unsafe_op_in_unsafe_fn
)]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/thermograph.skel.rs"));
}

pub use counters::Counters;
pub use error::Error;
pub use libbpf_rs::OpenObject;
pub use lists::{LONGEST_LIST, List, Published, UnwindMapping};
pub use options::{CgroupController, CgroupSource, Filter, Options, period};
pub use pieces::NewPieces;
pub use profiler::{CgroupEvent, Profiler, table_memory};
pub use sideband::{Records, Sideband};
pub use tables::{NoTable, Slot};
pub use unwinder::{UnwindMemory, Unwinder};
pub use window::{Counted, Sample, Thread, ThreadNames};
pub use word::{FileId, Outcome, Place, Word};
