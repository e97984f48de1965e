//! From windows to profiles: words get names, samples are added up by owner, and what is over is encoded.

mod addresses;
mod assembler;
mod assign;
mod desk;
mod encode;
mod intervals;
mod kernel;
mod names;
mod places;
mod tally;
mod trouble;

pub(crate) use assembler::Assembler;
pub(crate) use assign::Bounds;
pub(crate) use desk::{CaptureDesk, Captured};
pub(crate) use intervals::{Deliver, Delivery, Intervals};
pub(crate) use names::Naming;
pub(crate) use trouble::{FileTroubles, NamingTrouble};
