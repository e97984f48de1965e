//! What could not be named.

use crate::owner::OwnerCounts;
use symbolizer::{FileError, WorkerStats};

/// What could not be named, since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NamingTrouble {
    /// Files with something missing.
    pub(crate) files: FileTroubles,
    /// Places without a symbol.
    pub(crate) unnamed: u64,
    /// The kernel gives no names.
    pub(crate) kernel: bool,
    /// What became of owners.
    pub(crate) owners: OwnerCounts,
    /// Profiles that the server would refuse or lose some of, and that were left out.
    pub(crate) unsound: u64,
    /// What went wrong with workers, which read files.
    pub(crate) worker: WorkerStats,
}

/// Mapped files of which names or lines are missing, by why.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FileTroubles {
    /// They could not be opened, or are not what can be mapped to run.
    pub(crate) unopened: u64,
    /// Symbols, or some of them, could not be read.
    pub(crate) symbols: u64,
    /// Lines and inlined functions could not be read.
    pub(crate) lines: u64,
    /// There is more debug information than is read.
    pub(crate) large: u64,
    /// The worker hung in them or died of them.
    pub(crate) worker: u64,
}

impl FileTroubles {
    pub(super) fn count(&mut self, error: &FileError) {
        *match error {
            FileError::Symbols(_) | FileError::Truncated => &mut self.symbols,
            FileError::DebugInfo(_) | FileError::Go(_) | FileError::DebugFile(_) => &mut self.lines,
            FileError::TooMuchDebugInfo => &mut self.large,
            FileError::Worker(_) => &mut self.worker,
        } += 1;
    }
}
