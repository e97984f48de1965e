//! Places in files for whoever reads the profile to name.

use crate::process::MappedFile;
use std::sync::Arc;
use symbolizer::{Mapping, Module, Symbolized};

/// The places at `offsets` by mapping and address. Nothing if the reader could not know which file it is, or not have it: one without a
/// build id, the `[vdso]`; or if one of the places is in no executable segment.
pub(super) fn without_names(
    file: &MappedFile,
    module: &Module,
    offsets: &[u64],
) -> Option<Vec<Arc<Symbolized>>> {
    if module.build_id().is_none() || module.name().starts_with('[') {
        return None;
    }
    // For people the last part is enough; to find the file it is not.
    let path: Arc<str> = String::from_utf8_lossy(file.path()).into();
    let place = |offset: &u64| {
        let mapping = Mapping::clone(module.segment_of(*offset)?);
        Some(Arc::new(Symbolized {
            mapping: Some(Arc::new(Mapping {
                name: Arc::clone(&path),
                ..mapping
            })),
            address: module.elf_address(*offset)?,
            frames: Box::default(),
            named: false,
        }))
    };
    offsets.iter().map(place).collect()
}
