//! What the end-to-end tests share: servers that stand in for real ones, a browser, and the running of `thermograph`.

pub mod agent;
pub mod browser;
pub mod cgroup;
pub mod condition;
pub mod containers;
pub mod cpu_time;
pub mod fuse;
pub mod go_tool;
pub mod http;
pub mod kubernetes;
pub mod machine;
pub mod pyroscope;
pub mod stacks;
pub mod thermograph;

pub use fixtures::{elf_files, heap};
