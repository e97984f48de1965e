//! What the end-to-end tests share: servers that stand in for real ones, a browser, and the running of `thermograph`.

pub mod browser;
pub mod pyroscope;
