//! Tables against what others read in the same files, and against files that are damaged or lie.

mod against_gimli;
mod files;
