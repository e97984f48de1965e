//! The vDSO: code that the kernel maps into every process and that is in no file.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::module::{Module, ModuleError};

/// The image is two or three pages.
const LARGEST_IMAGE: u64 = 1 << 20;

/// Why the vDSO cannot be symbolized.
#[derive(Debug, thiserror::Error)]
pub enum VdsoError {
    /// The kernel maps none (`vdso=0` on its command line).
    #[error("this kernel maps no vDSO, so there is none to name")]
    Absent,
    /// The image cannot be copied.
    #[error("cannot copy the vDSO from this process's memory: {0}")]
    Io(#[from] io::Error),
    /// What was copied is no usable ELF file.
    #[error(transparent)]
    Module(#[from] ModuleError),
}

impl Module {
    /// The vDSO of this process, which is that of every 64-bit process on the host. The file offset of an address in it is its
    /// distance from the start of the `[vdso]` mapping.
    ///
    /// The image is copied from this process's memory into a file without a name, and is then a module like any other.
    pub fn vdso() -> Result<Self, VdsoError> {
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        let (start, size) = maps.lines().find_map(vdso_range).ok_or(VdsoError::Absent)?;
        let mut image = vec![0; size];
        File::open("/proc/self/mem")?.read_exact_at(&mut image, start)?;

        let mut file =
            File::from(memfd_create("vdso", MemfdFlags::CLOEXEC).map_err(io::Error::from)?);
        file.write_all(&image)?;
        Ok(Self::open(file, "[vdso]")?)
    }
}

/// Start and size of the mapping, if this line of /proc/self/maps is the vDSO's.
fn vdso_range(line: &str) -> Option<(u64, usize)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let (start, end) = (
        u64::from_str_radix(start, 16).ok()?,
        u64::from_str_radix(end, 16).ok()?,
    );
    let size = end
        .checked_sub(start)
        .filter(|&size| size <= LARGEST_IMAGE)?;
    rest.ends_with("[vdso]")
        .then_some((start, usize::try_from(size).ok()?))
}
