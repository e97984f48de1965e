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
//! file offset ── executable PT_LOAD ──► ELF address ── DWARF, else symbols, else Go's table ──► frames ─┐
//! kernel address ── /proc/kallsyms ──► offset in the kernel or a module, and a frame ─────────────────┴─► cache
//! ```
//!
//! What a file itself does not have is looked for in its debug file, if the caller says below which directories
//! ([`Module::with_roots`]). Who is believed where several speak of one address:
//!
//! - DWARF, of the file or of its debug file, if all of it fits into the budget. Plain DWARF is read by blazesym, and that which is
//!   compressed, shared (`dwz`), split (`.dwo`, `.dwp`) or in a file that may not be opened again by addr2line. A function without a line
//!   keeps its name and has none; a line without a function (assembly) has the name of the symbol there. Of several functions that the
//!   linker has made one, it is that whose mangled symbol counts.
//! - The symbols of `.symtab`, here or in the debug file, then those of `.dynsym`, then those of MiniDebugInfo (Fedora's
//!   `.gnu_debugdata`). In each the one counts that begins last, if it reaches the address, as for LLVM; of several the longer, then
//!   one known outside of its file. One without a size (assembly) reaches to where the next begins or its section ends.
//! - The table of functions of Go's runtime (1.18 and later): lines and inlined functions, and names where there are no symbols.
//!
//! Files are foreign: they lie, shrink while they are read, or lie on a server that does not answer. So a [`Symbolizer`] can have a
//! process of its own read them ([`Symbolizer::in_worker`], [`serve`]), without privileges and with a deadline: what it hangs in or
//! dies of costs that file's names and no other's. The cache stays in the process that asks.

mod cache;
mod debug_file;
mod debug_info;
mod debug_sections;
mod demangle;
mod elf_header;
mod elf_names;
mod elf_symbols;
mod frame;
mod go_functions;
mod go_module;
mod jitdump;
mod kallsyms;
mod kernel;
mod kernel_modules;
mod known_symbols;
mod mini_debug_info;
mod module;
mod names;
mod perf_map;
mod plain_dwarf;
mod positioned;
mod room;
mod roots;
mod run_time_code;
mod shared_debug_file;
mod spread_dwarf;
mod symbol_index;
mod symbol_table;
mod symbolizer;
mod vdso;
mod worker;

pub use elf_names::{FileError, FileFailure};
pub use frame::{Frame, Mapping, Symbolized};
pub use jitdump::{Jitdump, JitdumpError};
pub use kernel::KernelError;
pub use module::{Module, ModuleError};
pub use perf_map::PerfMap;
pub use run_time_code::{CodeChange, RunTimeCode};
pub use symbolizer::{Options, Symbolizer};
pub use vdso::VdsoError;
pub use worker::{Launch, ServeError, WorkerFault, WorkerStats, serve};
