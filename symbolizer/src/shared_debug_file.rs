//! The file that several debug files share: `dwz -m` moves there what they have in common.
//!
//! ```text
//! .gnu_debugaltlink  path 0 build id
//! .debug_sup         version:u16 = 5, 1 in the shared file and 0 elsewhere:u8, path 0, length of the checksum:uleb128, checksum
//! ```

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::debug_file::{DebugSource, LONGEST_LINK, path_of_build_id};
use crate::module::Module;
use crate::positioned::read_extent;

/// What a debug file says of the file that it shares.
struct SharedLink {
    /// It may be relative to where the debug file itself lies.
    path: PathBuf,
    identity: Identity,
}

/// What the right file has, too.
#[derive(PartialEq, Eq)]
enum Identity {
    BuildId(String),
    /// Since DWARF 5.
    Checksum(Vec<u8>),
}

/// The shared file: found by its build id, else by its path, and used only if it is the one. None if it is not there; an inner none if none is wanted.
pub(crate) fn find(source: &DebugSource<'_>) -> Option<Option<Module>> {
    let Some(link) = SharedLink::read(source.file) else {
        return Some(None);
    };
    let by_id = match &link.identity {
        Identity::BuildId(id) => path_of_build_id(id),
        Identity::Checksum(_) => None,
    };
    let beside = source.path.parent().unwrap_or(source.path);
    let paths = by_id.into_iter().chain([beside.join(&link.path)]);
    let roots = source.module.roots();
    let files = paths.flat_map(|path| roots.iter().filter_map(move |root| root.open(&path).ok()));
    let mut modules = files.filter_map(|file| Module::open(file, "").ok());
    let is_right = |module: &Module| match &link.identity {
        Identity::BuildId(id) => module.build_id().is_some_and(|found| **found == **id),
        Identity::Checksum(_) => {
            read_sup(module, 1).is_some_and(|(_, found)| found == link.identity)
        }
    };
    modules.find(is_right).map(Some)
}

impl SharedLink {
    fn read(file: &Module) -> Option<Self> {
        let (path, identity) = read_alt_link(file).or_else(|| read_sup(file, 0))?;
        let path = OsStr::from_bytes(&path).into();
        Some(Self { path, identity })
    }
}

fn read_alt_link(file: &Module) -> Option<(Vec<u8>, Identity)> {
    let link = read_extent(file.file(), file.debug().alt_link?, LONGEST_LINK).ok()?;
    let (path, id) = split_text(&link)?;
    let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
    Some((path.to_vec(), Identity::BuildId(id)))
}

/// Reads the form of DWARF 5, if it is of the kind that is wanted: 1 in a shared file.
fn read_sup(file: &Module, kind: u8) -> Option<(Vec<u8>, Identity)> {
    let sup = read_extent(
        file.file(),
        file.debug().extent(".debug_sup")?,
        LONGEST_LINK,
    )
    .ok()?;
    let [5, 0, found, rest @ ..] = &sup[..] else {
        return None;
    };
    let (path, rest) = split_text(rest)?;
    // No checksum is so long that its length takes more than a byte.
    let (length, checksum) = rest.split_first().filter(|(length, _)| **length < 0x80)?;
    let checksum = checksum.get(..usize::from(*length))?.to_vec();
    (*found == kind).then(|| (path.to_vec(), Identity::Checksum(checksum)))
}

/// What is before the first 0, and what is behind it.
fn split_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}
