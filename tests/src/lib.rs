//! What the end-to-end tests share: servers that stand in for real ones, and the running of `thermograph`.

pub mod pyroscope;
