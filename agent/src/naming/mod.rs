//! From windows to profiles: words get names, samples are added up by owner, and what is over is encoded.

mod addresses;
mod assembler;
mod desk;
mod encode;
mod names;
mod tally;

pub(crate) use assembler::{Assembler, Deliver, Delivery};
pub(crate) use desk::{CaptureDesk, Captured};
pub(crate) use names::{Naming, NamingTrouble};
