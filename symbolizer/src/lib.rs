//! From a file and an offset to the names of the functions there.
//!
//! The crate answers two questions, in batches: which functions are at these file offsets of this ELF file
//! ([`Symbolizer::user`]), and which are at these kernel addresses ([`Symbolizer::kernel`]). It knows nothing of processes:
//! whoever asks has found the file behind an address and opened it while it could ([`Module`]).
//!
//! Three kinds of address occur, and only these words are used for them:
//! a *file offset* counts bytes from the start of the file; an *ELF address* is what the file's own headers, symbols and DWARF
//! speak of (addr2line takes it); a *kernel address* is where the running kernel has its code.
//!
//! ```text
//! file offset ── executable PT_LOAD ──► ELF address ── .symtab, .dynsym; blazesym: DWARF ──► frames ─┐
//! kernel address ── /proc/kallsyms ──► offset in the kernel or a module, and a frame ───────────────┴─► cache
//! ```
//!
//! Requests are numbers beside an open file, answers are plain data, and the only state is in [`Symbolizer`]: it can move behind
//! a process boundary. Today it runs in the process of its caller, and that has a price. Debug information is read through a
//! memory mapping made by blazesym. A file that has some and is truncated between the check of its length and the look-up
//! kills the process with SIGBUS, one that is rewritten in place can lead blazesym to another file; and any on a mount that does
//! not answer blocks the caller.

mod cache;
mod debug_info;
mod demangle;
mod elf_header;
mod elf_names;
mod elf_symbols;
mod frame;
mod jitdump;
mod kallsyms;
mod kernel;
mod module;
mod names;
mod perf_map;
mod run_time_code;
mod symbolizer;
mod vdso;

pub use elf_names::{FileError, FileFailure};
pub use frame::{Frame, Mapping, Symbolized};
pub use jitdump::{Jitdump, JitdumpError};
pub use kernel::KernelError;
pub use module::{Module, ModuleError};
pub use perf_map::PerfMap;
pub use run_time_code::{CodeChange, RunTimeCode};
pub use symbolizer::{Options, Symbolizer};
pub use vdso::VdsoError;
