//! The sampling side: kernel programs, processes and owners, window by window, on one thread.

mod collector;
mod functions;
mod identities;
mod resolve;
mod sampler;
mod schedule;
mod walks;
mod window;

pub(crate) use collector::{Collector, Command, SamplingOptions, Status};
pub(crate) use schedule::WINDOW;
pub(crate) use window::{CaptureId, Sample, Window};
