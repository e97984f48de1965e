//! The answers: plain data, cheap to clone, without a reference to where it came from.

use std::borrow::Cow;
use std::sync::Arc;

/// How names of the kernel's functions end, and no others: a flame graph merges frames by their names.
pub(crate) const KERNEL_MARK: &str = "_[k]";

/// A name that is not of the kernel, with another end where it looks as if it were.
pub(crate) fn without_mark(name: &str) -> Cow<'_, str> {
    match name.strip_suffix(KERNEL_MARK) {
        Some(begin) => format!("{begin}_(k)").into(),
        None => name.into(),
    }
}

/// A contiguous piece of code that addresses are relative to: an executable segment of a file, the kernel or one of its modules.
///
/// This is what pprof calls a mapping, with one difference that follows from counting many processes as one: no process's virtual
/// addresses appear in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// The file's name as its opener gave it; `[kernel.kallsyms]` for the kernel and `[name]` for its module `name`.
    pub name: Arc<str>,
    /// The GNU build id in lower-case hexadecimal, if the file has one.
    pub build_id: Option<Arc<str>>,
    /// First address: the segment's ELF address; 0 in the kernel.
    pub start: u64,
    /// First address behind it.
    pub limit: u64,
    /// Where the segment begins in its file, in bytes; 0 in the kernel.
    pub file_offset: u64,
}

/// One function at one place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The name to show: demangled where the symbol was mangled, ending in `_[k]` in the kernel, `module+0xaddress` if nothing
    /// is known.
    pub name: Arc<str>,
    /// The name as the linker knows it; the same string as `name` where nothing was changed.
    pub system_name: Arc<str>,
    /// The source file, as its compiler was given it, if the file's DWARF was read and says so.
    pub file: Option<Arc<str>>,
    /// The line of the address (of the call, in a function that others were inlined into), from 1; 0 if it is not known.
    pub line: u32,
    /// Whether the code was inlined into the function of the next frame.
    pub inlined: bool,
}

/// What is at one file offset or kernel address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Symbolized {
    /// What `address` lies in; none if the file has no executable segment there, or the kernel's symbols show nothing there.
    pub mapping: Option<Arc<Mapping>>,
    /// The ELF address; in the kernel the distance from `_stext`, in one of its modules from the page of the module's first
    /// function, because an absolute kernel address gives away where the kernel was loaded. Without a mapping: the
    /// file offset, or the distance from `_stext` (0 where even that is not known).
    pub address: u64,
    /// The functions at the address, the innermost inlined one first. A [`Symbolizer`](crate::Symbolizer) has at least one.
    pub frames: Box<[Frame]>,
    /// Whether a symbol was found. If not, `frames` is one frame with a name made from the address.
    pub named: bool,
}
