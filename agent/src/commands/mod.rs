//! What `thermograph` can be asked to do.

mod agent;
mod destination;
mod outcome;
mod record;
mod signals;
mod workload;

pub(crate) use agent::agent;
pub(crate) use record::record;
