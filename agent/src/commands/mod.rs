//! What `thermograph` can be asked to do.

mod agent;
mod descriptors;
mod destination;
mod doctor;
mod outcome;
mod record;
mod signals;
mod unwind;
mod workload;

pub(crate) use agent::agent;
pub(crate) use doctor::doctor;
pub(crate) use record::record;
pub(crate) use unwind::unwind;
