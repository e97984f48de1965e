//! Unwind tables: from the call frame information in an ELF file to what the walk in the kernel reads.
//!
//! ```text
//! elf ─► entries (CIE, FDE) ─► cfi (their programs) ─► state ─► rule ─► encode ─► table
//! ```
//!
//! A file is read piece by piece and never mapped, and nothing it says is trusted: see [`build`].

mod build;
mod bytes;
mod cache_file;
mod cfi;
mod code;
mod dictionary;
mod elf;
mod encode;
mod entries;
mod error;
mod expression;
mod headers;
mod identity;
mod image;
mod inflate;
mod instructions;
mod landmarks;
mod metered;
mod plt;
mod registers;
mod rule;
mod section;
mod source;
mod stack_frame;
mod state;
mod switch;
mod symbols;
mod table;
mod uncovered;
mod window;

pub use build::build;
pub use cache_file::CacheError;
pub use elf::{Code, Segment};
pub use error::{BuildError, Limits};
pub use identity::{Identity, identify};
pub use image::Image;
pub use registers::Machine;
pub use rule::{Cfa, Rbx, Rule, Saved, Unsupported};
pub use source::Source;
pub use table::{Geometry, Table};
