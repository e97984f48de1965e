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
//! Files are foreign: they lie, shrink while they are read, or lie on a server that does not answer. So a [`Symbolizer`] can have a
//! process of its own read them ([`Symbolizer::in_worker`], [`serve`]), without privileges and with a deadline: what it hangs in or
//! dies of costs that file's names and no other's. The cache stays in the process that asks.

mod cache;
mod debug_info;
mod demangle;
mod elf_header;
mod elf_names;
mod elf_symbols;
mod frame;
mod kallsyms;
mod kernel;
mod module;
mod names;
mod symbolizer;
mod vdso;
mod worker;

pub use elf_names::{FileError, FileFailure};
pub use frame::{Frame, Mapping, Symbolized};
pub use kernel::KernelError;
pub use module::{Module, ModuleError};
pub use symbolizer::{Options, Symbolizer};
pub use vdso::VdsoError;
pub use worker::{Launch, ServeError, WorkerFault, WorkerStats, serve};
