//! pprof profiles and Pyroscope's push messages: the wire types and the builder of a profile.
//!
//! ```text
//! builder ─► Profile ─► split ─► validate ─► encode ─► push          (to a server)
//!               └──────► merge ─► encode or folded                    (to a file)
//! ```

pub mod builder;
pub mod encode;
pub mod folded;
pub mod kind;
pub mod labels;
pub mod merge;
pub mod pprof;
pub mod push;
pub mod split;
pub mod validate;

mod intern;
mod invalid;
mod names;
mod references;
mod tables;
mod transfer;

pub use references::Malformed;
