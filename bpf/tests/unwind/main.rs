//! Tables against what others read in the same files, and against files that are damaged or lie.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod against_gimli;
mod cache;
mod call_frame_information;
mod hostile;
mod made;
mod sources;
#[cfg(target_arch = "x86_64")]
mod stepped;
mod work;
