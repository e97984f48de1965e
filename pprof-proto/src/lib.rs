//! pprof profiles and Pyroscope's push messages: the wire types and the builder of a profile.

pub mod pprof;
