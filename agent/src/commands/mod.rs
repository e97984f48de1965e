//! What `thermograph` can be asked to do.

mod destination;
mod outcome;
mod record;
mod workload;

pub(crate) use record::record;
